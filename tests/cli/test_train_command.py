"""``xpert train`` trains on a small real piece of L1000, resumes, and its model predicts."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from processes import hear_ctrl_c
from typer.testing import CliRunner

from xpert_core.cli.application import application
from xpert_core.learning import module
from xpert_core.model.checkpoint import load_checkpoint
from xpert_core.paths import assets_dir

pytest.importorskip("lightning")

SMALL_DATA = Path(__file__).resolve().parents[1] / "data" / "l1000_small.safetensors"
MELANOMA = assets_dir() / "examples" / "user_upload_pretreatment_melanoma_nivolumab.csv"

runner = CliRunner()


def recipe(folder: Path, **settings: object) -> Path:
    """A recipe for a network of width 16 on the small data."""
    file = folder / "recipe.yaml"
    values = {
        "name": "small",
        "data": str(SMALL_DATA),
        "model": {"d_model": 16, "n_heads": 2, "base_layers": "SA", "pert_layers": "CA"},
        "max_epochs": 1,
        "valid": 0.2,
        "test": 0.2,
        "threads": 1,
        **settings,
    }
    file.write_text(yaml.safe_dump(values), encoding="utf-8")
    return file


def test_trains_resumes_and_gives_a_model_that_predicts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    clock = itertools.count(0.0, 60.0)
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    result = runner.invoke(
        application, ["train", str(recipe(tmp_path)), "--out", str(out)], catch_exceptions=False
    )
    assert result.exit_code == 0, result.output
    assert "epoch 1: " in result.stderr
    first = load_checkpoint(out / "model")
    assert first.meta.card["minutes"] == 1
    assert first.digest[:12] in result.stdout
    lines = MELANOMA.read_text(encoding="utf-8").splitlines(keepends=True)
    (tmp_path / "one.csv").write_text("".join(lines[:2]), encoding="utf-8")
    request = ["predict", "--cohort", str(tmp_path / "one.csv"), "--drug", "trametinib"]
    target = ["--model", str(out / "model"), "--out", str(tmp_path / "result.h5ad")]
    predicted = runner.invoke(application, [*request, *target])
    assert predicted.exit_code == 0, predicted.output
    again = runner.invoke(
        application, ["train", str(recipe(tmp_path)), "--out", str(out), "--resume"]
    )
    assert again.exit_code == 0, again.output
    assert "epoch" not in again.stderr  # its one epoch was done
    # Its minutes too are those of the training, not of what resumed it.
    assert load_checkpoint(out / "model").digest == first.digest
    other = recipe(tmp_path, max_epochs=2)
    refused = runner.invoke(application, ["train", str(other), "--out", str(out), "--resume"])
    assert refused.exit_code == 2
    assert "How to fix" in refused.stderr


def test_ctrl_c_stops_after_a_whole_epoch_and_says_how_to_go_on(tmp_path: Path) -> None:
    out = tmp_path / "run"
    file = recipe(tmp_path, max_epochs=500, patience=500)
    program = "from xpert_core.cli import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", program, "train", str(file), "--out", str(out)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=hear_ctrl_c,
    )
    assert process.stderr is not None
    seen = ""
    while line := process.stderr.readline():
        seen += line
        if line.startswith("epoch 1: "):
            break
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, seen + errors
    assert "--resume" in errors
    assert "Traceback" not in errors
    assert not (out / "model").exists()


@pytest.mark.parametrize(
    ("settings", "word"),
    [({"learning_rte": 1}, "learning_rte"), ({"data": "nowhere.safetensors"}, "nowhere")],
)
def test_bad_recipes_are_refused(tmp_path: Path, settings: dict[str, object], word: str) -> None:
    file = recipe(tmp_path, **settings)
    result = runner.invoke(application, ["train", str(file), "--out", str(tmp_path / "run")])
    assert result.exit_code == 2, result.output
    assert word in result.stderr
    assert not (tmp_path / "run" / "model").exists()


def test_a_missing_recipe_is_named(tmp_path: Path) -> None:
    result = runner.invoke(application, ["train", str(tmp_path / "nowhere.yaml")])
    assert result.exit_code == 2
    assert "nowhere.yaml" in result.stderr
