"""``xpert data prepare``: public files to prepared data."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from xpert_core.preparation.records import Counts, Report

commands = typer.Typer(help="Prepare public data.", no_args_is_help=True)
prepare = typer.Typer(
    help="Turn public files into prepared data (docs/data-preparation.md).", no_args_is_help=True
)
commands.add_typer(prepare, name="prepare")

Force = Annotated[bool, typer.Option("--force", help="Overwrite the output if it exists.")]
Drugs = Annotated[
    Path | None,
    typer.Option(help="Table with pert_id and smiles, where the file names drugs by id only."),
]


@commands.callback()
def _group() -> None:
    """Prepare public data."""


@prepare.command("lincs")
def lincs(
    treated: Annotated[Path, typer.Option(help="Level-3 matrix of treated wells, GCTX.")],
    vehicle: Annotated[Path, typer.Option(help="Level-3 matrix of vehicle wells, GCTX.")],
    instances: Annotated[Path, typer.Option(help="instinfo_beta.txt")],
    compounds: Annotated[
        Path | None, typer.Option(help="compoundinfo_beta.txt: structures and names.")
    ] = None,
    genes: Annotated[
        Path | None, typer.Option(help="geneinfo_beta.txt, where genes have ids of their own.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder to write to.")] = Path("prepared"),
    subset: Annotated[
        list[str] | None,
        typer.Option(help="full, sdst, mdmt or mdmt_pretrain; repeat for several. Default: full."),
    ] = None,
    control: Annotated[
        str, typer.Option(help="mean of the plate's vehicle wells, or one random well.")
    ] = "mean",
    seed: Annotated[int, typer.Option(help="Of the random wells.")] = 0,
    block: Annotated[int, typer.Option(min=1, help="Most profiles in memory at a time.")] = 1024,
    check: Annotated[
        bool, typer.Option("--check", help="Print what would be kept, and write nothing.")
    ] = False,
    force: Force = False,
) -> None:
    """Prepare LINCS 2020 level 3: conditions with controls of the same plate.

    It can be stopped at any time: the same command goes on where it was.
    """
    from xpert_core.preparation import lincs as steps

    files = steps.LincsFiles(treated, vehicle, instances, compounds, genes)
    settings = steps.LincsSettings(control, seed, tuple(subset or ("full",)), block)
    if check:
        _print_counts(steps.check(files))
        return
    with _progress() as report:
        written, counts = steps.prepare(files, out, settings, force=force, report=report)
    _print_counts(counts)
    for path, size in written.items():
        print(f"{size:,} rows written to {path}")


@prepare.command("panacea")
def panacea(
    counts: Annotated[Path, typer.Option(help="Counts, genes x samples: CSV, TSV or gz.")],
    sheet: Annotated[Path, typer.Option(help="Sample sheet: sample, cell, drug, dose, time.")],
    lengths: Annotated[
        Path | None, typer.Option(help="gene and length: TPM then; CPM without it.")
    ] = None,
    out: Annotated[Path, typer.Option(help="h5ad file to write.")] = Path("panacea.h5ad"),
    force: Force = False,
) -> None:
    """Prepare a table of counts of treated cell lines, DMSO samples as controls.

    It can be stopped at any time: the same command goes on where it was.
    """
    from xpert_core.cli.targets import refuse_overwrite
    from xpert_core.preparation.panacea import prepare_panacea

    refuse_overwrite(out, force=force)
    with _progress() as report:
        size, kept = prepare_panacea(counts, sheet, out, lengths=lengths, report=report)
    if lengths is None:
        print("No gene lengths were given: counts are scaled per million reads, not to TPM.")
    _print_written(kept, size, out)


@prepare.command("cdsdb")
def cdsdb(
    matrix: Annotated[list[Path], typer.Option(help="Expression matrix; repeat for several.")],
    sheet: Annotated[Path, typer.Option(help="Sample sheet: sample, patient, timepoint, drug.")],
    non_chemical: Annotated[
        Path | None, typer.Option(help="More names of drugs that are no chemicals, one a line.")
    ] = None,
    out: Annotated[Path, typer.Option(help="h5ad file to write.")] = Path("cdsdb.h5ad"),
    force: Force = False,
) -> None:
    """Prepare patients before and after one chemical drug, as in CDS-DB.

    It can be stopped at any time: the same command goes on where it was.
    """
    from xpert_core.cli.targets import refuse_overwrite
    from xpert_core.preparation.cdsdb import prepare_cdsdb

    refuse_overwrite(out, force=force)
    with _progress() as report:
        size, counts = prepare_cdsdb(matrix, sheet, out, non_chemical=non_chemical, report=report)
    _print_written(counts, size, out)


@prepare.command("geo")
def geo(
    file: Annotated[Path, typer.Argument(help="GSE..._series_matrix.txt or .txt.gz")],
    patient: Annotated[str, typer.Option(help="Field that names the patient.")] = "",
    timepoint: Annotated[str, typer.Option(help="Field that says before or after.")] = "",
    drug: Annotated[str, typer.Option(help="Field, or =NAME for all samples.")] = "",
    dose: Annotated[str, typer.Option(help="Field, or =VALUE for all samples.")] = "",
    time: Annotated[str, typer.Option(help="Field, or =VALUE for all samples.")] = "",
    cancer: Annotated[str, typer.Option(help="Field, or =NAME for all samples.")] = "",
    response: Annotated[str, typer.Option(help="Field, or =VALUE for all samples.")] = "",
    scale: Annotated[
        str | None, typer.Option(help="Scale of the values, where the detection is wrong.")
    ] = None,
    out: Annotated[Path, typer.Option(help="h5ad file to write.")] = Path("series.h5ad"),
    force: Force = False,
) -> None:
    """Prepare a GEO series: one row a sample, or pairs with --patient and --timepoint.

    It can be stopped at any time: the same command goes on where it was.
    """
    from xpert_core.cli.targets import refuse_overwrite
    from xpert_core.preparation.geo import GeoFields, prepare_geo

    refuse_overwrite(out, force=force)
    named = GeoFields(patient, timepoint, drug, dose, time, cancer, response)
    with _progress() as report:
        size, counts = prepare_geo(file, out, named=named, scale=scale, report=report)
    _print_written(counts, size, out)


@prepare.command("published")
def published(
    file: Annotated[Path, typer.Argument(help="h5ad in the published layout.")],
    drugs: Drugs = None,
    out: Annotated[Path, typer.Option(help="h5ad file to write.")] = Path("published.h5ad"),
    force: Force = False,
) -> None:
    """Write a file of the published layout in this project's.

    It can be stopped at any time: the same command goes on where it was.
    """
    from xpert_core.cli.targets import refuse_overwrite
    from xpert_core.preparation.published import prepare_published

    refuse_overwrite(out, force=force)
    with _progress() as report:
        size, counts = prepare_published(file, out, drugs=drugs, report=report)
    _print_written(counts, size, out)


@prepare.command("tensors")
def tensors(
    file: Annotated[Path, typer.Argument(help="h5ad in the published layout or this project's.")],
    featurizer: Annotated[str, typer.Option(help="Structure tokens of drugs.")] = "aimnet2",
    drugs: Drugs = None,
    assume_dose: Annotated[
        str, typer.Option(help="Dose of rows without a molar one, such as '1 uM'.")
    ] = "",
    assume_time: Annotated[
        str, typer.Option(help="Time of rows without one, such as '24 h'.")
    ] = "",
    out: Annotated[Path, typer.Option(help="Safetensors file to write.")] = Path(
        "prepared.safetensors"
    ),
    force: Force = False,
) -> None:
    """Write prepared tensors, which `xpert train` and `xpert benchmark` read.

    It can be stopped at any time: the same command goes on where it was.
    """
    from xpert_core.cli.targets import refuse_overwrite
    from xpert_core.preparation.tensors import Assumed, prepare_tensors

    refuse_overwrite(out, force=force)
    with _progress() as report:
        made = prepare_tensors(
            file,
            out,
            featurizer=featurizer,
            drugs=drugs,
            assumed=Assumed(assume_dose, assume_time),
            report=report,
        )
    for note in made.notes:
        print(note)
    _print_written(made.counts, made.rows, out)
    for split in made.splits:
        if split.path is not None:
            print(f"Split columns {', '.join(split.columns)}: {split.scenario}, {split.path}")
        else:
            print(f"Split columns {', '.join(split.columns)} not carried over: {split.why}")


@contextmanager
def _progress() -> Iterator[Report]:
    """One bar a step."""
    from xpert_core.cli.console import progress_bar

    with progress_bar() as bar:
        tasks = {}

        def show(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(what, total=total)
            bar.update(tasks[what], completed=done, total=total)

        yield show


def _print_counts(counts: Counts) -> None:
    for line in counts.lines():
        print(line)


def _print_written(counts: Counts, size: int, out: Path) -> None:
    _print_counts(counts)
    print(f"{size:,} rows written to {out}")
