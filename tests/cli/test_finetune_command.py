"""``xpert finetune`` checks, compares, trains, and its model predicts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from finetuning_data import make_base
from pair_data import paired_frame
from typer.testing import CliRunner

from xpert_core.cli.application import application
from xpert_core.finetuning.compare import load_comparison
from xpert_core.genes import load_panel
from xpert_core.model.checkpoint import load_checkpoint, save_checkpoint
from xpert_core.store import Store

pytest.importorskip("lightning")

runner = CliRunner()


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XPERT_DATA_DIR", str(tmp_path / "data"))


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine patients on the whole panel, drug and time as a clinical sheet gives them."""
    file = tmp_path_factory.mktemp("cohort") / "nine.csv"
    frame = paired_frame(9, panel=load_panel())
    frame.loc[frame["timepoint"] == "post", "time"] = "on-treatment"
    frame.to_csv(file, index=False)
    return file


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base") / "small"
    make_base(folder, panel=load_panel())
    return folder


def finetune(*arguments: object):  # type: ignore[no-untyped-def]
    return runner.invoke(application, ["finetune", *map(str, arguments)])


def test_compares_trains_and_the_model_predicts(cohort: Path, base: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    more = ("--base", base, "--out", out, "--folds", 2, "--epochs", 1, "--threads", 1)
    result = finetune(cohort, *more, "--name", "mine", "--time", "48 h")
    assert result.exit_code == 0, result.output
    for words in (
        "9 pairs of 9 patients",
        "All pairs are of one drug (nivolumab)",
        "gives 'on-treatment', which is no number with a unit: 48 h is used",
        "mean change of the drug in the cohort",
        "fine-tuned minus this",
        "peak memory",
        "For research use only",
    ):
        assert words in result.output
    comparison = load_comparison(out / "comparison.json")
    assert comparison.verdict in result.output
    model = load_checkpoint(out / "model")
    assert model.meta.name == "mine"
    assert model.digest[:12] in result.output
    kept = Store().registry.get("mine")
    assert (kept.digest, kept.kind) == (model.digest, "fine-tuned")
    assert kept.parents == (load_checkpoint(base).digest,)
    # Without a word on its origin, the card says it.
    Store().registry.delete("mine")
    added = runner.invoke(application, ["model", "add", str(out / "model")])
    assert added.exit_code == 0, added.output
    again = Store().registry.get("mine")
    assert (again.kind, again.parents) == (kept.kind, kept.parents)
    predicted = runner.invoke(
        application,
        ["predict", "--cohort", str(cohort), "--drug", "nivolumab", "--model", str(out / "model"),
         "--out", str(tmp_path / "result.csv")],
    )  # fmt: skip
    assert predicted.exit_code == 0, predicted.output
    more = (*more, "--lr", 0.002, "--no-register")
    again = finetune(cohort, *more)
    assert again.exit_code == 2
    assert "would be overwritten" in again.output


def test_check_tells_usable_from_refused(cohort: Path, base: Path, tmp_path: Path) -> None:
    result = finetune(cohort, "--base", base, "--check")
    assert result.exit_code == 0, result.output
    assert "This cohort can be used for fine-tuning." in result.output
    few = tmp_path / "few.csv"
    few.write_text("".join(cohort.read_text().splitlines(keepends=True)[:11]))
    result = finetune(few, "--base", base, "--check")
    assert result.exit_code == 3
    assert "Refused: There are 5 pairs; fine-tuning needs at least 8." in result.output
    result = finetune(few, "--base", base, "--out", tmp_path / "run")
    assert result.exit_code == 2
    assert "How to fix: Add patients" in result.output
    assert not (tmp_path / "run").exists()


def test_two_files_and_bad_settings(cohort: Path, base: Path, tmp_path: Path) -> None:
    lines = cohort.read_text().splitlines(keepends=True)
    before, after = tmp_path / "before.csv", tmp_path / "after.csv"
    before.write_text("".join([lines[0], *lines[1::2]]))
    after.write_text("".join([lines[0], *lines[2::2]]))
    result = finetune(before, "--after", after, "--base", base, "--check")
    assert result.exit_code == 0, result.output
    assert "before.csv + after.csv, 9 pairs of 9 patients" in result.output
    result = finetune(cohort, "--base", base, "--lr", -1)
    assert result.exit_code == 2 and "The learning rate cannot be -1." in result.output
    result = finetune(cohort, "--base", base, "--method", "magic")
    assert result.exit_code == 2
    assert "Use one of auto, adapters, full." in result.output


def test_a_base_that_cannot_be_fine_tuned_is_refused_before_the_cohort_is_read(
    base: Path, tmp_path: Path
) -> None:
    """The bin edges of published weights are not known."""
    folder = tmp_path / "published"
    loaded = load_checkpoint(base)
    meta = replace(loaded.meta, bins={**loaded.meta.bins, "kind": "unknown"})
    save_checkpoint(folder, loaded.model, meta, "# published\n")
    result = finetune(tmp_path / "absent.csv", "--base", folder)
    assert result.exit_code == 2
    assert "cannot be fine-tuned: the edges of its expression bins are not known" in result.output
