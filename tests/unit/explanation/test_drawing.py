"""Figures: whole SVG, a legend with numbers, colours that are the scores."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from rdkit import Chem

from xpert_core.drugs import standardise
from xpert_core.errors import ExplanationError
from xpert_core.explanation.atoms import DrugAtoms
from xpert_core.explanation.drawing import attention_svg, describe, hex_colours, mol_block

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def atoms() -> DrugAtoms:
    """Deuterated ethanol: numbers 2, 3 and 4 after one deuterium."""
    drug = standardise("[2H]C([2H])([2H])CO", "CD3<CH2>OH")
    molecule = Chem.MolFromSmiles(drug.smiles)
    heavy = [a for a in molecule.GetAtoms() if a.GetAtomicNum() > 1]
    index = pd.Index([a.GetIdx() + 1 for a in heavy], name="atom")
    table = pd.DataFrame(
        {
            "element": [a.GetSymbol() for a in heavy],
            "label": [f"{a.GetSymbol()}{a.GetIdx() + 1}" for a in heavy],
            "aromatic": False,
        },
        index=index,
    )
    return DrugAtoms(drug, table, np.arange(9, dtype=np.float32).reshape(3, 3))


SCORES = np.array([0.2, 0.3, 0.5])


def _rgb(colour: str) -> list[int]:
    return [int(colour[i : i + 2], 16) for i in (1, 3, 5)]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_is_a_whole_figure_with_title_legend_and_coloured_atoms(
    atoms: DrugAtoms, theme: str
) -> None:
    svg = attention_svg(atoms, SCORES, title=atoms.drug.name, unit="Attention & more", theme=theme)
    root = ElementTree.fromstring(svg)
    assert root.get("role") == "img"
    assert root.find(f"{SVG}title").text == "CD3<CH2>OH"
    words = [node.text for node in root.findall(f"{SVG}text")]
    assert "Attention & more" in words and "0" in words and "50.0%" in words
    assert "33.3% equal share" in words
    assert "nan" not in svg.lower()
    discs = " ".join(e.get("style", "") for e in root.iter() if e.tag.endswith("ellipse"))
    drawn = np.array([_rgb(colour) for colour in re.findall("#[0-9A-F]{6}", discs)])
    for colour in hex_colours(SCORES, theme):
        # RDKit cuts where we round.
        assert (np.abs(drawn - _rgb(colour)).max(axis=1) <= 1).any(), colour


def test_colours_run_from_the_ground_to_the_strongest(atoms: DrugAtoms) -> None:
    assert hex_colours(np.array([0.0, 1.0])) == ["#FFFFFF", "#D55E00"]
    assert len(set(hex_colours(np.full(4, 0.25)))) == 1
    light = [int(c[5:7], 16) for c in hex_colours(np.array([0.0, 0.3, 0.6, 1.0]))]
    assert light == sorted(light, reverse=True)
    assert hex_colours(np.zeros(2)) == ["#FFFFFF", "#FFFFFF"]


def test_scores_of_nothing_are_drawn_too(atoms: DrugAtoms) -> None:
    assert "<svg" in attention_svg(atoms, np.zeros(3), title="x")


def test_marked_atoms_get_a_legend_of_their_own(atoms: DrugAtoms) -> None:
    marked = np.array([False, True, True])
    svg = attention_svg(atoms, SCORES, title="x", marked=marked, mark="alcohol")
    plain = attention_svg(atoms, SCORES, title="x")
    assert ">alcohol</text>" in svg and "alcohol" not in plain
    assert "#56B4E9" in svg and "#56B4E9" not in plain


def test_atom_numbers_are_those_of_the_table(atoms: DrugAtoms) -> None:
    assert list(atoms.table.index) != [1, 2, 3]
    numbered = attention_svg(atoms, SCORES, title="x")
    bare = attention_svg(atoms, SCORES, title="x", numbers=False)
    notes = len(re.findall("note", numbered)) - len(re.findall("note", bare))
    assert notes >= 3


def test_words_name_the_highest_atoms_first(atoms: DrugAtoms) -> None:
    said = describe(atoms, SCORES, "ethanol")
    top = atoms.table["label"].iloc[2]
    assert f"Highest: {top} 50.0%" in said and "equal share would be 33.3%" in said


def test_mol_block_holds_tokens_in_their_order(atoms: DrugAtoms) -> None:
    molecule = Chem.MolFromMolBlock(mol_block(atoms))
    assert [a.GetSymbol() for a in molecule.GetAtoms()] == list(atoms.table["element"])
    np.testing.assert_allclose(molecule.GetConformer().GetPositions(), atoms.coordinates)
    flat = DrugAtoms(atoms.drug, atoms.table, np.zeros((0, 3), dtype=np.float32))
    with pytest.raises(ExplanationError, match="No 3D shape"):
        mol_block(flat)
