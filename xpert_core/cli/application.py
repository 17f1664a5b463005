"""The commands of ``xpert`` put together, and how their errors reach the user."""

from __future__ import annotations

import sys
from typing import Any

import typer
from typer.core import TyperGroup

from xpert_core.cli import (
    EXIT_INTERRUPTED,
    app,
    benchmark,
    cohort,
    data,
    doctor,
    drugs,
    explain,
    explain_changes,
    explain_maps,
    explain_resistance,
    finetune,
    graph,
    jobs,
    model,
    predict,
    search,
    train,
    version,
    worker,
)
from xpert_core.errors import XPertError

EXIT_ERROR = 2
"""Exit status when the input or the installation is at fault."""


class ErrorReportingGroup(TyperGroup):
    """Turns the project's own errors into a message; any other exception is a defect and shows."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command and translate what it raises into an exit status."""
        try:
            return super().invoke(ctx)
        except XPertError as error:
            print(f"Error: {error}", file=sys.stderr)
            raise typer.Exit(EXIT_ERROR) from None
        except BrokenPipeError:
            raise  # the reader of a pipe went away: Typer ends quietly
        except OSError as error:
            print(f"Error: {_explained(error)}", file=sys.stderr)
            raise typer.Exit(EXIT_ERROR) from None
        except KeyboardInterrupt:
            print("Stopped. Nothing was left half written.", file=sys.stderr)
            raise typer.Exit(EXIT_INTERRUPTED) from None


def _explained(error: OSError) -> XPertError:
    """Words for what the disk refused: no space, no right to write, a folder that is not there."""
    return XPertError(
        f"A file could not be read or written: {error.strerror or error}.",
        where=str(error.filename or ""),
        fix="Check the name, the permissions and the free space of that folder.",
    )


application = typer.Typer(
    cls=ErrorReportingGroup,
    name="xpert",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # Rich's help takes longer to import than the command has
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Predict how a drug changes gene expression in a patient. For research use only.",
)
application.command("predict")(predict.predict)
application.command("train")(train.train)
application.command("finetune")(finetune.finetune)
application.command("benchmark")(benchmark.benchmark)
application.command("search")(search.search)
application.command("app")(app.app)
application.command("worker")(worker.worker)
application.add_typer(jobs.commands, name="jobs")
application.add_typer(data.commands, name="data")
application.add_typer(drugs.commands, name="drugs")
application.add_typer(cohort.commands, name="cohort")
application.add_typer(graph.commands, name="graph")
application.add_typer(model.commands, name="model")
for command in (explain_maps.dose, explain_maps.maps, explain_maps.response):
    explain.commands.command(command.__name__)(command)
explain.commands.command("resistance")(explain_resistance.resistance)
explain.commands.command("changes")(explain_changes.changes)
application.add_typer(explain.commands, name="explain")
application.command("doctor")(doctor.doctor)
application.command("version")(version.version)
