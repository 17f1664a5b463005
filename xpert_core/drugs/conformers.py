"""3D conformers: ETKDGv3 embedding and a force field, in the sandbox, always the same result.

Riniker and Landrum, J. Chem. Inf. Model. 2015, 55, 2562 (ETKDG); Halgren, J. Comput. Chem. 1996,
17, 490 (MMFF94), both as implemented in RDKit.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np

from xpert_core.drugs.sandbox import run_limited
from xpert_core.errors import DrugError

MAX_HEAVY_ATOMS = 120
MAX_SMILES_LENGTH = 10_000
TIME_LIMIT_S = 20.0
SEED = 0
ATTEMPTS = 30
FORCE_FIELD_STEPS = 500
SETTINGS: dict[str, Any] = {
    "embedding": "ETKDGv3",
    "seed": SEED,
    "attempts": ATTEMPTS,
    "retries": ["random coordinates", "random coordinates without stereochemistry"],
    "force_field": "MMFF94, else UFF, else none",
    "force_field_steps": FORCE_FIELD_STEPS,
    "hydrogens": True,
}
"""What a conformer depends on; part of the digest of every 3D featurizer."""


class ConformerError(DrugError):
    """A readable structure of which no usable 3D conformer can be made."""


@dataclass(frozen=True)
class Conformer:
    """One 3D conformer with hydrogens; heavy atoms stand in the atom order of the SMILES.

    Attributes
    ----------
    numbers : ndarray of int64, shape (n,)
        Atomic numbers.
    coordinates : ndarray of float32, shape (n, 3)
        Positions in Angstrom.
    charge : int
        Formal charge of the whole molecule, in elementary charges.
    heavy : ndarray of bool, shape (n,)
        True for every atom but hydrogen.
    symbols : tuple of str, length n
        Element symbols.
    force_field : str
        ``"MMFF94"``, ``"UFF"``, or ``"none"`` when neither knows the atoms.
    stereo : bool
        False when no shape has the stereochemistry of the SMILES (some databases hold impossible
        ones) and it was left out.
    """

    numbers: np.ndarray
    coordinates: np.ndarray
    charge: int
    heavy: np.ndarray
    symbols: tuple[str, ...]
    force_field: str
    stereo: bool


def embed(
    smiles: str,
    *,
    elements: Collection[int] | None = None,
    timeout_s: float = TIME_LIMIT_S,
) -> Conformer:
    """One low-energy conformer of a structure, made in a child process.

    Parameters
    ----------
    smiles : str
        Structure.
    elements : collection of int, optional
        Atomic numbers that can be used; None for any.
    timeout_s : float
        Seconds allowed.

    Raises
    ------
    DrugError
        When the SMILES cannot be read or has more than 120 heavy atoms.
    ConformerError
        When it holds another element or no heavy atom, or no conformer is found.
    LimitError
        When the time or memory limit is reached.
    """
    allowed = None if elements is None else sorted(elements)
    fields = run_limited(embed_here, smiles, allowed, timeout_s=timeout_s)
    if "reason" in fields:
        raise ConformerError(
            fields["reason"],
            where=f"structure {_short(smiles)}",
            fix="The drug can still be used by its other descriptors.",
        )
    return Conformer(**fields)


def embed_here(smiles: str, elements: list[int] | None = None) -> dict[str, Any]:
    """As `embed`, in this process and without limits: the part that runs in the sandbox.

    Returns
    -------
    dict
        The fields of a `Conformer`, or ``reason``: a sentence saying why there is none.
    """
    from rdkit import Chem

    molecule = _read(smiles)
    unknown = {a.GetSymbol() for a in molecule.GetAtoms() if not _known(a.GetAtomicNum(), elements)}
    if unknown:
        names = ", ".join(sorted(unknown))
        return {"reason": f"The 3D encoder does not know the element {names}."}
    if molecule.GetNumHeavyAtoms() == 0:
        return {"reason": "The structure has no atom other than hydrogen."}
    molecule = Chem.AddHs(molecule)
    stereo = _place(molecule)
    if stereo is None:
        return {"reason": "No 3D shape could be found for this structure."}
    force_field = _relax(molecule)
    coordinates = molecule.GetConformer().GetPositions().astype(np.float32)
    numbers = np.array([a.GetAtomicNum() for a in molecule.GetAtoms()], dtype=np.int64)
    return {
        "numbers": numbers,
        "coordinates": coordinates,
        "charge": Chem.GetFormalCharge(molecule),
        "heavy": numbers > 1,
        "symbols": tuple(a.GetSymbol() for a in molecule.GetAtoms()),
        "force_field": force_field,
        "stereo": stereo,
    }


def _known(number: int, elements: list[int] | None) -> bool:
    return number > 0 and (elements is None or number in elements)


def _read(smiles: str) -> Any:
    from rdkit import Chem

    if len(smiles) > MAX_SMILES_LENGTH:
        raise DrugError(
            f"The structure has {len(smiles)} characters; at most {MAX_SMILES_LENGTH} are read.",
            where=f"structure {_short(smiles)}",
            fix="Enter the SMILES of one small molecule.",
        )
    molecule = Chem.MolFromSmiles(smiles)
    if molecule is None:
        raise DrugError(
            "The chemical structure cannot be read as SMILES.",
            where=f"structure {_short(smiles)}",
            fix="Check the SMILES for typing mistakes, or choose the drug by name.",
        )
    count = molecule.GetNumHeavyAtoms()
    if count > MAX_HEAVY_ATOMS:
        raise DrugError(
            f"The structure has {count} heavy atoms; at most {MAX_HEAVY_ATOMS} can be used.",
            where=f"structure {_short(smiles)}",
            fix="Use a small molecule; peptides, antibodies and polymers are not supported.",
        )
    return molecule


def _place(molecule: Any) -> bool | None:
    """Give the molecule one conformer.

    Returns
    -------
    bool or None
        Whether it has the stereochemistry of the molecule; None when no conformer is found.
    """
    from rdkit.Chem import rdDistGeom

    parameters: Any = rdDistGeom.ETKDGv3()
    parameters.randomSeed = SEED
    parameters.numThreads = 1
    parameters.maxIterations = ATTEMPTS
    for random_start, stereo in ((False, True), (True, True), (True, False)):
        parameters.useRandomCoords = random_start
        parameters.enforceChirality = stereo
        if rdDistGeom.EmbedMolecule(molecule, parameters) == 0:
            return stereo
    return None


def _relax(molecule: Any) -> str:
    """Relax the conformer in place; the name of the force field used."""
    from rdkit.Chem import rdForceFieldHelpers as fields

    if fields.MMFFHasAllMoleculeParams(molecule):
        fields.MMFFOptimizeMolecule(molecule, maxIters=FORCE_FIELD_STEPS)
        return "MMFF94"
    if fields.UFFHasAllMoleculeParams(molecule):
        fields.UFFOptimizeMolecule(molecule, maxIters=FORCE_FIELD_STEPS)
        return "UFF"
    return "none"


def _short(smiles: str) -> str:
    return smiles if len(smiles) <= 80 else f"{smiles[:77]}..."
