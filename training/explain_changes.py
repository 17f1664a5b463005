"""The part of docs/explanations/resistance.md on changes under treatment; it needs no model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import vl_convert

from xpert_core.cohorts import PairedProfiles, paired_example_path, read_cohort, to_pairs
from xpert_core.explanation.changes import GroupChanges, compare_changes
from xpert_core.explanation.changes_files import change_volcano
from xpert_core.explanation.changes_words import (
    BALANCED,
    LIMITS,
    difference_sentence,
    spread_sentence,
)
from xpert_core.explanation.differential import STATISTICS, Test, welch_test
from xpert_core.explanation.groups import Groups, average_by_patient, groups_by_value
from xpert_core.explanation.resistance import power_of
from xpert_core.explanation.resistance_words import null_sentence
from xpert_core.files import write_bytes_atomic
from xpert_core.genes import load_panel

CHANGES_HEADING = "## Under treatment: pairs before and after"
N_GENES = 10
#: Sign flips of the null that keeps each group's spread.
N_FLIPS = 1_000


def markdown(table: pd.DataFrame) -> str:
    """A table as Markdown."""
    lines = [f"| {' | '.join(map(str, table.columns))} |", f"|{' --- |' * table.shape[1]}"]
    lines += [f"| {' | '.join(map(str, row))} |" for row in table.to_numpy()]
    return "\n".join(lines)


def flipped_counts(
    pairs: PairedProfiles, groups: Groups, found: GroupChanges, test: Test, seed: int = 0
) -> np.ndarray:
    """Genes that pass when the groups differ in spread alone: a wild bootstrap.

    Deviations of patients from the mean of their group, with random signs (Wu 1986): group means
    are equal, while spread and correlation of genes stay what they are.

    Returns
    -------
    ndarray of int64, shape (N_FLIPS, 2)
        Genes with p < 0.05, and genes within the thresholds.
    """
    change = average_by_patient(pairs.x_deg[groups.rows].astype(np.float64), groups.patients)
    in_b = groups.patient_in_b
    for rows in (~in_b, in_b):
        n = int(rows.sum())
        change[rows] = (change[rows] - change[rows].mean(axis=0)) * np.sqrt(n / (n - 1))
    generator = np.random.default_rng(seed)
    counts = []
    for _ in range(N_FLIPS):
        signs = generator.choice([-1.0, 1.0], (len(change), 1))
        one = test(change * signs, in_b)
        passing = found.difference.thresholds.passes(one.difference, one.p)
        counts.append(((one.p < 0.05).sum(), passing.sum()))
    return np.array(counts)


def flip_sentences(pairs: PairedProfiles, groups: Groups, found: GroupChanges) -> tuple[str, str]:
    """What the counts come to, and both tests beside groups that differ in spread alone."""
    change = average_by_patient(pairs.x_deg[groups.rows].astype(np.float64), groups.patients)
    parts, chance = [], {}
    for test, name in STATISTICS.items():
        nominal = int((test(change, groups.patient_in_b).p < 0.05).sum())
        passing = found.passing_by[name]
        counts = flipped_counts(pairs, groups, found, test)
        low, middle, high = np.quantile(counts[:, 0], [0.05, 0.5, 0.95])
        shares = [
            (1 + (counts[:, i] >= seen).sum()) / (1 + N_FLIPS)
            for i, seen in enumerate((nominal, passing))
        ]
        chance[name] = shares[0]
        parts.append(
            f"{name}: {nominal} genes with p < 0.05 where spread alone gives {middle:.0f} "
            f"({low:.0f} to {high:.0f}; as many in {shares[0]:.1%} of cases), and {passing} that "
            f"pass where it gives at least as many in {shares[1]:.1%} of cases"
        )
    unpooled = STATISTICS[welch_test]
    more = "more" if chance[unpooled] <= 0.05 else "no more"
    verdict = (
        f"**As a whole, the changes of the two groups differ {more} than their spread alone "
        "explains; single genes established by the test that does not pool the variances: "
        f"{found.passing_by[unpooled]}.**"
    )
    return verdict, (
        "Groups with equal means and each group's own spread (patients' deviations from the mean "
        f"of their group with random signs, {N_FLIPS:,} times): {'; '.join(parts)}."
    )


def top_table(found: GroupChanges) -> pd.DataFrame:
    """The genes of smallest p."""
    top = found.difference.table.head(N_GENES)
    signed = {
        "B minus A": "log2_ratio", "change in A": "mean_a", "change in B": "mean_b",
    }  # fmt: skip
    return pd.DataFrame(
        {
            "gene": top.index,
            **{name: top[column].map("{:+.2f}".format) for name, column in signed.items()},
            "g (95 %)": [
                f"{g:+.2f} ({low:+.2f} to {high:+.2f})"
                for g, low, high in zip(top["hedges_g"], top["g_low"], top["g_high"], strict=True)
            ],
            f"p ({found.difference.statistic})": top["p"].map("{:.2g}".format),
            "q": top["q"].map("{:.2g}".format),
            "permutation q": top["permutation_q"].map("{:.2g}".format),
            "p against the maximum": top["p_max"].map("{:.2f}".format),
        }
    )


def changes_part(folder: Path) -> str:
    """Compare, draw the volcano into `folder`, and write the part."""
    pairs = to_pairs(read_cohort(paired_example_path()), load_panel())
    groups = groups_by_value(pairs.pairs, "response", ["PRCR"], ["SD", "PD"])
    found = compare_changes(pairs, groups)
    spec = change_volcano(found).properties(width=560).configure(background="white").to_dict()
    picture = vl_convert.vegalite_to_png(spec, scale=1.5)
    write_bytes_atomic(folder / "resistance-changes.png", picture)
    one = found.difference
    verdict, flips = flip_sentences(pairs, groups, found)
    robust = int((one.table["permutation_q"] <= one.thresholds.q).sum())
    parts = [
        CHANGES_HEADING,
        f"{len(pairs)} pairs of the same study ({pairs.name}), measured; no model takes part. "
        f"{groups.sentence} Change is after minus before (log2), differences are B minus A. "
        f"`xpert explain changes {pairs.name} --column response --a PRCR --b SD,PD --out FOLDER` "
        "gives the same numbers.",
        verdict,
        found.sentence,
        BALANCED,
        f"{difference_sentence(found)} By permutation p of Welch's t ({len(one.maxima):,} "
        f"relabellings) {robust} have q at most {one.thresholds.q:g}; against the largest "
        f"statistic of all genes the smallest p is {one.table['p_max'].min():.2f}.",
        spread_sentence(found),
        null_sentence(one, "Difference against permuted labels"),
        flips,
        "![Volcano of the difference of the change](resistance-changes.png)",
        markdown(top_table(found)),
        power_of(groups, one.thresholds, one.n_tested).sentence,
        LIMITS,
    ]
    return "\n\n".join(parts) + "\n"
