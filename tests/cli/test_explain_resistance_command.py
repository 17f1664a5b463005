"""`xpert explain resistance` on a few patients, with the shipped model."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from resistance_data import write_responders
from typer.testing import CliRunner

from xpert_core.cli.application import application

RUN = CliRunner()


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_responders(tmp_path_factory.mktemp("cohort") / "melanoma.csv")


def run(cohort: Path, out: Path, *options: str):
    return RUN.invoke(
        application,
        ["explain", "resistance", str(cohort), "--column", "response", "--out", str(out), *options],
    )


def test_tables_report_and_figures_are_written(cohort: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = run(
        cohort, out, "--a", "PRCR", "--b", "PD", "--kind", "cls", "--layer", "base_SA_1",
        "--lfc", "0.5",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    said = " ".join(result.output.split())
    assert "4 patients in A (PRCR) and 4 in B (PD); left out: 1 without a value" in said
    assert "not what causes resistance" in said
    genes = pd.read_csv(out / "genes.csv")
    assert len(genes) == 978 and genes["attention_p"].notna().sum() > 900
    about = json.loads((out / "provenance.json").read_text(encoding="utf-8"))
    assert about["attention_kind"] == "cls" and about["layer"] == "base_SA_1"
    assert about["permutations"] == 70 and about["all_relabellings"]
    assert (out / "volcano_attention.svg").is_file()
    again = run(cohort, out, "--a", "PRCR", "--b", "PD")
    assert again.exit_code == 2 and "holds files" in again.output


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--a", "PRCR"), "Group B is empty"),
        (("--a", "PRCR", "--b", "CR"), "asks for 'CR', which no sample has"),
        (("--a", "PRCR", "--b", "PD", "--kind", "mean"), "no attention of kind 'mean'"),
        (("--a", "PRCR", "--b", "PD", "--layer", "SA_7"), "has no layer 'SA_7'"),
        (("--a", "PRCR", "--b", "PD", "--q", "2"), "The largest q is 2"),
        (("--a", "PRCR", "--threshold", "3"), "Both values and a threshold"),
    ],
)
def test_what_cannot_be_done_is_explained(
    cohort: Path, tmp_path: Path, options: tuple[str, ...], says: str
) -> None:
    result = run(cohort, tmp_path / "out", *options)
    assert result.exit_code == 2
    assert says in " ".join(result.output.split())
    assert "How to fix" in result.output and not (tmp_path / "out").exists()
