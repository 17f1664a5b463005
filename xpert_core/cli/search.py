"""``xpert search``: random hyperparameter search on inner validation folds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def search(
    config: Annotated[Path, typer.Argument(help="What to try, a YAML file.")],
    out: Annotated[
        Path | None, typer.Option(help="Folder of results; runs/search/NAME by default.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes; as in the file by default.")
    ] = None,
    trials: Annotated[
        int | None, typer.Option(min=1, help="Trials in all; as in the file by default.")
    ] = None,
) -> None:
    """Search settings of a recipe; scored on inner validation rows, never on test rows.

    It can be stopped at any time: finished trials stay when the command is repeated.
    """
    from dataclasses import replace

    from xpert_core.benchmark.search import run
    from xpert_core.benchmark.search_config import SearchConfig
    from xpert_core.benchmark.search_report import write_report
    from xpert_core.cli.console import progress_bar

    chosen = SearchConfig.load(config)
    if workers is not None:
        chosen = replace(chosen, bench=replace(chosen.bench, workers=workers))
    if trials is not None:
        chosen = replace(chosen, trials=trials)
    folder = out or Path("runs") / "search" / chosen.bench.name
    with progress_bar() as display:
        task = display.add_task("Reading data and splits", total=None)

        def progress(done: int, total: int, label: str) -> None:
            if label:
                display.console.print(f"{done} of {total}: {label}", highlight=False)
            display.update(task, completed=done, total=total, description="Trials")

        found = run(chosen, folder, progress)
    report = write_report(chosen, found, folder)
    print(report.read_text(encoding="utf-8").split("\n\n")[1].replace("**", ""))
    print(f"Report: {report}; recipe of the best trial: {folder / 'best.yaml'}")
