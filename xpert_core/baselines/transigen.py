"""TranSiGen (Tong et al., Nature Communications 2024): two variational autoencoders.

Written from the paper and the audit's description: profiles before and after treatment have an
autoencoder each; the latent profile before and the drug vector give the latent profile after.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from xpert_core.baselines.network import (
    CONDITION_DIM,
    STOPPED,
    Network,
    NetworkBaseline,
    Rows,
    dense,
    table,
)
from xpert_core.baselines.registry import BaselineInfo, register
from xpert_core.tokens.dataset import TrainingData

ENCODER, LATENT, DECODER, DRUG = 1200, 100, 800, 400
DROPOUT = 0.1
BETA = 0.1

Gaussian = tuple[Tensor, Tensor]
"""Mean and log variance, each (B, LATENT)."""


class _Autoencoder(nn.Module):
    def __init__(self, genes: int) -> None:
        super().__init__()
        self.encoder = dense(genes, ENCODER, dropout=DROPOUT)
        self.latent = nn.Linear(ENCODER, 2 * LATENT)
        self.decoder = nn.Sequential(
            dense(LATENT, DECODER, dropout=DROPOUT), nn.Linear(DECODER, genes), nn.ReLU()
        )

    def encode(self, profile: Tensor) -> Gaussian:
        mean, log_variance = self.latent(self.encoder(profile)).chunk(2, dim=1)
        return mean, log_variance


class _TranSiGen(Network):
    def __init__(self, genes: int, drugs: np.ndarray) -> None:
        super().__init__()
        self.before, self.after = _Autoencoder(genes), _Autoencoder(genes)
        self.register_buffer("drugs", table(drugs), persistent=False)
        self.drug = dense(drugs.shape[1] + CONDITION_DIM, DRUG, dropout=DROPOUT)
        self.transfer = nn.Linear(LATENT + DRUG, 2 * LATENT)

    def _moved(self, latent: Tensor, rows: Rows) -> Gaussian:
        drug = torch.cat([self.get_buffer("drugs")[rows.drug], rows.condition], dim=1)
        mean, log_variance = self.transfer(torch.cat([latent, self.drug(drug)], dim=1)).chunk(2, 1)
        return mean, log_variance

    def forward(self, rows: Rows) -> Tensor:
        latent, _ = self.before.encode(rows.control)
        moved, _ = self._moved(latent, rows)
        change: Tensor = self.after.decoder(moved) - self.before.decoder(latent)
        return change

    def loss(self, rows: Rows, change: Tensor) -> Tensor:
        target = rows.control + change
        one, two = self.before.encode(rows.control), self.after.encode(target)
        z_one = _draw(one)
        moved = self._moved(z_one, rows)
        x_one, x_two = self.before.decoder(z_one), self.after.decoder(_draw(two))
        predicted = self.after.decoder(_draw(moved)) - x_one
        errors = [(x_one - rows.control), (x_two - target), (predicted - change)]
        squared = torch.stack([e.square().sum() for e in errors]).sum()
        nothing = (torch.zeros_like(one[0]), torch.zeros_like(one[1]))
        divergence = _kl(one, nothing) + _kl(two, nothing) + _kl(moved, two)
        return squared + BETA * divergence


def _draw(latent: Gaussian) -> Tensor:
    mean, log_variance = latent
    return mean + torch.randn_like(mean) * torch.exp(0.5 * log_variance)


def _kl(p: Gaussian, q: Gaussian) -> Tensor:
    """Kullback-Leibler divergence of diagonal normals, summed over rows and dimensions."""
    ratio = torch.exp(p[1] - q[1]) + (p[0] - q[0]).square() / torch.exp(q[1])
    return 0.5 * (ratio - 1 - p[1] + q[1]).sum()


@register(
    BaselineInfo(
        "transigen",
        "TranSiGen",
        seeded=True,
        differs="ECFP4 of 1,024 bits instead of 2,048; no shRNA pretraining; nothing is drawn when "
        f"predicting; {STOPPED}, instead of 300 epochs; dose, time and read-out one-hot beside "
        "the drug vector; the profile after treatment is control + change in units of the "
        "read-out's RMS, because level-5 rows have no profile after treatment.",
    )
)
class TranSiGen(NetworkBaseline):
    """Learning rate 1e-3, weight decay 1e-5, batches of 64, as published."""

    weight_decay = 1e-5

    def make(self, data: TrainingData, train: np.ndarray) -> Network:
        """Widths as published."""
        return _TranSiGen(data.profiles.shape[1], data.fingerprint)
