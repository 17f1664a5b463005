"""The nearest drugs: what did similar structures do in the same cell line?"""

from __future__ import annotations

import numpy as np

from xpert_core.baselines.registry import BaselineInfo, register
from xpert_core.evaluation.metrics import pearson_rows
from xpert_core.tokens.dataset import TrainingData

COUNTS = (1, 3, 10, 30)


@register(BaselineInfo("nearest-drugs", "nearest drugs"))
class NearestDrugs:
    """Mean change of the most similar training drugs, weighted by Tanimoto similarity.

    A drug's own training rows are its nearest neighbour. Drugs of the same cell line and read-out
    are looked at first; where there are none, those of the read-out.

    Parameters
    ----------
    k : int, optional
        Number of drugs; default: the one of `COUNTS` with the best PCC on the validation rows.
    """

    def __init__(self, k: int | None = None) -> None:
        self.k = k

    def fit(self, data: TrainingData, train: np.ndarray, valid: np.ndarray) -> None:
        """Keep the mean change of every drug in every cell line and read-out."""
        readout, cell, drug = data.readout[train], data.cell_index[train], data.drug_index[train]
        self._tables: dict[tuple[int, int], tuple[np.ndarray, np.ndarray]] = {}
        for r in np.unique(readout):
            of_readout = readout == r
            # -1: all cell lines.
            for c in (-1, *np.unique(cell[of_readout])):
                own = of_readout & (cell == c) if c >= 0 else of_readout
                drugs, index = np.unique(drug[own], return_inverse=True)
                sums = np.zeros((len(drugs), data.x_deg.shape[1]))
                np.add.at(sums, index, data.x_deg[train[own]])
                means = (sums / np.bincount(index)[:, None]).astype(np.float32)
                self._tables[int(r), int(c)] = (drugs, means)
        if self.k is None:
            scores = [
                pearson_rows(self._predict(data, valid, k), data.x_deg[valid]).mean()
                for k in COUNTS
            ]
            self.k = COUNTS[int(np.argmax(scores))]

    def predict(self, data: TrainingData, rows: np.ndarray) -> np.ndarray:
        """Weighted means; the plain mean where no drug has a bit in common."""
        assert self.k is not None
        return self._predict(data, rows, self.k)

    def _predict(self, data: TrainingData, rows: np.ndarray, k: int) -> np.ndarray:
        out = np.zeros((len(rows), data.x_deg.shape[1]), dtype=np.float32)
        bits = data.fingerprint.astype(np.float32)
        count = bits.sum(axis=1)
        place = np.stack([data.readout[rows], data.cell_index[rows], data.drug_index[rows]], axis=1)
        asked, which = np.unique(place, axis=0, return_inverse=True)
        for i, (r, c, d) in enumerate(asked.tolist()):
            table = self._tables.get((r, c), self._tables.get((r, -1)))
            if table is None:
                continue
            drugs, means = table
            common = bits[drugs] @ bits[d]
            tanimoto = common / np.maximum(count[drugs] + count[d] - common, 1)
            tanimoto[drugs == d] = 1
            best = np.argsort(-tanimoto, kind="stable")[:k]
            weights = tanimoto[best]
            mean = np.average(means[best], axis=0, weights=weights) if weights.any() else None
            out[which.reshape(-1) == i] = means.mean(axis=0) if mean is None else mean
        return out
