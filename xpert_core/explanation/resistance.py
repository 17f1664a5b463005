"""Resistance genes: what the network attends to differently in two groups of patients.

Differential attention stands beside differential expression of the same patients, permuted labels
and untrained networks. What an untrained network shows as well is the input seen through an
architecture, and nothing that was learned.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from xpert_core.cohorts.records import Profiles
from xpert_core.errors import ExplanationError
from xpert_core.explanation.attention import KINDS, base_layer_names
from xpert_core.explanation.differential import (
    N_PERMUTATIONS,
    BalancedCount,
    Differential,
    Overlap,
    Test,
    Thresholds,
    balanced_count,
    compare_groups,
    moderated_test,
    overlap,
    welch_test,
)
from xpert_core.explanation.enrichment import over_representation, ranked_enrichment
from xpert_core.explanation.genes import MEANING, GeneAttention, gene_attention
from xpert_core.explanation.genesets import COLLECTIONS, GeneSets, load_sets
from xpert_core.explanation.groups import Groups, average_by_patient
from xpert_core.explanation.networks import untrained
from xpert_core.explanation.progress import Steps
from xpert_core.explanation.statistics import (
    NOMINAL,
    REFINED,
    Relabellings,
    alpha_of_q,
    detectable_effect,
    relabellings,
)
from xpert_core.prediction.predictor import Cancelled, Predictor, Progress

ATTENTION, EXPRESSION = "attention", "expression"
#: Genes with a true difference that the sentence on power assumes, beside a single one.
ASSUMED_TRUE = 30


@dataclass(frozen=True)
class Options:
    """How the two groups are compared.

    Attributes
    ----------
    kind : str
        One of `xpert_core.explanation.attention.KINDS`.
    layer : str, optional
        Layer of the base branch; None = mean over layers.
    thresholds : Thresholds
    collections : tuple of str
        Gene-set collections.
    permutations : int
    refined : tuple of int
        Relabellings of genes in the far tail, in steps; see `permutation_test`.
    seed : int
        Of permutations and draws.
    """

    kind: str = "received"
    layer: str | None = None
    thresholds: Thresholds = field(default_factory=Thresholds)
    collections: tuple[str, ...] = tuple(COLLECTIONS)
    permutations: int = N_PERMUTATIONS
    refined: tuple[int, ...] = REFINED
    seed: int = 0

    def check(self, predictor: Predictor) -> None:
        """Refuse a kind or layer the network does not have, before any work is done.

        Raises
        ------
        ExplanationError
        """
        layers = base_layer_names(predictor.model)
        if self.kind not in KINDS:
            raise ExplanationError(
                f"There is no attention of kind '{self.kind}'.",
                fix=f"Use one of {', '.join(KINDS)}.",
            )
        if self.layer is not None and (self.kind == "rollout" or self.layer not in layers):
            allowed = "none: a rollout is over all of them" if self.kind == "rollout" else ""
            raise ExplanationError(
                f"The {self.kind} attention of this model has no layer '{self.layer}'.",
                fix=f"Layers: {allowed or ', '.join(layers)}.",
            )


@dataclass(frozen=True)
class Material:
    """What the comparison needs of the networks, for the samples of both groups.

    Attributes
    ----------
    trained : GeneAttention
    untrained : tuple of GeneAttention
        Of networks with random weights, at least one.
    expression : ndarray of float32, shape (n_samples, n_genes)
        log2 before treatment; NaN = not measured.
    measured : ndarray of bool, shape (n_genes,)
        Genes that the cohort has.
    """

    trained: GeneAttention
    untrained: tuple[GeneAttention, ...]
    expression: np.ndarray
    measured: np.ndarray


@dataclass(frozen=True)
class Power:
    """What could have been seen at these group sizes.

    Attributes
    ----------
    n_a, n_b : int
    single : float
        Standardised difference found with 80 % chance by one test at p 0.05.
    first : float
        The same for a gene that must pass alone among all genes at the chosen q.
    among : float
        The same for one of `ASSUMED_TRUE` genes that differ equally.
    """

    n_a: int
    n_b: int
    single: float
    first: float
    among: float

    @property
    def sentence(self) -> str:
        """In words."""
        return (
            f"With {self.n_a} and {self.n_b} patients, a difference is found with 80 % chance only "
            f"if it is at least {self.single:.2f} standard deviations (one gene, p 0.05), "
            f"{self.among:.2f} (each of {ASSUMED_TRUE} differing genes, after correction for all "
            f"genes) or {self.first:.2f} (a single differing gene, after correction). What is "
            "smaller is most likely missed: no gene passing is no proof of no difference."
        )


@dataclass(frozen=True)
class Resistance:
    """The comparison of two groups, with its nulls.

    Attributes
    ----------
    groups : Groups
    options : Options
    attention, expression : Differential
        Over the genes of the panel; log2 ratios are B over A.
    untrained : tuple of Differential
        The same comparison of attention of untrained networks.
    overlap : Overlap
        Attention (first) against expression (second).
    habit : Overlap
        Attention of the trained network (first) against the first untrained one (second).
    genes : DataFrame
        One row a gene, attention and expression side by side; see `joined_table`.
    over_representation : DataFrame
        As `enrichment.over_representation`, with ``list`` first: which genes were looked at.
    ranked : DataFrame
        As `enrichment.ranked_enrichment`, with ``measure`` first; null: permuted patients.
    balanced : dict of str to BalancedCount
        Genes that pass by the test's own q at equal group sizes, by measure.
    power : Power
    provenance : dict
        JSON-serialisable.
    """

    groups: Groups
    options: Options
    attention: Differential
    expression: Differential
    untrained: tuple[Differential, ...]
    overlap: Overlap
    habit: Overlap
    genes: pd.DataFrame
    over_representation: pd.DataFrame
    ranked: pd.DataFrame
    balanced: dict[str, BalancedCount]
    power: Power
    provenance: dict[str, Any]

    @property
    def learned(self) -> tuple[str, ...]:
        """Genes that pass in the trained network and in no untrained one."""
        habit = set().union(*(set(other.passing) for other in self.untrained))
        return tuple(gene for gene in self.attention.passing if gene not in habit)


def collect(
    predictor: Predictor,
    profiles: Profiles,
    groups: Groups,
    *,
    seeds: Sequence[int] = (0,),
    progress: Progress | None = None,
    cancelled: Cancelled | None = None,
) -> Material:
    """Attention of the trained and of untrained networks, all kinds and layers.

    Parameters
    ----------
    predictor : Predictor
    profiles : Profiles
    groups : Groups
        Of `profiles.samples`.
    seeds : sequence of int
        One untrained network each.
    progress, cancelled : callable, optional
        Steps are profiles times networks.

    Raises
    ------
    PredictionCancelled
        If `cancelled` said so.
    """
    samples = list(profiles.samples.index[groups.rows])
    total = len(samples) * (1 + len(seeds))
    found = []
    for i, network in enumerate([None, *seeds]):
        offset = i * len(samples)
        name = "trained network" if network is None else f"untrained network {i}"

        def report(done: int, _: int, text: str, offset: int = offset, name: str = name) -> None:
            if progress is not None:
                progress(offset + done, total, f"{text} ({name})")

        model = predictor if network is None else untrained(predictor, network)
        found.append(
            gene_attention(model, profiles, samples=samples, progress=report, cancelled=cancelled)
        )
    return Material(
        found[0],
        tuple(found[1:]),
        profiles.x_ctl[groups.rows],
        ~np.isnan(profiles.x_ctl).all(axis=0),
    )


def explain_resistance(
    material: Material,
    groups: Groups,
    options: Options | None = None,
    *,
    progress: Progress | None = None,
    cancelled: Cancelled | None = None,
) -> Resistance:
    """Compare the groups; see `Resistance`.

    Parameters
    ----------
    material : Material
        Of the same groups.
    groups : Groups
    options : Options, optional
    progress, cancelled : callable, optional

    Raises
    ------
    ExplanationError
        If the kind of attention, the layer or a collection is not there.
    PredictionCancelled
        If `cancelled` said so.
    """
    options = options or Options()
    steps = Steps(5 + len(material.untrained), progress, cancelled)
    in_b = groups.patient_in_b
    labels = relabellings(in_b, options.permutations, options.seed)
    genes = list(material.trained.genes.index)

    def compare(values: np.ndarray, measure: str, test: Test) -> Differential:
        found = compare_groups(
            values,
            in_b,
            genes,
            measure=measure,
            test=test,
            labels=labels,
            thresholds=options.thresholds,
            by_permutation=test is welch_test,
            refined=options.refined,
            steps=steps,
        )
        steps.end()
        return found

    name = measure_name(options)
    values = {ATTENTION: log_attention(material.trained, material, groups, options)}
    values[EXPRESSION] = average_by_patient(material.expression, groups.patients)
    attention = compare(values[ATTENTION], name, welch_test)
    expression = compare(values[EXPRESSION], "expression before treatment", moderated_test)
    others = tuple(
        compare(
            log_attention(other, material, groups, options),
            f"{name}, untrained network",
            welch_test,
        )
        for other in material.untrained
    )
    pair = {ATTENTION: attention, EXPRESSION: expression}
    sets = load_sets(
        [g for g, m in zip(genes, material.measured, strict=True) if m], options.collections
    )
    listed = _over_represented(pair, sets, groups)
    ranked = _ranked(pair, genes, sets, steps)
    tests = {ATTENTION: welch_test, EXPRESSION: moderated_test}
    return Resistance(
        groups,
        options,
        attention,
        expression,
        others,
        overlap(attention, expression),
        overlap(attention, others[0]),
        joined_table(attention, expression, others),
        listed,
        ranked,
        {
            key: balanced_count(
                values[key], in_b, test, options.thresholds, seed=options.seed, steps=steps
            )
            for key, test in tests.items()
        },
        power_of(groups, options.thresholds, attention.n_tested),
        _provenance(material, groups, options, labels),
    )


def measure_name(options: Options) -> str:
    """The measure in words: kind of attention and layer."""
    if options.kind == "rollout":
        return "rollout attention over all base layers"
    layer = f"layer {options.layer}" if options.layer else "mean over base layers"
    return f"{options.kind} attention, {layer}"


def log_attention(
    attention: GeneAttention, material: Material, groups: Groups, options: Options
) -> np.ndarray:
    """log2 attention by patient, shape (n_patients, n_genes); NaN for genes not measured.

    Attention is positive and its spread grows with its size; on the log scale ratios are
    differences. It stays skewed, so permutation decides which genes pass.
    """
    layer = None if options.kind == "rollout" else options.layer
    values = attention.of(options.kind, layer).astype(np.float64)
    logs = np.log2(np.maximum(values, np.finfo(np.float32).tiny))
    logs[:, ~material.measured] = np.nan
    return average_by_patient(logs, groups.patients)


def joined_table(
    attention: Differential, expression: Differential, others: Sequence[Differential]
) -> pd.DataFrame:
    """Attention and expression of each gene side by side, in the order of attention's p.

    Returns
    -------
    DataFrame
        Index ``gene``; columns of `Differential.table` with the prefixes ``attention_`` and
        ``expression_``, ``untrained_log2_ratio`` and ``untrained_q`` (first untrained network),
        ``untrained_passes`` (in how many of them), and ``seen_by``: "both", "attention only",
        "expression only" or "neither".
    """
    table = attention.table.add_prefix("attention_").join(
        expression.table.add_prefix("expression_")
    )
    first = others[0]
    table["untrained_log2_ratio"] = first.table["log2_ratio"]
    table["untrained_q"] = first.deciding_q
    passes = [other.table["passes"].reindex(table.index).astype(int) for other in others]
    table["untrained_passes"] = sum(passes[1:], passes[0])
    one, two = table["attention_passes"].astype(bool), table["expression_passes"].astype(bool)
    table["seen_by"] = np.select(
        [one & two, one, two], ["both", "attention only", "expression only"], "neither"
    )
    return table


def power_of(groups: Groups, thresholds: Thresholds, n_genes: int) -> Power:
    """Differences that could be seen, by the noncentral t distribution."""
    n_a, n_b = groups.n_a, groups.n_b
    alphas = [NOMINAL, *(alpha_of_q(thresholds.q, n_genes, true) for true in (1, ASSUMED_TRUE))]
    single, first, among = (detectable_effect(n_a, n_b, max(alpha, 1e-12)) for alpha in alphas)
    return Power(n_a, n_b, single, first, among)


def _over_represented(
    pair: dict[str, Differential], sets: GeneSets, groups: Groups
) -> pd.DataFrame:
    tables = []
    for key, one in pair.items():
        for side, label in (("A", groups.label_a), ("B", groups.label_b)):
            chosen = one.table.index[one.table["passes"] & (one.table["higher_in"] == side)]
            found = over_representation(list(chosen), sets)
            found.insert(0, "list", f"{key}, higher in {side} ({label})")
            tables.append(found)
    filled = [table for table in tables if len(table)]
    return pd.concat(filled, ignore_index=True) if filled else tables[0]


def _ranked(
    pair: dict[str, Differential], genes: Sequence[str], sets: GeneSets, steps: Steps
) -> pd.DataFrame:
    place = {gene: i for i, gene in enumerate(genes)}
    columns = [place[gene] for gene in sets.genes]
    tables = []
    for key, one in pair.items():
        table = ranked_enrichment(
            one.table["t"].reindex(list(sets.genes)).to_numpy(),
            sets,
            null_scores=one.null.t[:, columns],
            steps=steps,
        )
        steps.end()
        table.insert(0, "measure", key)
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def _provenance(
    material: Material, groups: Groups, options: Options, labels: Relabellings
) -> dict[str, Any]:
    return {
        **material.trained.provenance,
        "untrained": [other.provenance["model_name"] for other in material.untrained],
        "column": groups.column,
        "group_a": groups.label_a,
        "group_b": groups.label_b,
        "groups": groups.sentence,
        "attention_kind": options.kind,
        "attention_meaning": MEANING[options.kind],
        "layer": options.layer or "mean over base layers",
        "q": options.thresholds.q,
        "log2_ratio": options.thresholds.log2_ratio,
        "permutations": len(labels),
        "all_relabellings": labels.complete,
        "permutation_seed": options.seed,
        "gene_sets": list(options.collections),
    }
