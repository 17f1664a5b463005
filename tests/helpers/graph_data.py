"""A small part of the shipped graph: real drugs, genes and edges, trained on in seconds."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch_geometric.data import HeteroData

from xpert_core.graph.build import load_shipped_graph
from xpert_core.graph.records import RELATIONS, TARGETS

CORE_GENES = ("HDAC1", "HDAC6", "EGFR", "ERBB2", "CYP19A1", "ABL1", "KIT", "PTGS2", "NR3C1", "ESR1")


@lru_cache(maxsize=1)
def whole_graph() -> HeteroData:
    """The shipped graph; not to be changed."""
    return load_shipped_graph()


@lru_cache(maxsize=1)
def small_graph() -> HeteroData:
    """The drugs of `CORE_GENES`, all their targets, and these genes' interactions.

    Not to be changed: `small_graph().clone()` may be.
    """
    data = whole_graph()
    core = torch.tensor([data["gene"].symbol.index(symbol) for symbol in CORE_GENES])
    source, target = data[TARGETS].edge_index
    drugs = source[torch.isin(target, core)].unique()
    genes = target[torch.isin(source, drugs)].unique()
    return part_of(data, {"drug": drugs, "gene": genes})


def part_of(data: HeteroData, rows: dict[str, torch.Tensor]) -> HeteroData:
    """The nodes `rows` with the edges among them."""
    part = HeteroData()
    position = {}
    for node, kept in rows.items():
        part[node].x, part[node].has_x = data[node].x[kept], data[node].has_x[kept]
        position[node] = torch.full((len(data[node].x),), -1)
        position[node][kept] = torch.arange(len(kept))
    for node, name in (("drug", "key"), ("drug", "name"), ("gene", "symbol")):
        part[node][name] = [data[node][name][row] for row in rows[node].tolist()]
    part["gene"].entrez_id = data["gene"].entrez_id[rows["gene"]]
    for relation in RELATIONS:
        source, target = data[relation].edge_index
        ends = torch.stack([position[relation[0]][source], position[relation[2]][target]])
        inside = (ends >= 0).all(0)
        part[relation].edge_index = ends[:, inside]
        part[relation].edge_weight = data[relation].edge_weight[inside]
    part.statistics, part.settings = {}, {}
    return part
