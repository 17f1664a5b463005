"""``xpert benchmark``: models x scenarios x folds x seeds, and the report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from xpert_core.benchmark.results import Results


def benchmark(
    config: Annotated[Path, typer.Argument(help="What to run, a YAML file.")],
    out: Annotated[
        Path | None, typer.Option(help="Folder of results; runs/benchmark/NAME by default.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes; as in the file by default.")
    ] = None,
    report_only: Annotated[
        bool, typer.Option("--report-only", help="Report what is done so far; run nothing.")
    ] = False,
    database: Annotated[
        bool, typer.Option("--database/--no-database", help="Keep the numbers in the database too.")
    ] = True,
) -> None:
    """Compare models on new drugs, cell lines, doses and times.

    It can be stopped at any time: what is done stays done when the command is repeated.
    """
    from dataclasses import replace

    from xpert_core.benchmark.config import BenchmarkConfig
    from xpert_core.benchmark.report import report_of
    from xpert_core.benchmark.results import Results
    from xpert_core.benchmark.runner import run
    from xpert_core.cli.console import progress_bar

    chosen = BenchmarkConfig.load(config)
    if workers is not None:
        chosen = replace(chosen, workers=workers)
    folder = out or Path("runs") / "benchmark" / chosen.name
    with progress_bar() as display:
        task = display.add_task("Reading data and splits", total=None)

        def progress(done: int, total: int, label: str) -> None:
            if label:
                display.console.print(f"{done} of {total}: {label}", highlight=False)
            display.update(task, completed=done, total=total, description="Tasks")

        finished = run(chosen, folder, progress, stored_only=report_only)
    results = Results.collect(chosen, finished, folder)
    report = report_of(results)
    verdict = report.read_text(encoding="utf-8").split("\n\n")[1]
    print(verdict.replace("**", ""))
    print(f"Report: {report} and {report.with_suffix('.html')}")
    if database and not report_only:
        # Last: whatever happens to the database, the report is there.
        _keep(results)


def _keep(results: Results) -> None:
    from xpert_core.benchmark.record import record_of
    from xpert_core.store import Store

    store = Store()
    try:
        saved = store.save_benchmark(record_of(results))
        print(f"Database: {store.location}, benchmark {saved}")
    finally:
        store.close()
