"""``xpert explain atoms`` and ``genes`` write the numbers of the Python interface."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from xpert_core.cli.application import application
from xpert_core.cohorts import read_cohort, to_profiles
from xpert_core.explanation.genes import gene_attention
from xpert_core.paths import assets_dir
from xpert_core.prediction import Predictor

MELANOMA = assets_dir() / "examples" / "user_upload_pretreatment_melanoma_nivolumab.csv"
runner = CliRunner()


@pytest.fixture(scope="module")
def two_patients(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("cohort") / "two.csv"
    lines = MELANOMA.read_text(encoding="utf-8").splitlines(keepends=True)
    file.write_text("".join(lines[:3]), encoding="utf-8")
    return file


def run(*arguments: str):  # type: ignore[no-untyped-def]
    return runner.invoke(application, ["explain", *arguments])


def test_genes(two_patients: Path, tmp_path: Path) -> None:
    out, model = tmp_path / "out", "xpert-l1000-small"
    result = run("genes", str(two_patients), "--out", str(out), "--model", model, "--model", model)
    assert result.exit_code == 0, result.output
    predictor = Predictor.load()
    profiles = to_profiles(read_cohort(two_patients), predictor.panel)
    expected = gene_attention(predictor, profiles)
    found = pd.read_csv(out / "received_base_SA_1.csv", index_col="sample_id")
    np.testing.assert_allclose(found, expected.frame("received", "base_SA_1"), atol=1e-6)
    assert set(pd.read_csv(out / "genes.csv")["kind"]) == {"received", "cls", "rollout"}
    note = json.loads((out / "provenance.json").read_text())
    assert note["model_digest"] == predictor.digest and "cls token" in note["attention"]["cls"]
    assert "Agreement of 2 models: mean cosine 1.000" in result.stdout
    assert "Attention is not mechanism" in result.stdout


def test_atoms_of_a_gene_set(two_patients: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = run(
        "atoms", str(two_patients), "--drug", "vorinostat", "--dose", "10uM", "--sample", "Pt1",
        "--genes", "CDK4,MYC", "--untrained", "1", "--out", str(out),
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "vorinostat, 10 uM, 24 h: 19 atoms, 1 samples" in result.stdout
    assert "hydroxamic acid" in result.stdout and "not which atoms bind" in result.stdout
    table = pd.read_csv(out / "atoms.csv")
    assert len(table) == 19 and table["attention"].sum() == pytest.approx(1)
    assert (out / "attention.svg").is_file() and (out / "pharmacophores.csv").is_file()


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--drug", "nivolumab"], "no chemical structure"),
        (["--drug", "vorinostat", "--genes", "NOGENE"], "not among the landmark genes"),
        (["--drug", "vorinostat", "--sample", "nobody"], "no sample 'nobody'"),
    ],
)
def test_refusals_write_nothing(
    two_patients: Path, tmp_path: Path, more: list[str], words: str
) -> None:
    out = tmp_path / "out"
    result = run("atoms", str(two_patients), "--out", str(out), *more)
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: ") and words in result.stderr
    assert "How to fix" in result.stderr and not out.exists()


def test_a_folder_with_files_is_kept(two_patients: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    result = run("genes", str(two_patients), "--out", str(tmp_path))
    assert result.exit_code == 2 and "holds files" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
