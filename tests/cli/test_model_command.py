"""``xpert model``: everything a model's life needs, without a browser."""

from __future__ import annotations

import pickle
from itertools import islice
from pathlib import Path

import pytest
import torch
from model_data import not_better_card, tiny_checkpoint
from published_data import CASES, load_case
from typer.testing import CliRunner

from xpert_core.cli.application import application
from xpert_core.cohorts import example_path
from xpert_core.model.checkpoint import load_checkpoint
from xpert_core.prediction import load_prediction
from xpert_core.prediction.models import shipped_default
from xpert_core.store import Store

runner = CliRunner()


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XPERT_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "data"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tiny_checkpoint(tmp_path / "made" / "tiny")
    return tmp_path / "made" / "tiny"


def model(*arguments: str | Path, status: int = 0) -> str:
    result = runner.invoke(application, ["model", *map(str, arguments)])
    assert result.exit_code == status, result.output
    return result.stdout + result.stderr


def test_a_model_is_added_listed_shown_and_deleted(folder: Path) -> None:
    assert shipped_default() in model("list")
    assert "tiny is added" in model("add", folder)
    listed = model("list")
    assert "tiny" in listed and "trained" in listed
    shown = model("show", "tiny")
    assert load_checkpoint(folder).digest in shown and "An untrained network" in shown
    assert "now named other" in model("rename", "tiny", "other")
    assert runner.invoke(application, ["model", "delete", "other"], input="n\n").exit_code == 1
    assert "other" in model("list")
    assert "is deleted" in model("delete", "other", "--yes")
    assert "no such model" in model("show", "other", status=2)


def test_a_model_goes_out_and_comes_in(folder: Path, tmp_path: Path) -> None:
    model("add", folder)
    assert "tiny.xpert" in model("export", "tiny")
    assert "exists" in model("export", "tiny", status=2)
    model("export", "tiny", "--force")
    model("delete", "tiny", "--yes")
    assert "came back" in model("import", tmp_path / "tiny.xpert", "--name", "came back")
    kept = Store().registry.get("came back")
    assert kept.digest == load_checkpoint(folder).digest and kept.kind == "imported"


def test_a_bad_file_is_refused_with_what_to_do(folder: Path, tmp_path: Path) -> None:
    model("add", folder)
    model("export", "tiny")
    file = tmp_path / "tiny.xpert"
    file.write_bytes(file.read_bytes()[:-500])
    assert "How to fix" in model("import", file, status=2)
    pickled = tmp_path / "model.pkl"
    pickled.write_bytes(pickle.dumps({"weights": [1, 2]}))
    said = model("import", pickled, status=2)
    assert "pickle" in said and "xpert model import-published" in said
    assert "no such file" in model("import", tmp_path / "absent.xpert", status=2)


def test_a_published_file_is_imported_with_its_gaps_named(tmp_path: Path) -> None:
    state, _, heads = load_case("mdmt_h32")
    torch.save({"epoch": 3, "model_state_dict": state}, tmp_path / "warm.pth")
    said = model("import-published", tmp_path / "warm.pth", "--heads", heads)
    assert "warm is added" in said and "cannot predict for a cohort" in said
    card = model("show", "warm")
    assert "Licence of the weights: unknown" in card and "Uni-Mol, 512" in card
    assert "cannot predict" in model("default", "warm", status=2)
    assert "saved weights" in model("import-published", CASES / "README.md", status=2)


def test_the_default_is_what_predict_uses(folder: Path, tmp_path: Path) -> None:
    assert shipped_default() in model("default")
    model("add", folder)
    assert "Default model: tiny" in model("default", "tiny")
    with example_path().open("rb") as stream:
        (tmp_path / "one.csv").write_bytes(b"".join(islice(stream, 2)))

    def predicted_by(*more: str) -> str:
        out = tmp_path / "result.h5ad"
        words = ["predict", "--cohort", "one.csv", "--drug", "trametinib", "--out", str(out)]
        result = runner.invoke(application, [*words, "--force", *more])
        assert result.exit_code == 0, result.output
        return str(load_prediction(out).provenance["model_name"])

    assert predicted_by() == "tiny"
    assert predicted_by("--model", shipped_default()) == shipped_default()
    assert predicted_by("--model", Store().registry.get("tiny").id) == "tiny"
    model("delete", "tiny", "--yes")
    assert predicted_by() == shipped_default()


def test_a_model_no_better_than_the_mean_is_refused_as_default(tmp_path: Path) -> None:
    tiny_checkpoint(tmp_path / "worse", name="worse", card=not_better_card())
    model("add", tmp_path / "worse")
    assert "mean change" in model("default", "worse", status=2)
    assert "mean change" in model("show", "worse")


def test_scores_are_compared(folder: Path) -> None:
    model("add", folder)
    said = model("compare", "tiny", shipped_default())
    assert "0.300 (100)" in said and "0.264 (119)" in said
    assert "do not compare" in said


def test_owners_and_sharing(folder: Path) -> None:
    model("add", folder, "--owner", "anna")
    assert "tiny" not in model("list")
    assert "no such model" in model("show", "tiny", status=2)
    model("share", "tiny", "--owner", "anna")
    assert "of anna" in model("list")
    assert "another user" in model("delete", "tiny", "--yes", status=2)
    model("share", "tiny", "--stop", "--owner", "anna")
    assert "tiny" not in model("list")
