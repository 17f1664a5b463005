"""Adapters start at the base model, stay within their budget, and merge without a trace."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from finetuning_data import make_base
from torch.nn.utils import parametrize

from xpert_core.errors import DataError
from xpert_core.finetuning.adapters import add_adapters, merge_adapters, train_everything
from xpert_core.finetuning.train import view_of
from xpert_core.model.checkpoint import load_checkpoint
from xpert_core.paths import assets_dir


@pytest.fixture
def model(base):
    return deepcopy(base.model)


@pytest.fixture
def batch(cohort, base):
    rows = torch.arange(6).numpy()
    return view_of(cohort, base.model, "quantile", rows)[1].batch(rows)[0]


def shake(model) -> None:
    """Move everything that is trained, as training would."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.1)


def test_untrained_adapters_change_nothing(model, base, batch) -> None:
    found = add_adapters(model)
    with torch.no_grad():
        torch.testing.assert_close(model(batch).x_deg, base.model(batch).x_deg)
    assert found.share <= 0.04
    assert found.trained == sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert found.parameters == sum(p.numel() for p in base.model.parameters())


@pytest.mark.parametrize("most", [0.04, 0.2])
def test_merged_adapters_predict_the_same(model, base, batch, most) -> None:
    found = add_adapters(model, most=most)
    assert (found.rank > 1) == (most > 0.1)
    torch.manual_seed(1)
    shake(model)
    with torch.no_grad():
        before = model(batch)
        assert (before.x_deg - base.model(batch).x_deg).abs().max() > 1e-3
        after = merge_adapters(model)(batch)
    torch.testing.assert_close(after.x_deg, before.x_deg, atol=1e-5, rtol=0)
    torch.testing.assert_close(after.x_pert, before.x_pert, atol=1e-5, rtol=0)
    assert model.state_dict().keys() == base.model.state_dict().keys()
    assert not any(parametrize.is_parametrized(m) for m in model.modules())


def test_only_heads_norms_and_adapters_are_trained(model, base) -> None:
    found = add_adapters(model, heads=("deg_head",), most=0.1)
    torch.manual_seed(1)
    shake(model)
    changed = {
        name
        for name, value in merge_adapters(model).state_dict().items()
        if not torch.equal(value, base.model.state_dict()[name])
    }
    allowed = ("norm", "deg_head", *found.layers)
    assert all(any(word in name for word in allowed) for name in changed)
    assert {"deg_head.0.weight", *found.layers} <= changed
    assert "pert_head.0.weight" not in changed


def test_budget_of_the_shipped_model() -> None:
    """The least a shipped model leaves: rank 1 on the gene vectors and the last layers."""
    model = load_checkpoint(assets_dir() / "models" / "xpert-l1000-small").model
    found = add_adapters(model)
    assert 0.03 < found.share <= 0.04
    assert found.layers[0] == "cell_embedding.gene"
    assert all(name.startswith("pert_layers.1") for name in found.layers[1:])


def test_a_network_too_small_for_adapters_is_refused(tmp_path) -> None:
    small = make_base(tmp_path / "small").model
    with pytest.raises(DataError, match="too small for adapters"):
        add_adapters(small, most=0.005)
    assert train_everything(make_base(tmp_path / "full").model).share == 1
