"""Paired cohorts: kept once, come back the same, gone when deleted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from store_data import assert_bits_equal, assert_same_table, melanoma_pairs

from xpert_core.errors import StoreError
from xpert_core.store import Store


def test_pairs_come_back_as_they_were_saved(store: Store) -> None:
    pairs = melanoma_pairs()
    assert np.isnan(pairs.x_before).any()
    loaded = store.pairs.load(store.pairs.save(pairs))
    assert_same_table(loaded.pairs, pairs.pairs)
    assert_same_table(loaded.genes.table, pairs.genes.table)
    for name in ("x_before", "x_after", "x_deg"):
        assert_bits_equal(getattr(loaded, name), getattr(pairs, name))
    assert_bits_equal(loaded.genes.column_of_gene, pairs.genes.column_of_gene)
    assert (loaded.panel, loaded.genes.counts) == (pairs.panel, pairs.genes.counts)
    plain = ("name", "unit", "scale_transform", "input_sha256", "notes", "patients")
    for name in plain:
        assert getattr(loaded, name) == getattr(pairs, name)


def test_the_list_says_what_there_is(store: Store) -> None:
    pairs_id = store.pairs.save(melanoma_pairs(), owner="ana")
    store.pairs.save(melanoma_pairs(8), owner="ben")
    listed = store.pairs.list("ana")
    assert listed.index.tolist() == [pairs_id] and len(store.pairs.list()) == 2
    row = listed.loc[pairs_id]
    assert row[["n_pairs", "n_patients", "n_genes", "n_genes_found"]].tolist() == [20, 20, 120, 117]
    assert row["unit"] == "log2" and str(listed["created_at"].dt.tz) == "UTC"


def test_the_same_upload_of_an_owner_is_kept_once(store: Store) -> None:
    pairs = melanoma_pairs()
    first = store.pairs.save(pairs)
    assert store.pairs.save(replace(pairs, name="renamed.csv")) == first
    assert store.pairs.save(pairs, owner="ana") != first
    assert store.pairs.save(replace(pairs, unit="z-score")) != first
    after = pairs.x_after.copy()
    after[0, 0] += 1
    assert store.pairs.save(replace(pairs, x_after=after)) != first
    table = pairs.pairs.assign(response="unknown")
    assert store.pairs.save(replace(pairs, pairs=table)) != first
    assert len(list(store.arrays_folder.iterdir())) == len(store.pairs.list()) == 5


def test_a_damaged_file_is_noticed_and_healed_by_the_same_upload(store: Store) -> None:
    pairs_id = store.pairs.save(melanoma_pairs())
    (file,) = store.arrays_folder.iterdir()
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(StoreError, match="damaged"):
        store.pairs.load(pairs_id)
    assert store.pairs.save(melanoma_pairs()) == pairs_id
    assert_bits_equal(store.pairs.load(pairs_id).x_after, melanoma_pairs().x_after)


def test_delete_removes_row_and_file(store: Store) -> None:
    pairs_id = store.pairs.save(melanoma_pairs(), owner="ana")
    for act in (store.pairs.load, store.pairs.delete):
        with pytest.raises(StoreError, match="no paired cohort with this id"):
            act(pairs_id, "ben")
    store.pairs.delete(pairs_id, "ana")
    assert list(store.arrays_folder.iterdir()) == [] and store.pairs.list().empty
    with pytest.raises(StoreError, match="no paired cohort with this id"):
        store.pairs.load(pairs_id)


def test_pairs_are_part_of_a_backup_and_no_orphans(store: Store, tmp_path: Path) -> None:
    pairs_id = store.pairs.save(melanoma_pairs())
    assert store.sweep_orphans(grace_s=0) == 0
    copy = Store(f"sqlite:///{store.backup(tmp_path / 'copy.db')}")
    assert_bits_equal(copy.pairs.load(pairs_id).x_before, melanoma_pairs().x_before)
    copy.close()
