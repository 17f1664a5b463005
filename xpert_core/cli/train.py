"""``xpert train``: trains a model from a recipe."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer


def train(
    config: Annotated[Path, typer.Argument(help="Training recipe, a YAML file.")],
    out: Annotated[
        Path | None, typer.Option(help="Folder of the run; runs/NAME_OF_THE_RECIPE by default.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the last whole epoch in the folder.")
    ] = False,
) -> None:
    """Train a model from a recipe.

    It can be stopped at any time and resumed from the last whole epoch.
    """
    import logging

    from xpert_core.cli.console import progress_bar
    from xpert_core.learning.trainer import train as run_training

    # Lightning's advice on its other products is not for the user of this program.
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    folder = out or Path("runs") / config.stem
    with progress_bar() as display:
        task = display.add_task("First epoch", total=None)

        def progress(done: int, total: int, scores: dict[str, float]) -> None:
            shown = ", ".join(f"{k} {v:.3f}" for k, v in scores.items() if k != "epoch")
            display.console.print(f"epoch {done}: {shown}", highlight=False, soft_wrap=True)
            display.update(task, completed=done, total=total, description="Epochs")

        try:
            result = run_training(config, folder, resume=resume, progress=progress)
        except SystemExit as stop:
            # Lightning catches Ctrl-C and ends the process itself.
            if isinstance(stop.__context__, KeyboardInterrupt):
                print("To go on later, repeat the command with --resume.", file=sys.stderr)
                raise KeyboardInterrupt from None
            raise
    print(f"Best epoch: {result.best_epoch}")
    print(f"Model and card: {result.folder} (hash {result.digest[:12]})")
