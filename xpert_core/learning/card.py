"""The model card: scores beside their baselines and intervals, in numbers and in words."""

from __future__ import annotations

from typing import Any

import numpy as np

from xpert_core.evaluation.metrics import bootstrap_mean, limits_text, pearson_rows
from xpert_core.learning.splits import Split
from xpert_core.tokens.dataset import READOUTS, TrainingData

BASELINES = ("mean-cell", "mean-control", "ridge")
MODEL = "XPert"
#: The same network, told the known targets of the held-out drugs.
INFORMED = "XPert, told the drug's known targets"


KNOWLEDGE = {
    "strict": '"XPert" sees a held-out drug as nobody studied it, by structure alone. "Told the '
    "drug's known targets\" is what users get for library drugs; neither the graph encoder nor "
    "this network was trained on those target edges.",
    "informed": "The known targets of held-out drugs were known to the graph encoder and to this "
    "network: these scores are not those of an unstudied drug.",
}


def score_card(
    data: TrainingData, split: Split, x_deg: dict[str, dict[str, np.ndarray]]
) -> list[dict[str, Any]]:
    """Mean x_deg PCC of the model and the baselines per part and read-out.

    Parameters
    ----------
    data : TrainingData
    split : Split
    x_deg : dict
        Predictions of the ``valid`` and ``test`` rows by name of the model.

    Returns
    -------
    list of dict
        ``part``, ``readout``, ``model``, ``pcc``, ``low``, ``high`` (95 % bootstrap over drugs),
        ``rows``, ``drugs``.
    """
    from xpert_core.baselines import registry

    labels = registry.available()
    baselines = {labels[name].label: registry.create(name) for name in BASELINES}
    for baseline in baselines.values():
        baseline.fit(data, split.train, split.valid)
    entries = []
    for part, own in x_deg.items():
        rows = getattr(split, part)
        predictions = {**own, **{n: b.predict(data, rows) for n, b in baselines.items()}}
        for readout, label in enumerate(READOUTS):
            chosen = data.readout[rows] == readout
            for name, predicted in predictions.items():
                if not chosen.any():
                    continue
                pcc = pearson_rows(predicted[chosen], data.x_deg[rows][chosen])
                result = bootstrap_mean(pcc, data.drug_index[rows][chosen])
                entries.append(
                    {
                        "part": part,
                        "readout": label,
                        "model": name,
                        "pcc": round(result.mean, 4),
                        "low": round(result.low, 4),
                        "high": round(result.high, 4),
                        "rows": result.n_rows,
                        "drugs": result.n_groups,
                    }
                )
    return entries


def card_text(name: str, card: dict[str, Any]) -> str:
    """The card as Markdown, the verdict first."""
    table = "\n".join(
        f"| {e['part']} | {e['readout']} | {e['model']} | {e['pcc']:.3f} | "
        f"{limits_text(e['low'], e['high'])} | {e['rows']} | {e['drugs']} |"
        for e in card["scores"]
    )
    return _TEMPLATE.format(
        name=name,
        verdict=verdict(card["scores"]),
        table=table,
        knowledge=KNOWLEDGE[card["config"]["targets"]],
        sources=", ".join(card["sources"]),
        **{k: v for k, v in card.items() if k not in ("scores", "sources")},
    )


def verdict(scores: list[dict[str, Any]]) -> str:
    """One sentence on which baselines the model beats on the test drugs."""
    parts = []
    for readout in READOUTS:
        found = {
            e["model"]: e["pcc"] for e in scores if e["part"] == "test" and e["readout"] == readout
        }
        if MODEL not in found:
            continue
        own = found.pop(MODEL)
        found.pop(INFORMED, None)
        beaten = [n for n, v in found.items() if own > v]
        lost = [n for n, v in found.items() if own <= v]
        words = f"{readout}: PCC {own:.3f}"
        if beaten:
            words += ", above " + " and ".join(f"{n} ({found[n]:.3f})" for n in beaten)
        if lost:
            words += ", not above " + " and ".join(f"{n} ({found[n]:.3f})" for n in lost)
        parts.append(words)
    return "On new drugs in known cell lines, " + "; ".join(parts) + "."


_TEMPLATE = """\
---
license: mit
tags: [transcriptomics, L1000, drug-response]
---

# {name}

{verdict}

Research use only. Not for diagnosis or treatment decisions.

## Intended use

Predicts the change of the 978 L1000 landmark genes (x_deg, log2 on the L1000 assay) after a drug at
a dose and a time, from a pretreatment profile. For hypotheses and ranking, by people who can check
them.

## Scores

Pearson correlation of x_deg per row over 978 genes, mean over rows, 95 % interval by bootstrap over
drugs. Drugs were held out by structure and name. {knowledge} The number of epochs, the kind of
bin edges and the ridge penalty were chosen on the validation drugs; only the test drugs are
untouched by any choice.

| drugs | read-out | model | PCC | 95 % interval | rows | drugs |
| --- | --- | --- | --- | --- | --- | --- |
{table}

## Data

Real L1000 measurements ({sources}; see assets/DATA_LICENSES.md): {rows[train]} training rows of
{drugs[train]} drugs, {rows[valid]} validation rows of {drugs[valid]} drugs, {rows[test]} test rows
of {drugs[test]} drugs; {profiles} control profiles of {cell_lines} cell lines. {rows[dropped]} rows
were left out because their compound has no published structure and might be a held-out drug.

## Training

{parameters:,} trained parameters; best epoch {best_epoch} of {epochs}; {minutes} minutes on
{config[threads]} CPU thread(s); seed {config[seed]}, split seed {config[split_seed]}.

## Limits

Trained on thousands, not hundreds of thousands, of profiles. The log2 read-out was learned almost
only from two cell lines (A375 melanoma at 24 h, HT115 colon at 6 h); no patient was in the training
data. Cell lines are not tumours: no stroma, no immune cells, no pharmacokinetics. Attention by
itself is not evidence of mechanism.

Licence: MIT (code and weights). Contact: the project's issue tracker.
"""
