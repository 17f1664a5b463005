"""Genes that change under treatment in two groups of patients, pair by pair."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from xpert_core.cohorts.paired import PairedProfiles
from xpert_core.explanation.differential import (
    N_COUNTED,
    BalancedCount,
    Differential,
    Thresholds,
    balanced_changes,
    change_table,
    compare_groups,
    moderated_test,
)
from xpert_core.explanation.groups import Groups, average_by_patient
from xpert_core.explanation.statistics import relabellings


@dataclass(frozen=True)
class GroupChanges:
    """Measured change under treatment in A and in B.

    Attributes
    ----------
    in_a, in_b : DataFrame
        As `differential.change_table`: the moderated paired t of each group.
    difference : Differential
        Change in B against change in A.
    balanced : tuple of BalancedCount
        Genes that change in A and in B at equal numbers of patients: the only counts that may be
        set side by side.
    """

    in_a: pd.DataFrame
    in_b: pd.DataFrame
    difference: Differential
    balanced: tuple[BalancedCount, BalancedCount]

    @property
    def sentence(self) -> str:
        """Counts in words, all patients and balanced."""
        a, b = self.balanced
        return (
            f"{int(self.in_a['passes'].sum())} genes change in A and "
            f"{int(self.in_b['passes'].sum())} in B with all patients; at equal numbers of "
            f"patients, A: {a}, B: {b}. {len(self.difference.passing)} genes change differently "
            "in the two groups."
        )


def compare_changes(
    pairs: PairedProfiles, groups: Groups, thresholds: Thresholds | None = None, *, seed: int = 0
) -> GroupChanges:
    """Test the change of each gene in both groups, and its difference.

    Each patient is its own block: the test is on the difference after minus before. Several pairs
    of one patient are averaged first.

    Parameters
    ----------
    pairs : PairedProfiles
    groups : Groups
        Of `pairs.pairs`.
    thresholds : Thresholds, optional
    seed : int
        Of permutations and draws.
    """
    thresholds = thresholds or Thresholds()
    genes = pairs.panel.symbols
    change = average_by_patient(pairs.x_deg[groups.rows].astype(np.float64), groups.patients)
    in_b = groups.patient_in_b
    return GroupChanges(
        change_table(change[~in_b], genes, thresholds),
        change_table(change[in_b], genes, thresholds),
        compare_groups(
            change,
            in_b,
            genes,
            measure=f"change under treatment ({pairs.unit})",
            test=moderated_test,
            labels=relabellings(in_b, N_COUNTED, seed),
            thresholds=thresholds,
        ),
        balanced_changes(change, in_b, thresholds, seed=seed),
    )
