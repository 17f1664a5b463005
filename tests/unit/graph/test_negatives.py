"""Negatives: never an edge, whatever the graph."""

from __future__ import annotations

import pytest
import torch
from graph_data import small_graph

from xpert_core.errors import DataError
from xpert_core.graph.negatives import EdgeSet, draw_negatives
from xpert_core.graph.records import INTERACTS, SIMILAR, TARGETED_BY, TARGETS


def edges_of(relation):
    data = small_graph()
    source, target = data[relation].edge_index
    size = len(data[relation[2]].x)
    return EdgeSet.of(source, target, size, one_type=relation[0] == relation[2]), source, target


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("relation", [TARGETS, TARGETED_BY, INTERACTS, SIMILAR])
@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_no_negative_is_an_edge_or_the_node_itself(relation, share: float) -> None:
    edges, source, target = edges_of(relation)
    drawn = draw_negatives(edges, source, 10, generator(), popular=target, popular_share=share)
    assert drawn.shape == (len(source), 10)
    true = set(zip(source.tolist(), target.tolist(), strict=True))
    pairs = [(s, n) for s, row in zip(source.tolist(), drawn.tolist(), strict=True) for n in row]
    assert not true & set(pairs)
    if edges.one_type:
        assert all(s != n for s, n in pairs)
    assert 0 <= drawn.min() <= drawn.max() < edges.targets


def test_each_positive_has_its_own_negatives() -> None:
    edges, source, _ = edges_of(TARGETS)
    drawn = draw_negatives(edges, source, 10, generator())
    assert len({tuple(row) for row in drawn.tolist()}) > 0.99 * len(source)
    assert not torch.equal(drawn, draw_negatives(edges, source, 10, generator(1)))
    assert torch.equal(drawn, draw_negatives(edges, source, 10, generator()))


def test_negatives_cover_all_non_neighbours_alike() -> None:
    # Node 0 of ten is linked to 1..4: 5..9 remain, each drawn about equally often.
    edges = EdgeSet.of(torch.zeros(4, dtype=torch.long), torch.arange(1, 5), 10, one_type=True)
    drawn = draw_negatives(edges, torch.zeros(1000, dtype=torch.long), 10, generator())
    counts = torch.bincount(drawn.flatten(), minlength=10)
    assert counts[:5].sum() == 0
    assert (counts[5:] > 1800).all()


def test_popular_negatives_follow_the_degree() -> None:
    edges = EdgeSet.of(torch.tensor([0]), torch.tensor([0]), 100, one_type=False)
    popular = torch.tensor([7, 7, 7, 8])
    source = torch.ones(2000, dtype=torch.long)
    drawn = draw_negatives(edges, source, 4, generator(), popular=popular, popular_share=0.5)
    assert 0.3 < (drawn == 7).float().mean() < 0.45


def test_a_node_linked_to_all_others_is_an_error() -> None:
    ring = torch.arange(1, 50)
    edges = EdgeSet.of(torch.zeros_like(ring), ring, 50, one_type=True)
    with pytest.raises(DataError, match="nearly all others"):
        draw_negatives(edges, torch.tensor([0, 1]), 5, generator())


def test_membership_and_neighbours() -> None:
    edges, source, target = edges_of(SIMILAR)
    assert edges.contains(source, target).all()
    node = int(source[0])
    assert edges.neighbours(node).tolist() == sorted(target[source == node].tolist())
    nothing = EdgeSet.of(source[:0], target[:0], 5, one_type=False)
    assert not nothing.contains(torch.tensor([0]), torch.tensor([0])).any()
