"""Pairs of models that differ in one thing: the drug input, or a part of XPert."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from xpert_core.benchmark.config import XPERT, BenchmarkConfig, ModelSpec
from xpert_core.benchmark.markdown import Section, p_value, place_of, table
from xpert_core.benchmark.models import OF_THE_BENCHMARK, recipe_of
from xpert_core.benchmark.results import Results, matched_rows
from xpert_core.benchmark.tables import difference_table, unit_words, with_interval
from xpert_core.learning.folds import SCENARIOS
from xpert_core.model.config import ModelConfig

PARTS = {
    "model.single_branch": "single branch",
    "model.use_graph": "graph",
    "graph": "graph vectors",
    "targets": "targets of held-out drugs",
    "model.use_atoms": "atoms",
    "model.use_molecule": "molecule",
    "model.use_ppi": "PPI vectors of genes",
    "ppi": "PPI vectors of genes",
    "bins": "value encoding",
    "model.conditions": "dose and time",
    "model.raw_values": "raw values beside bins",
    "model.direction_head": "direction head",
    "residual": "residual on the stack",
    "snapshots": "snapshots averaged",
}
"""What a table calls a setting; loss terms and all others go by their own names."""


def settings_of(spec: ModelSpec, config: BenchmarkConfig) -> dict[str, Any]:
    """Every setting a model was made with, nested ones as ``model.use_graph``."""
    if spec.kind != XPERT:
        return _flat(spec.settings)
    recipe = recipe_of(spec, config.base)
    # With the defaults, so that a switch given only once is compared with what it was.
    own = {k: spec.settings.get(k, default) for k, default in OF_THE_BENCHMARK.items()}
    return _flat({**recipe, **own, "model": {**ModelConfig().to_dict(), **recipe["model"]}})


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            found |= _flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found


def changed(one: dict[str, Any], other: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Settings in which `other` differs from `one`; the name of a recipe is none."""
    keys = sorted((one.keys() | other.keys()) - {"name", "data"})
    return {k: (one.get(k), other.get(k)) for k in keys if one.get(k) != other.get(k)}


def drug_pairs(config: BenchmarkConfig) -> list[tuple[ModelSpec, ModelSpec]]:
    """Each model whose drugs are zeroed or shuffled, after the same model with true drugs.

    Such a model has no place of the drug in the graph either. Where the true one was run with
    and without it, it is compared with the latter.
    """
    pairs = []
    for variant in config.models:
        if variant.drug == "true":
            continue
        own = settings_of(variant, config)
        same = [
            (spec, values)
            for spec in config.models
            if (spec.drug, spec.kind) == ("true", variant.kind)
            for values in [settings_of(spec, config)]
            if not set(changed(values, own)) - {"graph"}
        ]
        if same:
            pairs.append((min(same, key=lambda pair: bool(pair[1].get("graph")))[0], variant))
    return pairs


def ablations(config: BenchmarkConfig, model: str) -> list[tuple[str, str, str]]:
    """Forms of XPert with other settings than the one they are compared with.

    Returns
    -------
    list of (str, str, str)
        Name, name of the other (the main model unless it says ``against``), and what differs.
    """
    named = {m.name: m for m in config.models}
    if named[model].kind != XPERT:
        return []
    found = []
    for spec in config.models:
        base = named[spec.against or model]
        if spec.kind != XPERT or spec.drug != base.drug or spec.name == base.name:
            continue
        differs = changed(settings_of(base, config), settings_of(spec, config))
        words = [
            f"{PARTS.get(key, key)}: {_word(key, before)} to {_word(key, after)}"
            for key, (before, after) in differs.items()
        ]
        if words:
            found.append((spec.name, base.name, "; ".join(words)))
    return found


def _word(key: str, value: Any) -> str:
    if value is None:
        return "default"
    if key in ("graph", "ppi") and value:
        return "each fold's own" if "{" in value else Path(value).name
    return {"": "none", "True": "on", "False": "off"}.get(str(value), str(value))


def drug_section(results: Results) -> Section | None:
    """Whether the models use the drug; None where no variant was run."""
    pairs = drug_pairs(results.config)
    if not pairs:
        return None
    known = {str(f.facts["model"]) for f in results.finished}
    pairs = [pair for pair in pairs if {spec.name for spec in pair} <= known]
    # Of each pair: differences of the PCC and of the centred PCC, everywhere.
    apart = [
        [
            difference_table(
                matched_rows(results.finished, one.name, other.name, results.scaffold, metric),
                one.name,
            )
            for metric in ("pcc", "pcc_centred")
        ]
        for one, other in pairs
    ]
    text = [_DRUG_NOTE]
    for scenario, readout, _ in results.places():
        lines = []
        for (true, variant), found in zip(pairs, apart, strict=True):
            pcc, inner = (results.at(one, scenario, readout) for one in found)
            if len(pcc) and len(inner):
                lines.append([f"{true.name} minus {variant.name}",
                              _drugs_of(variant.drug, scenario), str(pcc["folds"].iloc[0]),
                              _apart(pcc), _apart(inner),
                              _judged(pcc, variant.drug, scenario)])  # fmt: skip
        if lines:
            head = ["pair", "drugs of the second", "folds", "PCC", "PCC, cell-centred", "by PCC"]
            text += [place_of(scenario, readout), table(head, lines)]
    return Section("Does the drug matter?", "\n\n".join(text))


def _apart(differences: pd.DataFrame) -> str:
    return _stated(differences.iloc[0])


def _stated(d: Any) -> str:
    return with_interval(d["difference"], d["low"], d["high"], d["unit"], d["groups"], sign=True)


def _told_apart(drug: str, scenario: str) -> bool:
    """Whether shuffled drugs still tell a model which drug it is: it trained on the same drugs."""
    return drug == "shuffled" and SCENARIOS[scenario].grouping not in ("drug", "scaffold")


def _drugs_of(drug: str, scenario: str) -> str:
    return EXCHANGED if _told_apart(drug, scenario) else drug


def _judged(differences: pd.DataFrame, drug: str, scenario: str) -> str:
    d = differences.iloc[0]
    what = "structures" if _told_apart(drug, scenario) else "drug"
    if pd.isna(d["low"]):
        return f"cannot be said ({unit_words(d['unit'], int(d['groups']))})"
    if d["low"] > 0:
        return f"higher with the true {what}"
    if d["high"] < 0:
        return f"LOWER with the true {what}"
    if what == "structures":
        return "NO difference seen: the right structure adds nothing to telling drugs apart"
    return "NO difference seen"


EXCHANGED = "structures exchanged (each drug can still be told apart)"
"""Of shuffled drugs that the model was trained on: it can learn each by its wrong structure."""


def ablation_section(results: Results) -> Section | None:
    """What each part of XPert brings; None where no variant was run."""
    variants = ablations(results.config, results.model)
    if not variants:
        return None
    apart = {
        name: difference_table(
            matched_rows(results.finished, base, name, results.scaffold), base
        ).set_index("model")
        for name, base, _ in variants
    }
    text = [_ABLATION_NOTE]
    for scenario, readout, _ in results.places():
        lines = []
        for name, base, differs in variants:
            near = results.at(apart[name], scenario, readout)
            if name in near.index:
                d: Any = near.loc[name]
                p = f"{p_value(d['p'])} {d['stars']}" if pd.notna(d["p"]) else ""
                lines.append([name, _stated(d), p, str(d["folds"]), base, differs])
        if lines:
            # The number first: what was changed is long, and would push it out of sight.
            head = ["variant", "the other minus it", "paired t over folds", "folds", "the other",
                    "changed"]  # fmt: skip
            text += [place_of(scenario, readout), table(head, lines)]
    return Section("What the parts of XPert bring", "\n\n".join(text))


_DRUG_NOTE = """\
The same model with the drugs as they are, minus with all drugs' structures taken away (zeroed) or
dealt out anew among the drugs (shuffled), in training too; on the same rows, and on the seeds that
both have. Where the drugs are
known, a shuffled drug still has a structure of its own, the same in training and test: such a pair
says what the right structure adds, not whether the drug matters. With its structure a
drug of XPert loses its place in the graph. Cell-centred: after the mean change of the cell line
(where it is new: of all training rows), which needs no drug, is taken from both."""
_ABLATION_NOTE = """\
PCC of the form of XPert that a variant is compared with (the main one unless its line in the
configuration names another), minus that of the variant, on the same rows and seeds: above 0 where
the change costs something. Intervals as in the first tables."""
