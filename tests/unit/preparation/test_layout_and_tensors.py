"""The published layout, our layout, prepared tensors, and split columns that leak or do not."""

from __future__ import annotations

import json
from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
from preparation_data import DRUGS, patients_h5ad, wells
from scipy.sparse import csr_matrix

from xpert_core.benchmark.config import BenchmarkConfig, ScenarioSpec
from xpert_core.benchmark.runner import split_path
from xpert_core.errors import DataError
from xpert_core.genes import load_panel
from xpert_core.learning.fold_files import load_folds
from xpert_core.learning.folds import SCENARIOS, TEST, VALID, labels_of, make_folds
from xpert_core.preparation.assemble import distinct_rows
from xpert_core.preparation.doses import dose_bins, micromolar, read_doses, read_times, time_bins
from xpert_core.preparation.published import prepare_published
from xpert_core.preparation.tensors import Assumed, Tensors, prepare_tensors
from xpert_core.tokens.dataset import TrainingData

ASSUMED = Assumed("1 uM", "24 h")


def by_group(groups: list[str], folds: int, *, leak: bool = False) -> dict[str, list[str]]:
    """Published split columns that hold out groups in turn, without validation rows."""
    names = sorted(set(groups))
    found = {}
    for fold in range(folds):
        held = set(names[fold::folds])
        column = ["test" if g in held else "train" for g in groups]
        if leak:
            column[column.index("test")] = "train"
        found[str(fold + 1)] = column
    return found


def tensors(path: Path, out: Path, **options: object) -> Tensors:
    return prepare_tensors(path, out, featurizer="morgan", **options)  # type: ignore[arg-type]


def test_distinct_rows_are_those_of_numpy() -> None:
    values = np.repeat(wells(40)[[3, 1, 2, 0, 7, 9]], [2, 1, 3, 1, 1, 2], axis=0)
    values[0, :3] = values[4, :3]  # alike in the first columns
    rows, index = distinct_rows(values)
    expected, place = np.unique(values, axis=0, return_inverse=True)
    np.testing.assert_array_equal(rows, expected)
    np.testing.assert_array_equal(index, place.reshape(-1))


def test_doses_and_times() -> None:
    edges = [0.2, 0.21, 0.41, 1.0, 1.01, 10.0, 12.1, 100.0]
    assert dose_bins(np.array(edges)).tolist() == [0, 1, 2, 3, 4, 8, 9, 9]
    assert time_bins(np.array([3, 6.0, 24, 48])).tolist() == [0, 1, 2, -1]
    found = micromolar(
        pd.Series(["10", "500", "-666", "-1", "5", "5", "x", "2"]),
        pd.Series(["uM", "nM", "uM", "uM", "%", "", "uM", "µM"]),
    )
    np.testing.assert_array_equal(found, [10, 0.5, np.nan, np.nan, np.nan, np.nan, np.nan, 2])
    doses = read_doses(["10.01;10.0", "40 nM", "-666", "2.5 mg/day", "", "3"])
    np.testing.assert_allclose(doses, [10.005, 0.04, np.nan, np.nan, np.nan, 3])
    times = read_times(["24", "10-14 days", "2 weeks", "soon", ""])
    np.testing.assert_array_equal(times, [24, 288, 336, np.nan, np.nan])


@pytest.mark.parametrize("stored", ["dense", "sparse"])
def test_the_published_layout_is_read_as_it_is(tmp_path: Path, stored: str) -> None:
    source, out = tmp_path / "cdsdb.h5ad", tmp_path / "ours.h5ad"
    data = patients_h5ad(source, 10)
    order = np.random.default_rng(0).permutation(978)
    data = data[:, order].copy()  # genes in another order, named by gene_id
    data.obs["pert_dose"] = ["10.01;10.0", "1.11"] * 10
    data.obs["split_1"] = ["train", "test"] * 10
    if stored == "sparse":
        data.X = csr_matrix(data.X)
        data.obsm["X_ctl"] = csr_matrix(data.obsm["X_ctl"])
    data.write_h5ad(source)
    size, counts = prepare_published(source, out)
    ours = ad.read_h5ad(out)
    assert size == 20 and ours.var_names.tolist() == list(load_panel().symbols)
    back = np.argsort(order)
    dense = [m.toarray() if stored == "sparse" else m for m in (data.X, data.obsm["X_ctl"])]
    np.testing.assert_array_equal(ours.X, dense[0][:, back])
    np.testing.assert_array_equal(ours.obsm["X_ctl"], dense[1][:, back])
    np.testing.assert_allclose(ours.obs["dose_um"].iloc[:2], [10.005, 1.11])
    assert ours.obs["pert_dose_idx"].iloc[:2].tolist() == [8, 4]
    assert ours.obs["split_1"].tolist() == data.obs["split_1"].tolist()
    assert ours.obs["pert_idx"].tolist() == data.obs["pert_idx"].tolist()
    assert json.loads(ours.uns["provenance"])["inputs"].keys() == {"cdsdb.h5ad"}
    again, _ = prepare_published(out, tmp_path / "again.h5ad")  # ours is in that layout too
    np.testing.assert_array_equal(ad.read_h5ad(tmp_path / "again.h5ad").X, ours.X)
    assert again == size and dict(counts.steps)["kept, without a molar dose"] == 0


def test_the_nominal_dose_decides_as_in_the_published_bins(tmp_path: Path) -> None:
    path, ours, out = (tmp_path / name for name in ("a.h5ad", "ours.h5ad", "a.safetensors"))
    data = patients_h5ad(path, 3)
    # The first two rows are of the printed table: stored bins 4 and 0 are of the nominal dose.
    data.obs["pert_dose"] = ["1.0", "0.1", "10.01;10.0", "5.0", "500.0", "3.0"]
    data.obs["pert_dose_unit"] = ["uM"] * 4 + ["nM", "uM"]
    data.obs["nearest_dose"] = [1.11, 0.12, np.nan, -666.0, 370.0, 0.0]
    data.obs["pert_dose_idx"] = [4, 0, 8, 7, 1, 9]  # the last one is wrong: 3 uM is in bin 5
    data.write_h5ad(path)
    told = "rows whose dose is not in the bin that pert_dose_idx states"
    _, counts = prepare_published(path, ours)
    expected = [1.11, 0.12, 10.005, 5.0, 0.37, 3.0]
    stored = ad.read_h5ad(ours)
    np.testing.assert_allclose(stored.obs["dose_um"], expected)
    assert dict(counts.steps)[told] == 1
    assert {"step": told, "rows": 1} in json.loads(stored.uns["provenance"])["counts"]
    for source in (path, ours):  # the dose of ours stands as it is
        made = tensors(source, out, assumed=ASSUMED)
        dose_um = TrainingData.load(out).dose_um
        np.testing.assert_allclose(dose_um, expected, rtol=1e-6)
        assert dose_bins(dose_um).tolist() == [4, 0, 8, 7, 1, 5]
        assert dict(made.counts.steps)[told] == 1


def test_bad_files_of_the_layout_are_told(tmp_path: Path) -> None:
    path, out = tmp_path / "bad.h5ad", tmp_path / "out.h5ad"
    good = patients_h5ad(path, 3)
    whole = path.read_bytes()

    def refused(message: str) -> None:
        with pytest.raises(DataError, match=message) as caught:
            prepare_published(path, out)
        assert caught.value.where and caught.value.fix

    path.write_bytes(whole[: len(whole) // 2])
    refused("damaged, cut off")
    for column, message in (("pert_id", "pert_id or drug"), ("pert_time", "time_h or pert_time")):
        bad = good.copy()
        bad.obs = bad.obs.drop(columns=column)
        bad.write_h5ad(path)
        refused(f"no column {message}")
    bad = good.copy()
    del bad.obsm["X_ctl"]
    bad.write_h5ad(path)
    refused("no obsm/X_ctl")
    bad = good.copy()
    bad.uns["X_kind"] = "level-5 consensus z-score"
    bad.write_h5ad(path)
    refused("but signatures")
    good[:, :300].copy().write_h5ad(path)
    refused("Only 300 of the 978 landmark genes")
    good[:0].copy().write_h5ad(path)
    refused("has no row")
    with h5py.File(path, "r+") as file:
        del file["X"]
        file["X"] = np.zeros((2, 978), dtype=np.float32)
    refused("do not have the same rows")
    assert not out.exists()


def test_tensors_of_patients_carry_labels_and_sound_splits(tmp_path: Path) -> None:
    path, out = tmp_path / "cdsdb.h5ad", tmp_path / "cdsdb.safetensors"
    patient = [f"P{i:02d}" for i in range(28) for _ in range(2)]
    cancer = [f"subtype {i % 7}" for i in range(28) for _ in range(2)]
    drug = [sorted(DRUGS)[i % 4] for i in range(28) for _ in range(2)]
    columns: dict[str, list[str]] = {}
    columns |= {f"split_{k}": v for k, v in by_group(patient, 5).items()}
    columns |= {f"split_cold_tissue_{k}": v for k, v in by_group(cancer, 5).items()}
    columns |= {f"split_cold_drug_{k}": v for k, v in by_group(drug, 4, leak=True).items()}
    columns["pretrain_split"] = ["train"] * 56
    source = patients_h5ad(path, 28, **columns)
    made = tensors(path, out, assumed=ASSUMED)
    data = TrainingData.load(out)
    assert len(data) == made.rows == 56
    assert data.patients == tuple(patient) and data.cancers == tuple(source.obs["Cancer subtype"])
    control = data.profiles[data.profile_index]
    np.testing.assert_array_equal(control, source.obsm["X_ctl"])
    np.testing.assert_array_equal(data.x_deg, source.X - source.obsm["X_ctl"])
    assert set(data.dose_um) == {1.0} and set(data.time_h) == {14 * 24.0, 12 * 168.0}
    assert sorted(data.drug_names) == sorted(DRUGS) and len(data.profiles) == 28
    assert data.has_x_pert.all() and data.fingerprint.any(axis=1).all()
    became = {split.scenario: split for split in made.splits}
    assert set(became) == {"unseen-patient", "unseen-cancer", "cold-drug", ""}
    assert "leaks" in became["cold-drug"].why and became["cold-drug"].path is None
    assert became[""].columns == ("pretrain_split",)
    for name in ("unseen-patient", "unseen-cancer"):
        carried = became[name].path
        assert carried is not None
        folds = load_folds(carried, data)
        published = np.array([columns[c] for c in became[name].columns])
        np.testing.assert_array_equal(folds.parts == TEST, published == "test")
        assert (folds.parts == VALID).any(axis=1).all()
        # The benchmark looks for the file under this very name.
        asked = BenchmarkConfig(name, out, (), (), n_folds=5)
        assert carried == split_path(asked, ScenarioSpec(name), carried.parent)
        assert make_folds(labels_of(data), name, n_folds=3).scenario is SCENARIOS[name]


def test_rows_that_cannot_be_used_are_counted_or_refused(tmp_path: Path) -> None:
    path, out = tmp_path / "cdsdb.h5ad", tmp_path / "out.safetensors"
    data = patients_h5ad(path, 6)
    with pytest.raises(DataError, match="Nothing is left") as error:
        tensors(path, out)  # no dose is molar, and none is assumed
    assert "no molar dose" in error.value.where and not out.exists()
    data.X[0, 5] = np.nan
    smiles = data.obs["canonical_smiles"].astype(object)
    smiles.iloc[2:4] = "not a structure"
    smiles.iloc[4:6] = ""
    data.obs["canonical_smiles"] = smiles
    data.write_h5ad(path)
    made = tensors(path, out, assumed=ASSUMED)
    steps = dict(made.counts.steps)
    assert steps["left out: a gene of the panel is not measured"] == 1
    assert steps["left out: structure that cannot be used"] == 2
    assert steps["rows whose structure was found in the library"] == 2
    left = TrainingData.load(out)
    assert len(left) == made.rows == 9 and len(made.notes) == 1
    assert np.isfinite(left.x_deg).all() and left.profile_index.max() < 6
    data.var["gene_id"] = [60, *data.var["gene_id"].iloc[1:]]  # ACTB is no landmark
    data.var["gene_symbol"] = ["ACTB", *data.var["gene_symbol"].iloc[1:]]
    data.write_h5ad(path)
    with pytest.raises(DataError, match="1 genes of the panel are not in the file"):
        tensors(path, out, assumed=ASSUMED)


def test_structures_may_come_from_a_table(tmp_path: Path) -> None:
    path, table = tmp_path / "cdsdb.h5ad", tmp_path / "drugs.csv"
    data = patients_h5ad(path, 6)
    data.obs["pert_id"] = [f"BRD-X{i}" for i in data.obs["pert_idx"]]
    data.obs = data.obs.drop(columns="canonical_smiles")
    data.write_h5ad(path)
    rows = {"pert_id": [f"BRD-X{i}" for i in range(4)], "cmap_name": list(DRUGS)}
    pd.DataFrame({**rows, "SMILES": list(DRUGS.values())}).to_csv(table, index=False)
    out = tmp_path / "out.safetensors"
    tensors(path, out, drugs=table, assumed=ASSUMED)
    assert sorted(TrainingData.load(out).drug_names) == sorted(DRUGS)
    tensors(path, out, assumed=ASSUMED)
    assert all(key.startswith("id:BRD-X") for key in TrainingData.load(out).drug_keys)
