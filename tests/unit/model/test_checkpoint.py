"""Checkpoints: round trip, and every way they can be damaged."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from xpert_core.errors import CheckpointError
from xpert_core.model import checkpoint
from xpert_core.model.checkpoint import ModelMeta, load_checkpoint, save_checkpoint
from xpert_core.model.xpert import XPert
from xpert_core.tokens.batch import Batch

META = ModelMeta(
    name="small",
    panel={"name": "test", "digest": "0", "symbols": [f"G{i}" for i in range(30)]},
    bins={"kind": "quantile", "n_tokens": 128},
    featurizer={"name": "morgan", "digest": "0", "dim": 12},
    graph={"digest": "g" * 64, "dim": 6},
    classes=("x", "y", "z"),
    readouts=("log2", "z"),
    card={"scores": []},
)


@pytest.fixture
def folder(tmp_path: Path, model: XPert) -> Path:
    save_checkpoint(tmp_path / "small", model, META, "# small\n")
    return tmp_path / "small"


def rewrite(folder: Path, *, signed: bool = True, **changes: object) -> None:
    """Change the configuration; signed = with the hash that then belongs to it."""
    path = folder / "config.json"
    document = {**json.loads(path.read_text()), **changes}
    if signed:
        document.pop("sha256")
        document["sha256"] = checkpoint._digest(folder / "model.safetensors", document)
    path.write_text(json.dumps(document))


@torch.no_grad()
def test_round_trip(folder: Path, model: XPert, batch: Batch) -> None:
    loaded = load_checkpoint(folder)
    assert loaded.meta == META
    assert torch.equal(loaded.model(batch).x_deg, model(batch).x_deg)
    assert loaded.digest == json.loads((folder / "config.json").read_text())["sha256"]
    assert not loaded.model.training


def test_overwriting_leaves_one_folder(folder: Path, model: XPert) -> None:
    save_checkpoint(folder, model, META, "# again\n")
    assert [p.name for p in folder.parent.iterdir()] == ["small"]
    assert (folder / "README.md").read_text() == "# again\n"


def test_missing(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(CheckpointError, match="no model"):
        load_checkpoint(tmp_path / "nowhere")
    (folder / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match="no weights"):
        load_checkpoint(folder)


def test_corrupt_weights(folder: Path) -> None:
    path = folder / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="damaged"):
        load_checkpoint(folder)


def test_truncated_weights_with_a_matching_hash(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:200])
    rewrite(folder)
    with pytest.raises(CheckpointError, match="do not fit"):
        load_checkpoint(folder)


def test_nan_weights(folder: Path) -> None:
    path = folder / "model.safetensors"
    state = load_file(path)
    state["cell_embedding.cls"][0, 0, 0] = float("nan")
    save_file(state, path)
    rewrite(folder)
    with pytest.raises(CheckpointError, match="not numbers"):
        load_checkpoint(folder)


@pytest.mark.parametrize(
    "change",
    [
        {"bins": {"kind": "quantile", "n_tokens": 64}},
        {"graph": {"digest": "g", "dim": 5}},
        {"model": None},
        {"model": {"n_heads": "2"}},
        {"bins": {}},
    ],
)
def test_configuration_that_does_not_fit(folder: Path, change: dict) -> None:
    rewrite(folder, **change)
    with pytest.raises(CheckpointError):
        load_checkpoint(folder)


def test_edited_configuration_is_noticed(folder: Path) -> None:
    rewrite(folder, signed=False, classes=["x", "y", "w"])
    with pytest.raises(CheckpointError, match="edited"):
        load_checkpoint(folder)


def test_schema_of_the_time_before_the_graph(folder: Path) -> None:
    rewrite(folder, schema=1)
    with pytest.raises(CheckpointError, match="before the knowledge graph"):
        load_checkpoint(folder)


def test_newer_schema_unknown_entry_and_broken_json(folder: Path) -> None:
    rewrite(folder, extra=1)
    with pytest.raises(CheckpointError, match="unknown entries"):
        load_checkpoint(folder)
    rewrite(folder, schema=99)
    with pytest.raises(CheckpointError, match="newer"):
        load_checkpoint(folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_checkpoint(folder)
