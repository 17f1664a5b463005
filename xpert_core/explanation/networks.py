"""Untrained networks: what an explanation says when nothing was learned."""

from __future__ import annotations

import copy

import torch

from xpert_core.files import sha256_bytes
from xpert_core.model.xpert import XPert
from xpert_core.prediction.predictor import Predictor


def untrained(predictor: Predictor, seed: int = 0) -> Predictor:
    """The same model before training: same configuration, random weights.

    What is not trained but given stays: network vectors of genes, units of the read-outs, means
    of the expression. Features of drugs and the knowledge graph are shared with `predictor`.

    Parameters
    ----------
    predictor : Predictor
    seed : int

    Returns
    -------
    Predictor
        Named ``NAME, untrained (seed S)``, with a digest of its own.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = XPert(predictor.model.config)
    given = dict(predictor.model.named_buffers())
    for name, buffer in model.named_buffers():
        buffer.copy_(given[name])
    other = copy.copy(predictor)
    other.model = model.eval()
    other.name = f"{predictor.name}, untrained (seed {seed})"
    other.digest = sha256_bytes(f"{predictor.digest} untrained {seed}".encode())
    return other
