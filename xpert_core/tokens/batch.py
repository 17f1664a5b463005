"""The batch: distinct profiles, distinct drugs, distinct treatments, and rows that join them.

Nothing that does not depend on the drug is stored twice: a row names its control profile and its
treatment by index, so the model encodes each of them once (ARCHITECTURE, "The base branch sees no
drug"). Needs torch and numpy alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class DrugTokens:
    """Padded structure and biological tokens of D drugs.

    Attributes
    ----------
    molecule : Tensor of float32, shape (D, F)
        Molecule tokens; zeros where `has_molecule` is False.
    has_molecule : Tensor of bool, shape (D,)
        False for agents without an encoded structure.
    atoms : Tensor of float32, shape (D, A, F)
        Atom tokens, padded with zeros.
    atom_mask : Tensor of bool, shape (D, A)
        True for real atoms.
    graph : Tensor of float32, shape (D, graph width)
        Biological vectors of the knowledge graph; zeros where `has_graph` is False.
    has_graph : Tensor of bool, shape (D,)
        False for drugs that the graph cannot place.
    """

    molecule: Tensor
    has_molecule: Tensor
    atoms: Tensor
    atom_mask: Tensor
    graph: Tensor
    has_graph: Tensor

    def __len__(self) -> int:
        return len(self.molecule)

    def take(self, index: Tensor, *, cut: bool = True) -> DrugTokens:
        """The drugs at `index`, padding cut to the largest of them, or as it was."""
        mask = self.atom_mask[index]
        width = mask.shape[1]
        if cut:
            width = int(mask.sum(dim=1).max()) if mask.numel() else 0
        return DrugTokens(
            self.molecule[index],
            self.has_molecule[index],
            self.atoms[index, :width],
            mask[:, :width],
            self.graph[index],
            self.has_graph[index],
        )

    def to(self, device: torch.device | str) -> DrugTokens:
        """The same tokens on another device."""
        return replace(self, **{n: v.to(device) for n, v in vars(self).items()})


@dataclass(frozen=True)
class Treatments:
    """T distinct treatments: a drug at a dose for a time, read out on an assay.

    Attributes
    ----------
    drug : Tensor of int64, shape (T,)
        Index into the batch's drugs.
    dose_um, time_h : Tensor of float32, shape (T,)
        Micromolar and hours.
    readout : Tensor of int64, shape (T,)
        Assay of the target: see `xpert_core.tokens.dataset.READOUTS`.
    """

    drug: Tensor
    dose_um: Tensor
    time_h: Tensor
    readout: Tensor

    def __len__(self) -> int:
        return len(self.drug)

    def to(self, device: torch.device | str) -> Treatments:
        """The same treatments on another device."""
        return replace(self, **{n: v.to(device) for n, v in vars(self).items()})


@dataclass(frozen=True)
class Batch:
    """R rows over P profiles, D drugs and T treatments.

    Attributes
    ----------
    profiles : Tensor of int64, shape (P, G)
        Value tokens of the distinct control profiles.
    drugs : DrugTokens
    treatments : Treatments
    profile_index, treatment_index : Tensor of int64, shape (R,)
        Which profile and treatment each row joins.
    prior : Tensor of float32 or None, shape (R, G)
        x_deg as a simple model predicts it, for networks that add to one.
    """

    profiles: Tensor
    drugs: DrugTokens
    treatments: Treatments
    profile_index: Tensor
    treatment_index: Tensor
    prior: Tensor | None = None

    def __len__(self) -> int:
        return len(self.profile_index)

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on another device."""
        return Batch(
            self.profiles.to(device),
            self.drugs.to(device),
            self.treatments.to(device),
            self.profile_index.to(device),
            self.treatment_index.to(device),
            None if self.prior is None else self.prior.to(device),
        )

    def expanded(self) -> Batch:
        """One profile, drug and treatment per row: the path without sharing, for comparison."""
        rows = torch.arange(len(self))
        treatments = Treatments(
            **{n: v[self.treatment_index] for n, v in vars(self.treatments).items()}
        )
        return Batch(
            self.profiles[self.profile_index],
            self.drugs.take(treatments.drug, cut=False),
            replace(treatments, drug=rows),
            rows,
            rows,
            self.prior,
        )


@dataclass(frozen=True)
class Targets:
    """What a row's prediction is compared with.

    Attributes
    ----------
    x_deg : Tensor of float32, shape (R, G)
        Change, in units of the read-out.
    x_pert : Tensor of float32, shape (R, G)
        Expression after treatment; only meaningful where `has_x_pert`.
    has_x_pert : Tensor of bool, shape (R,)
        False where only a signature exists: the x_pert loss is masked, never faked.
    cell_class : Tensor of int64, shape (R,)
        Class of the cell line; -1 = none.
    """

    x_deg: Tensor
    x_pert: Tensor
    has_x_pert: Tensor
    cell_class: Tensor

    def of_genes(self, genes: Tensor) -> Targets:
        """The same rows with the genes at `genes` alone."""
        return replace(self, x_deg=self.x_deg[:, genes], x_pert=self.x_pert[:, genes])

    def to(self, device: torch.device | str) -> Targets:
        """The same targets on another device."""
        return replace(self, **{n: v.to(device) for n, v in vars(self).items()})


def collate_drugs(
    molecules: Sequence[np.ndarray | None],
    atoms: Sequence[np.ndarray],
    graph: Sequence[np.ndarray | None],
    *,
    feature_dim: int,
    graph_dim: int,
    max_atoms: int,
    fill: bool = False,
) -> DrugTokens:
    """Pad the features of several drugs into one `DrugTokens`.

    Parameters
    ----------
    molecules : sequence of ndarray (F,) or None
        None = no encoded structure.
    atoms : sequence of ndarray (n_atoms, F)
    graph : sequence of ndarray (graph_dim,) or None
        None = the graph cannot place the drug.
    feature_dim, graph_dim : int
    max_atoms : int
        Upper bound on atoms.
    fill : bool
        Pad to `max_atoms`, not to the largest of these drugs.

    Raises
    ------
    ValueError
        If a drug has more than `max_atoms` atoms or another feature width.
    """
    count = len(molecules)
    width = max((len(a) for a in atoms), default=0)
    if width > max_atoms:
        raise ValueError(f"{width} atom tokens, the model takes at most {max_atoms}")
    if fill:
        width = max_atoms
    molecule = np.zeros((count, feature_dim), dtype=np.float32)
    atom = np.zeros((count, width, feature_dim), dtype=np.float32)
    mask = np.zeros((count, width), dtype=bool)
    biological = np.zeros((count, graph_dim), dtype=np.float32)
    for i, (m, a, g) in enumerate(zip(molecules, atoms, graph, strict=True)):
        if m is not None:
            molecule[i] = m
        atom[i, : len(a)] = a
        mask[i, : len(a)] = True
        if g is not None:
            biological[i] = g
    return DrugTokens(
        torch.from_numpy(molecule),
        torch.tensor([m is not None for m in molecules], dtype=torch.bool),
        torch.from_numpy(atom),
        torch.from_numpy(mask),
        torch.from_numpy(biological),
        torch.tensor([g is not None for g in graph], dtype=torch.bool),
    )
