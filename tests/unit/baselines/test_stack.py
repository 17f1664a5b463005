"""The stack: weights from predictions that did not see the row's group."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import nnls

from xpert_core.baselines.registry import create
from xpert_core.baselines.simple import MeanOfCell, RidgeRegression
from xpert_core.baselines.stack import Stack, _weights
from xpert_core.learning.splits import split_by_drug
from xpert_core.tokens.dataset import TrainingData

DATA = Path(__file__).parents[2] / "data" / "l1000_small.safetensors"


@pytest.fixture(scope="module")
def data() -> TrainingData:
    return TrainingData.load(DATA)


def test_a_stack_is_the_weighted_sum_of_its_members(data: TrainingData) -> None:
    split = split_by_drug(data, valid=0.2, test=0.2)
    stack = Stack(groups=data.drug_index)
    stack.fit(data, split.train, split.valid)
    members = [MeanOfCell(), RidgeRegression()]
    for member in members:
        member.fit(data, split.train, split.valid)
    parts = [m.predict(data, split.test) for m in members]
    for row, found in enumerate(stack.predict(data, split.test)):
        weights = stack.weights[int(data.readout[split.test[row]])]
        assert (weights >= 0).all() and weights.sum() > 0
        expected = weights[0] * parts[0][row] + weights[1] * parts[1][row]
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_priors_of_training_rows_did_not_see_the_rows_group(data: TrainingData) -> None:
    split = split_by_drug(data, valid=0.2, test=0.2)
    for index in (data.drug_index, data.cell_index):
        row = split.train[0]
        same = split.train[index[split.train] == index[row]]
        spoilt = replace(data, x_deg=data.x_deg.copy())
        # The weights, least squares over all rows, are held: members alone are looked at.
        spoilt.x_deg[same] += 100
        parts = [
            Stack(groups=index)._out_of_fold(d, split.train, split.valid) for d in (data, spoilt)
        ]
        at = int(np.flatnonzero(split.train == row)[0])
        for own, other in zip(*parts, strict=True):
            np.testing.assert_allclose(own[at], other[at], atol=1e-4)
            assert np.abs(own - other).max() > 1, "other rows do learn from them"


def test_priors_cover_every_row_and_never_use_test_targets(data: TrainingData) -> None:
    split = split_by_drug(data, valid=0.2, test=0.2)
    hidden = replace(data, x_deg=data.x_deg.copy())
    hidden.x_deg[split.test] = 1e6
    found = []
    for given in (data, hidden):
        stack = create("stack", seed=3, groups=data.drug_index)
        stack.fit(given, split.train, split.valid)
        priors = stack.priors(given)
        np.testing.assert_allclose(priors[split.test], stack.predict(given, split.test), atol=1e-5)
        found.append(priors)
    assert found[0].shape == data.x_deg.shape and np.isfinite(found[0]).all()
    np.testing.assert_allclose(*found, atol=1e-4)


def test_weights_are_least_squares_without_negative_ones(data: TrainingData) -> None:
    rng = np.random.default_rng(0)
    parts = [rng.normal(size=(40, 30)).astype(np.float32) for _ in range(2)]
    for true in ([0.3, 0.6], [0.7, -0.4]):
        truth = true[0] * parts[0] + true[1] * parts[1] + 0.1 * rng.normal(size=(40, 30))
        expected = nnls(np.stack([p.ravel() for p in parts], axis=1), truth.ravel())[0]
        np.testing.assert_allclose(_weights(parts, truth), expected, atol=1e-5)
    np.testing.assert_allclose(_weights([parts[0], parts[0] * 0], parts[0]), [1, 0], atol=1e-6)


def test_without_groups_each_row_stands_by_itself(data: TrainingData) -> None:
    stack = Stack()
    stack.fit(data, np.arange(0, len(data), 2), np.arange(1, len(data), 8))
    assert np.isfinite(stack.predict(data, np.arange(3))).all()
