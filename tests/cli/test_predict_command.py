"""``xpert predict`` runs the shipped model on the example, and refuses what it must refuse."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
from processes import at_work, hear_ctrl_c
from typer.testing import CliRunner

from xpert_core.cli.application import application
from xpert_core.cohorts import read_cohort
from xpert_core.paths import assets_dir
from xpert_core.prediction import Predictor, load_prediction
from xpert_core.store import Store

EXAMPLES = assets_dir() / "examples"
MELANOMA = EXAMPLES / "user_upload_pretreatment_melanoma_nivolumab.csv"

runner = CliRunner()


@pytest.fixture(scope="module")
def two_patients(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first two patients of the example, as a file of their own."""
    file = tmp_path_factory.mktemp("cohort") / "two.csv"
    lines = MELANOMA.read_text(encoding="utf-8").splitlines(keepends=True)
    file.write_text("".join(lines[:3]), encoding="utf-8")
    return file


def predict(cohort: Path, out: Path, *more: str, drug: str = "trametinib"):  # type: ignore[no-untyped-def]
    arguments = ["predict", "--cohort", str(cohort), "--drug", drug, "--out", str(out), *more]
    return runner.invoke(application, arguments)


def assert_refused(result, folder: Path, *words: str) -> None:  # type: ignore[no-untyped-def]
    """Exit 2, the three parts of a message, no traceback, nothing written."""
    assert result.exit_code == 2, result.output
    assert result.stderr.startswith("Error: ")
    assert "Traceback" not in result.output
    for word in words:
        assert word in result.stderr
    assert list(folder.iterdir()) == []


def test_gives_the_numbers_of_the_python_interface(two_patients: Path, tmp_path: Path) -> None:
    out = tmp_path / "result.h5ad"
    result = predict(two_patients, out, "--dose", "1uM", "--time", "24h", "--dose", "100 nM")
    assert result.exit_code == 0, result.output
    expected = Predictor.load().predict(
        read_cohort(two_patients), ["trametinib"], ["1uM", "100 nM"], ["24h"]
    )
    found = load_prediction(out)
    assert len(found) == 4
    np.testing.assert_allclose(found.x_deg, expected.x_deg, atol=1e-6)
    np.testing.assert_allclose(found.x_pert, expected.x_pert, atol=1e-6)
    assert found.rows["dose_um"].tolist() == expected.rows["dose_um"].tolist()
    assert found.provenance["input_sha256"] == expected.provenance["input_sha256"]
    assert list(anndata.read_h5ad(out).var_names) == list(expected.genes.index)
    assert list(tmp_path.iterdir()) == [out]


def test_summary_says_how_many_and_which_genes_move(two_patients: Path, tmp_path: Path) -> None:
    result = predict(two_patients, tmp_path / "r.h5ad", "--dose", "1uM")
    assert "2 predictions: 2 samples, 1 drugs" in result.stdout
    assert "at most 1 of 978" in result.stdout  # MIF is not in the example
    prediction = load_prediction(tmp_path / "r.h5ad")
    strongest = prediction.genes.index[np.abs(prediction.x_deg[0]).argmax()]
    assert strongest in result.stdout
    assert "research use only" in result.stdout


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_other_formats_hold_the_same_rows(two_patients: Path, tmp_path: Path, suffix: str) -> None:
    out = tmp_path / f"result{suffix}"
    assert predict(two_patients, out).exit_code == 0
    assert out.stat().st_size > 0
    table = pd.read_csv(out, comment="#") if suffix == ".csv" else pd.read_parquet(out)
    assert "trametinib" in table["drug"].unique()


def test_one_sample_and_a_smiles(two_patients: Path, tmp_path: Path) -> None:
    sample = str(read_cohort(two_patients).samples.index[1])
    out = tmp_path / "result.h5ad"
    result = predict(two_patients, out, "--sample", sample, drug="CC(=O)Oc1ccccc1C(=O)O")
    assert result.exit_code == 0, result.output
    assert load_prediction(out).rows["sample_id"].tolist() == [sample]


def test_an_existing_result_is_kept_unless_forced(two_patients: Path, tmp_path: Path) -> None:
    out = tmp_path / "result.h5ad"
    out.write_bytes(b"mine")
    refused = predict(two_patients, out)
    assert refused.exit_code == 2
    assert "--force" in refused.stderr
    assert out.read_bytes() == b"mine"
    assert predict(two_patients, out, "--force").exit_code == 0
    assert len(load_prediction(out)) == 2


def test_what_is_written_beside_a_csv_is_kept_too(two_patients: Path, tmp_path: Path) -> None:
    beside = tmp_path / "result.provenance.json"
    beside.write_text("mine")
    refused = predict(two_patients, tmp_path / "result.csv")
    assert refused.exit_code == 2 and "result.provenance.json" in refused.stderr
    assert beside.read_text() == "mine" and not (tmp_path / "result.csv").exists()
    assert predict(two_patients, tmp_path / "result.csv", "--force").exit_code == 0
    assert beside.read_text() != "mine"


def test_stores_when_asked_and_only_then(two_patients: Path, tmp_path: Path) -> None:
    store = Store()
    before = len(store.runs())
    assert predict(two_patients, tmp_path / "a.h5ad").exit_code == 0
    assert len(store.runs()) == before
    result = predict(two_patients, tmp_path / "b.h5ad", "--store")
    assert result.exit_code == 0, result.output
    runs = store.runs()
    assert len(runs) == before + 1
    run_id = str(runs.index[0])
    assert run_id in result.stdout
    assert runs["model"].iloc[0] == Predictor.load().name
    stored = store.load_prediction(run_id)
    np.testing.assert_array_equal(stored.x_deg, load_prediction(tmp_path / "b.h5ad").x_deg)
    store.close()


@pytest.mark.parametrize(
    ("more", "word"),
    [
        (("--dose", "-1"), "-1"),
        (("--dose", "abc"), "abc"),
        (("--time", "0"), "0"),
        (("--sample", "nobody"), "nobody"),
        (("--scale", "z-score"), "z-score"),
    ],
)
def test_bad_settings_are_refused(
    two_patients: Path, tmp_path: Path, more: tuple[str, str], word: str
) -> None:
    assert_refused(predict(two_patients, tmp_path / "r.h5ad", *more), tmp_path, word)


@pytest.mark.parametrize(
    ("drug", "word"),
    [
        ("trametinob", "trametinib"),
        ("C1CC", "C1CC"),
        ("C" * 5000, "atoms"),
    ],
)
def test_bad_drugs_are_refused(two_patients: Path, tmp_path: Path, drug: str, word: str) -> None:
    assert_refused(predict(two_patients, tmp_path / "r.h5ad", drug=drug), tmp_path, word)


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("user_upload_paired_breast_letrozole.csv", "26"),
        ("user_upload_paired_breast_doxorubicin.csv", "156"),
    ],
)
def test_too_few_genes_are_refused_with_the_numbers(tmp_path: Path, name: str, found: str) -> None:
    result = predict(EXAMPLES / name, tmp_path / "r.h5ad")
    assert_refused(result, tmp_path, f"{found} of the 978", "How to fix")


@pytest.mark.parametrize("name", ["r.txt", "r", "r.pkl"])
def test_unknown_result_formats_are_refused(two_patients: Path, tmp_path: Path, name: str) -> None:
    assert_refused(predict(two_patients, tmp_path / name), tmp_path, ".h5ad")


def test_a_missing_and_a_damaged_model_are_refused(two_patients: Path, tmp_path: Path) -> None:
    results = tmp_path / "results"
    results.mkdir()
    missing = predict(two_patients, results / "r.h5ad", "--model", str(tmp_path / "nowhere"))
    assert_refused(missing, results, "nowhere", "How to fix")
    shipped = next(p.parent for p in (assets_dir() / "models").rglob("*.safetensors"))
    damaged = tmp_path / "damaged"
    shutil.copytree(shipped, damaged)
    weights = next(damaged.glob("*.safetensors"))
    content = bytearray(weights.read_bytes())
    content[-1] ^= 0xFF
    weights.write_bytes(content)
    assert_refused(
        predict(two_patients, results / "r.h5ad", "--model", str(damaged)), results, "How to fix"
    )


PROGRAM = "from xpert_core.cli import main; main()"


@pytest.mark.skipif(os.name != "posix", reason="file size limits are a POSIX matter")
def test_a_full_disk_leaves_no_half_result(two_patients: Path, tmp_path: Path) -> None:
    limited = (
        "import resource, signal\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n{PROGRAM}"
    )
    out = tmp_path / "result.csv"
    command = [sys.executable, "-c", limited, "predict", "--cohort", str(two_patients)]
    # Coverage writes files too, and would meet the same limit.
    quiet = {k: v for k, v in os.environ.items() if not k.startswith(("COVERAGE", "COV_"))}
    result = subprocess.run(
        [*command, "--drug", "trametinib", "--out", str(out)],
        capture_output=True,
        text=True,
        env=quiet,
        check=False,
    )
    assert result.returncode == 2, result.stderr
    assert "Traceback" not in result.stderr
    assert "Error: " in result.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("seconds", [1, 6])  # while libraries are imported; while it predicts
def test_ctrl_c_stops_without_a_half_file(tmp_path: Path, seconds: int) -> None:
    out = tmp_path / "result.h5ad"
    doses = [word for dose in range(1, 41) for word in ("--dose", f"{dose}uM")]
    command = [sys.executable, "-c", PROGRAM, "predict", "--cohort", str(MELANOMA)]
    process = subprocess.Popen(
        [*command, "--drug", "trametinib", "--drug", "vemurafenib", *doses, "--out", str(out)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=hear_ctrl_c,
    )
    at_work(process, seconds)
    assert process.poll() is None, "4,080 predictions took less than the time to interrupt them"
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    assert list(tmp_path.iterdir()) == []
