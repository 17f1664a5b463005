"""Counts with a sample sheet: TPM and CPM by hand, replicates, controls, bad sheets."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from preparation_data import wells

from xpert_core.errors import DataError
from xpert_core.genes import load_panel
from xpert_core.preparation.panacea import prepare_panacea

SAMPLES = [
    ("s1", "ASPC1", "DMSO", "", "24"),
    ("s2", "ASPC1", "DMSO", "", "24"),
    ("s3", "ASPC1", "imatinib", "1.5", "24"),
    ("s4", "ASPC1", "imatinib", "1.5", "24"),
    ("s5", "ASPC1", "imatinib", "1.5 uM", "24 h"),
    ("s6", "HT29", "dmso", "", "24"),
    ("s7", "HT29", "gefitinib", "250 nM", "24"),
    ("s8", "PANC1", "gefitinib", "250 nM", "24"),
]


@pytest.fixture
def table() -> pd.DataFrame:
    """Counts of the 978 landmark genes, by Ensembl id with version, and of four others."""
    panel = load_panel()
    ids = [f"{e}.3" if e else s for e, s in zip(panel.ensembl, panel.symbols, strict=True)]
    values = np.random.default_rng(0).poisson(np.exp2(wells(len(SAMPLES)).T))
    frame = pd.DataFrame(values, index=ids, columns=[s[0] for s in SAMPLES])
    others = pd.DataFrame(9000, index=["ACTB", "ALB", "TTN", "KRAS"], columns=frame.columns)
    return pd.concat([frame, others]).rename_axis("gene_id")


@pytest.fixture
def sheet() -> pd.DataFrame:
    return pd.DataFrame(SAMPLES, columns=["Sample", "Cell line", "Drug", "Dose", "Time"])


def write(folder: Path, table: pd.DataFrame, sheet: pd.DataFrame) -> tuple[Path, Path, Path]:
    counts, samples = folder / "counts.csv.gz", folder / "sheet.tsv"
    counts.write_bytes(gzip.compress(table.to_csv().encode()))
    sheet.to_csv(samples, sep="\t", index=False)
    return counts, samples, folder / "out.h5ad"


def test_counts_become_log2_cpm_means_beside_the_controls_of_the_cell_line(
    table: pd.DataFrame, sheet: pd.DataFrame, tmp_path: Path
) -> None:
    counts, samples, out = write(tmp_path, table, sheet)
    size, kept = prepare_panacea(counts, samples, out)
    data = ad.read_h5ad(out)
    assert size == 2 and data.obs["cell_iname"].tolist() == ["ASPC1", "HT29"]
    assert ("left out: no control of the cell line", 1) in kept.steps
    assert data.obs["dose_um"].tolist() == [1.5, 0.25]
    assert data.obs["pert_dose_idx"].tolist() == [4, 1] and set(data.obs["pert_time_idx"]) == {2}
    assert data.obs["n_replicates"].tolist() == [3, 1]
    assert data.uns["scale"] == "log2(CPM + 1)"
    logs = np.log2(table / table.sum() * 1e6 + 1).iloc[:978]
    np.testing.assert_allclose(data.X[0], logs[["s3", "s4", "s5"]].mean(axis=1), atol=1e-4)
    np.testing.assert_allclose(data.obsm["X_ctl"][0], logs[["s1", "s2"]].mean(axis=1), atol=1e-4)
    np.testing.assert_allclose(data.obsm["X_ctl"][1], logs["s6"], atol=1e-4)


def test_gene_lengths_give_tpm(table: pd.DataFrame, sheet: pd.DataFrame, tmp_path: Path) -> None:
    counts, samples, out = write(tmp_path, table, sheet)
    length = pd.Series(np.random.default_rng(1).integers(300, 9000, len(table)), table.index)
    known = length.drop("TTN")
    lengths = tmp_path / "lengths.csv"
    known.rename("length").rename_axis("gene").to_csv(lengths)
    _, kept = prepare_panacea(counts, samples, out, lengths=lengths)
    assert ("left out: genes without a length", 1) in kept.steps
    data = ad.read_h5ad(out)
    assert data.uns["scale"] == "log2(TPM + 1)"
    rate = table.loc[known.index].div(known, axis=0)
    logs = np.log2(rate / rate.sum() * 1e6 + 1).iloc[:978]
    np.testing.assert_allclose(data.X[1], logs["s7"], atol=1e-4)
    told = json.loads(data.uns["provenance"])
    assert set(told["inputs"]) == {"counts.csv.gz", "sheet.tsv", "lengths.csv"}


def test_with_plates_controls_are_those_of_the_plate(
    table: pd.DataFrame, sheet: pd.DataFrame, tmp_path: Path
) -> None:
    sheet["plate"] = ["a", "b", "a", "b", "b", "a", "a", "a"]
    counts, samples, out = write(tmp_path, table, sheet)
    prepare_panacea(counts, samples, out)
    logs = np.log2(table / table.sum() * 1e6 + 1).iloc[:978]
    expected = (logs["s1"] + 2 * logs["s2"]) / 3
    np.testing.assert_allclose(ad.read_h5ad(out).obsm["X_ctl"][0], expected, atol=1e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.drop(columns="Dose"), "no column dose"),
        (lambda s: pd.concat([s, s.head(1)]), "1 sample ids occur more than once"),
        (lambda s: s.assign(Sample="x" + s["Sample"]), "No sample of the sheet is in the matrix"),
        (lambda s: s.assign(Dose="-666"), "Nothing is left"),
        (lambda s: s.assign(Dose="-3"), "Nothing is left"),
        (lambda s: s[s["Drug"].str.lower() != "dmso"], "Nothing is left"),
        (lambda s: s.head(0), "a header but no row"),
    ],
)
def test_bad_sheets_are_told(
    table: pd.DataFrame, sheet: pd.DataFrame, tmp_path: Path, change: object, message: str
) -> None:
    assert callable(change)
    counts, samples, out = write(tmp_path, table, change(sheet))
    with pytest.raises(DataError, match=message) as caught:
        prepare_panacea(counts, samples, out)
    assert not out.exists() and caught.value.where and caught.value.fix


def test_samples_on_one_side_only_are_counted(
    table: pd.DataFrame, sheet: pd.DataFrame, tmp_path: Path
) -> None:
    more = pd.DataFrame([("s99", "HT29", "imatinib", "1", "24")], columns=sheet.columns)
    counts, samples, out = write(tmp_path, table, pd.concat([sheet.drop(index=4), more]))
    _, kept = prepare_panacea(counts, samples, out)
    assert ("left out: in the sheet but not in the matrix", 1) in kept.steps
    assert ("left out: in the matrix but not in the sheet", 1) in kept.steps


def test_bad_counts_are_told(table: pd.DataFrame, sheet: pd.DataFrame, tmp_path: Path) -> None:
    from xpert_core.errors import XPertError

    counts, samples, out = write(tmp_path, table, sheet)
    whole = counts.read_bytes()
    counts.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(XPertError, match="damaged or was cut off"):
        prepare_panacea(counts, samples, out)
    foreign = table.tail(6)
    counts, samples, out = write(tmp_path, foreign, sheet)
    with pytest.raises(XPertError, match="Only 2 of the 978 landmark genes"):
        prepare_panacea(counts, samples, out)
    lengths = tmp_path / "lengths.csv"
    pd.DataFrame({"gene": table.index, "length": 0}).to_csv(lengths, index=False)
    counts, samples, out = write(tmp_path, table, sheet)
    with pytest.raises(DataError, match="greater than zero"):
        prepare_panacea(counts, samples, out, lengths=lengths)
    counts, samples, out = write(tmp_path, np.log2(table + 1), sheet)
    with pytest.raises(DataError, match="does not hold counts"):
        prepare_panacea(counts, samples, out, lengths=lengths)
