"""Morgan fingerprints: right bits, honest about missing structures."""

from __future__ import annotations

import numpy as np
import pytest
from rdkit import Chem, DataStructs
from rdkit.Chem import rdFingerprintGenerator

from xpert_core.drugs import featurizers
from xpert_core.drugs.library import DrugLibrary
from xpert_core.drugs.records import Drug
from xpert_core.errors import DrugError


@pytest.fixture(scope="module")
def morgan():
    return featurizers.create("morgan")


def test_bits_are_those_of_rdkit(morgan):
    trametinib = DrugLibrary.load().resolve("trametinib")
    found = morgan.featurize(trametinib)
    generator = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=1024)
    bits = generator.GetFingerprint(Chem.MolFromSmiles(trametinib.smiles))
    expected = np.zeros(1024)
    DataStructs.ConvertToNumpyArray(bits, expected)
    np.testing.assert_array_equal(found.molecule, expected)
    assert found.molecule.dtype == np.float32 and found.molecule.sum() > 30
    assert found.atoms.shape == (0, 1024) and found.coordinates.shape == (0, 3)
    assert found.fallback == "" and found.digest == morgan.digest


def test_metal_complex_has_bits(morgan):
    found = morgan.featurize(DrugLibrary.load().resolve("cisplatin"))
    assert found.molecule.any() and found.fallback == ""


def test_antibody_is_a_named_fallback(morgan):
    found = morgan.featurize(DrugLibrary.load().resolve("nivolumab"))
    assert not found.molecule.any() and "no structure" in found.fallback


def test_unreadable_smiles_is_refused(morgan):
    with pytest.raises(DrugError, match="cannot be read"):
        morgan.featurize(Drug("broken", "C1CC", "AAAAAAAAAAAAAA-UHFFFAOYSA-N"))
