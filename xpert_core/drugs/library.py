"""The drug library: compounds with names, structures, mechanisms and targets, openly licensed.

The table is ``assets/drugs/library.parquet``; ``PROVENANCE.md`` beside it says where every part
comes from.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from xpert_core.drugs.records import Drug
from xpert_core.drugs.search import DrugHit, Match, SearchIndex, plain
from xpert_core.drugs.standardise import clean_text, short, standardise
from xpert_core.errors import DrugError, UnknownDrugError
from xpert_core.paths import assets_dir

COLUMNS = (
    "drug_id",
    "pert_id",
    "name",
    "synonyms",
    "smiles",
    "inchikey",
    "connectivity",
    "molar_mass",
    "moa",
    "targets",
    "chembl_id",
    "sources",
    "notes",
)
"""Columns of the library table; lists are joined with ``|``."""

_KEY_TEXT = re.compile(r"[A-Z]{14}(-[A-Z]{10}(-[A-Z])?)?")
_SMILES_TOKENS = re.compile(r"(?:Cl|Br|[BCNOPSFIbcnops]|\[[^\[\]]+\]|[-=#$:/\\.()%0-9+~>*<])+")
_STRUCTURAL = re.compile(r"[=#\[\]()/\\*>]")


class DrugLibrary:
    """Every drug this program knows by name.

    Use `load`; it reads the shipped table once.

    Parameters
    ----------
    columns : dict of str to list
        The columns `COLUMNS`, one entry a compound, in order of preference.
    """

    def __init__(self, columns: dict[str, list[Any]]) -> None:
        self._columns = columns
        size = len(columns["drug_id"])
        self._by_key: dict[str, int] = {}
        for kind in ("inchikey", "connectivity"):
            for row, key in enumerate(columns[kind]):
                self._by_key.setdefault(key, row)
        self._by_key.pop("", None)
        self._structures_of: dict[str, set[str]] = defaultdict(set)
        for name, connectivity in zip(columns["name"], columns["connectivity"], strict=True):
            if connectivity:
                self._structures_of[plain(name)].add(connectivity)
        identifiers = zip(
            columns["name"],
            columns["pert_id"],
            columns["drug_id"],
            columns["chembl_id"],
            strict=True,
        )
        self._index = SearchIndex(
            names=columns["name"],
            synonyms=[_split(text) for text in columns["synonyms"]],
            ids=[{*others} - {name, ""} for name, *others in identifiers],
            labels=[
                _labels(targets, moa) if targets or moa else ()
                for targets, moa in zip(columns["targets"], columns["moa"], strict=True)
            ],
            groups=[columns["connectivity"][r] or columns["drug_id"][r] for r in range(size)],
        )

    @classmethod
    def load(cls) -> DrugLibrary:
        """The shipped library, read once per process.

        Raises
        ------
        DrugError
            When the table is missing or damaged.
        """
        return _load(assets_dir() / "drugs" / "library.parquet")

    def __len__(self) -> int:
        return len(self._columns["drug_id"])

    def search(self, query: str, limit: int = 20) -> list[DrugHit]:
        """Drugs that fit what was typed, best first.

        Looked up are names, synonyms, identifiers, InChIKeys (whole or first block), targets and
        mechanisms; misspelled names are found as well. Stereoisomers count as one compound.

        Parameters
        ----------
        query : str
            Case, spaces, hyphens and salt names do not matter.
        limit : int
            Most results returned.
        """
        text = clean_text(query)
        row = self._row_of_inchikey(text)
        if row is not None:
            return [DrugHit(self._drug(row), 95.0, f"InChIKey {text.upper()}")][:limit]
        matches = self._index.search(text, limit) if limit > 0 else []
        return [DrugHit(self._drug(m.row), m.score, m.matched_on) for m in matches]

    def resolve(self, text: str) -> Drug:
        """The one drug meant by a name, synonym, identifier, InChIKey or SMILES.

        A name wins over a SMILES of the same letters, and a few capital letters that could be
        either are never read as a SMILES: use `xpert_core.drugs.standardise` for those.

        Raises
        ------
        UnknownDrugError
            When nothing has that name; the message offers the nearest names.
        DrugError
            When it is a SMILES that cannot be used.
        """
        typed = clean_text(text)
        if not typed:
            raise DrugError(
                "No drug was given.", where="the drug field", fix="Enter a name or a SMILES."
            )
        found = self._index.exact(typed)
        if found is not None:
            return self._as_found(found, typed)
        row = self._row_of_inchikey(typed)
        if row is not None:
            return self._with_key_note(row, typed.upper())
        if not _may_be_smiles(typed):
            raise self._unknown(typed)
        try:
            return standardise(typed)
        except DrugError:
            if _STRUCTURAL.search(typed) or len(typed) > 40:
                raise
            raise self._unknown(typed) from None

    def by_key(self, key: str) -> Drug | None:
        """The drug of a connectivity block or a whole InChIKey; None when it is not here."""
        row = self._row_of_inchikey(key)
        return None if row is None else self._drug(row)

    def annotate(self, drug: Drug) -> Drug:
        """`drug` with the targets and mechanisms of the library compound of its connectivity."""
        row = self._by_key.get(drug.inchikey, self._by_key.get(drug.connectivity))
        if not drug.connectivity or row is None:
            return drug
        known = self._drug(row)
        if known.inchikey == drug.inchikey:
            note = f"This is {known.name} of the library."
        else:
            note = f"Same connectivity as {known.name} of the library, other stereochemistry."
        return replace(
            drug,
            pert_id=drug.pert_id or known.pert_id,
            targets=known.targets,
            moa=known.moa,
            notes=(*drug.notes, note),
        )

    def _row_of_inchikey(self, text: str) -> int | None:
        key = text.upper()
        if not _KEY_TEXT.fullmatch(key):
            return None
        return self._by_key.get(key, self._by_key.get(key[:14]))

    def _as_found(self, found: Match, typed: str) -> Drug:
        """The drug of a match, with a note when it is listed under another name."""
        drug = self._drug(found.row)
        if found.other_salt:
            note = f"{typed!r} was taken as {drug.name}: the salt or ester is left out."
        elif found.kind == "synonym":
            note = f"Found as {found.text}, which the library lists as {drug.name}."
        else:
            return drug
        return replace(drug, notes=(*drug.notes, note))

    def _with_key_note(self, row: int, key: str) -> Drug:
        drug = self._drug(row)
        if len(key) < 27 or drug.inchikey == key:
            return drug
        note = f"The library holds this compound with other stereochemistry than {key}."
        return replace(drug, notes=(*drug.notes, note))

    def _unknown(self, typed: str) -> UnknownDrugError:
        nearest = self._index.nearest(typed, 5)
        offer = f"Did you mean {', '.join(nearest)}? Otherwise enter" if nearest else "Enter"
        fix = f"{offer} its structure as SMILES."
        if _SMILES_TOKENS.fullmatch(typed):
            fix += " So short a SMILES needs an atom in brackets, such as [CH3]O for methanol."
        return UnknownDrugError(
            "No drug of this name is in the library, and it is no chemical structure (SMILES).",
            where=f"drug {short(typed)!r}",
            fix=fix,
        )

    def _drug(self, row: int) -> Drug:
        columns = self._columns
        return Drug(
            name=columns["name"][row],
            smiles=columns["smiles"][row],
            inchikey=columns["inchikey"][row],
            pert_id=columns["pert_id"][row],
            targets=_split(columns["targets"][row]),
            moa=_split(columns["moa"][row]),
            origin="library",
            molar_mass=columns["molar_mass"][row],
            notes=(*_split(columns["notes"][row]), *self._other_structures(row)),
        )

    def _other_structures(self, row: int) -> tuple[str, ...]:
        """Warn where the sources give one name to several structures: one of them is wrong."""
        structures = self._structures_of[plain(self._columns["name"][row])]
        if len(structures) < 2:
            return ()
        note = (
            f"The sources give this name to {len(structures)} different structures; "
            f"{self._columns['inchikey'][row] or 'none'} is used. Check it, or give the SMILES."
        )
        return (note,)


def _split(text: str) -> tuple[str, ...]:
    return tuple(text.split("|")) if text else ()


def _labels(targets: str, moa: str) -> list[tuple[str, str]]:
    return [("target", t) for t in _split(targets)] + [("mechanism", m) for m in _split(moa)]


def _may_be_smiles(text: str) -> bool:
    """Whether a text that is no known name should be read as a structure.

    Capital letters alone (CNO, PCP, BOC) are read as one only when they hold a carbon chain, and
    whatever has a double bond or a bracket is meant as one even when it is misspelled.
    """
    if " " in text:
        return False
    if _SMILES_TOKENS.fullmatch(text):
        return bool(_STRUCTURAL.search(text)) or "CC" in text or "cc" in text
    return "=" in text or text.startswith("InChI")


@lru_cache(maxsize=2)
def _load(path: Path) -> DrugLibrary:
    import pyarrow as pa
    import pyarrow.parquet as pq

    fix = "Reinstall the program, or build the table with training/prepare_drugs.py."
    try:
        with pq.ParquetFile(path) as file:
            table = file.read(columns=list(COLUMNS), use_threads=False)
    except (FileNotFoundError, pa.ArrowException, OSError, KeyError) as error:
        raise DrugError(
            "The drug library cannot be read.", where=f"{path} ({type(error).__name__})", fix=fix
        ) from error
    if table.num_rows == 0 or set(table.column_names) != set(COLUMNS):
        raise DrugError(
            "The drug library is empty or of another version.", where=str(path), fix=fix
        )
    return DrugLibrary(table.to_pydict())
