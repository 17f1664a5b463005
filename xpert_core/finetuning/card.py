"""The card of a fine-tuned model in words, the verdict first."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from xpert_core.evaluation.metrics import limits_text

#: Notes of the pairing that count or name genes alone, up to the colon after which names may stand.
_COUNTED = re.compile(
    r"([\d,]+ (?:patients?|samples?|pairs?) (?:has|have|is|are) [^:]*): .*", re.DOTALL
)
_GENES = re.compile(r"[\d,]+ (?:of the [\d,]+ )?landmark genes? .*", re.DOTALL)
_REPEATED = re.compile(r".* has \d+ samples (before|after) treatment[;:].*", re.DOTALL)

_TEMPLATE = """\
---
license: other
tags: [transcriptomics, drug-response, fine-tuned]
---

# {name}

{why}

Research use only. Not for diagnosis or treatment decisions.

## Where it comes from

Fine-tuned from {base[name]} (hash {base[digest]:.12}) on {data[pairs]} pairs of
{data[patients]} patients before and after treatment ({source}; SHA-256 {data[sha256]:.12};
{data[genes]} landmark genes measured). Drugs: {drugs}.

Method: {method}. Best epoch {best_epoch} of {epochs}, chosen on the inner validation patients
(mean PCC there {validation_pcc:.3f}, which is no test); {minutes} minutes.

Taken over from the base model: {transferred}.
New, not in the base model: {new}.
In the base model, not here: {dropped}.

## Scores

{table}

## What was assumed

{notes}

## Limits

{limits}

Licence: {licence}.
"""

_TABLE = """\
Pearson correlation of the predicted and the measured change of a pair, over the genes measured;
mean over pairs with its 95 % bootstrap interval over patients. Every number is of patients that the
model was not fitted on and that chose nothing ({folds} outer folds by patient). Centred: after the
mean change of the other patients is taken from both.

| patients | read-out | model | PCC | 95 % interval | centred PCC | pairs | patients |
| --- | --- | --- | --- | --- | --- | --- | --- |
{lines}"""


def card_text(name: str, card: dict[str, Any]) -> str:
    """The card as Markdown."""
    method = card["method"]
    kind = (
        f"adapters of rank {method['rank']} on {len(method['layers'])} weights, heads and norms "
        f"({method['trained']:,} trained numbers, {method['share']:.1%} of the model's), merged "
        "into the weights"
        if method["method"] == "adapters"
        else f"all {method['trained']:,} parameters"
    )
    moved = card["transfer"]
    return _TEMPLATE.format(
        name=name,
        why=card["comparison"]["why"],
        method=kind,
        source=", ".join(card["sources"]),
        drugs=", ".join(f"{drug} ({n} pairs)" for drug, n in card["data"]["drugs"].items()),
        table=_table(card["comparison"]),
        limits=_bullets(card["limits"]),
        notes=_bullets(card["notes"]),
        **{k: "; ".join(moved[k]) or "nothing" for k in ("transferred", "new", "dropped")},
        **{
            k: card[k]
            for k in (
                *("base", "data", "best_epoch", "epochs", "validation_pcc", "minutes"),
                "licence",
            )
        },
    )


def without_ids(notes: Sequence[str]) -> list[str]:
    """Notes of a paired cohort as a card may hold them: a model is handed on, ids are not.

    Only the kinds of notes known to name no patient or sample, once their lists are cut, are kept.
    """
    found, repeated = [], {"before": 0, "after": 0}
    for note in notes:
        if counted := _COUNTED.fullmatch(note):
            found.append(f"{counted[1]}.")
        elif _GENES.fullmatch(note):
            found.append(note)
        elif several := _REPEATED.fullmatch(note):
            repeated[several[1]] += 1
    more = {"before": "one of them is used", "after": "each makes a pair"}
    return found + [
        f"{n} {'patient has' if n == 1 else 'patients have'} several samples {side} treatment; "
        f"{more[side]}."
        for side, n in repeated.items()
        if n
    ]


def _table(comparison: dict[str, Any]) -> str:
    if not comparison["scores"]:
        return "None: no comparison was made."
    lines = "\n".join(
        f"| {e['part']} | {e['readout']} | {e['model']} | {e['pcc']:.3f} | "
        f"{limits_text(e['low'], e['high'])} | {e['centred']:.3f} | {e['rows']} | {e['patients']} |"
        for e in comparison["scores"]
    )
    return _TABLE.format(folds=comparison["folds"], lines=lines)


def _bullets(texts: list[str]) -> str:
    return "\n".join(f"- {text}" for text in texts) or "- nothing"
