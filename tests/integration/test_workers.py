"""Worker processes: kills at any moment, cancel, stop, failures, and two attempts at one job."""

from __future__ import annotations

import json
import random
import signal
from collections.abc import Iterator
from pathlib import Path

import job_kinds
import numpy as np
import pytest
from job_workers import WorkerProcess, is_alive, until

from xpert_core.jobs import KINDS, submit
from xpert_core.jobs.worker import Worker
from xpert_core.store import Store
from xpert_core.store.claims import MAX_CRASHES
from xpert_core.store.job_records import Claim
from xpert_core.store.models import JobRow


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'xpert.db'}"


@pytest.fixture
def store(url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    for name, path in job_kinds.KINDS.items():
        monkeypatch.setitem(KINDS, name, path)
    opened = Store(url)
    yield opened
    opened.close()


def current_claim(store: Store, job_id: str) -> Claim:
    """The claim under which a job is worked on now."""
    with store._database.reading("test") as session:
        return Claim(store.jobs.get(job_id), session.get_one(JobRow, job_id).claim or "")


def test_killed_at_random_moments_a_job_ends_as_if_nothing_had_happened(
    store: Store, url: str
) -> None:
    params = {"seed": 5, "steps": 40, "pause": 0.05}
    job_id = submit(store, "iterate", params)
    state = store.jobs.folder(job_id) / "state.json"
    rng = random.Random(20261126)

    def done() -> int:
        return json.loads(state.read_text())["done"] if state.exists() else 0

    for _ in range(2):
        step = done() + rng.randint(1, 10)
        with WorkerProcess(url) as worker:
            until(lambda step=step: done() >= step)
            worker.end(signal.SIGKILL)
        assert store.jobs.get(job_id).status == "running"  # nobody is there to say otherwise
    assert Worker(store).run(once=True) == 1
    job = store.jobs.get(job_id)
    assert (job.status, job.attempts, job.done) == ("done", 3, 40), job.failure
    points = np.random.default_rng(5).uniform(0.2, 0.8, 50)
    for _ in range(40):
        points = 3.9 * points * (1 - points)
    assert job.result == {"mean": points.mean(), "steps": 40}
    assert sum("going on from" in e.payload["text"] for e in store.jobs.log(job_id)) == 2
    assert store.jobs.metrics(job_id)[-1]["step"] == 40
    assert store.claims.workers() == []


def test_a_job_dies_with_its_worker_and_a_deaf_one_is_cancelled_within_two_seconds(
    store: Store, url: str, tmp_path: Path
) -> None:
    pids = tmp_path / "pids"
    job_id = submit(store, "deaf", {"pids": str(pids)})

    def processes() -> list[int]:
        return [int(p) for p in pids.read_text().split()]

    with WorkerProcess(url) as worker:
        until(lambda: pids.exists() and len(processes()) == 2)
        worker.end(signal.SIGKILL)
        until(lambda: not any(map(is_alive, processes())), 10)
    pids.unlink()
    with WorkerProcess(url):
        until(lambda: pids.exists() and len(processes()) == 2)
        store.jobs.cancel(job_id)
        took = until(lambda: store.jobs.get(job_id).status == "cancelled", 10)
        assert took < 2
        # What the job had started is gone too, although it ignores the milder signal.
        until(lambda: not any(map(is_alive, processes())), 10)


def test_an_attempt_that_was_given_up_ends_and_a_worker_told_to_stop_puts_its_job_back(
    store: Store, url: str
) -> None:
    job_id = submit(store, "iterate", {"seed": 1, "steps": 4000, "pause": 0.05})
    with WorkerProcess(url) as worker:
        until(lambda: store.jobs.get(job_id).done >= 3)
        # As another machine does that has not heard of this worker for long.
        store.claims.crashed(current_claim(store, job_id), "it was silent.")
        until(lambda: sum(e.attempt == 2 for e in store.jobs.events(job_id, kind="metric")) > 3)
        (known,) = store.claims.workers()
        assert str(known) == store.jobs.get(job_id).worker
        status, output = worker.end(signal.SIGTERM)
    assert status == 0 and "Traceback" not in output
    job = store.jobs.get(job_id)
    assert (job.status, job.crashes, job.cancel_requested) == ("submitted", 1, False)
    events = store.jobs.events(job_id)
    assert [e.attempt for e in events] == sorted(e.attempt for e in events)
    steps = [e.payload["step"] for e in events if e.kind == "metric" and e.attempt == 2]
    assert steps and steps == sorted(set(steps))  # one process wrote them
    assert store.claims.workers() == []
    assert not list((store.jobs.root / "workers").iterdir())


def test_a_process_killed_by_the_system_and_an_unknown_kind_are_explained(store: Store) -> None:
    killed, unknown = submit(store, "die", {}), store.jobs.submit("unheard-of", {})
    with store._database.writing("test") as session:
        session.get_one(JobRow, killed).crashes = MAX_CRASHES - 1
    assert Worker(store).run(once=True) == 2
    reasons = [store.jobs.get(job_id).failure for job_id in (killed, unknown)]
    assert reasons[0] is not None and "lack of memory" in reasons[0].what
    assert reasons[1] is not None and "unheard-of" in reasons[1].where
