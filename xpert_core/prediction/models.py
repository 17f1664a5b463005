"""Which model is meant: the shipped default, a shipped name, or a folder."""

from __future__ import annotations

from pathlib import Path

from xpert_core.errors import CheckpointError
from xpert_core.paths import assets_dir

#: Text file in assets/models with the name of the default model.
DEFAULT_FILE = "default"


def shipped_models() -> tuple[str, ...]:
    """Names of the models in assets/models, sorted."""
    folder = assets_dir() / "models"
    return tuple(sorted(p.parent.name for p in folder.glob("*/config.json")))


def model_folder(model: str | Path | None = None) -> Path:
    """Folder of a model.

    Parameters
    ----------
    model : str or Path, optional
        Name of a shipped model or path of a checkpoint folder; None = the shipped default.

    Raises
    ------
    CheckpointError
        If there is no such model.
    """
    folder = assets_dir() / "models"
    if model is None:
        try:
            model = (folder / DEFAULT_FILE).read_text(encoding="utf-8").strip()
        except OSError as error:
            raise CheckpointError(
                "No default model is installed.",
                where=f"assets/models/{DEFAULT_FILE}",
                fix="Install XPert again, or name a model.",
            ) from error
    for candidate in (folder / str(model), Path(model)):
        if (candidate / "config.json").is_file():
            return candidate
    known = ", ".join(shipped_models()) or "none"
    raise CheckpointError(
        f"There is no model '{model}'.",
        where=f"installed models: {known}",
        fix="Give one of these names, or the folder of a checkpoint with its config.json.",
    )
