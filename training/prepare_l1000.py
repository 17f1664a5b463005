"""Turn the shipped L1000 files into prepared tensors for training.

Usage: python -m training.prepare_l1000 [OUT.safetensors]

Reads assets/data/l1000, featurises every drug with AIMNet2 and writes one safetensors file that a
machine with torch and numpy alone can train on.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
from rich.progress import track

from xpert_core.drugs import DrugLibrary, standardise
from xpert_core.drugs.cache import FeatureCache
from xpert_core.drugs.featurizers import create
from xpert_core.drugs.records import Drug
from xpert_core.drugs.search import plain
from xpert_core.errors import DataError, DrugError
from xpert_core.genes import load_panel
from xpert_core.paths import assets_dir
from xpert_core.tokens.dataset import LOG2_READOUT, Z_READOUT, TrainingData

LEVEL3 = "l1000_level3_paired.h5ad"
LEVEL5 = ("l1000_level5_gps_24h_10uM.h5ad", "l1000_level5_signatures.h5ad")


@dataclass
class Rows:
    """Rows of one file.

    `obs` has the columns name, smiles, own_id, moa, targets, cell, dose_um and time_h; `x_ctl` and
    `x_deg` are float32 of shape (rows, genes).
    """

    obs: pd.DataFrame
    x_ctl: np.ndarray
    x_deg: np.ndarray
    readout: int


def read(path: Path) -> ad.AnnData:
    """A file whose genes stand in panel order.

    Raises
    ------
    DataError
        Naming the first gene that does not.
    """
    data = ad.read_h5ad(path)
    found, panel = data.var["entrez_id"].astype(int).tolist(), list(load_panel().entrez)
    if found != panel:
        first = next((i for i, (a, b) in enumerate(zip(found, panel, strict=False)) if a != b), 0)
        raise DataError(
            "The genes of the file are not those of the panel, in its order.",
            where=f"{path.name}: {len(found)} genes, column {first + 1} differs",
            fix="Reorder the columns by Entrez id as in assets/genes/l1000.csv.",
        )
    return data


def read_level3(path: Path) -> Rows:
    """Wells with their plate's mean vehicle profile: x_deg is the log2 difference."""
    data = read(path)
    obs = _columns(data.obs, name="pert_name", smiles="smiles", own_id="pert_id", moa="moa")
    control = np.asarray(data.obsm["X_ctl"], dtype=np.float32)
    return Rows(obs, control, np.asarray(data.X, dtype=np.float32) - control, LOG2_READOUT)


def read_level5(path: Path) -> Rows:
    """Signatures (z-scores) with the cell line's baseline; rows without one are left out."""
    data = read(path)
    if "smiles_any" in data.obs:
        obs = _columns(
            data.obs, name="pert_name", smiles="smiles_any", own_id="struct_id", moa="moa",
            targets="targets",
        )  # fmt: skip
        inferred = data.obs["pert_name_inferred"].astype(str)
        obs["name"] = obs["name"].where(obs["name"] != "", inferred.replace("nan", "").to_numpy())
    else:
        obs = _columns(data.obs, name="pert_name", smiles="smiles", own_id="pert_id", moa="moa")
    control = np.asarray(data.obsm["X_ctl"], dtype=np.float32)
    keep = np.isfinite(control).all(axis=1)
    keep &= obs[["dose_um", "time_h"]].notna().all(axis=1).to_numpy()
    x_deg = np.asarray(data.X, dtype=np.float32)
    return Rows(obs[keep].reset_index(drop=True), control[keep], x_deg[keep], Z_READOUT)


def _columns(obs: pd.DataFrame, **names: str) -> pd.DataFrame:
    table = {new: obs[old].astype(str).replace("nan", "").to_numpy() for new, old in names.items()}
    table.setdefault("targets", np.full(len(obs), ""))
    table["cell"] = obs["cell_id"].astype(str).to_numpy()
    for name in ("dose_um", "time_h"):
        table[name] = obs[name].to_numpy(dtype=np.float32)
    return pd.DataFrame(table)


def identify(rows: pd.DataFrame, library: DrugLibrary) -> dict[str, tuple[Drug | None, pd.Series]]:
    """Drug of every distinct (smiles, own_id, name): key -> (drug or None, its first row).

    Writes the columns `key` and `aliases` of `rows`. Where a source draws a drug of
    ``name_structures.csv`` with a structure that its name does not mean, the name is believed: the
    well held the drug, the drawing is wrong.
    """
    meant = pd.read_csv(assets_dir() / "drugs" / "name_structures.csv")
    structure_of = dict(zip(meant["name"].map(plain), meant["connectivity"], strict=True))
    found: dict[str, tuple[Drug | None, pd.Series]] = {}
    structures: dict[str, Drug] = {}
    groups = list(rows.groupby(["smiles", "own_id", "name"]))
    for (smiles, own_id, name), group in track(groups, "Structures"):
        smiles, first, drug = str(smiles), group.iloc[0], None
        if smiles:
            try:
                drug = structures.get(smiles) or standardise(smiles, name=str(name))
                structures[smiles] = drug
            except DrugError as error:
                print(f"left out {name or own_id}: {error.what}")
                continue
            right = structure_of.get(plain(str(name)), drug.connectivity)
            if drug.connectivity != right:
                print(f"{name}: {drug.connectivity} in the source, {right} by its name")
                drug = library.resolve(right)
            drug = library.annotate(drug) if drug.origin != "library" else drug
        key = drug.connectivity if drug else f"id:{own_id}"
        rows.loc[group.index, "key"] = key
        rows.loc[group.index, "aliases"] = f"{plain(str(name))}|{own_id}"
        if key not in found or (first["targets"] and not found[key][1]["targets"]):
            found[key] = (drug, first)
    return found


def main(out: Path) -> None:
    """Prepare everything."""
    folder = assets_dir() / "data" / "l1000"
    parts = [read_level3(folder / LEVEL3), *(read_level5(folder / name) for name in LEVEL5)]
    obs = pd.concat([p.obs.assign(readout=p.readout) for p in parts], ignore_index=True)
    obs = obs.assign(key=None, aliases="")
    library, cache = DrugLibrary.load(), FeatureCache(create("aimnet2"))
    drugs = identify(obs, library)
    keep = obs["key"].notna().to_numpy()
    x_ctl = np.concatenate([p.x_ctl for p in parts])[keep]
    x_deg = np.concatenate([p.x_deg for p in parts])[keep]
    obs = obs[keep].reset_index(drop=True)
    profiles, profile_index = np.unique(x_ctl, axis=0, return_inverse=True)
    cells = tuple(sorted(obs["cell"].unique()))
    keys = tuple(sorted(drugs))
    data = TrainingData(
        profiles=profiles,
        profile_index=profile_index.astype(np.int64).reshape(-1),
        drug_index=np.searchsorted(keys, obs["key"].to_numpy(dtype=str)).astype(np.int64),
        dose_um=obs["dose_um"].to_numpy(),
        time_h=obs["time_h"].to_numpy(),
        readout=obs["readout"].to_numpy(dtype=np.int64),
        cell_index=np.searchsorted(cells, obs["cell"].to_numpy(dtype=str)).astype(np.int64),
        x_deg=x_deg,
        has_x_pert=(obs["readout"] == LOG2_READOUT).to_numpy(),
        cells=cells,
        drug_keys=keys,
        drug_aliases=tuple(
            "|".join(sorted({a for text in group for a in text.split("|") if a}))
            for _, group in obs.groupby("key")["aliases"]
        ),
        panel_symbols=load_panel().symbols,
        **features(keys, drugs, cache),
        info={
            "panel_name": load_panel().name,
            "panel_digest": load_panel().digest,
            "entrez_id": list(load_panel().entrez),
            "featurizer": {
                "name": cache.featurizer.name,
                "digest": cache.featurizer.digest,
                "dim": cache.featurizer.dim,
            },
            "sources": [LEVEL3, *LEVEL5],
        },
    )
    data.save(out)
    print(
        f"{len(data)} rows, {len(profiles)} control profiles, {len(keys)} drugs "
        f"({int(data.has_molecule.sum())} with structure tokens), {len(cells)} cell lines"
    )


def features(
    keys: tuple[str, ...],
    drugs: dict[str, tuple[Drug | None, pd.Series]],
    cache: FeatureCache,
) -> dict[str, Any]:
    """Structure features, fingerprints, names and annotation of every drug, in key order."""
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
                print(f"{drug.name}: {found.fallback}")
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


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("runs/l1000.safetensors"))
