"""Is the embedding biology? Agreement of neighbours in mechanism, and drugs placed as new."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from xpert_core.graph.encoder import GraphEncoder, adjacencies, adjacency, features_of, sizes_of
from xpert_core.graph.records import SIMILAR, TARGETED_BY, TARGETS
from xpert_core.graph.split import Directed, Pairs, PairSet, Relation, without_targets

if TYPE_CHECKING:
    from torch_geometric.data import HeteroData

NEIGHBOURS = 10
SMALLEST_CLASS = 5
"""Mechanisms of fewer drugs are left out: ten neighbours could not agree."""


@dataclass(frozen=True)
class Agreement:
    """Share of a drug's nearest drugs that share a mechanism with it, averaged over mechanisms.

    Attributes
    ----------
    mean : float
        0 to 1.
    low, high : float
        95 % interval of a bootstrap over mechanisms.
    classes, drugs : int
        Mechanisms and drugs judged.
    """

    mean: float
    low: float
    high: float
    classes: int
    drugs: int


def cosine_matrix(vectors: np.ndarray) -> np.ndarray:
    """Cosines of all pairs of rows, shape (N, F) to (N, N); 0 where a row is zero."""
    norm = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = vectors / np.maximum(norm, 1e-12)
    product: np.ndarray = unit @ unit.T
    return product


def by_class(
    similarity: np.ndarray,
    labels: Sequence[frozenset[str]],
    k: int = NEIGHBOURS,
    queries: np.ndarray | None = None,
) -> dict[str, float]:
    """Agreement of every mechanism.

    Parameters
    ----------
    similarity : ndarray, shape (N, N)
        Of all pairs of drugs; the diagonal is not looked at.
    labels : sequence of frozenset of str, length N
        Mechanisms of each drug, at least one.
    k : int
        Nearest drugs looked at.
    queries : ndarray of bool, shape (N,), optional
        Drugs whose neighbours are judged; all drugs can be neighbours. Default: every drug.

    Returns
    -------
    dict of str to float
        Of mechanisms with at least `SMALLEST_CLASS` drugs, one of them a query: the mean over its
        queries of the share of nearest drugs that have any mechanism in common with the drug.
    """
    names = sorted(set().union(*labels))
    column = {name: i for i, name in enumerate(names)}
    has = np.zeros((len(labels), len(names)), dtype=bool)
    for row, own in enumerate(labels):
        has[row, [column[name] for name in own]] = True
    closeness = similarity.copy()
    np.fill_diagonal(closeness, -np.inf)
    nearest = np.argsort(-closeness, axis=1, kind="stable")[:, :k]
    share = (has[nearest] & has[:, None]).any(axis=2).mean(axis=1)
    asked = np.ones(len(labels), dtype=bool) if queries is None else queries
    found = {}
    for name in names:
        members = has[:, column[name]]
        if members.sum() >= SMALLEST_CLASS and (members & asked).any():
            found[name] = float(share[members & asked].mean())
    return found


def agreement(
    similarity: np.ndarray,
    labels: Sequence[frozenset[str]],
    *,
    minus: np.ndarray | None = None,
    queries: np.ndarray | None = None,
    resamples: int = 2000,
    seed: int = 0,
) -> Agreement:
    """Agreement over mechanisms with its interval.

    Parameters
    ----------
    similarity : ndarray, shape (N, N)
    labels : sequence of frozenset of str, length N
    minus : ndarray, shape (N, N), optional
        Another space: the result is then the difference to it, mechanism by mechanism.
    queries : ndarray of bool, shape (N,), optional
        Drugs whose neighbours are judged; default: every drug.
    resamples, seed : int
        Of the bootstrap over mechanisms.
    """
    found = by_class(similarity, labels, queries=queries)
    values = np.array(list(found.values()))
    if minus is not None:
        values = values - np.array(list(by_class(minus, labels, queries=queries).values()))
    draws = np.random.default_rng(seed).integers(len(values), size=(resamples, len(values)))
    low, high = np.percentile(values[draws].mean(axis=1), [2.5, 97.5])
    asked = np.ones(len(labels), dtype=bool) if queries is None else queries
    judged = [own for own, query in zip(labels, asked, strict=True) if query]
    drugs = sum(any(name in found for name in own) for own in judged)
    return Agreement(float(values.mean()), float(low), float(high), len(values), drugs)


@torch.no_grad()
def cold_similarity(
    encoder: GraphEncoder, data: HeteroData, pairs: PairSet, rows: Tensor, *, folds: int = 10
) -> np.ndarray:
    """Cosines among drugs when the targets of the drug in the row are not known.

    The drugs are divided into folds; each fold loses its target edges and is compared with all
    other drugs, which keep theirs. The encoder itself has seen these edges in training.

    Parameters
    ----------
    encoder : GraphEncoder
    data : HeteroData
    pairs : dict of relation to Pairs
        Edges of the graph.
    rows : Tensor of int64, shape (N,)
        The drugs.

    Returns
    -------
    ndarray, shape (N, N)
    """
    features, sizes = features_of(data), sizes_of(data)
    result = np.zeros((len(rows), len(rows)), dtype=np.float32)
    for fold in range(folds):
        positions = torch.arange(fold, len(rows), folds)
        kept = without_targets(pairs, rows[positions])
        drugs = encoder(features, adjacencies(kept, sizes))["drug"][rows]
        unit = functional.normalize(drugs, dim=1)
        result[positions.numpy()] = (unit[positions] @ unit.T).numpy()
    return result


@dataclass(frozen=True)
class Inductive:
    """Where drugs land that are removed from the graph and embedded as new.

    Attributes
    ----------
    cosine : ndarray, shape (B,)
        To their place within the graph.
    rank : ndarray of int, shape (B,)
        Rank of that place among all drugs, by cosine to the new vector: 1 is nearest.
    """

    cosine: np.ndarray
    rank: np.ndarray

    def summary(self) -> dict[str, float]:
        """Mean and quartiles for a report."""
        low, median, high = np.percentile(self.cosine, [25, 50, 75])
        return {
            "drugs": len(self.cosine),
            "cosine_mean": float(self.cosine.mean()),
            "cosine_quartile_1": float(low),
            "cosine_median": float(median),
            "cosine_quartile_3": float(high),
            "rank_median": float(np.median(self.rank)),
            "rank_1": float((self.rank == 1).mean()),
            "rank_10": float((self.rank <= 10).mean()),
        }


@torch.no_grad()
def embed_as_new(encoder: GraphEncoder, data: HeteroData, pairs: PairSet, rows: Tensor) -> Tensor:
    """Embeddings of drugs that the graph does not have.

    All of `rows` are taken out with all their edges; each is then attached, one-sidedly, to the
    drugs and genes that remain.

    Parameters
    ----------
    encoder : GraphEncoder
    data : HeteroData
    pairs : dict of relation to Pairs
        Edges of the graph.
    rows : Tensor of int64, shape (B,)

    Returns
    -------
    Tensor, shape (B, out)
    """
    features, sizes = features_of(data), sizes_of(data)
    kept = _without_drugs(pairs, rows)
    states = encoder.layer_states(features, adjacencies(kept, sizes))
    position = torch.full((sizes["drug"],), -1, dtype=torch.long)
    position[rows] = torch.arange(len(rows))
    incoming = _incoming(pairs, position)
    matrices = {r: adjacency(e, sizes[r[0]], len(rows)) for r, e in incoming.items()}
    x, has_x = features["drug"]
    return encoder.attach(states, (x[rows], has_x[rows]), matrices)


def _without_drugs(pairs: PairSet, rows: Tensor) -> dict[Relation, Pairs]:
    similar = pairs[SIMILAR]
    gone = torch.isin(similar.source, rows) | torch.isin(similar.target, rows)
    return {**without_targets(pairs, rows), SIMILAR: similar[~gone]}


def _incoming(pairs: PairSet, position: Tensor) -> dict[Relation, Directed]:
    """Edges into the drugs with a position, from genes and from drugs without one."""
    targets, similar = pairs[TARGETS], pairs[SIMILAR]
    own = position[targets.source] >= 0
    found = {
        TARGETED_BY: Directed(
            targets.target[own], position[targets.source[own]], targets.weight[own]
        )
    }
    source = torch.cat([similar.source, similar.target])
    target = torch.cat([similar.target, similar.source])
    kept = (position[target] >= 0) & (position[source] < 0)
    found[SIMILAR] = Directed(source[kept], position[target[kept]], similar.weight.repeat(2)[kept])
    return found


def inductive_check(
    encoder: GraphEncoder,
    data: HeteroData,
    pairs: PairSet,
    embedded: Mapping[str, Tensor],
    rows: Tensor,
) -> Inductive:
    """Compare `embed_as_new` with the embeddings of the whole graph.

    Parameters
    ----------
    encoder : GraphEncoder
    data : HeteroData
    pairs : dict of relation to Pairs
    embedded : dict of str to Tensor
        Embeddings with all of `pairs`.
    rows : Tensor of int64, shape (B,)
        Drugs to embed as new.
    """
    new = functional.normalize(embed_as_new(encoder, data, pairs, rows), dim=1)
    cosine = new @ functional.normalize(embedded["drug"], dim=1).T
    own = cosine.gather(1, rows[:, None])
    rank = 1 + (cosine > own).sum(1)
    return Inductive(own[:, 0].numpy(), rank.numpy())
