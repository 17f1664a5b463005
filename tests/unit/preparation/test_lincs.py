"""LINCS 2020 to conditions: cleaning, controls of the plate, collapse, subsets, bad files."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
from lincs_data import Release, write_gctx, write_release

from xpert_core.errors import DataError
from xpert_core.genes import load_panel
from xpert_core.preparation import lincs
from xpert_core.preparation.doses import dose_bins
from xpert_core.preparation.gctx import open_gctx
from xpert_core.preparation.lincs import LincsSettings, check, prepare
from xpert_core.preparation.lincs_conditions import subset_rows
from xpert_core.preparation.records import Counts


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Release:
    return write_release(tmp_path_factory.mktemp("lincs"))


@pytest.fixture(scope="module")
def full(release: Release, tmp_path_factory: pytest.TempPathFactory) -> ad.AnnData:
    out = tmp_path_factory.mktemp("prepared")
    prepare(release.files, out, LincsSettings(block=100))
    assert [p.name for p in out.iterdir()] == ["l1000_full.h5ad"]
    return ad.read_h5ad(out / "l1000_full.h5ad")


def changed(release: Release, folder: Path, instances: pd.DataFrame) -> lincs.LincsFiles:
    """The files of the release with another instance table."""
    path = folder / "instinfo_beta.txt"
    instances.to_csv(path, sep="\t", index=False)
    return replace(release.files, instances=path)


def step(counts: Counts, what: str) -> int:
    found = [n for text, n in counts.steps if what in text]
    assert len(found) == 1, (what, counts.steps)
    return found[0]


def expected(release: Release, pair: str) -> tuple[np.ndarray, np.ndarray]:
    """Mean of the shipped wells, and of their shipped controls, of one condition."""
    cell, pert, time, dose_bin = pair.split(":")
    rows = release.instances.set_index("sample_id").loc[release.treated.obs["inst_id"]]
    dose = pd.to_numeric(rows["nearest_dose"].replace("", np.nan)).fillna(
        pd.to_numeric(rows["pert_dose"])
    )
    chosen = (
        (rows["cell_iname"] == cell)
        & (rows["pert_id"] == pert)
        & (pd.to_numeric(rows["pert_time"]) == float(time))
        & (dose_bins(dose.to_numpy()) == int(dose_bin))
    ).to_numpy()
    x, x_ctl = np.asarray(release.treated.X), release.treated.obsm["X_ctl"]
    return x[chosen].mean(axis=0), x_ctl[chosen].mean(axis=0)


def test_conditions_are_means_of_real_wells_and_of_their_plates_vehicle(
    release: Release, full: ad.AnnData
) -> None:
    panel = load_panel()
    assert full.var["entrez_id"].tolist() == list(panel.entrez)
    assert full.var.index.tolist() == list(panel.symbols)
    assert full.obs["n_replicates"].sum() == len(release.treated)
    assert full.obs["n_replicates"].max() > 1
    for name in full.obs.index[:: len(full) // 40]:
        x, x_ctl = expected(release, name)
        row = full.obs.index.get_loc(name)
        np.testing.assert_allclose(full.X[row], x, atol=2e-5)
        # The shipped controls were averaged by other code, from the same vehicle wells.
        np.testing.assert_allclose(full.obsm["X_ctl"][row], x_ctl, atol=2e-5)


def test_obs_names_condition_compound_and_provenance(release: Release, full: ad.AnnData) -> None:
    obs = full.obs
    assert obs.index.is_unique and (obs["cell_pert_dose_time"] == obs.index).all()
    assert set(obs["time_h"]) == {6.0, 24.0} and set(obs["pert_time_idx"]) == {1, 2}
    assert (dose_bins(obs["dose_um"].to_numpy()) == obs["pert_dose_idx"]).all()
    told = json.loads(full.uns["provenance"])
    names = [p.name for p in release.files.paths() if p]
    assert sorted(told["inputs"]) == sorted(names)
    assert all(len(digest) == 64 for digest in told["inputs"].values())
    assert told["settings"]["control"] == "mean" and told["rows_written"] == len(full)
    assert full.uns["X_kind"].startswith("expression after treatment")
    smiles = obs["canonical_smiles"].astype(str)
    assert (smiles != "").mean() > 0.9 and not smiles.str.contains("restricted").any()
    assert (obs["moa"].astype(str).str.contains("EGFR inhibitor")).any()


def test_a_random_control_is_one_well_of_the_plate_and_follows_the_seed(
    release: Release, tmp_path: Path
) -> None:
    chosen = LincsSettings(control="random", seed=3, block=64)
    found = {}
    for name, settings in (("a", chosen), ("b", chosen), ("c", replace(chosen, seed=4))):
        ((path,), _) = prepare(release.files, tmp_path / name, settings)
        found[name] = ad.read_h5ad(path)
    np.testing.assert_array_equal(found["a"].obsm["X_ctl"], found["b"].obsm["X_ctl"])
    assert not np.array_equal(found["a"].obsm["X_ctl"], found["c"].obsm["X_ctl"])
    np.testing.assert_array_equal(found["a"].X, found["c"].X)
    wells = np.asarray(release.vehicle.X)
    plates = release.vehicle.obs["plate"].astype(str).to_numpy()
    single = np.flatnonzero((found["a"].obs["n_replicates"] == 1).to_numpy())[::60]
    for row in single:
        own = plates == found["a"].obs["det_plate"].iloc[row]
        distance = np.abs(wells[own] - found["a"].obsm["X_ctl"][row]).max(axis=1)
        assert distance.min() < 1e-5


def test_block_size_changes_no_value(release: Release, full: ad.AnnData, tmp_path: Path) -> None:
    ((path,), _) = prepare(release.files, tmp_path, LincsSettings(block=5000))
    again = ad.read_h5ad(path)
    np.testing.assert_allclose(again.X, full.X, atol=1e-6)
    np.testing.assert_allclose(again.obsm["X_ctl"], full.obsm["X_ctl"], atol=1e-6)


def test_subsets_by_hand() -> None:
    rows = [
        ("A", "d1", 8, 2), ("A", "d1", 8, 1), ("A", "d1", 3, 2),  # several of both: mdmt
        ("A", "d2", 8, 2), ("A", "d2", 3, 2),  # doses alone
        ("B", "d1", 8, 2), ("B", "d1", 8, 1),  # times alone
        ("B", "d3", 8, 2),
    ]  # fmt: skip
    obs = pd.DataFrame(rows, columns=["cell_iname", "pert_id", "pert_dose_idx", "pert_time_idx"])
    obs["time_h"] = obs["pert_time_idx"].map({1: 6.0, 2: 24.0})
    assert subset_rows(obs, "full").tolist() == list(range(8))
    assert subset_rows(obs, "sdst").tolist() == [0, 3, 5, 7]
    assert subset_rows(obs, "mdmt").tolist() == [0, 1, 2]
    assert subset_rows(obs, "mdmt_pretrain").tolist() == [3, 4, 5, 6, 7]


def test_every_cleaning_step_is_counted(release: Release, tmp_path: Path) -> None:
    table = release.instances.copy()
    treated = table.index[table["pert_type"] == "trt_cp"].to_numpy()
    plates = table.loc[table["pert_type"] == "ctl_vehicle", "det_plate"].unique()
    changes: list[tuple[str, object, int]] = [
        ("qc_pass", "0.0", 5), ("pert_id", "-666", 4), ("cell_iname", "", 3), ("det_plate", "", 2),
        ("pert_time", "-666", 3), ("pert_time", "48.0", 6), ("pert_dose_unit", "%", 7),
        ("pert_dose_unit", "ug/ml", 1), ("pert_dose", "-666", 2), ("pert_dose", "-10", 2),
        ("pert_type", "trt_sh", 3),
    ]  # fmt: skip
    start = 0
    for column, value, count in changes:
        table.loc[treated[start : start + count], column] = value
        start += count
    table = table[~((table["pert_type"] == "ctl_vehicle") & (table["det_plate"] == plates[0]))]
    more = table.iloc[[0, 1]].assign(sample_id=["NOT_THERE:A01", "NOT_THERE:A02"])
    counts = check(changed(release, tmp_path, pd.concat([table, more])))
    assert step(counts, "quality flag") == 5
    assert step(counts, "no pert_id") == 4
    assert step(counts, "no cell_iname") == 3
    assert step(counts, "treated, no det_plate") == 2
    assert step(counts, "treated, no time") == 3
    assert step(counts, "other than 3, 6 or 24 h") == 6
    assert step(counts, "without a molar unit") == 8
    assert step(counts, "dose missing or not positive") == 4
    assert step(counts, "neither trt_cp nor") == 3
    assert step(counts, "in the table but in no matrix") == 2
    assert step(counts, "trt_cp_n1805898x12328.gctx but not in the table") == 3
    assert step(counts, "plates of treated wells without a vehicle well") == 1
    assert step(counts, "no vehicle well on the plate") > 100


def test_doses_in_nanomolar_are_converted(release: Release, tmp_path: Path) -> None:
    table = release.instances.copy()
    number = pd.to_numeric(table["pert_dose"].replace("", np.nan)) * 1000
    table["pert_dose"] = number.map(lambda d: "" if np.isnan(d) else f"{d:.6g}")
    table["pert_dose_unit"] = table["pert_dose_unit"].replace("uM", "nM")
    plain = check(release.files)
    assert check(changed(release, tmp_path, table)).steps == plain.steps


def test_an_interrupted_run_leaves_no_output_and_goes_on_to_the_same_numbers(
    release: Release, full: ad.AnnData, tmp_path: Path
) -> None:
    settings = LincsSettings(block=100)

    def stop_at(what: str, number: int) -> lincs.Report:
        def report(label: str, done: int, total: int) -> None:
            if label.startswith(what) and done >= number:
                raise KeyboardInterrupt

        return report

    for what, number in (("Vehicle", 100), ("Treated", 300), ("Treated", 700), ("Writing", 1)):
        with pytest.raises(KeyboardInterrupt):
            prepare(release.files, tmp_path, settings, report=stop_at(what, number))
        assert not list(tmp_path.glob("*.h5ad"))
    with pytest.raises(DataError, match="of other files or settings"):
        prepare(release.files, tmp_path, replace(settings, control="random"))
    read: list[str] = []
    ((path,), _) = prepare(
        release.files, tmp_path, settings, report=lambda what, *_: read.append(what)
    )
    assert not [what for what in read if what.endswith("profiles")]  # every block was done
    again = ad.read_h5ad(path)
    np.testing.assert_array_equal(again.X, full.X)
    np.testing.assert_array_equal(again.obsm["X_ctl"], full.obsm["X_ctl"])
    assert [p.name for p in tmp_path.iterdir()] == ["l1000_full.h5ad"]


@pytest.mark.parametrize("when", ["second is packed", "first is there", "first is noted"])
def test_a_subset_that_is_there_is_not_written_again(
    release: Release, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    settings = LincsSettings(subsets=("full", "mdmt_pretrain"))
    full = tmp_path / "l1000_full.h5ad"

    def report(label: str, *_: int) -> None:
        if when == "second is packed" and label.startswith("Writing l1000_mdmt_pretrain"):
            raise KeyboardInterrupt

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        if when == "first is there":
            patch.setattr(lincs, "_stamp", lambda path: stop() if path == full else [0, 0])
        elif when == "first is noted":
            patch.setattr(lincs.Stage, "clear", stop)
        with pytest.raises(KeyboardInterrupt):
            prepare(release.files, tmp_path, settings, report=report)
    stamp, labels = full.stat().st_mtime_ns, set[str]()
    if when == "first is there":  # the inputs' stamps were others: the same for what follows
        monkeypatch.setattr(lincs, "_stamp", lambda _: [0, 0])
    written, _ = prepare(
        release.files, tmp_path, settings, report=lambda what, *_: labels.add(what)
    )
    assert written[full] == ad.read_h5ad(full).n_obs
    again = {label for label in labels if label.startswith("Writing l1000_full")}
    assert (full.stat().st_mtime_ns == stamp) == (when != "first is there") == (not again)
    assert len(list(tmp_path.iterdir())) == 2


def test_a_kill_while_a_block_is_added_adds_it_once(
    release: Release, full: ad.AnnData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from xpert_core.preparation.disk import Work

    save = Work.save
    calls = []

    def killed_after_adding(self: Work) -> None:
        calls.append(1)
        if len(calls) == 9:
            raise RuntimeError("killed between the sums and the state")
        save(self)

    with monkeypatch.context() as patch:
        patch.setattr(Work, "save", killed_after_adding)
        with pytest.raises(RuntimeError):
            prepare(release.files, tmp_path, LincsSettings(block=100))
    ((path,), _) = prepare(release.files, tmp_path, LincsSettings(block=100))
    np.testing.assert_array_equal(ad.read_h5ad(path).X, full.X)
    np.testing.assert_array_equal(ad.read_h5ad(path).obsm["X_ctl"], full.obsm["X_ctl"])


def test_outputs_are_not_overwritten_without_force(release: Release, tmp_path: Path) -> None:
    target = tmp_path / "l1000_sdst.h5ad"
    target.write_bytes(b"mine")
    settings = LincsSettings(subsets=("sdst", "mdmt_pretrain"))
    with pytest.raises(DataError, match="would be overwritten"):
        prepare(release.files, tmp_path, settings)
    assert target.read_bytes() == b"mine" and len(list(tmp_path.iterdir())) == 1
    written, _ = prepare(release.files, tmp_path, settings, force=True)
    sdst = ad.read_h5ad(target)
    assert written[target] == len(sdst)
    assert set(sdst.obs["time_h"]) == {24.0} and set(sdst.obs["pert_dose_idx"]) == {8}


def test_an_empty_subset_is_refused_with_the_counts(release: Release, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="Nothing is left") as error:
        prepare(release.files, tmp_path, LincsSettings(subsets=("mdmt",)))
    assert "0 conditions in mdmt" in error.value.where


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.drop(columns="det_plate"), "no column det_plate"),
        (lambda t: t.drop(columns="qc_pass"), "no column qc_pass"),
        (lambda t: pd.concat([t, t.head(2)]), "2 sample ids occur more than once in the instance"),
        (lambda t: t.head(0), "a header but no row"),
        (lambda t: t.assign(sample_id="X" + t["sample_id"]), "No sample of the matrix"),
        (lambda t: t.assign(qc_pass="0"), "Nothing is left"),
        (lambda t: t[t["pert_type"] == "trt_cp"], "No sample of the matrix"),
    ],
)  # fmt: skip
def test_bad_instance_tables_are_told(
    release: Release, tmp_path: Path, change: object, message: str
) -> None:
    assert callable(change)
    with pytest.raises(DataError, match=message) as error:
        check(changed(release, tmp_path, change(release.instances)))
    assert error.value.where


def test_bad_matrices_are_told(release: Release, tmp_path: Path) -> None:
    whole = release.files.treated.read_bytes()
    cut = tmp_path / "cut.gctx"
    cut.write_bytes(whole[: len(whole) // 2])
    text = tmp_path / "text.gctx"
    text.write_text("not a matrix", encoding="utf-8")
    h5ad = tmp_path / "other.gctx"
    with h5py.File(h5ad, "w") as file:
        file["X"] = np.zeros((2, 2))
    for path in (cut, text, h5ad):
        with pytest.raises(DataError, match="damaged, cut off"):
            check(replace(release.files, treated=path))
    with pytest.raises(DataError, match="was not found"):
        check(replace(release.files, treated=tmp_path / "none.gctx"))
    twice = tmp_path / "twice.gctx"
    write_gctx(twice, ["a", "b", "a"], ["1", "2"], np.zeros((3, 2)))
    with pytest.raises(DataError, match="more than once in the matrix"):
        check(replace(release.files, treated=twice))
    unfit = tmp_path / "unfit.gctx"
    write_gctx(unfit, ["a", "b", "c"], ["1", "2"], np.zeros((2, 3)))
    with pytest.raises(DataError, match="does not fit its labels"):
        check(replace(release.files, treated=unfit))
    foreign = tmp_path / "foreign.gctx"
    write_gctx(foreign, ["a", "b"], ["60", "213"], np.zeros((2, 2)))
    with pytest.raises(DataError, match="Only 0 of the 978 landmark genes"):
        check(replace(release.files, treated=foreign))


@pytest.mark.parametrize("kind", ["symbols", "ensembl", "own ids"])
def test_genes_may_have_other_identifiers(release: Release, tmp_path: Path, kind: str) -> None:
    panel = load_panel()
    own = [f"G_{i}" for i in range(len(panel))]
    ids = {"symbols": panel.symbols, "ensembl": panel.ensembl, "own ids": own}[kind]
    data = release.treated[:50]
    path = tmp_path / "other.gctx"
    write_gctx(path, data.obs["inst_id"].tolist(), list(ids), np.asarray(data.X))
    info = tmp_path / "geneinfo_beta.txt"
    pd.DataFrame({"gene_id": own, "gene_symbol": panel.symbols}).to_csv(info, sep="\t", index=False)
    files = replace(release.files, treated=path, genes=info if kind == "own ids" else None)
    ((written,), _) = prepare(files, tmp_path / "out")
    found = ad.read_h5ad(written)
    known = np.array([bool(i) for i in ids])
    assert np.isfinite(found.X[:, known]).all() and np.isnan(found.X[:, ~known]).all()
    single = found[(found.obs["n_replicates"] == 1).to_numpy()]
    place = {i: n for n, i in enumerate(release.instances["pert_id"])}
    assert len(single) and set(single.obs["pert_id"]) <= set(place)


def test_missing_values_of_cmap_are_not_averaged(tmp_path: Path) -> None:
    path = tmp_path / "m.gctx"
    write_gctx(path, ["a", "b", "c"], ["1", "2"], np.array([[1, -666], [2, 3], [4, 5]]))
    with open_gctx(path, "matrix") as matrix:
        assert matrix.positions(np.array([b"c", b"x", b"a"])).tolist() == [2, -1, 0]
        values = matrix.read(np.array([0, 2]), np.array([1, -1, 0]))
    np.testing.assert_array_equal(values, [[np.nan, np.nan, 1], [5, np.nan, 4]])


def test_sums_without_a_state_are_not_continued(
    release: Release, full: ad.AnnData, tmp_path: Path
) -> None:
    def stop(what: str, done: int, total: int) -> None:
        if what.startswith("Treated") and done >= 500:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(release.files, tmp_path, LincsSettings(block=100), report=stop)
    (tmp_path / ".l1000-work" / "state.json").write_text("{damaged", encoding="utf-8")
    ((path,), _) = prepare(release.files, tmp_path, LincsSettings(block=100))
    np.testing.assert_array_equal(ad.read_h5ad(path).X, full.X)


def test_a_run_whose_sums_were_lost_is_not_continued(release: Release, tmp_path: Path) -> None:
    def stop(what: str, done: int, total: int) -> None:
        if what.startswith("Treated") and done >= 500:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(release.files, tmp_path, LincsSettings(block=100), report=stop)
    for name in ("controls", "x", "x_ctl"):
        path = tmp_path / ".l1000-work" / f"{name}.f64"
        kept = path.rename(tmp_path / "kept")
        with pytest.raises(DataError, match="Sums of an interrupted preparation are lost"):
            prepare(release.files, tmp_path, LincsSettings(block=100))
        assert not (tmp_path / "l1000_full.h5ad").exists()
        kept.rename(path)
