"""Structure standardisation: the parent of whatever SMILES was typed, and what was changed.

Parsing runs in a child process with a time limit. The steps are those of RDKit's
``rdMolStandardize``: metal counter-ions disconnected, counter-ions and solvents removed, charges
neutralised; stereochemistry and isotopes are kept.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from xpert_core.drugs.records import Drug
from xpert_core.drugs.sandbox import run_limited
from xpert_core.errors import DrugError

TIME_LIMIT_S = 10.0
MAX_CHARACTERS = 2000
MAX_HEAVY_ATOMS = 120

_DASHES = dict.fromkeys(map(ord, "‐‑‒–—―−﹣-"), "-")
_INVISIBLE = dict.fromkeys(map(ord, "\u00ad\u200b\u200c\u200d\u2060\ufeff"))
_INCHIKEY = re.compile(r"[A-Z]{14}-[A-Z]{10}-[A-Z]")
_REACTION = re.compile(r"(?<!-)>")  # "->" is a dative bond
_ANY_GROUP = re.compile(r"\*|\[#0|R(?![a-z])")

COUNTER_METALS = frozenset({3, 11, 12, 19, 20, 37, 38, 55, 56})
"""Alkali and alkaline earth metals: counter-ions of an organic drug. Other metals are kept."""
_NONMETALS = frozenset({0, 1, 2, 5, 6, 7, 8, 9, 10, 14, 15, 16, 17, 18})
_NONMETALS |= {33, 34, 35, 36, 52, 53, 54, 85, 86}

COUNTER_IONS = {
    "O": "water",
    "N": "ammonia",
    "F": "fluoride",
    "Cl": "chloride",
    "Br": "bromide",
    "I": "iodide",
    "[Li+]": "lithium",
    "[Na+]": "sodium",
    "[K+]": "potassium",
    "[Mg+2]": "magnesium",
    "[Ca+2]": "calcium",
    "O=S(=O)(O)O": "sulfate",
    "O=P(O)(O)O": "phosphate",
    "O=[N+]([O-])O": "nitrate",
    "[O-][Cl+3]([O-])([O-])O": "perchlorate",
    "F[B-](F)(F)F": "tetrafluoroborate",
    "COS(=O)(=O)O": "methyl sulfate",
    "CC(=O)O": "acetic acid",
    "CCO": "ethanol",
    "CO": "methanol",
    "CS(C)=O": "dimethyl sulfoxide",
    "O=CO": "formic acid",
    "O=C(O)C(F)(F)F": "trifluoroacetic acid",
    "CS(=O)(=O)O": "methanesulfonic acid",
    "CCS(=O)(=O)O": "ethanesulfonic acid",
    "O=S(=O)(O)CCS(=O)(=O)O": "ethanedisulfonic acid",
    "O=S(=O)(O)CCO": "isethionic acid",
    "O=S(=O)(O)c1ccccc1": "benzenesulfonic acid",
    "Cc1ccc(S(=O)(=O)O)cc1": "toluenesulfonic acid",
    "O=S(=O)(O)c1cccc2ccccc12": "naphthalenesulfonic acid",
    "O=S(=O)(O)c1ccc2ccccc2c1": "naphthalenesulfonic acid",
    "O=C(O)C(=O)O": "oxalic acid",
    "O=C(O)CCC(=O)O": "succinic acid",
    "O=C(O)C=CC(=O)O": "maleic or fumaric acid",
    "O=C(O)CC(O)C(=O)O": "malic acid",
    "O=C(O)C(O)C(O)C(=O)O": "tartaric acid",
    "O=C(O)CC(O)(CC(=O)O)C(=O)O": "citric acid",
    "CC(O)C(=O)O": "lactic acid",
    "O=C(O)c1ccccc1": "benzoic acid",
    "O=C(O)c1ccc2ccccc2c1O": "hydroxynaphthoic acid",
    "O=C(O)c1cc2ccccc2c(Cc2c(O)c(C(=O)O)cc3ccccc23)c1O": "pamoic acid",
    "O=C(O)c1c(O)cc2ccccc2c1Cc1c(C(=O)O)c(O)cc2ccccc12": "pamoic acid",
    "O=C(O)C(O)C(O)C(O)C(O)C(=O)O": "mucic acid",
    "CC1(C)C2CCC1(CS(=O)(=O)O)C(=O)C2": "camphorsulfonic acid",
    "O=C(O)C(O)C(O)C(O)C(O)CO": "gluconic acid",
    "CCCCCCCCCCCCOS(=O)(=O)O": "lauryl sulfate",
    "CNCC(O)C(O)C(O)C(O)CO": "meglumine",
    "NC(CO)(CO)CO": "trometamol",
    "NCCO": "ethanolamine",
    "OCCNCCO": "diethanolamine",
    "C[N+](C)(C)CCO": "choline",
    "NCCCCC(N)C(=O)O": "lysine",
    "N=C(N)NCCCC(N)C(=O)O": "arginine",
}
"""Counter-ions and solvents, neutral and without stereochemistry, by canonical SMILES."""


def standardise(smiles: str, name: str = "") -> Drug:
    """The drug a SMILES describes, in the project's standard form.

    Parameters
    ----------
    smiles : str
        Structure as typed or pasted.
    name : str
        Name to show; "" for the standardised SMILES itself.

    Returns
    -------
    Drug
        ``origin`` is ``"smiles"``; ``notes`` say what was changed. When the library holds a
        compound of the same connectivity, its targets and mechanisms are taken over and a note
        names it.

    Raises
    ------
    DrugError
        When the text is no SMILES of one defined small molecule, or has more than 120 heavy atoms.
    LimitError
        When reading it takes more than 10 s.
    """
    from xpert_core.drugs.library import DrugLibrary

    text = clean_text(smiles)
    _check_text(text)
    fields = run_limited(parent_structure, text, timeout_s=TIME_LIMIT_S)
    drug = Drug(
        name=name.strip() or fields["smiles"],
        smiles=fields["smiles"],
        inchikey=fields["inchikey"],
        origin="smiles",
        molar_mass=fields["molar_mass"],
        notes=tuple(fields["notes"]),
    )
    return DrugLibrary.load().annotate(drug)


def clean_text(text: str) -> str:
    """Text without surrounding spaces and invisible characters, every dash a plain hyphen."""
    return text.translate(_DASHES).translate(_INVISIBLE).strip()


def short(text: str, limit: int = 80) -> str:
    """Text cut to `limit` characters for a message."""
    return text if len(text) <= limit else f"{text[: limit - 3]}..."


def _check_text(text: str) -> None:
    """Refuse, before any parsing, what cannot be the SMILES of one molecule."""
    where = f"structure {short(text)!r}"
    choose = "Enter a SMILES such as CC(=O)Oc1ccccc1C(=O)O, or choose the drug by name."
    if not text:
        raise DrugError("No chemical structure was given.", where="the SMILES field", fix=choose)
    if len(text) > MAX_CHARACTERS:
        raise DrugError(
            f"The SMILES is {len(text)} characters long; at most {MAX_CHARACTERS} are accepted, "
            f"because structures of more than {MAX_HEAVY_ATOMS} heavy atoms cannot be used.",
            where=where,
            fix="Use a small molecule; peptides, antibodies and polymers are not supported.",
        )
    if _INCHIKEY.fullmatch(text.upper()) or text.startswith("InChI="):
        raise DrugError(
            "This is an InChI or InChIKey, not a SMILES.",
            where=where,
            fix="Look the InChIKey up in the drug search, or enter the SMILES.",
        )
    if not text.isascii() or any(c.isspace() or not c.isprintable() for c in text):
        raise DrugError(
            "A SMILES holds no spaces and only plain letters, digits and signs.",
            where=where,
            fix="Enter one structure without its name; " + choose[0].lower() + choose[1:],
        )
    if _REACTION.search(text):
        raise DrugError(
            "This is a reaction, not a molecule.", where=where, fix="Enter one molecule only."
        )
    if _ANY_GROUP.search(text):
        raise DrugError(
            "The structure holds an undefined group (* or R), so it is not one molecule.",
            where=where,
            fix="Replace every * or R by the actual atoms.",
        )


def parent_structure(smiles: str) -> dict[str, Any]:
    """Standardise in this process and without limits: the part that runs in the sandbox.

    Returns
    -------
    dict
        ``smiles``, ``inchikey``, ``molar_mass`` (g/mol) and ``notes`` (list of sentences).

    Raises
    ------
    DrugError
        When the text cannot be read as one defined molecule within the size limit.
    """
    from rdkit import Chem

    notes: list[str] = []
    molecule = _parse(smiles)
    metals = {a.GetAtomicNum() for a in molecule.GetAtoms()} - _NONMETALS
    if metals - COUNTER_METALS:
        names = _symbols(metals - COUNTER_METALS)
        notes.append(f"Contains the metal {names}: the whole complex was kept as entered.")
    else:
        molecule = _parent(molecule, bool(metals), notes)
    _check_size(molecule, smiles)
    notes += _remarks(molecule)
    parent = Chem.MolToSmiles(molecule)
    inchikey = Chem.MolToInchiKey(molecule) or Chem.MolToInchiKey(_without_dative(molecule))
    if not inchikey:
        raise DrugError(
            "No InChIKey can be made for this structure, so it has no identity to store it by.",
            where=f"structure {short(smiles)!r}",
            fix="Draw the structure in another tool and paste the SMILES again.",
        )
    mass = round(_molar_mass(molecule), 3)
    return {"smiles": parent, "inchikey": inchikey, "molar_mass": mass, "notes": notes}


def _molar_mass(molecule: Any) -> float:
    """Average molar mass in g/mol."""
    from rdkit.Chem import Descriptors

    descriptors: Any = Descriptors  # its functions are made at import
    return float(descriptors.MolWt(molecule))


def _parse(smiles: str) -> Any:
    from rdkit import Chem

    where = f"structure {short(smiles)!r}"
    fix = "Check the SMILES for typing mistakes, or choose the drug by name."
    molecule: Any = Chem.MolFromSmiles(smiles)
    if molecule is None:
        raw: Any = Chem.MolFromSmiles(smiles, sanitize=False)
        problems = [] if raw is None else Chem.DetectChemistryProblems(raw)
        reason = f": {problems[0].Message().rstrip('.')}" if problems else ""
        raise DrugError(
            f"The chemical structure cannot be read as SMILES{reason}.", where=where, fix=fix
        )
    if any(a.GetAtomicNum() == 0 for a in molecule.GetAtoms()) or molecule.GetNumAtoms() == 0:
        raise DrugError(
            "The structure holds an undefined atom, so it is not one molecule.",
            where=where,
            fix=fix,
        )
    return molecule


def _without_dative(molecule: Any) -> Any:
    """A copy without dative bonds, which InChI cannot express; it leaves metals unbound anyway."""
    from rdkit import Chem

    copy = Chem.RWMol(molecule)
    for bond in list(copy.GetBonds()):
        if bond.GetBondType() == Chem.BondType.DATIVE:
            copy.RemoveBond(bond.GetBeginAtomIdx(), bond.GetEndAtomIdx())
    return copy.GetMol()


@lru_cache(maxsize=1)
def _tools() -> tuple[Any, Any]:
    from rdkit.Chem.MolStandardize import rdMolStandardize as tools

    # The argument makes the result independent of the order of the atoms.
    return tools.MetalDisconnector(), tools.Uncharger(True)


def _parent(molecule: Any, has_counter_metal: bool, notes: list[str]) -> Any:
    """Largest organic fragment, normalised and neutral; the whole when nothing is organic."""
    from rdkit import Chem

    disconnect, uncharge = _tools()
    if has_counter_metal:
        molecule = disconnect.Disconnect(molecule)
    fragments = list(Chem.GetMolFrags(molecule, asMols=True))
    organic = [f for f in fragments if _is_organic(f)]
    if not organic:
        notes.append("Inorganic: kept as entered, nothing was removed.")
        return molecule
    parent = _main_fragment(organic)
    if len(fragments) > 1:
        notes += _removal_notes(parent, fragments)
    charged = _n_charged(parent)
    parent = uncharge.uncharge(_with_plain_oxides(parent))
    if _n_charged(parent) < charged:
        notes.append("Charges were neutralised.")
    return parent


def _with_plain_oxides(molecule: Any) -> Any:
    """Sulfoxides and nitroso groups drawn with charges redrawn as S=O and N=O.

    RDKit's own normaliser does the reverse for sulfoxides, and leaves the nitroso groups that the
    LINCS table writes as ``[N+][O-]``, a nitrogen with unpaired electrons.
    """
    from rdkit import Chem

    copy = Chem.RWMol(molecule)
    for bond in copy.GetBonds():
        for centre, oxygen in (
            (bond.GetBeginAtom(), bond.GetEndAtom()),
            (bond.GetEndAtom(), bond.GetBeginAtom()),
        ):
            sulfoxide = centre.GetAtomicNum() == 16 and centre.GetDegree() == 3
            nitroso = centre.GetAtomicNum() == 7 and centre.GetNumRadicalElectrons() > 0
            is_oxide = oxygen.GetAtomicNum() == 8 and oxygen.GetFormalCharge() == -1
            if (sulfoxide or nitroso) and centre.GetFormalCharge() == 1 and is_oxide:
                bond.SetBondType(Chem.BondType.DOUBLE)
                for atom in (centre, oxygen):
                    atom.SetFormalCharge(0)
                    atom.SetNumRadicalElectrons(0)
    Chem.SanitizeMol(copy)
    return copy.GetMol()


def _n_charged(molecule: Any) -> int:
    return sum(a.GetFormalCharge() != 0 for a in molecule.GetAtoms())


def _is_organic(fragment: Any) -> bool:
    """A carbon bound to hydrogen, carbon or nitrogen: carbonate and carbon dioxide are not."""
    return any(
        a.GetAtomicNum() == 6
        and (a.GetTotalNumHs() > 0 or any(n.GetAtomicNum() in (6, 7) for n in a.GetNeighbors()))
        for a in fragment.GetAtoms()
    )


def _main_fragment(organic: list[Any]) -> Any:
    from rdkit import Chem

    drugs = [f for f in organic if _counter_ion(f) == ""] or organic
    return max(drugs, key=lambda f: (f.GetNumHeavyAtoms(), _molar_mass(f), Chem.MolToSmiles(f)))


def _counter_ion(fragment: Any) -> str:
    """Name of the counter-ion or solvent this fragment is, or ""."""
    from rdkit import Chem

    plain = _tools()[1].uncharge(fragment)
    return COUNTER_IONS.get(Chem.MolToSmiles(plain, isomericSmiles=False), "")


def _removal_notes(parent: Any, fragments: list[Any]) -> list[str]:
    from rdkit import Chem

    kept = Chem.MolToSmiles(parent)
    removed: dict[str, Any] = {Chem.MolToSmiles(f): f for f in fragments}
    removed.pop(kept)
    if not removed:
        return ["The same structure was given more than once; one was kept."]
    flat = Chem.MolToSmiles(parent, isomericSmiles=False)
    isomers = [
        smiles for smiles, f in removed.items() if Chem.MolToSmiles(f, isomericSmiles=False) == flat
    ]
    notes = []
    if isomers:
        notes.append("A mixture of stereoisomers was given; one of them is used.")
    others = {smiles: f for smiles, f in removed.items() if smiles not in isomers}
    if others:
        names = [_counter_ion(f) or smiles for smiles, f in sorted(others.items())]
        notes.append(f"Removed salt or solvent: {', '.join(dict.fromkeys(names))}.")
    if any(
        _is_organic(f) and not _counter_ion(f) and f.GetNumHeavyAtoms() > 9 for f in others.values()
    ):
        notes.append("This looks like a mixture of substances; only the largest one is used.")
    return notes


def _check_size(molecule: Any, smiles: str) -> None:
    count = molecule.GetNumHeavyAtoms()
    if count > MAX_HEAVY_ATOMS:
        raise DrugError(
            f"The structure has {count} heavy atoms; at most {MAX_HEAVY_ATOMS} can be used.",
            where=f"structure {short(smiles)!r}",
            fix="Use a small molecule; peptides, antibodies and polymers are not supported.",
        )
    if count == 0:
        raise DrugError(
            "The structure has no atom other than hydrogen.",
            where=f"structure {short(smiles)!r}",
            fix="Enter the SMILES of a drug.",
        )


def _remarks(molecule: Any) -> list[str]:
    """What a user should know about a structure that was accepted."""
    from rdkit import Chem

    notes = []
    if molecule.GetNumHeavyAtoms() == 1:
        notes.append("A single atom or ion: it has no chemical structure to learn from.")
    isotopes = {f"{a.GetIsotope()}{a.GetSymbol()}" for a in molecule.GetAtoms() if a.GetIsotope()}
    if isotopes:
        notes.append(f"Isotope labels are kept: {', '.join(sorted(isotopes))}.")
    if (
        any(a.GetNumRadicalElectrons() for a in molecule.GetAtoms())
        and len(molecule.GetAtoms()) > 1
    ):
        notes.append("The structure has unpaired electrons (a radical).")
    open_centres = [
        s
        for s in Chem.FindPotentialStereo(molecule)
        if s.specified == Chem.StereoSpecified.Unspecified
    ]
    if open_centres:
        noun = "centre" if len(open_centres) == 1 else "centres"
        notes.append(f"The stereochemistry of {len(open_centres)} {noun} is not specified.")
    return notes


def _symbols(numbers: set[int]) -> str:
    from rdkit import Chem

    table = Chem.GetPeriodicTable()
    return ", ".join(table.GetElementSymbol(n) for n in sorted(numbers))
