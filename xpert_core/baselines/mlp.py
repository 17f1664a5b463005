"""Multi-layer perceptrons on control profile, drug vector and conditions (paper, MLP baselines)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from xpert_core.baselines.network import (
    CONDITION_DIM,
    STOPPED,
    Network,
    NetworkBaseline,
    Rows,
    dense,
    table,
)
from xpert_core.baselines.registry import BaselineInfo, register
from xpert_core.tokens.dataset import TrainingData

HIDDEN = (512, 256)
_OURS = (
    f"Widths and training ({STOPPED}) are ours: the published repository does not hold these "
    "baselines."
)


class _Perceptron(Network):
    def __init__(self, controls: np.ndarray, drugs: np.ndarray, dropout: float) -> None:
        super().__init__()
        genes = controls.shape[1]
        self.register_buffer("mean", table(controls.mean(axis=0)))
        self.register_buffer("spread", table(np.maximum(controls.std(axis=0), 1e-3)))
        self.register_buffer("drugs", table(drugs), persistent=False)
        width = genes + drugs.shape[1] + CONDITION_DIM
        self.body = dense(width, *HIDDEN, dropout=dropout)
        self.head = nn.Linear(HIDDEN[-1], genes)

    def forward(self, rows: Rows) -> Tensor:
        control = (rows.control - self.get_buffer("mean")) / self.get_buffer("spread")
        drug = self.get_buffer("drugs")[rows.drug]
        found: Tensor = self.head(self.body(torch.cat([control, drug, rows.condition], dim=1)))
        return found


class _PerceptronBaseline(NetworkBaseline):
    def make(self, data: TrainingData, train: np.ndarray) -> Network:
        controls = data.profiles[np.unique(data.profile_index[train])]
        return _Perceptron(controls, self._features(data), dropout=0.1)

    def _features(self, data: TrainingData) -> np.ndarray:
        return np.zeros((len(data.drug_keys), 0))


@register(BaselineInfo("mlp-no-drug", "MLP without the drug", seeded=True))
class NoDrug(_PerceptronBaseline):
    """Control profile, dose, time: what a drug-blind network knows."""


@register(BaselineInfo("mlp-morgan", "MLP_Morgan", seeded=True, differs=_OURS))
class MorganMLP(_PerceptronBaseline):
    """With Morgan fingerprints (1,024 bits)."""

    def _features(self, data: TrainingData) -> np.ndarray:
        return data.fingerprint


@register(
    BaselineInfo(
        "mlp-molecule",
        "MLP_molecule token",
        seeded=True,
        differs=f"The paper's MLP_UniMol with the molecule token of the data at hand. {_OURS}",
    )
)
class MoleculeMLP(_PerceptronBaseline):
    """With the molecule token of the featurizer that prepared the data."""

    def _features(self, data: TrainingData) -> np.ndarray:
        known = data.molecule[data.has_molecule]
        scaled = (data.molecule - known.mean(axis=0)) / np.maximum(known.std(axis=0), 1e-6)
        return scaled * data.has_molecule[:, None]
