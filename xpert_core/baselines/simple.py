"""Simple baselines a network has to beat: the mean of the cell line, and ridge."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from sklearn.linear_model import Ridge

from xpert_core.tokens.dataset import TrainingData


class Baseline(Protocol):
    """A model of x_deg that is fitted on rows of `TrainingData`."""

    name: str

    def fit(self, data: TrainingData, rows: np.ndarray) -> None:
        """Fit on the given rows."""
        ...

    def predict(self, data: TrainingData, rows: np.ndarray) -> np.ndarray:
        """x_deg of the given rows, shape (len(rows), G)."""
        ...


class MeanOfCell:
    """Mean change of the training rows of the same cell line and read-out.

    A cell line that was not seen gets the mean over all cell lines of the read-out (paper, "Mean
    baseline models").
    """

    name = "mean of the cell line"

    def fit(self, data: TrainingData, rows: np.ndarray) -> None:
        """Average the training rows."""
        self._all: dict[int, np.ndarray] = {}
        self._cell: dict[tuple[int, int], np.ndarray] = {}
        for readout in np.unique(data.readout[rows]):
            of_readout = rows[data.readout[rows] == readout]
            self._all[readout] = data.x_deg[of_readout].mean(axis=0)
            for cell in np.unique(data.cell_index[of_readout]):
                chosen = of_readout[data.cell_index[of_readout] == cell]
                self._cell[readout, cell] = data.x_deg[chosen].mean(axis=0)

    def predict(self, data: TrainingData, rows: np.ndarray) -> np.ndarray:
        """The cell line's mean, else the read-out's."""
        return np.stack(
            [
                self._cell.get((r, c), self._all[r])
                for r, c in zip(data.readout[rows], data.cell_index[rows], strict=True)
            ]
        )


class RidgeRegression:
    """Ridge on control profile, Morgan bits, log dose and log time, one fit per read-out.

    Parameters
    ----------
    penalty : float
        Chosen on inner validation rows by the caller.
    """

    def __init__(self, penalty: float) -> None:
        self.penalty = penalty
        self.name = "ridge"

    def fit(self, data: TrainingData, rows: np.ndarray) -> None:
        """Fit every read-out."""
        self._models: dict[int, Ridge] = {}
        self._centre = data.profiles[np.unique(data.profile_index[rows])].mean(axis=0)
        for readout in np.unique(data.readout[rows]):
            chosen = rows[data.readout[rows] == readout]
            model = Ridge(alpha=self.penalty)
            self._models[readout] = model.fit(self._inputs(data, chosen), data.x_deg[chosen])

    def predict(self, data: TrainingData, rows: np.ndarray) -> np.ndarray:
        """Predictions of the read-out's model."""
        out = np.zeros((len(rows), data.x_deg.shape[1]), dtype=np.float32)
        for readout, model in self._models.items():
            chosen = data.readout[rows] == readout
            if chosen.any():
                out[chosen] = model.predict(self._inputs(data, rows[chosen]))
        return out

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
