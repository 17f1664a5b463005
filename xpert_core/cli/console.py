"""Where the commands write: results to standard output, progress to standard error."""

from __future__ import annotations

import shutil
import sys

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn


def output() -> Console:
    """Return the console for results; wide when piped, so that no table cell is cut."""
    width = None if sys.stdout.isatty() else max(200, shutil.get_terminal_size().columns)
    return Console(width=width, highlight=False)


def progress_bar() -> Progress:
    """Return a progress display on standard error; silent when nobody watches it."""
    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
