"""Gene attention of a cohort: what the base branch attends to in each profile, without any drug."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch

from xpert_core.cohorts.records import Cohort, Profiles
from xpert_core.errors import ExplanationError
from xpert_core.explanation.attention import KINDS, base_attention, base_layer_names
from xpert_core.explanation.progress import Steps
from xpert_core.explanation.stability import Stability, stability
from xpert_core.prediction.predictor import Cancelled, Predictor, Progress, gene_table

#: Profiles at a time: with `QUERY_CHUNK` it bounds the memory to about 100 MB.
PROFILE_CHUNK = 8

MEANING = {
    "received": "mean attention the gene receives from all tokens of the base branch",
    "cls": "attention of the cls token to the gene, in the base branch",
    "rollout": "attention of the cls token to the gene, rolled out over all base layers",
}


@dataclass(frozen=True)
class GeneAttention:
    """Gene attention of N profiles, mean over heads.

    Attributes
    ----------
    values : dict of str to ndarray of float32, each (n_layers, n_samples, n_genes)
        By kind, one of `xpert_core.explanation.attention.KINDS`; ``rollout`` has one layer. The
        network's own weights: a row and `to_cls` of that row sum to one.
    to_cls : dict of str to ndarray of float32, each (n_layers, n_samples)
        Attention that goes to the cls token instead of a gene.
    layers : dict of str to tuple of str
        Names of the layers of each kind: ``base_SA_0`` and so on; ``("all",)`` for ``rollout``.
    samples : DataFrame, n_samples rows
        As `Profiles.samples`, the samples explained.
    genes : DataFrame, n_genes rows
        As `Prediction.genes`: index ``symbol``, columns ``entrez_id``, ``ensembl_id``,
        ``measured``.
    provenance : dict
        JSON-serialisable: cohort and its hash, bins, model name and digest, versions, and what
        each kind means.
    """

    values: dict[str, np.ndarray]
    to_cls: dict[str, np.ndarray]
    layers: dict[str, tuple[str, ...]]
    samples: pd.DataFrame
    genes: pd.DataFrame
    provenance: dict[str, Any]

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kinds of attention held."""
        return tuple(self.values)

    def of(self, kind: str, layer: str | None = None) -> np.ndarray:
        """Attention of one kind, shape (n_samples, n_genes): of a layer, else mean over layers.

        Raises
        ------
        ExplanationError
            If the kind or layer is not held.
        """
        if kind not in self.values:
            raise ExplanationError(
                f"There is no attention of kind '{kind}' here.",
                fix=f"Use one of {', '.join(self.values)}.",
            )
        if layer is None:
            mean: np.ndarray = self.values[kind].mean(axis=0)
            return mean
        if layer not in self.layers[kind]:
            raise ExplanationError(
                f"There is no layer '{layer}' of the attention '{kind}'.",
                fix=f"Use one of {', '.join(self.layers[kind])}.",
            )
        chosen: np.ndarray = self.values[kind][self.layers[kind].index(layer)]
        return chosen

    def frame(self, kind: str, layer: str | None = None) -> pd.DataFrame:
        """As `of`, with sample ids as index and gene symbols as columns."""
        index = pd.Index(self.samples.index.astype(str), name="sample_id")
        return pd.DataFrame(self.of(kind, layer), index=index, columns=self.genes.index)


def gene_attention(
    predictor: Predictor,
    cohort: Cohort | Profiles,
    kinds: Sequence[str] = KINDS,
    layers: Sequence[str] | None = None,
    *,
    samples: Sequence[str] | None = None,
    progress: Progress | None = None,
    cancelled: Cancelled | None = None,
) -> GeneAttention:
    """Attention of the base branch to each gene, for each profile.

    Parameters
    ----------
    predictor : Predictor
        The model; `xpert_core.explanation.networks.untrained` gives one with random weights.
    cohort : Cohort or Profiles
        Bin edges are fitted on all its profiles, also when `samples` names some of them.
    kinds : sequence of str
        Some of ``"received"``, ``"cls"``, ``"rollout"``.
    layers : sequence of str, optional
        Layers of ``received`` and ``cls`` to keep; None = all. A rollout is always over all.
    samples : sequence of str, optional
        Sample ids; None = all.
    progress, cancelled : callable, optional
        As of `Predictor.predict`, steps are profiles.

    Returns
    -------
    GeneAttention

    Raises
    ------
    CohortError, ExplanationError
        Saying what is wrong with the request.
    PredictionCancelled
        If `cancelled` said so.
    """
    given = predictor.tokens(cohort, samples)
    names = base_layer_names(predictor.model)
    kept = _kept_layers(names, layers)
    total = len(given.tokens)
    steps = Steps(total, progress, cancelled)
    parts: dict[str, list[np.ndarray]] = {kind: [] for kind in kinds}
    for first in range(0, total, PROFILE_CHUNK):
        steps.begin(f"Gene attention of profile {first + 1} of {total}")
        tokens = torch.from_numpy(given.tokens[first : first + PROFILE_CHUNK])
        for kind, weights in base_attention(predictor.model, tokens, kinds).items():
            parts[kind].append((weights if kind == "rollout" else weights[kept]).numpy())
        steps.end(len(tokens))
    steps.begin("Done")
    whole = {kind: np.concatenate(arrays, axis=1) for kind, arrays in parts.items()}
    shown = tuple(names[i] for i in kept)
    provenance = predictor.provenance(given)
    provenance["attention"] = {kind: MEANING[kind] for kind in kinds}
    return GeneAttention(
        {kind: array[..., 1:] for kind, array in whole.items()},
        {kind: array[..., 0] for kind, array in whole.items()},
        {kind: ("all",) if kind == "rollout" else shown for kind in kinds},
        given.samples,
        gene_table(given.profiles),
        provenance,
    )


def _kept_layers(names: tuple[str, ...], layers: Sequence[str] | None) -> list[int]:
    unknown = [name for name in layers or () if name not in names]
    if unknown or (layers is not None and not len(layers)):
        raise ExplanationError(
            f"The model has no layer '{unknown[0]}' in its base branch."
            if unknown
            else "No layer was named.",
            fix=f"Use some of {', '.join(names)}.",
        )
    return [i for i, name in enumerate(names) if layers is None or name in layers]


def gene_summary(
    attention: GeneAttention, kind: str = "received", layer: str | None = None
) -> pd.DataFrame:
    """Mean and variability over samples of the attention to each gene, highest mean first.

    Parameters
    ----------
    attention : GeneAttention
    kind, layer
        As of `GeneAttention.of`.

    Returns
    -------
    DataFrame
        Index ``symbol``, columns ``mean``, ``sd`` (over samples, n - 1; NaN for one sample),
        ``cv`` (sd / mean), ``times_uniform`` (mean / (1 / number of tokens)), ``measured``.
    """
    values = attention.of(kind, layer).astype(np.float64)
    mean = values.mean(axis=0)
    sd = values.std(axis=0, ddof=1) if len(values) > 1 else np.full(len(mean), np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        cv = sd / mean
    table = pd.DataFrame(
        {
            "mean": mean,
            "sd": sd,
            "cv": cv,
            "times_uniform": mean * (values.shape[1] + 1),
            "measured": attention.genes["measured"].to_numpy(),
        },
        index=attention.genes.index,
    )
    return table.sort_values("mean", ascending=False, kind="stable")


def gene_stability(
    runs: Sequence[GeneAttention], kind: str = "received", layer: str | None = None
) -> Stability:
    """Agreement of the mean attention of several models (seeds or folds) on the same samples.

    Raises
    ------
    ExplanationError
        If there are fewer than two runs, or they are of other samples or genes.
    """
    first = runs[0] if runs else None
    for other in runs[1:]:
        assert first is not None
        same = first.samples.index.equals(other.samples.index)
        if not same or not first.genes.index.equals(other.genes.index):
            raise ExplanationError(
                "Stability compares models on the same samples and genes.",
                fix="Explain the same cohort with each model.",
            )
    means = [run.of(kind, layer).astype(np.float64).mean(axis=0) for run in runs]
    names = [f"{run.provenance['model_name']} {run.provenance['model_digest'][:8]}" for run in runs]
    return stability(means, names, list(first.genes.index) if first is not None else [])
