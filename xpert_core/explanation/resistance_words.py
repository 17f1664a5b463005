"""What a comparison of two groups shows, and what it does not, in sentences."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from xpert_core.explanation.differential import Differential
from xpert_core.explanation.resistance import Resistance

NAMED_GENES = 12

LIMITS = (
    "Attention says where the network looks, not what causes resistance: a gene can be attended to "
    "more in one group because its expression, or that of genes around it, differs. The network "
    "never saw the response labels. A gene named here is a question for an experiment, and the "
    "table decides on no treatment."
)


def named(genes: Sequence[str]) -> str:
    """Genes as a list, the first dozen by name."""
    shown = ", ".join(genes[:NAMED_GENES])
    more = len(genes) - NAMED_GENES
    return f"{shown} and {more} more" if more > 0 else shown


def limits_of(one: Differential) -> str:
    """The thresholds in words."""
    which = "permutation p" if one.by_permutation else one.statistic
    text = f"q at most {one.thresholds.q:g} ({which}, Benjamini-Hochberg)"
    if one.thresholds.log2_ratio:
        text += f" and log2 ratio at least {one.thresholds.log2_ratio:g} either way"
    return text


def passing_sentence(one: Differential, name: str) -> str:
    """How many genes pass, and which."""
    count = len(one.passing)
    what = f"{count} of {one.n_tested} genes pass" if count != 1 else "1 gene passes"
    if count == 1:
        what += f" of {one.n_tested}"
    genes = f": {named(list(one.passing))}" if count else ""
    return f"{name}: {what} ({limits_of(one)}){genes}."


def null_sentence(one: Differential, name: str) -> str:
    """The count of small p-values beside what permuted labels give."""
    null = one.null
    low, middle, high = np.quantile(null.counts_nominal, [0.05, 0.5, 0.95])
    return (
        f"{name}: {null.observed_nominal} genes have p < 0.05 before correction; with permuted "
        f"labels it is {middle:.0f} (5 to 95 %: {low:.0f} to {high:.0f}), so a count like this "
        f"comes with chance {_chance(null.p_nominal)}. By that test's own corrected p "
        + (
            f"{null.observed} pass; as many with permuted labels come with chance "
            f"{_chance(null.p)}."
            if null.observed
            else "none passes."
        )
    )


def untrained_sentence(found: Resistance) -> str:
    """What untrained networks show of the same patients."""
    counts = ", ".join(str(len(other.passing)) for other in found.untrained)
    one = len(found.untrained) == 1
    nets = "The untrained network" if one else f"{len(found.untrained)} untrained networks"
    text = (
        f"{nets} (random weights, same patients) {'lets' if one else 'let'} {counts} genes pass; "
        "the log2 ratios of the trained network and the first untrained one correlate with "
        f"{found.habit.correlation:.2f} (Spearman)."
    )
    passing = list(found.attention.passing)
    if not passing:
        return text
    if not found.learned:
        return f"{text} Every gene that passes also passes there: habit of the architecture."
    return f"{text} Passing in the trained network alone: {named(found.learned)}."


def overlap_sentence(found: Resistance) -> str:
    """Attention beside expression."""
    both = found.overlap
    text = (
        f"Both lists share {len(both.both)} genes (expected by chance {both.expected:.1f}"
        f"{'' if np.isnan(both.p) else f', p {both.p:.2g}'}); only attention sees "
        f"{len(both.only_first)}, only expression {len(both.only_second)}. The log2 ratios of "
        f"attention and expression correlate with {both.correlation:.2f} (Spearman)."
    )
    if both.both:
        text += f" In both: {named(both.both)}; {both.same_direction} in the same direction."
    return text


def balanced_sentence(found: Resistance) -> str:
    """Counts at equal group sizes."""
    attention, expression = (found.balanced[key] for key in ("attention", "expression"))
    return (
        f"At equal group sizes, by each test's own p: attention {attention}; expression "
        f"{expression}. Only these counts may be set beside those of another comparison."
    )


def reading(found: Resistance) -> list[str]:
    """All of it, in the order a reader needs it."""
    return [
        found.groups.sentence,
        passing_sentence(found.attention, f"Differential {found.attention.measure}"),
        *([found.attention.warning] if found.attention.warning else []),
        passing_sentence(found.expression, "Differential expression before treatment"),
        overlap_sentence(found),
        null_sentence(found.attention, "Attention against permuted labels"),
        null_sentence(found.expression, "Expression against permuted labels"),
        untrained_sentence(found),
        balanced_sentence(found),
        found.power.sentence,
        LIMITS,
    ]


def _chance(p: float) -> str:
    return f"{p:.2g}" if p >= 0.01 else f"{p:.1g}"
