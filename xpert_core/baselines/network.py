"""What the network baselines share: inputs, units, one training loop."""

from __future__ import annotations

import copy
import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from xpert_core.conditions import DOSE_BIN_EDGES_UM, TIME_BINS_H
from xpert_core.errors import DataError
from xpert_core.evaluation.metrics import pearson_rows
from xpert_core.paths import assets_dir
from xpert_core.tokens.dataset import READOUTS, TrainingData

MAX_EPOCHS, PATIENCE = 60, 8
"""Of every network unless its settings say otherwise."""
STOPPED = (
    f"unless its settings say otherwise, at most {MAX_EPOCHS} epochs, stopped after {PATIENCE} "
    "without a better validation PCC"
)
"""For what a table says of a network; the report gives the settings that change it."""
CHEAPER = (
    "where settings say so, a step trains on a part of the genes (`gene_share`), an epoch is "
    "judged on a part of them (`judged_share`), and both are computed in bfloat16 (`bf16`) where "
    "the processor has AVX512-BF16"
)
"""For what a table says of a network that attends among genes."""
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
        One-hot dose bin, time and read-out: how the paper gives dose and time to a network.
    log_dose : Tensor, shape (B, 1)
        log10(dose in uM + 1).
    """

    control: Tensor
    drug: Tensor
    cell: Tensor
    condition: Tensor
    log_dose: Tensor


def condition_bins(data: TrainingData, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Dose bin, and nearest of the three times (by ratio), each of shape (len(rows),)."""
    dose = np.digitize(data.dose_um[rows], DOSE_BIN_EDGES_UM)
    ratio = np.abs(np.log(data.time_h[rows])[:, None] - np.log(TIME_BINS_H))
    return dose, ratio.argmin(axis=1)


def conditions(data: TrainingData, rows: np.ndarray) -> np.ndarray:
    """One-hot dose bin, time and read-out."""
    sizes = (len(DOSE_BIN_EDGES_UM) + 1, len(TIME_BINS_H), len(READOUTS))
    codes = (*condition_bins(data, rows), data.readout[rows])
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


class GeneNetwork(Network):
    """A network that attends among genes, and can do so among a part of them.

    Parameters
    ----------
    genes : Tensor, shape (G, F)
        Vectors of the genes.
    share : float
        Share of the genes, drawn anew for each batch, that a training step sees.
    """

    def __init__(self, genes: Tensor, share: float) -> None:
        super().__init__()
        self.register_buffer("genes", genes)
        self.share = share

    @abstractmethod
    def change(self, rows: Rows, genes: Tensor) -> Tensor:
        """Change of the genes whose vectors are given, shape (B, g)."""

    def forward(self, rows: Rows) -> Tensor:
        return self.change(rows, self.get_buffer("genes"))

    def distance(self, found: Tensor, change: Tensor) -> Tensor:
        """Loss of predictions of some genes."""
        return nn.functional.mse_loss(found, change)

    def loss(self, rows: Rows, change: Tensor) -> Tensor:
        genes = self.get_buffer("genes")
        if self.share < 1:
            chosen = torch.randperm(len(genes))[: part_of(len(genes), self.share)].to(genes.device)
            genes, change = genes[chosen], change[:, chosen]
        return self.distance(self.change(rows, genes).float(), change)


class NetworkBaseline(ABC):
    """A network trained with Adam, stopped on the PCC of the validation rows.

    Parameters
    ----------
    seed : int
        Of weights, batches and dropout; the global random state is left as it was.
    max_epochs, patience : int
        Training ends after `patience` epochs without a better validation PCC; the best weights
        stay.

    Attributes
    ----------
    device : torch.device
        Where it is trained and asked.
    """

    lr = 1e-3
    weight_decay = 0.0
    batch = 64

    def __init__(
        self, seed: int = 0, max_epochs: int = MAX_EPOCHS, patience: int = PATIENCE
    ) -> None:
        self.seed = seed
        self.max_epochs = max_epochs
        self.patience = patience
        self.epochs = 0
        self.device = training_device()

    @abstractmethod
    def make(self, data: TrainingData, train: np.ndarray) -> Network:
        """The untrained network."""

    def fit(self, data: TrainingData, train: np.ndarray, valid: np.ndarray) -> None:
        """Train on `train`, stop on `valid`."""
        self._scale = np.ones(len(READOUTS), dtype=np.float32)
        for readout in np.unique(data.readout[train]):
            own = data.x_deg[train[data.readout[train] == readout]]
            self._scale[readout] = float(np.sqrt(np.mean(np.square(own))))
        # Seeding is of every GPU, so all are put back.
        with torch.random.fork_rng(range(torch.cuda.device_count())):
            torch.manual_seed(self.seed)
            # Made on the CPU: every machine begins with the same weights.
            self.network = self.make(data, train).to(self.device)
            self._train(data, train, valid)

    def _train(self, data: TrainingData, train: np.ndarray, valid: np.ndarray) -> None:
        optimizer = torch.optim.Adam(
            self.network.parameters(), lr=self.lr, weight_decay=self.weight_decay
        )
        best, best_state, waited = -np.inf, copy.deepcopy(self.network.state_dict()), 0
        for epoch in range(1, self.max_epochs + 1):
            self.epochs = epoch
            self.network.train()
            for chosen in self.batches(data, train):
                rows = self._rows(data, chosen)
                change = torch.from_numpy(self._scaled(data, chosen)).to(self.device)
                optimizer.zero_grad(set_to_none=True)
                with self.precision():
                    loss = self.network.loss(rows, change)
                loss.backward()
                optimizer.step()
            score = self.judge(data, valid if len(valid) else train)
            if score > best:
                best, waited = score, 0
                best_state = copy.deepcopy(self.network.state_dict())
            else:
                waited += 1
            if waited >= self.patience:
                break
        self.network.load_state_dict(best_state)

    def precision(self) -> AbstractContextManager[object]:
        """In what a training step is computed; float32 unless a model has its own."""
        return nullcontext()

    def judge(self, data: TrainingData, rows: np.ndarray) -> float:
        """Mean PCC of the rows after an epoch."""
        return float(pearson_rows(self.predict(data, rows), data.x_deg[rows]).mean())

    def batches(self, data: TrainingData, train: np.ndarray) -> Iterator[np.ndarray]:
        """Rows of each batch of an epoch."""
        order = train[torch.randperm(len(train)).numpy()]
        # A last batch of one row would break batch norm: all have nearly the same size.
        yield from np.array_split(order, max(1, len(order) // self.batch))

    def predict(self, data: TrainingData, rows: np.ndarray) -> np.ndarray:
        """x_deg in units of the read-out."""
        return self.answers(data, rows, self.network, data.x_deg.shape[1])

    @torch.no_grad()
    def answers(
        self, data: TrainingData, rows: np.ndarray, ask: Callable[[Rows], Tensor], genes: int
    ) -> np.ndarray:
        """What `ask` says of the rows, of so many genes, in units of the read-out."""
        self.network.eval()
        found = np.zeros((len(rows), genes), dtype=np.float32)
        # Rows of a drug together: some networks compute what depends on the drug once.
        order = np.argsort(data.drug_index[rows], kind="stable")
        for start in range(0, len(rows), self.batch):
            chosen = order[start : start + self.batch]
            found[chosen] = ask(self._rows(data, rows[chosen])).float().cpu().numpy()
        return found * self._scale[data.readout[rows]][:, None]

    def _scaled(self, data: TrainingData, rows: np.ndarray) -> np.ndarray:
        scaled: np.ndarray = data.x_deg[rows] / self._scale[data.readout[rows]][:, None]
        return scaled

    def _rows(self, data: TrainingData, rows: np.ndarray) -> Rows:
        parts = (
            data.profiles[data.profile_index[rows]],
            data.drug_index[rows],
            data.cell_index[rows],
            conditions(data, rows),
            np.log10(data.dose_um[rows] + 1)[:, None],
        )
        return Rows(*(torch.from_numpy(part).to(self.device) for part in parts))


class GeneNetworkBaseline(NetworkBaseline):
    """A `GeneNetwork` as a baseline.

    Parameters
    ----------
    seed, max_epochs, patience : int
        See `NetworkBaseline`.
    gene_share : float
        Share of the genes a training step sees; 1 as published.
    judged_share : float
        Share of the genes, drawn once, on which an epoch is judged: the network attends among
        these alone. It is asked about all of them in the end.
    bf16 : bool
        Train in bfloat16 where the processor has AVX512-BF16; elsewhere in float32: other
        processors are faster so, and a GPU needs no help. Predictions are float32.

    Raises
    ------
    DataError
        When a share is not above 0 and at most 1.
    """

    network: GeneNetwork

    def __init__(
        self,
        seed: int = 0,
        max_epochs: int = MAX_EPOCHS,
        patience: int = PATIENCE,
        gene_share: float = 1.0,
        judged_share: float = 1.0,
        bf16: bool = False,
    ) -> None:
        super().__init__(seed, max_epochs, patience)
        for name, share in (("gene_share", gene_share), ("judged_share", judged_share)):
            if not 0 < share <= 1:
                raise DataError(
                    f"A share of the genes cannot be {share:g}.",
                    where=f"settings: {name}",
                    fix="Give a number above 0, at most 1.",
                )
        self.gene_share = gene_share
        self.judged_share = judged_share
        self.bf16 = bf16

    def precision(self) -> AbstractContextManager[object]:
        """bfloat16 if asked for and native."""
        return torch.autocast("cpu", torch.bfloat16, enabled=self.trains_in == "bfloat16")

    @property
    def trains_in(self) -> str:
        """``bfloat16`` or ``float32``, on this machine."""
        native = self.device.type == "cpu" and native_bf16()
        return "bfloat16" if self.bf16 and native else "float32"

    def judge(self, data: TrainingData, rows: np.ndarray) -> float:
        """Mean PCC of the rows over the genes that are judged."""
        vectors = self.network.get_buffer("genes")
        # The same genes after every epoch, whatever was drawn meanwhile.
        drawn = np.random.default_rng(self.seed).permutation(len(vectors))
        genes = np.sort(drawn[: part_of(len(vectors), self.judged_share)])
        part = vectors[torch.from_numpy(genes).to(vectors.device)]
        with self.precision():
            found = self.answers(
                data, rows, lambda asked: self.network.change(asked, part), len(genes)
            )
        return float(pearson_rows(found, data.x_deg[np.ix_(rows, genes)]).mean())


def part_of(genes: int, share: float) -> int:
    """How many genes a share of them is: at least two, which a correlation needs."""
    return max(2, round(share * genes))


def training_device() -> torch.device:
    """The CUDA device where there is one, else the processor; no other kind was tried."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def native_bf16() -> bool:
    """Whether the processor multiplies bfloat16 by itself (AVX512-BF16)."""
    # PyTorch 2.10 cannot say; then it is not.
    known: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(known.get("avx512_bf16", False))


def table(values: np.ndarray) -> Tensor:
    """Features of all drugs as float32, shape (D, F)."""
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))


def gene_vectors(data: TrainingData) -> Tensor:
    """Network vectors of the genes of the data, standardised, shape (G, 128).

    Raises
    ------
    DataError
        When they are missing or damaged, or lack a gene.
    """
    path = assets_dir() / "ppi" / "netmf_128d.npz"
    fix = "Install the program again, or write them with training/prepare_ppi.py."
    try:
        with np.load(path, allow_pickle=False) as stream:
            genes, vectors = stream["entrez_id"].tolist(), stream["embedding"]
    except (OSError, ValueError, KeyError) as error:
        raise DataError(
            "The network vectors of genes cannot be read.", where=path.name, fix=fix
        ) from error
    row_of = {gene: row for row, gene in enumerate(genes)}
    missing = [gene for gene in data.info["entrez_id"] if gene not in row_of]
    if missing:
        raise DataError(
            f"{len(missing)} genes have no network vector.",
            where=f"{path.name}, first Entrez id {missing[0]}",
            fix=fix,
        )
    own = vectors[[row_of[gene] for gene in data.info["entrez_id"]]]
    return table((own - own.mean(axis=0)) / np.maximum(own.std(axis=0), 1e-6))


def seen_cells(data: TrainingData, train: np.ndarray) -> Tensor:
    """Which cell lines are trained on, shape (cells,)."""
    found = torch.zeros(len(data.cells), dtype=torch.bool)
    found[torch.from_numpy(np.unique(data.cell_index[train]))] = True
    return found


def one_hot_cells(cell: Tensor, seen: Tensor) -> Tensor:
    """One-hot cell line, shape (B, cells); zeros for one that was not trained on."""
    found = nn.functional.one_hot(cell, len(seen)).float()
    return found * seen


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
