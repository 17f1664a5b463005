"""The dual-branch network (paper, "XPert architecture overview", equations 7 to 13)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from xpert_core.model.blocks import CrossLayer, Dropout, MultiHeadAttention, SelfLayer, layer_norm
from xpert_core.model.config import ModelConfig
from xpert_core.model.embedding import CellEmbedding, DrugEmbedding
from xpert_core.tokens.batch import Batch, DrugTokens, Treatments

Maps = dict[str, Tensor]


@dataclass(frozen=True)
class CellStates:
    """What depends on the profile alone; compute once per distinct profile.

    Attributes
    ----------
    base : Tensor or None, shape (P, G + 1, d)
        Output of the base branch; None for the single-branch ablation.
    start : Tensor, shape (P, G + 1, d)
        State of the perturbation branch just before the drug enters.
    """

    base: Tensor | None
    start: Tensor

    def take(self, index: Tensor) -> CellStates:
        """States of the rows at `index`."""
        return CellStates(None if self.base is None else self.base[index], self.start[index])


@dataclass(frozen=True)
class TreatmentStates:
    """What depends on the treatment alone.

    Attributes
    ----------
    tokens : tuple of Tensor, each (T, L, d)
        Refined drug tokens, one entry a cross-attention layer.
    mask : Tensor of bool or None, shape (T, L)
        True for real tokens; None where padding is not masked (published style).
    """

    tokens: tuple[Tensor, ...]
    mask: Tensor | None

    def take(self, index: Tensor) -> TreatmentStates:
        """States of the rows at `index`."""
        mask = None if self.mask is None else self.mask[index]
        return TreatmentStates(tuple(t[index] for t in self.tokens), mask)


@dataclass(frozen=True)
class Output:
    """Predictions of R rows.

    Attributes
    ----------
    x_deg : Tensor, shape (R, G)
        Change, in units of the row's read-out (equation 13).
    x_pert : Tensor, shape (R, G)
        Expression after treatment, log2 of the training assay (equation 10).
    x_ctl : Tensor or None, shape (R, G)
        Read-out of the base branch, published style only.
    cls : Tensor, shape (R, 2, d)
        cls embedding of the perturbation and the base branch.
    class_logits : Tensor or None, shape (R, 2, n_classes)
        Cell classes from both cls tokens, perturbation branch first.
    direction : Tensor or None, shape (R, G)
        Logit of "goes up", where the network has that head.
    """

    x_deg: Tensor
    x_pert: Tensor
    x_ctl: Tensor | None
    cls: Tensor
    class_logits: Tensor | None
    direction: Tensor | None = None


class XPert(nn.Module):
    """Predicts the transcriptional response of a profile to a treatment.

    Parameters
    ----------
    config : ModelConfig
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.cell_embedding = CellEmbedding(config)
        self.drug_embedding = DrugEmbedding(config)
        self.base_layers = nn.ModuleList(
            [] if config.single_branch else [SelfLayer(config) for _ in _names(config.base_layers)]
        )
        self.pert_layers = nn.ModuleList(
            CrossLayer(config) if name == "CA" else SelfLayer(config)
            for name in _names(config.pert_layers)
        )
        final = config.norm == "pre"
        self.base_norm: nn.Module = layer_norm(config) if final else nn.Identity()
        self.pert_norm: nn.Module = layer_norm(config) if final else nn.Identity()
        self.pert_head = _head(config)
        self.deg_head = _head(config)
        self.control_head = _head(config) if config.control_head else None
        self.direction_head = _head(config) if config.direction_head else None
        self.prior = nn.Linear(1, config.d_model, bias=False) if config.use_prior else None
        if config.use_prior:
            # Training starts at the simple model itself.
            for parameter in self.deg_head[-1].parameters():
                nn.init.zeros_(parameter)
        self.classifier = nn.Linear(config.d_model, config.n_classes) if config.n_classes else None
        # Units of the targets, measured on the training rows; identity in the published style.
        self.register_buffer("x_deg_scale", torch.ones(config.n_readouts))
        self.register_buffer("x_pert_mean", torch.zeros(config.n_genes))

    def set_backend(self, backend: str) -> None:
        """Choose the attention backend of every layer (see `xpert_core.model.attention`)."""
        for module in self.modules():
            if isinstance(module, MultiHeadAttention):
                module.backend = backend

    def encode_profiles(
        self,
        tokens: Tensor,
        maps: Maps | None = None,
        genes: Tensor | None = None,
        *,
        base_branch: bool = True,
    ) -> CellStates:
        """Encode distinct control profiles, without any drug.

        Parameters
        ----------
        tokens : Tensor of int64, shape (P, G)
        maps : dict, optional
            Filled with the attention each token receives per layer, ``base_SA_i`` and so on.
        genes : Tensor of int64, shape (g,), optional
            Genes that take part, as if no other were there; all states then have g + 1 tokens.
        base_branch : bool
            False leaves it out, for those who look at the attention of the other branch alone.
        """
        embedded = self.cell_embedding(tokens, genes)
        base = None
        if base_branch and not self.config.single_branch:
            base = embedded
            for i, layer in enumerate(self.base_layers):
                assert isinstance(layer, SelfLayer)
                if maps is not None:
                    maps[f"base_SA_{i}"] = layer.received(base)
                base = layer(base)
            base = self.base_norm(base)
        start = embedded
        for layer in self.pert_layers:
            if isinstance(layer, CrossLayer):
                return CellStates(base, layer.cell_self(start))
            start = layer(start)
        return CellStates(base, start)

    def encode_treatments(
        self, encoded: Tensor, mask: Tensor, treatments: Treatments
    ) -> TreatmentStates:
        """Refine the drug tokens of each treatment through all cross-attention layers.

        Parameters
        ----------
        encoded, mask : Tensor
            From ``drug_embedding.encode_drugs``, shapes (D, L, d) and (D, L).
        treatments : Treatments
        """
        tokens, token_mask = self.drug_embedding(encoded, mask, treatments)
        refined = []
        for layer in self.pert_layers:
            if isinstance(layer, CrossLayer):
                tokens = layer.drug_layer(tokens, token_mask)
                refined.append(tokens)
        return TreatmentStates(tuple(refined), token_mask)

    def encode_drugs(self, drugs: DrugTokens) -> tuple[Tensor, Tensor]:
        """Tokens that depend on the drug alone, and their mask."""
        return self.drug_embedding.encode_drugs(drugs)

    def decode(
        self,
        cells: CellStates,
        treatments: TreatmentStates,
        readout: Tensor,
        maps: Maps | None = None,
        genes: Tensor | None = None,
        prior: Tensor | None = None,
        queries: Tensor | None = None,
    ) -> Output:
        """Join profiles and treatments row by row.

        Parameters
        ----------
        cells, treatments : states gathered to R rows
        readout : Tensor of int64, shape (R,)
        maps : dict, optional
            Filled with mean cell-to-drug attention per cross-attention layer, ``CA_i``.
        genes : Tensor of int64, shape (g,), optional
            What the profiles were encoded with; the predictions have g genes.
        prior : Tensor, shape (R, G), optional
            See `Batch.prior`; needed where the configuration says `use_prior`.
        queries : Tensor of int64, optional
            Cell tokens (cls is 0, gene g is g + 1) over which `maps` are averaged; None = all.
        """
        state = cells.start
        layers = list(self.pert_layers)
        first = next((i for i, m in enumerate(layers) if isinstance(m, CrossLayer)), len(layers))
        crosses = 0
        for i, layer in enumerate(layers[first:], start=first):
            if not isinstance(layer, CrossLayer):
                state = layer(state)
                continue
            if i > first:
                state = layer.cell_self(state)
            drug = treatments.tokens[crosses]
            if maps is not None:
                asking = state if queries is None else state[:, queries]
                maps[f"CA_{i}"] = layer.cross_received(asking, drug, treatments.mask)
            state = layer.cross(state, drug, treatments.mask)
            crosses += 1
        if prior is not None and genes is not None:
            prior = prior[:, genes]
        return self._read_out(self.pert_norm(state), cells.base, readout, genes, prior)

    def forward(
        self, batch: Batch, maps: Maps | None = None, genes: Tensor | None = None
    ) -> Output:
        """Predict the rows of a batch; profiles and treatments are encoded once each.

        `maps` and `genes` are those of `encode_profiles` and `decode`.
        """
        cells = self.encode_profiles(batch.profiles, maps, genes)
        treatments = self.encode_treatments(*self.encode_drugs(batch.drugs), batch.treatments)
        return self.decode(
            cells.take(batch.profile_index),
            treatments.take(batch.treatment_index),
            batch.treatments.readout[batch.treatment_index],
            maps,
            genes,
            batch.prior,
        )

    def _read_out(
        self,
        pert: Tensor,
        base: Tensor | None,
        readout: Tensor,
        genes: Tensor | None,
        prior: Tensor | None,
    ) -> Output:
        difference = (pert if base is None else pert - base)[:, 1:]
        unit = self.get_buffer("x_deg_scale")[readout][:, None]
        if self.prior is not None:
            assert prior is not None, "a network with use_prior needs Batch.prior"
            difference = difference + self.prior((prior / unit)[..., None])
        x_deg = self.deg_head(difference).squeeze(-1) * unit
        if self.prior is not None:
            x_deg = x_deg + prior
        direction = None
        if self.direction_head is not None:
            direction = self.direction_head(difference).squeeze(-1)
        mean = self.get_buffer("x_pert_mean")
        x_pert = self.pert_head(pert[:, 1:]).squeeze(-1) + (mean if genes is None else mean[genes])
        cls = torch.stack([pert[:, 0], pert[:, 0] if base is None else base[:, 0]], dim=1)
        x_ctl = None
        if self.control_head is not None and base is not None:
            x_ctl = self.control_head(base[:, 1:]).squeeze(-1)
        logits = None if self.classifier is None else self.classifier(cls)
        return Output(x_deg, x_pert, x_ctl, cls, logits, direction)


def _names(layers: str) -> list[str]:
    return layers.split("+")


def _head(config: ModelConfig) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(config.d_model, config.d_head),
        nn.ReLU(),
        Dropout(config.head_dropout),
        nn.Linear(config.d_head, 1),
    )
