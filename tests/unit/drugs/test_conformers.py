"""Conformers: real geometry, always the same, and clear sentences when there is none."""

from __future__ import annotations

import numpy as np
import pytest
from rdkit import Chem

from xpert_core.drugs.conformers import ConformerError, embed
from xpert_core.errors import DrugError


def test_atoms_stand_in_smiles_order_with_hydrogens_last():
    conformer = embed("C[N+](C)(C)CC(=O)[O-]")
    assert conformer.symbols[:8] == ("C", "N", "C", "C", "C", "C", "O", "O")
    assert conformer.heavy[:8].all() and not conformer.heavy[8:].any()
    assert set(conformer.symbols[8:]) == {"H"} and len(conformer.numbers) == 19
    assert conformer.charge == 0 and conformer.force_field == "MMFF94"


def test_formal_charge_is_that_of_the_molecule():
    assert embed("C[N+](C)(C)CCO").charge == 1
    assert embed("[O-]S(=O)(=O)OP(=O)([O-])O").charge == -2


def test_repeated_embedding_is_identical():
    one, two = embed("CCOC(=O)CC1CCCCC1N"), embed("CCOC(=O)CC1CCCCC1N")
    assert np.array_equal(one.coordinates, two.coordinates)


def test_geometry_is_chemical():
    conformer = embed("c1ccccc1")
    for i in range(6):
        step = conformer.coordinates[i] - conformer.coordinates[(i + 1) % 6]
        assert np.linalg.norm(step) == pytest.approx(1.39, abs=0.03)


def test_stereo_is_respected():
    def handedness(smiles: str) -> float:
        xyz = embed(smiles).coordinates
        return float(np.dot(xyz[0] - xyz[1], np.cross(xyz[2] - xyz[1], xyz[3] - xyz[1])))

    assert handedness("N[C@@H](C)C(=O)O") * handedness("N[C@H](C)C(=O)O") < 0


def test_impossible_stereo_is_left_out_and_said():
    trans_tropane = "CN1[C@@H]2CC[C@@H]1CC(O)C2"
    assert not embed(trans_tropane).stereo
    assert embed("CN1[C@@H]2CC[C@H]1CC(O)C2").stereo


def test_boron_is_relaxed_by_uff_and_deuterium_is_a_hydrogen():
    boronic = embed("OB(O)c1ccccc1")
    assert boronic.force_field == "UFF"
    heavy = embed("[2H]C([2H])([2H])O")
    assert [s for s, h in zip(heavy.symbols, heavy.heavy, strict=True) if h] == ["C", "O"]


def test_refusals_name_the_reason():
    with pytest.raises(ConformerError, match="element Na"):
        embed("[Na+].[Cl-]", elements={1, 6, 17})
    with pytest.raises(ConformerError, match="other than hydrogen"):
        embed("[H][H]")
    with pytest.raises(ConformerError, match=r"element \*"):
        embed("C*")
    with pytest.raises(DrugError, match="cannot be read") as caught:
        embed("c1ccccc")
    assert "c1ccccc" in caught.value.where and not isinstance(caught.value, ConformerError)
    with pytest.raises(DrugError, match="5000 heavy atoms"):
        embed("C" * 5000)
    with pytest.raises(DrugError, match="2000000 characters"):
        embed("C" * 2_000_000)


def test_impossible_shape_is_reported():
    cyclopropyne = "C1#CC1"
    assert Chem.MolFromSmiles(cyclopropyne) is not None
    with pytest.raises(ConformerError, match="No 3D shape"):
        embed(cyclopropyne)
