"""Fingerprints and all-pairs Tanimoto, against RDKit's own numbers."""

from __future__ import annotations

import numpy as np
import pytest
from rdkit import Chem, DataStructs
from rdkit.Chem import rdFingerprintGenerator

from xpert_core.drugs import DrugLibrary
from xpert_core.errors import DrugError
from xpert_core.graph import similarity
from xpert_core.graph.similarity import fingerprints, similar_pairs, tanimoto_to

NAMES = (
    "vorinostat", "belinostat", "panobinostat", "gefitinib", "erlotinib", "lapatinib", "imatinib",
    "nilotinib", "letrozole", "anastrozole", "tamoxifen", "estradiol", "dexamethasone",
    "prednisolone", "hydrocortisone", "sirolimus", "everolimus", "paclitaxel", "docetaxel",
    "doxorubicin", "daunorubicin", "methotrexate", "trametinib", "venetoclax", "cisplatin",
    "metformin",
)  # fmt: skip


@pytest.fixture(scope="module")
def smiles() -> list[str]:
    library = DrugLibrary.load()
    return [library.resolve(name).smiles for name in NAMES]


@pytest.fixture(scope="module")
def reference(smiles: list[str]) -> np.ndarray:
    generator = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=2048)
    own = [generator.GetFingerprint(Chem.MolFromSmiles(text)) for text in smiles]
    return np.array([DataStructs.BulkTanimotoSimilarity(one, own) for one in own])


@pytest.mark.parametrize("block", [4, 7, 1024])
@pytest.mark.parametrize("threshold", [0.0, 0.1, 0.3, 0.5, 0.9])
def test_pairs_are_those_of_rdkit_in_blocks_of_any_size(
    smiles: list[str],
    reference: np.ndarray,
    threshold: float,
    block: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(similarity, "BLOCK", block)
    steps: list[tuple[int, int]] = []
    first, second, tanimoto = similar_pairs(
        fingerprints(smiles), threshold, lambda done, total: steps.append((done, total))
    )
    expected = np.argwhere(np.triu(reference > threshold, 1))
    assert np.column_stack([first, second]).tolist() == expected.tolist()
    np.testing.assert_array_equal(tanimoto, reference[first, second].astype(np.float32))
    assert steps[-1] == (-(-len(smiles) // block),) * 2


def test_a_pair_exactly_at_the_threshold_is_not_above_it(
    smiles: list[str], reference: np.ndarray
) -> None:
    packed = fingerprints(smiles)
    values = np.unique(reference[np.triu_indices(len(smiles), 1)])
    for value in values[values < 1]:
        first, second, _ = similar_pairs(packed, float(value))
        assert (reference[first, second] > value).all()
        assert len(first) == (np.triu(reference > value, 1)).sum()


def test_one_drug_against_all(smiles: list[str], reference: np.ndarray) -> None:
    packed = fingerprints(smiles)
    np.testing.assert_array_equal(tanimoto_to(packed, packed[3]), reference[3].astype(np.float32))
    assert (tanimoto_to(packed, np.zeros_like(packed[0])) == 0).all()


def test_empty_tables_and_equal_structures() -> None:
    nothing = similar_pairs(fingerprints([]), 0.5)
    assert [len(part) for part in nothing] == [0, 0, 0]
    first, second, tanimoto = similar_pairs(fingerprints(["CCO", "CCO", "c1ccccc1"]), 0.5)
    assert (first.tolist(), second.tolist(), tanimoto.tolist()) == ([0], [1], [1.0])


def test_bad_input_is_refused() -> None:
    with pytest.raises(DrugError, match="cannot be read") as caught:
        fingerprints(["CCO", "C1CC"])
    assert "C1CC" in caught.value.where
    with pytest.raises(DrugError):
        fingerprints([""])
    for threshold in (-0.1, 1.0, float("nan")):
        with pytest.raises(ValueError, match="threshold"):
            similar_pairs(fingerprints(["CCO"]), threshold)
