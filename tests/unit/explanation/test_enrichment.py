"""Gene sets: by hand, against gseapy, and calibrated."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from xpert_core.errors import ExplanationError
from xpert_core.explanation.enrichment import (
    Ranking,
    enrichment_scores,
    over_representation,
    ranked_enrichment,
)
from xpert_core.explanation.genesets import COLLECTIONS, load_sets, parse_gmt, restrict
from xpert_core.explanation.statistics import Moments, relabellings, welch
from xpert_core.genes import load_panel


def numbered(*positions: int) -> list[str]:
    return [f"G{i}" for i in positions]


def gseapy_case() -> tuple[np.ndarray, dict[str, list[str]]]:
    generator = np.random.default_rng(8)
    scores = np.round(generator.normal(size=300), 4)
    scores[:12] += 1.2
    scores[40:50] -= 1
    sets = {"up": range(12), "down": range(40, 50), "mixed": range(8, 30),
            "none": range(100, 140), "wide": range(150, 260)}  # fmt: skip
    return scores, {name: numbered(*places) for name, places in sets.items()}


def test_running_sum_by_hand() -> None:
    """Ten genes with scores 5 4 3 2 1 -1 ... -5; the set holds the 1st, 2nd and 9th."""
    scores = np.array([5, 4, 3, 2, 1, -1, -2, -3, -4, -5.0])
    score, peak = enrichment_scores(Ranking.of(scores), np.array([0, 1, 8]))
    assert score[0] == pytest.approx(5 / 13 + 4 / 13) and peak[0] == 1
    score, peak = enrichment_scores(Ranking.of(scores), np.array([0, 8, 9]))
    # Up 5/14 at once, down 7/7 before the 9th gene.
    assert score[0] == pytest.approx(5 / 14 - 1) and peak[0] == 8


def test_every_point_of_the_running_sum_is_covered() -> None:
    generator = np.random.default_rng(1)
    for _ in range(50):
        scores, members = generator.normal(size=40), generator.choice(40, 6, replace=False)
        order = np.argsort(-scores)
        hit = np.isin(order, members)
        steps = np.where(hit, np.abs(scores[order]), 0)
        walk = np.cumsum(steps / steps.sum() - ~hit / 34)
        expected = walk[np.abs(walk).argmax()]
        assert enrichment_scores(Ranking.of(scores), members)[0][0] == pytest.approx(expected)


def test_numbers_of_gseapy() -> None:
    """Printed by `gseapy.prerank` 1.3.1 with 5,000 permutations of the genes."""
    scores, sets = gseapy_case()
    found = ranked_enrichment(
        scores, restrict({"own": sets}, numbered(*range(300))), draws=5000
    ).set_index("set")
    es = {"down": -0.814419, "up": 0.638701, "mixed": 0.445816, "wide": 0.207892, "none": -0.179787}
    nes = {"down": -2.061, "up": 1.685, "mixed": 1.386, "wide": 0.882, "none": -0.659}
    p = {"down": 0.0004, "up": 0.0129, "mixed": 0.0762, "wide": 0.716, "none": 0.958}
    q = {"down": 0.0005, "up": 0.0259, "mixed": 0.1117, "wide": 0.651, "none": 0.936}
    for name in es:
        assert found.loc[name, "es"] == pytest.approx(es[name], abs=1e-6)
        assert found.loc[name, "nes"] == pytest.approx(nes[name], rel=0.02)
        assert found.loc[name, "p"] == pytest.approx(p[name], abs=0.025)
        assert found.loc[name, "q"] == pytest.approx(q[name], abs=0.025)
    assert found.loc["down", "leading_edge"] == "G42, G43, G48, G41, G49, G45, G44"
    assert found.loc["up", "leading_edge"] == "G9, G8, G7, G10, G11, G5, G3"


def test_over_representation_by_hand_and_with_the_panel_as_background() -> None:
    _, sets = gseapy_case()
    groups = restrict({"own": sets}, numbered(*range(300)))
    found = over_representation([*numbered(*range(20)), "not measured"], groups).set_index("set")
    assert found.loc["up", "p"] == pytest.approx(1.418857e-16)  # gseapy.enrich gives the same
    assert found.loc["mixed", "p"] == pytest.approx(7.050022e-11)
    assert found.loc["mixed", "hits"] == 12 and found.loc["mixed", "expected"] == 22 * 20 / 300
    assert found.loc["down", "p"] == 1.0 and found.loc["down", "genes"] == ""
    expected = stats.false_discovery_control(found["p"].to_numpy())
    np.testing.assert_allclose(found["q"], expected)
    assert over_representation([], groups).empty


def test_correlated_sets_need_the_patients_as_the_null() -> None:
    """Genes of a set move together: permuted genes call it enriched, permuted patients do not."""
    generator = np.random.default_rng(2)
    names = numbered(*range(200))
    sets = restrict({"own": {f"S{i}": names[10 * i : 10 * i + 10] for i in range(20)}}, names)
    in_b = np.repeat([False, True], 15)
    false = {"genes": [], "samples": []}
    for _ in range(15):
        common = generator.normal(size=(30, 20)).repeat(10, axis=1)
        values = 0.7 * common + 0.7 * generator.normal(size=(30, 200))
        t = welch(values, in_b).t
        null = Moments.of(values).welch(relabellings(in_b, 200).in_b).t
        false["samples"] += list(ranked_enrichment(t, sets, null_scores=null)["p"] < 0.05)
        false["genes"] += list(ranked_enrichment(t, sets, draws=200)["p"] < 0.05)
    assert np.mean(false["genes"]) > 0.2
    assert 0.01 < np.mean(false["samples"]) < 0.1


def test_shipped_sets_are_of_the_panel_and_of_testable_size() -> None:
    symbols = load_panel().symbols
    sets = load_sets(symbols)
    assert set(sets.collection) == set(COLLECTIONS)
    assert sets.sizes.min() >= 5 and sets.sizes.max() <= 300
    assert len(sets) > 1500
    few = load_sets(symbols[:300], ["hallmark"])
    assert max(int(m.max()) for m in few.members) < 300
    with pytest.raises(ExplanationError, match="no gene-set collection 'kegg'"):
        load_sets(symbols, ["kegg"])


def test_sets_with_the_same_genes_are_tested_once() -> None:
    names = numbered(*range(20))
    sets = restrict(
        {"c": {"one": names[:6], "two": [*names[:6], "other"], "small": names[:4]}}, names
    )
    assert sets.names == ("one",)
    assert parse_gmt("s\thttp://x\tA\tB\t\n\n") == {"s": ("A", "B")}
