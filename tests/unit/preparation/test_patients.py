"""CDS-DB style cohorts and GEO series: pairs, drugs that are left out, probes, bad files."""

from __future__ import annotations

import gzip
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from preparation_data import probes, series_matrix, wells

from xpert_core.cohorts import check_cohort, read_cohort
from xpert_core.errors import DataError, XPertError
from xpert_core.genes import load_panel
from xpert_core.preparation.cdsdb import is_chemical, is_combination, prepare_cdsdb
from xpert_core.preparation.geo import GeoFields, prepare_geo
from xpert_core.preparation.records import silent
from xpert_core.preparation.series_matrix import SeriesTable, read_series_header

SHEET = [
    # sample, patient, time point, drug, dose, time, cancer, dataset
    ("a1", "P1", "pre", "", "", "", "breast", "GSE1"),
    ("a2", "P1", "post", "letrozole", "2.5 mg/day", "10-14 days", "breast", "GSE1"),
    ("a3", "P2", "baseline", "letrozole", "", "", "breast", "GSE1"),
    ("a4", "P2", "pre", "letrozole", "", "", "breast", "GSE1"),
    ("a5", "P2", "day 14", "letrozole", "1 uM", "14 d", "breast", "GSE1"),
    ("a6", "P2", "post", "letrozole", "1 uM", "90 d", "breast", "GSE1"),
    ("b1", "P1", "pre", "", "", "", "CML", "GSE2"),
    ("b2", "P1", "post", "imatinib", "400 mg", "24 h", "CML", "GSE2"),
    ("b3", "P3", "pre", "", "", "", "CML", "GSE2"),
    ("b4", "P3", "post", "imatinib + nilotinib", "", "", "CML", "GSE2"),
    ("b5", "P4", "pre", "", "", "", "CML", "GSE2"),
    ("b6", "P4", "post", "rituximab", "", "", "CML", "GSE2"),
    ("b7", "P5", "post", "imatinib", "", "", "CML", "GSE2"),
    ("b8", "P6", "pre", "", "", "", "CML", "GSE2"),
    ("b9", "P7", "whenever", "imatinib", "", "", "CML", "GSE2"),
]
COLUMNS = [
    "sample",
    "Patient ID",
    "time point",
    "drug",
    "dose",
    "time",
    "Cancer subtype",
    "dataset",
]


@pytest.fixture
def cohort(tmp_path: Path) -> tuple[list[Path], Path]:
    """Two matrices, one with symbols and one with probes of HG-U133, and the sheet."""
    values = wells(len(SHEET))
    symbols, second = tmp_path / "gse1.csv", tmp_path / "gse2.tsv"
    first = pd.DataFrame(values[:6].T, load_panel().symbols, [s[0] for s in SHEET[:6]])
    first.rename_axis("gene").to_csv(symbols)
    found = probes(most=2)
    place = {symbol: i for i, symbol in enumerate(load_panel().symbols)}
    rows = np.stack([values[6:, place[s]] for s in found.values()])
    table = pd.DataFrame(rows, list(found), [s[0] for s in SHEET[6:]])
    table.rename_axis("ID_REF").to_csv(second, sep="\t")
    sheet = tmp_path / "sheet.csv"
    pd.DataFrame(SHEET, columns=COLUMNS).to_csv(sheet, index=False)
    return [symbols, second], sheet


def test_pairs_of_patients_under_one_chemical_drug(
    cohort: tuple[list[Path], Path], tmp_path: Path
) -> None:
    matrices, sheet = cohort
    out = tmp_path / "cdsdb.h5ad"
    size, counts = prepare_cdsdb(matrices, sheet, out)
    data = ad.read_h5ad(out)
    values = wells(len(SHEET))
    assert size == 4 and data.obs.index.tolist() == ["a2", "a5", "a6", "b2"]
    # The same name in two data sets is two patients.
    assert data.obs["Patient ID"].tolist() == ["GSE1:P1", "GSE1:P2", "GSE1:P2", "GSE2:P1"]
    assert data.obs["Cancer subtype"].tolist() == ["breast"] * 3 + ["CML"]
    np.testing.assert_allclose(data.X[:3], values[[1, 4, 5]], atol=1e-4)
    np.testing.assert_allclose(data.obsm["X_ctl"][0], values[0], atol=1e-4)
    np.testing.assert_allclose(data.obsm["X_ctl"][1], values[2:4].mean(axis=0), atol=1e-4)
    probed = np.isfinite(data.X[3])
    assert 900 < probed.sum() <= 978  # genes without a probe are not filled in
    np.testing.assert_allclose(data.X[3][probed], values[7][probed], atol=1e-4)
    assert np.isnan(data.obs["dose_um"].iloc[[0, 3]]).all() and data.obs["dose_um"].iloc[1] == 1
    assert data.obs["time_h"].tolist() == [12 * 24, 14 * 24, 90 * 24, 24]
    assert data.obs["pert_dose_idx"].tolist() == [-1, 3, 3, -1]
    steps = dict(counts.steps)
    assert steps["left out: combination therapy, samples after treatment"] == 1
    assert steps["left out: drug is no chemical, samples after treatment"] == 1
    assert steps["left out: time point missing or not understood"] == 1
    assert steps["left out: patients with samples after treatment only"] == 1
    assert steps["left out: patients with samples before treatment only"] == 3
    assert steps["patients with several samples before treatment, averaged"] == 1
    assert "landmark genes with several probes, averaged" in steps


def two_matrices(folder: Path, names: tuple[str, str], patients: list[str]) -> list[Path]:
    """Four samples, two a matrix, before and after treatment; their sheet has no ``dataset``."""
    values, samples, paths = wells(4), ["p1", "p2", "q1", "q2"], []
    for name, part in zip(names, (slice(0, 2), slice(2, 4)), strict=True):
        paths.append(folder / name)
        paths[-1].parent.mkdir(parents=True, exist_ok=True)
        table = pd.DataFrame(values[part].T, load_panel().symbols, samples[part])
        table.rename_axis("gene").to_csv(paths[-1])
    sheet = {"sample": samples, "patient": patients, "timepoint": ["pre", "post"] * 2}
    pd.DataFrame({**sheet, "drug": "letrozole"}).to_csv(folder / "sheet.csv", index=False)
    return paths


@pytest.mark.parametrize("names", [("gse1.csv", "gse2.csv"), ("one/m.csv", "two/m.csv")])
def test_a_patient_of_two_matrices_without_data_sets_is_two_patients(
    tmp_path: Path, names: tuple[str, str]
) -> None:
    matrices = two_matrices(tmp_path, names, ["1"] * 4)
    _, counts = prepare_cdsdb(matrices, tmp_path / "sheet.csv", tmp_path / "out.h5ad")
    data = ad.read_h5ad(tmp_path / "out.h5ad")
    values = wells(4)
    np.testing.assert_allclose(data.X, values[[1, 3]], atol=1e-4)
    np.testing.assert_allclose(data.obsm["X_ctl"], values[[0, 2]], atol=1e-4)
    assert dict(counts.steps)["patients"] == 2 == data.obs["Patient ID"].nunique()
    assert data.obs["Source dataset"].nunique() == 2
    assert dict(counts.steps)["patients with several samples before treatment, averaged"] == 0


def test_a_pair_of_two_matrices_is_refused(tmp_path: Path) -> None:
    matrices = two_matrices(tmp_path, ("gse1.csv", "gse2.csv"), ["1", "2", "2", "1"])
    sheet = tmp_path / "sheet.csv"
    pd.read_csv(sheet).assign(dataset="GSE1").to_csv(sheet, index=False)
    with pytest.raises(DataError, match="in different matrices") as error:
        prepare_cdsdb(matrices, sheet, tmp_path / "out.h5ad")
    assert "patient '1' of data set 'GSE1' in gse1.csv, gse2.csv" in error.value.where
    assert not (tmp_path / "out.h5ad").exists()


def test_a_list_of_ones_own_drops_more_drugs(
    cohort: tuple[list[Path], Path], tmp_path: Path
) -> None:
    more = tmp_path / "more.txt"
    more.write_text("Letrozole\n", encoding="utf-8")
    out = tmp_path / "out.h5ad"
    size, _ = prepare_cdsdb(*cohort, out, non_chemical=more)
    assert size == 1 and ad.read_h5ad(out).obs["pert_id"].tolist() == ["imatinib"]
    more.write_text("letrozole\nimatinib\n", encoding="utf-8")
    with pytest.raises(DataError, match="Nothing is left"):
        prepare_cdsdb(*cohort, tmp_path / "none.h5ad", non_chemical=more)


@pytest.mark.parametrize(
    ("drug", "combined", "chemical"),
    [
        ("letrozole", False, True), ("docetaxel + capecitabine", True, True),
        ("lapatinib and trastuzumab", True, False), ("trastuzumab", False, False),
        ("etanercept", False, False), ("interferon alfa-2b", False, False),
        ("5-fluorouracil", False, True), ("cyclophosphamide, doxorubicin", True, True),
        ("radiotherapy", False, False), ("decitabine/venetoclax", True, True),
        ("aldesleukin", False, False), ("all-trans retinoic acid", False, True),
    ],
)  # fmt: skip
def test_kinds_of_drugs(drug: str, combined: bool, chemical: bool) -> None:
    assert is_combination(drug) is combined
    assert is_chemical(drug) is chemical
    assert is_combination(drug, "combination therapy")
    assert is_chemical(drug, "chemical drug") and not is_chemical(drug, "antibody")


def test_bad_sheets_of_patients_are_told(cohort: tuple[list[Path], Path], tmp_path: Path) -> None:
    matrices, sheet = cohort
    table = pd.read_csv(sheet)
    for change, message in (
        (table.drop(columns="Patient ID"), "no column patient"),
        (pd.concat([table, table.head(2)]), "2 sample ids occur more than once"),
        (table.assign(**{"time point": "sometime"}), "Nothing is left"),
    ):
        change.to_csv(sheet, index=False)
        with pytest.raises(DataError, match=message):
            prepare_cdsdb(matrices, sheet, tmp_path / "out.h5ad")
    table.to_csv(sheet, index=False)
    with pytest.raises(DataError, match="sample ids occur more than once"):
        prepare_cdsdb([matrices[0], matrices[0]], sheet, tmp_path / "out.h5ad")


def geo_file(path: Path, *, missing: bool = False) -> tuple[Path, dict[str, str], np.ndarray]:
    """Eight samples of four patients on real probes; the second probe of a gene is 1 higher."""
    found = probes(most=2)
    place = {symbol: i for i, symbol in enumerate(load_panel().symbols)}
    values, seen, rows = wells(8), set(), []
    for symbol in found.values():
        rows.append(values[:, place[symbol]] + (1 if symbol in seen else 0))
        seen.add(symbol)
    matrix = np.stack(rows)
    if missing:
        matrix[0, 0] = np.nan
    patients = [f"subject: S{i // 2}" for i in range(8)]
    stages = ["time point: " + ("pre" if i % 2 == 0 else "2 weeks") for i in range(8)]
    ages = [f"age: {50 + i}" if i != 3 else "visit: third" for i in range(8)]
    characteristics = [patients, stages, ages]
    file = series_matrix(
        path, [*found, "AFFX-BioB-5_at"], np.vstack([matrix, np.full((1, 8), 7.0)]),
        {"source_name_ch1": ["breast tumour"] * 8}, characteristics,
    )  # fmt: skip
    return file, found, values


def expected(found: dict[str, str], values: np.ndarray) -> np.ndarray:
    """Mean over the probes of each gene; NaN without one."""
    count = pd.Series(list(found.values())).value_counts()
    shift = np.array([{0: np.nan, 1: 0.0, 2: 0.5}[count.get(s, 0)] for s in load_panel().symbols])
    return values + shift


@pytest.mark.parametrize("name", ["GSE1_series_matrix.txt", "GSE1_series_matrix.txt.gz"])
def test_a_series_becomes_a_cohort_that_can_be_read(tmp_path: Path, name: str) -> None:
    file, found, values = geo_file(tmp_path / name)
    out = tmp_path / "series.h5ad"
    size, counts = prepare_geo(file, out)
    data = ad.read_h5ad(out)
    assert size == 8 and "X_ctl" not in data.obsm
    np.testing.assert_allclose(data.X, expected(found, values), atol=1e-4, equal_nan=True)
    steps = dict(counts.steps)
    assert steps["landmark genes found"] == len(set(found.values()))
    assert steps["landmark genes with several probes, averaged"] > 300
    assert data.obs["age"].tolist()[:5] == ["50", "51", "52", "", "54"]
    assert data.obs["geo visit"].tolist()[3] == "third"  # not a time point: kept under its name
    cohort = read_cohort(out)
    assert cohort.scale.used == "log2" and list(cohort.samples.index) == list(data.obs.index)
    assert cohort.samples["patient_id"].tolist() == ["S0", "S0", "S1", "S1", "S2", "S2", "S3", "S3"]
    assert check_cohort(cohort, load_panel()).can_predict


def test_pairs_of_a_series(tmp_path: Path) -> None:
    file, found, values = geo_file(tmp_path / "GSE1_series_matrix.txt", missing=True)
    out = tmp_path / "pairs.h5ad"
    named = GeoFields(
        patient="Subject", timepoint="time point", drug="=letrozole", cancer="source_name_ch1"
    )
    size, _ = prepare_geo(file, out, named=named)
    data = ad.read_h5ad(out)
    whole = expected(found, values)
    assert size == 4 and data.obs["Patient ID"].tolist() == [f"GSE1:S{i}" for i in range(4)]
    assert set(data.obs["pert_id"]) == {"letrozole"} and set(data.obs["Platform"]) == {"GPL96"}
    assert set(data.obs["Cancer subtype"]) == {"breast tumour"}
    np.testing.assert_allclose(data.X, whole[1::2], atol=1e-4, equal_nan=True)
    np.testing.assert_allclose(data.obsm["X_ctl"][1:], whole[2::2], atol=1e-4, equal_nan=True)
    # The blank cell of one probe: the other probe of that gene stands alone, or the gene is blank.
    first = load_panel().symbols.index(next(iter(found.values())))
    differs = ~np.isclose(data.obsm["X_ctl"][0], whole[0], atol=1e-4, equal_nan=True)
    assert np.flatnonzero(differs).tolist() in ([first], [])


def test_bad_series_are_told(tmp_path: Path) -> None:
    file, found, values = geo_file(tmp_path / "GSE1_series_matrix.txt")
    text, out = file.read_text(encoding="utf-8"), tmp_path / "out.h5ad"
    head, table = text.split("!series_matrix_table_begin\n")
    lines = table.splitlines(keepends=True)
    bad = tmp_path / "bad_series_matrix.txt"
    for content, message in (
        (head, "no GEO series matrix, or it is cut off"),
        (text[: len(text) * 2 // 3].rpartition("\n")[0] + "\n", "cut off"),
        (head + "!series_matrix_table_begin\n" + lines[0] + lines[-1], "no expression values"),
        (text.replace(lines[5], lines[5].rpartition("\t")[0] + "\n"), "7 values for 8 samples"),
        (text.replace(lines[5], lines[5].rpartition("\t")[0] + "\thigh\n"), "is no number"),
    ):
        bad.write_text(content, encoding="utf-8")
        with pytest.raises(DataError, match=message):
            prepare_geo(bad, out)
    packed = gzip.compress(text.encode())
    bad.write_bytes(packed[: len(packed) // 2])
    with pytest.raises(DataError, match="damaged, cut off"):
        prepare_geo(bad, out)
    with pytest.raises(DataError, match="no sample field 'weight'") as error:
        prepare_geo(file, out, named=GeoFields(patient="subject", timepoint="weight"))
    assert "time point" in error.value.where
    with pytest.raises(DataError, match="both a patient column and a time point"):
        prepare_geo(file, out, named=GeoFields(patient="subject"))
    scores = (values - values.mean(axis=0)) / (values.std(axis=0) + 1e-6)
    place = {symbol: i for i, symbol in enumerate(load_panel().symbols)}
    series_matrix(bad, list(found), np.stack([scores[:, place[s]] for s in found.values()]), {}, [])
    with pytest.raises(XPertError, match="cannot be brought to log2"):
        prepare_geo(bad, out)
    assert not out.exists()


def test_header_fields_of_a_series(tmp_path: Path) -> None:
    file, _, _ = geo_file(tmp_path / "GSE1_series_matrix.txt")
    found = read_series_header(file)
    (block,) = SeriesTable(file, silent).blocks(0, 1 << 20)
    assert found.series["platform_id"] == "GPL96" and block.values.dtype == np.float32
    assert list(found.samples.columns) == [
        "title", "geo_accession", "source_name_ch1", "subject", "time point", "age", "visit",
    ]  # fmt: skip
