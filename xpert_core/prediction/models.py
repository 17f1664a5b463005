"""Which model is meant: the shipped default, a shipped name, or a folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xpert_core.drugs.featurizers import names as featurizer_names
from xpert_core.errors import CheckpointError
from xpert_core.paths import assets_dir
from xpert_core.tokens.expression import EDGE_KINDS

#: Text file in assets/models with the name of the default model.
DEFAULT_FILE = "default"


def shipped_models() -> tuple[str, ...]:
    """Names of the models in assets/models, sorted."""
    folder = assets_dir() / "models"
    return tuple(sorted(p.parent.name for p in folder.glob("*/config.json")))


def shipped_default() -> str:
    """Name of the shipped default model.

    Raises
    ------
    CheckpointError
        If none is installed.
    """
    try:
        return (assets_dir() / "models" / DEFAULT_FILE).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise CheckpointError(
            "No default model is installed.",
            where=f"assets/models/{DEFAULT_FILE}",
            fix="Install XPert again, or name a model.",
        ) from error


def model_folder(model: str | Path | None = None) -> Path:
    """Folder of a model.

    Parameters
    ----------
    model : str or Path, optional
        Name of a shipped model or path of a checkpoint folder; None = the shipped default. Models
        of a registry are found by `xpert_core.store.registry.Registry.get`.

    Raises
    ------
    CheckpointError
        If there is no such model.
    """
    wanted = shipped_default() if model is None else model
    for candidate in (assets_dir() / "models" / str(wanted), Path(wanted)):
        if (candidate / "config.json").is_file():
            return candidate
    known = ", ".join(shipped_models()) or "none"
    raise CheckpointError(
        f"There is no model '{wanted}'.",
        where=f"installed models: {known}",
        fix="Give one of these names, or the folder of a checkpoint with its config.json.",
    )


def obstacle(bins: Mapping[str, Any], featurizer: Mapping[str, Any]) -> str:
    """Why a checkpoint cannot predict for a cohort; "" when nothing is known against it.

    Parameters
    ----------
    bins, featurizer : mapping
        As `ModelMeta` holds them.
    """
    unknown = []
    if bins.get("kind") not in EDGE_KINDS:
        unknown.append("the edges of its expression bins")
    if featurizer.get("name") not in featurizer_names() or not featurizer.get("digest"):
        unknown.append("the features it reads drugs with")
    return f"{' and '.join(unknown)} are not known" if unknown else ""


def finetuning_obstacle(document: Mapping[str, Any]) -> str:
    """Why a checkpoint cannot be fine-tuned; "" when nothing is known against it.

    Parameters
    ----------
    document : mapping
        Its configuration file, as `xpert_core.model.checkpoint.read_config` gives it.
    """
    if document["model"].get("use_prior"):
        return "it adds to the prediction of a simple model"
    return obstacle(document["bins"], document["featurizer"])
