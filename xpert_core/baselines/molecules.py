"""Molecular graphs and the neural fingerprint (Duvenaud et al., 2015) of DeepCE and CIGER."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

ELEMENTS = (
    "C", "N", "O", "S", "F", "Si", "P", "Cl", "Br", "Mg", "Na", "Ca", "Fe", "As", "Al", "I", "B",
    "V", "K", "Tl", "Yb", "Sb", "Sn", "Ag", "Pd", "Co", "Se", "Ti", "Zn", "H", "Li", "Ge", "Cu",
    "Au", "Ni", "Cd", "In", "Mn", "Zr", "Cr", "Pt", "Hg", "Pb",
)  # fmt: skip
MAX_DEGREE = 5
ATOM_DIM = len(ELEMENTS) + 1 + (MAX_DEGREE + 1) + 5 + 6 + 1
"""Element or another, degree, hydrogens, implicit valence, aromatic: 62."""
BOND_DIM = 6
"""Single, double, triple, aromatic, conjugated, in a ring."""


@dataclass(frozen=True)
class Molecules:
    """Graphs of some drugs, one after the other.

    Attributes
    ----------
    atoms : Tensor, shape (A, ATOM_DIM)
    owner : Tensor of int64, shape (A,)
        Drug of each atom.
    bonds : Tensor, shape (E, BOND_DIM)
        Each bond in both directions.
    source, target : Tensor of int64, shape (E,)
        Atoms of each directed bond.
    count : int
        Drugs; those without a structure have no atom.
    """

    atoms: Tensor
    owner: Tensor
    bonds: Tensor
    source: Tensor
    target: Tensor
    count: int

    def take(self, drugs: Tensor) -> Molecules:
        """The graphs of some distinct drugs, in their order."""
        position = torch.full((self.count,), -1, device=drugs.device)
        position[drugs] = torch.arange(len(drugs), device=drugs.device)
        kept = position[self.owner] >= 0
        place = kept.cumsum(0) - 1
        edges = kept[self.source]
        return Molecules(
            self.atoms[kept],
            position[self.owner[kept]],
            self.bonds[edges],
            place[self.source[edges]],
            place[self.target[edges]],
            len(drugs),
        )


def molecules(smiles: Sequence[str]) -> Molecules:
    """Read the structures of all drugs; "" has no atom."""
    from rdkit import Chem

    atoms: list[list[float]] = []
    owner: list[int] = []
    bonds: list[list[float]] = []
    ends: list[tuple[int, int]] = []
    for drug, text in enumerate(smiles):
        molecule = Chem.MolFromSmiles(text) if text else None
        if molecule is None:
            continue
        first = len(atoms)
        atoms += [_atom(atom) for atom in molecule.GetAtoms()]
        owner += [drug] * molecule.GetNumAtoms()
        for bond in molecule.GetBonds():
            a, b = first + bond.GetBeginAtomIdx(), first + bond.GetEndAtomIdx()
            bonds += [_bond(bond)] * 2
            ends += [(a, b), (b, a)]
    index = np.array(ends, dtype=np.int64).reshape(-1, 2)
    return Molecules(
        torch.tensor(atoms, dtype=torch.float32).reshape(-1, ATOM_DIM),
        torch.tensor(owner, dtype=torch.long),
        torch.tensor(bonds, dtype=torch.float32).reshape(-1, BOND_DIM),
        torch.from_numpy(index[:, 0].copy()),
        torch.from_numpy(index[:, 1].copy()),
        len(smiles),
    )


def _one_hot(value: int, size: int) -> list[float]:
    return [float(i == min(value, size - 1)) for i in range(size)]


def _atom(atom: object) -> list[float]:
    from rdkit.Chem import Atom, ValenceType

    assert isinstance(atom, Atom)
    symbol = atom.GetSymbol()
    element = ELEMENTS.index(symbol) if symbol in ELEMENTS else len(ELEMENTS)
    return [
        *_one_hot(element, len(ELEMENTS) + 1),
        *_one_hot(atom.GetDegree(), MAX_DEGREE + 1),
        *_one_hot(atom.GetTotalNumHs(), 5),
        *_one_hot(atom.GetValence(ValenceType.IMPLICIT), 6),
        float(atom.GetIsAromatic()),
    ]


def _bond(bond: object) -> list[float]:
    from rdkit.Chem import Bond, BondType

    assert isinstance(bond, Bond)
    kinds = (BondType.SINGLE, BondType.DOUBLE, BondType.TRIPLE, BondType.AROMATIC)
    return [
        *(float(bond.GetBondType() == kind) for kind in kinds),
        float(bond.GetIsConjugated()),
        float(bond.IsInRing()),
    ]


class MoleculeTable(nn.Module):
    """Graphs of all drugs, which move to a device with the network that holds them.

    Parameters
    ----------
    graphs : Molecules
    """

    def __init__(self, graphs: Molecules) -> None:
        super().__init__()
        self.count = graphs.count
        # Not part of the state: they would be copied with every better epoch.
        for name in ("atoms", "owner", "bonds", "source", "target"):
            self.register_buffer(name, getattr(graphs, name), persistent=False)

    def take(self, drugs: Tensor) -> Molecules:
        """The graphs of some distinct drugs, in their order."""
        held = self.get_buffer
        atoms, owner, bonds = held("atoms"), held("owner"), held("bonds")
        graphs = Molecules(atoms, owner, bonds, held("source"), held("target"), self.count)
        return graphs.take(drugs)


class NeuralFingerprint(nn.Module):
    """Graph convolutions with weights for each degree; a softmax reads the atoms of each layer.

    Parameters
    ----------
    hidden : sequence of int
        Widths of the convolutions.
    out : int
        Width of the fingerprint.
    """

    def __init__(self, hidden: Sequence[int], out: int) -> None:
        super().__init__()
        widths = [ATOM_DIM, *hidden]
        self.own = nn.ModuleList(nn.Linear(a, b) for a, b in zip(widths, hidden, strict=False))
        # One weight for each degree: the blocks of the output.
        self.near = nn.ModuleList(
            nn.Linear(a + BOND_DIM, (MAX_DEGREE + 1) * b, bias=False)
            for a, b in zip(widths, hidden, strict=False)
        )
        self.read = nn.ModuleList(nn.Linear(width, out) for width in widths)

    def forward(self, graphs: Molecules) -> Tensor:
        """Fingerprint of each atom, shape (A, out); a drug's is the sum over its atoms."""
        state = graphs.atoms
        degree = torch.bincount(graphs.target, minlength=len(state)).clamp(max=MAX_DEGREE)
        every = torch.arange(len(state), device=state.device)
        found: Tensor = self.read[0](state).softmax(dim=1)
        for own, near, read in zip(self.own, self.near, list(self.read)[1:], strict=True):
            message = torch.cat([state[graphs.source], graphs.bonds], dim=1)
            total = message.new_zeros(len(state), message.shape[1])
            total = total.index_add(0, graphs.target, message)
            # All degrees at once, then each atom's own: atoms are few, branches are slow.
            self_part = own(state)
            candidates = near(total).view(len(state), MAX_DEGREE + 1, self_part.shape[1])
            state = torch.relu(self_part + candidates[every, degree])
            found = found + read(state).softmax(dim=1)
        return found


def pooled(atoms: Tensor, graphs: Molecules) -> Tensor:
    """Sum over the atoms of each drug, shape (drugs, out); zeros without a structure."""
    return atoms.new_zeros(graphs.count, atoms.shape[1]).index_add(0, graphs.owner, atoms)


def padded(atoms: Tensor, graphs: Molecules) -> tuple[Tensor, Tensor]:
    """Atoms of each drug as a table, and where it is filled.

    Returns
    -------
    Tensor, shape (drugs, most atoms, out)
    Tensor of bool, shape (drugs, most atoms)
        A drug without a structure has one atom of zeros, so that attention to it is defined.
    """
    count = torch.bincount(graphs.owner, minlength=graphs.count)
    first = count.cumsum(0) - count
    slot = torch.arange(len(atoms), device=atoms.device) - first[graphs.owner]
    size = max(1, int(count.max()) if len(count) else 1)
    found = atoms.new_zeros(graphs.count, size, atoms.shape[1])
    found = found.index_put((graphs.owner, slot), atoms)
    filled = torch.arange(size, device=atoms.device) < count.clamp(min=1)[:, None]
    return found, filled
