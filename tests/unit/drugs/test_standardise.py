"""Standard structures: what is kept, what is removed and said, what is refused."""

from __future__ import annotations

import pytest
from rdkit import Chem

from xpert_core.drugs import standardise
from xpert_core.drugs.standardise import MAX_HEAVY_ATOMS, parent_structure
from xpert_core.errors import DrugError

ASPIRIN = "CC(=O)Oc1ccccc1C(=O)O"


def test_result_is_complete_and_known_drugs_are_recognised():
    drug = standardise("OC(=O)c1ccccc1OC(C)=O", name="my aspirin")
    assert drug.name == "my aspirin" and drug.origin == "smiles"
    assert drug.smiles == ASPIRIN
    assert drug.inchikey == "BSYNRYMUTXBXSQ-UHFFFAOYSA-N"
    assert drug.molar_mass == pytest.approx(180.16, abs=0.01)
    assert {"PTGS1", "PTGS2"} <= set(drug.targets)
    assert drug.moa == ("Cyclooxygenase inhibitor",)
    assert any("acetylsalicylic-acid" in note for note in drug.notes)


def test_unknown_structure_has_no_targets():
    drug = standardise("FC1(F)CC1c1ccc(cc1)C#CCCCN1CCSC1")
    assert drug.targets == () and drug.moa == () and drug.name == drug.smiles


@pytest.mark.parametrize(
    ("smiles", "parent", "note"),
    [
        ("CC(=O)Oc1ccccc1C(=O)[O-].[Na+]", ASPIRIN, "sodium"),
        ("CC(=O)Oc1ccccc1C(=O)O[Na]", ASPIRIN, "sodium"),
        ("CC(=O)Oc1ccccc1C(=O)O.O.O", ASPIRIN, "water"),
        ("CN(C)CCc1c[nH]c2ccccc12.Cl", "CN(C)CCc1c[nH]c2ccccc12", "chloride"),
        ("C[NH+](C)CCc1c[nH]c2ccccc12.[Br-]", "CN(C)CCc1c[nH]c2ccccc12", "neutralised"),
        # Pamoic acid is the larger fragment of this salt, and still not the drug.
        (
            "CN1CCCN=C1/C=C/c1cccs1.O=C(O)c1cc2ccccc2c(Cc2c(O)c(C(=O)O)cc3ccccc23)c1O",
            "CN1CCCN=C1/C=C/c1cccs1",
            "pamoic acid",
        ),
        ("CC(=O)[O-].CCN(CC)CCNC(=O)c1ccc(N)cc1.[H+]", "CCN(CC)CCNC(=O)c1ccc(N)cc1", "acetic"),
    ],
)
def test_salts_and_solvents_are_removed_and_named(smiles, parent, note):
    drug = standardise(smiles)
    assert drug.smiles == Chem.CanonSmiles(parent)
    assert any(note in n for n in drug.notes)


@pytest.mark.parametrize(
    "smiles",
    ["C[C@H](N)C(=O)O", "F/C=C/F", "F/C=C\\F", "C[S@](=O)CC", "[2H]C([2H])([2H])Oc1ccccc1"],
)
def test_stereochemistry_and_isotopes_are_kept(smiles):
    assert standardise(smiles).smiles == Chem.CanonSmiles(smiles)


def test_isotopes_are_mentioned():
    assert any("2H" in note for note in standardise("[2H]C([2H])([2H])Oc1ccccc1").notes)


def test_mirror_images_differ_in_inchikey_only():
    left, right = standardise("C[C@H](N)C(=O)O"), standardise("C[C@@H](N)C(=O)O")
    assert left.connectivity == right.connectivity and left.inchikey != right.inchikey


@pytest.mark.parametrize(
    "smiles",
    ["N.N.Cl[Pt]Cl", "[NH3][Pt](Cl)(Cl)[NH3]", "N->[Pt](<-N)(Cl)Cl", "[NH3+][Pt-2](Cl)(Cl)[NH3+]"],
)
def test_cisplatin_stays_cisplatin(smiles):
    drug = standardise(smiles)
    assert "Pt" in drug.smiles and "Cl" in drug.smiles and "N" in drug.smiles
    assert drug.connectivity == "LXZZYRPGZAFOLE"
    assert any("metal Pt" in note for note in drug.notes)
    assert any("cisplatin" in note for note in drug.notes)


@pytest.mark.parametrize("smiles", ["[Li+]", "[I-]", "[He]"])
def test_single_atoms_are_accepted_with_a_note(smiles):
    drug = standardise(smiles)
    assert drug.smiles == smiles
    assert any("single atom" in note for note in drug.notes)


def test_inorganic_salt_is_kept_whole():
    drug = standardise("[Li+].[Li+].[O-]C([O-])=O")
    assert drug.smiles.count("Li") == 2 and any("Inorganic" in n for n in drug.notes)


def test_quaternary_and_zwitterion_keep_what_cannot_be_neutral():
    assert standardise("C[N+](C)(C)CC([O-])=O").smiles == "C[N+](C)(C)CC(=O)[O-]"
    assert standardise("[O-][N+](=O)c1ccccc1").smiles == "O=[N+]([O-])c1ccccc1"
    assert standardise("[NH3+]CCC([O-])=O").smiles == "NCCC(=O)O"


def test_groups_drawn_with_charges_get_the_usual_form():
    carmustine = standardise("O=C(NCCCl)N(CCCl)[N+][O-]")
    assert carmustine.inchikey == "DLGOEMSEDOSKAD-UHFFFAOYSA-N"
    assert standardise("C[S@+]([O-])CC").smiles == standardise("C[S@](=O)CC").smiles


def test_mixtures_are_said():
    racemate = standardise("C[C@H](N)Cc1ccccc1.C[C@@H](N)Cc1ccccc1")
    assert any("stereoisomers" in note for note in racemate.notes)
    two = standardise("CC(=O)Oc1ccccc1C(=O)O.CN1C=NC2=C1C(=O)N(C(=O)N2C)C")
    assert any("mixture of substances" in note for note in two.notes)


def test_spaces_and_typeset_dashes_do_not_matter():
    drug = standardise(" \u200bC[N+](C)(C)CC([O−])=O\ufeff ")
    assert drug.smiles == "C[N+](C)(C)CC(=O)[O-]"


def test_standardising_twice_changes_nothing():
    for smiles in ("CC(=O)Oc1ccccc1C(=O)O[Na]", "[NH3][Pt](Cl)(Cl)[NH3]", "C[S@+]([O-])CC"):
        once = parent_structure(smiles)
        twice = parent_structure(once["smiles"])
        assert twice["smiles"] == once["smiles"] and twice["inchikey"] == once["inchikey"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "No chemical structure"),
        ("   ", "No chemical structure"),
        ("C1CC", "cannot be read as SMILES"),
        ("imatinib", "cannot be read as SMILES"),
        ("C(C)(C)(C)(C)C", "valence"),
        ("c1cccc1", "cannot be read as SMILES"),
        ("*CC", "undefined group"),
        ("[R1]CC", "undefined group"),
        ("CC(R)C", "undefined group"),
        ("CC>>CO", "reaction"),
        ("CCO ethanol", "no spaces"),
        ("CCO\x00", "plain letters"),
        ("C[Ω]", "plain letters"),
        ("[H][H]", "no atom other than hydrogen"),
        ("BSYNRYMUTXBXSQ-UHFFFAOYSA-N", "InChIKey"),
        ("InChI=1S/CH4/h1H4", "InChI"),
    ],
)
def test_what_is_no_molecule_is_refused_in_words(text, message):
    with pytest.raises(DrugError, match=message) as caught:
        standardise(text)
    assert caught.value.where and caught.value.fix


def test_elements_beginning_with_r_are_no_undefined_groups():
    assert "Ru" in standardise("[Ru+2]").smiles


@pytest.mark.parametrize(("text", "number"), [("C" * 5000, "5000"), ("C" * 14000, "14000")])
def test_endless_chains_are_refused_by_their_length(text, number):
    with pytest.raises(DrugError, match=f"{number}.*{MAX_HEAVY_ATOMS} heavy atoms") as caught:
        standardise(text)
    assert len(str(caught.value)) < 500


def test_the_atom_limit_counts_the_parent_only():
    assert standardise("C" * MAX_HEAVY_ATOMS).smiles == "C" * MAX_HEAVY_ATOMS
    with pytest.raises(DrugError, match="121 heavy atoms"):
        standardise("C" * (MAX_HEAVY_ATOMS + 1))
    salt = standardise("C" * 115 + "N" + ".OC(=O)C(O)C(O)C(=O)O")
    assert Chem.MolFromSmiles(salt.smiles).GetNumHeavyAtoms() == 116
