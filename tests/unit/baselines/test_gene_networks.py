"""Baselines that attend among genes: the same attention in fewer products, and cheaper training."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from tests.unit.baselines.conftest import FEW_GENES, NOTHING, sized
from xpert_core.baselines import network
from xpert_core.baselines.deepce import _Attention
from xpert_core.baselines.registry import create
from xpert_core.errors import DataError
from xpert_core.evaluation.metrics import pearson_rows
from xpert_core.tokens.dataset import TrainingData

pytestmark = pytest.mark.usefixtures("on_processor")


def test_ciger_attends_as_the_module_of_its_weights_does(data: TrainingData) -> None:
    data = sized(data, "ciger")
    module = create("ciger").make(data, np.arange(9))
    for name, weights in module.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(weights)  # zero at first, and then they would hide a mistake
    states = torch.rand(2, FEW_GENES, 512)
    plain = module.decoder[0](module.attention(states, states, states)[0])
    torch.testing.assert_close(module._attended(states), plain, rtol=1e-4, atol=1e-4)


def test_deepce_attends_as_the_module_of_its_weights_does() -> None:
    own = _Attention().eval()
    torch.nn.init.normal_(own.held.in_proj_bias)
    genes, atoms = torch.randn(3, 5, 128), torch.randn(3, 4, 128)
    filled = torch.tensor([[True] * 4, [True, True, False, False], [True, False, False, False]])
    with torch.no_grad():
        for seen, mask in ((genes, None), (atoms, filled)):
            padding = None if mask is None else ~mask
            plain = own.held(genes, seen, seen, key_padding_mask=padding)[0]
            torch.testing.assert_close(own(genes, seen, mask), plain, rtol=1e-4, atol=1e-5)
        still = own(genes, genes)
        own.train()
        assert not torch.allclose(own(genes, genes), still, atol=1e-3), "dropout, in training"


@pytest.mark.parametrize("name", ["deepce", "ciger"])
def test_networks_among_genes_can_train_on_a_part_of_them(data: TrainingData, name: str) -> None:
    data = sized(data, name)
    _, rows = np.unique(data.profile_index, return_index=True)
    scores = []
    for share in (1.0, 0.5):
        model = create(name, max_epochs=60, patience=60, gene_share=share)
        model.fit(data, rows, NOTHING)
        found = model.predict(data, rows)
        assert found.shape == data.x_deg[rows].shape
        scores.append(pearson_rows(found, data.x_deg[rows]).mean())
    assert min(scores) > 0.3 and scores[0] != scores[1], scores


@pytest.mark.parametrize("name", ["deepce", "ciger"])
def test_an_epoch_is_judged_on_the_same_part_of_the_genes(
    data: TrainingData, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = sized(data, name)
    rows, judged = np.arange(0, 60, 2), np.arange(1, 40, 2)
    whole, part = (create(name, max_epochs=1, judged_share=share) for share in (1.0, 0.5))
    for model in (whole, part):
        model.fit(data, rows, judged)
    all_genes = whole.answers(data, judged, whole.network, data.x_deg.shape[1])
    plain = pearson_rows(all_genes, data.x_deg[judged]).mean()
    assert whole.judge(data, judged) == pytest.approx(plain, abs=1e-5)
    asked: list[torch.Tensor] = []
    change = part.network.change
    monkeypatch.setattr(part.network, "change", lambda r, g: asked.append(g) or change(r, g))
    first = part.judge(data, judged)
    torch.rand(3)
    assert part.judge(data, judged) == first
    half = round(0.5 * data.x_deg.shape[1])
    assert len(torch.unique(asked[0], dim=0)) == half
    assert all(torch.equal(genes, asked[0]) for genes in asked)
    # The scores are of these genes' changes, not of others'.
    genes = [
        int((part.network.get_buffer("genes") == own).all(dim=1).nonzero()[0]) for own in asked[0]
    ]
    found = part.answers(data, judged, lambda r: change(r, asked[0]), half)
    by_hand = pearson_rows(found, data.x_deg[judged][:, genes]).mean()
    assert first == pytest.approx(by_hand, abs=1e-6)


@pytest.mark.parametrize("name", ["deepce", "ciger"])
def test_bfloat16_is_taken_where_it_is_native_and_answers_are_float32(
    data: TrainingData, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = sized(data, name)
    rows, judged = np.arange(0, 40, 2), np.arange(1, 20, 2)
    asked: list[bool] = []
    kind = type(create(name).make(data, rows))
    change = kind.change

    def recorded(self: network.GeneNetwork, *inputs: Any) -> torch.Tensor:
        asked.append(torch.is_autocast_enabled("cpu"))
        return change(self, *inputs)

    monkeypatch.setattr(kind, "change", recorded)
    for native in (True, False):
        monkeypatch.setattr(network, "native_bf16", lambda value=native: value)
        model = create(name, max_epochs=1, bf16=True)
        model.fit(data, rows, judged)  # training, judging, and CIGER's unit
        assert set(asked) == {native} and len(asked) >= 2
        asked.clear()
        model.predict(data, judged)
        assert set(asked) == {False}
        asked.clear()
        assert model.trains_in == ("bfloat16" if native else "float32")


@pytest.mark.parametrize("name", ["deepce", "ciger"])
def test_a_step_in_bfloat16_is_nearly_that_in_float32(data: TrainingData, name: str) -> None:
    data = sized(data, name)
    rows = np.arange(0, len(data), 10)
    # Genes get the same answers at first, and what tells them apart is lost in bfloat16.
    model = create(name, max_epochs=12, patience=12)
    model.fit(data, rows, NOTHING)
    model.network.eval()  # without dropout
    inputs, change = model._rows(data, rows), torch.from_numpy(model._scaled(data, rows))
    found = []
    for narrow in (False, True):
        model.network.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=narrow):
            loss = model.network.loss(inputs, change)
        loss.backward()
        gradients = [p.grad.flatten() for p in model.network.parameters() if p.grad is not None]
        found.append((loss.item(), torch.cat(gradients)))
    (plain, of_plain), (narrowed, of_narrowed) = found
    assert narrowed != plain and narrowed == pytest.approx(plain, rel=0.02)
    assert torch.cosine_similarity(of_plain, of_narrowed, dim=0) > 0.98


def test_the_processor_is_asked_for_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(network.native_bf16(), bool)
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)  # as in PyTorch 2.10
    assert not network.native_bf16()


@pytest.mark.parametrize("share", [0, -0.1, 1.5])
@pytest.mark.parametrize("setting", ["gene_share", "judged_share"])
def test_a_share_of_the_genes_is_above_0_and_at_most_1(setting: str, share: float) -> None:
    with pytest.raises(DataError, match="share of the genes cannot be"):
        create("ciger", **{setting: share})


def test_drugs_without_a_structure_are_one_to_deepce(data: TrainingData) -> None:
    data = sized(data, "deepce")
    rows = np.arange(0, len(data), 4)
    blank = np.flatnonzero([not s for s in data.drug_smiles])
    assert len(blank) > 1
    model = create("deepce", max_epochs=1)
    model.fit(data, rows, rows[:10])
    same = [replace(data, drug_index=np.full_like(data.drug_index, d)) for d in blank[[0, -1]]]
    np.testing.assert_array_equal(*(model.predict(d, rows[:5]) for d in same))
