"""AIMNet2: the native module equals the original, and the adapter treats drugs honestly."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import torch
from rdkit import Chem
from safetensors.torch import load_file

from xpert_core.drugs import featurizers
from xpert_core.drugs.featurizers.aimnet2 import ELEMENTS, AIMNet2Featurizer
from xpert_core.drugs.featurizers.aimnet2_module import AIMNet2
from xpert_core.drugs.records import Drug
from xpert_core.errors import DrugError
from xpert_core.paths import assets_dir

REFERENCE = Path(__file__).parents[2] / "data" / "aimnet2_reference.safetensors"
ASPIRIN = "CC(=O)OC1=CC=CC=C1C(=O)O"


def drug(smiles: str, name: str = "test drug") -> Drug:
    return Drug(name, smiles, Chem.MolToInchiKey(Chem.MolFromSmiles(smiles)) if smiles else "")


@pytest.fixture(scope="module")
def model() -> AIMNet2:
    module = AIMNet2()
    module.load_state_dict(load_file(assets_dir() / "featurizers" / "aimnet2.safetensors"))
    return module.requires_grad_(False).eval()


@pytest.fixture(scope="module")
def reference() -> dict[str, dict[str, torch.Tensor]]:
    cases: dict[str, dict[str, torch.Tensor]] = {}
    for key, value in load_file(REFERENCE).items():
        name, _, field = key.partition(".")
        cases.setdefault(name, {})[field] = value
    return cases


@pytest.fixture(scope="module")
def aimnet2() -> AIMNet2Featurizer:
    featurizer = featurizers.create("aimnet2")
    assert isinstance(featurizer, AIMNet2Featurizer)
    return featurizer


def run(model: AIMNet2, case: dict[str, torch.Tensor]) -> torch.Tensor:
    return model(case["coord"][None], case["numbers"][None], case["charge"][None])[0]


def test_reference_covers_the_unusual_elements_and_charges(reference):
    numbers = {int(n) for case in reference.values() for n in case["numbers"]}
    assert {5, 9, 15, 16, 17, 34, 35, 53} <= numbers <= ELEMENTS
    assert {int(case["charge"]) for case in reference.values()} == {-1, 0, 1}


def test_native_module_equals_the_original(model, reference):
    # In double precision: how a processor orders single-precision sums is no part of the question.
    exact = deepcopy(model).double()
    for name, case in reference.items():
        precise = {**case, "coord": case["coord"].double(), "charge": case["charge"].double()}
        difference = (run(exact, precise) - case["aim"]).abs().max().item()
        assert case["aim"].abs().max() > 1, name
        assert difference < 2e-5, (name, difference)


def test_padded_batch_equals_single(model, reference):
    cases = list(reference.values())
    longest = max(len(case["numbers"]) for case in cases)
    coord = torch.zeros(len(cases), longest, 3)
    numbers = torch.zeros(len(cases), longest, dtype=torch.int64)
    for row, case in enumerate(cases):
        coord[row, : len(case["numbers"])] = case["coord"]
        numbers[row, : len(case["numbers"])] = case["numbers"]
    batch = model(coord, numbers, torch.stack([case["charge"] for case in cases]))
    for row, case in enumerate(cases):
        n = len(case["numbers"])
        assert torch.allclose(batch[row, :n], run(model, case), rtol=0, atol=1e-5)
        assert batch[row, n:].abs().sum() == 0


def test_rotation_and_translation_change_nothing(model, reference):
    case = reference["bortezomib"]
    rotation, _ = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(3)))
    if torch.linalg.det(rotation) < 0:
        rotation[:, 0] *= -1
    moved = {**case, "coord": case["coord"] @ rotation.T + torch.tensor([1.0, -2.0, 0.5])}
    assert (moved["coord"] - case["coord"]).abs().max() > 1
    assert torch.allclose(run(model, moved), run(model, case), rtol=0, atol=1e-4)


def test_charge_and_geometry_matter_and_gradients_reach_the_coordinates(model, reference):
    case = reference["cyclophosphamide"]
    charged = {**case, "charge": case["charge"] + 1}
    assert (run(model, charged) - run(model, case)).abs().max() > 1e-2
    coord = case["coord"].clone().requires_grad_()
    run(model, {**case, "coord": coord}).sum().backward()
    assert torch.isfinite(coord.grad).all() and coord.grad.abs().max() > 1e-3


def test_features_follow_the_atom_order_of_the_smiles(aimnet2):
    features = aimnet2.featurize(drug(ASPIRIN))
    molecule = Chem.MolFromSmiles(ASPIRIN)
    assert features.elements == tuple(atom.GetSymbol() for atom in molecule.GetAtoms())
    assert features.atoms.shape == (13, 256) and features.atoms.dtype == np.float32
    assert features.coordinates.shape == (13, 3) and features.fallback == ""
    assert np.allclose(features.molecule, features.atoms.mean(axis=0))
    for bond in molecule.GetBonds():
        a, b = bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()
        assert 1.1 < np.linalg.norm(features.coordinates[a] - features.coordinates[b]) < 1.7
    reordered = aimnet2.featurize(drug("OC(=O)c1ccccc1OC(C)=O"))
    assert reordered.elements[:3] == ("O", "C", "O")


def test_same_drug_same_features(aimnet2):
    one, two = (
        aimnet2.featurize(drug(ASPIRIN)),
        featurizers.create("aimnet2").featurize(drug(ASPIRIN)),
    )
    assert np.array_equal(one.atoms, two.atoms) and one.digest == two.digest == aimnet2.digest


@pytest.mark.parametrize("smiles", ["B(C)(O)O", "C[Se]C", "C[As](C)C", "CI", "C[Si](C)(C)C"])
def test_every_known_element_gets_atom_tokens(aimnet2, smiles):
    features = aimnet2.featurize(drug(smiles))
    assert features.fallback == "" and np.isfinite(features.atoms).all()


def test_cisplatin_has_no_atom_tokens_and_says_why(aimnet2):
    features = aimnet2.featurize(drug("[NH3][Pt]([NH3])(Cl)Cl", "cisplatin"))
    assert features.atoms.shape == (0, 256) and not features.molecule.any()
    assert features.elements == () and features.coordinates.shape == (0, 3)
    assert "Pt" in features.fallback and features.fallback.endswith(".")


def test_antibody_has_no_structure(aimnet2):
    features = aimnet2.featurize(Drug("nivolumab", "", ""))
    assert features.atoms.shape == (0, 256) and "no structure" in features.fallback


def test_time_limit_is_a_named_fallback():
    paclitaxel = (
        "CC1=C2[C@H](C(=O)[C@@]3([C@H](C[C@@H]4[C@]([C@H]3[C@@H]([C@@](C2(C)C)(C[C@@H]1OC(=O)"
        "[C@@H]([C@H](C5=CC=CC=C5)NC(=O)C6=CC=CC=C6)O)O)OC(=O)C7=CC=CC=C7)(CO4)OC(=O)C)O)C)"
        "OC(=O)C"
    )
    features = featurizers.create("aimnet2", timeout_s=0.02).featurize(drug(paclitaxel))
    assert features.atoms.shape == (0, 256) and "too long" in features.fallback


@pytest.mark.parametrize(
    ("smiles", "said"), [("C1CC", "cannot be read"), ("C" * 121, "121 heavy atoms")]
)
def test_unusable_structures_are_refused(aimnet2, smiles, said):
    with pytest.raises(DrugError, match=said) as caught:
        aimnet2.featurize(Drug("x", smiles, ""))
    assert caught.value.where and caught.value.fix


def test_missing_and_damaged_weights_are_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("XPERT_ASSETS", str(tmp_path))
    with pytest.raises(DrugError, match="missing"):
        featurizers.create("aimnet2")
    (tmp_path / "featurizers").mkdir()
    (tmp_path / "featurizers" / "aimnet2.safetensors").write_bytes(b"half a file")
    with pytest.raises(DrugError, match="damaged"):
        featurizers.create("aimnet2")


def test_registry_lists_the_known_names():
    assert {"aimnet2", "morgan", "kpgt", "unimol"} <= set(featurizers.names())
    with pytest.raises(DrugError) as caught:
        featurizers.create("aimnet3")
    assert "aimnet3" in caught.value.what and "aimnet2" in caught.value.fix
    assert isinstance(featurizers.create("aimnet2"), featurizers.Featurizer)
    with pytest.raises(ValueError, match="aimnet2"):
        featurizers.register("aimnet2")(Drug)
