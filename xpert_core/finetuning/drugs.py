"""What a model is told of the drugs of a cohort: structure tokens and places in the graph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from xpert_core.drugs import DrugLibrary, standardise
from xpert_core.drugs.featurizers import create
from xpert_core.drugs.records import Drug, DrugFeatures
from xpert_core.drugs.search import plain
from xpert_core.errors import DrugError
from xpert_core.finetuning.hooks import Hooks
from xpert_core.graph.records import drug_key
from xpert_core.model.checkpoint import ModelMeta
from xpert_core.model.drugs import DrugReader, unit_vector

#: Said of a drug that reaches the model neither by structure nor by its place in the graph.
UNKNOWN_TO_MODEL = "The model is told nothing of it: neither a structure nor a place in the graph."


@dataclass(frozen=True)
class DrugTable:
    """Features of the distinct drugs of a cohort.

    Attributes
    ----------
    drugs : tuple of Drug
    features : tuple of DrugFeatures
    fingerprint : ndarray of uint8, shape (D, 1024)
        Morgan bits; zeros without a structure.
    graph : ndarray of float32, shape (D, width)
        Unit vectors; zeros where the graph cannot place the drug.
    notes : tuple of str
    """

    drugs: tuple[Drug, ...]
    features: tuple[DrugFeatures, ...]
    fingerprint: np.ndarray
    graph: np.ndarray
    notes: tuple[str, ...]

    def fields(self) -> dict[str, Any]:
        """Fields of `xpert_core.tokens.dataset.TrainingData`."""
        atoms = [f.atoms for f in self.features]
        molecule = np.stack([f.molecule for f in self.features]).astype(np.float32)
        return {
            "fingerprint": self.fingerprint,
            "molecule": molecule,
            "has_molecule": molecule.any(axis=1),
            "atoms": np.concatenate(atoms).astype(np.float32),
            "atom_offsets": np.cumsum([0, *map(len, atoms)]).astype(np.int64),
            "drug_keys": tuple(drug_key(d.connectivity, d.name) for d in self.drugs),
            "drug_names": tuple(d.name for d in self.drugs),
            "drug_smiles": tuple(d.smiles for d in self.drugs),
            "drug_aliases": tuple("|".join(filter(None, (plain(d.name), d.pert_id)))
                                  for d in self.drugs),
            "drug_moa": tuple("|".join(d.moa) for d in self.drugs),
            "drug_targets": tuple("|".join(d.targets) for d in self.drugs),
        }  # fmt: skip


def resolve_drugs(
    table: pd.DataFrame, default: str, *, drop_unknown: bool = False
) -> tuple[list[Drug | None], list[str]]:
    """Drug of every pair, None where it is left out, and notes.

    A name the library lacks is read as a structure, or by the file's column ``smiles``.

    Parameters
    ----------
    table : DataFrame
        `PairedProfiles.pairs`.
    default : str
        Drug of the pairs that name none; "" = none.
    drop_unknown : bool
        Leave pairs of unknown drugs out instead of refusing the cohort.

    Raises
    ------
    DrugError
        Listing the names that cannot be resolved.
    """
    smiles_column = next((c for c in table.columns if str(c).lower() == "smiles"), None)
    smiles = [""] * len(table) if smiles_column is None else list(table[smiles_column])
    asked = [name or default for name in table["drug"]]
    found: dict[tuple[str, str], Drug | None] = {}
    unknown: dict[str, int] = {}
    for name, structure in zip(asked, smiles, strict=True):
        key = (name, "" if structure is None or pd.isna(structure) else str(structure))
        if key not in found:
            found[key] = _resolve(*key)
        if found[key] is None:
            unknown[name or "(no name)"] = unknown.get(name or "(no name)", 0) + 1
    notes = [f"{d.name}: {note}" for d in _distinct(found.values()) for note in d.notes]
    used = sum(not name for name in table["drug"]) if default else 0
    if used:
        notes.append(f"{used} pairs name no drug: {default} is used, as you said.")
    if unknown:
        names = ", ".join(f"'{n[:60]}' ({count} pairs)" for n, count in unknown.items())
        left = len(table) - sum(unknown.values())
        if not drop_unknown or not left:
            raise DrugError(
                f"{len(unknown)} {'drug' if len(unknown) == 1 else 'drugs'} of the cohort cannot "
                "be found by name or structure.",
                where=names,
                fix="Correct the names, add a column smiles, name the drug yourself where the "
                f"file gives none, or choose to leave these pairs out ({left} would remain).",
            )
        notes.append(f"Left out, because their drug is not known: {names}.")
    index = zip(asked, smiles, strict=True)
    return [found[name, "" if s is None or pd.isna(s) else str(s)] for name, s in index], notes


def _resolve(name: str, smiles: str) -> Drug | None:
    library = DrugLibrary.load()
    if name:
        try:
            return library.resolve(name)
        except DrugError:
            pass
    if smiles:
        try:
            return library.annotate(standardise(smiles, name=name or smiles))
        except DrugError:
            pass
    return None


def _distinct(drugs: Any) -> list[Drug]:
    return list({(d.inchikey or d.key): d for d in drugs if d is not None}.values())


def describe_drugs(drugs: Sequence[Drug], meta: ModelMeta, hooks: Hooks) -> DrugTable:
    """Features of drugs as the base model was trained with them.

    Parameters
    ----------
    drugs : sequence of Drug
        Distinct.
    meta : ModelMeta
        Of the base model.
    hooks : Hooks

    Raises
    ------
    CheckpointError
        If the installed featurizer or graph is not the one the model was trained with.
    """
    reader = DrugReader.of(meta)
    morgan = create("morgan")
    features, notes = [], []
    fingerprint = np.zeros((len(drugs), morgan.dim), dtype=np.uint8)
    vectors = np.zeros((len(drugs), meta.graph.get("dim", 0)), dtype=np.float32)
    for i, drug in enumerate(drugs):
        hooks.check()
        hooks.progress(i, len(drugs), f"Structure of {drug.name}")
        found = reader.features.get(drug)
        place = reader.place(drug)
        vector = unit_vector(place)
        if vector is not None:
            vectors[i] = vector
        if drug.smiles:
            fingerprint[i] = morgan.featurize(drug).molecule > 0
        said = [found.fallback, "" if place is None else place.note]
        if not found.molecule.any() and not vectors[i].any():
            said.append(UNKNOWN_TO_MODEL)
        notes += [f"{drug.name}: {text}" for text in said if text]
        features.append(found)
    return DrugTable(tuple(drugs), tuple(features), fingerprint, vectors, tuple(notes))
