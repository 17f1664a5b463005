"""Turn the shipped L1000 files into prepared tensors for training.

Usage: python -m training.prepare_l1000 [OUT.safetensors]

Reads assets/data/l1000, featurises every drug with AIMNet2 and writes one safetensors file that a
machine with torch and numpy alone can train on.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
from rich.progress import track

from xpert_core.drugs import DrugLibrary
from xpert_core.drugs.cache import FeatureCache
from xpert_core.drugs.featurizers import create
from xpert_core.errors import DataError
from xpert_core.genes import load_panel
from xpert_core.paths import assets_dir
from xpert_core.preparation.assemble import distinct_rows, identified, training_data
from xpert_core.tokens.dataset import LOG2_READOUT, Z_READOUT

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


def main(out: Path) -> None:
    """Prepare everything."""
    folder = assets_dir() / "data" / "l1000"
    parts = [read_level3(folder / LEVEL3), *(read_level5(folder / name) for name in LEVEL5)]
    obs, drugs, keep = identified(
        pd.concat([p.obs.assign(readout=p.readout) for p in parts], ignore_index=True),
        DrugLibrary.load(),
        sources=(LEVEL3, *LEVEL5),
        note=print,
        track=track,
    )
    profiles, profile_index = distinct_rows(np.concatenate([p.x_ctl for p in parts])[keep])
    data = training_data(
        obs,
        drugs,
        profiles,
        profile_index,
        np.concatenate([p.x_deg for p in parts])[keep],
        cache=FeatureCache(create("aimnet2")),
        sources=(LEVEL3, *LEVEL5),
        note=print,
        track=track,
    )
    data.save(out)
    print(
        f"{len(data)} rows, {len(data.profiles)} control profiles, {len(data.drug_keys)} drugs "
        f"({int(data.has_molecule.sum())} with structure tokens), {len(data.cells)} cell lines"
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("runs/l1000.safetensors"))
