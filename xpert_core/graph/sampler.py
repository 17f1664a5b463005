"""Neighbour sampling: the part of the graph that a few nodes need, with bounded fan-out.

The paper samples 25, 10 and 5 neighbours in the first, second and third layer. `NeighbourSampler`
does so on CSR pointers; `sample_with_pyg` by PyTorch Geometric's `NeighborLoader`, which needs
pyg-lib.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from xpert_core.graph.encoder import NODES, Features, adjacency
from xpert_core.graph.split import Directed, Relation

if TYPE_CHECKING:
    from xpert_core.graph.encoder import GraphEncoder

FAN_OUTS = (25, 10, 5)
"""Neighbours of one relation sampled for each node, first hop first."""
ALL = -1
"""Fan-out without a bound."""


@dataclass(frozen=True)
class Subgraph:
    """Part of a graph.

    Attributes
    ----------
    nodes : dict of str to Tensor of int64
        Positions in the whole graph of each node type; the seeds come first, in their order.
    edges : dict of relation to Directed
        Sampled edges; their ends are positions within `nodes`.
    """

    nodes: dict[str, Tensor]
    edges: dict[Relation, Directed]

    def matrices(self) -> dict[Relation, Tensor]:
        """Adjacency of every relation, see `xpert_core.graph.encoder.adjacency`."""
        return {
            relation: adjacency(edges, len(self.nodes[relation[0]]), len(self.nodes[relation[2]]))
            for relation, edges in self.edges.items()
        }

    def features(self, features: Features) -> dict[str, tuple[Tensor, Tensor]]:
        """Rows of the whole graph's features."""
        return {n: (features[n][0][rows], features[n][1][rows]) for n, rows in self.nodes.items()}


@dataclass(frozen=True)
class _Incoming:
    """Edges of one relation by target: those of v are at starts[v] to starts[v + 1]."""

    starts: Tensor
    source: Tensor
    weight: Tensor


class NeighbourSampler:
    """Samples neighbours without replacement.

    Parameters
    ----------
    edges : dict of relation to Directed
        Edges along which messages run.
    sizes : dict of str to int
        Nodes of each type.
    fan_outs : sequence of int
        Most neighbours per node and relation, for each hop; `ALL` for no bound.
    generator : torch.Generator
    """

    def __init__(
        self,
        edges: Mapping[Relation, Directed],
        sizes: Mapping[str, int],
        fan_outs: Sequence[int],
        generator: torch.Generator,
    ) -> None:
        self._sizes = dict(sizes)
        self._fan_outs = tuple(fan_outs)
        self._generator = generator
        self._incoming = {r: _by_target(e, sizes[r[2]]) for r, e in edges.items()}

    def sample(self, seeds: Mapping[str, Tensor]) -> Subgraph:
        """The sampled neighbourhood of some nodes.

        Parameters
        ----------
        seeds : dict of str to Tensor of int64
            Distinct positions of each node type.
        """
        nodes = {n: [seeds.get(n, torch.zeros(0, dtype=torch.long))] for n in NODES}
        local = {n: torch.full((self._sizes[n],), -1, dtype=torch.long) for n in NODES}
        for n in NODES:
            local[n][nodes[n][0]] = torch.arange(len(nodes[n][0]))
        found: dict[Relation, list[tuple[Tensor, Tensor, Tensor]]] = {r: [] for r in self._incoming}
        frontier = {n: nodes[n][0] for n in NODES}
        for fan_out in self._fan_outs:
            reached: dict[str, list[Tensor]] = {n: [] for n in NODES}
            for relation in self._incoming:
                part = self._neighbours(relation, frontier[relation[2]], fan_out)
                found[relation].append(part)
                reached[relation[0]].append(part[0])
            for n in NODES:
                met = torch.cat(reached[n]).unique()
                frontier[n] = met[local[n][met] < 0]
                known = sum(map(len, nodes[n]))
                local[n][frontier[n]] = known + torch.arange(len(frontier[n]))
                nodes[n].append(frontier[n])
        edges = {}
        for (start, name, end), parts in found.items():
            source, target, weight = (torch.cat(column) for column in zip(*parts, strict=True))
            edges[start, name, end] = Directed(local[start][source], local[end][target], weight)
        return Subgraph({n: torch.cat(parts) for n, parts in nodes.items()}, edges)

    def _neighbours(
        self, relation: Relation, targets: Tensor, fan_out: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Source, target and weight of at most `fan_out` edges into each of `targets`."""
        incoming = self._incoming[relation]
        first = incoming.starts[targets]
        degree = incoming.starts[targets + 1] - first
        owner = torch.repeat_interleave(torch.arange(len(targets)), degree)
        begin = degree.cumsum(0) - degree
        edge = torch.arange(len(owner)) - begin[owner] + first[owner]
        if fan_out != ALL:
            # Shuffle all edges, sort them back by owner, and keep the first few of each owner.
            shuffle = torch.randperm(len(owner), generator=self._generator)
            order = shuffle[torch.argsort(owner[shuffle], stable=True)]
            kept = order[torch.arange(len(owner)) - begin[owner] < fan_out]
            owner, edge = owner[kept], edge[kept]
        return incoming.source[edge], targets[owner], incoming.weight[edge]


def _by_target(edges: Directed, targets: int) -> _Incoming:
    order = torch.argsort(edges.target, stable=True)
    counts = torch.bincount(edges.target, minlength=targets)
    starts = torch.cat([torch.zeros(1, dtype=torch.long), counts.cumsum(0)])
    return _Incoming(starts, edges.source[order], edges.weight[order])


def with_pyg_lib() -> bool:
    """Whether `sample_with_pyg` can be used."""
    from torch_geometric.typing import WITH_PYG_LIB

    return bool(WITH_PYG_LIB)


def sample_with_pyg(
    edges: Mapping[Relation, Directed],
    sizes: Mapping[str, int],
    fan_outs: Sequence[int],
    node: str,
    seeds: Tensor,
) -> Subgraph:
    """`NeighbourSampler.sample` by `NeighborLoader`, which takes seeds of one node type.

    Raises
    ------
    ImportError
        Without pyg-lib.
    """
    from torch_geometric.data import HeteroData
    from torch_geometric.loader import NeighborLoader

    data = HeteroData()
    for kind, size in sizes.items():
        data[kind].num_nodes = size
    for relation, e in edges.items():
        data[relation].edge_index = torch.stack([e.source, e.target])
        data[relation].edge_weight = e.weight
    loader = NeighborLoader(
        data, num_neighbors=list(fan_outs), input_nodes=(node, seeds), batch_size=len(seeds)
    )
    batch = next(iter(loader))
    found = {}
    for relation in edges:
        source, target = batch[relation].edge_index
        found[relation] = Directed(source, target, batch[relation].edge_weight)
    return Subgraph({kind: batch[kind].n_id for kind in sizes}, found)


def embed_seeds(
    encoder: GraphEncoder,
    features: Features,
    edges: Mapping[Relation, Directed],
    seeds: Mapping[str, Tensor],
    sampler: NeighbourSampler | None,
    fan_outs: Sequence[int] = FAN_OUTS,
) -> dict[str, Tensor]:
    """Embeddings of some nodes from their sampled neighbourhoods.

    Parameters
    ----------
    encoder : GraphEncoder
    features : dict of str to (Tensor, Tensor)
        Of the whole graph.
    edges : dict of relation to Directed
        Used without a `sampler`.
    seeds : dict of str to Tensor of int64
    sampler : NeighbourSampler, optional
        PyTorch Geometric's loader when left out.
    fan_outs : sequence of int
        Used without a `sampler`.

    Returns
    -------
    dict of str to Tensor, shape (seeds, out)
    """
    if sampler is not None:
        part = sampler.sample(seeds)
        out = encoder(part.features(features), part.matrices())
        return {n: out[n][: len(rows)] for n, rows in seeds.items()}
    sizes = {n: len(x) for n, (x, _) in features.items()}
    result = {}
    for n, rows in seeds.items():
        part = sample_with_pyg(edges, sizes, fan_outs, n, rows)
        result[n] = encoder(part.features(features), part.matrices())[n][: len(rows)]
    return result
