"""From a file in the published layout to the benchmark's tables: patients and cancers held out."""

from __future__ import annotations

import shutil
from pathlib import Path

import yaml
from preparation_data import patients_h5ad

from xpert_core.benchmark.config import BenchmarkConfig
from xpert_core.benchmark.report import write_report
from xpert_core.benchmark.runner import run
from xpert_core.learning.fold_files import load_folds
from xpert_core.preparation.tensors import Assumed, prepare_tensors
from xpert_core.tokens.dataset import TrainingData


def test_unseen_patients_and_cancers_run_through_the_benchmark(tmp_path: Path) -> None:
    patients = [i for i in range(28) for _ in range(2)]
    columns = {
        f"split_{k + 1}": ["test" if p % 3 == k else "train" for p in patients] for k in range(3)
    }
    patients_h5ad(tmp_path / "cdsdb.h5ad", 28, **columns)
    data = tmp_path / "cdsdb.safetensors"
    prepare_tensors(
        tmp_path / "cdsdb.h5ad", data, featurizer="morgan", assumed=Assumed("1 uM", "24 h")
    )
    recipe = tmp_path / "patients.yaml"
    values = {
        "name": "patients",
        "data": data.name,
        "n_folds": 3,
        "workers": 1,
        "scenarios": [
            {"name": "unseen-patient", "folds": [1, 2, 3]},
            {"name": "unseen-cancer", "folds": [1]},
        ],
        "models": ["control", "mean", "ridge"],
    }
    recipe.write_text(yaml.safe_dump(values), encoding="utf-8")
    config, out = BenchmarkConfig.load(recipe), tmp_path / "out"
    # The published folds take the place of folds of its own.
    shutil.copytree(tmp_path / "cdsdb.safetensors.splits", out / "splits")
    finished = run(config, out)
    prepared = TrainingData.load(data)
    folds = load_folds(out / "splits" / "unseen-patient-both-3-folds-seed-0.csv", prepared)
    tested = {f.facts["fold"]: set(f.rows["row"]) for f in finished
              if f.facts["scenario"] == "unseen-patient"}  # fmt: skip
    for fold, rows in tested.items():
        assert {prepared.patients[row] for row in rows} == {
            f"P{p:02d}" for p in range(28) if p % 3 == fold - 1
        }
        assert rows == set(folds.split(fold - 1).test)
    cancers = [f for f in finished if f.facts["scenario"] == "unseen-cancer"]
    assert cancers and all(len(f.rows) for f in cancers)
    text = write_report(config, finished, out).read_text(encoding="utf-8")
    assert "unseen-patient" in text and "ridge" in text
