"""The published style reproduces the published network's outputs."""

from __future__ import annotations

import pytest
import torch
from published_data import batch_of, load_case

from xpert_core.errors import CheckpointError
from xpert_core.model.published import load_published
from xpert_core.tokens.expression import ExpressionBins


@pytest.mark.parametrize("name", ["sdst_h32", "mdmt_h32"])
@pytest.mark.parametrize("backend", ["sdpa", "math"])
def test_reproduces_every_listed_output(name: str, backend: str) -> None:
    state, case, heads = load_case(name)
    model = load_published(state, heads)
    model.set_backend(backend)
    maps: dict[str, torch.Tensor] = {}
    with torch.no_grad():
        out = model(batch_of(case), maps)
    assert out.x_ctl is not None
    assert out.class_logits is not None
    found = {
        "out_x_pert": out.x_pert,
        "out_x_deg": out.x_deg,
        "out_x_ctl": out.x_ctl,
        "out_class_logits_pert": out.class_logits[:, 0],
        "out_class_logits_base": out.class_logits[:, 1],
        "out_attention_CA_0_mean_over_queries": maps["CA_0"],
        "out_attention_CA_3_mean_over_queries": maps["CA_3"],
        "out_attention_base_SA_0_received": maps["base_SA_0"],
        "out_attention_base_SA_3_received": maps["base_SA_3"],
    }
    assert set(found) == {key for key in case if key.startswith("out_")}
    for key, value in found.items():
        torch.testing.assert_close(value, case[key], atol=1e-4, rtol=0, msg=key)


def test_published_bins_are_the_equidistant_ones() -> None:
    _, case, _ = load_case("sdst_h32")
    import numpy as np

    bins = ExpressionBins("equidistant", np.linspace(0, 15.002, 127))
    assert bins.n_tokens == 128
    assert (bins.transform(case["x_ctl"].numpy()) == case["expression_bins"].numpy()).all()


def test_padding_is_not_masked_in_the_published_style() -> None:
    """Defect D-01 is kept there on purpose: padded rows change the published prediction."""
    state, case, heads = load_case("sdst_h32")
    model = load_published(state, heads)
    with torch.no_grad():
        before = model(batch_of(case)).x_deg
        case["drug_features"][0, 50:] += 1.0
        after = model(batch_of(case)).x_deg
    assert (before[0] - after[0]).abs().max() > 1e-3


def test_foreign_parameters_are_refused() -> None:
    with pytest.raises(CheckpointError, match="published XPert"):
        load_published({"weight": torch.zeros(2)})
    state, _, heads = load_case("sdst_h32")
    state["attnEncoder_ctl.selfEncoders.0.attention.key.weight"] = torch.zeros(3, 3)
    with pytest.raises(CheckpointError, match="do not fit"):
        load_published(state, heads)
