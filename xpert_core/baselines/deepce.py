"""DeepCE (Pham et al., Nature Machine Intelligence 2021): attention between genes and atoms.

Written from the paper and the audit's description; its repository has no licence and nothing of it
is used.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn

from xpert_core.baselines.molecules import (
    Molecules,
    MoleculeTable,
    NeuralFingerprint,
    molecules,
    padded,
    pooled,
)
from xpert_core.baselines.network import (
    CHEAPER,
    CONDITION_DIM,
    STOPPED,
    GeneNetwork,
    GeneNetworkBaseline,
    Network,
    Rows,
    gene_vectors,
    one_hot_cells,
    seen_cells,
)
from xpert_core.baselines.registry import BaselineInfo, register
from xpert_core.model.attention import attention
from xpert_core.model.blocks import Dropout
from xpert_core.tokens.dataset import TrainingData

WIDTH, HEADS, FEED_FORWARD, LAYERS, SMALL = 128, 4, 512, 2, 4
CONVOLUTIONS = (16, 16)
DROPOUT = 0.1


class _Attention(nn.Module):
    """PyTorch's multi-head attention, with dropout of its weights that is cheap on the CPU."""

    def __init__(self) -> None:
        super().__init__()
        self.held = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)
        self.dropout = Dropout(DROPOUT)

    def forward(self, genes: Tensor, seen: Tensor, filled: Tensor | None = None) -> Tensor:
        """Queries of `genes` (B, g, d) to `seen` (B, s, d); only those `filled` (B, s) count."""
        maps = zip(self.held.in_proj_weight.chunk(3), self.held.in_proj_bias.chunk(3), strict=True)
        query, key, value = (
            nn.functional.linear(x, weight, bias).unflatten(-1, (HEADS, -1)).transpose(1, 2)
            for x, (weight, bias) in zip((genes, seen, seen), maps, strict=True)
        )
        if self.training:
            scores = (query / (WIDTH / HEADS) ** 0.5) @ key.transpose(2, 3)
            if filled is not None:
                scores = scores.masked_fill(~filled[:, None, None], -torch.inf)
            mixed = self.dropout(scores.softmax(dim=3)) @ value
        else:
            mixed = attention(query, key, value, filled)
        found: Tensor = self.held.out_proj(mixed.transpose(1, 2).flatten(2))
        return found


class _Layer(nn.Module):
    """Self-attention of genes and attention to atoms side by side, then a feed-forward layer."""

    def __init__(self) -> None:
        super().__init__()
        self.own, self.atoms = _Attention(), _Attention()
        self.norms = nn.ModuleList(nn.LayerNorm(WIDTH) for _ in range(3))
        self.join = nn.Sequential(
            nn.Linear(2 * WIDTH, FEED_FORWARD),
            nn.ReLU(),
            Dropout(DROPOUT),
            nn.Linear(FEED_FORWARD, WIDTH),
        )

    def forward(self, genes: Tensor, atoms: Tensor, filled: Tensor) -> Tensor:
        one = self.norms[0](genes + self.own(genes, genes))
        # Genes that no drug has touched yet stand there once for all drugs.
        genes, one = (x.expand(len(atoms), -1, -1) for x in (genes, one))
        two = self.norms[1](genes + self.atoms(genes, atoms, filled))
        found: Tensor = self.norms[2](genes + self.join(torch.cat([one, two], dim=2)))
        return found


class _DeepCE(GeneNetwork):
    def __init__(self, graphs: Molecules, genes: Tensor, seen: Tensor, share: float) -> None:
        super().__init__(genes, share)
        self.graphs = MoleculeTable(graphs)
        self.register_buffer("seen", seen)
        # Drugs without a structure look alike: the drug-gene network is computed once for all.
        known = torch.bincount(graphs.owner, minlength=graphs.count) > 0
        alike = torch.arange(graphs.count)
        alike[~known] = int((~known).int().argmax())
        self.register_buffer("alike", alike, persistent=False)
        self.gene = nn.Linear(genes.shape[1], WIDTH)
        self.fingerprint = NeuralFingerprint(CONVOLUTIONS, WIDTH)
        self.layers = nn.ModuleList(_Layer() for _ in range(LAYERS))
        self.cell = nn.Linear(len(seen), SMALL)
        self.condition = nn.Linear(CONDITION_DIM, SMALL)
        self.head = nn.Sequential(
            nn.Linear(2 * WIDTH + 2 * SMALL, WIDTH), nn.ReLU(), nn.Linear(WIDTH, 1)
        )

    def change(self, rows: Rows, genes: Tensor) -> Tensor:
        drugs, which = self.get_buffer("alike")[rows.drug].unique(return_inverse=True)
        graphs = self.graphs.take(drugs)
        fingerprints = self.fingerprint(graphs)
        atoms, filled = padded(fingerprints, graphs)
        states = torch.relu(self.gene(genes))[None]
        for layer in self.layers:
            states = layer(states, atoms, filled)
        cell = self.cell(one_hot_cells(rows.cell, self.get_buffer("seen")))
        whole = torch.cat(
            [pooled(fingerprints, graphs)[which], cell, self.condition(rows.condition)], dim=1
        )
        spread = whole[:, None].expand(-1, states.shape[1], -1)
        found: Tensor = self.head(torch.cat([states[which], spread], dim=2))[..., 0]
        return found


@register(
    BaselineInfo(
        "deepce",
        "DeepCE",
        seeded=True,
        differs="Float32 instead of float64; NetMF gene vectors instead of its own; rows of a drug "
        "stay together in a batch of 64 instead of 16, because the drug-gene network, which sees "
        "neither cell line nor dose, is then computed once a drug; learning rate 1e-3 instead of "
        f"2e-4 for it; {CHEAPER}; {STOPPED}; "
        "time and read-out one-hot beside the dose; an unseen cell line has no bit.",
    )
)
class DeepCE(GeneNetworkBaseline):
    """Widths as published; mean squared error."""

    def make(self, data: TrainingData, train: np.ndarray) -> Network:
        """Graphs of all drugs are read once."""
        graphs = molecules(data.drug_smiles)
        return _DeepCE(graphs, gene_vectors(data), seen_cells(data, train), self.gene_share)

    def batches(self, data: TrainingData, train: np.ndarray) -> Iterator[np.ndarray]:
        """Drugs in random order, the rows of each together."""
        drug = data.drug_index[train]
        order = np.argsort(torch.randperm(len(data.drug_keys)).numpy()[drug], kind="stable")
        yield from np.array_split(train[order], max(1, len(train) // self.batch))
