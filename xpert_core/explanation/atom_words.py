"""What an atom explanation shows and does not show, in sentences that follow from its numbers."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from typing import Any

from xpert_core.explanation.atom_report import AtomExplanation

#: Below this a p-value is called small.
ALPHA = 0.05

DOES_NOT_SHOW = (
    "Attention says where the network looks, not which atoms bind the target or cause the response."
)


def reading(explanation: AtomExplanation, layer: str | None = None) -> list[str]:
    """Sentences on where the attention goes and how it compares with its nulls.

    Parameters
    ----------
    explanation : AtomExplanation
    layer : str, optional
        Layer whose attention is read; None = the mean.

    Returns
    -------
    list of str
        Plain sentences, the most general first.
    """
    attention = explanation.attention
    found = [
        f"{attention.on_atoms:.0%} of the attention goes to the {len(explanation.atoms)} atoms; "
        "the rest goes to tokens of the treatment, of the drug's biology and of the whole molecule."
    ]
    if len(explanation.atoms) > 2:
        pairs = explanation.agreement(layer)
        rows = pairs.set_index(["first", "second"]).to_dict("index")
        found += [
            _by_element(rows["attention", "element_alone"]),
            _by_dependence(
                rows["attention", "leave_one_out"], rows["leave_one_out", "element_alone"]
            ),
            _by_training(rows["attention", "untrained"]),
        ]
    tests = explanation.enrichment(layer)
    if len(tests):
        own = tests[tests["score"] == "attention"].to_dict("records")
        found += [_enriched(test, len(own)) for test in own]
    return [*found, DOES_NOT_SHOW]


def p_text(value: float) -> str:
    """A p-value as people read it: ``"p < 0.001"``, ``"p = 0.24"``."""
    return "p < 0.001" if value < 0.001 else f"p = {value:.2g}"


def _numbers(row: Mapping[Hashable, Any]) -> str:
    return f"Spearman {row['spearman']:+.2f}, {p_text(row['spearman_p'])} within this molecule"


def _by_element(row: Mapping[Hashable, Any]) -> str:
    if math.isnan(row["spearman"]):
        return "All atoms are of one element, so attention by element alone cannot be compared."
    if row["spearman_p"] < ALPHA and row["spearman"] > 0:
        return (
            f"It follows the elements ({_numbers(row)}): much of this picture would look the same "
            "for any molecule with these elements."
        )
    return f"It does not simply follow the elements ({_numbers(row)})."


def _by_dependence(row: Mapping[Hashable, Any], by_element: Mapping[Hashable, Any]) -> str:
    if math.isnan(row["spearman"]):
        return "This network has no padding mask: no atom can be left out to compare with."
    more = row["spearman_p"] < ALPHA and row["spearman"] > 0
    text = (
        "Atoms attended to more "
        f"{'tend' if more else 'do not clearly tend'} to matter more to the prediction "
        f"({_numbers(row)}, against leaving one atom out)"
    )
    if math.isnan(by_element["spearman"]):
        return f"{text}."
    return (
        f"{text}; elements alone agree with leaving one atom out at Spearman "
        f"{by_element['spearman']:+.2f}."
    )


def _by_training(row: Mapping[Hashable, Any]) -> str:
    alike = row["spearman_p"] < ALPHA and row["spearman"] > 0
    word = "alike" if alike else "otherwise"
    return f"Untrained networks rank the atoms {word} ({_numbers(row)})."


def _enriched(test: Mapping[Hashable, Any], count: int = 1) -> str:
    fair = max(test["p_connected"], test["p_elements"])
    numbers = (
        f"{test['fold']:.2f} times the mean atom; {p_text(test['p_connected'])} against connected "
        f"pieces of this size, {p_text(test['p_elements'])} against the same elements"
    )
    if count > 1:
        numbers += f"; not corrected for {count} pharmacophores"
    if fair < ALPHA:
        return f"The known pharmacophore {test['pharmacophore']} receives more ({numbers})."
    return (
        f"The known pharmacophore {test['pharmacophore']} receives no more than chance ({numbers})."
    )
