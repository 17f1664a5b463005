"""A stack of simple models, weighted on what they predict out of fold."""

from __future__ import annotations

import numpy as np
from scipy.optimize import nnls

from xpert_core.baselines.registry import Baseline, BaselineInfo, register
from xpert_core.baselines.simple import MeanOfCell, RidgeRegression
from xpert_core.tokens.dataset import TrainingData


@register(BaselineInfo("stack", "stack of cell mean and ridge", seeded=True, grouped=True))
class Stack:
    """Weighted sum of the mean of the cell line and of ridge, weights of each read-out by itself.

    The weights (none below zero) are least squares on predictions for training rows by members
    that did not see the row's group, so they hold for what is asked: a new drug, or a new cell
    line. The members are then fitted again on all training rows.

    Parameters
    ----------
    seed : int
        Of the inner folds.
    groups : ndarray, shape (N,), optional
        Label of each row of the data: an inner fold holds out labels as a whole, as the scenario
        does. Default: each row by itself.
    n_folds : int
        Inner folds.
    """

    def __init__(self, seed: int = 0, groups: np.ndarray | None = None, n_folds: int = 5) -> None:
        self.seed = seed
        self.groups = groups
        self.n_folds = n_folds

    def fit(self, data: TrainingData, train: np.ndarray, valid: np.ndarray) -> None:
        """Fit members and weights; the rows `valid` choose the penalty of ridge alone."""
        parts = self._out_of_fold(data, train, valid)
        self.weights: dict[int, np.ndarray] = {}
        for readout in np.unique(data.readout[train]):
            own = data.readout[train] == readout
            self.weights[int(readout)] = _weights([p[own] for p in parts], data.x_deg[train[own]])
        self.members = _members()
        for member in self.members:
            member.fit(data, train, valid)
        self._train, self._inner = train, self._mixed(data, train, parts)

    def predict(self, data: TrainingData, rows: np.ndarray) -> np.ndarray:
        """The weighted sum; a read-out that was not trained on gets zeros."""
        return self._mixed(data, rows, [m.predict(data, rows) for m in self.members])

    def priors(self, data: TrainingData) -> np.ndarray:
        """Predictions of every row of the data it was fitted on, shape (N, G).

        Out of fold for the training rows, so that a model that adds to them learns on
        predictions as good, or as bad, as those it will be given.
        """
        found = np.zeros((len(data), data.x_deg.shape[1]), dtype=np.float32)
        found[self._train] = self._inner
        rest = np.setdiff1d(np.arange(len(data)), self._train)
        if len(rest):
            found[rest] = self.predict(data, rest)
        return found

    def _out_of_fold(
        self, data: TrainingData, train: np.ndarray, valid: np.ndarray
    ) -> list[np.ndarray]:
        """What each member says of each training row, fitted without the row's group."""
        labels = np.arange(len(data)) if self.groups is None else self.groups
        names, group = np.unique(labels[train], return_inverse=True)
        fold = np.random.default_rng(self.seed).permutation(len(names)) % self.n_folds
        found = [np.zeros((len(train), data.x_deg.shape[1]), np.float32) for _ in _members()]
        for number in range(self.n_folds):
            out = fold[group] == number
            if not out.any() or out.all():
                continue
            for member, part in zip(_members(), found, strict=True):
                member.fit(data, train[~out], valid)
                part[out] = member.predict(data, train[out])
        return found

    def _mixed(self, data: TrainingData, rows: np.ndarray, parts: list[np.ndarray]) -> np.ndarray:
        weights = np.zeros((len(rows), len(parts)), dtype=np.float32)
        for readout, own in self.weights.items():
            weights[data.readout[rows] == readout] = own
        mixed = sum(weights[:, [i]] * part for i, part in enumerate(parts))
        return np.asarray(mixed, dtype=np.float32)


def _weights(parts: list[np.ndarray], truth: np.ndarray) -> np.ndarray:
    """Least squares without negative weights, from the normal equations: members are few."""
    gram = np.array([[np.vdot(a, b) for b in parts] for a in parts], dtype=np.float64)
    moment = np.array([np.vdot(a, truth) for a in parts], dtype=np.float64)
    # Whatever is added to the diagonal keeps a member of zeros from making it singular.
    lower = np.linalg.cholesky(gram + np.eye(len(parts)) * (1e-9 * np.trace(gram) + 1e-12))
    return nnls(lower.T, np.linalg.solve(lower, moment))[0]


def _members() -> list[Baseline]:
    return [MeanOfCell(), RidgeRegression()]
