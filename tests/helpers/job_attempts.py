"""Attempts at jobs in this process, which can be stopped at any step."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from xpert_core.jobs import JobContext, child
from xpert_core.jobs.kinds import function_of
from xpert_core.store import Store
from xpert_core.store.job_records import Job, WorkerName

WORKER = WorkerName("here", 1, "c" * 16)


def attempt(store: Store, prepare: Callable[[JobContext], None] = lambda _: None) -> Job:
    """One attempt at the next job, in this process; a stopped one goes back into the queue."""
    claim = store.claims.claim(WORKER)
    assert claim is not None
    context = JobContext(store, claim, lost=lambda: pytest.fail("the claim was lost"))
    prepare(context)
    status = child.run(context, claim, function_of(claim.job.kind))
    if status == child.EXIT_STOPPED:
        store.claims.release(claim)
    return store.jobs.get(claim.job.id)


def stop_at(steps: int) -> Callable[[JobContext], None]:
    """Cancels a context once it reports so many steps."""

    def prepare(context: JobContext) -> None:
        report = context.progress

        def progress(done: int, total: int, text: str = "") -> None:
            report(done, total, text)
            if done >= steps:
                context.cancel()

        context.progress = progress  # type: ignore[method-assign]

    return prepare
