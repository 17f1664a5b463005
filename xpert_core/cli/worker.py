"""``xpert worker``: works on background jobs."""

from __future__ import annotations

from typing import Annotated

import typer


def worker(
    once: Annotated[
        bool, typer.Option("--once", help="Do the jobs that are waiting, then end.")
    ] = False,
    database: Annotated[
        str | None, typer.Option(help="Address of the database; the usual one by default.")
    ] = None,
    beside: Annotated[
        int | None, typer.Option(hidden=True, help="End when this process, its parent, ends.")
    ] = None,
) -> None:
    """Work on background jobs, one at a time.

    Start as many as the machine can bear; others may run on other machines. Ctrl-C stops a worker
    and puts its job back: nothing is lost.
    """
    import logging
    import os

    from xpert_core.jobs.worker import serve
    from xpert_core.store import Store

    logging.basicConfig(format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("xpert_core.jobs").setLevel(logging.INFO)
    store = Store(database)
    try:
        if beside is None:
            print(f"Waiting for jobs of {store.location} (Ctrl-C stops)", flush=True)
            taken = serve(store, once=once)
            print(f"Stopped after {taken} {'job' if taken == 1 else 'jobs'}.")
        else:
            serve(store, once=once, keep_on=lambda: os.getppid() == beside)
    finally:
        store.close()
