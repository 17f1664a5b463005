"""``xpert explain dose``, ``maps`` and ``response``: the numbers of the Python interface."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from prediction_data import prediction_of
from typer.testing import CliRunner

from xpert_core.cli.application import application
from xpert_core.explanation.measured import compare, dose_series, drug_of
from xpert_core.explanation.response import most_changed, response_groups
from xpert_core.genes import load_panel
from xpert_core.prediction import Predictor

runner = CliRunner()


def explain(*arguments: str):  # type: ignore[no-untyped-def]
    return runner.invoke(application, ["explain", *arguments])


def assert_refused(result, *words: str) -> None:  # type: ignore[no-untyped-def]
    assert result.exit_code == 2, result.output
    assert result.stderr.startswith("Error: ") and "Traceback" not in result.output
    for word in words:
        assert word in result.stderr


def test_dose_compares_with_the_measured_series(tmp_path: Path) -> None:
    out = tmp_path / "dose"
    result = explain(
        "dose", "--drug", "trametinib", "--out", str(out), "--genes", "DUSP6",
        "--dose", "10 uM", "--time", "6 h", "--gene-set", "HALLMARK_E2F_TARGETS",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    names = {path.name for path in out.iterdir()}
    assert {"curves.csv", "heat.csv", "components.csv", "reversals.csv", "surface.csv",
            "measured.csv", "provenance.json"} <= names  # fmt: skip
    wells, predictor = dose_series("trametinib"), Predictor.load()
    prediction = predictor.predict(
        wells.controls, [drug_of(wells)], sorted(wells.rows["dose_um"].unique()), [24.0],
        samples=sorted(wells.rows["control"].unique()),
    )  # fmt: skip
    curves = pd.read_csv(out / "curves.csv").set_index(["series", "dose_um"])
    assert curves.loc[("e2f targets", 10.0), "mean"] < -0.5  # a MEK inhibitor stops the cycle
    assert curves.loc[("e2f targets", 10.0), "genes"] > 20
    found = pd.read_csv(out / "measured.csv")
    expected = compare(prediction, wells)
    np.testing.assert_allclose(found["pearson"], expected["pearson"], atol=1e-4)
    assert set(found["part"]) == {"train"}
    assert "0 at several times" in result.output
    assert_refused(explain("dose", "--drug", "trametinib", "--out", str(out)), str(out))


def test_dose_refuses_what_it_cannot_follow(tmp_path: Path) -> None:
    out = str(tmp_path / "x")
    assert_refused(explain("dose", "--drug", "aspirin", "--out", out), "aspirin", "for example")
    assert_refused(
        explain("dose", "--drug", "trametinib", "--sample", "a", "--out", out), "--cohort"
    )
    wrong = explain("dose", "--drug", "trametinib", "--gene-set", "nothing", "--out", out)
    assert_refused(wrong, "no Hallmark set 'nothing'", "adipogenesis")
    assert not (tmp_path / "x").exists()


def test_maps_of_wells_with_scores(tmp_path: Path) -> None:
    out = tmp_path / "maps"
    result = explain("maps", "--space", "wells", "--cell", "MCF7", "--label", "time",
                     "--out", str(out))  # fmt: skip
    assert_refused(result, "too few points")
    result = explain("maps", "--space", "nothing", "--out", str(out))
    assert_refused(result, "raw, ranks, cls")
    assert_refused(explain("maps", "--space", "raw", "--out", str(out)), "--cohort")


def test_a_map_has_its_figure_and_says_what_it_rests_on(tmp_path: Path) -> None:
    out = tmp_path / "genes"
    result = explain("maps", "--space", "genes", "--method", "t-sne", "--out", str(out))
    assert result.exit_code == 0, result.output
    assert {path.name for path in out.iterdir()} == {
        "map.csv", "scores.csv", "map_pathway.svg", "provenance.json",
    }  # fmt: skip
    about = json.loads((out / "provenance.json").read_text())
    assert about["model_digest"] == Predictor.load().digest
    assert (about["method"], about["seed"], about["points"]) == ("t-sne", 0, 978)
    assert "not known" in (out / "map_pathway.svg").read_text()


@pytest.fixture
def response_files(tmp_path: Path) -> tuple[Path, Path]:
    """A cohort of eight patients with a response, and a result for them."""
    symbols = load_panel().symbols
    patients = [f"Pt{i}" for i in range(8)]
    rng = np.random.default_rng(0)
    table = pd.DataFrame(rng.uniform(4, 12, (8, len(symbols))).round(2), columns=list(symbols))
    table.insert(0, "response", ["PRCR", "PD"] * 4)
    table.insert(0, "patient_id", patients)
    cohort = tmp_path / "cohort.csv"
    table.to_csv(cohort, index=False)
    values = {p: rng.normal(size=len(symbols)) + (i % 2 == 0) for i, p in enumerate(patients)}
    prediction = prediction_of(lambda s, d, t: values[s], patients, (1.0,))
    prediction.save(tmp_path / "result.h5ad")
    return cohort, tmp_path / "result.h5ad"


def test_response_gives_the_tables_of_the_python_interface(
    response_files: tuple[Path, Path], tmp_path: Path
) -> None:
    cohort, result_file = response_files
    out = tmp_path / "out"
    result = explain("response", str(result_file), "--cohort", str(cohort), "--out", str(out))
    assert result.exit_code == 0, result.output
    found = pd.read_csv(out / "most_changed.csv").set_index("gene")
    from xpert_core.explanation.response import from_prediction
    from xpert_core.prediction import load_prediction

    groups = response_groups({f"Pt{i}": "PRCR" if i % 2 == 0 else "PD" for i in range(8)})
    expected = most_changed(from_prediction(load_prediction(result_file)), groups)
    expected = expected.set_index("gene").loc[found.index]
    np.testing.assert_allclose(found["difference"], expected["difference"], atol=1e-5)
    assert found["difference"].mean() == pytest.approx(1, abs=0.1)
    assert {path.name for path in out.iterdir()} == {
        "distribution.csv", "most_changed.csv", "counts.csv", "violins.csv",
        "distribution.svg", "violins.svg", "provenance.json",
    }  # fmt: skip
    about = json.loads((out / "provenance.json").read_text())
    assert about["patients_by_group"] == {"responder": 4, "non-responder": 4}
    assert about["results"]["result.h5ad"]["model_name"]
    assert (out / "distribution.svg").read_text().startswith("<svg")


def test_response_without_groups_is_explained(
    response_files: tuple[Path, Path], tmp_path: Path
) -> None:
    cohort, result_file = response_files
    common = ("response", str(result_file), "--cohort", str(cohort), "--out", str(tmp_path / "o"))
    assert_refused(explain(*common, "--responder", "XX"), "no responder", "PRCR")
    assert_refused(explain(*common, "--dose", "3 uM"), "not predicted")
