"""Simple baselines a network has to beat: means, and ridge."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod

import numpy as np
import torch

from xpert_core.baselines.registry import BaselineInfo, register
from xpert_core.evaluation.metrics import pearson_rows
from xpert_core.tokens.dataset import TrainingData

PENALTIES = (1e2, 3e2, 1e3, 3e3, 1e4, 3e4, 1e5)


@register(BaselineInfo("control", "control copy (no change)"))
class ControlCopy:
    """x_deg of zero: the profile after treatment is the control."""

    def fit(self, data: TrainingData, train: np.ndarray, valid: np.ndarray) -> None:
        """Nothing to fit."""

    def predict(self, data: TrainingData, rows: np.ndarray) -> np.ndarray:
        """Zeros."""
        return np.zeros((len(rows), data.x_deg.shape[1]), dtype=np.float32)


class GroupMean(ABC):
    """Mean change of the training rows of one group and read-out; else of the read-out."""

    def fit(self, data: TrainingData, train: np.ndarray, valid: np.ndarray) -> None:
        """Average the training rows."""
        self._all: dict[int, np.ndarray] = {}
        self._mean: dict[tuple[int, int], np.ndarray] = {}
        for readout in np.unique(data.readout[train]):
            own = train[data.readout[train] == readout]
            self._all[readout] = data.x_deg[own].mean(axis=0)
            groups = self.group(data, own)
            for group in np.unique(groups):
                self._mean[readout, group] = data.x_deg[own[groups == group]].mean(axis=0)

    def predict(self, data: TrainingData, rows: np.ndarray) -> np.ndarray:
        """The group's mean, else the read-out's."""
        nothing = np.zeros(data.x_deg.shape[1], dtype=np.float32)
        groups = self.group(data, rows)
        return np.stack(
            [
                self._mean.get((r, g), self._all.get(r, nothing))
                for r, g in zip(data.readout[rows], groups, strict=True)
            ]
        )

    @abstractmethod
    def group(self, data: TrainingData, rows: np.ndarray) -> np.ndarray:
        """Group of each row."""


@register(
    BaselineInfo(
        "mean",
        "mean",
        differs="Mean change of all training rows of the read-out; the paper averages profiles: "
        "mean-profile.",
    )
)
class Mean(GroupMean):
    """Mean change of all training rows of the read-out."""

    def group(self, data: TrainingData, rows: np.ndarray) -> np.ndarray:
        return np.zeros(len(rows), dtype=np.int64)


@register(
    BaselineInfo(
        "mean-cell",
        "mean of the cell line",
        knows_cell=True,
        differs="Mean change of the cell line's training rows; the paper averages profiles: "
        "mean-profile-cell.",
    )
)
class MeanOfCell(GroupMean):
    """Mean change of the training rows of the same cell line and read-out.

    A cell line that was not seen gets the mean over all cell lines of the read-out; the paper does
    not ask it there.
    """

    def group(self, data: TrainingData, rows: np.ndarray) -> np.ndarray:
        return data.cell_index[rows]


@register(BaselineInfo("mean-control", "mean of the control profile", knows_control=True))
class MeanOfControl(GroupMean):
    """Mean change of the training rows with the same control profile and read-out.

    Where the control is the mean of a plate's vehicle wells, this is what the wells of a plate
    have in common, whatever their drug: the null of every model that is given the control profile.
    A control that was not seen gets the mean of its cell line. Not in the paper.
    """

    def fit(self, data: TrainingData, train: np.ndarray, valid: np.ndarray) -> None:
        """Average the training rows, by control and by cell line."""
        super().fit(data, train, valid)
        self._cell = MeanOfCell()
        self._cell.fit(data, train, valid)

    def predict(self, data: TrainingData, rows: np.ndarray) -> np.ndarray:
        """The control's mean, else the cell line's, else the read-out's."""
        pairs = zip(data.readout[rows], self.group(data, rows), strict=True)
        seen = np.array([pair in self._mean for pair in pairs])
        own, cell = super().predict(data, rows), self._cell.predict(data, rows)
        return np.where(seen[:, None], own, cell)

    def group(self, data: TrainingData, rows: np.ndarray) -> np.ndarray:
        return data.profile_index[rows]


@register(
    BaselineInfo(
        "mean-drug",
        "mean of the drug",
        knows_drug=True,
        differs="Mean change of the drug's training rows; the paper averages profiles: "
        "mean-profile-drug.",
    )
)
class MeanOfDrug(GroupMean):
    """Mean change of the training rows of the same drug and read-out."""

    def group(self, data: TrainingData, rows: np.ndarray) -> np.ndarray:
        return data.drug_index[rows]


def _decomposed(x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Thin SVD, with denormal numbers.

    In a worker, which counts them as zero, LAPACK at times does not converge on rows that are
    nearly all equal; its other threads do count them.
    """
    # Not a literal: compiled where denormal numbers are zero, it would be zero for good.
    flushed = sys.float_info.min / 4 == 0
    torch.set_flush_denormal(False)
    try:
        return np.linalg.svd(x, full_matrices=False)
    finally:
        torch.set_flush_denormal(flushed)


@register(BaselineInfo("ridge", "ridge"))
class RidgeRegression:
    """Ridge on control profile, Morgan bits, log dose and log time, one fit per read-out.

    Parameters
    ----------
    penalty : float, optional
        Default: the one of `PENALTIES` with the best PCC on the validation rows.
    """

    def __init__(self, penalty: float | None = None) -> None:
        self.penalty = penalty

    def fit(self, data: TrainingData, train: np.ndarray, valid: np.ndarray) -> None:
        """Fit every read-out, choosing the penalty of each on its own validation rows."""
        self._centre = data.profiles[np.unique(data.profile_index[train])].mean(axis=0)
        self._weights: dict[int, tuple[np.ndarray, np.ndarray, np.ndarray]] = {}
        for readout in np.unique(data.readout[train]):
            own, judged = (rows[data.readout[rows] == readout] for rows in (train, valid))
            self._fit_readout(data, int(readout), own, judged)

    def _fit_readout(
        self, data: TrainingData, readout: int, train: np.ndarray, valid: np.ndarray
    ) -> None:
        x = self._inputs(data, train).astype(np.float64)
        y = data.x_deg[train].astype(np.float64)
        x_mean, y_mean = x.mean(axis=0), y.mean(axis=0)
        # One decomposition serves every penalty.
        u, s, vt = _decomposed(x - x_mean)
        projected = u.T @ (y - y_mean)
        best = -np.inf
        for penalty in PENALTIES if self.penalty is None else (self.penalty,):
            weights = vt.T @ ((s / (s**2 + penalty))[:, None] * projected)
            candidate = (x_mean, weights, y_mean)
            if self.penalty is not None or not len(valid):
                self._weights[readout] = candidate
                break
            predicted = self._apply(candidate, self._inputs(data, valid))
            score = float(pearson_rows(predicted, data.x_deg[valid]).mean())
            if score > best:
                best, self._weights[readout] = score, candidate

    def predict(self, data: TrainingData, rows: np.ndarray) -> np.ndarray:
        """Predictions of the read-out's model."""
        out = np.zeros((len(rows), data.x_deg.shape[1]), dtype=np.float32)
        for readout, weights in self._weights.items():
            chosen = data.readout[rows] == readout
            if chosen.any():
                out[chosen] = self._apply(weights, self._inputs(data, rows[chosen]))
        return out

    @staticmethod
    def _apply(fitted: tuple[np.ndarray, np.ndarray, np.ndarray], x: np.ndarray) -> np.ndarray:
        x_mean, weights, y_mean = fitted
        return (x - x_mean) @ weights + y_mean

    def _inputs(self, data: TrainingData, rows: np.ndarray) -> np.ndarray:
        drug = data.drug_index[rows]
        return np.hstack(
            [
                data.profiles[data.profile_index[rows]] - self._centre,
                data.fingerprint[drug].astype(np.float32),
                np.log10(data.dose_um[rows])[:, None],
                np.log2(data.time_h[rows])[:, None],
            ]
        )
