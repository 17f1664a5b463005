"""The part of AIMNet2 (wB97M-D3) that makes atom vectors, in plain PyTorch.

Anstine, Zubatyuk and Isayev, "AIMNet2: a neural network potential to meet your neutral, charged,
organic, and elemental-organic needs", Chem. Sci. 2025, 16, 10228. The energy, dispersion and
long-range charge terms of the original are left out; parameters keep its names.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn

DIM = 256
N_FEATURES, N_SHIFTS, N_COMBINATIONS = 16, 16, 12
N_ELEMENTS = 64
_MASKED_SQUARE = 25.0  # square of the cutoff: where the radial functions are zero
_NO_CHARGE = 1e-6


class RadialBasis(nn.Module):
    """Gaussian shells of the distance, cut off smoothly."""

    def __init__(self) -> None:
        super().__init__()
        self.rc_s = nn.Buffer(torch.empty(()))
        self.eta_s = nn.Buffer(torch.empty(()))
        self.shifts_s = nn.Buffer(torch.empty(N_SHIFTS))

    def forward(self, coord: Tensor, padding: Tensor) -> tuple[Tensor, Tensor]:
        """Radial and vector environment of every pair of atoms.

        Parameters
        ----------
        coord : Tensor, shape (B, N, 3)
            Angstrom.
        padding : Tensor of bool, shape (B, N)
            True where there is no atom.

        Returns
        -------
        scalar : Tensor, shape (B, N, N, 16)
        vector : Tensor, shape (B, N, N, 16, 3)
            The same times the unit vector between the atoms.
        """
        difference = coord.unsqueeze(-3) - coord.unsqueeze(-2)
        itself = torch.eye(coord.shape[-2], dtype=torch.bool, device=coord.device)
        masked = padding.unsqueeze(-2) | padding.unsqueeze(-1) | itself
        distance = difference.square().sum(-1).masked_fill(masked, _MASKED_SQUARE).sqrt()
        cutoff = 0.5 * torch.cos((distance / self.rc_s).clamp(0, 1) * math.pi) + 0.5
        shells = torch.exp(-self.eta_s * (distance.unsqueeze(-1) - self.shifts_s).square())
        scalar = shells * cutoff.unsqueeze(-1)
        unit = difference / distance.unsqueeze(-1)
        return scalar, scalar.unsqueeze(-1) * unit.unsqueeze(-2)


class Convolution(nn.Module):
    """Sums of neighbour features over shells: plain, and rotation-invariant vector lengths."""

    def __init__(self, n_channels: int) -> None:
        super().__init__()
        self.agh = nn.Parameter(torch.empty(n_channels, N_SHIFTS, N_COMBINATIONS))

    def forward(self, features: Tensor, scalar: Tensor, vector: Tensor) -> Tensor:
        """Environment vectors, shape (B, N, channels * (16 + 12)).

        `features` has shape (B, N, channels, 16); `scalar` and `vector` come from `RadialBasis`.
        """
        plain = torch.einsum("bnmg,bmag->bnag", scalar, features)
        directed = torch.einsum("bnmgd,bmag->bnagd", vector, features)
        combined = torch.einsum("bnagd,agh->bnahd", directed, self.agh)
        return torch.cat([plain.flatten(-2), combined.square().sum(-1).flatten(-2)], dim=-1)


def _mlp(*widths: int, activate_last: bool) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.Linear(before, after), nn.GELU()]
    return nn.Sequential(*(layers if activate_last else layers[:-1]))


class AIMNet2(nn.Module):
    """Atom-in-molecule vectors from a 3D structure.

    The weights come from a file (`load_state_dict`); a new instance holds no meaningful values.
    """

    def __init__(self) -> None:
        super().__init__()
        environment = N_SHIFTS + N_COMBINATIONS
        first = DIM + N_FEATURES * environment
        later = first + 1 + environment
        self.aev = RadialBasis()
        self.afv = nn.Embedding(N_ELEMENTS, DIM, padding_idx=0)
        self.conv_a = Convolution(N_FEATURES)
        self.conv_q = Convolution(1)
        self.mlps = nn.ModuleList(
            [
                _mlp(first, 512, 380, DIM + 2, activate_last=False),
                _mlp(later, 512, 380, DIM + 2, activate_last=True),
                _mlp(later, 512, 380, 380, DIM, activate_last=True),
            ]
        )

    def forward(self, coord: Tensor, numbers: Tensor, charge: Tensor) -> Tensor:
        """Atom vectors.

        Parameters
        ----------
        coord : Tensor of float32, shape (B, N, 3)
            Angstrom, hydrogens included; gradients reach it.
        numbers : Tensor of int64, shape (B, N)
            Atomic numbers below 64; 0 is padding.
        charge : Tensor of float32, shape (B,)
            Total charge in elementary charges.

        Returns
        -------
        Tensor of float32, shape (B, N, 256)
            Zero at padding.
        """
        padding = numbers == 0
        scalar, vector = self.aev(coord, padding)
        features = self.afv(numbers)
        partial = coord.new_zeros(numbers.shape)

        output = self.mlps[0](self._atom_input(features, scalar, vector))
        features, partial = _update(features, partial, output, charge, padding)
        output = self.mlps[1](self._full_input(features, partial, scalar, vector))
        features, partial = _update(features, partial, output, charge, padding)
        output = self.mlps[2](self._full_input(features, partial, scalar, vector))
        return output.masked_fill(padding.unsqueeze(-1), 0.0)

    def _atom_input(self, features: Tensor, scalar: Tensor, vector: Tensor) -> Tensor:
        by_shell = features.unflatten(-1, (N_FEATURES, N_SHIFTS))
        return torch.cat([features, self.conv_a(by_shell, scalar, vector)], dim=-1)

    def _full_input(
        self, features: Tensor, partial: Tensor, scalar: Tensor, vector: Tensor
    ) -> Tensor:
        q = partial.unsqueeze(-1)
        by_shell = q.unsqueeze(-1).expand(*q.shape, N_SHIFTS)
        charges = torch.cat([q, self.conv_q(by_shell, scalar, vector)], dim=-1)
        return torch.cat([self._atom_input(features, scalar, vector), charges], dim=-1)


def _update(
    features: Tensor, partial: Tensor, output: Tensor, charge: Tensor, padding: Tensor
) -> tuple[Tensor, Tensor]:
    """Add a pass's changes; the partial charges then sum to the total charge."""
    output = output.masked_fill(padding.unsqueeze(-1), 0.0)
    change, share, delta = output.split([1, 1, DIM], dim=-1)
    partial = partial + change.squeeze(-1)
    weight = share.squeeze(-1).square()
    missing = charge.unsqueeze(-1) - partial.sum(-1, keepdim=True)
    partial = partial + weight * missing / (weight.sum(-1, keepdim=True) + _NO_CHARGE)
    return features + delta, partial
