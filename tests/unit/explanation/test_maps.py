"""Projection and scores: planted structure is found, noise is not, sklearn agrees."""

from __future__ import annotations

import importlib.util

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import silhouette_score

from xpert_core.errors import DataError, PredictionCancelled, XPertError
from xpert_core.explanation.maps import (
    CONSERVATION,
    MIXING,
    Space,
    _Measure,
    _shuffled,
    project,
    reduce,
    score,
    settings,
)


def space(n: int = 60, apart: float = 6.0, seed: int = 0) -> Space:
    """Three groups of n / 3 points; `batch` is drawn at random."""
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(3), n // 3)
    vectors = rng.normal(size=(n, 20))
    vectors[:, 0] += apart * group
    labels = pd.DataFrame(
        {
            "group": [f"g{i}" for i in group],
            "batch": rng.choice(["one", "two"], n),
            "nested": [f"p{i}{j}" for i, j in zip(group, rng.choice([0, 1], n), strict=True)],
        },
        index=[f"id{i}" for i in range(n)],
    )
    return Space("planted", vectors, labels)


def test_groups_that_are_apart_separate_and_random_batches_mix() -> None:
    apart = score(space(), "group", CONSERVATION, permutations=50).table.set_index("score")
    assert (apart["p"] < 0.03).all()
    assert apart.loc["Same label among the 15 nearest", "value"] > 0.85
    assert apart.loc["Silhouette", "value"] > 0.2 > apart.loc["Silhouette", "null_high"]
    mixed = score(space(), "batch", MIXING, permutations=50)
    inside = (mixed.table["value"] >= mixed.table["null_low"] - 1e-9) & (
        mixed.table["value"] <= mixed.table["null_high"] + 1e-9
    )
    assert inside.sum() >= 4 and (mixed.points, mixed.groups) == (60, 2)


def test_direction_of_better_depends_on_the_kind() -> None:
    own = score(space(), "group", CONSERVATION, permutations=5).table["better"].tolist()
    other = score(space(), "group", MIXING, permutations=5).table["better"].tolist()
    assert own == ["higher", "lower", "higher", "higher", "higher"]
    assert other == ["lower", "higher", "lower", "lower", "lower"]


def test_labels_nested_in_groups_need_permutation_within_them() -> None:
    free = score(space(), "nested", MIXING, permutations=40).table.set_index("score")
    within = score(space(), "nested", MIXING, within="group", permutations=40)
    name = "Same label among the 15 nearest"
    # Freely permuted, the plates seem to matter, because their groups do.
    assert free.loc[name, "p"] < 0.05
    assert within.table.set_index("score").loc[name, "p"] > 0.05


def test_shuffling_keeps_every_stratum() -> None:
    codes, strata = np.array([0, 1, 2, 3, 4, 5]), np.array(["a", "b", "a", "b", "a", "b"])
    found = _shuffled(codes, strata, np.random.default_rng(1))
    assert sorted(found[strata == "a"]) == [0, 2, 4] and sorted(found[strata == "b"]) == [1, 3, 5]


def test_measures_by_hand_and_against_sklearn() -> None:
    own = space(apart=1.0)
    codes = pd.factorize(own.labels["group"])[0]
    measure = _Measure(reduce(own.vectors)[0], 3, 0)
    values = measure(codes)
    assert values[2] == pytest.approx(silhouette_score(reduce(own.vectors)[0], codes))
    around = codes[measure.nearest]
    shares = np.stack([(around == i).mean(axis=1) for i in range(3)])
    assert values[1] == pytest.approx(((1 / (shares**2).sum(axis=0)).mean() - 1) / 2)
    assert values[0] == pytest.approx((around == codes[:, None]).mean())


def test_tsne_is_the_same_for_one_seed_and_keeps_neighbours() -> None:
    first, again = project(space(), "t-sne", 3), project(space(), "t-sne", 3)
    pd.testing.assert_frame_equal(first.points, again.points)
    assert list(first.points.columns) == ["x", "y", "group", "batch", "nested"]
    assert first.trust > 0.6 and first.components == 20 and settings(first)["points"] == 60


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        (np.ones((2, 5)), "too few points"),
        (np.ones((20, 5)), "All points are the same"),
        (np.where(np.eye(20), np.nan, 1.0), "not numbers"),
    ],
)
def test_what_cannot_be_mapped_is_explained(vectors: np.ndarray, message: str) -> None:
    labels = pd.DataFrame({"a": ""}, index=[str(i) for i in range(len(vectors))])
    with pytest.raises(DataError, match=message):
        project(Space("x", vectors, labels), "t-sne")


def test_labels_without_two_groups_are_refused() -> None:
    own = space()
    own.labels["same"], own.labels["alone"] = "x", own.labels.index
    for label in ("same", "alone"):
        with pytest.raises(DataError, match="two groups"):
            score(own, label)


def test_points_without_a_label_are_left_out() -> None:
    own = space()
    own.labels.loc[own.labels.index[:10], "group"] = ""
    assert score(own, "group", permutations=2).points == 50


def test_unknown_and_missing_methods_are_explained() -> None:
    with pytest.raises(XPertError, match="not known"):
        project(space(), "pca")
    if importlib.util.find_spec("umap") is None:
        with pytest.raises(XPertError, match="UMAP is not installed"):
            project(space(), "umap")
    else:
        assert project(space(), "umap", 1).points.equals(project(space(), "umap", 1).points)


def test_many_points_are_thinned_with_a_note() -> None:
    found = space(300).thinned(100)
    assert len(found) == 100 and found.labels.index.is_unique and "100 of 300" in found.notes[0]
    kept = [space(300).labels.index.get_loc(i) for i in found.labels.index]
    assert kept == sorted(kept)


def test_scores_tell_progress_and_can_be_stopped() -> None:
    told: list[int] = []
    with pytest.raises(PredictionCancelled):
        score(
            space(), "group", permutations=50,
            progress=lambda done, *_: told.append(done), cancelled=lambda: len(told) >= 3,
        )  # fmt: skip
    assert told == [0, 1, 2]
