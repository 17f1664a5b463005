"""The nearest drugs: what did similar structures do in the same cell line?"""

from __future__ import annotations

import numpy as np

from xpert_core.baselines.network import condition_bins
from xpert_core.baselines.registry import BaselineInfo, register
from xpert_core.conditions import TIME_BINS_H
from xpert_core.evaluation.metrics import pearson_rows
from xpert_core.tokens.dataset import TrainingData

COUNTS = (1, 3, 10, 30)


@register(BaselineInfo("nearest-drugs", "nearest drugs"))
class NearestDrugs:
    """Mean change of the most similar training drugs, weighted by Tanimoto similarity.

    A drug's own training rows are its nearest neighbour. Drugs of the same cell line and read-out
    are looked at first; where there are none, those of the read-out. A drug's change is the mean
    over its doses and times.

    Parameters
    ----------
    k : int, optional
        Number of drugs; default: the one of `COUNTS` with the best PCC on the validation rows.
    same_condition : bool
        Whether a drug's change is the mean over its rows of the asked dose bin and time, where it
        has some there.
    """

    def __init__(self, k: int | None = None, same_condition: bool = False) -> None:
        self.k = k
        self.same_condition = same_condition

    def fit(self, data: TrainingData, train: np.ndarray, valid: np.ndarray) -> None:
        """Keep the mean change of every drug in every cell line and read-out."""
        readout, cell, drug = data.readout[train], data.cell_index[train], data.drug_index[train]
        codes = self._codes(data, train)
        self._tables: dict[tuple[int, int], tuple[np.ndarray, np.ndarray]] = {}
        self._at: dict[tuple[int, int], dict[tuple[int, int], np.ndarray]] = {}
        for r in np.unique(readout):
            of_readout = readout == r
            # -1: all cell lines.
            for c in (-1, *np.unique(cell[of_readout])):
                own = of_readout & (cell == c) if c >= 0 else of_readout
                place = int(r), int(c)
                self._tables[place] = _means(data, train[own], drug[own])
                if self.same_condition:
                    pairs, means = _means(data, train[own], drug[own], codes[own])
                    self._at[place] = dict(zip(map(tuple, pairs.tolist()), means, strict=True))
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
        columns = (data.readout, data.cell_index, data.drug_index)
        place = np.stack([*(c[rows] for c in columns), self._codes(data, rows)], axis=1)
        asked, which = np.unique(place, axis=0, return_inverse=True)
        for i, (r, c, d, code) in enumerate(asked.tolist()):
            found = next((key for key in ((r, c), (r, -1)) if key in self._tables), None)
            if found is None:
                continue
            drugs, means = self._tables[found]
            at = self._at.get(found, {})
            if at:
                pairs = zip(drugs.tolist(), means, strict=True)
                means = np.stack([at.get((drug, code), mean) for drug, mean in pairs])
            common = bits[drugs] @ bits[d]
            tanimoto = common / np.maximum(count[drugs] + count[d] - common, 1)
            tanimoto[drugs == d] = 1
            best = np.argsort(-tanimoto, kind="stable")[:k]
            weights = tanimoto[best]
            mean = np.average(means[best], axis=0, weights=weights) if weights.any() else None
            out[which.reshape(-1) == i] = means.mean(axis=0) if mean is None else mean
        return out

    def _codes(self, data: TrainingData, rows: np.ndarray) -> np.ndarray:
        """One number for dose bin and time of each row; 0 for all where these do not count."""
        if not self.same_condition:
            return np.zeros(len(rows), dtype=np.int64)
        dose, time = condition_bins(data, rows)
        return dose * len(TIME_BINS_H) + time


def _means(
    data: TrainingData, rows: np.ndarray, *labels: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Mean change of the rows of each label (or combination of them), and the labels."""
    stacked = labels[0] if len(labels) == 1 else np.stack(labels, axis=1)
    names, index = np.unique(stacked, axis=0, return_inverse=True)
    index = index.reshape(-1)
    sums = np.zeros((len(names), data.x_deg.shape[1]))
    np.add.at(sums, index, data.x_deg[rows])
    return names, (sums / np.bincount(index)[:, None]).astype(np.float32)
