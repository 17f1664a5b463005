"""The same store on PostgreSQL; runs where XPERT_TEST_POSTGRES_URL names an empty database."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
from alembic import command
from sqlalchemy import inspect, update
from store_data import (
    assert_bits_equal,
    assert_same_prediction,
    assert_same_profiles,
    melanoma_pairs,
    melanoma_prediction,
    melanoma_profiles,
)

from xpert_core.errors import StoreError
from xpert_core.store import Store, migrate
from xpert_core.store.engine import make_engine, resolve_url
from xpert_core.store.job_records import WorkerName
from xpert_core.store.models import JobRow, utc_now
from xpert_core.store.presence import STALE

SERVER = os.environ.get("XPERT_TEST_POSTGRES_URL", "")
pytestmark = pytest.mark.skipif(not SERVER, reason="XPERT_TEST_POSTGRES_URL is not set")


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    monkeypatch.setenv("XPERT_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("XPERT_DATABASE_URL", SERVER)
    opened = Store()
    yield opened
    opened.close()
    engine = make_engine(resolve_url(SERVER))
    with engine.begin() as connection:
        migrate.downgrade(connection, "base")
    assert inspect(engine).get_table_names() == ["alembic_version"]
    engine.dispose()


def test_the_migrations_make_the_tables_of_the_models(store: Store) -> None:
    engine = make_engine(resolve_url(SERVER))
    with engine.begin() as connection:
        command.check(migrate.config(connection))
    engine.dispose()
    Store().close()  # a second start changes nothing


def test_everything_comes_back_the_same_and_can_be_deleted(store: Store) -> None:
    profiles, prediction = melanoma_profiles(), melanoma_prediction()
    cohort_id = store.save_cohort(profiles)
    run_id = store.save_prediction(prediction, cohort_id)
    assert store.save_cohort(profiles) == cohort_id
    assert_same_profiles(store.load_cohort(cohort_id), profiles)
    assert_same_prediction(store.load_prediction(run_id), prediction)
    assert store.cohorts().loc[cohort_id, ["n_patients", "n_runs"]].tolist() == [51, 1]
    assert str(store.runs()["created_at"].dt.tz) == "UTC"
    assert sorted(store.runs().loc[run_id, "drugs"].split(", ")) == ["trametinib", "vemurafenib"]
    assert store.sweep_orphans(grace_s=0) == 0
    store.delete_cohort(cohort_id)
    assert store.runs().empty
    assert list(store.arrays_folder.iterdir()) == []


def test_threads_that_save_the_same_cohort_share_one(store: Store) -> None:
    profiles = melanoma_profiles()

    def work(number: int) -> str:
        store.register_model("l1000-cpu", "d" * 64, {"number": number})
        return store.save_cohort(profiles)

    with ThreadPoolExecutor(8) as pool:
        ids = set(pool.map(work, range(16)))
    assert ids == set(store.cohorts().index)
    assert len(ids) == len(store.models()) == 1
    assert len(list(store.arrays_folder.iterdir())) == 1
    assert_same_profiles(store.load_cohort(ids.pop()), profiles)


def test_threads_that_claim_together_never_get_the_same_job(store: Store) -> None:
    ids = {store.jobs.submit("say", {}, owner=f"owner {i % 3}") for i in range(60)}
    found: list[str] = []

    def work(number: int) -> None:
        while (claim := store.claims.claim(WorkerName("h", number, "a" * 16))) is not None:
            found.append(claim.job.id)
            if number % 2:
                assert store.claims.report(claim, 1, 2, "half", [("metric", {"loss": math.nan})])
                assert store.claims.finish(claim, {"number": number})

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert len(found) == len(ids) and set(found) == ids
    assert store.claims.recover() == []
    before = utc_now() - STALE - timedelta(seconds=5)
    with store._database.writing("test") as session:
        session.execute(update(JobRow).values(heartbeat_at=before))
    lost = set(store.claims.recover())
    jobs = store.jobs.find()
    assert lost == {job.id for job in jobs if job.status == "submitted"}
    assert {job.status for job in jobs} <= {"submitted", "done"}
    for job in jobs:
        store.jobs.cancel(job.id)
        store.jobs.delete(job.id)


def test_workers_and_pairs_are_kept_too(store: Store) -> None:
    worker = WorkerName("another-machine", 1, "b" * 16)
    store.claims.enter(worker)
    assert store.claims.beat(worker, None) and store.claims.workers() == [worker]
    store.claims.leave(worker)
    pairs_id = store.pairs.save(melanoma_pairs())
    assert store.pairs.save(melanoma_pairs()) == pairs_id
    assert_bits_equal(store.pairs.load(pairs_id).x_after, melanoma_pairs().x_after)
    store.pairs.delete(pairs_id)
    assert store.pairs.list().empty


def test_a_backup_points_to_the_servers_own_tools(store: Store, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="own tools") as caught:
        store.backup(tmp_path / "backup.db")
    assert "pg_dump" in caught.value.fix


def test_text_the_server_cannot_hold_is_explained(store: Store) -> None:
    with pytest.raises(StoreError, match="could not be saved"):
        store.save_cohort(melanoma_profiles(name="nul \x00 inside"))
    assert list(store.arrays_folder.iterdir()) == []
