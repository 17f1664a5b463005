"""Building, saving and loading the knowledge graph.

`torch` and `torch_geometric` are imported inside the functions that need them: statistics and
neighbours are answered from the tables alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from xpert_core.errors import DataError
from xpert_core.files import atomic_path
from xpert_core.graph.records import (
    INTERACTS,
    RELATIONS,
    SIMILAR,
    TARGETED_BY,
    TARGETS,
    Edges,
    GraphStatistics,
    GraphTables,
)
from xpert_core.graph.similarity import fingerprints, similar_pairs
from xpert_core.graph.tables import (
    MECHANISM,
    Catalogue,
    gene_nodes,
    interaction_edges,
    read_arrays,
    read_interactions,
    read_table,
    read_targets,
    shipped,
    target_edges,
)

if TYPE_CHECKING:
    from torch_geometric.data import HeteroData

__all__ = [
    "assemble",
    "build_graph",
    "fingerprints",
    "load_graph",
    "load_shipped_graph",
    "read_description",
    "save_graph",
    "shipped_fingerprints",
    "shipped_tables",
]

SCHEMA = 1
"""Raised when the meaning of a graph file changes."""
THRESHOLD = 0.5
"""Drugs more similar than this are connected."""

Progress = Callable[[str, int, int], None]
"""Called with what is done, the steps done and all steps."""


def assemble(
    targets: Path | None = None,
    ppi: Path | None = None,
    *,
    tiers: Collection[str] = (MECHANISM,),
    include_restricted: bool = False,
    threshold: float = THRESHOLD,
    progress: Progress | None = None,
) -> GraphTables:
    """Read and check the tables, and compare all structures.

    Parameters
    ----------
    targets, ppi : Path, optional
        Tables of a user; the shipped ones when left out.
    tiers : collection of str
        Tiers of targets to keep.
    include_restricted : bool
        Keep target rows under licences that are not open.
    threshold : float
        Tanimoto similarity above which drugs are connected.
    progress : callable, optional

    Returns
    -------
    GraphTables

    Raises
    ------
    DataError
        When a table or a setting cannot be used.
    """
    if not 0 <= threshold < 1:
        raise DataError(
            "The similarity threshold must be at least 0 and below 1.",
            where=f"threshold {threshold}",
            fix="0.5 is the published choice.",
        )
    tables = _without_similar(targets, ppi, tiers, include_restricted)
    rows = [row for row, smiles in enumerate(tables.drugs.smiles) if smiles]
    report = progress or (lambda what, done, total: None)
    report("Fingerprints", 0, 1)
    packed = fingerprints([tables.drugs.smiles[row] for row in rows])
    report("Fingerprints", 1, 1)
    first, second, tanimoto = similar_pairs(
        packed, threshold, lambda done, total: report("Similar drugs", done, total)
    )
    positions = np.array(rows, dtype=np.int64)
    similar = Edges(positions[first], positions[second], tanimoto)
    return replace(
        tables, similar=similar, settings={**tables.settings, "threshold": float(threshold)}
    )


def _without_similar(
    targets: Path | None, ppi: Path | None, tiers: Collection[str], include_restricted: bool
) -> GraphTables:
    catalogue = Catalogue()
    rows, dropped = read_targets(
        targets or shipped("targets.parquet"), catalogue, tiers, include_restricted
    )
    pairs, too_low = read_interactions(ppi or shipped("ppi.parquet"))
    drugs = catalogue.nodes()
    genes = gene_nodes([rows["entrez_id"].to_numpy(), pairs["a"].to_numpy(), pairs["b"].to_numpy()])
    nothing = np.zeros(0, dtype=np.int64)
    return GraphTables(
        drugs=drugs,
        genes=genes,
        targets=target_edges(rows, {key: i for i, key in enumerate(drugs.key)}, genes),
        interacts=interaction_edges(pairs, genes),
        similar=Edges(nothing, nothing, np.zeros(0, dtype=np.float32)),
        dropped=(*dropped, *too_low),
        settings={
            "targets": targets.name if targets else "shipped",
            "ppi": ppi.name if ppi else "shipped",
            "tiers": sorted(tiers),
            "include_restricted": include_restricted,
            "drugs_outside_library": len(catalogue.added),
        },
    )


def shipped_tables() -> GraphTables:
    """The shipped graph as tables: mechanism targets, and the similar drugs of a stored table.

    Raises
    ------
    DataError
        When a file is missing or damaged, or was made for another drug library.
    """
    tables = _without_similar(None, None, (MECHANISM,), False)
    keys, _ = shipped_fingerprints()
    structured = np.array(tables.drugs.smiles) != ""
    if keys != np.array(tables.drugs.key)[structured].tolist():
        raise DataError(
            "The shipped graph was made for another drug library.",
            where=str(shipped("fingerprints.npz")),
            fix="Install the program again, or run training/prepare_graph.py.",
        )
    # Drugs with a structure come first among the nodes: positions in the file are node positions.
    pairs = read_table(shipped("similar.parquet"), [("first",), ("second",), ("tanimoto",)])
    similar = Edges(
        pairs["first"].to_numpy(np.int64),
        pairs["second"].to_numpy(np.int64),
        pairs["tanimoto"].to_numpy(np.float32),
    )
    return replace(tables, similar=similar, settings={**tables.settings, "threshold": THRESHOLD})


def shipped_fingerprints() -> tuple[list[str], np.ndarray]:
    """Keys and Morgan fingerprints of every library structure.

    Returns
    -------
    keys : list of str, length N
        Connectivity blocks, in the order of the drug nodes.
    packed : ndarray of uint8, shape (N, 256)

    Raises
    ------
    DataError
        When the file is missing or damaged.
    """
    arrays = read_arrays("fingerprints.npz", ("key", "packed"))
    return arrays["key"].tolist(), arrays["packed"]


def load_shipped_graph() -> HeteroData:
    """The shipped graph, see `shipped_tables` and `build_graph`."""
    return build_graph(shipped_tables())


def build_graph(tables: GraphTables) -> HeteroData:
    """Graph of checked tables.

    Returns
    -------
    HeteroData
        ``data["drug"]``: ``x`` float32 (D, 256), ``has_x`` bool (D,), ``key`` and ``name`` lists.
        ``data["gene"]``: ``x`` float32 (G, 128), ``has_x`` bool (G,), ``entrez_id`` int64 (G,),
        ``symbol`` list. Each of `RELATIONS`: ``edge_index`` int64 (2, E) and ``edge_weight``
        float32 (E,); relations within one node type hold both directions.

    Raises
    ------
    DataError
        For a drug with neither structure nor target, and for edges to nodes that are not there.
    """
    import torch
    from torch_geometric.data import HeteroData

    _check(tables)
    drugs, genes = tables.drugs, tables.genes
    data = HeteroData()
    data["drug"].x = torch.from_numpy(drugs.molecule)
    data["drug"].has_x = torch.from_numpy(drugs.molecule.any(axis=1))
    data["drug"].key, data["drug"].name = list(drugs.key), list(drugs.name)
    data["gene"].x = torch.from_numpy(genes.netmf)
    data["gene"].has_x = torch.from_numpy(genes.has_ppi)
    data["gene"].entrez_id = torch.from_numpy(genes.entrez_id)
    data["gene"].symbol = list(genes.symbol)
    edges = {
        TARGETS: tables.targets,
        TARGETED_BY: _reversed(tables.targets),
        INTERACTS: _both_ways(tables.interacts),
        SIMILAR: _both_ways(tables.similar),
    }
    for relation, found in edges.items():
        data[relation].edge_index = torch.from_numpy(np.stack([found.source, found.target]))
        data[relation].edge_weight = torch.from_numpy(found.weight)
    data.statistics = GraphStatistics.of(tables).to_dict()
    data.settings = tables.settings
    return data


def _reversed(edges: Edges) -> Edges:
    order = np.lexsort((edges.source, edges.target))
    return Edges(edges.target[order], edges.source[order], edges.weight[order])


def _both_ways(edges: Edges) -> Edges:
    source = np.concatenate([edges.source, edges.target])
    target = np.concatenate([edges.target, edges.source])
    weight = np.concatenate([edges.weight, edges.weight])
    order = np.lexsort((target, source))
    return Edges(source[order], target[order], weight[order])


def _check(tables: GraphTables) -> None:
    drugs, genes = len(tables.drugs.key), len(tables.genes.symbol)
    for what, edges, sources, goals in (
        ("targets", tables.targets, drugs, genes),
        ("interacts", tables.interacts, genes, genes),
        ("similar", tables.similar, drugs, drugs),
    ):
        ends = ((edges.source, sources), (edges.target, goals))
        if any(len(end) and (end.min() < 0 or end.max() >= size) for end, size in ends):
            raise DataError(
                "Edges of the graph lead to nodes that are not there.",
                where=f"relation {what}",
                fix="Build the graph again from its tables.",
            )
    reached = np.zeros(drugs, dtype=bool)
    reached[tables.targets.source] = True
    bare = [
        tables.drugs.name[row] for row in np.flatnonzero(~reached) if not tables.drugs.smiles[row]
    ]
    if bare:
        raise DataError(
            f"{len(bare)} drugs have neither a structure nor a target, so they have no place.",
            where=", ".join(bare[:10]),
            fix="Give each a target gene or a SMILES, or leave it out.",
        )


def save_graph(data: HeteroData, path: Path) -> None:
    """Write a graph to one safetensors file, atomically; names and statistics are in its header."""
    from safetensors.torch import save_file

    tensors: dict[str, Any] = {}
    for node in ("drug", "gene"):
        tensors |= {f"{node}.x": data[node].x, f"{node}.has_x": data[node].has_x}
    tensors["gene.entrez_id"] = data["gene"].entrez_id
    for relation in RELATIONS:
        tensors[f"{'.'.join(relation)}.edge_index"] = data[relation].edge_index
        tensors[f"{'.'.join(relation)}.edge_weight"] = data[relation].edge_weight
    header = {
        "schema": SCHEMA,
        "drug.key": data["drug"].key,
        "drug.name": data["drug"].name,
        "gene.symbol": data["gene"].symbol,
        "statistics": data.statistics,
        "settings": data.settings,
    }
    with atomic_path(Path(path)) as temporary:
        save_file(
            {name: tensor.contiguous() for name, tensor in tensors.items()},
            temporary,
            metadata={name: json.dumps(value) for name, value in header.items()},
        )
        temporary.chmod(0o644)  # safetensors makes files that their owner alone can read


def read_description(path: Path) -> tuple[GraphStatistics, dict[str, Any]]:
    """Statistics and settings of a graph file, from its header alone.

    Raises
    ------
    DataError
        When the file is no whole graph.
    """
    header, _ = _read(Path(path), with_tensors=False)
    try:
        statistics = GraphStatistics(**header["statistics"])
    except TypeError as error:
        raise _damaged(path, error) from error
    return replace(statistics, notes=tuple(statistics.notes)), header["settings"]


def load_graph(path: Path) -> HeteroData:
    """Read what `save_graph` wrote.

    Raises
    ------
    DataError
        When the file is missing, cut, of another version, or no graph.
    """
    from torch_geometric.data import HeteroData

    header, tensors = _read(Path(path))
    data = HeteroData()
    try:
        for node in ("drug", "gene"):
            data[node].x, data[node].has_x = tensors[f"{node}.x"], tensors[f"{node}.has_x"]
        data["gene"].entrez_id = tensors["gene.entrez_id"]
        data["drug"].key, data["drug"].name = header["drug.key"], header["drug.name"]
        data["gene"].symbol = header["gene.symbol"]
        for relation in RELATIONS:
            data[relation].edge_index = tensors[f"{'.'.join(relation)}.edge_index"]
            data[relation].edge_weight = tensors[f"{'.'.join(relation)}.edge_weight"]
        data.statistics, data.settings = header["statistics"], header["settings"]
        _check_loaded(data)
    except (KeyError, ValueError, IndexError, RuntimeError, TypeError) as error:
        raise _damaged(path, error) from error
    return data


def _check_loaded(data: HeteroData) -> None:
    sizes = {"drug": len(data["drug"].key), "gene": len(data["gene"].symbol)}
    for node, size in sizes.items():
        columns = [data[node].x, data[node].has_x]
        columns += [data["drug"].name] if node == "drug" else [data["gene"].entrez_id]
        if any(len(column) != size for column in columns):
            raise ValueError(f"{node} nodes differ in number")
        if not data[node].x.isfinite().all():
            raise ValueError(f"{node} features are not finite")
    for relation in RELATIONS:
        index, weight = data[relation].edge_index, data[relation].edge_weight
        if index.shape != (2, len(weight)) or not weight.isfinite().all():
            raise ValueError(f"{relation[1]} edges and weights differ")
        for end, node in zip(index, (relation[0], relation[2]), strict=True):
            if len(end) and not 0 <= int(end.min()) <= int(end.max()) < sizes[node]:
                raise ValueError(f"{relation[1]} edges lead outside the {node} nodes")


def _read(path: Path, with_tensors: bool = True) -> tuple[dict[str, Any], dict[str, Any]]:
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise DataError(
            "The graph file is missing.", where=str(path), fix="Make it with xpert graph build."
        )
    try:
        with safe_open(path, framework="pt" if with_tensors else "np") as file:
            header = {k: json.loads(text) for k, text in (file.metadata() or {}).items()}
            names = file.keys() if with_tensors else ()
            tensors = {name: file.get_tensor(name) for name in names}
    except (SafetensorError, OSError, ValueError) as error:
        raise _damaged(path, error) from error
    if header.get("schema") != SCHEMA or not {"statistics", "settings"} <= header.keys():
        raise DataError(
            "The file is no graph of this version.",
            where=f"{path}, schema {header.get('schema', 'none')}, this program writes {SCHEMA}",
            fix="Make it again with xpert graph build.",
        )
    return header, tensors


def _damaged(path: Path, error: Exception) -> DataError:
    return DataError(
        "The graph file is damaged.",
        where=f"{path}: {str(error)[:200]}",
        fix="Copy the whole file again, or make it with xpert graph build.",
    )
