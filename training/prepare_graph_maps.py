"""Maps of the drugs in chemical and in biological space, for the dashboard (Fig. 3c of the paper).

Usage: python -m training.prepare_graph_maps

Needs umap-learn. Drugs with a mechanism are projected from their molecule token (chemical space)
and from their embedding in the knowledge graph (biological space): principal components first (40
at most), then UMAP on 15 neighbours, as the paper does. Writes assets/graph/maps.parquet.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import umap
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from xpert_core.files import atomic_path
from xpert_core.graph.embed import GraphEmbedder
from xpert_core.paths import assets_dir

COMPONENTS, NEIGHBOURS, SEED = 40, 15, 0


def project(vectors: np.ndarray) -> np.ndarray:
    """Two coordinates a row, float32, shape (N, 2)."""
    reduced = PCA(COMPONENTS, random_state=SEED).fit_transform(vectors)
    reducer = umap.UMAP(n_neighbors=NEIGHBOURS, metric="cosine", random_state=SEED)
    return reducer.fit_transform(reduced).astype(np.float32)


def main() -> None:
    """Project and write."""
    folder = assets_dir() / "graph"
    library = pd.read_parquet(assets_dir() / "drugs" / "library.parquet")
    library = library[(library["moa"] != "") & (library["connectivity"] != "")]
    library = library.drop_duplicates("connectivity").set_index("connectivity")
    with np.load(folder / "drug_features.npz", allow_pickle=False) as stream:
        molecule = dict(zip(stream["connectivity"], stream["molecule"], strict=True))
    embedder = GraphEmbedder.load()
    rows = []
    for key, drug in library.iterrows():
        vector = embedder.drug(str(key))
        if vector is not None and molecule[key].any():
            rows.append((key, drug["name"], drug["moa"], vector, molecule[key]))
    keys, names, moa, biological, chemical = zip(*rows, strict=True)
    chemical_map = project(StandardScaler().fit_transform(np.stack(chemical).astype(np.float32)))
    biological_map = project(np.stack(biological).astype(np.float32))
    table = pd.DataFrame(
        {
            "key": keys,
            "name": names,
            "moa": moa,
            "chemical_x": chemical_map[:, 0],
            "chemical_y": chemical_map[:, 1],
            "biological_x": biological_map[:, 0],
            "biological_y": biological_map[:, 1],
        }
    )
    with atomic_path(folder / "maps.parquet") as temporary:
        table.to_parquet(temporary, index=False, compression="zstd")
    print(f"{len(table)} drugs, {(folder / 'maps.parquet').stat().st_size} bytes")


if __name__ == "__main__":
    main()
