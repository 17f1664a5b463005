"""Scores of held-out edges: right on cases known by hand."""

from __future__ import annotations

import pytest
import torch
from graph_data import small_graph

from xpert_core.graph.links import (
    auroc,
    cosine_scorer,
    degree_scorer,
    evaluate_links,
    tanimoto_scorer,
)
from xpert_core.graph.records import SIMILAR, TARGETS
from xpert_core.graph.split import Pairs, split_edges


def pairs(source: list[int], target: list[int], weight: list[float] | None = None) -> Pairs:
    weights = torch.tensor(weight) if weight else torch.ones(len(source))
    return Pairs(torch.tensor(source), torch.tensor(target), weights)


def test_auroc_counts_ties_half() -> None:
    assert auroc(torch.tensor([2.0, 3.0]), torch.tensor([0.0, 1.0])) == 1
    assert auroc(torch.tensor([0.0]), torch.tensor([0.0, 0.0])) == 0.5
    assert auroc(torch.tensor([1.0]), torch.tensor([2.0, 0.0])) == 0.5


def test_the_baselines_are_what_they_say() -> None:
    rows = torch.tensor([0])
    train = {TARGETS: pairs([1, 2, 2, 3], [0, 1, 2, 2])}
    degree = degree_scorer(train[TARGETS], 4, one_type=False)(rows)
    assert degree.tolist() == [[1, 1, 2, 0]]
    both = degree_scorer(pairs([0, 1], [1, 2]), 3, one_type=True)(rows)
    assert both.tolist() == [[1, 2, 1]]
    votes = tanimoto_scorer(train, pairs([0, 0], [1, 2], [0.9, 0.6]), 4, 4)(rows)[0]
    assert votes[:3].tolist() == pytest.approx([0.9, 0.6, 0.6], abs=2e-3)
    assert votes[2] > votes[1], "equal votes in the order of the degree"
    assert votes[3] == 0


def test_an_oracle_scores_one_and_noise_scores_chance() -> None:
    data = small_graph()
    split = split_edges(data, valid=0.1, test=0.2)
    torch.manual_seed(0)
    noise = {n: torch.randn(len(data[n].x), 32) for n in ("drug", "gene")}
    scores = {(s.relation, s.method): s for s in evaluate_links(noise, split)}
    random = scores["interacts", "embedding"]
    assert random.auroc == pytest.approx(0.5, abs=0.05)
    assert random.hits == pytest.approx(10 / 120, abs=0.06)

    # Each drug is the sum of its genes' unit vectors, held-out ones included: an oracle.
    genes = torch.eye(len(data["gene"].x))
    source, target = data[TARGETS].edge_index
    drugs = torch.zeros(len(data["drug"].x), len(genes)).index_add(0, source, genes[target])
    scores = {
        (s.relation, s.method): s for s in evaluate_links({"drug": drugs, "gene": genes}, split)
    }
    oracle = scores["targets", "embedding"]
    assert oracle.auroc == oracle.auroc_popular == oracle.hits == oracle.mean_reciprocal_rank == 1
    assert oracle.pairs == len(split.test[TARGETS])


def test_ranks_leave_out_other_true_edges() -> None:
    # Drug 0 is linked to genes 0 (training) and 1 (test); both score above the rest, gene 0 first.
    data = small_graph()
    split = split_edges(data, valid=0.1, test=0.2)
    drug = int(split.train[TARGETS].source.mode().values)
    own = data[TARGETS].edge_index[1][data[TARGETS].edge_index[0] == drug]
    genes = torch.eye(len(data["gene"].x))
    vectors = torch.zeros(len(data["drug"].x), len(genes))
    vectors[drug, own] = torch.linspace(2, 1, len(own))
    test = split.test[TARGETS]
    one = test[test.source == drug]
    if not len(one):
        one = pairs([drug], [int(own[-1])])
    scores = evaluate_links(
        {"drug": vectors, "gene": genes},
        type(split)(split.train, split.valid, {**split.test, TARGETS: one}),
    )
    found = next(s for s in scores if (s.relation, s.method) == ("targets", "embedding"))
    assert found.mean_reciprocal_rank == 1


def test_every_relation_has_its_baselines_and_similar_has_no_tanimoto() -> None:
    data = small_graph()
    split = split_edges(data, valid=0.1, test=0.2)
    torch.manual_seed(0)
    noise = {n: torch.randn(len(data[n].x), 8) for n in ("drug", "gene")}
    methods: dict[str, set[str]] = {}
    for score in evaluate_links(noise, split):
        methods.setdefault(score.relation, set()).add(score.method)
        assert 0 <= score.auroc <= 1 and 0 <= score.hits <= 1
    assert methods["targets"] == {"embedding", "degree", "tanimoto"}
    assert methods["similar"] == methods["interacts"] == {"embedding", "degree"}
    vote = tanimoto_scorer(split.train, split.known[SIMILAR], *(len(x) for x in noise.values()))
    cosine = cosine_scorer(noise["drug"], noise["gene"])
    rows = torch.arange(5)
    assert vote(rows).shape == cosine(rows).shape == (5, len(noise["gene"]))
