"""The Jobs page: what it says of jobs in every state, and its buttons."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pages import texts
from streamlit.testing.v1 import AppTest

from app import keys
from app.components.job_view import metric_charts, metric_table
from xpert_core.errors import JobError
from xpert_core.store import Store
from xpert_core.store.job_records import Claim, WorkerName

WORKER = WorkerName("another-machine", 7, "d" * 16)
Open = Callable[..., AppTest]


@pytest.fixture
def store(folders: Path) -> Iterator[Store]:
    opened = Store()
    yield opened
    opened.close()


@pytest.fixture
def running(store: Store) -> Claim:
    """A job at work since epoch 3, its worker on another machine."""
    store.claims.enter(WORKER)
    store.jobs.submit("train", {}, title="Fine-tune *nivolumab*")
    claim = store.claims.claim(WORKER)
    assert claim is not None
    epochs = [
        {"epoch": i, "train_loss": 1 / i, "pcc": math.nan if i < 2 else 0.1} for i in (1, 2, 3)
    ]
    events = [("log", {"text": "43 pairs"}), *(("metric", epoch) for epoch in epochs)]
    store.claims.report(claim, 3, 12, "Epoch 3", events)
    return claim


def test_without_jobs_the_page_says_what_they_are(open_page: Open) -> None:
    page = open_page("jobs")
    assert not page.exception and not page.error
    assert "No job yet" in texts(page.info)


def test_the_list_shows_the_owners_jobs_and_opens_one(
    open_page: Open, store: Store, running: Claim
) -> None:
    store.jobs.submit("train", {}, title="of somebody else", owner="ben")
    page = open_page("jobs")
    assert not page.exception and not page.error
    (table,) = [f.value for f in page.dataframe]
    assert table["title"].tolist() == ["Fine-tune *nivolumab*"]
    assert table[["status", "progress"]].iloc[0].tolist() == ["running", "3 of 12, Epoch 3"]
    assert page.button(key="delete-job").disabled and page.button(key="retry-job").disabled
    page.button(key="open-job").click().run()
    assert page.query_params[keys.JOB] == running.job.id
    assert "on another-machine" in texts(page.caption)


def test_a_running_job_shows_curves_and_log_and_can_be_cancelled(
    open_page: Open, store: Store, running: Claim
) -> None:
    page = open_page("jobs", **{keys.JOB: running.job.id})
    assert not page.exception and not page.error and not page.warning
    assert "Fine-tune *nivolumab*" in texts(page.markdown)  # the name, letter by letter
    assert len(page.get("vega_lite_chart")) == 2
    assert "43 pairs" in texts(page.code)
    page.button(key=f"cancel-{running.job.id}").click().run()
    assert store.claims.cancel_requested(running) is True
    assert page.button(key=f"cancel-{running.job.id}").disabled
    store.claims.cancelled(running)
    page.run()
    assert "Cancelled" in texts(page.caption)
    page.button(key="retry-job").click().run()
    assert store.jobs.get(running.job.id).status == "submitted"


def test_a_failed_job_says_why_and_can_be_deleted(
    open_page: Open, store: Store, running: Claim
) -> None:
    store.claims.fail(running, JobError("Too few pairs.", where="3 pairs", fix="Add pairs."))
    page = open_page("jobs", **{keys.JOB: running.job.id})
    assert "Too few pairs." in texts(page.error) and "How to fix: Add pairs." in texts(page.error)
    page.button(key="delete-job").click().run()
    page.button(key="confirm-delete-job").click().run()
    assert not page.exception
    assert store.jobs.find() == []
    assert "No job yet" in texts(page.info)


def test_a_finished_job_leads_to_its_result(open_page: Open, store: Store, running: Claim) -> None:
    store.claims.finish(running, {"best_epoch": 3})
    page = open_page("jobs", **{keys.JOB: running.job.id})
    assert "Done" in texts(page.caption)
    assert '"best_epoch"' in str(page.json[0].value)


def test_a_waiting_job_without_a_worker_says_how_to_start_one(
    open_page: Open, store: Store
) -> None:
    job_id = store.jobs.submit("train", {}, title="Alone")
    page = open_page("jobs", **{keys.JOB: job_id})
    assert "Waiting for a worker" in texts(page.caption)
    assert "xpert worker" in texts(page.warning)


@pytest.mark.parametrize("owner", ["ben", None])
def test_the_address_of_anothers_or_a_deleted_job_is_explained(
    open_page: Open, store: Store, owner: str | None
) -> None:
    job_id = "0" * 16 if owner is None else store.jobs.submit("train", {}, owner=owner)
    page = open_page("jobs", **{keys.JOB: job_id})
    assert not page.exception
    assert "no job with this id" in texts(page.error)


def test_of_numbers_reported_twice_the_last_count_and_undefined_ones_are_left_out() -> None:
    table = metric_table(
        [
            {"epoch": 1, "train_loss": 0.9, "pcc": math.nan, "note": "text"},
            {"epoch": 2, "train_loss": 0.5, "pcc": 0.2},
            {"epoch": 2, "train_loss": 0.4, "pcc": 0.3},
            {"gain": 1},
        ]
    )
    kept = {(row.position, row.curve): row.value for row in table.itertuples()}
    assert kept == {
        (1.0, "train_loss"): 0.9, (2.0, "train_loss"): 0.4, (2.0, "pcc"): 0.3, (4.0, "gain"): 1.0,
    }  # fmt: skip
    assert len(metric_charts(table)) == 2
    assert metric_charts(metric_table([])) == []
