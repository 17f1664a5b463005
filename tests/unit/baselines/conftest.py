"""Real rows for baselines."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from xpert_core.baselines import network
from xpert_core.tokens.dataset import TrainingData

DATA = Path(__file__).parents[2] / "data" / "l1000_small.safetensors"
NOTHING = np.zeros(0, dtype=np.int64)
#: Attention among all 978 genes takes seconds a step.
FEW_GENES = 60


@pytest.fixture(scope="module")
def data() -> TrainingData:
    return TrainingData.load(DATA)


@pytest.fixture
def on_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    """Train on the processor, whatever the machine has."""
    monkeypatch.setattr(network, "training_device", lambda: torch.device("cpu"))


def sized(data: TrainingData, name: str) -> TrainingData:
    """The data, with a few genes for networks with attention among genes."""
    if name not in ("deepce", "ciger"):
        return data
    return replace(
        data,
        profiles=data.profiles[:, :FEW_GENES].copy(),
        x_deg=data.x_deg[:, :FEW_GENES].copy(),
        panel_symbols=data.panel_symbols[:FEW_GENES],
        info={**data.info, "entrez_id": data.info["entrez_id"][:FEW_GENES]},
    )
