"""The queue: order, claims that exclude each other, fencing, dead workers, owners."""

from __future__ import annotations

import math
import os
import socket
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import update

from xpert_core.errors import JobError, StoreError
from xpert_core.store import Store
from xpert_core.store.claims import MAX_LOST
from xpert_core.store.job_records import Claim, WorkerName
from xpert_core.store.models import JobRow, WorkerRow, utc_now
from xpert_core.store.presence import HUNG, STALE, hold, lock_file

HERE = WorkerName(socket.gethostname(), 4242, "a" * 16)
ELSEWHERE = WorkerName("another-machine", 4242, "b" * 16)


def taken(store: Store, worker: WorkerName = ELSEWHERE) -> Claim:
    """The next claim, which must be there."""
    claim = store.claims.claim(worker)
    assert claim is not None
    return claim


def age(store: Store, seconds: float) -> None:
    """Let all heartbeats be older than they are."""
    with store._database.writing("test") as session:
        for table in (JobRow, WorkerRow):
            session.execute(
                update(table).values(heartbeat_at=utc_now() - timedelta(seconds=seconds))
            )


def test_a_job_comes_back_as_it_was_submitted(store: Store) -> None:
    params = {"drugs": ["JQ1"], "dose": math.nan, "nested": {"$": 1}}
    job = store.jobs.get(store.jobs.submit("predict", params, title="Screen", owner="ana"))
    assert (job.kind, job.title, job.owner, job.status) == ("predict", "Screen", "ana", "submitted")
    assert job.params["drugs"] == ["JQ1"] and math.isnan(job.params["dose"])
    assert job.params["nested"] == {"$": 1}
    assert (job.attempts, job.result, job.failure, job.fraction) == (0, None, None, 0.0)


def test_a_parameter_that_cannot_be_kept_submits_nothing(store: Store) -> None:
    with pytest.raises(StoreError, match="cannot be stored"):
        store.jobs.submit("predict", {"drug": object()})
    assert store.jobs.find() == []


def test_jobs_of_one_owner_are_taken_in_order(store: Store) -> None:
    ids = [store.jobs.submit("say", {}) for _ in range(5)]
    assert [taken(store).job.id for _ in ids] == ids
    assert store.claims.claim(ELSEWHERE) is None


def test_the_owner_with_fewest_running_jobs_then_the_longest_unserved_is_next(store: Store) -> None:
    for _ in range(100):
        store.jobs.submit("say", {}, owner="ana")
    first = taken(store)
    for owner in ("ben", "cleo", "ben", "cleo"):
        store.jobs.submit("say", {}, owner=owner)
    # Ana has one running; Ben and Cleo none, and nobody has served them.
    claims = [taken(store) for _ in range(5)]
    assert [c.job.owner for c in claims] == ["ben", "cleo", "ana", "ben", "cleo"]
    # All have two now. Of Ana and Ben, Ana was served the longer ago.
    for claim in (first, *claims):
        store.claims.finish(claim, {})
    store.jobs.submit("say", {}, owner="ben")
    assert [taken(store).job.owner for _ in range(3)] == ["ana", "ben", "ana"]


CLAIM_ALL = """
import sys
from xpert_core.store import Store
from xpert_core.store.job_records import WorkerName
store = Store(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
while (claim := store.claims.claim(WorkerName("h", 1, sys.argv[2]))) is not None:
    print(claim.job.id, flush=True)
"""


def test_processes_that_claim_together_never_get_the_same_job(store: Store, url: str) -> None:
    ids = {store.jobs.submit("say", {}) for _ in range(90)}
    children = [
        subprocess.Popen(
            [sys.executable, "-c", CLAIM_ALL, url, str(i)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        for i in range(3)
    ]
    for child in children:
        assert child.stdout is not None and child.stdout.readline() == "ready\n"
    for child in children:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    outputs = [child.communicate(timeout=60)[0].split() for child in children]
    found = [job_id for output in outputs for job_id in output]
    assert len(found) == len(ids) and set(found) == ids
    assert sum(bool(output) for output in outputs) > 1  # they did compete


def test_progress_events_and_result_are_kept(store: Store) -> None:
    job_id = store.jobs.submit("train", {})
    claim = taken(store)
    events = [("log", {"text": "begins"}), ("metric", {"epoch": 1, "loss": math.nan})]
    assert store.claims.report(claim, 1, 4, "Epoch 1", events)
    job = store.jobs.get(job_id)
    assert (job.status, job.done, job.total, job.stage, job.fraction) == (
        "running", 1, 4, "Epoch 1", 0.25,
    )  # fmt: skip
    assert [line.payload["text"] for line in store.jobs.log(job_id)] == ["begins"]
    (numbers,) = store.jobs.metrics(job_id)
    assert numbers["epoch"] == 1 and math.isnan(numbers["loss"])
    last = store.jobs.events(job_id)[-1].number
    assert store.jobs.events(job_id, after=last) == []
    assert store.claims.finish(claim, {"score": 0.5})
    job = store.jobs.get(job_id)
    assert (job.status, job.result) == ("done", {"score": 0.5})
    assert job.started_at is not None and job.finished_at is not None
    assert job.finished_at >= job.started_at


def test_nothing_of_a_former_attempt_reaches_a_later_one(store: Store) -> None:
    job_id = store.jobs.submit("train", {})
    former = taken(store)
    store.claims.crashed(former, "its worker died.")
    later = taken(store)
    assert later.job.attempts == 2
    late = [
        store.claims.report(former, 9, 9, "late", [("log", {"text": "late"})]),
        store.claims.finish(former, {"late": True}),
        store.claims.fail(former, JobError("late")),
        store.claims.cancelled(former),
        store.claims.release(former),
        store.claims.crashed(former, "late"),
        store.claims.beat(ELSEWHERE, former),
        store.claims.cancel_requested(former),
    ]
    assert late == [False] * 7 + [None]
    job = store.jobs.get(job_id)
    assert (job.status, job.done, job.result, job.failure) == ("running", 0, None, None)
    assert "late" not in str(store.jobs.log(job_id))
    assert store.claims.finish(later, {"late": False})
    assert not store.claims.finish(later, {"late": True})  # an end is final
    assert store.jobs.get(job_id).result == {"late": False}


def test_a_job_whose_process_keeps_dying_fails_with_the_reason(store: Store) -> None:
    job_id = store.jobs.submit("train", {})
    for attempt, epoch in enumerate((1, 2, 3, 0, 3), start=1):  # it gets further three times
        assert store.jobs.get(job_id).status == "submitted"
        claim = taken(store)
        store.claims.report(claim, epoch, 9, f"Epoch {epoch}, attempt {attempt}")
        store.claims.crashed(claim, "its process was killed.")
    job = store.jobs.get(job_id)
    assert (job.status, job.attempts, job.crashes) == ("failed", 5, 3)
    assert isinstance(job.failure, JobError)
    assert "3 attempts" in job.failure.what and "its process was killed" in job.failure.what
    assert "Epoch 3, attempt 5" in job.failure.where and job.failure.fix
    store.jobs.retry(job_id)
    again = taken(store).job
    assert (again.attempts, again.crashes, again.failure) == (6, 0, None)


def test_the_death_of_workers_is_hardly_the_fault_of_the_job(store: Store) -> None:
    job_id = store.jobs.submit("train", {})
    for attempt in range(1, MAX_LOST + 1):
        assert store.jobs.get(job_id).status == "submitted"
        assert taken(store).job.attempts == attempt
        age(store, 999)
        store.claims.recover()
    job = store.jobs.get(job_id)
    assert job.status == "failed" and job.failure is not None
    assert "another-machine" in job.failure.what


def test_a_stopped_worker_gives_its_job_back_without_blame(store: Store) -> None:
    job_id = store.jobs.submit("train", {})
    for _ in range(5):
        assert store.claims.release(taken(store))
    job = store.jobs.get(job_id)
    assert (job.status, job.attempts, job.crashes) == ("submitted", 5, 0)


def test_a_silent_worker_elsewhere_loses_its_job(store: Store) -> None:
    job_id = store.jobs.submit("train", {})
    store.claims.enter(ELSEWHERE)
    taken(store)
    age(store, STALE.total_seconds() - 5)
    assert store.claims.recover() == [] and store.claims.workers() == [ELSEWHERE]
    age(store, STALE.total_seconds() + 5)
    assert store.claims.workers() == []
    assert store.claims.recover() == [job_id]
    assert store.jobs.get(job_id).status == "submitted"
    assert "another-machine" in store.jobs.log(job_id)[-1].payload["text"]
    assert store.claims.recover() == []


def test_a_dead_worker_of_this_machine_is_noticed_at_once_and_a_sleeping_one_kept(
    store: Store,
) -> None:
    job_id = store.jobs.submit("train", {})
    lock = hold(store.jobs.root, HERE)
    store.claims.enter(HERE)
    taken(store, HERE)
    age(store, HUNG.total_seconds() - 60)  # the machine slept
    assert store.claims.recover() == [] and store.claims.workers() == [HERE]
    store.claims.beat(HERE, None)
    lock.release()  # as the system does when a process ends
    assert store.claims.workers() == []
    assert store.claims.recover() == [job_id]
    assert not lock_file(store.jobs.root, HERE).exists()


def test_a_hung_worker_is_given_up(store: Store) -> None:
    job_id = store.jobs.submit("train", {})
    with hold(store.jobs.root, HERE):
        taken(store, HERE)
        age(store, HUNG.total_seconds() + 5)
        assert store.claims.recover() == [job_id]


def test_a_worker_that_was_taken_for_dead_is_known_again_when_it_beats(store: Store) -> None:
    store.claims.enter(ELSEWHERE)
    age(store, 999)
    store.claims.recover()
    store.claims.beat(ELSEWHERE, None)
    assert store.claims.workers() == [ELSEWHERE]
    store.claims.leave(ELSEWHERE)
    assert store.claims.workers() == []


def test_cancel(store: Store) -> None:
    waiting, running, lost = (store.jobs.submit("train", {}) for _ in range(3))
    claims = {claim.job.id: claim for claim in (taken(store) for _ in range(3))}
    store.claims.release(claims[waiting])
    store.jobs.cancel(waiting)
    assert store.jobs.get(waiting).status == "cancelled"
    store.jobs.cancel(running)
    job = store.jobs.get(running)
    assert (job.status, job.cancel_requested) == ("running", True)
    assert store.claims.cancel_requested(claims[running]) is True
    # A process that dies after the wish to cancel is not tried again.
    store.claims.crashed(claims[running], "its process was killed.")
    assert store.jobs.get(running).status == "cancelled"
    age(store, 999)
    store.jobs.cancel(lost)  # its worker is dead: nobody else would notice
    assert store.jobs.get(lost).status == "cancelled"
    assert not store.claims.finish(claims[lost], {})
    assert store.claims.claim(ELSEWHERE) is None


def test_what_has_ended_is_not_cancelled_and_only_what_went_wrong_is_tried_again(
    store: Store,
) -> None:
    done, cancelled = store.jobs.submit("say", {}), store.jobs.submit("say", {})
    store.claims.finish(taken(store), {"said": 1})
    store.jobs.cancel(done)
    assert store.jobs.get(done).status == "done"
    with pytest.raises(JobError, match="is done"):
        store.jobs.retry(done)
    store.jobs.cancel(cancelled)
    store.jobs.retry(cancelled)
    job = store.jobs.get(cancelled)
    assert (job.status, job.cancel_requested, job.finished_at) == ("submitted", False, None)
    with pytest.raises(JobError, match="is submitted"):
        store.jobs.retry(cancelled)


def test_delete_takes_log_and_folder_and_spares_a_running_job(store: Store) -> None:
    job_id = store.jobs.submit("train", {})
    claim = taken(store)
    store.claims.report(claim, 0, 1, "", [("log", {"text": "line"})])
    folder = store.jobs.folder(job_id)
    folder.mkdir(parents=True)
    (folder / "last.safetensors").write_bytes(b"weights")
    with pytest.raises(JobError, match="running"):
        store.jobs.delete(job_id)
    assert folder.exists()
    store.claims.fail(claim, JobError("no"))
    store.jobs.delete(job_id)
    assert not folder.exists() and store.jobs.find() == []
    with pytest.raises(StoreError, match="no job with this id"):
        store.jobs.log(job_id)
    with store._database.reading("test") as session:
        assert session.connection().exec_driver_sql("SELECT * FROM job_events").all() == []


def test_folders_without_a_job_are_swept(store: Store) -> None:
    kept = store.jobs.folder(store.jobs.submit("train", {}))
    for folder in (kept, store.jobs.root / "0123456789abcdef", store.jobs.root / "workers"):
        folder.mkdir(parents=True, exist_ok=True)
    assert store.jobs.sweep_folders() == 1
    assert sorted(p.name for p in store.jobs.root.iterdir()) == sorted([kept.name, "workers"])


def test_the_job_of_another_owner_does_not_exist(store: Store) -> None:
    job_id = store.jobs.submit("train", {}, owner="ana")
    jobs = store.jobs
    for act in (
        jobs.get,
        jobs.events,
        jobs.log,
        jobs.metrics,
        jobs.cancel,
        jobs.retry,
        jobs.delete,
    ):
        with pytest.raises(StoreError, match="no job with this id"):
            act(job_id, "ben")
    assert jobs.find("ben") == [] and [j.id for j in jobs.find("ana")] == [job_id]
    assert jobs.find("ana", kinds=["predict"]) == []
    assert jobs.get(job_id, "ana").status == "submitted"


@pytest.mark.parametrize("job_id", ["", "../../etc", "0" * 16])
def test_an_id_that_is_none_is_refused(store: Store, job_id: str) -> None:
    with pytest.raises(StoreError):
        store.jobs.get(job_id)
    if job_id != "0" * 16:
        with pytest.raises(StoreError):
            store.jobs.folder(job_id)


def test_the_folder_of_jobs_stands_beside_the_database(store: Store, tmp_path: Path) -> None:
    assert store.jobs.root == tmp_path / "data" / "xpert.db-jobs"
