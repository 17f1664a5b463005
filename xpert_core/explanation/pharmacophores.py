"""Pharmacophores known from crystal structures, marked by SMARTS, each with its source."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from xpert_core.drugs.records import Drug
from xpert_core.errors import DataError
from xpert_core.explanation.assets import read_asset
from xpert_core.explanation.atoms import DrugAtoms

FILE = "pharmacophores.csv"


@dataclass(frozen=True)
class Pharmacophore:
    """A group of a drug that is known to bind its target.

    Attributes
    ----------
    name, role : str
        What it is called and what it does.
    smarts : str
    source, doi : str
        Where that was shown.
    """

    name: str
    role: str
    smarts: str
    source: str
    doi: str


def case_drugs() -> list[str]:
    """Names of the drugs whose pharmacophores are known here."""
    return list(dict.fromkeys(read_asset(FILE)["drug"]))


def pharmacophores_of(drug: Drug) -> list[Pharmacophore]:
    """Known pharmacophores of a drug, by its InChIKey connectivity block; [] if none."""
    table = read_asset(FILE)
    mine = table[table["connectivity"] == drug.connectivity] if drug.connectivity else table[:0]
    columns = ["name", "role", "smarts", "source", "doi"]
    return [Pharmacophore(*row) for row in mine[columns].itertuples(index=False)]


def marked_atoms(atoms: DrugAtoms, group: Pharmacophore) -> np.ndarray:
    """Which atom tokens belong to a pharmacophore; bool, shape (n_atoms,).

    Raises
    ------
    DataError
        If the SMARTS cannot be read or matches nothing.
    """
    from rdkit import Chem

    pattern = Chem.MolFromSmarts(group.smarts)
    molecule = Chem.MolFromSmiles(atoms.drug.smiles)
    matches = () if pattern is None else molecule.GetSubstructMatches(pattern)
    if not matches:
        raise DataError(
            f"The pharmacophore '{group.name}' is not found in {atoms.drug.name}.",
            where=f"SMARTS {group.smarts}",
            fix=f"Correct it in assets/explanation/{FILE}.",
        )
    numbers = {index + 1 for match in matches for index in match}
    return np.array([atom in numbers for atom in atoms.table.index])


def bonded(atoms: DrugAtoms) -> list[list[int]]:
    """Positions of the atom tokens bonded to each atom token."""
    from rdkit import Chem

    molecule = Chem.MolFromSmiles(atoms.drug.smiles)
    place = {number - 1: i for i, number in enumerate(atoms.table.index)}
    return [
        [
            place[other.GetIdx()]
            for other in molecule.GetAtomWithIdx(number - 1).GetNeighbors()
            if other.GetIdx() in place
        ]
        for number in atoms.table.index
    ]
