"""What a comparison of changes under treatment shows, and what it does not, in sentences."""

from __future__ import annotations

import pandas as pd

from xpert_core.explanation.changes import GroupChanges
from xpert_core.explanation.resistance import power_of
from xpert_core.explanation.resistance_words import limits_of, named, null_sentence

LIMITS = (
    "These are measured changes; no network takes part. A change in a biopsy may be another mix of "
    "cells as well as another regulation, and a sample on treatment may already show the response: "
    "a gene that changes differently can follow from response or resistance instead of causing it. "
    "A gene named here is a question for an experiment, and the table decides on no treatment."
)

BALANCED = (
    "Only the counts at equal numbers of patients (5 to 95 % of draws from the larger group in "
    "brackets) may be set side by side: a count grows with its group."
)


def difference_sentence(found: GroupChanges) -> str:
    """How many genes change differently, and which."""
    one = found.difference
    count = len(one.passing)
    text = (
        f"Difference of the change, B against A: {count} of {one.n_tested} genes pass "
        f"({limits_of(one)})"
    )
    return f"{text}: {named(list(one.passing))}." if count else f"{text}."


def group_sentence(table: pd.DataFrame, name: str) -> str:
    """How many genes change in one group, and which."""
    passing = list(table.index[table["passes"]])
    tested = int(table["p"].notna().sum())
    text = f"{name}: {len(passing)} of {tested} genes change under treatment"
    return f"{text}: {named(passing)}." if passing else f"{text}."


def spread_sentence(found: GroupChanges) -> str:
    """Whether the groups vary alike, what each test says, and which of them decides."""
    text = (
        f"The variance of the change in A is {found.spread:.2f} times that in B (median over "
        "genes). Within the same thresholds "
        + " and ".join(f"{count} genes by {name}" for name, count in found.passing_by.items())
        + " change differently."
    )
    if found.smaller_varies_more:
        return text + (
            " The smaller group varies more, so the pooled variance of the moderated t is too "
            "small for it and so is its p: Welch's t, which does not pool, decides here, and genes "
            "that pass by the moderated t alone are not established. Permuted labels test mean and "
            "spread together and do not tell them apart."
        )
    return text + " The moderated t decides: pooling does not make its p too small here."


def reading(found: GroupChanges) -> list[str]:
    """All of it, in the order a reader needs it."""
    a, b = found.groups.label_a, found.groups.label_b
    return [
        found.groups.sentence,
        found.sentence,
        group_sentence(found.in_a, f"A ({a})"),
        group_sentence(found.in_b, f"B ({b})"),
        BALANCED,
        difference_sentence(found),
        spread_sentence(found),
        null_sentence(found.difference, "Difference against permuted labels"),
        power_of(found.groups, found.difference.thresholds, found.difference.n_tested).sentence,
        LIMITS,
    ]
