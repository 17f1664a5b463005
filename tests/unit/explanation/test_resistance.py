"""The whole comparison on made-up attention: what is planted is found, and nulls stand beside."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from xpert_core.errors import ExplanationError, PredictionCancelled
from xpert_core.explanation.differential import Thresholds
from xpert_core.explanation.genes import GeneAttention
from xpert_core.explanation.groups import Groups, groups_by_value
from xpert_core.explanation.resistance import (
    Material,
    Options,
    Resistance,
    collect,
    explain_resistance,
    log_attention,
)
from xpert_core.explanation.resistance_files import report_text, save_resistance
from xpert_core.explanation.resistance_words import reading
from xpert_core.genes import load_panel

SYMBOLS = load_panel().symbols
#: Planted: attention alone, attention and expression, untrained attention as well.
ALONE, WITH_EXPRESSION, HABIT = slice(0, 8), slice(8, 14), slice(14, 20)
N = 24


def table() -> pd.DataFrame:
    labels = ["R"] * 12 + ["N"] * 12
    ids = [f"P{i}" for i in range(N)]
    return pd.DataFrame({"patient_id": ids, "response": labels}, index=pd.Index(ids))


def groups() -> Groups:
    return groups_by_value(table(), "response", ["R"], ["N"])


def attention(values: np.ndarray) -> GeneAttention:
    """Attention of one layer, and a second one that is all noise."""
    noise = np.random.default_rng(9).uniform(0.5, 1.5, values.shape)
    return GeneAttention(
        {"received": np.stack([values, noise]).astype(np.float32)},
        {"received": np.zeros((2, len(values)), dtype=np.float32)},
        {"received": ("base_SA_0", "base_SA_1")},
        table(),
        pd.DataFrame({"measured": True}, index=pd.Index(SYMBOLS, name="symbol")),
        {"cohort": "made up", "model_name": "none", "model_digest": "0" * 64},
    )


@pytest.fixture(scope="module")
def material() -> Material:
    generator = np.random.default_rng(0)
    in_b = groups().in_b

    def draw(*higher: slice) -> np.ndarray:
        logs = generator.gamma(2.0, 0.3, (N, len(SYMBOLS)))
        for genes in higher:
            logs[in_b, genes] += 2.5
        return 2.0 ** (logs - 10)

    expression = generator.normal(6, 1, (N, len(SYMBOLS))).astype(np.float32)
    expression[in_b, WITH_EXPRESSION] += 4
    expression[:, 30] = np.nan
    return Material(
        attention(draw(ALONE, WITH_EXPRESSION, HABIT)),
        (attention(draw(HABIT)),),
        expression,
        ~np.isnan(expression).all(axis=0),
    )


@pytest.fixture(scope="module")
def found(material: Material) -> Resistance:
    options = Options(
        layer="base_SA_0", thresholds=Thresholds(0.05, 0.5), permutations=2000,
        refined=(30_000,), collections=("hallmark",),
    )  # fmt: skip
    return explain_resistance(material, groups(), options)


def test_what_is_planted_is_found_and_sorted_by_where_it_is_seen(found: Resistance) -> None:
    planted = set(SYMBOLS[:20])
    assert planted <= set(found.attention.passing) and len(found.attention.passing) <= 22
    assert set(SYMBOLS[WITH_EXPRESSION]) <= set(found.overlap.both)
    assert set(SYMBOLS[ALONE]) <= set(found.overlap.only_first)
    assert set(SYMBOLS[HABIT]).isdisjoint(found.learned)
    assert set(SYMBOLS[ALONE]) <= set(found.learned)
    assert (found.attention.table.loc[list(planted), "higher_in"] == "B").all()
    assert found.genes.loc[SYMBOLS[15], "untrained_passes"] == 1
    assert found.attention.null.p <= 0.01


def test_genes_the_cohort_lacks_are_not_tested(found: Resistance, material: Material) -> None:
    assert np.isnan(found.attention.table.loc[SYMBOLS[30], "p"])
    assert found.attention.n_tested == len(SYMBOLS) - 1
    logs = log_attention(material.trained, material, groups(), found.options)
    expected = np.log2(material.trained.values["received"][0, 5, 3])
    assert logs[5, 3] == pytest.approx(expected)


def test_a_layer_of_noise_shows_nothing(material: Material) -> None:
    options = Options(layer="base_SA_1", permutations=500, refined=(), collections=("hallmark",))
    noise = explain_resistance(material, groups(), options)
    assert len(noise.attention.passing) == 0 and noise.learned == ()
    assert noise.over_representation["list"].str.startswith("expression").all()
    with pytest.raises(ExplanationError, match="no layer 'base_SA_9'"):
        explain_resistance(material, groups(), Options(layer="base_SA_9", permutations=200))


def test_the_words_carry_the_numbers(found: Resistance) -> None:
    text = " ".join(reading(found))
    assert "12 patients in A (R) and 12 in B (N)" in text
    assert f"{len(found.attention.passing)} of 977 genes pass" in text
    assert "1 to 9" not in text and "not what causes resistance" in text
    assert f"{found.power.single:.2f} standard deviations" in text
    assert report_text(found).startswith("# response: N (B) against R (A)")


def test_files_are_complete(found: Resistance, tmp_path) -> None:
    written = {p.name for p in save_resistance(found, tmp_path)}
    assert {"genes.csv", "ranked_enrichment.csv", "permuted_labels.csv", "report.md",
            "provenance.json", "volcano_attention.svg"} <= written  # fmt: skip
    genes = pd.read_csv(tmp_path / "genes.csv", index_col="gene")
    assert genes["attention_passes"].sum() == len(found.attention.passing)
    nulls = pd.read_csv(tmp_path / "permuted_labels.csv")
    assert set(nulls["measure"]) == {"attention", "expression", "untrained_1"}
    svg = (tmp_path / "volcano_attention.svg").read_text(encoding="utf-8")
    assert SYMBOLS[0] in svg or any(gene in svg for gene in found.attention.passing[:12])


def test_cancel_stops_the_tests(material: Material) -> None:
    asked: list[str] = []

    def stop() -> bool:
        asked.append("?")
        return len(asked) > 3

    with pytest.raises(PredictionCancelled):
        explain_resistance(material, groups(), Options(permutations=5000), cancelled=stop)


def test_collect_names_samples_of_the_groups_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attention is asked for the samples of both groups, of the trained and untrained networks."""
    from types import SimpleNamespace

    from xpert_core.explanation import resistance

    asked: list[tuple[str, list[str]]] = []

    def spy(model, profiles, *, samples, progress, cancelled):
        asked.append((model, samples))
        progress(len(samples), len(samples), "Done")
        return attention(np.ones((N, len(SYMBOLS))))

    monkeypatch.setattr(resistance, "gene_attention", spy)
    monkeypatch.setattr(resistance, "untrained", lambda model, seed: f"untrained {seed}")
    profiles = SimpleNamespace(samples=table(), x_ctl=np.ones((N, len(SYMBOLS))))
    chosen = groups_by_value(table(), "response", ["N"], ["R"])
    steps: list[int] = []
    given = collect(
        "trained", profiles, chosen, seeds=(3, 4), progress=lambda d, t, x: steps.append(d)
    )
    assert [name for name, _ in asked] == ["trained", "untrained 3", "untrained 4"]
    assert asked[0][1] == list(table().index) and len(given.untrained) == 2
    assert steps == [N, 2 * N, 3 * N]
