"""The loss equals the paper's terms, mean-reduced."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from xpert_core.model.losses import LossWeights, pearson, xpert_loss
from xpert_core.model.xpert import XPert
from xpert_core.tokens.batch import Batch, Targets


def targets(rows: int = 5, genes: int = 30) -> Targets:
    generator = torch.Generator().manual_seed(0)
    return Targets(
        torch.randn(rows, genes, generator=generator),
        torch.randn(rows, genes, generator=generator),
        torch.tensor([True, False, True, True, False]),
        torch.tensor([0, 1, 2, -1, 0]),
    )


def test_terms(model: XPert, batch: Batch) -> None:
    goal, weights = targets(), LossWeights()
    unit = torch.tensor([1.0, 1.0, 2.0, 1.0, 1.0])
    with torch.no_grad():
        out = model(batch)
        terms = xpert_loss(out, goal, unit, weights)
    error = ((out.x_deg - goal.x_deg) / unit[:, None]) ** 2
    assert terms["deg_mse"] == pytest.approx(float(error.mean()))
    seen = goal.has_x_pert
    assert terms["pert_mse"] == pytest.approx(
        float(F.mse_loss(out.x_pert[seen], goal.x_pert[seen]))
    )
    assert out.class_logits is not None
    labelled = goal.cell_class >= 0
    entropy = sum(
        F.cross_entropy(out.class_logits[labelled, i], goal.cell_class[labelled]) for i in (0, 1)
    )
    assert float(terms["cell_class"]) == pytest.approx(float(entropy), rel=1e-5)
    total = sum(getattr(weights, n) * float(terms[n]) for n in vars(weights))
    assert float(terms["total"]) == pytest.approx(total, rel=1e-5)


def test_x_pert_of_signatures_is_masked(model: XPert, batch: Batch) -> None:
    goal = targets()
    changed = goal.x_pert.clone()
    changed[1] += 1e3
    with torch.no_grad():
        a = xpert_loss(model(batch), goal, torch.ones(5), LossWeights())
        b = xpert_loss(
            model(batch),
            Targets(goal.x_deg, changed, goal.has_x_pert, goal.cell_class),
            torch.ones(5),
            LossWeights(),
        )
    assert torch.equal(a["total"], b["total"])


def test_pearson_equals_numpy_and_survives_a_constant() -> None:
    a, b = torch.randn(4, 100), torch.randn(4, 100)
    expected = [np.corrcoef(x, y)[0, 1] for x, y in zip(a, b, strict=True)]
    np.testing.assert_allclose(pearson(a, b), expected, atol=1e-5)
    assert pearson(torch.ones(1, 5), torch.randn(1, 5)).abs() < 1e-3


def test_direction_term_weighs_genes_by_the_size_of_their_change(
    model: XPert, batch: Batch
) -> None:
    goal = targets()
    with torch.no_grad():
        out = model(batch)
    assert xpert_loss(out, goal, torch.ones(5), LossWeights())["direction"] == 0
    right = replace(out, direction=goal.x_deg.sign() * 4)
    wrong = replace(out, direction=-goal.x_deg.sign() * 4)
    size = goal.x_deg.abs()
    expected = (size / size.mean(dim=1, keepdim=True) * F.softplus(torch.tensor(-4.0))).mean()
    terms = xpert_loss(right, goal, torch.ones(5), LossWeights(direction=0.5))
    assert float(terms["direction"]) == pytest.approx(float(expected), rel=1e-5)
    worse = xpert_loss(wrong, goal, torch.ones(5), LossWeights(direction=0.5))
    assert float(worse["total"] - terms["total"]) == pytest.approx(
        0.5 * float(worse["direction"] - terms["direction"]), rel=1e-5
    )
    unchanged = replace(goal, x_deg=torch.zeros(5, 30))
    assert xpert_loss(right, unchanged, torch.ones(5), LossWeights())["direction"] == 0


def test_genes_without_a_target_are_in_no_term(model: XPert, batch: Batch) -> None:
    """Each row's terms are those of its measured genes alone, and gradients stay finite."""
    goal = targets()
    measured = torch.rand(5, 30, generator=torch.Generator().manual_seed(1)) < 0.7
    gaps = replace(
        goal,
        x_deg=goal.x_deg.masked_fill(~measured, torch.nan),
        x_pert=goal.x_pert.masked_fill(~measured, torch.nan),
    )
    out = model(batch)
    out = replace(out, direction=out.x_deg)
    unit = torch.tensor([1.0, 1.0, 2.0, 1.0, 1.0])
    terms = xpert_loss(out, gaps, unit, LossWeights(), measured)
    with torch.no_grad():
        error = ((out.x_deg - goal.x_deg) / unit[:, None])[measured]
        assert float(terms["deg_mse"]) == pytest.approx(float(error.square().mean()), rel=1e-5)
        pcc = [np.corrcoef(out.x_deg[i][m], goal.x_deg[i][m])[0, 1] for i, m in enumerate(measured)]
        assert float(terms["deg_pcc"]) == pytest.approx(1 - np.mean(pcc), rel=1e-4)
        seen = measured & goal.has_x_pert[:, None]
        squared = (out.x_pert - goal.x_pert)[seen].square()
        assert float(terms["pert_mse"]) == pytest.approx(float(squared.mean()), rel=1e-5)
    terms["total"].backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())
    whole = xpert_loss(out, goal, unit, LossWeights(), torch.ones_like(measured))
    plain = xpert_loss(out, goal, unit, LossWeights())
    for name, value in plain.items():
        torch.testing.assert_close(whole[name], value, msg=name)
