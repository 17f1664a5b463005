"""`xpert explain changes` on the first pairs of the example."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from resistance_data import write_pairs
from typer.testing import CliRunner

from xpert_core.cli.application import application

RUN = CliRunner()


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pairs(tmp_path_factory.mktemp("cohort") / "pairs.csv")


def run(cohort: Path, out: Path, *options: str):
    return RUN.invoke(
        application,
        ["explain", "changes", str(cohort), "--column", "response", "--out", str(out), *options],
    )


def test_one_file_and_two_files_say_the_same(cohort: Path, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    groups = ("--a", "PRCR", "--b", "SD,PD", "--lfc", "0.5")
    result = run(cohort, one, *groups)
    assert result.exit_code == 0, result.output
    said = " ".join(result.output.split())
    assert "3 patients in A (PRCR) and 4 in B (SD, PD)" in said
    assert "genes change in A" in said and "with permuted labels it is" in said
    assert (one / "volcano_difference.svg").is_file() and (one / "report.md").is_file()
    table = pd.read_csv(cohort)
    sides = {}
    for side, rows in table.groupby("timepoint"):
        sides[side] = tmp_path / f"{side}.csv"
        rows.to_csv(sides[side], index=False)
    before, after = (sides[name] for name in ("pre", "post"))
    again = run(before, two, "--after", str(after), *groups)
    assert again.exit_code == 0, again.output
    first, second = (pd.read_csv(out / "difference.csv") for out in (one, two))
    pd.testing.assert_frame_equal(first, second)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--a", "PRCR"), "Group B is empty"),
        (("--a", "PRCR", "--b", "CR"), "asks for 'CR', which no sample has"),
        (("--a", "PRCR", "--b", "SD"), "too few for a test"),
        (("--a", "PRCR", "--b", "PD", "--q", "0"), "The largest q is 0"),
    ],
)
def test_what_cannot_be_done_is_explained(
    cohort: Path, tmp_path: Path, options: tuple[str, ...], says: str
) -> None:
    result = run(cohort, tmp_path / "out", *options)
    assert result.exit_code == 2
    assert says in " ".join(result.output.split())
    assert "How to fix" in result.output and not (tmp_path / "out").exists()


def test_one_patient_under_two_names_is_refused(cohort: Path, tmp_path: Path) -> None:
    table = pd.read_csv(cohort)
    copy = table.tail(2).assign(patient_id="Copy")
    twice = tmp_path / "twice.csv"
    pd.concat([table, copy]).to_csv(twice, index=False)
    result = run(twice, tmp_path / "out", "--a", "PRCR", "--b", "SD,PD")
    assert result.exit_code == 2 and "under two patient ids" in " ".join(result.output.split())
    assert not (tmp_path / "out").exists()
