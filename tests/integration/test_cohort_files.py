"""Every file format, the three user files, damaged files, and the cost of reading."""

from __future__ import annotations

import io
import json
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import anndata
import h5py
import numpy as np
import openpyxl
import pandas as pd
import pytest
import scipy.sparse

from xpert_core.cohorts import (
    Cohort,
    check_cohort,
    example_path,
    pair_table,
    read_cohort,
    suffixes,
    to_profiles,
)
from xpert_core.errors import CohortError
from xpert_core.genes import load_panel
from xpert_core.paths import assets_dir

PROJECT = Path(__file__).resolve().parents[2]
EXAMPLES = assets_dir() / "examples"
ABOUT = ["patient_id", "timepoint", "cancer_type", "drug", "time", "response"]


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    """Three real patients before and on treatment: 6 samples x 977 landmark genes."""
    table = pd.read_csv(EXAMPLES / "template_paired_melanoma_nivolumab.csv")
    table.insert(0, "sample_id", [f"S{i}" for i in range(len(table))])
    return table


@pytest.fixture(scope="module")
def values(frame) -> pd.DataFrame:
    return frame.drop(columns=["sample_id", *ABOUT]).set_axis(frame["sample_id"])


# --- writers, one per format: the same table as each program would save it ---------------------


def write_text(delimiter: str) -> Callable[[pd.DataFrame, Path], None]:
    return lambda frame, path: frame.to_csv(path, sep=delimiter, index=False)


def write_xlsx(frame: pd.DataFrame, path: Path) -> None:
    frame.to_excel(path, index=False)


def write_parquet(frame: pd.DataFrame, path: Path) -> None:
    frame.to_parquet(path)


def write_h5ad(frame: pd.DataFrame, path: Path) -> None:
    obs = frame[ABOUT].set_axis(frame["sample_id"]).fillna("")
    genes = frame.columns[7:]
    data = anndata.AnnData(frame[genes].to_numpy(np.float32), obs, pd.DataFrame(index=genes))
    data.write_h5ad(path)


def write_gct_1_3(frame: pd.DataFrame, path: Path) -> None:
    genes = frame.columns[7:]
    lines = ["#1.3", f"{len(genes)}\t{len(frame)}\t1\t{len(ABOUT)}"]
    lines.append("\t".join(["id", "pr_type", *frame["sample_id"]]))
    lines += ["\t".join([name, "na", *frame[name].fillna("-666")]) for name in ABOUT]
    lines += ["\t".join([gene, "landmark", *(f"{v:.2f}" for v in frame[gene])]) for gene in genes]
    path.write_text("\n".join(lines) + "\n")


def write_gctx(frame: pd.DataFrame, path: Path) -> None:
    genes = frame.columns[7:]
    with h5py.File(path, "w") as file:
        file["0/DATA/0/matrix"] = frame[genes].to_numpy(np.float32)
        file["0/META/ROW/id"] = np.array(genes, dtype="S")
        file["0/META/COL/id"] = np.array(frame["sample_id"], dtype="S")
        for name in ABOUT:
            file[f"0/META/COL/{name}"] = np.array(frame[name].fillna("-666"), dtype="S")


WRITERS = {
    ".csv": write_text(","),
    ".tsv": write_text("\t"),
    ".txt": write_text(";"),
    ".csv.gz": write_text(","),
    ".xlsx": write_xlsx,
    ".parquet": write_parquet,
    ".h5ad": write_h5ad,
    ".gct": write_gct_1_3,
    ".gctx": write_gctx,
}


@pytest.mark.parametrize("suffix", WRITERS)
@pytest.mark.parametrize("as_upload", [False, True])
def test_every_format_gives_the_same_cohort(frame, values, tmp_path, suffix, as_upload):
    path = tmp_path / f"cohort{suffix}"
    WRITERS[suffix](frame, path)
    cohort = read_cohort(path.read_bytes(), filename=path.name) if as_upload else read_cohort(path)
    assert cohort.name == path.name
    assert cohort.identifiers == tuple(values.columns)
    np.testing.assert_allclose(cohort.expression, values.to_numpy(np.float32), rtol=1e-6)
    assert cohort.expression.dtype == np.float32
    assert list(cohort.samples.index) == list(frame["sample_id"])
    for name in ABOUT:
        expected = frame[name].astype(object).where(frame[name].notna(), None).tolist()
        assert cohort.samples[name].tolist() == expected, name
    assert cohort.scale.detected == "log2"
    assert pair_table(cohort)["patient_id"].tolist() == ["Pt1", "Pt2", "Pt3"]
    assert to_profiles(cohort, load_panel()).n_missing.tolist() == [1, 1, 1]


def test_every_promised_format_has_a_reader():
    assert {".csv", ".tsv", ".txt", ".xlsx", ".parquet", ".h5ad", ".gct", ".gctx"} <= set(
        suffixes()
    )


# --- the files users bring ---------------------------------------------------------------------


def test_melanoma_example_predicts():
    cohort = read_cohort(example_path())
    check = check_cohort(cohort, load_panel())
    profiles = to_profiles(cohort, load_panel())
    assert cohort.expression.shape == (51, 22069)
    assert check.can_predict
    assert check.genes.n_found == 977
    assert len(profiles) == 51
    assert profiles.n_missing.tolist() == [1] * 51
    assert not cohort.is_paired


def refusal(name: str) -> tuple[Cohort, str]:
    cohort = read_cohort(EXAMPLES / name)
    check = check_cohort(cohort, load_panel())
    assert not check.can_predict
    with pytest.raises(CohortError) as error:
        to_profiles(cohort, load_panel())
    assert error.value.where == name
    assert "Upload" in error.value.fix
    for reason in check.reasons:
        assert reason.endswith(".")
    return cohort, error.value.what


def test_letrozole_is_read_reported_and_refused():
    cohort, why = refusal("user_upload_paired_breast_letrozole.csv")
    assert cohort.expression.shape == (116, 106)
    assert len(pair_table(cohort)) == 58
    assert cohort.scale.detected == "log2"
    assert "Only 26 of the 978 landmark genes (2.7%)" in why
    assert set(cohort.samples["response"].dropna()) == {"responder", "nonresponder"}


def test_doxorubicin_is_read_reported_and_refused():
    cohort, why = refusal("user_upload_paired_breast_doxorubicin.csv")
    assert cohort.expression.shape == (40, 1201)
    assert int(np.isnan(cohort.expression).sum()) == 2123
    assert len(pair_table(cohort)) == 20
    assert cohort.scale.detected == "log-ratio"
    assert "log-ratios" in why
    assert "Only 156 of the 978 landmark genes (16.0%)" in why


# --- particulars of single formats -------------------------------------------------------------


def test_excel_first_sheet_dates_and_formulas(frame, tmp_path):
    path = tmp_path / "cohort.xlsx"
    book = openpyxl.Workbook()
    sheet = book.active
    sheet.title = "expression"
    genes = list(frame.columns[7:40])
    sheet.append(["patient_id", *genes, pd.Timestamp(2024, 9, 2).to_pydatetime()])
    for i in (0, 2, 4):
        sheet.append([frame["patient_id"][i], *map(float, frame.loc[i, genes]), 5.5])
    sheet["C3"] = '=HYPERLINK("http://example.org","x")'
    book.create_sheet("notes").append(["nothing here"])
    book.save(path)
    cohort = read_cohort(path)
    assert cohort.identifiers[-1] == "2-Sep"
    assert np.isnan(cohort.expression[1, 1])  # a formula without a stored value is not computed
    assert any("2 sheets" in n and "'expression'" in n for n in cohort.notes)


def test_gct_1_2_and_wrong_dimensions(values, tmp_path):
    path = tmp_path / "cohort.gct"
    lines = ["\t".join(["Name", "Description", *values.index])]
    lines += ["\t".join([g, "na", *(f"{v:.2f}" for v in values[g])]) for g in values.columns]
    path.write_text("\n".join(["#1.2", f"{values.shape[1]}\t{len(values)}", *lines]))
    cohort = read_cohort(path)
    np.testing.assert_allclose(cohort.expression, values.to_numpy(np.float32), rtol=1e-6)
    as_text = path.rename(tmp_path / "renamed.txt")
    assert read_cohort(as_text).identifiers == cohort.identifiers
    for announced, found in (("978\t6", "978 genes"), ("977\t7", "7 samples")):
        path.write_text("\n".join(["#1.2", announced, *lines]))
        with pytest.raises(CohortError, match="announces") as error:
            read_cohort(path)
        assert found in error.value.what
    path.write_text("\n".join(["#1.2", "many", *lines]))
    with pytest.raises(CohortError, match="2 whole numbers"):
        read_cohort(path)
    path.write_text("\n".join(lines))
    with pytest.raises(CohortError, match="does not begin with"):
        read_cohort(path)


def test_gctx_duplicate_samples_missing_values_and_truncation(frame, tmp_path):
    path = tmp_path / "cohort.gctx"
    write_gctx(frame.drop(columns="timepoint").assign(timepoint=None)[frame.columns], path)
    with h5py.File(path, "r+") as file:
        file["0/DATA/0/matrix"][2, 5] = -666
    cohort = read_cohort(path)
    assert np.isnan(cohort.expression[2, 5])
    with h5py.File(path, "r+") as file:
        file["0/META/COL/id"][1] = b"S0"
    with pytest.raises(CohortError, match="more than once") as error:
        read_cohort(path)
    assert "'S0' in rows 1, 2" in error.value.where
    with h5py.File(path, "r+") as file:
        del file["0/META/ROW"]
    with pytest.raises(CohortError, match="not laid out as"):
        read_cohort(path)
    path.write_bytes(path.read_bytes()[:4000])
    with pytest.raises(CohortError, match="cut off"):
        read_cohort(path)


@pytest.fixture
def paired_h5ad(frame, tmp_path) -> Path:
    """The published convention: X after treatment, obsm['X_ctl'] before, one row per patient."""
    genes = frame.columns[7:]
    before, after = frame.iloc[0::2], frame.iloc[1::2]
    obs = before[["patient_id", "drug", "response"]].set_axis(before["patient_id"], axis=0)
    data = anndata.AnnData(
        scipy.sparse.csr_matrix(after[genes].to_numpy(np.float32)),
        obs.astype({"response": "category"}),
        pd.DataFrame(index=genes),
        obsm={"X_ctl": before[genes].to_numpy(np.float64)},
        uns={"scale": "log2(counts per million + 1)"},
    )
    path = tmp_path / "paired.h5ad"
    data.write_h5ad(path)
    return path


def test_h5ad_with_controls_becomes_pairs(paired_h5ad, frame, values):
    cohort = read_cohort(paired_h5ad)
    assert list(cohort.samples.index) == [f"Pt{i}_{s}" for s in ("pre", "post") for i in (1, 2, 3)]
    np.testing.assert_array_equal(cohort.expression[:3], values.to_numpy(np.float32)[0::2])
    np.testing.assert_array_equal(cohort.expression[3:], values.to_numpy(np.float32)[1::2])
    assert cohort.samples["response"].tolist() == frame["response"].iloc[0::2].tolist() * 2
    assert pair_table(cohort)["after"].tolist() == [3, 4, 5]
    assert any("log2(counts per million + 1)" in note for note in cohort.notes)


def test_h5ad_signature_keeps_only_the_controls(paired_h5ad):
    data = anndata.read_h5ad(paired_h5ad)
    data.uns["X_kind"] = "level-5 consensus z-score, NOT log2 expression"
    data.X = np.random.default_rng(0).normal(size=data.shape).astype(np.float32)
    data.write_h5ad(paired_h5ad)
    cohort = read_cohort(paired_h5ad)
    assert cohort.samples["timepoint"].tolist() == ["pre"] * 3
    assert cohort.scale.detected == "log2"


def test_h5ad_raw_only_and_symbols_in_a_var_column(values, panel_entrez, tmp_path):
    genes = [g for g in values.columns if g in panel_entrez]
    var = pd.DataFrame({"gene_symbols": genes}, index=[f"feature_{i}" for i in range(len(genes))])
    data = anndata.AnnData(
        values[genes].to_numpy(np.float32), pd.DataFrame(index=values.index), var
    )
    data.raw = data.copy()
    path = tmp_path / "raw.h5ad"
    data.write_h5ad(path)
    with h5py.File(path, "r+") as file:
        del file["X"]
    cohort = read_cohort(path)
    assert cohort.identifiers == tuple(genes)
    assert any("raw matrix" in note for note in cohort.notes)
    assert any("gene_symbols" in note for note in cohort.notes)


@pytest.fixture(scope="module")
def panel_entrez() -> set[str]:
    return set(load_panel().symbols)


@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.95])
def test_truncated_h5ad(paired_h5ad, share):
    content = paired_h5ad.read_bytes()
    with pytest.raises(CohortError, match="damaged, cut off") as error:
        read_cohort(content[: int(share * len(content))], filename="cohort.h5ad")
    assert "cohort.h5ad" in error.value.where
    assert "again" in error.value.fix


def test_h5ad_must_not_reach_outside_itself(paired_h5ad, tmp_path):
    secret = tmp_path / "secret.h5"
    with h5py.File(secret, "w") as file:
        file["X"] = np.ones((3, 977), dtype=np.float32)
    with h5py.File(paired_h5ad, "r+") as file:
        del file["X"]
        file["X"] = h5py.ExternalLink(str(secret), "/X")
    with pytest.raises(CohortError, match="outside itself"):
        read_cohort(paired_h5ad)
    raw = tmp_path / "raw.bin"
    raw.write_bytes(np.ones((3, 977), dtype=np.float32).tobytes())
    with h5py.File(paired_h5ad, "r+") as file:
        del file["X"]
        file.create_dataset("X", (3, 977), "f4", external=[(str(raw), 0, 3 * 977 * 4)])
    with pytest.raises(CohortError, match="outside itself"):
        read_cohort(paired_h5ad)


def test_h5ad_that_unpacks_to_gigabytes_is_refused(paired_h5ad):
    with h5py.File(paired_h5ad, "r+") as file:
        del file["X"]
        file.create_dataset("X", (3_000_000, 100_000), "f4", chunks=(1000, 1000), compression=9)
    assert paired_h5ad.stat().st_size < 1_000_000
    with pytest.raises(CohortError, match="would unpack to"):
        read_cohort(paired_h5ad)
    with h5py.File(paired_h5ad, "r+") as file:
        del file["X"]
        group = file.create_group("X")
        group.attrs.update({"encoding-type": "csr_matrix", "encoding-version": "0.1.0"})
        group.attrs["shape"] = (3_000_000, 100_000)
    with pytest.raises(CohortError, match="would unpack to"):
        read_cohort(paired_h5ad)


def test_parquet_as_text_damaged_and_empty(frame, values, tmp_path):
    path = tmp_path / "cohort.parquet"
    frame.astype(str).to_parquet(path)
    np.testing.assert_allclose(read_cohort(path).expression, values.to_numpy(np.float32))
    content = path.read_bytes()
    with pytest.raises(CohortError, match="damaged, cut off"):
        read_cohort(content[: len(content) // 2], filename=path.name)
    frame.head(0).to_parquet(path)
    with pytest.raises(CohortError, match="no row"):
        read_cohort(path)


def damaged(content: bytes, rng: random.Random) -> bytes:
    """One of the accidents of a copy: bytes changed, lost, repeated, or the end cut off."""
    position, length = rng.randrange(len(content)), rng.randrange(1, 60)
    head, tail = content[:position], content[position:]
    noise = bytes(rng.randrange(256) for _ in range(length))
    return rng.choice(
        [head + noise + tail[length:], head + tail[length:], head + noise + tail, head]
    )


@pytest.mark.parametrize("suffix", WRITERS)
def test_damaged_uploads_are_read_or_refused_in_words(frame, tmp_path, suffix):
    path = tmp_path / f"cohort{suffix}"
    WRITERS[suffix](frame.iloc[:, :40], path)
    content, rng, refused = path.read_bytes(), random.Random(7), 0
    for _ in range(12):
        try:
            check_cohort(read_cohort(damaged(content, rng), filename=path.name), load_panel())
        except CohortError as error:
            refused += 1
            assert error.what.endswith(".")
    assert refused


# --- cost ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def large_csv() -> bytes:
    """500 samples x 978 genes with six decimals, resampled from the real profiles."""
    panel = load_panel()
    profiles = to_profiles(read_cohort(example_path()), panel).x_ctl
    rng = np.random.default_rng(0)
    rows = profiles[rng.integers(0, len(profiles), 500)] + rng.normal(0, 0.1, (500, 978))
    table = pd.DataFrame(rows, columns=list(panel.symbols))
    table.insert(0, "patient_id", [f"P{i}" for i in range(500)])
    buffer = io.StringIO()
    table.to_csv(buffer, index=False, float_format="%.6f")
    return buffer.getvalue().encode()


#: Reads and checks files in a process of its own, which no coverage tracer slows down or fills.
MEASURE = """
import json, resource, sys, time
from pathlib import Path
from xpert_core.cohorts import check_cohort, read_cohort
from xpert_core.genes import load_panel
measured = []
for path in sys.argv[1:]:
    start = time.process_time()
    check = check_cohort(read_cohort(Path(path).read_bytes(), filename="a.csv"), load_panel())
    seconds = time.process_time() - start
    assert check.can_predict
    measured.append((seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss))
print(json.dumps(measured))
"""


def measure(*paths: Path) -> list[tuple[float, float]]:
    """Seconds of processor time, and peak memory of the process in bytes, after each file."""
    untraced = {k: v for k, v in os.environ.items() if not k.startswith(("COV_", "COVERAGE_"))}
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, *map(str, paths)],
        capture_output=True,
        text=True,
        check=True,
        cwd=PROJECT,
        env=untraced,
    )
    unit = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss
    return [(seconds, peak * unit) for seconds, peak in json.loads(done.stdout)]


def test_reading_and_checking_500_samples_takes_at_most_two_seconds(large_csv, tmp_path):
    path = tmp_path / "large.csv"
    path.write_bytes(large_csv)
    assert min(seconds for seconds, _ in measure(path, path)) < 2.0


def test_peak_memory_is_about_twice_the_upload(large_csv, tmp_path):
    """The upload held in memory, plus what reading and checking it adds."""
    header, body = large_csv.split(b"\n", 1)
    rows = body.splitlines()
    small, large = tmp_path / "small.csv", tmp_path / "large.csv"
    small.write_bytes(b"\n".join([header, *rows[:50]]))
    many = b"\n".join([header, *(b"C%d%s" % (copy, row) for copy in range(6) for row in rows)])
    large.write_bytes(many)
    (_, before), (_, after) = measure(small, large)
    assert after - before < 2.2 * len(many)
