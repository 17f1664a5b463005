"""Uni-Mol adapter: files checked before use, published token order, one vector an atom."""

from __future__ import annotations

import importlib.util
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from rdkit import Chem

from xpert_core.drugs import conformers, featurizers
from xpert_core.drugs.conformers import Conformer
from xpert_core.drugs.featurizers import unimol
from xpert_core.drugs.featurizers.unimol import UniMolFeaturizer
from xpert_core.drugs.records import Drug
from xpert_core.errors import DrugError

TOKENS = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "C", "N", "O", "S", "H", "Cl", "F", "Br", "I", "Si"]
TOKENS += ["P", "B", "Na", "K", "Al", "Ca", "Sn", "As", "Hg", "Fe", "Zn", "Cr", "Se", "Gd", "Au"]
TOKENS += ["Li"]
DABRAFENIB = "CC(C)(C)c1nc(-c2cccc(NS(=O)(=O)c3c(F)cccc3F)c2F)c(-c2ccnc(N)n2)s1"


def drug(smiles: str) -> Drug:
    return Drug("test drug", smiles, Chem.MolToInchiKey(Chem.MolFromSmiles(smiles)))


def write_dictionary(folder: Path, tokens: list[str]) -> Path:
    path = folder / "mol.dict.txt"
    path.write_text("".join(f"{token} 1\n" for token in tokens), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights of the real shapes, in the form of the published checkpoint."""
    if importlib.util.find_spec("unimol_tools") is None:  # importing it here would write logs
        pytest.skip("unimol-tools is not installed")
    folder = tmp_path_factory.mktemp("unimol")
    dictionary = write_dictionary(folder, TOKENS)
    blank = folder / "blank.pt"
    torch.save({"model": {}}, blank)
    torch.manual_seed(0)
    module = unimol._import_unimol()
    with unimol._published_order(module):
        network = module.UniMolModel(
            pretrained_model_path=str(blank), pretrained_dict_path=str(dictionary)
        )
    state = {k: v for k, v in network.state_dict().items() if unimol.UNTRAINED not in k}
    path = folder / "mol_pre_all_h_220816.pt"
    torch.save({"model": state}, path)
    return path


@pytest.fixture(scope="module")
def adapter(weights: Path) -> UniMolFeaturizer:
    made = featurizers.create("unimol", weights=weights)
    assert isinstance(made, UniMolFeaturizer)
    return made


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The file checks come before the package is used, so they run without it too."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())


def test_each_heavy_atom_has_one_vector(adapter):
    found = adapter.featurize(drug(DABRAFENIB))
    heavy = [a.GetSymbol() for a in Chem.MolFromSmiles(DABRAFENIB).GetAtoms()]
    assert list(found.elements) == heavy
    assert found.atoms.shape == (len(heavy), 512)
    assert found.molecule.shape == (512,)
    assert found.coordinates.shape == (len(heavy), 3)
    assert found.fallback == ""
    assert np.isfinite(found.atoms).all() and found.atoms.std() > 0
    again = adapter.featurize(drug(DABRAFENIB))
    np.testing.assert_array_equal(found.atoms, again.atoms)


def test_tokens_are_those_of_the_dictionary_file(adapter):
    """The vectors equal those of the bare network fed with line numbers of the file."""
    conformer = conformers.embed("CCO")
    tokens = [1, *(TOKENS.index(symbol) for symbol in conformer.symbols), 2]
    centred = conformer.coordinates - conformer.coordinates.mean(axis=0)
    points = np.vstack([np.zeros(3), centred, np.zeros(3)]).astype(np.float32)
    distance = np.linalg.norm(points[:, None] - points[None], axis=-1).astype(np.float32)
    ids = torch.tensor([tokens])
    with torch.inference_mode():
        network = adapter._model
        n = len(TOKENS) + 1  # [MASK] is added
        pairs = ids[:, :, None] * n + ids[:, None, :]
        bias = network.gbf_proj(network.gbf(torch.from_numpy(distance)[None], pairs))
        bias = bias.permute(0, 3, 1, 2).reshape(-1, len(tokens), len(tokens)).contiguous()
        hidden = network.encoder(network.embed_tokens(ids), attn_mask=bias)[0][0].numpy()
    found = adapter.featurize(drug("CCO"))
    np.testing.assert_allclose(found.molecule, hidden[0], atol=1e-5)
    np.testing.assert_allclose(found.atoms, hidden[1:4], atol=1e-5)


def test_more_than_256_atoms_are_all_kept(adapter):
    """unimol-tools drops atoms at random above 256; a long chain keeps all of its 300."""
    count = 300
    line = np.zeros((count, 3), dtype=np.float32)
    line[:, 0] = 1.5 * np.arange(count)
    chain = Conformer(
        numbers=np.full(count, 6),
        coordinates=line,
        charge=0,
        heavy=np.ones(count, dtype=bool),
        symbols=("C",) * count,
        force_field="none",
        stereo=True,
    )
    assert adapter._vectors(chain)[1].shape == (count, 512)


def test_unknown_element_is_a_named_fallback(adapter):
    found = adapter.featurize(drug("[NH3]->[Pt](<-[NH3])(Cl)Cl"))
    assert len(found.atoms) == 0 and not found.molecule.any()
    assert "Pt" in found.fallback


def test_drug_without_structure_is_a_named_fallback(adapter):
    found = adapter.featurize(Drug("nivolumab", "", ""))
    assert len(found.atoms) == 0 and "no structure" in found.fallback


def test_the_package_is_left_as_it_was(adapter):
    from unimol_tools.data import Dictionary
    from unimol_tools.models import unimol as module

    assert module.Dictionary is Dictionary
    assert not (Path.cwd() / "logs").exists()


def test_digest_names_weights_and_dictionary(adapter, weights, tmp_path):
    longer = write_dictionary(tmp_path, [*TOKENS[:-2], "Li", "Au"])
    other = UniMolFeaturizer(weights=weights, dictionary=longer)
    assert other.digest != adapter.digest


@pytest.mark.parametrize("content", [{"model": {}}, {}, {"model": {"encoder.x": torch.ones(2)}}])
def test_foreign_weights_are_refused(content, weights, tmp_path):
    path = tmp_path / "weights.pt"
    torch.save(content, path)
    write_dictionary(tmp_path, TOKENS)
    with pytest.raises(DrugError, match="Uni-Mol") as caught:
        UniMolFeaturizer(weights=path)
    assert str(path) in caught.value.where


def test_one_missing_tensor_is_refused(weights, tmp_path):
    state = torch.load(weights, weights_only=True)["model"]
    state.pop("encoder.layers.7.fc1.weight")
    torch.save({"model": state}, tmp_path / "weights.pt")
    write_dictionary(tmp_path, TOKENS)
    with pytest.raises(DrugError, match="1 of") as caught:
        UniMolFeaturizer(weights=tmp_path / "weights.pt")
    assert "encoder.layers.7.fc1.weight" in caught.value.where


class Harmful:
    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (Path("harmful-was-run"),))


def test_code_in_a_weights_file_never_runs(installed, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "weights.pt"
    path.write_bytes(pickle.dumps(Harmful()))
    write_dictionary(tmp_path, TOKENS)
    with pytest.raises(DrugError, match="no Uni-Mol weights"):
        UniMolFeaturizer(weights=path)
    torch.save({"model": Harmful()}, path)
    with pytest.raises(DrugError, match="no Uni-Mol weights"):
        UniMolFeaturizer(weights=path)
    assert not (tmp_path / "harmful-was-run").exists()


def test_missing_files_are_named(installed, tmp_path):
    with pytest.raises(DrugError, match="weights file was not found"):
        UniMolFeaturizer(weights=tmp_path / "absent.pt")
    (tmp_path / "weights.pt").write_bytes(b"")
    with pytest.raises(DrugError, match="dictionary file was not found"):
        UniMolFeaturizer(weights=tmp_path / "weights.pt")


def test_dictionary_in_another_order_is_refused(installed, tmp_path):
    wrong = write_dictionary(tmp_path, ["[CLS]", "[UNK]", "[PAD]", "[SEP]", *TOKENS[4:]])
    (tmp_path / "weights.pt").write_bytes(b"x")
    with pytest.raises(DrugError, match="not the Uni-Mol dictionary"):
        UniMolFeaturizer(weights=tmp_path / "weights.pt", dictionary=wrong)


def test_missing_package_is_said(monkeypatch, tmp_path):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DrugError, match="unimol-tools") as caught:
        UniMolFeaturizer(weights=tmp_path / "weights.pt")
    assert "xpert[unimol]" in caught.value.fix
