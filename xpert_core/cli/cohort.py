"""``xpert cohort``: checks an expression file before anything is predicted from it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from xpert_core.cohorts import CohortCheck
    from xpert_core.cohorts.records import Cohort

EXIT_REFUSED = 3
"""Exit status when the file is readable but prediction is refused."""

commands = typer.Typer(help="Check expression files.", no_args_is_help=True)


@commands.callback()
def _group() -> None:
    """Check expression files."""


@commands.command("check")
def check(
    file: Annotated[Path, typer.Argument(help="CSV, TSV, XLSX, Parquet, h5ad, GCT or GCTX file.")],
    scale: Annotated[
        str | None, typer.Option(help="Scale of the values, where the detection is wrong.")
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="Write the gene report to this CSV file.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Overwrite the gene report if it exists.")
    ] = False,
) -> None:
    """Check an expression file.

    Prints what was recognised, which genes were found, and whether the file can be used for
    prediction. Exit status 0 when it can, 3 when it cannot, 2 when it cannot be read.
    """
    from xpert_core.cli.targets import refuse_overwrite
    from xpert_core.cohorts import check_cohort, read_cohort
    from xpert_core.files import write_bytes_atomic
    from xpert_core.genes import load_panel, report_csv

    if report is not None:
        refuse_overwrite(report, force=force)
    cohort = read_cohort(file, scale=scale)
    result = check_cohort(cohort, load_panel())
    _print_check(cohort, result)
    if report is not None:
        write_bytes_atomic(report, report_csv(result.genes))
        print(f"Gene report written to {report}")
    if not result.can_predict:
        raise typer.Exit(EXIT_REFUSED)


def _print_check(cohort: Cohort, result: CohortCheck) -> None:
    from xpert_core.genes.records import STATUSES

    genes = result.genes
    patients = cohort.samples["patient_id"].nunique()
    print(f"File: {cohort.name}")
    print(f"Samples: {len(cohort.samples)} of {patients} patients")
    print(f"Scale: {cohort.scale.used}. {cohort.scale.evidence}")
    print(f"Transform: {cohort.scale.transform}")
    share = f"{100 * genes.fraction_found:.1f} %"
    print(f"Panel genes found: {genes.n_found} of {genes.panel_size} ({share})")
    counts = genes.table["status"].value_counts()
    for status in STATUSES:
        if status in counts:
            print(f"  {status}: {counts[status]}")
    for note in cohort.notes:
        print(f"Note: {note}")
    for warning in result.warnings:
        print(f"Warning: {warning}")
    if result.can_predict:
        print("This file can be used for prediction.")
    else:
        print("This file cannot be used for prediction:")
        for reason in result.reasons:
            print(f"  {reason}")
