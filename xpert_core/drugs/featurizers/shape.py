"""What featurizers that read a 3D shape have in common: conformer, heavy atoms, named fallbacks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection

import numpy as np

from xpert_core.drugs import conformers
from xpert_core.drugs.conformers import Conformer, ConformerError
from xpert_core.drugs.records import Drug, DrugFeatures
from xpert_core.drugs.sandbox import LimitError

NO_STEREO = (
    "No 3D shape has the stereochemistry given for this drug, so its shape was made without it."
)


class ShapeFeaturizer(ABC):
    """Vectors of the heavy atoms of one conformer.

    Attributes
    ----------
    name, dim, digest
        As of `xpert_core.drugs.featurizers.registry.Featurizer`.
    elements : collection of int
        Atomic numbers the encoder knows.
    timeout_s : float
        Seconds the conformer of one drug may take.
    """

    name: str
    dim: int
    digest: str
    elements: Collection[int]
    timeout_s: float

    def featurize(self, drug: Drug) -> DrugFeatures:
        """Tokens of one drug.

        Raises
        ------
        DrugError
            When the SMILES cannot be read or has more than 120 heavy atoms.
        """
        if not drug.smiles:
            return self._without_atoms("This drug has no structure (no SMILES is known).")
        try:
            conformer = conformers.embed(
                drug.smiles, elements=self.elements, timeout_s=self.timeout_s
            )
        except (ConformerError, LimitError) as error:
            return self._without_atoms(error.what)
        molecule, atoms = self._vectors(conformer)
        symbols = zip(conformer.symbols, conformer.heavy, strict=True)
        return DrugFeatures(
            molecule=molecule,
            atoms=atoms[conformer.heavy],
            elements=tuple(symbol for symbol, heavy in symbols if heavy),
            coordinates=conformer.coordinates[conformer.heavy],
            featurizer=self.name,
            digest=self.digest,
            fallback="" if conformer.stereo else NO_STEREO,
        )

    @abstractmethod
    def _vectors(self, conformer: Conformer) -> tuple[np.ndarray, np.ndarray]:
        """Molecule token (dim,) and one vector an atom (n, dim), hydrogens included."""

    def _without_atoms(self, reason: str) -> DrugFeatures:
        return DrugFeatures(
            molecule=np.zeros(self.dim, dtype=np.float32),
            atoms=np.zeros((0, self.dim), dtype=np.float32),
            elements=(),
            coordinates=np.zeros((0, 3), dtype=np.float32),
            featurizer=self.name,
            digest=self.digest,
            fallback=f"{reason} Its structure tokens are empty.",
        )
