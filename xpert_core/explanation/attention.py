"""Attention as the network computes it, summed up in chunks: no queries x keys array is kept.

Kinds of gene attention, each after averaging over the heads:

``received``
    What a token receives, averaged over all queries, the cls token's among them. The published
    notebook calls this "cls to gene" (audit, D-40).
``cls``
    The row of the cls token: what the cls token alone attends to.
``rollout``
    The cls row of the product of all layers, each mixed with the residual path as
    ``(A + I) / 2`` (Abnar and Zuidema, ACL 2020, 4190, "attention rollout").
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from xpert_core.errors import ExplanationError
from xpert_core.model.attention import weight_chunks
from xpert_core.model.blocks import SelfLayer
from xpert_core.model.xpert import XPert

#: Kinds of gene attention.
KINDS = ("received", "cls", "rollout")
#: Queries whose weights are held at a time.
QUERY_CHUNK = 128


def base_layer_names(model: XPert) -> tuple[str, ...]:
    """Names of the layers of the base branch, ``base_SA_0`` first."""
    return tuple(f"base_SA_{i}" for i in range(len(model.base_layers)))


@torch.inference_mode()
def base_attention(
    model: XPert, tokens: Tensor, kinds: Sequence[str] = KINDS, *, chunk: int = QUERY_CHUNK
) -> dict[str, Tensor]:
    """Attention of the base branch, mean over heads.

    Parameters
    ----------
    model : XPert
        In evaluation mode.
    tokens : Tensor of int64, shape (P, G)
        Value tokens of profiles.
    kinds : sequence of str
        Some of `KINDS`.
    chunk : int
        Queries at a time: memory grows with P x heads x chunk x (G + 1).

    Returns
    -------
    dict of str to Tensor, each (n_layers, P, G + 1)
        The cls token comes first; the last axis sums to one. ``rollout`` has one layer.

    Raises
    ------
    ExplanationError
        If the network has no base branch, or a kind is not known.
    """
    _check(model, kinds)
    pairs = _queries_and_keys(model, tokens)
    n_profiles, n_tokens = tokens.shape[0], tokens.shape[1] + 1
    received = tokens.new_zeros((len(pairs), n_profiles, n_tokens), dtype=torch.float32)
    cls = torch.zeros_like(received)
    # The cls row of the product, built from the last layer backwards: one vector a profile.
    row = torch.zeros_like(received[0])
    row[:, 0] = 1.0
    for i, (q, k) in reversed(list(enumerate(pairs))):
        mixed = torch.zeros_like(row)
        for rows, by_head in weight_chunks(q, k, chunk=chunk):
            weights = by_head.mean(dim=1)
            received[i] += weights.sum(dim=1)
            if rows.start == 0:
                cls[i] = weights[:, 0]
            mixed += torch.einsum("pq,pqk->pk", row[:, rows], weights)
        row = (row + mixed) / 2
    found = {"received": received / n_tokens, "cls": cls, "rollout": row[None]}
    return {kind: found[kind] for kind in kinds}


def _queries_and_keys(model: XPert, tokens: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Queries and keys of each base layer; small beside the weights they make."""
    pairs = []
    state = model.cell_embedding(tokens)
    for i, layer in enumerate(model.base_layers):
        assert isinstance(layer, SelfLayer)
        pairs.append(layer.queries_keys(state))
        if i + 1 < len(model.base_layers):
            state = layer(state)
    return pairs


def _check(model: XPert, kinds: Sequence[str]) -> None:
    if not len(model.base_layers):
        raise ExplanationError(
            "This model has no base branch, so it has no gene attention.",
            fix="Choose a model with two branches; the shipped one has them.",
        )
    unknown = sorted(set(kinds) - set(KINDS))
    if unknown or not kinds:
        raise ExplanationError(
            f"The kind of attention '{unknown[0]}' is not known."
            if unknown
            else "No kind of attention was named.",
            fix=f"Use some of {', '.join(KINDS)}.",
        )
