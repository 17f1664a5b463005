"""Scores of several models side by side, as their cards give them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from xpert_core.store.registered import RegisteredModel

#: What was scored, on what.
KEYS = ["part", "readout", "scored"]
VALUES = ["pcc", "low", "high", "rows", "drugs"]


def card_scores(card: Mapping[str, Any]) -> pd.DataFrame:
    """Lines of a card's scores: those of its test and of its comparison.

    Returns
    -------
    DataFrame
        Columns ``part``, ``readout``, ``scored`` (the model itself or a baseline), ``pcc``,
        ``low``, ``high`` (95 % interval), ``rows``, ``drugs``. Empty without scores.
    """
    compared = card.get("comparison")
    more = compared.get("scores", []) if isinstance(compared, Mapping) else []
    lines = [
        {**line, "scored": line.get("model", "")}
        for line in (*card.get("scores", []), *more)
        if isinstance(line, Mapping) and "pcc" in line
    ]
    table = pd.DataFrame(lines).reindex(columns=[*KEYS, *VALUES])
    return table.astype(dict.fromkeys(VALUES, float))


def scores_side_by_side(models: Sequence[RegisteredModel]) -> pd.DataFrame:
    """One line a part, read-out and scored model; the columns of each model beside each other.

    Numbers of two models compare only where they were scored on the same rows: their counts stand
    beside the scores.

    Returns
    -------
    DataFrame
        Index ``part``, ``readout``, ``scored``; columns (name of the model, ``pcc``, ``low``,
        ``high``, ``rows``, ``drugs``), NaN where a card has no such line.
    """
    names = [model.name for model in models]
    labels = [
        name if names.count(name) == 1 else f"{name} ({model.id})"
        for name, model in zip(names, models, strict=True)
    ]
    tables = {
        label: card_scores(model.card).drop_duplicates(KEYS).set_index(KEYS)
        for label, model in zip(labels, models, strict=True)
    }
    joined = pd.concat(tables, axis=1, sort=False)
    joined.index.names = KEYS
    return joined


def same_test(models: Sequence[RegisteredModel]) -> bool:
    """Whether the cards name one data set, one split and as many rows: scores then compare."""
    told = [_test(model.card) for model in models]
    return None not in told and all(other == told[0] for other in told)


def _test(card: Mapping[str, Any]) -> tuple[Any, ...] | None:
    """Data, split and read-out of a card's scores; None where the card does not say them."""
    config, rows = card.get("config"), card.get("rows")
    if not isinstance(config, Mapping) or not isinstance(rows, Mapping):
        return None
    split = tuple(config.get(name) for name in ("split_seed", "valid", "test", "split_file"))
    data, compared = card.get("data"), card.get("comparison")
    cohort = data.get("rows_sha256") if isinstance(data, Mapping) else None
    folds, readouts = None, None
    if isinstance(compared, Mapping):
        folds = compared.get("folds")
        lines = [line for line in compared.get("scores", ()) if isinstance(line, Mapping)]
        readouts = sorted({str(line.get("readout")) for line in lines})
    return (str(card.get("sources")), cohort, split, rows.get("valid"), rows.get("test"), folds,
            str(readouts))  # fmt: skip
