"""Questions: every positive with candidates that are none, both ways for targets."""

from __future__ import annotations

import torch
from graph_data import small_graph

from xpert_core.graph.encoder import sizes_of
from xpert_core.graph.questions import ask, edge_sets, seeds_of
from xpert_core.graph.records import INTERACTS, SIMILAR, TARGETED_BY, TARGETS
from xpert_core.graph.split import split_edges


def questions(part: str = "train"):
    data = small_graph()
    split = split_edges(data, valid=0.2, test=0.2)
    truth = edge_sets(split.known, sizes_of(data))
    generator = torch.Generator().manual_seed(0)
    found = ask(getattr(split, part), truth, split.train, generator, negatives=7, popular_share=0.5)
    return data, split, {q.relation: q for q in found}


def test_targets_are_asked_from_drugs_and_from_genes() -> None:
    _, split, asked = questions()
    assert set(asked) == {TARGETS, TARGETED_BY, INTERACTS, SIMILAR}
    assert torch.equal(asked[TARGETS].source, split.train[TARGETS].source)
    assert torch.equal(asked[TARGETED_BY].source, split.train[TARGETS].target)
    assert torch.equal(asked[TARGETED_BY].candidates[:, 0], split.train[TARGETS].source)


def test_no_candidate_but_the_first_is_an_edge_be_it_of_training_or_held_out() -> None:
    for part in ("train", "test"):
        data, _, asked = questions(part)
        for relation, q in asked.items():
            stored = set(map(tuple, data[relation].edge_index.T.tolist()))
            for source, (first, *others) in zip(
                q.source.tolist(), q.candidates.tolist(), strict=True
            ):
                assert (source, first) in stored
                assert not stored & {(source, other) for other in others}
                assert len(others) == 7


def test_pairs_of_one_node_type_are_asked_in_both_directions() -> None:
    _, split, asked = questions()
    turned = asked[SIMILAR].source != split.train[SIMILAR].source
    assert 0.3 < float(turned.float().mean()) < 0.7


def test_seeds_are_distinct_and_lead_back_to_the_questions() -> None:
    _, _, asked = questions()
    batch = [q[torch.arange(5)] for q in asked.values()]
    seeds, local = seeds_of(batch)
    assert all(len(rows) == len(rows.unique()) for rows in seeds.values())
    for whole, part in zip(batch, local, strict=True):
        start, _, end = whole.relation
        assert torch.equal(seeds[start][part.source], whole.source)
        assert torch.equal(seeds[end][part.candidates], whole.candidates)
