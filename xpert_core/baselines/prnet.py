"""PRnet (Qi et al., Nature Communications 2024): fingerprints scaled by the dose.

Written from the paper and the audit's description of the published code.
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

ADAPTOR, HIDDEN, LATENT, NOISE = (128, 64), 128, 64, 10
DROPOUT, SLOPE = 0.05, 0.3


class _PRnet(Network):
    def __init__(self, genes: int, drugs: np.ndarray) -> None:
        super().__init__()
        self.register_buffer("drugs", table(drugs), persistent=False)
        settings = {"dropout": DROPOUT, "slope": SLOPE}
        self.adaptor = dense(drugs.shape[1] + CONDITION_DIM, *ADAPTOR, **settings)
        self.encoder = dense(genes + ADAPTOR[-1], HIDDEN, LATENT, **settings)
        self.decoder = nn.Sequential(
            dense(LATENT + ADAPTOR[-1] + NOISE, HIDDEN, **settings), nn.Linear(HIDDEN, 2 * genes)
        )

    def _after(self, rows: Rows, noise: Tensor) -> tuple[Tensor, Tensor]:
        scaled = self.get_buffer("drugs")[rows.drug] * rows.log_dose
        drug = self.adaptor(torch.cat([scaled, rows.condition], dim=1))
        latent = self.encoder(torch.cat([rows.control, drug], dim=1))
        mean, variance = self.decoder(torch.cat([latent, drug, noise], dim=1)).chunk(2, dim=1)
        return torch.relu(mean), nn.functional.softplus(variance) + 1e-6

    @torch.no_grad()
    def begin(self, mean: Tensor) -> None:
        """Start from a profile. From nothing, a few thousand rows take hundreds of epochs to reach
        it, and until then the changes that the profiles imply mean nothing."""
        last = self.decoder[-1]
        assert isinstance(last, nn.Linear)
        last.bias[: len(mean)] = mean

    def forward(self, rows: Rows) -> Tensor:
        nothing = rows.control.new_zeros(len(rows.control), NOISE)
        return self._after(rows, nothing)[0] - rows.control

    def loss(self, rows: Rows, change: Tensor) -> Tensor:
        noise = torch.randn(len(rows.control), NOISE, device=rows.control.device)
        mean, variance = self._after(rows, noise)
        return nn.functional.gaussian_nll_loss(mean, rows.control + change, variance)


@register(
    BaselineInfo(
        "prnet",
        "PRnet",
        seeded=True,
        differs="Morgan fingerprint instead of its feature variant; dose bin, time and read-out "
        "one-hot beside it; the noise is 0 when predicting; batches of 64 instead of 512 and a "
        "constant learning rate, for thousands instead of hundreds of thousands of rows; "
        f"{STOPPED}, instead of up to 500 epochs, stopped after about 20; it begins with the mean "
        "profile after treatment; "
        "the profile after treatment is control + change in units of the read-out's RMS.",
    )
)
class PRnet(NetworkBaseline):
    """Learning rate 1e-3, weight decay 1e-8."""

    weight_decay = 1e-8

    def make(self, data: TrainingData, train: np.ndarray) -> Network:
        """Widths as published; it begins with the mean profile after treatment."""
        network = _PRnet(data.profiles.shape[1], data.fingerprint)
        after = data.profiles[data.profile_index[train]] + self._scaled(data, train)
        network.begin(torch.from_numpy(after.mean(axis=0)))
        return network
