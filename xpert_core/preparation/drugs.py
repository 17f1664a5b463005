"""Drugs of prepared rows: who they are, and their features in the order of their keys."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pandas as pd

from xpert_core.drugs import DrugLibrary, standardise
from xpert_core.drugs.cache import FeatureCache
from xpert_core.drugs.featurizers import create
from xpert_core.drugs.records import Drug
from xpert_core.drugs.search import plain
from xpert_core.errors import DrugError
from xpert_core.paths import assets_dir

Note = Callable[[str], None]
Found = dict[str, tuple[Drug | None, pd.Series]]
"""Key of a drug to the drug, None without a structure, and its first row."""


def untracked(items: Iterable[Any], label: str) -> Iterable[Any]:
    """Items as they are: nobody watches."""
    return items


def identify(
    rows: pd.DataFrame,
    library: DrugLibrary,
    *,
    note: Note,
    track: Callable[[Iterable[Any], str], Iterable[Any]] = untracked,
) -> Found:
    """Drug of every distinct (smiles, own_id, name): key -> (drug or None, its first row).

    Writes the columns `key` and `aliases` of `rows`. Where a source draws a drug of
    ``name_structures.csv`` with a structure that its name does not mean, the name is believed: the
    well held the drug, the drawing is wrong.

    Parameters
    ----------
    rows : DataFrame
        Columns ``smiles``, ``own_id``, ``name``, ``targets``.
    library : DrugLibrary
    note : callable
        Told of every drug that is left out or corrected.
    track : callable
        (items, label) to the items: shows progress.
    """
    meant = pd.read_csv(assets_dir() / "drugs" / "name_structures.csv")
    structure_of = dict(zip(meant["name"].map(plain), meant["connectivity"], strict=True))
    found: Found = {}
    structures: dict[str, Drug] = {}
    groups = list(rows.groupby(["smiles", "own_id", "name"]))
    for (smiles, own_id, name), group in track(groups, "Structures"):
        smiles, first, drug = str(smiles), group.iloc[0], None
        if smiles:
            try:
                drug = structures.get(smiles) or standardise(smiles, name=str(name))
                structures[smiles] = drug
            except DrugError as error:
                note(f"left out {name or own_id}: {error.what}")
                continue
            right = structure_of.get(plain(str(name)), drug.connectivity)
            if drug.connectivity != right:
                note(f"{name}: {drug.connectivity} in the source, {right} by its name")
                drug = library.resolve(right)
            drug = library.annotate(drug) if drug.origin != "library" else drug
        key = drug.connectivity if drug else f"id:{own_id}"
        rows.loc[group.index, "key"] = key
        rows.loc[group.index, "aliases"] = f"{plain(str(name))}|{own_id}"
        if key not in found or (first["targets"] and not found[key][1]["targets"]):
            found[key] = (drug, first)
    return found


def features(
    keys: tuple[str, ...],
    drugs: Found,
    cache: FeatureCache,
    *,
    note: Note,
    track: Callable[[Iterable[Any], str], Iterable[Any]] = untracked,
) -> dict[str, Any]:
    """Structure features, fingerprints, names and annotation of every drug, in key order.

    Returns
    -------
    dict
        Fields of `xpert_core.tokens.dataset.TrainingData`.
    """
    morgan = create("morgan")
    dim = cache.featurizer.dim
    molecule = np.zeros((len(keys), dim), dtype=np.float32)
    fingerprint = np.zeros((len(keys), morgan.dim), dtype=np.uint8)
    atoms: list[np.ndarray] = []
    names, moas, targets = [], [], []
    for i, key in enumerate(track(keys, "Features")):
        drug, row = drugs[key]
        encoded = np.zeros((0, dim), dtype=np.float32)
        if drug is not None:
            found = cache.get(drug)
            if found.fallback:
                note(f"{drug.name}: {found.fallback}")
            molecule[i], encoded = found.molecule, found.atoms
            fingerprint[i] = morgan.featurize(drug).molecule > 0
        atoms.append(encoded)
        names.append(row["name"] or key)
        known = drug.targets if drug is not None else ()
        moas.append("|".join(drug.moa) if drug is not None and drug.moa else row["moa"])
        own = row["targets"]
        targets.append("|".join(known) or own)
    return {
        "molecule": molecule,
        "has_molecule": np.abs(molecule).sum(axis=1) > 0,
        "fingerprint": fingerprint,
        "atoms": np.concatenate(atoms).astype(np.float32),
        "atom_offsets": np.cumsum([0, *map(len, atoms)]).astype(np.int64),
        "drug_names": tuple(names),
        "drug_smiles": tuple(d.smiles if (d := drugs[key][0]) else "" for key in keys),
        "drug_moa": tuple(moas),
        "drug_targets": tuple(targets),
    }
