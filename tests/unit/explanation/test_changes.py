"""Changes under treatment: planted genes, unequal spread, files and words."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from xpert_core.cohorts.paired import PAIR_COLUMNS, PairedProfiles
from xpert_core.errors import PredictionCancelled
from xpert_core.explanation.changes import GroupChanges, compare_changes, deciding_test
from xpert_core.explanation.changes_files import save_changes
from xpert_core.explanation.changes_words import reading, spread_sentence
from xpert_core.explanation.differential import Thresholds, moderated_test, welch_test
from xpert_core.explanation.groups import Groups, groups_by_value
from xpert_core.genes import load_panel
from xpert_core.genes.records import GenePanel, GeneReport

N_GENES = 80
WHOLE = load_panel()
PANEL = GenePanel(
    "l1000", *(names[:N_GENES] for names in (WHOLE.symbols, WHOLE.entrez, WHOLE.ensembl)),
    WHOLE.digest,
)  # fmt: skip
SYMBOLS = PANEL.symbols


def paired(change: np.ndarray, patients: list[str], label: list[str]) -> PairedProfiles:
    """Pairs with this change, on profiles before treatment that differ much more."""
    before = np.random.default_rng(5).normal(8, 3, change.shape)
    pairs = pd.DataFrame(
        dict.fromkeys(PAIR_COLUMNS, ""), index=pd.Index(range(len(change)), name="pair_id")
    )
    pairs["patient_id"], pairs["response"] = patients, label
    report = GeneReport(pd.DataFrame(), np.arange(N_GENES), N_GENES)
    return PairedProfiles(
        "made up", pairs, before, before + change, "log2", PANEL, report, "none", "0"
    )


@pytest.fixture(scope="module")
def cohort() -> PairedProfiles:
    """Ten patients a group; five genes rise in both, five in B alone; one patient has two pairs."""
    change = np.random.default_rng(4).normal(0, 0.5, (21, N_GENES))
    change[:, :5] += 2
    change[10:20, 5:10] += 2
    patients = [f"P{i}" for i in range(20)] + ["P3"]
    return paired(change, patients, ["R"] * 10 + ["N"] * 10 + ["R"])


def groups_of(pairs: PairedProfiles) -> Groups:
    return groups_by_value(pairs.pairs, "response", ["R"], ["N"])


@pytest.fixture(scope="module")
def found(cohort: PairedProfiles) -> GroupChanges:
    return compare_changes(cohort, groups_of(cohort), Thresholds(log2_ratio=1.0))


def test_planted_changes_are_found_in_their_group(found: GroupChanges) -> None:
    assert (found.groups.n_a, found.groups.n_b) == (10, 10)
    assert found.in_a["passes"].reindex(SYMBOLS[:5]).all()
    assert not found.in_a["passes"].reindex(SYMBOLS[5:10]).any()
    assert found.in_b["passes"].reindex(SYMBOLS[:10]).all()
    assert set(SYMBOLS[5:10]) <= set(found.difference.passing)
    assert set(SYMBOLS[:5]).isdisjoint(found.difference.passing)
    assert "genes change in A" in found.sentence and found.balanced[0].size == 10


def test_a_smaller_group_that_varies_more_is_named() -> None:
    """No gene differs in the mean; A has six patients and four times the variance."""
    generator = np.random.default_rng(1)
    change = np.vstack(
        [generator.normal(0, 2, (6, N_GENES)), generator.normal(0, 1, (24, N_GENES))]
    )
    pairs = paired(change, [f"P{i}" for i in range(30)], ["R"] * 6 + ["N"] * 24)
    wider = compare_changes(pairs, groups_of(pairs))
    a, b = change[:6].var(axis=0, ddof=1), change[6:].var(axis=0, ddof=1)
    assert wider.spread == pytest.approx(np.median(a / b), rel=1e-5)
    assert wider.smaller_varies_more
    assert "The smaller group varies more" in spread_sentence(wider)
    pooled = moderated_test(change, np.arange(30) >= 6).p
    assert (pooled < 0.05).sum() > 2 * 0.05 * N_GENES  # too small, as the words say
    assert wider.difference.statistic == "Welch's t" and "Welch's t" in wider.sentence
    one, table = welch_test(change, np.arange(30) >= 6), wider.difference.table
    assert np.allclose(table["p"].reindex(SYMBOLS), one.p, rtol=1e-4)
    assert (one.p < 0.05).sum() < 1.5 * 0.05 * N_GENES
    turned = groups_by_value(pairs.pairs, "response", ["N"], ["R"])
    assert replace(wider, groups=turned, spread=0.25).smaller_varies_more
    assert replace(wider, groups=turned, spread=0.0).smaller_varies_more
    assert wider.provenance["test"] == "Welch's t"
    assert not replace(wider, spread=0.25).smaller_varies_more


def test_equal_groups_need_no_caution(found: GroupChanges) -> None:
    assert not found.smaller_varies_more
    assert "varies more" not in spread_sentence(found)
    assert found.difference.statistic == "moderated t"
    assert found.passing_by["Welch's t"] >= 5
    assert found.passing_by["moderated t"] == len(found.difference.passing)


def test_files_hold_what_was_found(found: GroupChanges, tmp_path: Path) -> None:
    written = {path.name for path in save_changes(found, tmp_path)}
    assert {
        "changes_in_a.csv", "changes_in_b.csv", "difference.csv", "balanced_counts.csv",
        "permuted_labels.csv", "report.md", "provenance.json",
    } <= written == {path.name for path in tmp_path.iterdir()}  # fmt: skip
    table = pd.read_csv(tmp_path / "difference.csv", index_col="gene")
    assert len(table) == N_GENES and table["p"].is_monotonic_increasing
    assert np.allclose(table["difference"], table["change_b"] - table["change_a"])
    assert (table.loc[list(SYMBOLS[5:10]), "higher_in"] == "B").all()
    in_a = pd.read_csv(tmp_path / "changes_in_a.csv", index_col="gene")
    assert np.allclose(table["change_a"], in_a["log2_ratio"].reindex(table.index))
    assert len(pd.read_csv(tmp_path / "permuted_labels.csv")) == 1000
    about = json.loads((tmp_path / "provenance.json").read_text(encoding="utf-8"))
    assert (about["group_a"], about["group_b"], about["pairs"]) == ("R", "N", 21)
    report = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert found.sentence in report and "with permuted labels it is" in report
    assert all(sentence in report for sentence in reading(found))


def test_the_comparison_can_be_stopped(cohort: PairedProfiles) -> None:
    seen: list[str] = []
    with pytest.raises(PredictionCancelled):
        compare_changes(
            cohort,
            groups_of(cohort),
            progress=lambda done, total, text: seen.append(text),
            cancelled=lambda: len(seen) == 3,
        )
    assert seen[-1] == "Permuted labels" and seen[0] == "Change in each group"


@pytest.mark.parametrize("spread", [1.0, 2.0])
def test_the_deciding_test_is_uniform_where_only_the_spread_differs(spread: float) -> None:
    """Groups of 29 and 73, no difference of means: KS against the uniform distribution."""
    generator = np.random.default_rng(7)
    in_b = np.arange(102) >= 29
    change = generator.normal(size=(102, 4_000))
    change[~in_b] *= spread
    test = deciding_test(change, in_b)
    assert test is (welch_test if spread > 1 else moderated_test)
    assert stats.kstest(test(change, in_b).p, "uniform").pvalue > 0.01
    if spread > 1:
        assert stats.kstest(moderated_test(change, in_b).p, "uniform").pvalue < 1e-6
    signs = np.sign(test(change, in_b).t)
    assert stats.binomtest(int((signs > 0).sum()), len(signs)).pvalue > 0.01
