"""What the network baselines share: inputs, units, one training loop."""

from __future__ import annotations

import copy
import itertools
from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from xpert_core.conditions import DOSE_BIN_EDGES_UM, TIME_BINS_H
from xpert_core.evaluation.metrics import pearson_rows
from xpert_core.tokens.dataset import READOUTS, TrainingData

CONDITION_DIM = len(DOSE_BIN_EDGES_UM) + 1 + len(TIME_BINS_H) + len(READOUTS)


@dataclass(frozen=True)
class Rows:
    """Inputs of some rows.

    Attributes
    ----------
    control : Tensor, shape (B, G)
        Control profile, log2.
    drug, cell : Tensor of int64, shape (B,)
    condition : Tensor, shape (B, CONDITION_DIM)
        One-hot dose bin, time and read-out: how the paper gives dose and time to every baseline.
    log_dose : Tensor, shape (B, 1)
        log10(dose in uM + 1).
    """

    control: Tensor
    drug: Tensor
    cell: Tensor
    condition: Tensor
    log_dose: Tensor


def conditions(data: TrainingData, rows: np.ndarray) -> np.ndarray:
    """One-hot dose bin, nearest of the three times (by ratio), and read-out."""
    dose = np.digitize(data.dose_um[rows], DOSE_BIN_EDGES_UM)
    ratio = np.abs(np.log(data.time_h[rows])[:, None] - np.log(TIME_BINS_H))
    sizes = (len(DOSE_BIN_EDGES_UM) + 1, len(TIME_BINS_H), len(READOUTS))
    codes = (dose, ratio.argmin(axis=1), data.readout[rows])
    blocks = [np.eye(n, dtype=np.float32)[c] for n, c in zip(sizes, codes, strict=True)]
    return np.concatenate(blocks, axis=1)


class Network(nn.Module, ABC):
    """A module that predicts the change of each gene in units of the read-out's RMS."""

    @abstractmethod
    def forward(self, rows: Rows) -> Tensor:
        """Change, shape (B, G)."""

    def loss(self, rows: Rows, change: Tensor) -> Tensor:
        """Training loss of a batch; the mean squared error unless a model has its own."""
        return nn.functional.mse_loss(self(rows), change)


class NetworkBaseline(ABC):
    """A network trained with Adam, stopped on the PCC of the validation rows.

    Parameters
    ----------
    seed : int
        Of weights, batches and dropout; the global random state is left as it was.
    max_epochs, patience : int
        Training ends after `patience` epochs without a better validation PCC; the best weights
        stay.
    """

    lr = 1e-3
    weight_decay = 0.0
    batch = 64

    def __init__(self, seed: int = 0, max_epochs: int = 60, patience: int = 8) -> None:
        self.seed = seed
        self.max_epochs = max_epochs
        self.patience = patience
        self.epochs = 0

    @abstractmethod
    def make(self, data: TrainingData, train: np.ndarray) -> Network:
        """The untrained network."""

    def fit(self, data: TrainingData, train: np.ndarray, valid: np.ndarray) -> None:
        """Train on `train`, stop on `valid`."""
        self._scale = np.ones(len(READOUTS), dtype=np.float32)
        for readout in np.unique(data.readout[train]):
            own = data.x_deg[train[data.readout[train] == readout]]
            self._scale[readout] = float(np.sqrt(np.mean(np.square(own))))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            self.network = self.make(data, train)
            self._train(data, train, valid)

    def _train(self, data: TrainingData, train: np.ndarray, valid: np.ndarray) -> None:
        optimizer = torch.optim.Adam(
            self.network.parameters(), lr=self.lr, weight_decay=self.weight_decay
        )
        best, best_state, waited = -np.inf, copy.deepcopy(self.network.state_dict()), 0
        for epoch in range(1, self.max_epochs + 1):
            self.epochs = epoch
            self.network.train()
            order = train[torch.randperm(len(train)).numpy()]
            # A last batch of one row would break batch norm: it joins the one before.
            count = max(1, len(order) // self.batch)
            for chosen in np.array_split(order, count):
                rows = self._rows(data, chosen)
                change = torch.from_numpy(self._scaled(data, chosen))
                optimizer.zero_grad(set_to_none=True)
                self.network.loss(rows, change).backward()
                optimizer.step()
            judged = valid if len(valid) else train
            score = float(pearson_rows(self.predict(data, judged), data.x_deg[judged]).mean())
            if score > best:
                best, waited = score, 0
                best_state = copy.deepcopy(self.network.state_dict())
            else:
                waited += 1
            if waited >= self.patience:
                break
        self.network.load_state_dict(best_state)

    @torch.no_grad()
    def predict(self, data: TrainingData, rows: np.ndarray) -> np.ndarray:
        """x_deg in units of the read-out."""
        self.network.eval()
        found = np.zeros((len(rows), data.x_deg.shape[1]), dtype=np.float32)
        for start in range(0, len(rows), 256):
            chosen = rows[start : start + 256]
            found[start : start + 256] = self.network(self._rows(data, chosen)).numpy()
        return found * self._scale[data.readout[rows]][:, None]

    def _scaled(self, data: TrainingData, rows: np.ndarray) -> np.ndarray:
        scaled: np.ndarray = data.x_deg[rows] / self._scale[data.readout[rows]][:, None]
        return scaled

    @staticmethod
    def _rows(data: TrainingData, rows: np.ndarray) -> Rows:
        return Rows(
            torch.from_numpy(data.profiles[data.profile_index[rows]]),
            torch.from_numpy(data.drug_index[rows]),
            torch.from_numpy(data.cell_index[rows]),
            torch.from_numpy(conditions(data, rows)),
            torch.from_numpy(np.log10(data.dose_um[rows] + 1)[:, None]),
        )


def table(values: np.ndarray) -> Tensor:
    """Features of all drugs as float32, shape (D, F)."""
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))


def dense(*widths: int, dropout: float, slope: float = 0.0) -> nn.Sequential:
    """Linear, batch norm, (leaky) ReLU and dropout for each step between widths."""
    layers: list[nn.Module] = []
    for width, following in itertools.pairwise(widths):
        layers += [
            nn.Linear(width, following),
            nn.BatchNorm1d(following),
            nn.LeakyReLU(slope),
            nn.Dropout(dropout),
        ]
    return nn.Sequential(*layers)
