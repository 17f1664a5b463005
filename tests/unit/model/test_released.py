"""What was released opens in every later version and predicts the same."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from training.release_test_checkpoint import batch_of
from xpert_core.model.bundle import export_bundle, opened_bundle
from xpert_core.model.checkpoint import SCHEMA, load_checkpoint
from xpert_core.prediction import Predictor
from xpert_core.prediction.models import shipped_models

RELEASED = Path(__file__).parents[2] / "data" / "released"
CHECKPOINTS = sorted(path.parent for path in RELEASED.glob("schema-*/*/config.json"))


def test_there_is_one_of_the_present_schema() -> None:
    assert f"schema-{SCHEMA}" in {path.parent.name for path in CHECKPOINTS}


@pytest.mark.parametrize("folder", CHECKPOINTS, ids=lambda p: f"{p.parent.name}-{p.name}")
def test_a_released_checkpoint_predicts_what_it_did(folder: Path, tmp_path: Path) -> None:
    case = load_file(folder.parent / "case.safetensors")
    checkpoint = load_checkpoint(folder)
    with torch.no_grad():
        out = checkpoint.model(batch_of(case))
    for name in ("x_deg", "x_pert"):
        expected = case[f"{folder.name}.{name}"]
        assert expected.std() > 1e-3
        torch.testing.assert_close(getattr(out, name), expected, atol=1e-5, rtol=0)
    export_bundle(folder, tmp_path / "released.xpert")
    with opened_bundle(tmp_path / "released.xpert") as (_, manifest):
        assert manifest.digest == checkpoint.digest


@pytest.mark.parametrize("name", shipped_models())
def test_the_shipped_models_open(name: str) -> None:
    assert Predictor.load(name).name == name
