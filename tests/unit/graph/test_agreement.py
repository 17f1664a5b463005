"""Agreement in mechanism and drugs embedded as new."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from graph_data import small_graph

from xpert_core.graph.agreement import (
    agreement,
    by_class,
    cold_similarity,
    cosine_matrix,
    embed_as_new,
    inductive_check,
)
from xpert_core.graph.encoder import (
    EncoderConfig,
    GraphEncoder,
    adjacencies,
    features_of,
    sizes_of,
)
from xpert_core.graph.records import SIMILAR, TARGETS
from xpert_core.graph.split import Pairs, pairs_of

CLUSTERS = [frozenset({"a"})] * 6 + [frozenset({"b"})] * 6


def encoder_of(data) -> GraphEncoder:
    torch.manual_seed(0)
    encoder = GraphEncoder(EncoderConfig(hidden=16, out=12))
    encoder.fit_inputs(data)
    return encoder.eval()


def test_two_clean_clusters_agree_fully_and_mixed_labels_do_not() -> None:
    points = np.array([[1.0, 0.1 * i] for i in range(6)] + [[-1.0, 0.1 * i] for i in range(6)])
    space = cosine_matrix(points)
    assert by_class(space, CLUSTERS, k=5) == {"a": 1, "b": 1}
    mixed = [CLUSTERS[0], CLUSTERS[-1]] * 6
    assert all(value == pytest.approx(0.4) for value in by_class(space, mixed, k=5).values())


def test_small_mechanisms_are_left_out_and_any_shared_mechanism_counts() -> None:
    labels = [frozenset({"a", "rare"})] * 3 + [frozenset({"a"})] * 9
    assert by_class(np.ones((12, 12)), labels, k=5) == {"a": 1}


def test_only_queries_are_judged_and_all_drugs_can_be_neighbours() -> None:
    points = np.array([[1.0, 0.1 * i] for i in range(6)] + [[-1.0, 0.1 * i] for i in range(6)])
    space = cosine_matrix(points)
    labels = [*CLUSTERS[:5], frozenset({"b"}), *CLUSTERS[6:]]  # one "b" stands among the "a"
    queries = np.zeros(12, dtype=bool)
    queries[[0, 6]] = True
    assert by_class(space, labels, k=5, queries=queries) == {"a": 0.8, "b": 1}
    queries[6] = False
    assert by_class(space, labels, k=5, queries=queries) == {"a": 0.8}
    assert agreement(space, labels, queries=queries).drugs == 1


def test_the_interval_holds_the_mean_and_a_space_minus_itself_is_zero() -> None:
    rng = np.random.default_rng(0)
    labels = [frozenset({f"m{i % 8}"}) for i in range(80)]
    centres = rng.normal(size=(8, 4)) * np.linspace(0.1, 3, 8)[:, None]
    space = cosine_matrix(np.stack([centres[i % 8] for i in range(80)]) + rng.normal(size=(80, 4)))
    found = agreement(space, labels)
    assert found.low < found.mean < found.high
    assert (found.classes, found.drugs) == (8, 80)
    same = agreement(space, labels, minus=space)
    assert (same.mean, same.low, same.high) == (0, 0, 0)


def test_embedded_as_new_nothing_of_the_drug_s_own_place_remains() -> None:
    # Its targets decide: with none of its edges, only its structure is left.
    data, rows = small_graph(), torch.tensor([4])
    encoder, pairs = encoder_of(data), pairs_of(data)
    before = embed_as_new(encoder, data, pairs, rows)
    targets, similar = pairs[TARGETS], pairs[SIMILAR]
    without = {
        **pairs,
        TARGETS: targets[targets.source != 4],
        SIMILAR: similar[(similar.source != 4) & (similar.target != 4)],
    }
    bare = embed_as_new(encoder, data, without, rows)
    assert not torch.allclose(before, bare, atol=1e-3)
    own = targets.source == 4
    other = Pairs(
        targets.source, torch.where(own, (targets.target + 9) % 50, targets.target), targets.weight
    )
    moved = embed_as_new(encoder, data, {**pairs, TARGETS: other}, rows)
    assert not torch.allclose(before, moved, atol=1e-3)


def test_a_drug_that_sends_nothing_anywhere_lands_exactly_on_its_place() -> None:
    data = small_graph()
    encoder, pairs = encoder_of(data), pairs_of(data)
    # All edges of drug 4 but its own features are removed: in or out of the graph, all is the same.
    targets, similar = pairs[TARGETS], pairs[SIMILAR]
    pairs = {
        **pairs,
        TARGETS: targets[targets.source != 4],
        SIMILAR: similar[(similar.source != 4) & (similar.target != 4)],
    }
    with torch.no_grad():
        embedded = encoder(features_of(data), adjacencies(pairs, sizes_of(data)))
    found = inductive_check(encoder, data, pairs, embedded, torch.tensor([4]))
    assert found.cosine[0] == pytest.approx(1, abs=1e-5)
    assert found.rank[0] == 1
    assert found.summary()["rank_1"] == 1


def test_withheld_targets_do_not_reach_the_drug_s_own_row() -> None:
    data = small_graph()
    encoder, pairs = encoder_of(data), pairs_of(data)
    rows = torch.arange(20)
    before = cold_similarity(encoder, data, pairs, rows, folds=20)
    with torch.no_grad():
        warm = encoder(features_of(data), adjacencies(pairs, sizes_of(data)))["drug"][rows]
    assert before.shape == (20, 20)
    assert np.allclose(np.diag(before), 1, atol=1e-5)
    assert not np.allclose(before, cosine_matrix(warm.numpy()), atol=1e-3)
    targets = pairs[TARGETS]
    own = targets.source == 7
    changed = Pairs(
        targets.source, torch.where(own, (targets.target + 9) % 50, targets.target), targets.weight
    )
    after = cold_similarity(encoder, data, {**pairs, TARGETS: changed}, rows, folds=20)
    assert np.allclose(after[7], before[7], atol=1e-6)
    assert not np.allclose(np.delete(after, 7, 0), np.delete(before, 7, 0), atol=1e-4)
