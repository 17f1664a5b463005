"""Baselines on real rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from xpert_core.baselines.simple import MeanOfCell, RidgeRegression
from xpert_core.evaluation.metrics import pearson_rows
from xpert_core.learning.splits import split_by_drug
from xpert_core.tokens.dataset import TrainingData

DATA = Path(__file__).parents[2] / "data" / "l1000_small.safetensors"


@pytest.fixture(scope="module")
def data() -> TrainingData:
    return TrainingData.load(DATA)


def test_mean_of_cell_is_the_mean_of_its_training_rows(data: TrainingData) -> None:
    split = split_by_drug(data, valid=0.2, test=0.2)
    model = MeanOfCell()
    model.fit(data, split.train)
    row = split.test[:1]
    same = (data.cell_index[split.train] == data.cell_index[row]) & (
        data.readout[split.train] == data.readout[row]
    )
    expected = data.x_deg[split.train[same]].mean(axis=0)
    np.testing.assert_allclose(model.predict(data, row)[0], expected, atol=1e-6)


def test_unseen_cell_gets_the_mean_of_its_readout(data: TrainingData) -> None:
    cell = data.cell_index[0]
    seen, unseen = np.flatnonzero(data.cell_index != cell), np.flatnonzero(data.cell_index == cell)
    model = MeanOfCell()
    model.fit(data, seen)
    same = seen[data.readout[seen] == data.readout[unseen[0]]]
    expected = data.x_deg[same].mean(axis=0)
    np.testing.assert_allclose(model.predict(data, unseen[:1])[0], expected, atol=1e-6)


def test_ridge_overfits_without_penalty_and_shrinks_with_it(data: TrainingData) -> None:
    rows = np.arange(0, len(data), 4)
    loose, tight = RidgeRegression(1e-2), RidgeRegression(1e9)
    loose.fit(data, rows)
    tight.fit(data, rows)
    assert pearson_rows(loose.predict(data, rows), data.x_deg[rows]).mean() > 0.7
    spread = [m.predict(data, rows).std(axis=0).mean() for m in (loose, tight)]
    assert spread[0] > 3 * spread[1]
