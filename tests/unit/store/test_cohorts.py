"""Cohorts come back bit by bit, are kept once, and are gone when deleted."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from store_data import (
    assert_same_profiles,
    melanoma_prediction,
    melanoma_profiles,
)

from xpert_core.errors import StoreError
from xpert_core.store import Store


def array_files(store: Store) -> list[Path]:
    return sorted(store.arrays_folder.iterdir())


def test_a_cohort_comes_back_the_same(store: Store) -> None:
    profiles = melanoma_profiles()
    assert_same_profiles(store.load_cohort(store.save_cohort(profiles)), profiles)


def test_a_cohort_comes_back_the_same_after_a_restart(store: Store, url: str) -> None:
    profiles = melanoma_profiles()
    cohort_id = store.save_cohort(profiles)
    store.close()
    assert_same_profiles(Store(url).load_cohort(cohort_id), profiles)


def test_samples_that_are_numbers_or_named_like_ours_come_back_the_same(store: Store) -> None:
    profiles = melanoma_profiles()
    samples = profiles.samples.copy()
    samples["patient_id"] = np.arange(len(samples))
    samples["sample_id"] = pd.Series(["x", None, 3] * 17, samples.index, dtype=object)
    samples["details"] = samples["position"] = "own column of the file"
    profiles = dataclasses.replace(profiles, samples=samples.reset_index(drop=True))
    assert_same_profiles(store.load_cohort(store.save_cohort(profiles)), profiles)


def test_bits_of_any_float_survive(store: Store) -> None:
    profiles = melanoma_profiles(200)
    bits = np.random.default_rng(0).integers(0, 2**32, profiles.x_ctl.shape, dtype=np.uint32)
    x_ctl = np.asfortranarray(bits.view(np.float32))  # also NaNs with a payload, and infinities
    profiles = dataclasses.replace(profiles, x_ctl=x_ctl)
    assert_same_profiles(store.load_cohort(store.save_cohort(profiles)), profiles)


def test_a_cohort_without_samples_can_be_kept(store: Store) -> None:
    profiles = melanoma_profiles()
    empty = dataclasses.replace(
        profiles, samples=profiles.samples.iloc[:0], x_ctl=profiles.x_ctl[:0]
    )
    assert_same_profiles(store.load_cohort(store.save_cohort(empty)), empty)


def test_the_list_shows_what_was_stored(store: Store) -> None:
    first = store.save_cohort(melanoma_profiles(name="first.csv"))
    second = store.save_cohort(melanoma_profiles(90, name="second.csv"), owner="clinic b")
    store.save_prediction(melanoma_prediction(), first)
    listed = store.cohorts()
    assert list(listed.index) == [second, first]
    row = listed.loc[first]
    assert (row["name"], row["owner"], row["scale"], row["panel"]) == (
        "first.csv",
        "local",
        "log2",
        "first-genes",
    )
    assert (row["n_profiles"], row["n_patients"], row["n_runs"]) == (51, 51, 1)
    assert (row["n_genes"], row["n_genes_found"]) == (120, 117)
    assert abs(row["created_at"] - datetime.now(UTC)) < timedelta(minutes=5)
    assert str(listed["created_at"].dt.tz) == "UTC"
    assert list(store.cohorts(owner="clinic b").index) == [second]


def test_the_list_of_an_empty_store_is_empty(store: Store) -> None:
    assert store.cohorts().empty
    assert {"name", "created_at", "n_runs"} <= set(store.cohorts().columns)


def test_the_same_upload_is_kept_once_for_each_owner(store: Store) -> None:
    first = store.save_cohort(melanoma_profiles())
    assert store.save_cohort(melanoma_profiles(name="renamed.csv")) == first
    assert len(array_files(store)) == 1
    assert store.save_cohort(melanoma_profiles(), owner="other") != first
    other_scale = dataclasses.replace(melanoma_profiles().scale, used="tpm")
    rescaled = dataclasses.replace(melanoma_profiles(), scale=other_scale)
    assert store.save_cohort(rescaled) != first
    assert store.save_cohort(melanoma_profiles(90)) != first
    assert len(store.cohorts()) == len(array_files(store)) == 4


def test_other_values_from_the_same_file_are_not_mistaken_for_it(store: Store) -> None:
    # For instance the same file read again with samples and genes swapped by the user.
    first = store.save_cohort(melanoma_profiles())
    x_ctl = melanoma_profiles().x_ctl[::-1].copy()
    changed = dataclasses.replace(melanoma_profiles(), x_ctl=x_ctl)
    assert store.save_cohort(changed) != first


@pytest.mark.parametrize("harm", ["lost", "damaged"])
def test_saving_again_heals_a_lost_or_damaged_file(store: Store, harm: str) -> None:
    profiles = melanoma_profiles()
    cohort_id = store.save_cohort(profiles)
    (file,) = array_files(store)
    if harm == "lost":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:-1] + b"?")
    with pytest.raises(StoreError, match=r"missing|damaged") as caught:
        store.load_cohort(cohort_id)
    assert str(file) in caught.value.where
    assert "backup" in caught.value.fix
    assert store.save_cohort(profiles) == cohort_id
    assert_same_profiles(store.load_cohort(cohort_id), profiles)


def test_deleting_removes_rows_files_and_predictions(store: Store) -> None:
    kept = store.save_cohort(melanoma_profiles(90))
    kept_run = store.save_prediction(melanoma_prediction(), kept)
    kept_files = array_files(store)
    cohort_id = store.save_cohort(melanoma_profiles())
    run_id = store.save_prediction(melanoma_prediction(), cohort_id)
    store.delete_cohort(cohort_id)
    assert array_files(store) == kept_files
    assert list(store.cohorts().index) == [kept]
    assert list(store.runs().index) == [kept_run]
    with pytest.raises(StoreError, match="no stored cohort"):
        store.load_cohort(cohort_id)
    with pytest.raises(StoreError, match="no stored prediction"):
        store.load_prediction(run_id)
    with pytest.raises(StoreError, match="may have been deleted"):
        store.delete_cohort(cohort_id)


def test_nothing_of_a_deleted_patient_can_be_read_from_the_disk(store: Store) -> None:
    marker = "Patient-Zaphod-4711"
    profiles = melanoma_profiles()
    samples = profiles.samples.assign(patient_id=marker, hospital=marker)
    cohort_id = store.save_cohort(dataclasses.replace(profiles, samples=samples))
    prediction = melanoma_prediction()
    marked = prediction.rows.assign(patient_id=marker, smiles=marker)
    store.save_prediction(dataclasses.replace(prediction, rows=marked), cohort_id, title=marker)

    def on_disk() -> bytes:
        folder = store.arrays_folder.parent
        return b"".join(p.read_bytes() for p in folder.rglob("*") if p.is_file())

    assert marker.encode() in on_disk()
    store.delete_cohort(cohort_id)
    assert marker.encode() not in on_disk()


@pytest.mark.parametrize(
    "bad", ["", "../../etc/passwd", "a" * 15, "A" * 16, "0" * 16 + "\n", "'; drop table runs;--"]
)
def test_a_malformed_id_is_refused(store: Store, bad: str) -> None:
    for operation in (
        store.load_cohort,
        store.delete_cohort,
        store.load_prediction,
        store.delete_run,
    ):
        with pytest.raises(StoreError, match="not the id") as caught:
            operation(bad)
        assert caught.value.fix


def test_text_that_cannot_be_stored_is_explained(store: Store) -> None:
    with pytest.raises(StoreError, match="characters that cannot be stored"):
        store.save_cohort(melanoma_profiles(name="broken \udcff.csv"))
    assert array_files(store) == []
    assert store.cohorts().empty


def test_sql_in_a_text_is_only_text(store: Store) -> None:
    name = "x'); DROP TABLE cohorts; --"
    cohort_id = store.save_cohort(melanoma_profiles(name=name), owner=name)
    assert store.load_cohort(cohort_id).name == name
    assert list(store.cohorts(owner=name).index) == [cohort_id]
