"""The commands that need no model: help, version, drugs search, cohort check."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

import xpert_core
from xpert_core.cli.application import application
from xpert_core.paths import assets_dir

EXAMPLES = assets_dir() / "examples"
MELANOMA = EXAMPLES / "user_upload_pretreatment_melanoma_nivolumab.csv"
COMMANDS = (
    "predict", "train", "search", "app", "worker", "jobs", "drugs", "cohort", "graph", "doctor",
    "version",
)  # fmt: skip

runner = CliRunner()


def xpert(*arguments: str | Path, env: dict[str, str] | None = None):  # type: ignore[no-untyped-def]
    return runner.invoke(application, [str(a) for a in arguments], env=env)


def test_help_names_every_command() -> None:
    result = xpert("--help")
    assert result.exit_code == 0
    assert "research use only" in " ".join(result.stdout.split())
    for command in COMMANDS:
        assert f" {command} " in result.stdout
        assert xpert(command, "--help").exit_code == 0


def test_help_answers_within_half_a_second_of_work() -> None:
    program = "from xpert_core.cli import main; main()"
    # Processor time, which is what the clock shows on a quiet machine, without coverage's share.
    plain = {k: v for k, v in os.environ.items() if not k.startswith("COVERAGE")}
    spent = []
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(
            [sys.executable, "-c", program, "--help"], check=True, capture_output=True, env=plain
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(spent) < 0.5, spent


def test_version_names_the_engine_and_its_libraries() -> None:
    result = xpert("version")
    assert result.exit_code == 0
    assert result.stdout.startswith(f"xpert {xpert_core.__version__}\n")
    assert "torch " in result.stdout


def test_drugs_search_forgives_spelling_and_gives_json() -> None:
    table = xpert("drugs", "search", "trametinb", "--limit", "5")
    assert table.exit_code == 0
    assert "trametinib" in table.stdout
    rows = json.loads(xpert("drugs", "search", "venetoclax", "--json").stdout)
    assert any("BCL2" in row["targets"] for row in rows[:3])
    assert all(row["score"] and row["matched_on"] for row in rows)


def test_drugs_search_without_a_match_says_what_else_works() -> None:
    result = xpert("drugs", "search", "qqqqqqqqzzzz")
    assert result.exit_code == 1
    assert "SMILES" in result.stdout
    assert json.loads(xpert("drugs", "search", "qqqqqqqqzzzz", "--json").stdout) == []


def test_cohort_check_accepts_the_example_and_writes_the_gene_report(tmp_path: Path) -> None:
    report = tmp_path / "genes.csv"
    result = xpert("cohort", "check", MELANOMA, "--report", report)
    assert result.exit_code == 0, result.output
    assert "977 of 978" in result.stdout
    assert "log2" in result.stdout
    assert "can be used for prediction" in result.stdout
    table = pd.read_csv(report)
    assert table.loc[table["status"] == "missing", "symbol"].tolist() == ["MIF"]
    again = xpert("cohort", "check", MELANOMA, "--report", report)
    assert again.exit_code == 2
    assert "--force" in again.stderr
    assert xpert("cohort", "check", MELANOMA, "--report", report, "--force").exit_code == 0


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("user_upload_paired_breast_letrozole.csv", "26"),
        ("user_upload_paired_breast_doxorubicin.csv", "156"),
    ],
)
def test_cohort_check_refuses_too_few_genes_with_the_numbers(name: str, found: str) -> None:
    result = xpert("cohort", "check", EXAMPLES / name)
    assert result.exit_code == 3
    assert f"{found} of" in result.stdout
    assert "978" in result.stdout
    assert "cannot be used for prediction" in result.stdout


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("empty.csv", b""),
        ("header.csv", b"patient_id,TP53,MYC\n"),
        (
            "pickle.csv",
            b"\x80\x04\x95\x0f\x00\x00\x00\x00\x00\x00\x00\x8c\x02os\x94\x8c\x06system\x94",
        ),
        ("cut.h5ad", b"\x89HDF\r\n\x1a\n" + b"\x00" * 64),
        ("text.csv", b"patient_id,TP53,MYC,EGFR\nP1,1.5,high,2\nP2,3.5,4.5,2\n"),
    ],
)
def test_bad_files_give_a_message_and_no_traceback(
    tmp_path: Path, name: str, content: bytes
) -> None:
    file = tmp_path / name
    file.write_bytes(content)
    report = tmp_path / "report.csv"
    result = xpert("cohort", "check", file, "--report", report)
    assert result.exit_code == 2, result.output
    assert result.stderr.startswith("Error: ")
    assert name in result.stderr
    assert "How to fix:" in result.stderr
    assert "Traceback" not in result.output
    assert not report.exists()


def test_a_missing_file_and_an_unknown_scale_are_named(tmp_path: Path) -> None:
    result = xpert("cohort", "check", tmp_path / "nowhere.csv")
    assert result.exit_code == 2
    assert "nowhere.csv" in result.stderr
    result = xpert("cohort", "check", MELANOMA, "--scale", "furlongs")
    assert result.exit_code == 2
    assert "furlongs" in result.stderr


def test_a_stated_zscore_scale_refuses_prediction() -> None:
    result = xpert("cohort", "check", MELANOMA, "--scale", "z-score")
    assert result.exit_code == 3
    assert "z-score" in result.stdout
