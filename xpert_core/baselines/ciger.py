"""CIGER (Pham et al., Cell Reports Methods 2022): a ranking of genes from drug and cell line.

Written from the paper and the audit's description; its repository has no licence and nothing of it
is used.
"""

from __future__ import annotations

from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from xpert_core.baselines.molecules import (
    Molecules,
    MoleculeTable,
    NeuralFingerprint,
    molecules,
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
from xpert_core.tokens.dataset import READOUTS, TrainingData

FINGERPRINT, CONVOLUTIONS = 1024, (64, 64)
HIDDEN, WIDTH = 1024, 512
DECODER = (512, 128, 32)


class _CIGER(GeneNetwork):
    def __init__(self, graphs: Molecules, genes: Tensor, seen: Tensor, share: float) -> None:
        super().__init__(genes, share)
        self.graphs = MoleculeTable(graphs)
        self.register_buffer("seen", seen)
        self.fingerprint = NeuralFingerprint(CONVOLUTIONS, FINGERPRINT)
        # The first layer of the MLP on [gene, fingerprint, cell, conditions], in two parts: the
        # same numbers without repeating the drug for every gene.
        self.from_gene = nn.Linear(genes.shape[1], HIDDEN)
        self.from_row = nn.Linear(FINGERPRINT + len(seen) + CONDITION_DIM, HIDDEN, bias=False)
        self.narrow = nn.Linear(HIDDEN, WIDTH)
        self.attention = nn.MultiheadAttention(WIDTH, 1, batch_first=True)
        widths = (*DECODER, 1)
        layers: list[nn.Module] = []
        for a, b in zip(DECODER, widths[1:], strict=True):
            layers += [nn.ReLU(), nn.Linear(a, b)]
        self.decoder = nn.Sequential(*layers[1:])

    def change(self, rows: Rows, genes: Tensor) -> Tensor:
        drugs, which = rows.drug.unique(return_inverse=True)
        graphs = self.graphs.take(drugs)
        drug = pooled(self.fingerprint(graphs), graphs)[which]
        cell = one_hot_cells(rows.cell, self.get_buffer("seen"))
        row = self.from_row(torch.cat([drug, cell, rows.condition], dim=1))
        hidden = torch.relu(self.from_gene(genes) + row[:, None])
        states = torch.relu(self.narrow(hidden))
        found: Tensor = self.decoder[1:](self._attended(states))[..., 0]
        return found

    def _attended(self, states: Tensor) -> Tensor:
        """Attention among genes and the decoder's first layer, in fewer products.

        The same numbers: nothing but linear maps stands between the states and the scores, and
        between the values and the decoder, so that those of one side become one matrix; what is
        added to a gene's scores for all genes alike cancels in the softmax.
        """
        query, key, value = self.attention.in_proj_weight.chunk(3)
        query_bias, _, value_bias = self.attention.in_proj_bias.chunk(3)
        out, first = self.attention.out_proj, cast(nn.Linear, self.decoder[0])
        asked = states @ (query.T @ key) + query_bias @ key
        weights = torch.softmax(asked @ states.transpose(1, 2) / WIDTH**0.5, dim=2)
        narrowed = first.weight @ out.weight
        constant = first.bias + first.weight @ out.bias + narrowed @ value_bias
        found: Tensor = weights @ (states @ (narrowed @ value).T) + constant
        return found

    def distance(self, found: Tensor, change: Tensor) -> Tensor:
        """RankCosine: half of one minus the cosine of scores and changes, a list at a time."""
        cosine = nn.functional.cosine_similarity(found, change, dim=1)
        return 0.5 * (1 - cosine).mean()


@register(
    BaselineInfo(
        "ciger",
        "CIGER",
        seeded=True,
        differs="NetMF gene vectors instead of its own; learning rate 1e-3 instead of 3e-3; "
        f"time and read-out one-hot beside the dose; {CHEAPER}; {STOPPED}, instead of "
        "100 epochs; its scores rank genes and have no unit, so one factor a read-out, fitted on "
        "the training rows, makes changes of them; an unseen cell line has no bit.",
    )
)
class CIGER(GeneNetworkBaseline):
    """Widths and batches of 64 as published; list-wise loss."""

    def make(self, data: TrainingData, train: np.ndarray) -> Network:
        """Graphs of all drugs are read once."""
        graphs = molecules(data.drug_smiles)
        return _CIGER(graphs, gene_vectors(data), seen_cells(data, train), self.gene_share)

    def fit(self, data: TrainingData, train: np.ndarray, valid: np.ndarray) -> None:
        """Train, then give the scores a unit."""
        self._factor = np.ones(len(READOUTS), dtype=np.float32)
        super().fit(data, train, valid)
        with self.precision():
            scores, truth = super().predict(data, train), data.x_deg[train]
        for readout in np.unique(data.readout[train]):
            own = data.readout[train] == readout
            power = float((scores[own] ** 2).sum())
            if power > 0:
                self._factor[readout] = float((scores[own] * truth[own]).sum()) / power

    def predict(self, data: TrainingData, rows: np.ndarray) -> np.ndarray:
        """Scores in units of the read-out."""
        return super().predict(data, rows) * self._factor[data.readout[rows]][:, None]
