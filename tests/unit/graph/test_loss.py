"""The loss is that of equations 3 to 5."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from xpert_core.graph.loss import info_nce, similarities


def test_the_loss_is_that_of_the_paper_computed_by_hand() -> None:
    rng = np.random.default_rng(0)
    drugs, genes = rng.normal(size=(5, 8)), rng.normal(size=(7, 8))
    source, candidates, tau = [0, 3], [[2, 4, 5], [1, 0, 6]], 0.2

    def sim(u, v):
        return u @ v / np.linalg.norm(u) / np.linalg.norm(v) / tau

    expected = 0.0
    for u, (v, *negatives) in zip(source, candidates, strict=True):
        positive = math.exp(sim(drugs[u], genes[v]))
        below = positive + sum(math.exp(sim(drugs[u], genes[n])) for n in negatives)
        expected -= math.log(positive / below) / len(source)
    found = similarities(
        torch.tensor(drugs),
        torch.tensor(genes),
        torch.tensor(source),
        torch.tensor(candidates),
        tau,
    )
    assert float(info_nce(found)) == pytest.approx(expected, rel=1e-9)


def test_lengths_do_not_matter_and_nothing_told_apart_costs_log_of_the_candidates() -> None:
    torch.manual_seed(0)
    x, y = torch.randn(4, 6), torch.randn(9, 6)
    source, candidates = torch.arange(4), torch.randint(9, (4, 11))
    assert torch.allclose(
        similarities(x, y, source, candidates, 0.1),
        similarities(3 * x, 7 * y, source, candidates, 0.1),
        atol=1e-5,
    )
    same = similarities(x, y[:1], source, torch.zeros(4, 11, dtype=torch.long), 0.1)
    assert float(info_nce(same)) == pytest.approx(math.log(11), rel=1e-5)


def test_descent_brings_the_positive_near() -> None:
    torch.manual_seed(0)
    x = torch.randn(6, 4, requires_grad=True)
    source, candidates = torch.tensor([0]), torch.tensor([[1, 2, 3, 4, 5]])
    optimizer = torch.optim.Adam([x], lr=0.1)
    for _ in range(50):
        optimizer.zero_grad()
        loss = info_nce(similarities(x, x, source, candidates, 0.5))
        loss.backward()
        optimizer.step()
    cosines = similarities(x, x, source, candidates, 1.0)[0]
    assert cosines[0] > 0.9
    assert cosines[1:].max() < 0.5


def test_no_positive_gives_zero_with_a_gradient() -> None:
    x = torch.randn(3, 4, requires_grad=True)
    nothing = torch.zeros(0, dtype=torch.long)
    loss = info_nce(similarities(x, x, nothing, torch.zeros(0, 3, dtype=torch.long), 0.1))
    loss.backward()
    assert float(loss.detach()) == 0
