"""Morgan fingerprints: a 2D featurizer that works for every element and needs no weights.

Rogers and Hahn, "Extended-connectivity fingerprints", J. Chem. Inf. Model. 2010, 50, 742, as
implemented in RDKit.
"""

from __future__ import annotations

import numpy as np

from xpert_core.drugs.featurizers.registry import featurizer_digest, register
from xpert_core.drugs.records import Drug, DrugFeatures
from xpert_core.drugs.sandbox import run_limited
from xpert_core.errors import DrugError

DIM = 1024
RADIUS = 2
TIME_LIMIT_S = 10.0


@register("morgan")
class MorganFeaturizer:
    """1,024 bits of radius 2 as the molecule token; no atom tokens.

    Stereoisomers have the same bits.
    """

    name = "morgan"
    dim = DIM

    def __init__(self) -> None:
        self.digest = featurizer_digest(self.name, "", {"bits": DIM, "radius": RADIUS})

    def featurize(self, drug: Drug) -> DrugFeatures:
        """Token of one drug.

        Raises
        ------
        DrugError
            When the SMILES cannot be read.
        LimitError
            When that takes too long.
        """
        fallback = ""
        molecule = np.zeros(DIM, dtype=np.float32)
        if drug.smiles:
            molecule = run_limited(morgan_bits, drug.smiles, timeout_s=TIME_LIMIT_S)
        else:
            fallback = (
                "This drug has no structure (no SMILES is known). Its structure token is empty."
            )
        return DrugFeatures(
            molecule=molecule,
            atoms=np.zeros((0, DIM), dtype=np.float32),
            elements=(),
            coordinates=np.zeros((0, 3), dtype=np.float32),
            featurizer=self.name,
            digest=self.digest,
            fallback=fallback,
        )


def morgan_bits(smiles: str) -> np.ndarray:
    """Fingerprint bits as 0 and 1, float32, shape (1024,): the part that runs in the sandbox."""
    from rdkit import Chem
    from rdkit.Chem import rdFingerprintGenerator

    molecule = Chem.MolFromSmiles(smiles)
    if molecule is None:
        raise DrugError(
            "The chemical structure cannot be read as SMILES.",
            where=f"structure {smiles[:80]!r}",
            fix="Check the SMILES for typing mistakes, or choose the drug by name.",
        )
    generator = rdFingerprintGenerator.GetMorganGenerator(radius=RADIUS, fpSize=DIM)
    bits: np.ndarray = generator.GetFingerprintAsNumPy(molecule).astype(np.float32)
    return bits
