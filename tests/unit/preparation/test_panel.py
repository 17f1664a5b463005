"""Matrices read in blocks: the numbers of the whole matrix, and going on after a kill."""

from __future__ import annotations

import gzip
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from preparation_data import probes, series_matrix, wells

from xpert_core.cohorts import Cohort, example_path, read_cohort
from xpert_core.cohorts.scale import detect_scale, to_log2
from xpert_core.errors import DataError, XPertError
from xpert_core.genes import load_panel
from xpert_core.preparation import panel
from xpert_core.preparation.cdsdb import prepare_cdsdb
from xpert_core.preparation.geo import prepare_geo
from xpert_core.preparation.matrices import averaged, genes_of_columns
from xpert_core.preparation.panacea import prepare_panacea
from xpert_core.preparation.panel import PanelMatrix, PanelReader
from xpert_core.preparation.records import Counts, Report, silent
from xpert_core.preparation.staging import staged
from xpert_core.preparation.text_matrix import TextMatrix, WholeMatrix, open_matrix

SYMBOLS = list(load_panel().symbols)
SAMPLES = [f"s{i}" for i in range(7)]


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many blocks of small tables, and a checkpoint at every second one."""
    monkeypatch.setattr(panel, "BLOCK_CELLS", 2000)
    monkeypatch.setattr(panel, "CHECKPOINT_BLOCKS", 2)


def table(scale: str = "log2", *, others: int = 40) -> pd.DataFrame:
    """Genes x samples with genes outside the panel, on one of the scales."""
    rng = np.random.default_rng(3)
    log2 = np.vstack([wells(7).T, rng.uniform(0, 12, (others, 7))]).astype(np.float64)
    linear = np.exp2(log2) - 1
    million = linear / linear.sum(axis=0) * 1e6
    centred = log2 - log2.mean(axis=1, keepdims=True)
    values = {
        "log2": log2,
        "counts": np.round(linear),
        "expected counts": np.where(rng.random(linear.shape) < 0.2, linear, np.round(linear)),
        "tpm": million,
        "cpm": np.round(linear) / np.round(linear).sum(axis=0) * 1e6,
        "log2 of tpm": np.log2(million + 1),
        "log2 below zero": log2 - 2,
        "z-score": centred / (log2.std(axis=1, keepdims=True) + 1e-9),
        "log-ratio": centred * 3,
    }[scale]
    index = [*SYMBOLS, *(f"other{i}" for i in range(others))]
    found = pd.DataFrame(values, index, SAMPLES).rename_axis("gene")
    return found.sample(frac=1, random_state=5)  # genes of the panel among the others


def in_blocks(path: Path) -> PanelMatrix:
    """The matrix, read in blocks."""
    matrix = open_matrix(path, silent)
    assert isinstance(matrix, TextMatrix)
    with staged(path.with_suffix(".h5ad")) as stage:
        return PanelReader(lambda: matrix, stage.entry("")).read()


def log2_of_whole(cohort: Cohort) -> np.ndarray:
    """log2 values on the panel, from a matrix in memory."""
    gene_of, _ = genes_of_columns(cohort.identifiers, Counts())
    columns = np.flatnonzero(gene_of >= 0)
    chosen = cohort.expression[:, columns].astype(np.float32)
    to_log2(cohort, np.arange(len(chosen)), chosen)
    return averaged(chosen, gene_of[columns])


def compare(path: Path) -> Cohort:
    """Read a file both ways; scale with its evidence, samples and values must be the same."""
    whole, found = read_cohort(path), in_blocks(path)
    assert found.scale == whole.scale
    assert found.samples == tuple(map(str, whole.samples.index))
    assert found.n_genes == len(whole.identifiers)
    rows = np.arange(len(found.samples))
    if whole.scale.transform == "none possible":
        with pytest.raises(XPertError, match="cannot be brought to log2"):
            found.log2(rows, Counts())
    else:
        np.testing.assert_allclose(
            found.log2(rows, Counts()), log2_of_whole(whole), rtol=1e-6, equal_nan=True
        )
    return whole


SCALES = (
    "log2", "counts", "expected counts", "tpm", "cpm", "log2 of tpm", "log2 below zero", "z-score",
    "log-ratio",
)  # fmt: skip


@pytest.mark.parametrize(
    ("scale", "genes_in"),
    [*((scale, "rows") for scale in SCALES), *((scale, "columns") for scale in SCALES[1:6:2])],
)
def test_the_scale_and_the_values_are_those_of_the_whole_matrix(
    tmp_path: Path, scale: str, genes_in: str
) -> None:
    frame = table(scale)
    path = tmp_path / "matrix.csv"
    (frame if genes_in == "rows" else frame.T.rename_axis("sample")).to_csv(path)
    compare(path)


def laid_out(path: Path, kind: str) -> Path:
    """A table with blanks in one of the layouts that people upload."""
    frame = table("counts").astype(object)
    frame.iloc[3, 2], frame.iloc[500, 6], frame.iloc[700, 1] = "", "-666", "NA"
    header = ["gene", *SAMPLES]
    rows = [[gene, *map(str, cells)] for gene, cells in zip(frame.index, frame.values, strict=True)]
    mark, coding = ",", "utf-8"
    if kind == "semicolons, decimal comma":
        mark = ";"
        rows = [[row[0], *(c.replace(".0", "") + ",5" if c[:1].isdigit() else c for c in row[1:])]
                for row in rows]  # fmt: skip
    elif kind == "tabs, UTF-16":
        mark, coding = "\t", "utf-16"
    elif kind == "Latin-1, blank lines":
        rows[5][0], coding = "Größe", "cp1252"
        rows.insert(4, [""] * 8)
    elif kind == "short header of R":
        header = SAMPLES
    elif kind == "described samples":
        rows.insert(0, ["timepoint", *["pre", "post"] * 3, "pre"])
        rows.insert(2, ["centre", *["Oslo"] * 7])  # known by its text alone
    elif kind == "described genes":
        header.insert(1, "description")
        rows = [[row[0], f"gene {i}", *row[1:]] for i, row in enumerate(rows)]
        header.append("remark")  # text far below the rows that are looked at first
        rows = [[*row, "checked" if i > 900 else ""] for i, row in enumerate(rows)]
    elif kind == "genes without a name":
        rows[7][0] = rows[400][0] = ""
    elif kind == "repeated genes":
        rows += [[f"{rows[i][0]}.1", *rows[i + 1][1:]] for i in range(30)]
    text = "".join(mark.join(row) + "\n" for row in [header, *rows])
    content = text.encode(coding)
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("commas", "matrix.csv.gz"), ("semicolons, decimal comma", "matrix.txt"),
        ("tabs, UTF-16", "matrix.txt"), ("Latin-1, blank lines", "matrix.csv"),
        ("short header of R", "matrix.tsv.gz"), ("described samples", "matrix.txt"),
        ("described genes", "matrix.csv.gz"), ("genes without a name", "matrix.csv"),
        ("repeated genes", "matrix.csv"),
    ],
)  # fmt: skip
def test_every_layout_is_understood_as_that_of_the_whole_matrix(
    tmp_path: Path, kind: str, name: str
) -> None:
    whole = compare(laid_out(tmp_path / name, kind))
    assert len(whole.samples) == 7 and np.isnan(whole.expression).sum() >= 3


def test_the_example_and_real_probes_are_read_alike(tmp_path: Path) -> None:
    compare(Path(example_path()))
    found = probes(most=2)
    place = {symbol: i for i, symbol in enumerate(SYMBOLS)}
    profiles = wells(7)
    rows = np.stack([profiles[:, place[s]] + i % 3 for i, s in enumerate(found.values())])
    pd.DataFrame(rows, list(found), SAMPLES).rename_axis("ID_REF").to_csv(tmp_path / "probes.csv")
    compare(tmp_path / "probes.csv")


def test_lengths_give_the_scale_and_values_of_the_whole_matrix_in_tpm(tmp_path: Path) -> None:
    frame = table("counts")
    path = tmp_path / "counts.csv"
    frame.to_csv(path)
    length = pd.Series(np.random.default_rng(1).integers(300, 9000, len(frame)), frame.index)
    known = length.drop([*SYMBOLS[:5], "other3"]).astype(float)
    lengths = panel.Lengths("lengths.csv", dict(known))
    with staged(tmp_path / "out.h5ad") as stage:
        read = PanelReader(lambda: open_matrix(path, silent), stage.entry(""), lengths).read()
    rate = frame.loc[frame.index.isin(known.index)]
    rate = rate.div(known.reindex(rate.index), axis=0)
    tpm = (rate / rate.sum() * 1e6).astype(np.float32)
    assert read.scale == detect_scale(tpm.T.to_numpy(), "tpm", name="counts.csv")
    expected = np.log2(tpm.T.astype(np.float64) + 1).reindex(columns=SYMBOLS)
    found = read.log2(np.arange(7), Counts())
    np.testing.assert_allclose(found, expected, rtol=1e-5, equal_nan=True)
    assert np.isnan(found[:, :5]).all() and not np.isnan(found[:, 5:]).any()


def test_other_formats_give_the_same(tmp_path: Path) -> None:
    frame = table("counts")
    frame.to_csv(tmp_path / "matrix.csv")
    frame.reset_index().to_parquet(tmp_path / "matrix.parquet")
    (tmp_path / "matrix.gct").write_text(
        f"#1.2\n{len(frame)}\t7\n"
        + frame.assign(Description="na")[["Description", *SAMPLES]]
        .rename_axis("Name")
        .to_csv(sep="\t")
    )
    expected = in_blocks(tmp_path / "matrix.csv")
    for name in ("matrix.parquet", "matrix.gct"):
        matrix = open_matrix(tmp_path / name, silent)
        assert isinstance(matrix, WholeMatrix)
        with staged(tmp_path / "out.h5ad") as stage:
            found = PanelReader(lambda m=matrix: m, stage.entry(name)).read()
        assert found.samples == expected.samples and found.scale == expected.scale
        rows = np.arange(7)
        np.testing.assert_allclose(
            found.log2(rows, Counts()), expected.log2(rows, Counts()), rtol=1e-6
        )


@pytest.mark.parametrize(
    ("cell", "message"),
    [("high", "1 expression cell holds text"), ("1e999", "1 cell is infinite")],
)
def test_bad_cells_are_told_as_of_the_whole_matrix(tmp_path: Path, cell: str, message: str) -> None:
    frame = table().astype(object)
    frame.iloc[600, 3] = cell
    path = tmp_path / "bad.csv"
    frame.to_csv(path)
    with pytest.raises(XPertError, match=message) as whole:
        read_cohort(path)
    with pytest.raises(XPertError, match=message) as found:
        in_blocks(path)
    assert found.value.where == whole.value.where and "row 602" in found.value.where
    # What stands above the bad cell was kept, and the corrected file is another one.
    frame.iloc[600, 3] = 1
    frame.to_csv(path)
    compare(path)


def panacea_files(folder: Path) -> Callable[[Path, Report], object]:
    """Counts, sheet and lengths; returns the preparation to an output."""
    frame = table("counts")
    counts, sheet, lengths = folder / "counts.csv.gz", folder / "sheet.csv", folder / "lengths.csv"
    counts.write_bytes(gzip.compress(frame.to_csv().encode()))
    drugs = ["DMSO", "DMSO", *["imatinib"] * 5]
    rows = [(s, "HT29", drug, "1", "24") for s, drug in zip(SAMPLES, drugs, strict=True)]
    columns = ["sample", "cell", "drug", "dose", "time"]
    pd.DataFrame(rows, columns=columns).to_csv(sheet, index=False)
    pd.Series(np.arange(len(frame)) + 500, frame.index, name="length").to_csv(lengths)
    return lambda out, report: prepare_panacea(counts, sheet, out, lengths=lengths, report=report)


def cdsdb_files(folder: Path) -> Callable[[Path, Report], object]:
    """Three matrices on two scales, and their sheet."""
    paths, rows = [], []
    for number, scale in enumerate(("log2", "counts", "log2")):
        frame = table(scale, others=30 + number)
        frame.columns = [f"m{number}{s}" for s in SAMPLES]
        paths.append(folder / f"gse{number}.tsv")
        frame.to_csv(paths[-1], sep="\t")
        for i, sample in enumerate(frame.columns):
            rows.append((sample, f"P{i // 2}", ("pre", "post")[i % 2], "letrozole"))
    columns = ["sample", "patient", "timepoint", "drug"]
    pd.DataFrame(rows, columns=columns).to_csv(folder / "patients.csv", index=False)
    return lambda out, report: prepare_cdsdb(paths, folder / "patients.csv", out, report=report)


def geo_files(folder: Path) -> Callable[[Path, Report], object]:
    """A series matrix of real probes."""
    found = probes(most=2)
    place = {symbol: i for i, symbol in enumerate(SYMBOLS)}
    profiles = wells(7)
    values = np.stack([profiles[:, place[s]] for s in found.values()])
    path = series_matrix(folder / "GSE1_series_matrix.txt.gz", list(found), values, {}, [])
    return lambda out, report: prepare_geo(path, out, report=report)


SOURCES = {"panacea": panacea_files, "cdsdb": cdsdb_files, "geo": geo_files}


class Killed(BaseException):
    """Ends a preparation as a kill would: nothing is tidied up by who waits for errors."""


@pytest.mark.parametrize("source", list(SOURCES))
def test_an_interrupted_command_goes_on_from_the_last_checkpoint(
    tmp_path: Path, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(panel, "BLOCK_CELLS", 300)
    command = SOURCES[source](tmp_path)
    whole, out = tmp_path / "whole.h5ad", tmp_path / "out.h5ad"
    command(whole, silent)
    taken: list[int] = []
    add = panel._Gatherer.add

    def counted(self: panel._Gatherer, block: object, rows: np.ndarray) -> None:
        taken.append(self.start)
        if kill_at == len(taken):
            raise Killed
        add(self, block, rows)  # type: ignore[arg-type]

    monkeypatch.setattr(panel._Gatherer, "add", counted)
    begun = set()
    for kill_at in (6, 4, 13, 3, 0):
        taken.clear()
        if kill_at:
            with pytest.raises(Killed):
                command(out, silent)
            assert not out.exists() and (tmp_path / ".out.h5ad.work").is_dir()
        else:
            command(out, silent)
        begun.add(taken[0])
    assert len(begun) == 5, "each time from another checkpoint"
    first, second = ad.read_h5ad(whole), ad.read_h5ad(out)
    np.testing.assert_array_equal(first.X, second.X)
    if "X_ctl" in first.obsm:
        np.testing.assert_array_equal(first.obsm["X_ctl"], second.obsm["X_ctl"])
    assert first.uns["scale"] == second.uns["scale"]
    assert first.uns["provenance"] == second.uns["provenance"]
    assert not list(tmp_path.glob(".*"))


CHILD = """
import sys
import os
sys.path[:0] = sys.argv[1].split(os.pathsep)
from pathlib import Path
from xpert_core.preparation import panel
import test_panel
panel.BLOCK_CELLS, panel.CHECKPOINT_BLOCKS = 300, 1
folder = Path(sys.argv[2])
test_panel.cdsdb_files(folder)(folder / "out.h5ad", print)
"""


def test_a_killed_process_leaves_what_the_same_command_goes_on_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(panel, "BLOCK_CELLS", 300)
    command = cdsdb_files(tmp_path)
    command(tmp_path / "whole.h5ad", silent)
    out, work = tmp_path / "out.h5ad", tmp_path / ".out.h5ad.work"
    here = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[2] / "helpers")])
    words = [sys.executable, "-c", CHILD, here, str(tmp_path)]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL)
    while process.poll() is None and not list(work.glob("*.npz")):
        time.sleep(0.001)
    time.sleep(random.uniform(0, 0.3))  # a moment that no one chose
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert out.exists() or list(work.glob("*.npz")), "the child read nothing"
    command(out, silent)
    first, second = ad.read_h5ad(tmp_path / "whole.h5ad"), ad.read_h5ad(out)
    np.testing.assert_array_equal(first.X, second.X)
    np.testing.assert_array_equal(first.obsm["X_ctl"], second.obsm["X_ctl"])
    assert not work.exists()


def test_a_matrix_that_was_read_is_not_opened_again(tmp_path: Path) -> None:
    command, out = cdsdb_files(tmp_path), tmp_path / "out.h5ad"

    def stop(what: str, done: int, total: int) -> None:
        if what.startswith("Reading gse2"):
            raise Killed

    with pytest.raises(Killed):
        command(out, stop)
    told: list[str] = []
    command(out, lambda what, *_: told.append(what))
    read = {what for what in told if "gse" in what and not what.startswith("Hash")}
    assert read and all("gse2" in what for what in read)
    assert any(what.startswith("Reading gse2.tsv (MiB)") for what in told)


def test_what_was_read_of_other_files_and_settings_is_not_taken(tmp_path: Path) -> None:
    frame = table("counts")
    counts, sheet = tmp_path / "counts.csv", tmp_path / "sheet.csv"
    panacea_files(tmp_path)
    frame.to_csv(counts)

    def prepared(name: str, report: Report = silent, **lengths: Path) -> np.ndarray:
        prepare_panacea(counts, sheet, tmp_path / name, report=report, **lengths)
        return np.asarray(ad.read_h5ad(tmp_path / name).X)

    def stop(what: str, done: int, total: int) -> None:
        if what.startswith("Writing"):
            raise Killed

    with pytest.raises(Killed):
        prepared("out.h5ad", stop)
    tpm = prepared("out.h5ad", lengths=tmp_path / "lengths.csv")
    np.testing.assert_array_equal(tpm, prepared("new.h5ad", lengths=tmp_path / "lengths.csv"))
    with pytest.raises(Killed):
        prepared("out.h5ad", stop)
    (frame * 2 + 1).to_csv(counts)
    np.testing.assert_array_equal(prepared("out.h5ad"), prepared("other.h5ad"))
    assert not list(tmp_path.glob(".*"))


def test_two_commands_on_one_output_and_lost_work(tmp_path: Path) -> None:
    command, out = panacea_files(tmp_path), tmp_path / "out.h5ad"
    with staged(out), pytest.raises(DataError, match="at work on the output"):
        command(out, silent)

    def stop(what: str, done: int, total: int) -> None:
        if what.startswith("Writing"):
            raise Killed

    for suffix, damage in ((".f32", b""), (".npz", b"PK\x03\x04 cut off")):
        with pytest.raises(Killed):
            command(out, stop)
        (path,) = (tmp_path / ".out.h5ad.work").glob(f"*{suffix}")
        path.write_bytes(damage)
        told: list[str] = []
        command(out, lambda what, *_, told=told: told.append(what))
        assert any(what.startswith("Reading") for what in told), "read anew"
        assert np.isfinite(ad.read_h5ad(out).X).all()
