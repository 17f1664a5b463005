"""Records of a drug: its identity and its features."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Drug:
    """A drug's identity.

    Attributes
    ----------
    name : str
        Name to show; the SMILES itself when a bare structure was given.
    smiles : str
        Standardised SMILES (largest fragment, neutralised, stereo kept); "" for agents without
        a structure.
    inchikey : str
        Standard InChIKey of `smiles`; "" without a structure.
    pert_id : str
        LINCS perturbagen id, or "".
    targets : tuple of str
        Known target genes (mechanism tier, openly licensed rows), sorted.
    moa : tuple of str
        Mechanisms of action, openly licensed.
    origin : str
        ``"library"`` or ``"smiles"``.
    molar_mass : float
        g/mol of the parent structure; NaN without a structure.
    notes : tuple of str
        What standardisation changed (a salt removed, a charge neutralised).
    """

    name: str
    smiles: str
    inchikey: str
    pert_id: str = ""
    targets: tuple[str, ...] = ()
    moa: tuple[str, ...] = ()
    origin: str = "library"
    molar_mass: float = float("nan")
    notes: tuple[str, ...] = ()

    @property
    def connectivity(self) -> str:
        """First InChIKey block: the identity used for splits and caches; "" without structure."""
        return self.inchikey[:14]

    @property
    def key(self) -> str:
        """Identity of the drug within a run: connectivity block, else its name."""
        return self.connectivity or f"name:{self.name.lower()}"


@dataclass(frozen=True)
class DrugFeatures:
    """Structure tokens of one drug.

    Attributes
    ----------
    molecule : ndarray of float32, shape (dim,)
        Molecule token.
    atoms : ndarray of float32, shape (n_atoms, dim)
        One token a heavy atom, in the atom order of the standardised SMILES; n_atoms may be 0.
    elements : tuple of str
        Element symbol of each atom token.
    coordinates : ndarray of float32, shape (n_atoms, 3)
        Heavy-atom positions in Angstrom of the conformer used; (0, 3) for 2D featurizers.
    featurizer : str
        Registered name, e.g. ``"aimnet2"``.
    digest : str
        Hash of the featurizer (name, weights, settings): must equal the checkpoint's.
    fallback : str
        "" when the featurizer did its normal work; else a sentence naming what was done instead
        (for instance no atom tokens because of an element the encoder does not know).
    """

    molecule: np.ndarray
    atoms: np.ndarray
    elements: tuple[str, ...]
    coordinates: np.ndarray
    featurizer: str
    digest: str
    fallback: str = ""
