"""The page docs/explanations/atoms.md, in words that follow from the numbers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd

from xpert_core.explanation.agreement import PERMUTATIONS
from xpert_core.explanation.atom_report import OWN_SCORES, SCORES, AtomExplanation
from xpert_core.explanation.atoms import cell_stability
from xpert_core.explanation.pharmacophores import marked_atoms, pharmacophores_of
from xpert_core.explanation.statistics import benjamini_hochberg
from xpert_core.prediction import Predictor

ALPHA = 0.05
NO_NULL = "Gradient x input and leave one atom out have no untrained null."
Explained = Mapping[str, AtomExplanation]


def page(
    predictor: Predictor, lines: Explained, patients: Explained, cells: list[str], untrained: int
) -> str:
    """The whole page as Markdown."""
    enriched = {"cell lines": enrichments(lines), "patients": enrichments(patients)}
    parts = [
        _head(predictor, lines, cells, untrained),
        "## What it says\n",
        *_verdicts(lines, enriched, untrained),
        "## Pharmacophores: enrichment and its nulls\n",
        _enrichment_notes(untrained),
        *(_enrichment_table(name, table) for name, table in enriched.items()),
        "## Agreement of the scores\n",
        _agreement_notes(),
        _agreement_table(lines),
        "## Where the attention goes, and how much it depends on the cell\n",
        _share_table(lines),
        _share_notes(),
        "## The drugs\n",
        *(_drug(name, found) for name, found in lines.items()),
    ]
    return "\n".join(parts).rstrip() + "\n"


def enrichments(explained: Explained) -> pd.DataFrame:
    """All tests of all drugs, with Benjamini-Hochberg q over the pharmacophores of each score."""
    parts = [found.enrichment().assign(drug=drug) for drug, found in explained.items()]
    table = pd.concat(parts, ignore_index=True)
    for null in ("atoms", "connected", "elements", "untrained"):
        q = table.groupby("score")[f"p_{null}"].transform(
            lambda p: benjamini_hochberg(p.to_numpy())
        )
        table[f"q_{null}"] = q
    return table


def _head(predictor: Predictor, found: Explained, cells: list[str], untrained: int) -> str:
    first = next(iter(found.values())).attention
    return f"""# Atom attention of six drugs

Written by `python -m training.explain_atoms report`; do not edit. Model `{predictor.name}`
({predictor.digest[:12]}), {first.dose_um:g} uM for {first.time_h:g} h, layer
{", ".join(first.layers)}, mean over heads and all genes. Cell lines: {", ".join(cells)} (baseline
profiles of `assets/data/l1000`). Patients: the first five of the melanoma example. Each score is a
share that sums to one over the atoms of a molecule. Baselines: {untrained} untrained networks (same
configuration, random weights), and the mean attention of each element over 60 other drugs (all
genes, ten cell lines, 1 uM, 24 h). What the scores are: [explanations](../explanations.md).
"""


def _verdicts(
    found: Explained, enriched: Mapping[str, pd.DataFrame], untrained: int
) -> Iterable[str]:
    table = enriched["cell lines"]
    for score in OWN_SCORES:
        mine = table[table["score"] == score]
        hits = {n: int((mine[f"q_{n}"] < ALPHA).sum()) for n in ("atoms", "connected", "elements")}
        yield (
            f"- **{SCORES[score]}** on the known pharmacophores, cell lines: {hits['atoms']} of "
            f"{len(mine)} are enriched at q < {ALPHA:g} against random atoms, {hits['connected']} "
            f"against random connected pieces, {hits['elements']} against atoms of the same "
            f"elements. Median fold {mine['fold'].median():.2f} (1 = no preference)."
        )
    yield _beyond_untrained(table[table["score"] == "attention"], untrained)
    pairs = _pairs(found)
    for second in ("element_alone", "leave_one_out", "gradient", "untrained"):
        mine = pairs[(pairs["first"] == "attention") & (pairs["second"] == second)]
        agreed = int((mine["spearman_p"] < ALPHA).sum())
        yield (
            f"- Attention and {SCORES[second].lower()}: mean Spearman correlation "
            f"{mine['spearman'].mean():+.2f} over the drugs; p < {ALPHA:g} within the molecule in "
            f"{agreed} of {len(mine)}."
        )
    yield ""


def _beyond_untrained(mine: pd.DataFrame, untrained: int) -> str:
    """What the untrained networks can and do tell, corrected over the pharmacophores."""
    smallest, count = 1 / (untrained + 1), len(mine)
    needed = math.ceil(smallest * count / ALPHA)
    text = (
        f"- Beyond untrained networks: attention on {int((mine['q_untrained'] < ALPHA).sum())} of "
        f"{count} pharmacophores at q < {ALPHA:g}"
    )
    if needed > count:
        text += f"; with {untrained} networks (p at least {smallest:.3f}) none could pass"
    elif needed > 1:
        text += (
            f"; with {untrained} networks p is at least {smallest:.3f}, so none could pass unless "
            f"{needed} of {count} did"
        )
    return f"{text}. {NO_NULL}"


def _enrichment_notes(untrained: int) -> str:
    return f"""Fold: mean score of the marked atoms / mean score of all atoms. p is one-sided, from
{PERMUTATIONS:,} draws, the observed one counted. *Atoms*: as many atoms at random. *Connected*:
connected pieces of the same sizes; neighbours score alike, so this null is the fair one.
*Elements*: atoms at random of the same elements; 1 where every atom of these elements is marked.
*Untrained*: the same atoms scored by {untrained} untrained networks; the smallest possible is
{1 / (untrained + 1):.3f}. Bold: q < {ALPHA:g}, Benjamini-Hochberg over the pharmacophores of a
score and null. {NO_NULL}
"""


def _enrichment_table(name: str, table: pd.DataFrame) -> str:
    lines = [
        f"### {name.capitalize()}\n",
        "| drug | pharmacophore | atoms | score | fold | p atoms | p connected | p elements "
        "| p untrained |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in table.to_dict("records"):
        cells = [
            row["drug"],
            row["pharmacophore"],
            f"{row['n_marked']} of {row['n_atoms']}",
            SCORES[str(row["score"])],
            f"{row['fold']:.2f}",
            *(_p(row[f"p_{n}"], row[f"q_{n}"]) for n in ("atoms", "connected", "elements")),
            _p(row["p_untrained"], row["q_untrained"]),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _p(p: float, q: float = 1.0) -> str:
    if np.isnan(p):
        return "-"
    text = f"{p:.3f}" if p >= 0.001 else f"{p:.1e}"
    return f"**{text}**" if q < ALPHA else text


def _pairs(found: Explained) -> pd.DataFrame:
    return pd.concat([f.agreement().assign(drug=d) for d, f in found.items()], ignore_index=True)


def _agreement_notes() -> str:
    return """Spearman correlation of two scores over the atoms of a molecule, in brackets the
two-sided p of dealing the scores at random within the molecule; then atoms that are in the top
fifth of both, and in brackets how many chance would give. Cell lines. The untrained score is the
mean of all untrained networks.
"""


def _agreement_table(found: Explained) -> str:
    pairs = _pairs(found)
    drugs = list(found)
    lines = [
        f"| scores | {' | '.join(drugs)} |",
        f"| --- |{' --- |' * len(drugs)}",
    ]
    for (first, second), rows in pairs.groupby(["first", "second"], sort=False):
        by_drug = {str(row["drug"]): row for row in rows.to_dict("records")}
        cells = []
        for drug in drugs:
            row = by_drug[drug]
            cells.append(
                f"{row['spearman']:+.2f} ({_p(row['spearman_p'])}); {row['overlap']:.1f} "
                f"({row['overlap_expected']:.1f})"
            )
        names = f"{SCORES[str(first)]}, {SCORES[str(second)].lower()}"
        lines.append(f"| {names} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _share_table(found: Explained) -> str:
    kinds = list(next(iter(found.values())).attention.tokens)
    lines = [
        f"| drug | {' | '.join(kinds)} | mean cosine | mean Spearman | mean CV |",
        f"| --- |{' --- |' * (len(kinds) + 3)}",
    ]
    for drug, one in found.items():
        attention, cells = one.attention, cell_stability(one.attention)
        shares = [f"{attention.tokens[kind].mean():.1%}" for kind in kinds]
        agreed = [f"{cells.mean_cosine:.4f}", f"{cells.mean_spearman:.2f}", f"{cells.mean_cv:.3f}"]
        lines.append(f"| {drug} | {' | '.join([*shares, *agreed])} |")
    return "\n".join(lines) + "\n"


def _share_notes() -> str:
    return """Shares of the whole attention by kind of token, mean over cells; then the agreement
of the atom attention of each pair of cells. The cosine is near one for any scores that are nearly
equal; the rank correlation is not. Over three seeds of training
(`training/configs/benchmark-xpert.yaml`) the attention to atoms does not hold:
[stability.md](stability.md), as in Extended Data Fig. 2 of the paper. For one drug:
`xpert explain atoms ... --model A --model B`.
"""


def _drug(name: str, found: AtomExplanation) -> str:
    table = found.table()
    top = ", ".join(f"{r['label']} {r['attention']:.1%}" for _, r in table.head(6).iterrows())
    lines = [
        f"### {name}\n",
        f"![{name}: atoms coloured by attention](atoms-{name}.svg)\n",
        f"Equal share {1 / len(table):.1%}. Highest attention: {top}.\n",
    ]
    for group in pharmacophores_of(found.atoms.drug):
        inside = found.atoms.table["label"][marked_atoms(found.atoms, group)]
        lines.append(
            f"- {group.name}: {group.role} ({group.source}, doi {group.doi}); atoms "
            f"{_listed(list(inside))}."
        )
    return "\n".join(lines) + "\n"


def _listed(labels: Sequence[str]) -> str:
    return " ".join(labels)
