"""Checkpoints: safetensors weights, a JSON configuration and a model card, written atomically."""

from __future__ import annotations

import json
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from xpert_core.errors import CheckpointError
from xpert_core.files import sha256_bytes, sha256_file
from xpert_core.model.config import ModelConfig
from xpert_core.model.xpert import XPert

#: Raised when the meaning of a checkpoint's fields changes.
SCHEMA = 2
WEIGHTS, CONFIG, CARD = "model.safetensors", "config.json", "README.md"


@dataclass(frozen=True)
class ModelMeta:
    """What must travel with the weights.

    Attributes
    ----------
    name : str
    panel : dict
        ``name``, ``digest`` and ``symbols`` of the gene panel, in the model's order.
    bins : dict
        ``kind`` of bin edges and ``n_tokens``: edges themselves are fitted on each data set.
    featurizer : dict
        ``name``, ``digest`` and ``dim`` of the structure features.
    graph : dict
        ``digest`` and ``dim`` of the knowledge-graph encoder; empty without a graph token.
    classes : tuple of str
        Cell classes of the auxiliary task.
    readouts : tuple of str
        Assays of the target, in order.
    card : dict
        Scores, data, split and limits; shown on the dashboard and in README.md.
    """

    name: str
    panel: dict[str, Any]
    bins: dict[str, Any]
    featurizer: dict[str, Any]
    graph: dict[str, Any]
    classes: tuple[str, ...]
    readouts: tuple[str, ...]
    card: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Checkpoint:
    """A loaded model.

    Attributes
    ----------
    model : XPert
        In evaluation mode.
    meta : ModelMeta
    digest : str
        SHA-256 of the weights and of everything that travels with them.
    """

    model: XPert
    meta: ModelMeta
    digest: str


def save_checkpoint(folder: Path, model: XPert, meta: ModelMeta, card_text: str) -> str:
    """Write a checkpoint folder; the old one stays until the new one is complete.

    Returns
    -------
    str
        SHA-256 of the weights and of everything that travels with them.
    """
    folder = Path(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    room = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        state = {k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()}
        # Shared norms of the published style are one tensor under two names.
        save_file({k: v.clone() for k, v in state.items()}, room / WEIGHTS)
        document = {"schema": SCHEMA, "model": model.config.to_dict(), **vars(meta)}
        digest = _digest(room / WEIGHTS, document)
        content = json.dumps({**document, "sha256": digest}, indent=1)
        (room / CONFIG).write_text(content + "\n", encoding="utf-8")
        (room / CARD).write_text(card_text, encoding="utf-8")
        (room / WEIGHTS).chmod(0o644)
        room.chmod(0o755)
        _swap(room, folder)
    except BaseException:
        shutil.rmtree(room, ignore_errors=True)
        raise
    return digest


def load_checkpoint(folder: Path) -> Checkpoint:
    """Read and verify a checkpoint.

    Raises
    ------
    CheckpointError
        If files are missing, the hash differs, the schema is newer, shapes do not fit or weights
        are not finite.
    """
    folder = Path(folder)
    document = read_config(folder)
    weights = folder / WEIGHTS
    if not weights.is_file():
        raise CheckpointError(
            "The model has no weights.",
            where=f"{folder.name}/{WEIGHTS}",
            fix="Install XPert again, or export the model again from where it was trained.",
        )
    recorded = document.pop("sha256")
    digest = _digest(weights, document)
    if digest != recorded:
        raise CheckpointError(
            "The model is damaged or was edited: its hash is not the recorded one.",
            where=f"{folder.name}/{WEIGHTS} or {CONFIG}",
            fix="Copy the model folder again from its source.",
        )
    document.pop("schema")
    try:
        config = ModelConfig.from_dict(document.pop("model"))
        model = XPert(config)
        _check_consistent(document, config, folder)
    except (TypeError, ValueError, KeyError) as error:
        raise CheckpointError(
            "The model's configuration holds values of the wrong kind.",
            where=f"{folder.name}/{CONFIG}: {error}",
            fix="Copy the model folder again from its source.",
        ) from error
    try:
        state = load_file(weights)
        model.load_state_dict(state)
    except (SafetensorError, RuntimeError) as error:
        raise CheckpointError(
            "The model's weights do not fit its configuration.",
            where=f"{folder.name}: {error}",
            fix="Copy the model folder again from its source.",
        ) from error
    bad = [name for name, tensor in state.items() if not torch.isfinite(tensor).all()]
    if bad:
        raise CheckpointError(
            "The model holds weights that are not numbers.",
            where=f"{folder.name}: {bad[0]}",
            fix="Train the model again; this one diverged.",
        )
    values: dict[str, Any] = {
        k: tuple(v) if isinstance(v, list) else v for k, v in document.items()
    }
    meta = ModelMeta(**values)
    return Checkpoint(model.eval(), meta, digest)


def _digest(weights: Path, document: dict[str, Any]) -> str:
    """SHA-256 over the weights file and the configuration, whose order does not matter."""
    content = json.dumps(document, sort_keys=True).encode("utf-8")
    return sha256_bytes(sha256_file(weights).encode("ascii") + content)


def _check_consistent(document: dict[str, Any], config: ModelConfig, folder: Path) -> None:
    """Compare what travels with the weights against the shape of the network."""
    found = {
        "value tokens": (document["bins"]["n_tokens"], config.n_value_tokens),
        "graph width": (document["graph"].get("dim", 0), config.graph_dim * config.use_graph),
        "classes": (len(document["classes"]), config.n_classes),
        "read-outs": (len(document["readouts"]), config.n_readouts),
        "genes": (len(document["panel"]["symbols"]), config.n_genes),
        "feature width": (document["featurizer"]["dim"], config.feature_dim),
    }
    wrong = [f"{n}: {a}, network: {b}" for n, (a, b) in found.items() if a != b]
    if wrong:
        raise CheckpointError(
            "The model's configuration does not fit its network.",
            where=f"{folder.name}/{CONFIG}: {'; '.join(wrong)}",
            fix="Copy the model folder again from its source.",
        )


def read_config(folder: Path) -> dict[str, Any]:
    """The configuration file of a checkpoint of this schema, not yet compared with its weights.

    Raises
    ------
    CheckpointError
        It is missing, cannot be read, is of another schema, or has other entries.
    """
    path = folder / CONFIG
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        schema = document["schema"]
    except FileNotFoundError as error:
        raise CheckpointError(
            f"There is no model at '{folder.name}'.",
            where=f"{CONFIG} is missing",
            fix="Choose another model; `xpert doctor` lists what is installed.",
        ) from error
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise CheckpointError(
            "The model's configuration cannot be read.",
            where=f"{folder.name}/{CONFIG}",
            fix="Copy the model folder again from its source.",
        ) from error
    if not isinstance(schema, int) or schema > SCHEMA:
        raise CheckpointError(
            f"The model was written by a newer XPert (schema {schema}, this one reads {SCHEMA}).",
            where=folder.name,
            fix="Update XPert.",
        )
    if schema < SCHEMA:
        raise CheckpointError(
            "The model was written before the knowledge graph gave the biological token.",
            where=f"{folder.name}: schema {schema}, this version reads {SCHEMA}",
            fix="Train it again, or use XPert 0.1.",
        )
    expected = {"schema", "sha256", "model", *ModelMeta.__dataclass_fields__}
    if set(document) != expected:
        raise CheckpointError(
            "The model's configuration is incomplete or has unknown entries.",
            where=f"{folder.name}/{CONFIG}: {', '.join(sorted(set(document) ^ expected))}",
            fix="Copy the model folder again from its source.",
        )
    return document


def _swap(room: Path, folder: Path) -> None:
    """Put `room` in place of `folder`, keeping the old content until the rename is done."""
    if not folder.exists():
        room.rename(folder)
        return
    old = folder.with_name(f".{folder.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    folder.rename(old)
    try:
        room.rename(folder)
    except BaseException:
        old.rename(folder)
        raise
    shutil.rmtree(old, ignore_errors=True)
