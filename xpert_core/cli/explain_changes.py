"""``xpert explain changes``: what changes under treatment in two groups of patients."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from xpert_core.cli.explain import Force, Out, Scale, with_progress
from xpert_core.cli.explain_resistance import choose_groups

if TYPE_CHECKING:
    from xpert_core.explanation.changes import GroupChanges

TOP = 10


def changes(
    cohort: Annotated[
        Path, typer.Argument(help="Paired expression file, or the samples before treatment.")
    ],
    column: Annotated[str, typer.Option(help="Column of the sample table, such as response.")],
    out: Out,
    a: Annotated[
        str | None, typer.Option(help="Values of group A, the reference, with commas.")
    ] = None,
    b: Annotated[str | None, typer.Option(help="Values of group B, with commas.")] = None,
    threshold: Annotated[
        float | None,
        typer.Option(help="Numeric column without --a and --b: B is above it; else the median."),
    ] = None,
    after: Annotated[
        Path | None, typer.Option(help="File with the samples after treatment, if separate.")
    ] = None,
    q: Annotated[float, typer.Option(help="Largest Benjamini-Hochberg q.")] = 0.05,
    lfc: Annotated[float, typer.Option(help="Smallest absolute change, or difference.")] = 0.0,
    seed: Annotated[int, typer.Option(help="Of permutations and draws.")] = 0,
    scale: Scale = None,
    force: Force = False,
) -> None:
    """Genes that change under treatment in two groups of patients, measured before and after.

    Paired tests with each patient as its own block, the difference between the groups, permuted
    labels, and counts at equal numbers of patients. No model takes part.
    """
    from xpert_core.cohorts import read_cohort, read_paired_files, require_sound, to_pairs
    from xpert_core.explanation.changes import compare_changes
    from xpert_core.explanation.changes_files import save_changes
    from xpert_core.explanation.differential import Thresholds
    from xpert_core.explanation.files import check_folder
    from xpert_core.genes import load_panel

    check_folder(out, force=force)
    thresholds = Thresholds(q, lfc)
    if after is None:
        read = read_cohort(cohort, scale=scale)
    else:
        read = read_paired_files(cohort, after, scale=scale)
    pairs = to_pairs(read, load_panel())
    require_sound(pairs)
    groups = choose_groups(pairs.pairs, column, a, b, threshold)
    for note in pairs.notes:
        print(f"Note: {note}")
    found = with_progress(
        lambda report: compare_changes(pairs, groups, thresholds, seed=seed, progress=report)
    )
    written = save_changes(found, out)
    _print(found)
    print(f"{len(written)} files written to {out}")


def _print(found: GroupChanges) -> None:
    from rich.table import Table

    from xpert_core.cli.console import output
    from xpert_core.explanation.changes_words import reading

    table = Table(
        "gene", "B minus A", "change A", "change B", "g", "p", "q", "permutation q", "passes",
        title="Difference of the change under treatment, smallest p first",
    )  # fmt: skip
    for gene, row in found.difference.table.head(TOP).iterrows():
        table.add_row(
            str(gene),
            *(f"{row[name]:+.2f}" for name in ("log2_ratio", "mean_a", "mean_b", "hedges_g")),
            *(f"{row[name]:.2g}" for name in ("p", "q", "permutation_q")),
            "yes" if row["passes"] else "no",
        )
    output().print(table)
    for sentence in reading(found):
        print(sentence)
