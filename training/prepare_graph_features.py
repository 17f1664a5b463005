"""Molecule tokens of every structure in the drug library: node features of the knowledge graph.

Usage: python -m training.prepare_graph_features [PARTS_FOLDER]

One AIMNet2 molecule token a connectivity, of its first row in the library. About 40 minutes on
one core; what is done is kept in PARTS_FOLDER (default runs/graph_features), so that an interrupted
run goes on where it was. Writes assets/graph/drug_features.npz (float16); structures that the
encoder does not take have a zero row.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
from rich.progress import track

from xpert_core.drugs import DrugLibrary
from xpert_core.drugs.featurizers import create
from xpert_core.errors import DrugError
from xpert_core.files import atomic_path
from xpert_core.paths import assets_dir

PART = 250


def main(parts: Path) -> None:
    """Compute what is missing, then join the parts."""
    table = pd.read_parquet(assets_dir() / "drugs" / "library.parquet")
    rows = table[table["smiles"] != ""].drop_duplicates("connectivity").sort_values("connectivity")
    parts.mkdir(parents=True, exist_ok=True)
    library, featurizer = DrugLibrary.load(), create("aimnet2")
    known: dict[str, np.ndarray] = {}
    for path in sorted(parts.glob("*.npz")):
        with np.load(path, allow_pickle=False) as part:
            known.update(zip(part["inchikey"], part["molecule"], strict=True))
    wanted = [key for key in rows["inchikey"] if key not in known]
    for start in track(range(0, len(wanted), PART), "Structures"):
        keys = wanted[start : start + PART]
        found = np.zeros((len(keys), featurizer.dim), dtype=np.float16)
        for i, key in enumerate(keys):
            try:
                found[i] = featurizer.featurize(library.resolve(key)).molecule
            except DrugError as error:
                print(f"{key}: {error.what}", flush=True)
        with atomic_path(parts / f"{keys[0]}.npz") as temporary, temporary.open("wb") as stream:
            np.savez(stream, inchikey=np.array(keys), molecule=found)
        known.update(zip(keys, found, strict=True))
    target = assets_dir() / "graph" / "drug_features.npz"
    target.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(target) as temporary, temporary.open("wb") as stream:
        np.savez_compressed(
            stream,
            connectivity=rows["connectivity"].to_numpy(dtype=str),
            molecule=np.stack([known[key] for key in rows["inchikey"]]),
            featurizer=np.array([featurizer.name, featurizer.digest]),
        )
    empty = sum(not known[key].any() for key in rows["inchikey"])
    print(f"{len(rows)} structures, {empty} without a token, {target.stat().st_size} bytes")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("runs/graph_features"))
