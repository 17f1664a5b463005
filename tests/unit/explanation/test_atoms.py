"""Atom attention by the shipped model, and which atom each token stands for."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from rdkit import Chem

from xpert_core.cohorts.records import Profiles
from xpert_core.drugs import standardise
from xpert_core.drugs.records import Drug, DrugFeatures
from xpert_core.errors import ExplanationError, GeneError, PredictionCancelled
from xpert_core.explanation.atoms import (
    atom_attention,
    atom_stability,
    atoms_of,
    cell_stability,
    gene_positions,
)
from xpert_core.explanation.networks import untrained
from xpert_core.model.config import ModelConfig
from xpert_core.prediction import Predictor

REQUEST = ("1 uM", "24 h")


def test_each_token_is_the_atom_it_says(predictor: Predictor) -> None:
    """Deuterium is no token, so the numbers after it are not the tokens' own."""
    drug = standardise("[2H]C([2H])([2H])Oc1ccccc1C(=O)O", "deuterated")
    features = predictor.features.get(drug)
    atoms = atoms_of(drug, features, predictor.model.config)
    molecule = Chem.MolFromSmiles(drug.smiles)
    assert len(atoms) == len(features.atoms) == 11 < molecule.GetNumAtoms()
    for number, row in atoms.table.iterrows():
        atom = molecule.GetAtomWithIdx(number - 1)
        assert atom.GetSymbol() == row["element"] != "H"
        assert row["label"] == f"{row['element']}{number}"
        assert atom.GetIsAromatic() == row["aromatic"]
    # The conformer agrees: bonded atoms are near, others are not.
    place = {number - 1: i for i, number in enumerate(atoms.table.index)}
    distance = np.linalg.norm(atoms.coordinates[:, None] - atoms.coordinates[None], axis=-1)
    bonds = {
        frozenset((place[b.GetBeginAtomIdx()], place[b.GetEndAtomIdx()]))
        for b in molecule.GetBonds()
        if b.GetBeginAtomIdx() in place and b.GetEndAtomIdx() in place
    }
    near = {frozenset((i, j)) for i, j in zip(*np.where(distance < 1.7), strict=True) if i != j}
    assert near == bonds


def test_is_the_networks_attention_over_atoms_alone(
    predictor: Predictor, profiles: Profiles
) -> None:
    genes = ["CDK4", "MYC", "EGFR"]
    seen: list[int] = []
    found = atom_attention(
        predictor, profiles, "gefitinib", *REQUEST, genes=genes,
        progress=lambda done, total, text: seen.append(done),
    )  # fmt: skip
    assert seen == [0, 8, 10]
    inputs = predictor.inputs(profiles, ["gefitinib"], ["1 uM"], ["24 h"])
    model, batch = predictor.model, inputs.batch
    layer = model.pert_layers[1]
    with torch.no_grad():
        cells = model.encode_profiles(batch.profiles)
        treated = model.encode_treatments(*model.encode_drugs(batch.drugs), batch.treatments)
        inner = layer.cross_residual.inner(cells.start)
        memory = layer.drug_norm(treated.tokens[0]).expand(10, -1, -1)
        q, k = layer.cross_attention.queries_keys(inner, memory)
        full = (q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5).softmax(-1).mean(dim=1)
    rows = gene_positions(genes, predictor.panel.symbols) + 1
    mean = full[:, rows].mean(dim=1).double().numpy()
    assert found.layers == ("CA_1",) and found.values.shape == (1, 10, 31)
    np.testing.assert_allclose(
        found.values[0], mean[:, 5:] / mean[:, 5:].sum(1, keepdims=True), atol=1e-5
    )
    for i, kind in enumerate(("readout", "dose", "time", "graph", "molecule")):
        np.testing.assert_allclose(found.tokens[kind][0], mean[:, i], atol=1e-5)
    np.testing.assert_allclose(found.values.sum(-1), 1, atol=1e-9)
    np.testing.assert_allclose(sum(found.tokens.values()), 1, atol=1e-5)
    assert 0 < found.on_atoms < 1
    matrix = found.matrix()
    assert matrix.shape == (31, 10) and list(matrix.columns) == list(profiles.samples.index)
    assert found.provenance["model_digest"] == predictor.digest


def test_a_part_of_the_samples_and_the_agreement_of_runs(
    predictor: Predictor, profiles: Profiles
) -> None:
    ids = list(profiles.samples.index)
    whole = atom_attention(predictor, profiles, "vorinostat", *REQUEST)
    part = atom_attention(predictor, profiles, "vorinostat", *REQUEST, samples=ids[7:9])
    np.testing.assert_allclose(part.values, whole.values[:, 7:9], atol=1e-6)
    cells = cell_stability(whole)
    assert len(cells.pairs) == 45 and 0.9 < cells.mean_cosine <= 1
    other = atom_attention(untrained(predictor, 0), profiles, "vorinostat", *REQUEST)
    seeds = atom_stability([whole, other])
    expected = np.stack([run.of().mean(axis=0) for run in (whole, other)])
    cosine = expected[0] @ expected[1] / np.prod(np.linalg.norm(expected, axis=1))
    assert seeds.mean_cosine == pytest.approx(cosine)
    with pytest.raises(ExplanationError, match="same drug and samples"):
        atom_stability([whole, part])
    with pytest.raises(ExplanationError, match="no cross-attention layer 'CA_0'"):
        whole.of("CA_0")


def test_drugs_without_atoms_are_refused_with_the_reason(
    predictor: Predictor, profiles: Profiles
) -> None:
    with pytest.raises(ExplanationError, match="has no chemical structure") as antibody:
        atom_attention(predictor, profiles, "nivolumab", *REQUEST)
    assert "small molecule" in antibody.value.fix
    platinum = standardise("N[Pt](N)(Cl)Cl", "cisplatin")
    with pytest.raises(ExplanationError, match="saw no atoms of cisplatin") as unknown:
        atom_attention(predictor, profiles, platinum, *REQUEST)
    assert "Pt" in unknown.value.where


def test_what_does_not_fit_is_refused(predictor: Predictor, profiles: Profiles) -> None:
    with pytest.raises(GeneError, match="1 of 2 genes") as wrong:
        atom_attention(predictor, profiles, "vorinostat", *REQUEST, genes=["CDK4", "NOGENE"])
    assert "NOGENE" in wrong.value.where
    with pytest.raises(PredictionCancelled):
        atom_attention(predictor, profiles, "vorinostat", *REQUEST, cancelled=lambda: True)
    drug = Drug("ethanol", "CCO", "")
    features = DrugFeatures(
        np.zeros(2), np.zeros((3, 2)), ("C", "O", "C"), np.zeros((3, 3)), "aimnet2", ""
    )
    with pytest.raises(ExplanationError, match="not those its features"):
        atoms_of(drug, features, ModelConfig())
    with pytest.raises(ExplanationError, match="takes no atoms"):
        atoms_of(drug, features, ModelConfig(use_atoms=False))
