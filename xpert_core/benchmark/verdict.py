"""What a benchmark says first: what the main model beats, and its scores at a glance."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any

import pandas as pd

from xpert_core.baselines import registry
from xpert_core.benchmark.config import BenchmarkConfig
from xpert_core.benchmark.costs import budget_words
from xpert_core.benchmark.markdown import Section, place_of, table
from xpert_core.benchmark.results import Results
from xpert_core.benchmark.tables import FEW_GROUPS, unit_of, unit_words, with_interval

REFERENCES = ("mean-cell", "mean-control", "nearest-drugs", "ridge", "mlp-no-drug")
"""Kinds of models that XPert must beat to be worth anything."""


def verdict_of(results: Results) -> str:
    """The verdict on results, their means over seeds included."""
    return verdict(
        results.intervals,
        results.differences,
        results.model,
        results.config,
        own=results.own,
        of_means=results.of_means,
        budgets=budget_words(results.config, results.finished),
    )


def verdict(
    intervals: pd.DataFrame,
    differences: pd.DataFrame,
    model: str,
    config: BenchmarkConfig | None = None,
    *,
    own: Collection[str] = (),
    of_means: pd.DataFrame | None = None,
    budgets: Mapping[tuple[str, str], str] | None = None,
) -> str:
    """What is beaten and what is not: a Markdown list, an item for each scenario and read-out.

    Parameters
    ----------
    intervals, differences : DataFrame
    model : str
        The model whose differences these are.
    config : BenchmarkConfig, optional
        With it, the references are named first, and those that were not asked are named too.
    own : collection of str
        Other forms of the model: it is not said whether these are beaten.
    of_means : DataFrame, optional
        From `Results`: whether the mean over seeds beats the references is said by itself.
    budgets : mapping of (str, str) to str, optional
        From `costs.budget_words`: stands beside the name of a model that is beaten.
    """
    kinds = {m.name: m.kind for m in config.models if m.drug == "true"} if config else {}
    items = []
    for (scenario, readout), place in intervals.groupby(["scenario", "readout"], sort=False):
        main = place[place["model"] == model]
        if main.empty:
            continue
        near = _here(differences, scenario, readout)
        if len(near):
            near = near[~near["model"].isin(list(own))]
            # Without a rival left, pandas would give the new column lines of its own.
            order = [kinds.get(name) not in REFERENCES for name in near["model"]]
            near = near.assign(order=order).sort_values("order", kind="stable")
        score = main.iloc[0]
        said = {m: words for (s, m), words in (budgets or {}).items() if s == scenario}
        words = _beaten(near, score.get("folds", ""), said) or ["stands alone"]
        if 1 < score.get("groups", FEW_GROUPS) < FEW_GROUPS:
            words.append(f"only {unit_words(score['unit'], score['groups'])}")
        if config is not None:
            words += _not_asked({kinds.get(name, "") for name in place["model"]}, str(scenario))
        heading = place_of(str(scenario), str(readout))
        sentences = [f"{heading}: {model} (PCC {score_words(score)}) {'; '.join(words)}."]
        if of_means is not None and len(of_means):
            near = _here(of_means, scenario, readout)
            near = near[near["model"].isin([m for m in kinds if kinds[m] in REFERENCES])]
            scores = place.set_index("model")
            for key, apart in near.groupby("mean", sort=False):
                name = str(key)
                words = _beaten(apart, score["folds"], said)
                sentences.append(
                    f"{name} (PCC {score_words(scores.loc[name])}) {'; '.join(words)}."
                )
        items.append("- " + " ".join(sentences))
    return "\n".join(items) or f"{model} has no score yet."


def _here(table: pd.DataFrame, scenario: Any, readout: Any) -> pd.DataFrame:
    if not len(table):
        return table
    return table[(table["scenario"] == scenario) & (table["readout"] == readout)]


def score_words(line: Any) -> str:
    """PCC of a line of `tables.interval_table`, with what is too few for an interval."""
    groups = int(line.get("groups", FEW_GROUPS))
    return with_interval(line["mean"], line["low"], line["high"], line.get("unit", ""), groups)


def _beaten(near: pd.DataFrame, folds: str, budgets: Mapping[str, str]) -> list[str]:
    """What was beaten, with its budget; models compared on other than these folds say on which."""
    found: dict[str, list[str]] = {}
    for _, line in near.iterrows():
        if pd.isna(line["low"]):
            few = unit_words(line["unit"], int(line["groups"]))
            word = f"cannot be said ({few}) to beat or not"
        elif line["high"] < 0:
            word = "does NOT beat"
        else:
            word = "beats" if line["low"] > 0 else "cannot be told from"
        on = line.get("folds", folds)
        aside = [] if on == folds else [f"on fold {on} alone"]
        aside += [budgets[line["model"]]] if word == "beats" and line["model"] in budgets else []
        name = f"{line['model']} ({'; '.join(aside)})" if aside else line["model"]
        found.setdefault(word, []).append(name)
    order = sorted(found, key=lambda word: _WORDS.index(word) if word in _WORDS else len(_WORDS))
    return [f"{word} {', '.join(found[word])}" for word in order]


_WORDS = ("does NOT beat", "cannot be told from", "beats")


def _not_asked(kinds: set[str], scenario: str) -> list[str]:
    """References without a score here: not run, or unable to answer."""
    missing = [kind for kind in REFERENCES if kind not in kinds]
    known = registry.available()
    unable = [kind for kind in missing if not known[kind].applies(scenario)]
    left = [kind for kind in missing if kind not in unable]
    pairs = (("not run: {}", left), ("{} cannot answer here", unable))
    return [words.format(", ".join(names)) for words, names in pairs if names]


def glance_section(results: Results) -> Section:
    """PCC of the main model, of its references and of the best other model, a line a place."""
    first = {m.kind: m.name for m in reversed(results.config.models) if m.drug == "true"}
    named = [first[kind] for kind in REFERENCES if first.get(kind, results.model) != results.model]
    lines = []
    for scenario, readout, _ in results.places():
        best = results.best_other(scenario, readout)
        score = _marked(results, scenario, readout)
        cells = [score.get(name, "-") for name in (results.model, *named)]
        found = f"{score[best]} ({best})" if best else "-"
        lines.append([_with_few_groups(results, scenario, readout), *cells, found])
    text = table(["", results.model, *named, "best of the others"], lines)
    legend = f"{_LEGEND.format(model=results.model)}\n\n{_in_words(results)}"
    return Section("At a glance", f"{text}\n\n{legend}".rstrip())


def _in_words(results: Results) -> str:
    """What the names of the baselines stand for, where they do not say so."""
    known = registry.available()
    words = {
        m.name: known[m.kind].label
        for m in results.config.models
        if m.drug == "true" and m.kind in known and m.name != known[m.kind].label
    }
    return "\n".join(f"- {name}: {label}" for name, label in words.items())


def _marked(results: Results, scenario: str, readout: str) -> dict[str, str]:
    """PCC of each model on the main model's folds, marked by what its difference says."""
    near = _here(results.differences, scenario, readout)
    marks = {line["model"]: _mark(line["low"], line["high"]) for _, line in near.iterrows()}
    # Not the mean of the intervals: those are of all folds of a model, which may be others.
    means = results.shared(scenario, readout).groupby("model", sort=False)["value"].mean()
    return {str(name): f"{mean:.3f}{marks.get(str(name), '')}" for name, mean in means.items()}


def _mark(low: float, high: float) -> str:
    """Sign of an interval of the main model minus another; "" without an interval."""
    if math.isnan(low):
        return ""
    return " ▲" if high < 0 else " ▼" if low > 0 else " ≈"


def _with_few_groups(results: Results, scenario: str, readout: str) -> str:
    """A place, and how many drugs or cell lines it stands on where these are too few."""
    place = f"{scenario}, {readout}"
    unit = unit_of(scenario)
    groups = int(results.shared(scenario, readout)[unit].nunique())
    return f"{place} (only {unit_words(unit, groups)})" if groups < FEW_GROUPS else place


_LEGEND = """\
PCC of x_deg on the folds of {model}. ▲ is better than {model} and ▼ worse: the 95 % interval of the
difference has no zero in it. ≈ cannot be told from it. Without a sign there is no interval. - has
no answer here, or has not run on all folds of {model}. No correction for the number of models; all
of them, with intervals and seeds, are in the sections below."""
