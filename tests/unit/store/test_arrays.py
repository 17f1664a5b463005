"""Array files: exact, checked, never unpickled, swept when nobody names them."""

from __future__ import annotations

import os
import pickle
import time
from pathlib import Path

import numpy as np
import pytest
from store_data import assert_bits_equal, melanoma_profiles

from xpert_core.errors import StoreError
from xpert_core.files import sha256_file
from xpert_core.store import Store
from xpert_core.store.arrays import new_id, path_of, read_arrays, write_arrays

ARRAYS = {
    "c": np.array([[0.1, np.nan], [-0.0, np.inf]], dtype=np.float32),
    "fortran": np.asfortranarray(np.arange(6, dtype=np.int64).reshape(2, 3)),
    "strided": np.arange(10, dtype=np.float32)[::3],
    "empty": np.zeros((0, 978), dtype=np.float32),
}


def test_arrays_and_document_come_back_the_same(tmp_path: Path) -> None:
    file = write_arrays(tmp_path, ARRAYS, {"note": "é", "numbers": [1, 0.1]})
    arrays, document = read_arrays(tmp_path, file.id, file.sha256)
    assert document == {"note": "é", "numbers": [1, 0.1]}
    assert arrays.keys() == ARRAYS.keys()
    for name, values in ARRAYS.items():
        assert_bits_equal(arrays[name], values)
    path = path_of(tmp_path, file.id)
    assert (file.n_bytes, file.sha256) == (path.stat().st_size, sha256_file(path))
    with np.load(path) as plain:  # numpy alone can read what a user finds in the folder
        assert_bits_equal(plain["c"], ARRAYS["c"])


def test_a_pickle_is_neither_written_nor_read(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="allow_pickle"):
        write_arrays(tmp_path, {"x": np.array([{}], dtype=object)}, {})
    assert list(tmp_path.iterdir()) == []
    array_id = new_id()
    path = path_of(tmp_path, array_id)
    path.write_bytes(pickle.dumps({"x": 1}))
    with pytest.raises(ValueError, match="pickle"):
        read_arrays(tmp_path, array_id, sha256_file(path))


def test_a_file_that_is_a_folder_is_explained(tmp_path: Path) -> None:
    occupied = tmp_path / "arrays"
    occupied.write_text("a file where the folder should be")
    with pytest.raises(StoreError, match="cannot be opened") as caught:
        write_arrays(occupied, ARRAYS, {})
    assert str(occupied) in caught.value.where


def test_orphans_are_swept_after_the_grace_period(store: Store) -> None:
    profiles = melanoma_profiles()
    cohort_id = store.save_cohort(profiles)
    folder = store.arrays_folder
    orphan = path_of(folder, write_arrays(folder, ARRAYS, {}).id)
    half_written = folder / f".{new_id()}.npz.x7f2"
    half_written.write_bytes(b"PK")
    own = folder / "notes of the user.txt"
    own.write_text("not ours")
    assert store.sweep_orphans() == 0  # all young: their rows may be about to come
    old = time.time() - 7200
    for path in folder.iterdir():
        os.utime(path, (old, old))
    young = path_of(folder, write_arrays(folder, ARRAYS, {}).id)
    assert store.sweep_orphans() == 2
    assert not orphan.exists()
    assert not half_written.exists()
    assert young.exists()
    assert own.exists()
    assert len(store.load_cohort(cohort_id)) == len(profiles)
    assert store.sweep_orphans(grace_s=0) == 1


def test_a_store_without_arrays_has_nothing_to_sweep(store: Store) -> None:
    assert store.sweep_orphans(grace_s=0) == 0
