"""``xpert explain resistance``: two groups of patients, by attention and by expression."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from xpert_core.cli.explain import Cohort, Force, Out, Scale, with_progress
from xpert_core.errors import ExplanationError

if TYPE_CHECKING:
    import pandas as pd

    from xpert_core.explanation.groups import Groups
    from xpert_core.explanation.resistance import Resistance

TOP = 10


def resistance(
    cohort: Cohort,
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
    kind: Annotated[str, typer.Option(help="Attention: received, cls or rollout.")] = "received",
    layer: Annotated[
        str | None, typer.Option(help="Base layer such as base_SA_1; the mean by default.")
    ] = None,
    q: Annotated[float, typer.Option(help="Largest Benjamini-Hochberg q.")] = 0.05,
    lfc: Annotated[float, typer.Option(help="Smallest absolute log2 ratio.")] = 0.0,
    permutations: Annotated[
        int, typer.Option(min=100, max=100_000, help="Relabellings of the patients.")
    ] = 10_000,
    untrained: Annotated[
        int, typer.Option(min=1, max=20, help="Untrained networks to compare with.")
    ] = 1,
    seed: Annotated[int, typer.Option(help="Of permutations and draws.")] = 0,
    model: Annotated[
        str | None, typer.Option(help="Model name or folder; the shipped model by default.")
    ] = None,
    scale: Scale = None,
    force: Force = False,
) -> None:
    """Genes attended to differently in two groups of patients.

    Beside expression before treatment, permuted labels and untrained networks. log2 ratios are B
    over A. Attention is not mechanism.
    """
    from xpert_core.cli.model import chosen_folder
    from xpert_core.cohorts import read_cohort, to_profiles
    from xpert_core.explanation.differential import Thresholds
    from xpert_core.explanation.files import check_folder
    from xpert_core.explanation.resistance import Options, collect, explain_resistance
    from xpert_core.explanation.resistance_files import save_resistance
    from xpert_core.prediction import Predictor

    check_folder(out, force=force)
    options = Options(kind, layer, Thresholds(q, lfc), permutations=permutations, seed=seed)
    predictor = Predictor.load(chosen_folder(model))
    options.check(predictor)
    profiles = to_profiles(read_cohort(cohort, scale=scale), predictor.panel)
    groups = choose_groups(profiles.samples, column, a, b, threshold)
    print(groups.sentence)
    material = with_progress(
        lambda report: collect(predictor, profiles, groups, seeds=range(untrained), progress=report)
    )
    found = with_progress(
        lambda report: explain_resistance(material, groups, options, progress=report)
    )
    written = save_resistance(found, out)
    _print(found)
    print(f"{len(written)} files written to {out}")


def choose_groups(
    samples: pd.DataFrame, column: str, a: str | None, b: str | None, threshold: float | None
) -> Groups:
    """Groups by values, or by a number where no values are given."""
    from xpert_core.explanation.groups import groups_by_threshold, groups_by_value, is_numeric

    if a is None and b is None and (threshold is not None or is_numeric(samples, column)):
        return groups_by_threshold(samples, column, threshold)
    if threshold is not None:
        raise ExplanationError(
            "Both values and a threshold were given.",
            fix="Give --a and --b, or --threshold alone.",
        )
    return groups_by_value(samples, column, (a or "").split(","), (b or "").split(","))


def _print(found: Resistance) -> None:
    from rich.table import Table

    from xpert_core.cli.console import output
    from xpert_core.explanation.resistance_words import reading

    table = Table(
        "gene", "log2 ratio", "g", "permutation p", "q", "max p", "passes", "expression q",
        "untrained q", title=f"Differential {found.attention.measure}, B over A",
    )  # fmt: skip
    for gene, row in found.genes.head(TOP).iterrows():
        table.add_row(
            str(gene),
            f"{row['attention_log2_ratio']:+.3f}",
            f"{row['attention_hedges_g']:+.2f}",
            f"{row['attention_permutation_p']:.2g}",
            f"{row['attention_permutation_q']:.2g}",
            f"{row['attention_p_max']:.2g}",
            "yes" if row["attention_passes"] else "no",
            f"{row['expression_q']:.2g}",
            f"{row['untrained_q']:.2g}",
        )
    output().print(table)
    for sentence in reading(found)[1:]:
        print(sentence)
