"""Streamed attention equals the network's own weights, made in full on a small network."""

from __future__ import annotations

import math

import pytest
import torch

from tests.unit.model.conftest import SMALL, make_batch
from tests.unit.model.test_published import batch_of, load_case
from xpert_core.errors import ExplanationError
from xpert_core.explanation.attention import KINDS, base_attention, base_layer_names
from xpert_core.model import attention as kernels
from xpert_core.model.published import load_published
from xpert_core.model.xpert import XPert
from xpert_core.tokens.batch import Batch


@pytest.fixture
def model() -> XPert:
    torch.manual_seed(0)
    return XPert(SMALL.with_(base_layers="SA+SA+SA")).eval()


@pytest.fixture
def batch() -> Batch:
    return make_batch(SMALL)


def weights_used(model: XPert, batch: Batch, monkeypatch: pytest.MonkeyPatch) -> list[torch.Tensor]:
    """Every array of weights that the `math` backend multiplies values with, in order of use."""
    seen: list[torch.Tensor] = []
    original = kernels._weights

    def spy(q: torch.Tensor, k: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        seen.append(original(q, k, mask))
        return seen[-1]

    model.set_backend("math")
    with monkeypatch.context() as patch, torch.no_grad():
        patch.setattr(kernels, "_weights", spy)
        model(batch)
    model.set_backend("auto")
    return seen


@pytest.mark.parametrize("chunk", [1, 7, 1000])
def test_equals_the_weights_the_network_used(
    model: XPert, batch: Batch, monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    base = [w.mean(dim=1) for w in weights_used(model, batch, monkeypatch)[:3]]
    found = base_attention(model, batch.profiles, chunk=chunk)
    identity = torch.eye(31)
    product = identity.expand(2, 31, 31)
    for i, full in enumerate(base):
        torch.testing.assert_close(found["received"][i], full.mean(dim=1), atol=1e-5, rtol=0)
        torch.testing.assert_close(found["cls"][i], full[:, 0], atol=1e-5, rtol=0)
        product = (full + identity) / 2 @ product
    torch.testing.assert_close(found["rollout"][0], product[:, 0], atol=1e-5, rtol=0)
    for kind in KINDS:
        torch.testing.assert_close(
            found[kind].sum(-1), torch.ones(found[kind].shape[:2]), atol=1e-5, rtol=0
        )


def test_layers_differ_and_no_full_array_is_made(
    model: XPert, batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = []
    original = kernels._weights

    def spy(q: torch.Tensor, k: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        sizes.append(q.shape[2])
        return original(q, k, mask)

    monkeypatch.setattr(kernels, "_weights", spy)
    found = base_attention(model, batch.profiles, chunk=8)
    assert max(sizes) == 8
    assert base_layer_names(model) == ("base_SA_0", "base_SA_1", "base_SA_2")
    assert not torch.allclose(found["received"][0], found["received"][1], atol=1e-3)


@pytest.mark.parametrize("name", ["sdst_h32", "mdmt_h32"])
def test_reproduces_the_published_attention(name: str) -> None:
    state, case, heads = load_case(name)
    model = load_published(state, heads)
    found = base_attention(model, case["expression_bins"].long(), ["received"])["received"]
    for i in (0, 3):
        expected = case[f"out_attention_base_SA_{i}_received"].mean(dim=1)
        torch.testing.assert_close(found[i], expected, atol=1e-5, rtol=0)
    maps: dict[str, torch.Tensor] = {}
    with torch.inference_mode():
        cells = model.encode_profiles(case["expression_bins"].long())
        batch = batch_of(case)
        treated = model.encode_treatments(*model.encode_drugs(batch.drugs), batch.treatments)
        model.decode(cells, treated, batch.treatments.readout, maps, queries=torch.arange(979))
    for layer in ("CA_0", "CA_3"):
        expected = case[f"out_attention_{layer}_mean_over_queries"]
        torch.testing.assert_close(maps[layer], expected, atol=1e-5, rtol=0)


@torch.no_grad()
def test_cross_attention_of_chosen_genes_is_the_mean_of_their_rows(
    model: XPert, batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    genes = torch.tensor([3, 11, 12])
    used = [w for w in weights_used(model, batch, monkeypatch) if w.shape[2] != w.shape[3]]
    cells = model.encode_profiles(batch.profiles).take(batch.profile_index)
    treated = model.encode_treatments(*model.encode_drugs(batch.drugs), batch.treatments)
    maps: dict[str, torch.Tensor] = {}
    model.decode(
        cells,
        treated.take(batch.treatment_index),
        batch.treatments.readout[batch.treatment_index],
        maps,
        queries=genes + 1,
    )
    assert list(maps) == ["CA_0", "CA_3"] and len(used) == 2
    for full, found in zip(used, maps.values(), strict=True):
        assert full.shape[2] == 31
        torch.testing.assert_close(found, full[:, :, genes + 1].mean(dim=2), atol=1e-5, rtol=0)
        torch.testing.assert_close(found.sum(-1), torch.ones(5, 2), atol=1e-5, rtol=0)
        assert (found[1, :, 4:] == 0).all(), "padding gets none"


def test_uniform_attention_rolls_out_to_a_known_row(batch: Batch) -> None:
    """With zero queries A is 1/n: the cls row is (I/2 + J/2n) to the power of the layers."""
    torch.manual_seed(0)
    model = XPert(SMALL.with_(base_layers="SA+SA")).eval()
    for layer in model.base_layers:
        torch.nn.init.zeros_(layer.attention.query.weight)
        torch.nn.init.zeros_(layer.attention.query.bias)
    row = base_attention(model, batch.profiles)["rollout"][0, 0]
    rest = 3 / 4 / 31
    torch.testing.assert_close(row[1:], torch.full((30,), rest), atol=1e-6, rtol=0)
    assert math.isclose(float(row[0]), 1 / 4 + rest, abs_tol=1e-6)


def test_what_cannot_be_explained_is_refused(model: XPert, batch: Batch) -> None:
    with pytest.raises(ExplanationError, match="'heads' is not known"):
        base_attention(model, batch.profiles, ["received", "heads"])
    with pytest.raises(ExplanationError, match="No kind"):
        base_attention(model, batch.profiles, [])
    with pytest.raises(ExplanationError, match="no base branch"):
        base_attention(XPert(SMALL.with_(single_branch=True)).eval(), batch.profiles)
