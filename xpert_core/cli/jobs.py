"""``xpert jobs``: the queue of background jobs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xpert_core.errors import XPertError

if TYPE_CHECKING:
    from xpert_core.store import Store

commands = typer.Typer(help="Look after background jobs.", no_args_is_help=True)

Id = Annotated[str, typer.Argument(metavar="ID", help="Id of the job.")]
Database = Annotated[
    str | None, typer.Option(help="Address of the database; the usual one by default.")
]


@commands.callback()
def _group() -> None:
    """Look after background jobs."""


@contextmanager
def _store(database: str | None) -> Iterator[Store]:
    from xpert_core.store import Store

    opened = Store(database)
    try:
        yield opened
    finally:
        opened.close()


@commands.command("list")
def list_(
    owner: Annotated[str | None, typer.Option(help="Only the jobs of this owner.")] = None,
    database: Database = None,
) -> None:
    """List the jobs, the last submitted first."""
    from rich.table import Table

    from xpert_core.cli.console import output

    with _store(database) as store:
        jobs, workers = store.jobs.find(owner), store.claims.workers()
    table = Table("id", "kind", "title", "owner", "status", "progress", "submitted (UTC)")
    for job in jobs:
        progress = f"{job.done} of {job.total}" if job.total else ""
        table.add_row(
            job.id, job.kind, job.title, job.owner, job.status, progress,
            f"{job.created_at:%Y-%m-%d %H:%M}",
        )  # fmt: skip
    output().print(table)
    places = ", ".join(f"{w.host} (process {w.pid})" for w in workers)
    print(f"Workers: {places or 'none; start one with: xpert worker'}")


@commands.command("show")
def show(job_id: Id, database: Database = None) -> None:
    """Show a job: where it stands, its result or error, its log."""
    with _store(database) as store:
        job, log = store.jobs.get(job_id), store.jobs.log(job_id)
        metrics = store.jobs.metrics(job_id)
    print(f"{job.kind}: {job.title}\nStatus: {job.status}, attempts: {job.attempts}")
    if job.stage:
        print(f"Stage: {job.stage}" + (f" ({job.done} of {job.total})" if job.total else ""))
    print(f"Parameters: {json.dumps(job.params)}")
    if job.result is not None:
        print(f"Result: {json.dumps(job.result)}")
    if job.failure is not None:
        print(f"Error: {job.failure}")
    if metrics:
        print(f"Last numbers: {json.dumps(metrics[-1])}")
    for line in log:
        print(f"{line.created_at:%H:%M:%S} {line.payload['text']}")


@commands.command("submit")
def submit(
    kind: Annotated[str, typer.Argument(help="predict, train, benchmark, ...")],
    params: Annotated[
        list[str], typer.Argument(metavar="NAME=VALUE...", help="Parameters; values as in YAML.")
    ],
    title: Annotated[str, typer.Option(help="Title in lists.")] = "",
    database: Database = None,
) -> None:
    """Submit a job, for instance: xpert jobs submit train config=recipe.yaml

    Lists are written as [a, b]. A file is named by its full path or from the current folder.
    """
    from xpert_core.jobs import submit as put

    with _store(database) as store:
        print(put(store, kind, dict(_parsed(text) for text in params), title=title))


def _parsed(text: str) -> tuple[str, Any]:
    import yaml

    name, equals, value = text.partition("=")
    if not equals or not name:
        raise XPertError(
            "A parameter is not understood.", where=text, fix="Write it as NAME=VALUE."
        )
    try:
        parsed = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise XPertError(
            "The value of a parameter is not understood.",
            where=text,
            fix="Put quotes around text, and brackets around a list: drugs='[trametinib, JQ1]'.",
        ) from error
    # The worker has another working folder.
    path = isinstance(parsed, str) and Path(parsed).exists()
    return name, str(Path(parsed).resolve()) if path else parsed


@commands.command("cancel")
def cancel(job_id: Id, database: Database = None) -> None:
    """Cancel a waiting or running job."""
    with _store(database) as store:
        store.jobs.cancel(job_id)
        print(f"Job {job_id}: {_after_cancel(store, job_id)}")


def _after_cancel(store: Store, job_id: str) -> str:
    job = store.jobs.get(job_id)
    return job.status if job.ended else "its worker stops it within 2 seconds"


@commands.command("retry")
def retry(job_id: Id, database: Database = None) -> None:
    """Try a failed or cancelled job again; it goes on from its last checkpoint."""
    with _store(database) as store:
        store.jobs.retry(job_id)
    print(f"Job {job_id} waits for a worker.")


@commands.command("delete")
def delete(job_id: Id, database: Database = None) -> None:
    """Delete a job with its log and its checkpoints; results it stored stay."""
    with _store(database) as store:
        store.jobs.delete(job_id)
    print(f"Job {job_id} is deleted.")
