"""Background jobs: work that outlives the page that asked for it.

`submit` puts a job into the database, `Worker` processes take jobs from there and run them in child
processes. To add a kind of job, write ``function(context, params) -> dict`` and give it one line
in `xpert_core.jobs.kinds.KINDS`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from xpert_core.jobs.kinds import KINDS, function_of
from xpert_core.store.job_records import Job, JobEvent
from xpert_core.store.models import LOCAL_OWNER

if TYPE_CHECKING:
    from xpert_core.jobs.context import JobContext
    from xpert_core.store import Store

__all__ = ["KINDS", "Job", "JobContext", "JobEvent", "submit"]


def submit(
    store: Store,
    kind: str,
    params: Mapping[str, Any],
    *,
    title: str = "",
    owner: str = LOCAL_OWNER,
) -> str:
    """Put a job into the queue and return its id.

    Parameters
    ----------
    store : Store
    kind : str
        One of `KINDS`.
    params : mapping
        Text, numbers, lists and dictionaries: what the function of the kind takes.
    title : str
        Shown in lists.
    owner : str

    Raises
    ------
    JobError
        There is no such kind.
    StoreError
        The job cannot be stored.
    """
    function_of(kind)
    return store.jobs.submit(kind, params, title=title or kind, owner=owner)


def __getattr__(name: str) -> Any:
    if name == "JobContext":
        from xpert_core.jobs.context import JobContext

        return JobContext
    raise AttributeError(name)
