"""Token embeddings: cells ("Transcript profile embedding") and drugs ("Drug tokenization")."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from xpert_core.conditions import DOSE_BIN_EDGES_UM, TIME_BINS_H
from xpert_core.model.blocks import Dropout, layer_norm
from xpert_core.model.config import ModelConfig
from xpert_core.tokens.batch import DrugTokens, Treatments

#: Centres of the radial features of log10(dose in uM) and log2(time in h), with their widths.
DOSE_CENTRES = torch.linspace(-3.0, 3.0, 13)
DOSE_WIDTH = 0.5
TIME_CENTRES = torch.linspace(0.0, 8.0, 9)
TIME_WIDTH = 1.0
#: Kinds of drug token, for the "type" positional encoding.
TOKEN_KINDS = ("readout", "dose", "time", "graph", "molecule", "atom")


class CellEmbedding(nn.Module):
    """``LN(gene vector + value vector)`` with the cls token in front (equations 1 and 2)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        d = config.d_model
        rows = config.n_value_tokens + int(config.missing_token)
        self.value = nn.Embedding(rows, d)
        self.gene = nn.Parameter(torch.randn(config.n_genes, d) * 0.5)
        self.cls = nn.Parameter(torch.randn(1, 1, d))
        self.norm = layer_norm(config)
        self.dropout = Dropout(config.dropout)
        self.ppi_projection: nn.Linear | None = None
        if config.use_ppi:
            # A buffer with a trained projection keeps the network knowledge in the model (D-06);
            # the free vector beside it tells apart genes that share a network vector.
            self.register_buffer("ppi", torch.zeros(config.n_genes, config.ppi_dim))
            self.ppi_projection = nn.Linear(config.ppi_dim, d, bias=False)
        self.n_value_tokens = config.n_value_tokens
        self.raw: nn.Linear | None = None
        if config.raw_values:
            # Tokens are ranks of the profile's own data set, so the line holds on every assay.
            self.register_buffer("token_mean", torch.zeros(config.n_genes))
            self.raw = nn.Linear(1, d, bias=False)
        with torch.no_grad():
            self.value.weight[: config.n_value_tokens] = _smooth_vectors(config.n_value_tokens, d)

    def forward(self, tokens: Tensor, genes: Tensor | None = None) -> Tensor:
        """Value tokens (P, G) to embeddings (P, G + 1, d); with `genes`, of these genes alone."""
        gene = self.gene_vectors()
        value = self.value(tokens)
        if self.raw is not None:
            value = value + self.raw(self._centred(tokens)[..., None])
        if genes is not None:
            value, gene = value[:, genes], gene[genes]
        embedded = self.dropout(self.norm(value + gene))
        return torch.cat([self.cls.expand(len(tokens), -1, -1), embedded], dim=1)

    def gene_vectors(self) -> Tensor:
        """Token of each gene before its value is added, shape (G, d)."""
        if self.ppi_projection is None:
            return self.gene
        found: Tensor = self.gene + self.ppi_projection(self.get_buffer("ppi"))
        return found

    def _centred(self, tokens: Tensor) -> Tensor:
        """Distance of each token from the gene's mean token, in tenths of all bins."""
        apart = (tokens - self.get_buffer("token_mean")) * (10 / self.n_value_tokens)
        return apart.masked_fill(tokens >= self.n_value_tokens, 0.0)


class ConditionEmbedding(nn.Module):
    """Dose and time tokens: smooth in log dose and log time, or the paper's bins."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        d = config.d_model
        self.continuous = config.conditions == "continuous"
        self.dose: nn.Module
        self.time: nn.Module
        if self.continuous:
            self.dose = _mlp(len(DOSE_CENTRES) + 1, d)
            self.time = _mlp(len(TIME_CENTRES) + 1, d)
            self.register_buffer("dose_centres", DOSE_CENTRES.clone(), persistent=False)
            self.register_buffer("time_centres", TIME_CENTRES.clone(), persistent=False)
        else:
            self.dose = nn.Embedding(len(DOSE_BIN_EDGES_UM) + 1, d)
            self.time = nn.Embedding(len(TIME_BINS_H), d)
            self.register_buffer("dose_edges", torch.tensor(DOSE_BIN_EDGES_UM), persistent=False)
            self.register_buffer("log_times", torch.tensor(TIME_BINS_H).log(), persistent=False)

    def forward(self, dose_um: Tensor, time_h: Tensor) -> Tensor:
        """Micromolar (T,) and hours (T,) to tokens (T, 2, d)."""
        if self.continuous:
            log_dose, log_time = dose_um.log10(), time_h.log2()
            dose = self.dose(_radial(log_dose, self.get_buffer("dose_centres"), DOSE_WIDTH))
            time = self.time(_radial(log_time, self.get_buffer("time_centres"), TIME_WIDTH))
        else:
            edges, log_times = self.get_buffer("dose_edges"), self.get_buffer("log_times")
            dose = self.dose(torch.bucketize(dose_um, edges, right=True))
            time = self.time((time_h.log()[:, None] - log_times).abs().argmin(dim=1))
        return torch.stack([dose, time], dim=1)


class DrugEmbedding(nn.Module):
    """Drug tokens in the order of equation 6: conditions, biological, molecule, atoms.

    The read-out token (which assay the target is measured on) counts as a condition and comes
    first.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        d = config.d_model
        self.config = config
        self.structure = nn.Linear(config.feature_dim, d)
        self.readout = nn.Embedding(config.n_readouts, d) if config.use_readout else None
        self.conditions = ConditionEmbedding(config) if config.conditions != "none" else None
        self.graph = nn.Linear(config.graph_dim, d) if config.graph_dim else None
        # Stands for drugs that the graph cannot place.
        self.unplaced = nn.Parameter(torch.randn(d) * 0.5)
        self.position = _position_table(config)
        self.norm = layer_norm(config)
        self.dropout = Dropout(config.dropout)

    def encode_drugs(self, drugs: DrugTokens) -> tuple[Tensor, Tensor]:
        """Tokens that depend on the drug alone: (D, L, d) and their mask (D, L)."""
        config = self.config
        parts, masks = [], []
        if config.use_graph:
            parts.append(self._biological(drugs)[:, None])
            masks.append(torch.ones_like(drugs.has_molecule)[:, None])
        if config.use_molecule:
            parts.append(self.structure(drugs.molecule)[:, None])
            masks.append(drugs.has_molecule[:, None])
        if config.use_atoms:
            parts.append(self.structure(drugs.atoms))
            masks.append(drugs.atom_mask)
        return torch.cat(parts, dim=1), torch.cat(masks, dim=1)

    def forward(
        self, encoded: Tensor, mask: Tensor, treatments: Treatments
    ) -> tuple[Tensor, Tensor | None]:
        """Put the condition tokens in front of the drug's own: (T, L', d) and mask (T, L')."""
        front = []
        if self.readout is not None:
            front.append(self.readout(treatments.readout)[:, None])
        if self.conditions is not None:
            front.append(self.conditions(treatments.dose_um, treatments.time_h))
        tokens = torch.cat([*front, encoded[treatments.drug]], dim=1)
        tokens = tokens + self._positions(tokens.shape[1])
        tokens = self.dropout(self.norm(tokens))
        if not self.config.mask_padding:
            return tokens, None
        n_front = sum(part.shape[1] for part in front)
        ones = mask.new_ones(len(tokens), n_front)
        return tokens, torch.cat([ones, mask[treatments.drug]], dim=1)

    def _biological(self, drugs: DrugTokens) -> Tensor:
        vectors = drugs.graph
        if self.graph is not None:
            # The graph gives unit vectors: only their direction is trained.
            vectors = self.graph(vectors * self.config.graph_dim**0.5)
        return torch.where(drugs.has_graph[:, None], vectors, self.unplaced)

    def _positions(self, length: int) -> Tensor:
        if self.config.positional != "type":
            return self.position[:length]
        kinds = token_kinds(self.config)
        index = [TOKEN_KINDS.index(k) for k in kinds]
        index += [TOKEN_KINDS.index("atom")] * (length - len(index))
        return self.position[index]


def token_kinds(config: ModelConfig) -> list[str]:
    """Kinds of the drug tokens in front of the atoms, in order."""
    kinds = ["readout"] if config.use_readout else []
    kinds += ["dose", "time"] if config.conditions != "none" else []
    kinds += ["graph"] if config.use_graph else []
    return kinds + (["molecule"] if config.use_molecule else [])


def _position_table(config: ModelConfig) -> nn.Parameter:
    d = config.d_model
    if config.positional == "type":
        return nn.Parameter(torch.randn(len(TOKEN_KINDS), d) * 0.5)
    length = len(token_kinds(config)) + (config.max_atoms if config.use_atoms else 0)
    if config.positional == "learned":
        return nn.Parameter(torch.randn(length, d) * 0.5)
    angle = torch.arange(length)[:, None] / 10_000 ** (torch.arange(0, d, 2) / d)
    table = torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)[:, :d]
    return nn.Parameter(table, requires_grad=False)


def _radial(x: Tensor, centres: Tensor, width: float) -> Tensor:
    bumps = torch.exp(-0.5 * ((x[:, None] - centres) / width) ** 2)
    return torch.cat([x[:, None] / centres.abs().max(), bumps], dim=1)


def _mlp(width: int, d: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, d), nn.GELU(), nn.Linear(d, d))


def _smooth_vectors(rows: int, d: int, *, length_scale: float = 12.0) -> Tensor:
    """Random Fourier features of the bin index: neighbouring bins start out alike.

    Few distinct profiles train the value tokens; without this, adjacent bins would begin as
    unrelated symbols.
    """
    frequency = torch.randn(d) / length_scale
    phase = torch.rand(d) * 2 * math.pi
    index = torch.arange(rows, dtype=torch.float32)[:, None]
    return torch.cos(index * frequency + phase)
