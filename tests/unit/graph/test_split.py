"""Pairs: held out, hidden and masked together with their reverses."""

from __future__ import annotations

import pytest
import torch
from graph_data import small_graph

from xpert_core.errors import DataError
from xpert_core.graph.records import INTERACTS, SIMILAR, TARGETED_BY, TARGETS
from xpert_core.graph.split import Hiding, directed, epoch_view, pairs_of, rows_of, split_edges


def as_set(pairs):
    return set(zip(pairs.source.tolist(), pairs.target.tolist(), strict=True))


def test_pairs_are_each_once_and_give_back_the_edges_of_the_graph() -> None:
    data = small_graph()
    pairs = pairs_of(data)
    edges = directed(pairs)
    for relation in (TARGETS, TARGETED_BY, INTERACTS, SIMILAR):
        stored = set(map(tuple, data[relation].edge_index.T.tolist()))
        assert as_set(edges[relation]) == stored
        assert len(edges[relation].source) == len(stored)


def test_an_empty_relation_is_an_error() -> None:
    data = small_graph().clone()
    data[SIMILAR].edge_index = torch.zeros(2, 0, dtype=torch.long)
    data[SIMILAR].edge_weight = torch.zeros(0)
    with pytest.raises(DataError, match="no edge of the relation 'similar'"):
        pairs_of(data)


def test_the_split_is_disjoint_whole_and_repeatable() -> None:
    data = small_graph()
    split = split_edges(data, valid=0.1, test=0.2, seed=3)
    for relation, pairs in pairs_of(data).items():
        parts = [as_set(part[relation]) for part in (split.train, split.valid, split.test)]
        assert sum(map(len, parts)) == len(pairs) == len(set().union(*parts))
        assert len(parts[2]) == round(0.2 * len(pairs))
    again = split_edges(data, valid=0.1, test=0.2, seed=3)
    other = split_edges(data, valid=0.1, test=0.2, seed=4)
    assert as_set(again.test[TARGETS]) == as_set(split.test[TARGETS])
    assert as_set(other.test[TARGETS]) != as_set(split.test[TARGETS])


def test_masked_drugs_lose_all_targets_and_keep_similar_drugs() -> None:
    data = small_graph()
    keys = [data["drug"].key[row] for row in data[TARGETS].edge_index[0, :40].unique().tolist()]
    split = split_edges(data, masked=keys)
    rows = rows_of(data, keys)
    assert not torch.isin(split.known[TARGETS].source, rows).any()
    assert split.masked == tuple(sorted(keys))
    assert len(split.known[SIMILAR]) == len(pairs_of(data)[SIMILAR])
    with pytest.raises(DataError, match="not in the graph"):
        split_edges(data, masked=["NOSUCHDRUGXXXX"])


@pytest.mark.parametrize("shares", [(0.0, 0.1), (0.5, 0.6), (-1.0, 0.1)])
def test_impossible_shares_are_an_error(shares: tuple[float, float]) -> None:
    with pytest.raises(DataError, match="between 0 and 1"):
        split_edges(small_graph(), valid=shares[0], test=shares[1])


def test_pairs_to_predict_carry_no_message_in_either_direction() -> None:
    data = small_graph()
    pairs, drugs = pairs_of(data), len(data["drug"].key)
    view = epoch_view(pairs, drugs, Hiding(supervised=50), torch.Generator().manual_seed(0))
    messages = directed(view.message)
    for relation, asked in view.supervised.items():
        assert 0 < len(asked) <= 50
        forward = as_set(asked)
        backward = {(b, a) for a, b in forward}
        reverse = TARGETED_BY if relation == TARGETS else relation
        assert not forward & as_set(messages[relation])
        assert not backward & as_set(messages[reverse])
        assert len(view.message[relation]) < len(pairs[relation])


def test_hidden_drugs_are_placed_by_the_other_kind_of_edge_alone() -> None:
    data = small_graph()
    pairs, drugs = pairs_of(data), len(data["drug"].key)
    hiding = Hiding(targets=0.3, structures=0.2, pairs=0.0)
    view = epoch_view(pairs, drugs, hiding, torch.Generator().manual_seed(1))
    without_structure = view.hidden_x.nonzero()[:, 0]
    assert 0.1 * drugs < len(without_structure) < 0.3 * drugs
    similar = view.message[SIMILAR]
    for end in (similar.source, similar.target):
        assert not torch.isin(end, without_structure).any()
    kept = pairs[TARGETS].source.unique()
    hidden_targets = kept[~torch.isin(kept, view.message[TARGETS].source)]
    assert 0.2 * len(kept) < len(hidden_targets) < 0.4 * len(kept)
    assert not torch.isin(hidden_targets, without_structure).any()
