"""A small network and a small batch of real shape."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from xpert_core.model.config import ModelConfig
from xpert_core.model.xpert import XPert
from xpert_core.tokens.batch import Batch, Treatments, collate_drugs

SMALL = ModelConfig(
    n_genes=30, d_model=16, n_heads=2, d_ff=32, d_head=8, feature_dim=12, graph_dim=6, n_classes=3
)


def make_batch(config: ModelConfig, *, seed: int = 0) -> Batch:
    """Two profiles, three drugs (one without structure), four treatments, five rows."""
    rng = np.random.default_rng(seed)
    sizes = (7, 0, 3)
    drugs = collate_drugs(
        [rng.normal(size=config.feature_dim) if n else None for n in sizes],
        [rng.normal(size=(n, config.feature_dim)) for n in sizes],
        [rng.normal(size=config.graph_dim), rng.normal(size=config.graph_dim), None],
        feature_dim=config.feature_dim,
        graph_dim=config.graph_dim,
        max_atoms=config.max_atoms,
    )
    treatments = Treatments(
        torch.tensor([0, 1, 2, 0]),
        torch.tensor([0.1, 1.0, 10.0, 3.0]),
        torch.tensor([24.0, 24.0, 6.0, 3.0]),
        torch.tensor([0, 0, 1, 0]),
    )
    profiles = torch.from_numpy(rng.integers(0, config.n_value_tokens + 1, (2, config.n_genes)))
    return Batch(
        profiles, drugs, treatments, torch.tensor([0, 1, 0, 1, 1]), torch.tensor([0, 1, 2, 3, 0])
    )


@pytest.fixture
def model() -> XPert:
    torch.manual_seed(0)
    return XPert(SMALL).eval()


@pytest.fixture
def batch() -> Batch:
    return make_batch(SMALL)
