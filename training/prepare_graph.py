"""Build the tables of the knowledge graph that ship: ``assets/graph``.

Usage::

    python -m training.prepare_graph KNOWLEDGE_FOLDER

The folder holds ``dti.parquet``, ``ppi.parquet``, ``drugs.parquet`` and ``ppi_netmf_128d.npz``;
the drug library stands in ``assets/drugs``. Written are ``targets.parquet``, ``ppi.parquet``,
``gene_features.npz``, ``fingerprints.npz`` and ``similar.parquet``, and, once
``drug_features.npz`` is there too, ``statistics.json``. The numbers printed go into
``PROVENANCE.md``. About a minute on one core; run it again whenever the library changes.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import scipy.sparse as sparse
from scipy.sparse.linalg import svds

from training.prepare_drugs import CLOSED_SMILES_SOURCE
from xpert_core.files import atomic_path, sha256_file, write_bytes_atomic
from xpert_core.genes.tables import load_tables as load_gene_tables
from xpert_core.graph.build import THRESHOLD, shipped_tables
from xpert_core.graph.records import GraphStatistics
from xpert_core.graph.similarity import fingerprints, similar_pairs
from xpert_core.graph.tables import MECHANISM, Catalogue, read_interactions, read_targets, shipped
from xpert_core.paths import assets_dir

TIERS = (MECHANISM, "target")
WINDOW, NEGATIVES, DIM = 5, 1, 128
"""Window and negative samples of NetMF, length of its vectors."""
CHUNK = 1024
"""Rows of the dense 16,646 x 16,646 matrix at a time: it is 1.1 GB as a whole."""
LEAST_NORM = 1e-3
"""Shorter vectors are rounding noise: their part of the network is in none of the dimensions."""
HAND_WRITTEN = "drug label (agents_without_structure.csv)"
SHARED_LICENCE = "CC BY-SA 4.0"
"""Strictest terms of the library: for pairs it has under another name of the same compound."""


def target_rows(knowledge: Path) -> pd.DataFrame:
    """Openly licensed target rows of library compounds, and those of agents without structure."""
    drugs = pd.read_parquet(knowledge / "drugs.parquet", columns=["drug_id", "smiles_source"])
    closed = drugs.loc[drugs["smiles_source"] == CLOSED_SMILES_SOURCE, "drug_id"]
    catalogue = Catalogue()
    rows, dropped = read_targets(knowledge / "dti.parquet", catalogue, TIERS)
    print("\n".join(map(str, dropped)))
    by_structure = rows["inferred_by_structure"] & rows["drug_id"].isin(set(closed))
    outside = ~rows["key"].isin(library_keys())
    print(f"{by_structure.sum()} rows left out: known through a structure without a licence only")
    print(f"{outside.sum()} rows left out: their compound is not in the library")
    rows = rows[~by_structure & ~outside]
    rows = pd.concat([rows[rows["tier"] != MECHANISM], agreed(rows[rows["tier"] == MECHANISM])])
    rows = rows.assign(symbol=rows["entrez_id"].map(load_gene_tables().symbols))
    rows = rows.drop(columns="gene").rename(columns={"symbol": "gene"})
    columns = ["key", "drug_id", "gene", "entrez_id", "tier", "source", "licence"]
    return rows[columns].drop_duplicates().sort_values(columns).reset_index(drop=True)


def library_pairs() -> pd.DataFrame:
    """Key and target of every library row with targets: what the program shows of a drug."""
    library = pd.read_parquet(assets_dir() / "drugs" / "library.parquet")
    library = library[library["targets"] != ""]
    library = library.assign(key=Catalogue().keys_of(library.rename(columns={"name": "drug"})))
    pairs = library.assign(gene=library["targets"].str.split("|")).explode("gene")
    return pairs[["key", "drug_id", "gene", "sources"]].drop_duplicates(["key", "gene"])


def library_keys() -> set[str]:
    """Keys of all library compounds."""
    library = pd.read_parquet(assets_dir() / "drugs" / "library.parquet")
    return set(Catalogue().keys_of(library.rename(columns={"name": "drug"})))


def agreed(rows: pd.DataFrame) -> pd.DataFrame:
    """Mechanism rows as the library has them, so that corrections made there hold here too."""
    pairs = library_pairs()
    known = set(zip(pairs["key"], pairs["gene"], strict=True))
    symbols = rows["entrez_id"].map(load_gene_tables().symbols)
    inside = [pair in known for pair in zip(rows["key"], symbols, strict=True)]
    gone = rows[~np.array(inside)]
    print(
        f"{len(gone)} rows of {gone['drug'].nunique()} names left out: not a target in the library"
    )
    found = set(zip(rows["key"], symbols, strict=True))
    new = pairs[[pair not in found for pair in zip(pairs["key"], pairs["gene"], strict=True)]]
    print(f"{len(new)} pairs added from the library", new["key"].tolist())
    entrez = {symbol: gene for gene, symbol in load_gene_tables().symbols.items()}
    by_hand = new["drug_id"].str.startswith("AGENT:")
    added = new.assign(
        entrez_id=new["gene"].map(entrez).astype("int64"),
        tier=MECHANISM,
        source=np.where(by_hand, HAND_WRITTEN, "drug library: " + new["sources"]),
        licence=np.where(by_hand, "facts", SHARED_LICENCE),
    )
    return pd.concat([rows[inside], added])


def netmf(first: np.ndarray, second: np.ndarray, weight: np.ndarray, size: int) -> np.ndarray:
    """NetMF vectors of a weighted network (Qiu et al., WSDM 2018, algorithm 3).

    Parameters
    ----------
    first, second : ndarray of int, shape (E,)
        Ends of the undirected edges.
    weight : ndarray of float, shape (E,)
    size : int
        Number of nodes; each has an edge.

    Returns
    -------
    ndarray of float32, shape (size, DIM)
        U sqrt(S) of the truncated logarithm of the DeepWalk matrix; of each column the entry of
        largest size is positive, so that the result does not depend on the solver's signs.
    """
    ends = (np.concatenate([first, second]), np.concatenate([second, first]))
    network = sparse.coo_array((np.tile(weight, 2), ends), shape=(size, size)).tocsr()
    degree = np.asarray(network.sum(axis=0)).ravel()
    walk = (sparse.diags_array(1 / degree) @ network).astype(np.float32).tocsr()
    backward = walk.T.tocsr()
    scale = (degree.sum() / (WINDOW * NEGATIVES) / degree).astype(np.float32)
    parts = []
    for start in range(0, size, CHUNK):
        step = walk[start : start + CHUNK].toarray().T
        total = step.copy()
        for _ in range(WINDOW - 1):
            step = backward @ step
            total += step
        block = total.T * scale
        parts.append(sparse.csr_array(np.log(np.maximum(block, 1, out=block), out=block)))
    matrix = sparse.vstack(parts).tocsr()
    left, values, _ = svds(matrix, k=DIM, v0=np.ones(size, dtype=np.float32))
    order = np.argsort(-values)
    vectors = left[:, order] * np.sqrt(values[order])
    largest = np.abs(vectors).argmax(axis=0)
    return vectors * np.sign(vectors[largest, np.arange(DIM)])


def gene_table(knowledge: Path, pairs: pd.DataFrame, targets: pd.DataFrame) -> dict[str, Any]:
    """Network vectors of all genes of the graph, sorted by Entrez id."""
    nodes = np.unique(pairs[["a", "b"]])
    first, second = (np.searchsorted(nodes, pairs[side].to_numpy()) for side in "ab")
    vectors = netmf(first, second, pairs["score"].to_numpy() / 1000, len(nodes))
    compare(vectors, nodes, knowledge / "ppi_netmf_128d.npz")
    entrez = np.union1d(nodes, targets["entrez_id"].unique())
    placed = np.linalg.norm(vectors, axis=1) > LEAST_NORM
    has_ppi = np.isin(entrez, nodes[placed])
    features = np.zeros((len(entrez), DIM), dtype=np.float16)
    features[has_ppi] = vectors[placed]
    names = load_gene_tables().symbols
    symbols = np.array([names[int(gene)] for gene in entrez])
    print(f"{len(entrez)} genes, {len(nodes)} in the network, {has_ppi.sum()} with a vector")
    return {"symbol": symbols, "entrez_id": entrez, "netmf": features, "has_ppi": has_ppi}


def compare(vectors: np.ndarray, nodes: np.ndarray, path: Path) -> None:
    """Print how well the cosines between landmark genes agree with the vectors made before."""
    with np.load(path, allow_pickle=False) as source:
        inside = source["has_ppi"] & np.isin(source["entrez_id"], nodes)
        earlier = source["embedding"][inside]
        own = vectors[np.searchsorted(nodes, source["entrez_id"][inside])]
    placed = np.linalg.norm(own, axis=1) > LEAST_NORM
    own, earlier = own[placed], earlier[placed]
    upper = np.triu_indices(len(own), 1)
    a, b = (_cosines(x)[upper] for x in (own, earlier))
    print(
        f"NetMF cosines over {len(own)} landmark genes ({len(a):,} pairs): correlation "
        f"{np.corrcoef(a, b)[0, 1]:.4f}, mean difference {np.abs(a - b).mean():.4f}, 99th "
        f"percentile {np.percentile(np.abs(a - b), 99):.4f}, largest {np.abs(a - b).max():.3f}"
    )


def _cosines(rows: np.ndarray) -> np.ndarray:
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit @ unit.T


def write_parquet(name: str, columns: dict[str, Any]) -> None:
    """Compact Parquet without pandas metadata."""
    with atomic_path(shipped(name)) as temporary:
        pq.write_table(pa.table(columns), temporary, compression="zstd", compression_level=19)


def write_arrays(name: str, arrays: dict[str, Any]) -> None:
    """Compressed arrays."""
    with atomic_path(shipped(name)) as temporary, temporary.open("wb") as stream:
        np.savez_compressed(stream, allow_pickle=False, **arrays)


def write_similar() -> None:
    """Fingerprints of all library structures, and the pairs above the threshold."""
    catalogue = Catalogue()
    packed = fingerprints(catalogue.smiles)
    write_arrays("fingerprints.npz", {"key": np.array(catalogue.key), "packed": packed})
    first, second, tanimoto = similar_pairs(packed, THRESHOLD)
    columns = {"first": first.astype(np.int32), "second": second.astype(np.int32)}
    write_parquet("similar.parquet", {**columns, "tanimoto": tanimoto})
    print(f"{len(packed)} structures, {len(first)} pairs above {THRESHOLD}")


def main(knowledge: Path) -> None:
    """Write every table and print counts and hashes."""
    shipped("").mkdir(parents=True, exist_ok=True)
    targets = target_rows(knowledge)
    columns = {name: targets[name].astype("category") for name in targets.columns.astype(str)}
    columns["entrez_id"] = targets["entrez_id"].astype("int32")
    write_parquet("targets.parquet", columns)
    print(targets.groupby(["tier", "source", "licence"]).size().to_string())
    pairs, dropped = read_interactions(knowledge / "ppi.parquet")
    print("\n".join(map(str, dropped)))
    pairs = pairs.sort_values(["a", "b"])
    ends = {f"entrez_{side}": pairs[side].to_numpy(np.int32) for side in "ab"}
    write_parquet("ppi.parquet", {**ends, "score": pairs["score"].to_numpy(np.int16)})
    print(f"{len(pairs)} interactions")
    write_arrays("gene_features.npz", gene_table(knowledge, pairs, targets))
    write_similar()
    if shipped("drug_features.npz").is_file():
        statistics = GraphStatistics.of(shipped_tables()).to_dict()
        write_bytes_atomic(
            shipped("statistics.json"), (json.dumps(statistics, indent=1) + "\n").encode()
        )
        print(json.dumps(statistics))
    for name in ("dti", "ppi", "drugs"):
        print(f"| `{name}.parquet` (input) | {sha256_file(knowledge / f'{name}.parquet')} |")
    for path in sorted(p for p in shipped("").glob("*") if p.suffix != ".md"):
        path.chmod(0o644)
        print(f"| `{path.name}` | {path.stat().st_size} | {sha256_file(path)} |")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("knowledge", type=Path, help="folder of the knowledge tables")
    main(parser.parse_args().knowledge)
