"""Predictions come back bit by bit, fast, and are gone when deleted."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest
from store_data import assert_same_prediction, melanoma_prediction, melanoma_profiles

from xpert_core.errors import StoreError
from xpert_core.store import Store


def test_a_prediction_comes_back_the_same(store: Store) -> None:
    prediction = melanoma_prediction()
    cohort_id = store.save_cohort(melanoma_profiles())
    assert_same_prediction(
        store.load_prediction(store.save_prediction(prediction, cohort_id)), prediction
    )


def test_a_prediction_without_a_stored_cohort_comes_back_the_same(store: Store) -> None:
    prediction = melanoma_prediction()
    assert_same_prediction(
        store.load_prediction(store.save_prediction(prediction, None)), prediction
    )


def test_a_prediction_without_rows_can_be_kept(store: Store) -> None:
    prediction = melanoma_prediction()
    empty = dataclasses.replace(
        prediction,
        rows=prediction.rows[:0],
        x_deg=prediction.x_deg[:0],
        x_pert=prediction.x_pert[:0],
    )
    assert_same_prediction(store.load_prediction(store.save_prediction(empty, None)), empty)


def test_unusual_rows_come_back_the_same(store: Store) -> None:
    prediction = melanoma_prediction()
    rows = prediction.rows.copy()
    rows["patient_id"] = pd.Series([None, "Pt2"] * 51, rows.index)
    rows["sample_id"] = np.arange(len(rows))
    rows["smiles"] = pd.Series(["", None] * 51, rows.index)
    rows["dose_um"] = rows["dose_um"].astype("float32")
    rows["time_h"] = pd.Series([24, np.nan, "6 h"] * 34, rows.index, dtype=object)
    rows["drug_fallback"] = "No atom tokens: the encoder does not know platinum."
    rows["uncertainty"] = np.where(np.arange(len(rows)) % 2, np.inf, 0.1)
    rows["note"] = pd.Categorical(["a", None] * 51)
    changed = dataclasses.replace(prediction, rows=rows)
    assert_same_prediction(store.load_prediction(store.save_prediction(changed, None)), changed)


def test_the_list_shows_what_was_stored(store: Store) -> None:
    store.register_model("l1000-cpu", "d" * 64, {"data": "L1000"})
    cohort_id = store.save_cohort(melanoma_profiles())
    first = store.save_prediction(melanoma_prediction(), cohort_id, title="Both drugs")
    second = store.save_prediction(melanoma_prediction(10), None, owner="clinic b")
    listed = store.runs()
    assert list(listed.index) == [second, first]
    row = listed.loc[first]
    assert (row["title"], row["owner"], row["status"]) == ("Both drugs", "local", "done")
    assert (row["cohort_id"], row["cohort"]) == (cohort_id, melanoma_profiles().name)
    assert (row["model"], row["n_rows"], row["n_patients"], row["n_genes"]) == (
        "l1000-cpu",
        102,
        51,
        120,
    )
    assert sorted(row["drugs"].split(", ")) == ["trametinib", "vemurafenib"]
    stored = melanoma_prediction().rows
    for name in ("dose_um", "time_h"):
        assert row[f"{name}_min"] == stored[name].min() and row[f"{name}_max"] == stored[name].max()
    assert listed.loc[second, "drugs"] == "trametinib"
    assert list(store.runs(owner="clinic b").index) == [second]
    assert list(store.runs(cohort_id=cohort_id).index) == [first]


def test_a_model_is_kept_once_by_its_hash(store: Store) -> None:
    store.save_prediction(melanoma_prediction(), None)  # names a model that was not registered
    assert store.models()["card"].tolist() == [{}]
    card = {"data": "L1000", "scores": {"ridge": 0.31, "spread": float("inf")}}
    first = store.register_model("l1000-cpu, renamed", "d" * 64, card)
    store.save_prediction(melanoma_prediction(), None)
    models = store.models()
    assert list(models.index) == [first]
    assert models["name"].tolist() == ["l1000-cpu, renamed"]
    assert models["card"].tolist() == [card]
    assert store.runs()["model"].tolist() == ["l1000-cpu, renamed"] * 2


def test_a_prediction_that_names_no_model_can_be_kept(store: Store) -> None:
    prediction = dataclasses.replace(melanoma_prediction(), provenance={"seed": 7})
    run_id = store.save_prediction(prediction, None)
    assert store.load_prediction(run_id).provenance == {"seed": 7}
    assert store.runs().loc[run_id, "model"] is None
    assert store.models().empty


def test_a_prediction_for_a_cohort_that_is_not_there_is_refused(store: Store) -> None:
    with pytest.raises(StoreError, match="no stored cohort"):
        store.save_prediction(melanoma_prediction(), "0" * 16)
    assert store.runs().empty
    assert list(store.arrays_folder.iterdir()) == []


def test_provenance_that_is_no_json_is_refused(store: Store) -> None:
    prediction = dataclasses.replace(melanoma_prediction(), provenance={"seeds": {1, 2}})
    with pytest.raises(StoreError, match="cannot be stored"):
        store.save_prediction(prediction, None)
    assert store.runs().empty


def test_deleting_a_run_keeps_its_cohort(store: Store) -> None:
    cohort_id = store.save_cohort(melanoma_profiles())
    run_id = store.save_prediction(melanoma_prediction(), cohort_id)
    assert len(list(store.arrays_folder.iterdir())) == 2
    store.delete_run(run_id)
    assert store.runs().empty
    assert len(list(store.arrays_folder.iterdir())) == 1
    assert len(store.load_cohort(cohort_id)) == 51
    with pytest.raises(StoreError, match="no stored prediction"):
        store.delete_run(run_id)


def test_a_damaged_file_is_noticed(store: Store) -> None:
    run_id = store.save_prediction(melanoma_prediction(), None)
    (file,) = store.arrays_folder.iterdir()
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(StoreError, match="damaged"):
        store.load_prediction(run_id)


def test_five_thousand_rows_are_kept(store: Store) -> None:
    prediction = melanoma_prediction(5000, 978)
    run_id = store.save_prediction(prediction, None)
    assert_same_prediction(store.load_prediction(run_id), prediction)
    store.delete_run(run_id)
    assert list(store.arrays_folder.iterdir()) == []
