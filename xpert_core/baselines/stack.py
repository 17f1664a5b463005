"""A stack of simple models, weighted on what they predict out of fold."""

from __future__ import annotations

import numpy as np
from scipy.optimize import nnls

from xpert_core.baselines.registry import Baseline, BaselineInfo, register
from xpert_core.baselines.simple import MeanOfCell, RidgeRegression
from xpert_core.errors import DataError
from xpert_core.tokens.dataset import TrainingData

GROUPS = ("drug", "cell", "row")


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
    group : str
        What an inner fold holds out as a whole: one of `GROUPS`.
    n_folds : int
        Inner folds.
    """

    def __init__(self, seed: int = 0, group: str = "drug", n_folds: int = 5) -> None:
        if group not in GROUPS:
            raise DataError(f"A stack cannot hold out by {group!r}.", fix=f"Use one of {GROUPS}.")
        self.seed = seed
        self.group = group
        self.n_folds = n_folds

    def fit(self, data: TrainingData, train: np.ndarray, valid: np.ndarray) -> None:
        """Fit members and weights; the rows `valid` choose the penalty of ridge alone."""
        parts = self._out_of_fold(data, train, valid)
        self.weights: dict[int, np.ndarray] = {}
        for readout in np.unique(data.readout[train]):
            own = data.readout[train] == readout
            columns = np.stack([part[own].ravel() for part in parts], axis=1)
            truth = data.x_deg[train[own]].ravel()
            self.weights[int(readout)] = nnls(columns.astype(np.float64), truth)[0]
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
        labels = {"drug": data.drug_index, "cell": data.cell_index, "row": np.arange(len(data))}
        names, group = np.unique(labels[self.group][train], return_inverse=True)
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


def _members() -> list[Baseline]:
    return [MeanOfCell(), RidgeRegression()]
