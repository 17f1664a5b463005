"""The comparison scores every model on the same patients, goes on fold by fold, and is honest."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from finetuning_data import QUICK

from xpert_core.errors import FinetuningCancelled
from xpert_core.finetuning import compare as module
from xpert_core.finetuning.compare import (
    BASE,
    FINETUNED,
    LABELS,
    MEAN,
    MLP,
    SCRATCH,
    Comparison,
    Interval,
    compare,
    load_comparison,
    save_comparison,
)
from xpert_core.finetuning.hooks import Hooks
from xpert_core.finetuning.split import outer_splits
from xpert_core.tokens.dataset import LOG2_READOUT, Z_READOUT

CONFIG = QUICK.with_(max_epochs=1, patience=1)


@pytest.fixture(scope="module")
def result(base, cohort, tmp_path_factory) -> Comparison:
    return compare(base, cohort, tmp_path_factory.mktemp("folds"), CONFIG, folds=3)


def by_pair(result: Comparison, model: str) -> dict[str, float]:
    return {pair["pair_id"]: pair[model] for pair in result.pairs}


def test_every_patient_is_tested_once_by_every_model(result, cohort) -> None:
    assert sorted(p["pair_id"] for p in result.pairs) == sorted(cohort.pair_ids)
    assert (result.n_pairs, result.n_patients, result.folds) == (12, 12, 3)
    assert {s.model for s in result.scores} == set(LABELS)
    assert result.score(FINETUNED).label == "fine-tuned (adapters)"
    for score in result.scores:
        own = np.mean(list(by_pair(result, score.model).values()))
        assert score.pcc.mean == pytest.approx(own, abs=1e-4)
        assert score.pcc.low < score.pcc.mean < score.pcc.high
    assert result.epochs.keys() == {FINETUNED, SCRATCH}


def test_the_mean_change_is_that_of_the_other_patients(result, cohort) -> None:
    """By hand, on the gene subset measured in all pairs of the pair that is looked at."""
    change, scores = cohort.data.x_deg, by_pair(result, MEAN)
    for split in outer_splits(cohort.data, folds=3, valid=CONFIG.valid, seed=CONFIG.split_seed):
        others = np.concatenate([split.train, split.valid])
        mean = np.nanmean(change[others], axis=0)
        for row in split.test:
            known = ~np.isnan(change[row])
            expected = np.corrcoef(change[row][known], mean[known])[0, 1]
            assert scores[cohort.pair_ids[row]] == pytest.approx(expected, abs=1e-3)
    assert result.score(MEAN).centred.mean == 0


def test_differences_are_paired(result) -> None:
    for other in (MEAN, BASE, SCRATCH, MLP):
        own, theirs = by_pair(result, FINETUNED), by_pair(result, other)
        expected = np.mean([own[i] - theirs[i] for i in own])
        assert result.difference(other).pcc.mean == pytest.approx(expected, abs=1e-4)


def test_only_a_model_above_the_mean_change_may_be_the_default(result) -> None:
    """One epoch of an untrained network is not; the shared change of the cohort is strong."""
    assert result.difference(MEAN).pcc.high < 0
    assert not result.may_be_default
    assert "is worse than the mean change" in result.verdict
    assert f"PCC {result.score(FINETUNED).pcc}" in result.verdict
    scores = result.scores
    for limits, words, better in (
        ((0.01, 0.2), "is better than", True),
        ((-0.01, 0.2), "is not better than", False),
        ((np.nan, np.nan), "is not better than", False),
    ):
        against = Interval(0.1, *limits)
        assert words in module._verdict(scores, against, 12, read_log2=True)
        assert bool(against.low > 0) == better


@pytest.mark.parametrize(("readout", "allowed"), [(LOG2_READOUT, True), (Z_READOUT, False)])
def test_a_model_whose_own_read_out_was_not_scored_is_no_default(cohort, readout, allowed) -> None:
    """Predictions of patients are read out as log2 changes, whatever was trained."""
    data = replace(cohort.data, readout=np.full(len(cohort.data), readout))
    splits = outer_splits(data, folds=3, valid=0.2, seed=0)
    rng = np.random.default_rng(0)
    folds = []
    for split in splits:
        truth = np.nan_to_num(data.x_deg[split.test])
        found = {model: rng.normal(size=truth.shape) for model in LABELS}
        folds.append(module._Fold({**found, FINETUNED: truth}, {FINETUNED: 1, SCRATCH: 1}))
    told = module._conclude(replace(cohort, data=data), splits, folds, CONFIG, "full")
    assert told.difference(MEAN).pcc.low > 0 and "is better than the mean change" in told.verdict
    assert told.may_be_default is allowed
    assert ("read out as log2 changes" in told.verdict) is not allowed


def test_a_result_survives_json(result, tmp_path) -> None:
    save_comparison(tmp_path / "comparison.json", result)
    assert load_comparison(tmp_path / "comparison.json") == result
    card = result.for_card()
    json.dumps(card)
    assert card["may_be_default"] is False
    assert card["why"] == result.verdict
    lines = {line["model"]: line for line in card["scores"]}
    assert lines["mean change of the drug in the cohort"]["patients"] == 12
    assert lines["mean change of the drug in the cohort"]["part"] == "test patients"


def test_it_goes_on_from_the_last_whole_fold(result, base, cohort, tmp_path) -> None:
    def stop_in_the_second_fold() -> bool:
        return bool(list(tmp_path.glob("fold1-*"))) and bool(list(tmp_path.glob("state/*")))

    with pytest.raises(FinetuningCancelled):
        compare(base, cohort, tmp_path, CONFIG, folds=3,
                hooks=Hooks(cancelled=stop_in_the_second_fold))  # fmt: skip
    assert len(list(tmp_path.glob("fold*"))) == 1
    again = compare(base, cohort, tmp_path, CONFIG, folds=3)
    for one, two in zip(result.scores, again.scores, strict=True):
        assert one.pcc.mean == pytest.approx(two.pcc.mean, abs=1e-4)
    # A damaged fold is made again, a whole one is not.
    files = sorted(tmp_path.glob("fold*"))
    files[0].write_bytes(files[0].read_bytes()[:100])
    done = files[1].stat().st_mtime_ns
    heard = []
    hooks = Hooks(progress=lambda done, total, text: heard.append((done, total, text)))
    assert compare(base, cohort, tmp_path, CONFIG, folds=3, hooks=hooks) == again
    assert files[1].stat().st_mtime_ns == done
    assert {text.rpartition(", ")[2].partition(":")[0] for *_, text in heard[:-1]} == {
        "fold 1 of 3"
    }
    assert all(done <= total for done, total, _ in heard)


@pytest.mark.parametrize("sizes", [(20, 1, 1, 1), (30, 2, 2, 2, 2, 2), (3, 3, 2, 1)])
def test_unequal_patients_are_split_whatever_the_seed(cohort, sizes) -> None:
    """Repeated biopsies make patients of very different weight; somebody is always trained on."""
    patients = tuple(f"P{i}" for i, n in enumerate(sizes) for _ in range(n))
    rows = np.arange(len(patients)) % len(cohort.data)
    names = ("profile_index", "drug_index", "dose_um", "time_h", "readout", "cell_index", "x_deg",
             "has_x_pert")  # fmt: skip
    values = {name: getattr(cohort.data, name)[rows] for name in names}
    # A profile belongs to one patient.
    values["profile_index"] = np.arange(len(rows))
    profiles = cohort.data.profiles[cohort.data.profile_index[rows]]
    data = replace(cohort.data, **values, profiles=profiles, patients=patients)
    for seed in range(10):
        splits = outer_splits(data, folds=5, valid=0.2, seed=seed)
        tested = np.concatenate([split.test for split in splits])
        assert sorted(tested) == list(range(len(rows)))
        assert all(len(split.train) and len(split.valid) for split in splits)
