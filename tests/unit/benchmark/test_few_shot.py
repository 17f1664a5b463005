"""Few-shot learning: who is pretrained on what, and what the numbers are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from training.few_shot import main
from xpert_core.benchmark.few_shot import PRETRAINED, SCRATCH, TUNED, curve, gains, make_plan
from xpert_core.errors import DataError
from xpert_core.learning.folds import labels_of
from xpert_core.tokens.dataset import TrainingData

DATA = Path(__file__).parents[2] / "data" / "l1000_small.safetensors"
TINY = {
    "name": "tiny",
    "data": str(DATA),
    "model": {"d_model": 16, "n_heads": 2, "d_ff": 32, "base_layers": "SA", "pert_layers": "CA"},
    "max_epochs": 2,
    "batch_rows": 32,
    "threads": 1,
}


def test_pretraining_never_sees_a_pair_under_test() -> None:
    data = TrainingData.load(DATA)
    plan = make_plan(data, n_repeats=2)
    labels = labels_of(data)
    pair = np.char.add(np.char.add(labels.cell, "/"), labels.drug)
    known = np.concatenate([plan.pretraining.train, plan.pretraining.valid])
    for repeat in plan.repeats:
        tested = repeat["zero"].test
        assert len(tested) and not len(repeat["zero"].train)
        assert not set(pair[known]) & set(pair[tested])
        for shots, split in repeat.items():
            np.testing.assert_array_equal(split.test, tested)
            assert set(pair[split.train]) <= set(pair[tested])
            sides = (split.train, split.valid, split.test)
            conditions = [set(labels.condition[rows]) for rows in sides]
            assert not conditions[0] & conditions[2] and not conditions[1] & conditions[2], shots
            assert not conditions[0] & conditions[1]
        # More shots keep the fewer ones.
        assert set(repeat["one"].train) <= set(repeat["0.5"].train) <= set(repeat["0.8"].train)
    drugs = [set(labels.drug[rows]) for rows in (plan.pretraining.train, plan.pretraining.valid)]
    assert not drugs[0] & drugs[1]
    assert plan.distinct()[:2] == ("zero", "one")


def test_data_without_series_are_refused() -> None:
    data = TrainingData.load(DATA)
    level5 = np.flatnonzero(data.readout == 1)
    with pytest.raises(DataError, match="enough doses"):
        make_plan(_rows(data, level5))


def _rows(data: TrainingData, rows: np.ndarray) -> TrainingData:
    from dataclasses import replace

    names = ("profile_index", "drug_index", "dose_um", "time_h", "readout", "cell_index", "x_deg",
             "has_x_pert")  # fmt: skip
    return replace(data, **{name: getattr(data, name)[rows] for name in names})


def table(model: str, shots: str, values: list[float], seed: int = 0) -> pd.DataFrame:
    """One row a drug, in one repeat."""
    n = len(values)
    return pd.DataFrame(
        {"model": model, "shots": shots, "repeat": [1, 2] * (n // 2), "seed": seed,
         "row": range(n), "drug": [f"d{i}" for i in range(n)], "pcc": values}
    )  # fmt: skip


def test_curve_and_gains_by_hand() -> None:
    scores = pd.concat(
        [
            table(TUNED, "zero", [0.1, 0.2, 0.3, 0.4]),
            table(TUNED, "one", [0.2, 0.3, 0.4, 0.5]),
            table("ridge", "one", [0.2, 0.2, 0.2, 0.2], seed=-1),
        ]
    )
    points = curve(scores).set_index(["model", "shots"])
    assert points.loc[(TUNED, "zero"), "mean"] == pytest.approx(0.25)
    assert points.loc[(TUNED, "zero"), "sd"] == pytest.approx(np.std([0.2, 0.3], ddof=1))
    steps = gains(scores, TUNED, TUNED, "zero").set_index("shots")
    assert steps.loc["one", "mean"] == pytest.approx(0.1)
    assert steps.loc["one", "low"] == pytest.approx(0.1)
    # Ridge has no seed: it stands beside each seed of the network.
    beside = gains(scores, TUNED, "ridge").set_index("shots")
    assert beside.index.tolist() == ["one"]
    assert beside.loc["one", "mean"] == pytest.approx(0.15)
    assert beside.loc["one", "low"] < 0.15 < beside.loc["one", "high"]


def test_the_experiment_runs_once_and_reports(tmp_path: Path) -> None:
    pytest.importorskip("lightning")
    recipe = tmp_path / "few.yaml"
    recipe.write_text(yaml.safe_dump(TINY))
    main(recipe, tmp_path / "out", tmp_path / "docs", repeats=1)
    text = (tmp_path / "docs" / "few-shot.md").read_text()
    assert text.startswith(f"# Few-shot learning of doses\n\n{TUNED}, against {SCRATCH}: ")
    assert PRETRAINED not in text
    found = pd.read_csv(tmp_path / "docs" / "few-shot.csv")
    assert {TUNED, SCRATCH, "ridge"} <= set(found["model"])
    assert found["shots"].iloc[0] == "zero"
    for name in ("curve", "waterfall"):
        assert (tmp_path / "docs" / f"few-shot-{name}.svg").read_text().startswith("<svg")
    done = {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("*") if p.is_file()}
    main(recipe, tmp_path / "out", tmp_path / "docs", repeats=1)
    assert done == {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("*") if p.is_file()}
    assert (tmp_path / "docs" / "few-shot.md").read_text() == text
