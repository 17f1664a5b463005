"""Networks train on a GPU where there is one, and say there what they say on the processor."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.unit.baselines.conftest import sized
from xpert_core.baselines.registry import available, create
from xpert_core.tokens.dataset import TrainingData

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
NETWORKS = sorted(n for n, info in available().items() if info.seeded and not info.grouped)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_is_trained_on_the_gpu_and_answers_as_on_the_processor(
    data: TrainingData, name: str
) -> None:
    data = sized(data, name)
    rows = np.arange(0, len(data), 2)
    states = torch.get_rng_state(), torch.cuda.get_rng_state()
    asked_for_bf16 = {"bf16": True} if name in ("deepce", "ciger") else {}
    model = create(name, max_epochs=2, **asked_for_bf16)
    model.fit(data, rows, rows[:10])
    assert torch.equal(states[0], torch.get_rng_state())
    assert torch.equal(states[1], torch.cuda.get_rng_state())
    assert model.device.type == "cuda" and getattr(model, "trains_in", "float32") == "float32"
    assert all(part.is_cuda for part in [*model.network.parameters(), *model.network.buffers()])
    on_gpu = model.predict(data, rows)
    model.device = torch.device("cpu")
    model.network.cpu()
    np.testing.assert_allclose(on_gpu, model.predict(data, rows), rtol=1e-3, atol=1e-4)
