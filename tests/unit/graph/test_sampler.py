"""Neighbour sampling: exact without a bound, bounded and unbiased with one."""

from __future__ import annotations

import pytest
import torch
from graph_data import small_graph
from torch_geometric.utils import k_hop_subgraph

from xpert_core.graph.encoder import (
    NODES,
    EncoderConfig,
    GraphEncoder,
    adjacencies,
    features_of,
    sizes_of,
)
from xpert_core.graph.records import INTERACTS, RELATIONS, TARGETS
from xpert_core.graph.sampler import ALL, NeighbourSampler, sample_with_pyg, with_pyg_lib
from xpert_core.graph.split import directed, pairs_of


def sampler_of(data, fan_outs, seed: int = 0) -> NeighbourSampler:
    generator = torch.Generator().manual_seed(seed)
    return NeighbourSampler(directed(pairs_of(data)), sizes_of(data), fan_outs, generator)


def few_seeds(data) -> dict[str, torch.Tensor]:
    return {"drug": torch.tensor([11, 3]), "gene": torch.tensor([7])}


@pytest.mark.parametrize("hops", [1, 2])
def test_without_a_bound_it_reaches_the_nodes_of_k_hop_subgraph(hops: int) -> None:
    data = small_graph()
    sizes = sizes_of(data)
    seeds = few_seeds(data)
    start = {"drug": 0, "gene": sizes["drug"]}  # one numbering for all nodes
    flat = torch.cat(
        [data[r].edge_index + torch.tensor([[start[r[0]]], [start[r[2]]]]) for r in RELATIONS],
        dim=1,
    )
    roots = torch.cat([seeds[n] + start[n] for n in NODES])
    nodes, _, _, _ = k_hop_subgraph(roots, hops, flat, num_nodes=sum(sizes.values()))
    part = sampler_of(data, (ALL,) * hops).sample(seeds)
    found = torch.cat([part.nodes[n] + start[n] for n in NODES])
    assert sorted(found.tolist()) == nodes.tolist()
    assert len(found) < sum(sizes.values()), "the test would tell nothing on the whole graph"
    for relation, e in part.edges.items():
        ends = zip(
            part.nodes[relation[0]][e.source].tolist(),
            part.nodes[relation[2]][e.target].tolist(),
            strict=True,
        )
        stored = set(map(tuple, data[relation].edge_index.T.tolist()))
        assert set(ends) <= stored


def test_without_a_bound_seeds_get_the_embeddings_of_the_whole_graph() -> None:
    data = small_graph()
    torch.manual_seed(0)
    encoder = GraphEncoder(EncoderConfig(hidden=16, out=8)).eval()
    seeds = few_seeds(data)
    with torch.no_grad():
        whole = encoder(features_of(data), adjacencies(pairs_of(data), sizes_of(data)))
        part = sampler_of(data, (ALL, ALL, ALL)).sample(seeds)
        found = encoder(part.features(features_of(data)), part.matrices())
    for node, rows in seeds.items():
        assert torch.allclose(found[node][: len(rows)], whole[node][rows], atol=1e-5)


def test_fan_outs_bound_the_neighbours_of_every_node_and_nothing_is_taken_twice() -> None:
    data = small_graph()
    part = sampler_of(data, (5, 3)).sample({"gene": torch.arange(40)})
    edges = part.edges[INTERACTS]
    taken = torch.bincount(edges.target, minlength=len(part.nodes["gene"]))
    degree = torch.bincount(data[INTERACTS].edge_index[1], minlength=len(data["gene"].x))
    degree = degree[part.nodes["gene"]]
    assert torch.equal(taken[:40], degree[:40].clamp(max=5))
    assert (taken[40:] <= 3).all()
    assert (degree[:40] > 5).any()
    codes = edges.source * 10**6 + edges.target
    assert len(codes.unique()) == len(codes)


def test_every_neighbour_is_drawn_alike() -> None:
    data = small_graph()
    target = data[TARGETS].edge_index[1]
    gene = int(torch.bincount(target).argmax())
    degree = int((target == gene).sum())
    counts = torch.zeros(len(data["drug"].x))
    for seed in range(300):
        part = sampler_of(data, (5,), seed).sample({"gene": torch.tensor([gene])})
        counts[part.nodes["drug"]] += 1
    drawn = counts[counts > 0]
    assert len(drawn) == degree
    expected = 300 * 5 / degree
    assert (drawn - expected).abs().max() < 6 * expected**0.5


def test_a_node_without_edges_is_its_own_subgraph() -> None:
    data = small_graph()
    touched = torch.cat([data[r].edge_index[1] for r in RELATIONS if r[2] == "gene"])
    alone = [g for g in range(len(data["gene"].x)) if g not in set(touched.tolist())]
    rows = torch.tensor(alone[:1], dtype=torch.long)  # may be empty: no seed at all
    part = sampler_of(data, (5, 5, 5)).sample({"gene": rows})
    assert torch.equal(part.nodes["gene"], rows)
    assert len(part.nodes["drug"]) == 0


@pytest.mark.skipif(not with_pyg_lib(), reason="needs pyg-lib")
def test_the_loader_of_pytorch_geometric_gives_the_same_neighbourhood() -> None:
    data = small_graph()
    seeds = torch.tensor([7, 2])
    theirs = sample_with_pyg(directed(pairs_of(data)), sizes_of(data), [-1, -1], "gene", seeds)
    ours = sampler_of(data, (ALL, ALL)).sample({"gene": seeds})
    for node in NODES:
        assert sorted(theirs.nodes[node].tolist()) == sorted(ours.nodes[node].tolist())
    assert torch.equal(theirs.nodes["gene"][:2], seeds)


def test_without_pyg_lib_its_loader_says_so() -> None:
    if with_pyg_lib():
        return
    data = small_graph()
    with pytest.raises(ImportError, match="pyg-lib"):
        sample_with_pyg(directed(pairs_of(data)), sizes_of(data), [2], "gene", torch.tensor([7]))
