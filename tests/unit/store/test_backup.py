"""A backup is a complete store of its own."""

from __future__ import annotations

from pathlib import Path

import pytest
from store_data import (
    assert_same_prediction,
    assert_same_profiles,
    melanoma_prediction,
    melanoma_profiles,
)

from xpert_core.errors import StoreError
from xpert_core.store import Store


def test_a_backup_opens_as_a_store_and_stands_alone(store: Store, tmp_path: Path) -> None:
    cohort_id = store.save_cohort(melanoma_profiles())
    run_id = store.save_prediction(melanoma_prediction(), cohort_id)
    target = store.backup(tmp_path / "backups" / "monday.db")
    store.delete_cohort(cohort_id)
    copy = Store(f"sqlite:///{target}")
    assert_same_profiles(copy.load_cohort(cohort_id), melanoma_profiles())
    assert_same_prediction(copy.load_prediction(run_id), melanoma_prediction())
    assert copy.sweep_orphans(grace_s=0) == 0
    copy.close()


def test_a_backup_overwrites_nothing(store: Store, tmp_path: Path) -> None:
    target = store.backup(tmp_path / "monday.db")
    before = target.read_bytes()
    store.save_cohort(melanoma_profiles())
    with pytest.raises(StoreError, match="overwrite") as caught:
        store.backup(target)
    assert str(target) in caught.value.where
    assert target.read_bytes() == before


def test_a_backup_of_a_store_with_a_lost_file_is_refused(store: Store, tmp_path: Path) -> None:
    store.save_cohort(melanoma_profiles(60))
    store.save_cohort(melanoma_profiles())
    lost = next(store.arrays_folder.iterdir())
    lost.unlink()
    with pytest.raises(StoreError, match="missing") as caught:
        store.backup(tmp_path / "backups" / "monday.db")
    assert str(lost) in caught.value.where
    assert list((tmp_path / "backups").iterdir()) == []
