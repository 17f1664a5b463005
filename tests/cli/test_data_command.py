"""``xpert data prepare``: every source from files to data, and Ctrl-C in the middle."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from lincs_data import Release, write_release
from preparation_data import patients_h5ad, series_matrix, wells
from processes import hear_ctrl_c
from typer.testing import CliRunner

from xpert_core.cli.application import application
from xpert_core.genes import load_panel
from xpert_core.tokens.dataset import TrainingData

runner = CliRunner()


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Release:
    return write_release(tmp_path_factory.mktemp("lincs"), most=300)


def run(*words: str | Path) -> str:
    """Standard output of a command that must succeed."""
    result = runner.invoke(application, ["data", "prepare", *map(str, words)])
    assert result.exit_code == 0, result.output
    return result.stdout


def lincs_words(release: Release) -> list[str]:
    files = release.files
    words = ["lincs", "--treated", files.treated, "--vehicle", files.vehicle]
    words += ["--instances", files.instances, "--compounds", files.compounds]
    return list(map(str, words))


def test_lincs_checks_prepares_and_refuses_to_overwrite(release: Release, tmp_path: Path) -> None:
    words = lincs_words(release)
    told = run(*words, "--check", "--out", tmp_path / "no")
    assert "kept: treated wells" in told and "conditions in mdmt_pretrain" in told
    assert not (tmp_path / "no").exists()
    told = run(*words, "--out", tmp_path, "--subset", "full", "--subset", "mdmt_pretrain")
    full = ad.read_h5ad(tmp_path / "l1000_full.h5ad")
    assert f"{len(full):,} rows written to {tmp_path / 'l1000_full.h5ad'}" in told
    again = runner.invoke(application, ["data", "prepare", *words, "--out", str(tmp_path)])
    assert again.exit_code == 2 and "add --force" in again.stderr
    run(*words, "--out", tmp_path, "--force", "--control", "random")
    wrong = ["data", "prepare", *words, "--out", str(tmp_path), "--subset", "half"]
    refused = runner.invoke(application, wrong)
    assert refused.exit_code == 2 and "Subsets are full" in refused.stderr


def test_ctrl_c_leaves_no_output_and_the_same_command_goes_on(
    release: Release, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    words = [*lincs_words(release), "--out", str(out), "--block", "1"]
    code = "from xpert_core.cli import main; main()"
    command = [sys.executable, "-c", code, "data", "prepare", *words]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=hear_ctrl_c, env=dict(os.environ),
    )  # fmt: skip
    # Blocks of one profile write their state hundreds of times: stop when some are in.
    state = out / ".l1000-work" / "state.json"
    while process.poll() is None:
        if state.is_file() and '"treated": ' in state.read_text(encoding="utf-8"):
            process.send_signal(signal.SIGINT)
            break
    _, told = process.communicate(timeout=120)
    assert process.returncode == 130 and "Stopped" in told
    assert not list(out.glob("*.h5ad")) and state.is_file()
    run(*words)
    whole = tmp_path / "whole"
    run(*lincs_words(release), "--out", whole, "--block", "1")
    files = [folder / "l1000_full.h5ad" for folder in (out, whole)]
    resumed, once = (ad.read_h5ad(file) for file in files)
    np.testing.assert_array_equal(resumed.X, once.X)
    np.testing.assert_array_equal(resumed.obsm["X_ctl"], once.obsm["X_ctl"])
    assert [p.name for p in out.iterdir()] == ["l1000_full.h5ad"]


def test_counts_and_patients_and_series(tmp_path: Path) -> None:
    symbols = list(load_panel().symbols)
    counts, sheet = tmp_path / "counts.csv", tmp_path / "sheet.csv"
    table = pd.DataFrame(np.exp2(wells(3)).T.round(), symbols, ["c1", "t1", "t2"])
    table.rename_axis("gene").to_csv(counts)
    rows = [("c1", "HT29", "DMSO", "", ""), ("t1", "HT29", "imatinib", "1", "24")]
    rows += [("t2", "HT29", "imatinib", "1000 nM", "24 h")]
    pd.DataFrame(rows, columns=["sample", "cell", "drug", "dose", "time"]).to_csv(
        sheet, index=False
    )
    out = tmp_path / "panacea.h5ad"
    told = run("panacea", "--counts", counts, "--sheet", sheet, "--out", out)
    assert "not to TPM" in told and "1 rows written" in told
    refused = runner.invoke(
        application,
        ["data", "prepare", "panacea", "--counts", str(counts), "--sheet", str(sheet),
         "--out", str(out)],
    )  # fmt: skip
    assert refused.exit_code == 2 and "would be overwritten" in refused.stderr

    matrix = tmp_path / "matrix.csv"
    pd.DataFrame(wells(2).T, symbols, ["a", "b"]).rename_axis("gene").to_csv(matrix)
    rows = [("a", "P1", "pre", "letrozole"), ("b", "P1", "post", "letrozole")]
    columns = ["sample", "patient", "timepoint", "drug"]
    pd.DataFrame(rows, columns=columns).to_csv(sheet, index=False)
    told = run("cdsdb", "--matrix", matrix, "--sheet", sheet, "--out", tmp_path / "cdsdb.h5ad")
    assert "1 rows written" in told

    series = tmp_path / "GSE1_series_matrix.txt.gz"
    stages = [["subject: S1", "subject: S1"], ["stage: before", "stage: after"]]
    series_matrix(series, symbols, wells(2).T, {}, stages)
    told = run(
        "geo", series, "--patient", "subject", "--timepoint", "stage", "--drug", "=letrozole",
        "--out", tmp_path / "series.h5ad",
    )  # fmt: skip
    assert "landmark genes found" in told and "1 rows written" in told


def test_published_files_become_tensors(tmp_path: Path) -> None:
    source, ours = tmp_path / "cdsdb.h5ad", tmp_path / "ours.h5ad"
    patients_h5ad(source, 4, split_1=["train"] * 4 + ["test"] * 4)
    assert "8 rows written" in run("published", source, "--out", ours)
    out = tmp_path / "cdsdb.safetensors"
    words = ["tensors", ours, "--assume-dose", "1 uM", "--out", out]
    told = run(*words, "--featurizer", "morgan")
    data = TrainingData.load(out)
    assert len(set(data.patients)) == 4 and "molar dose taken as 1 uM" in told
    assert f"unseen-patient, {out}.splits" in told


def test_the_help_says_that_every_source_goes_on_where_it_was() -> None:
    for name in ("lincs", "panacea", "cdsdb", "geo", "published", "tensors"):
        told = " ".join(run(name, "--help").split())
        assert "the same command goes on where it was" in told, name


def test_default_structure_tokens_are_aimnet2(tmp_path: Path) -> None:
    source, out = tmp_path / "cdsdb.h5ad", tmp_path / "cdsdb.safetensors"
    patients_h5ad(source, 1)
    run("tensors", source, "--assume-dose", "1 uM", "--out", out)
    data = TrainingData.load(out)
    assert data.info["featurizer"]["name"] == "aimnet2"
    assert data.has_molecule.all() and len(data.atoms) == data.atom_offsets[-1] > 10
