"""KPGT: a user's table is checked, looked up by structure, and never guessed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from xpert_core.drugs import featurizers
from xpert_core.drugs.library import DrugLibrary
from xpert_core.drugs.records import Drug
from xpert_core.errors import DrugError

DIM = 2304
VECTORS = np.random.default_rng(0).normal(size=(3, DIM)).astype(np.float32)


@pytest.fixture(scope="module")
def drugs() -> list[Drug]:
    library = DrugLibrary.load()
    return [library.resolve(name) for name in ("vorinostat", "imatinib", "trametinib")]


def write(path: Path, keys: list[str], vectors: np.ndarray) -> Path:
    if path.suffix == ".npz":
        np.savez(path, keys=np.array(keys), vectors=vectors)
        return path
    frame = pd.DataFrame(vectors, columns=[f"v{i}" for i in range(vectors.shape[1])])
    frame.insert(0, "drug", keys)
    if path.suffix == ".csv":
        frame.to_csv(path, index=False)
    else:
        frame.to_parquet(path, index=False)
    return path


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".npz"])
def test_each_format_and_each_key(suffix, drugs, tmp_path):
    keys = [drugs[0].inchikey, drugs[1].connectivity, f"{drugs[2].smiles}.[Na+].[Cl-]"]
    kpgt = featurizers.create("kpgt", table=write(tmp_path / f"table{suffix}", keys, VECTORS))
    for drug, vector in zip(drugs, VECTORS, strict=True):
        found = kpgt.featurize(drug)
        np.testing.assert_allclose(found.molecule, vector, rtol=1e-5, atol=1e-6)
        assert found.molecule.dtype == np.float32
        assert found.atoms.shape == (0, DIM) and found.fallback == ""


def test_a_drug_not_in_the_table_is_refused_with_the_way_out(drugs, tmp_path):
    table = write(tmp_path / "t.npz", [drugs[0].inchikey], VECTORS[:1])
    kpgt = featurizers.create("kpgt", table=table)
    with pytest.raises(DrugError, match="no vector for imatinib") as caught:
        kpgt.featurize(drugs[1])
    assert drugs[1].connectivity in caught.value.where and "add them" in caught.value.fix
    with pytest.raises(DrugError, match="no vector for nivolumab"):
        kpgt.featurize(Drug("nivolumab", "", ""))


def test_another_table_has_another_digest(drugs, tmp_path):
    first = write(tmp_path / "a.npz", [drugs[0].inchikey], VECTORS[:1])
    second = write(tmp_path / "b.npz", [drugs[0].inchikey], VECTORS[1:2])
    assert (
        featurizers.create("kpgt", table=first).digest
        != featurizers.create("kpgt", table=second).digest
    )


def test_wrong_width_is_refused_with_the_numbers(drugs, tmp_path):
    table = write(tmp_path / "t.csv", [drugs[0].inchikey], VECTORS[:1, :512])
    with pytest.raises(DrugError, match=r"2304.*512"):
        featurizers.create("kpgt", table=table)


def test_a_value_that_is_no_number_is_located(drugs, tmp_path):
    broken = VECTORS.copy()
    broken[1, 6] = np.nan
    table = write(tmp_path / "t.npz", [d.inchikey for d in drugs], broken)
    with pytest.raises(DrugError, match="not a finite number") as caught:
        featurizers.create("kpgt", table=table)
    assert "row 2" in caught.value.where and "number 7" in caught.value.where


def test_an_unreadable_key_is_located(drugs, tmp_path):
    table = write(tmp_path / "t.npz", [drugs[0].inchikey, "imatinib", drugs[2].inchikey], VECTORS)
    with pytest.raises(DrugError, match="neither an InChIKey nor") as caught:
        featurizers.create("kpgt", table=table)
    assert "row 2" in caught.value.where and "imatinib" in caught.value.where


def test_two_vectors_for_one_drug_are_refused(drugs, tmp_path):
    keys = [drugs[0].inchikey, drugs[0].smiles]
    with pytest.raises(DrugError, match="two different vectors") as caught:
        featurizers.create("kpgt", table=write(tmp_path / "t.npz", keys, VECTORS[:2]))
    assert "rows 1 and 2" in caught.value.where
    same = write(tmp_path / "same.npz", keys, VECTORS[[0, 0]])
    featurizers.create("kpgt", table=same)


@pytest.mark.parametrize(
    ("name", "content"),
    [("t.csv", b""), ("t.parquet", b"no parquet"), ("t.npz", b"no zip"), ("t.pkl", b"x")],
)
def test_files_of_another_kind_are_refused(name, content, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DrugError, match="KPGT table") as caught:
        featurizers.create("kpgt", table=tmp_path / name)
    assert "2304" in caught.value.fix


def test_pickled_arrays_are_never_loaded(tmp_path):
    np.savez(tmp_path / "t.npz", keys=np.array(["x"], dtype=object), vectors=VECTORS[:1])
    with pytest.raises(DrugError, match="cannot be read"):
        featurizers.create("kpgt", table=tmp_path / "t.npz")


def test_missing_table_is_named(tmp_path):
    with pytest.raises(DrugError, match="not found") as caught:
        featurizers.create("kpgt", table=tmp_path / "absent.csv")
    assert "absent.csv" in caught.value.where
