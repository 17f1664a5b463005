"""``xpert explain``: what the network attends to and depends on, beside its nulls."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias, TypeVar

import typer

from xpert_core.conditions import DEFAULT_DOSE, DEFAULT_TIME

if TYPE_CHECKING:
    from xpert_core.cohorts.records import Profiles
    from xpert_core.explanation.atom_report import AtomExplanation
    from xpert_core.explanation.atoms import AtomAttention
    from xpert_core.explanation.genes import GeneAttention
    from xpert_core.explanation.stability import Stability
    from xpert_core.prediction import Predictor

T = TypeVar("T")
Report: TypeAlias = Callable[[int, int, str], None]

TOP = 10

commands = typer.Typer(
    help="Explain predictions: attention to atoms and genes, each beside its nulls.",
    no_args_is_help=True,
)

Cohort = Annotated[Path, typer.Argument(help="Expression file with pretreatment profiles.")]
Out = Annotated[Path, typer.Option(help="Folder for the tables and figures.")]
Samples = Annotated[
    list[str] | None, typer.Option(help="Only this sample of the file; may be repeated.")
]
Models = Annotated[
    list[str] | None,
    typer.Option(
        help="Model name or folder; the shipped model by default. Several (seeds or folds) also "
        "give their agreement; the files are of the first."
    ),
]
Scale = Annotated[
    str | None, typer.Option(help="Scale of the values, where the detection is wrong.")
]
Force = Annotated[bool, typer.Option("--force", help="Write into a folder that holds files.")]


@commands.callback()
def _group() -> None:
    """Explain predictions: attention to atoms and genes, each beside its nulls."""


@commands.command("atoms")
def atoms(
    cohort: Cohort,
    drug: Annotated[str, typer.Option(help="Drug name, LINCS id, InChIKey or SMILES.")],
    out: Out,
    dose: Annotated[str, typer.Option(help="Dose with unit.")] = DEFAULT_DOSE,
    time: Annotated[str, typer.Option(help="Time with unit.")] = DEFAULT_TIME,
    sample: Samples = None,
    genes: Annotated[
        str | None,
        typer.Option(help="Gene set: symbols with commas, or a file with one symbol a line."),
    ] = None,
    layer: Annotated[
        str | None, typer.Option(help="Cross-attention layer such as CA_1; the mean by default.")
    ] = None,
    untrained: Annotated[
        int, typer.Option(min=1, max=200, help="Untrained networks to compare with.")
    ] = 5,
    model: Models = None,
    scale: Scale = None,
    force: Force = False,
) -> None:
    """Score the atoms of a drug.

    Cell-to-drug attention over the atoms, gradient x input and leave-one-atom-out, beside
    attention by element alone and that of untrained networks. Attention is not mechanism.
    """
    from xpert_core.explanation.atom_report import explain_atoms
    from xpert_core.explanation.atoms import atom_attention, atom_stability
    from xpert_core.explanation.files import (
        check_folder,
        read_gene_set,
        save_atoms,
        save_tables,
        stability_tables,
    )

    check_folder(out, force=force)
    samples, chosen = sample or None, read_gene_set(genes) if genes is not None else ()
    predictors, profiles = _load(cohort, scale, model)

    def whole(report: Report) -> AtomExplanation:
        return explain_atoms(
            predictors[0], profiles, drug, dose, time,
            samples=samples, genes=chosen, n_untrained=untrained, progress=report,
        )  # fmt: skip

    def attention(predictor: Predictor, report: Report) -> AtomAttention:
        return atom_attention(
            predictor, profiles, drug, dose, time,
            samples=samples, genes=chosen, progress=report,
        )  # fmt: skip

    found = with_progress(whole)
    others = [with_progress(partial(attention, other)) for other in predictors[1:]]
    runs = [found.attention, *others]
    written = save_atoms(found, out, layer)
    _print_atoms(found, layer)
    if len(runs) > 1:
        agreed = atom_stability(runs, layer)
        written += save_tables(out, stability_tables(agreed))
        _print_stability(agreed, len(runs))
    print(f"{len(written)} files written to {out}")


@commands.command("genes")
def genes(
    cohort: Cohort,
    out: Out,
    sample: Samples = None,
    model: Models = None,
    scale: Scale = None,
    force: Force = False,
) -> None:
    """Attention of the base branch to each gene of each sample, without any drug.

    Attention received, the row of the cls token, and rollout over all layers. Attention is not
    mechanism.
    """
    from xpert_core.explanation.files import (
        check_folder,
        save_genes,
        save_tables,
        stability_tables,
    )
    from xpert_core.explanation.genes import gene_attention, gene_stability

    check_folder(out, force=force)
    predictors, profiles = _load(cohort, scale, model)

    def attention(predictor: Predictor, report: Report) -> GeneAttention:
        return gene_attention(predictor, profiles, samples=sample or None, progress=report)

    runs = [with_progress(partial(attention, predictor)) for predictor in predictors]
    written = save_genes(runs[0], out)
    _print_genes(runs[0])
    if len(runs) > 1:
        agreed = gene_stability(runs)
        written += save_tables(out, stability_tables(agreed))
        _print_stability(agreed, len(runs))
    print(f"{len(written)} files written to {out}")


def with_progress(work: Callable[[Report], T]) -> T:
    """Run `work` with a progress display; it is given the function to report to."""
    from xpert_core.cli.console import progress_bar

    with progress_bar() as display:
        task = display.add_task("Preparing", total=None)

        def report(done: int, total: int, text: str) -> None:
            display.update(task, completed=done, total=total, description=text)

        return work(report)


def _load(
    cohort: Path, scale: str | None, models: Sequence[str] | None
) -> tuple[list[Predictor], Profiles]:
    """The models asked for, and the profiles of the cohort."""
    from xpert_core.cli.model import chosen_folder
    from xpert_core.cohorts import read_cohort, to_profiles
    from xpert_core.prediction import Predictor

    predictors = [Predictor.load(chosen_folder(name)) for name in models or (None,)]
    return predictors, to_profiles(read_cohort(cohort, scale=scale), predictors[0].panel)


def _print_atoms(found: AtomExplanation, layer: str | None) -> None:
    from rich.table import Table

    from xpert_core.cli.console import output
    from xpert_core.explanation.atom_report import SCORES
    from xpert_core.explanation.atom_words import reading

    attention, frame = found.attention, found.table(layer)
    print(
        f"{found.atoms.drug.name}, {attention.dose_um:g} uM, {attention.time_h:g} h: "
        f"{len(found.atoms)} atoms, {len(attention.samples)} samples."
    )
    table = Table(
        "atom", *SCORES.values(), title=f"Share of all atoms (equal: {1 / len(frame):.1%})"
    )
    for _, row in frame.head(TOP).iterrows():
        shares = ("-" if math.isnan(row[score]) else f"{row[score]:.1%}" for score in SCORES)
        table.add_row(row["label"], *shares)
    output().print(table)
    if len(frame) > TOP:
        print(f"The first {TOP} of {len(frame)} atoms are shown.")
    for sentence in reading(found, layer):
        print(sentence)


def _print_genes(found: GeneAttention) -> None:
    from rich.table import Table

    from xpert_core.cli.console import output
    from xpert_core.explanation.genes import MEANING, gene_summary

    print(f"{len(found)} samples, {len(found.genes)} genes. Mean over layers and samples.")
    for kind in found.kinds:
        table = Table("gene", "mean", "times uniform", "CV over samples", title=MEANING[kind])
        for gene, row in gene_summary(found, kind).head(TOP).iterrows():
            table.add_row(
                str(gene), f"{row['mean']:.5f}", f"{row['times_uniform']:.2f}", f"{row['cv']:.3f}"
            )
        output().print(table)
    print("Attention is not mechanism: compare groups of samples, and untrained networks.")


def _print_stability(found: Stability, runs: int) -> None:
    print(
        f"Agreement of {runs} models: mean cosine {found.mean_cosine:.3f}, mean Spearman "
        f"{found.mean_spearman:.3f}, mean CV {found.mean_cv:.3f}"
    )
