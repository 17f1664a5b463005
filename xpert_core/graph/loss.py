"""Contrastive loss of linked nodes (equations 3 to 5 of the paper)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def similarities(
    sources: Tensor, targets: Tensor, source: Tensor, target: Tensor, temperature: float
) -> Tensor:
    """Cosine similarities of pairs of nodes over the temperature (equation 3).

    Parameters
    ----------
    sources : Tensor, shape (N, F)
        Embeddings of the node type of the sources.
    targets : Tensor, shape (M, F)
        Embeddings of the node type of the targets.
    source : Tensor of int64, shape (P,)
        Positions among `sources`.
    target : Tensor of int64, shape (P, C)
        Positions among `targets`: the candidates of every source.
    temperature : float
        Tau, above 0.

    Returns
    -------
    Tensor, shape (P, C)
    """
    u, v = functional.normalize(sources, dim=-1), functional.normalize(targets, dim=-1)
    # index_select: its gradient adds up rows several times faster than that of u[source].
    u = u.index_select(0, source)[:, :, None]
    v = v.index_select(0, target.flatten()).view(*target.shape, v.shape[1])
    return torch.bmm(v, u)[:, :, 0] / temperature


def info_nce(similarity: Tensor) -> Tensor:
    """Mean over positive edges of -log p(u, v) (equations 4 and 5).

    Parameters
    ----------
    similarity : Tensor, shape (P, 1 + K)
        Of every positive edge, in the first column, and of the K negatives of its source.

    Returns
    -------
    Tensor, shape ()
        0 without positives; log(1 + K) when nothing is told apart.
    """
    if not len(similarity):
        return similarity.sum()
    return (similarity.logsumexp(dim=1) - similarity[:, 0]).mean()
