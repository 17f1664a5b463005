"""A job's function in this process: its reports, its result, and every way it can end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import job_kinds
import pytest
from filelock import FileLock

from xpert_core.errors import JobCancelled, JobError
from xpert_core.jobs import KINDS, JobContext, child, submit
from xpert_core.jobs.process import in_words
from xpert_core.store import Store
from xpert_core.store.job_records import Job, WorkerName

WORKER = WorkerName("here", 1, "c" * 16)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(f"sqlite:///{tmp_path / 'xpert.db'}")
    yield opened
    opened.close()


@pytest.fixture
def run(store: Store) -> Callable[..., tuple[int, Job]]:
    """Runs a kind of `job_kinds` (or the function given) and returns exit status and job."""

    def run_(
        path: str, params: dict[str, Any] | None = None, prepare: Callable[..., None] | None = None
    ) -> tuple[int, Job]:
        job_id = store.jobs.submit("test", params or {}, owner="ana")
        claim = store.claims.claim(WORKER)
        assert claim is not None and claim.job.id == job_id
        lost: list[bool] = []
        context = JobContext(store, claim, lost=lambda: lost.append(True))
        if prepare is not None:
            prepare(context, claim)
        status = child.run(context, claim, path)
        return (child.EXIT_LOST if lost else status), store.jobs.get(job_id)

    return run_


def test_result_reports_and_checkpoints_are_kept(run: Callable[..., Any], store: Store) -> None:
    status, job = run("job_kinds:iterate", {"seed": 1, "steps": 30})
    assert (status, job.status) == (child.EXIT_ENDED, "done")
    assert (job.done, job.total, job.result["steps"]) == (30, 30, 30)
    assert [m["step"] for m in store.jobs.metrics(job.id)] == list(range(1, 31))
    assert (store.jobs.folder(job.id) / "state.json").is_file()
    status, job = run("job_kinds:say", {"text": "é"})
    assert job.result == {"said": "é"}
    assert store.jobs.log(job.id)[0].payload == {"text": "attempt 1 for ana"}


def test_a_refusal_is_the_failure_of_the_job(run: Callable[..., Any], store: Store) -> None:
    status, job = run("job_kinds:fail")
    assert (status, job.status) == (child.EXIT_ENDED, "failed")
    assert str(job.failure) == "There are too few pairs.\nWhere: 3 pairs\nHow to fix: Add pairs."
    assert [e.payload["text"] for e in store.jobs.log(job.id)] == ["looking at the pairs"]


def test_a_defect_is_said_with_its_place(
    run: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    _, job = run("job_kinds:crash")
    assert isinstance(job.failure, JobError)
    assert "does not know how to explain" in job.failure.what
    assert "ZeroDivisionError: nobody expected this (job_kinds.py:" in job.failure.where
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "word"),
    [
        (MemoryError(), "not enough memory"),
        (OSError(28, "No space left on device", "x"), "No space left"),
        (KeyError("cohort_id"), "KeyError: 'cohort_id'"),
    ],
)
def test_usual_failures_are_put_in_words(error: Exception, word: str) -> None:
    try:
        raise error
    except Exception as caught:
        assert word in str(child.explained(caught))


def test_a_result_that_cannot_be_kept_is_a_failure(
    run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_kinds, "say", lambda *_: {"model": object()})
    _, job = run("job_kinds:say")
    assert job.status == "failed" and "result of the job" in job.failure.where


def test_a_cancelled_job_stops_and_leaves_its_end_to_the_worker(run: Callable[..., Any]) -> None:
    status, job = run("job_kinds:sleep", prepare=lambda context, _: context.cancel())
    assert (status, job.status) == (child.EXIT_STOPPED, "running")


def test_an_attempt_without_a_valid_claim_is_told_so(run: Callable[..., Any], store: Store) -> None:
    def lose(_: JobContext, claim: Any) -> None:
        store.claims.crashed(claim, "it was silent.")

    status, job = run("job_kinds:say", prepare=lose)
    assert (status, job.status, job.result) == (child.EXIT_LOST, "submitted", None)


def test_two_attempts_never_work_in_one_folder(
    run: Callable[..., Any], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child, "FORMER_S", 0.1)

    def occupy(context: JobContext, _: Any) -> None:
        context.folder.mkdir(parents=True)
        lock = FileLock(context.folder / ".lock")
        lock.acquire()
        context.log("kept alive")  # the lock lives as long as the context
        context.__dict__["other"] = lock

    status, job = run("job_kinds:say", prepare=occupy)
    assert (status, job.status) == (child.EXIT_UNREPORTED, "running")


def test_many_reports_cost_few_transactions(run: Callable[..., Any], store: Store) -> None:
    calls = []
    report = store.claims.report
    store.claims.report = lambda *args: calls.append(1) or report(*args)  # type: ignore[method-assign,func-returns-value]
    _, job = run("job_kinds:iterate", {"seed": 1, "steps": 200})
    assert len(store.jobs.metrics(job.id)) == 200
    assert len(calls) < 40


def test_check_raises_once_the_job_should_stop(store: Store) -> None:
    store.jobs.submit("test", {})
    claim = store.claims.claim(WORKER)
    assert claim is not None
    context = JobContext(store, claim, lost=time.monotonic)  # type: ignore[arg-type]
    context.check()
    context.cancel()
    with pytest.raises(JobCancelled):
        context.check()


def test_only_known_kinds_are_submitted_and_all_can_be_imported(store: Store) -> None:
    with pytest.raises(JobError, match="does not know"):
        submit(store, "unheard-of", {})
    assert store.jobs.find() == []
    assert all(callable(child._function(path)) for path in KINDS.values())


def test_exit_statuses_in_words() -> None:
    assert "lack of memory" in in_words(-9)
    assert "SIGSEGV" in in_words(-11)
    assert "exit status 7" in in_words(7)
