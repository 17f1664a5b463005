"""Benchmarks in the database: kept once, replaced as a whole, and older databases are kept."""

from __future__ import annotations

import dataclasses
import sqlite3
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sqlalchemy import inspect
from store_data import (
    assert_same_prediction,
    assert_same_profiles,
    melanoma_prediction,
    melanoma_profiles,
)

from xpert_core.benchmark.record import INTERVAL_COLUMNS, SCORE_COLUMNS, BenchmarkRecord
from xpert_core.errors import StoreError
from xpert_core.store import Store, migrate
from xpert_core.store.engine import make_engine, resolve_url

NEW_TABLES = {"benchmarks", "benchmark_scores", "benchmark_intervals"}


def record(seed: int = 0, run: str = "a" * 64, folds: int = 3) -> BenchmarkRecord:
    rng = np.random.default_rng(seed)
    scores = pd.DataFrame(
        [
            ("cold-drug", "level 3", model, 0, fold, metric, rng.normal())
            for model in ("XPert", "ridge")
            for fold in range(1, folds + 1)
            for metric in ("pcc", "rmse")
        ],
        columns=SCORE_COLUMNS,
    )
    scores.loc[0, "value"] = np.nan
    place = ("cold-drug", "level 3", "XPert")
    intervals = pd.DataFrame(
        [
            (*place, None, 0.2, 0.1, 0.3, np.nan, np.nan, 40, 9, "drug"),
            (*place, "ridge", -0.1, -0.2, 0.1, 0.04, 0.08, None, None, None),
        ],
        columns=INTERVAL_COLUMNS,
    )
    config = {"name": "tiny", "seeds": [0], "models": [{"name": "ridge", "settings": {"k": 1.5}}]}
    return BenchmarkRecord(
        "tiny", run, "d" * 64, {"cold-drug": "s" * 64}, config, "0.1", "XPert does NOT beat ridge.",
        scores, intervals,
    )  # fmt: skip


def assert_same(one: BenchmarkRecord, other: BenchmarkRecord) -> None:
    for name in ("scores", "intervals"):
        pd.testing.assert_frame_equal(getattr(one, name), getattr(other, name), check_dtype=False)
    empty = {"scores": None, "intervals": None}
    assert dataclasses.replace(one, **empty) == dataclasses.replace(other, **empty)


def test_a_benchmark_comes_back_the_same(store: Store) -> None:
    saved = store.save_benchmark(record())
    assert_same(store.load_benchmark(saved), record())
    listed = store.benchmarks()
    assert listed.index.tolist() == [saved]
    line = listed.iloc[0]
    assert (line["name"], line["n_scenarios"], line["n_models"]) == ("tiny", 1, 2)
    assert line["verdict"] == "XPert does NOT beat ridge."
    assert store.benchmarks("somebody else").empty


def test_the_same_run_replaces_its_own_lines_and_no_others(store: Store) -> None:
    first = store.save_benchmark(record(0, folds=5))
    other = store.save_benchmark(record(1, run="b" * 64))
    foreign = store.save_benchmark(record(2), owner="somebody else")
    created = store.benchmarks().loc[first, "created_at"]
    again = store.save_benchmark(record(3, folds=2))
    assert again == first and len({first, other, foreign}) == 3
    assert_same(store.load_benchmark(first), record(3, folds=2))
    assert_same(store.load_benchmark(other), record(1, run="b" * 64))
    assert_same(store.load_benchmark(foreign), record(2))
    listed = store.benchmarks()
    assert listed.index[0] == first, "the last saved comes first"
    assert listed.loc[first, "created_at"] == created < listed.loc[first, "updated_at"]


def test_a_deleted_benchmark_leaves_no_line(store: Store, url: str) -> None:
    saved, other = store.save_benchmark(record()), store.save_benchmark(record(run="b" * 64))
    store.delete_benchmark(saved)
    with pytest.raises(StoreError, match="no stored benchmark"):
        store.load_benchmark(saved)
    with sqlite3.connect(url.removeprefix("sqlite:///")) as connection:
        for table in ("benchmark_scores", "benchmark_intervals"):
            owners = connection.execute(f"SELECT DISTINCT benchmark_id FROM {table}").fetchall()
            assert owners == [(other,)]
    connection.close()


def test_a_replacement_that_fails_keeps_the_former_numbers(store: Store) -> None:
    saved = store.save_benchmark(record())
    broken = record(3)
    broken.intervals["model"] = None
    with pytest.raises(StoreError, match="could not be saved"):
        store.save_benchmark(broken)
    assert_same(store.load_benchmark(saved), record())


def test_a_database_of_the_first_schema_is_upgraded_and_keeps_everything(
    store: Store, url: str
) -> None:
    cohort_id = store.save_cohort(melanoma_profiles())
    run_id = store.save_prediction(melanoma_prediction(), cohort_id, title="before")
    store.save_benchmark(record())
    store.close()
    engine = make_engine(resolve_url(url), migrating=True)
    with engine.begin() as connection:
        migrate.downgrade(connection, "0001")
        assert migrate.current(connection) == "0001"
    assert not NEW_TABLES & set(inspect(engine).get_table_names())
    engine.dispose()

    reopened = Store(url)
    assert_same_profiles(reopened.load_cohort(cohort_id), melanoma_profiles())
    assert_same_prediction(reopened.load_prediction(run_id), melanoma_prediction())
    assert reopened.runs()["title"].tolist() == ["before"]
    assert reopened.benchmarks().empty
    assert_same(reopened.load_benchmark(reopened.save_benchmark(record())), record())
    reopened.close()


def test_a_read_only_or_damaged_database_is_explained(store: Store, url: str) -> None:
    saved = store.save_benchmark(record())
    path = Path(url.removeprefix("sqlite:///"))
    locked = Store(f"sqlite:///file:{path}?mode=ro&uri=true")
    with pytest.raises(StoreError, match=r"benchmark could not be saved.*read-only"):
        locked.save_benchmark(record(1))
    assert_same(locked.load_benchmark(saved), record())
    locked.close()
    store.close()
    for rest in path.parent.glob("xpert.db-*al"):
        rest.unlink()
    path.write_bytes(b"no database" + bytes(path.stat().st_size))
    with pytest.raises(StoreError, match="damaged or is not a database"):
        Store(url)
