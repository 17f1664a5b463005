"""The built-in kinds of jobs give what the engine gives, go on from a stop, and store once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from job_attempts import attempt, stop_at
from model_data import tiny_checkpoint

from xpert_core.cohorts import example_path, read_cohort, to_profiles
from xpert_core.genes import load_panel
from xpert_core.jobs import submit
from xpert_core.model.checkpoint import load_checkpoint
from xpert_core.prediction import Predictor
from xpert_core.prediction.models import shipped_default
from xpert_core.store import Store

pytest.importorskip("lightning")

SMALL_DATA = Path(__file__).parents[1] / "data" / "l1000_small.safetensors"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(f"sqlite:///{tmp_path / 'xpert.db'}")
    yield opened
    opened.close()


def test_predict_stores_what_the_predictor_says_once(store: Store) -> None:
    with example_path().open("rb") as stream:
        cohort = read_cohort(b"".join(islice(stream, 4)), filename="three.csv")
    profiles = to_profiles(cohort, load_panel())
    cohort_id = store.save_cohort(profiles, owner="ana")
    params = {"cohort_id": cohort_id, "drugs": ["trametinib"], "doses": ["1 uM"], "times": [24]}
    job_id = submit(store, "predict", params, owner="ana")
    assert attempt(store, stop_at(3)).status == "submitted"
    job = attempt(store)
    assert job.result == {"run_id": job_id, "n_rows": 3}, job.failure
    expected = Predictor.load().predict(profiles, ["trametinib"], ["1 uM"], [24])
    np.testing.assert_array_equal(store.load_prediction(job_id).x_deg, expected.x_deg)
    # A kill between the result and the end of the job: the next attempt stores nothing new.
    kept = store.save_prediction(expected, cohort_id, owner="ana", run_id=job_id)
    assert kept == job_id and store.runs("ana").index.tolist() == [job_id]
    assert store.sweep_orphans(grace_s=0) == 0
    submit(store, "predict", {**params, "drugs": ["no such drug at all"]}, owner="ana")
    failed = attempt(store)
    assert failed.status == "failed" and failed.failure is not None and failed.failure.fix


def test_predict_takes_the_owners_models_and_cohorts_and_no_others(
    store: Store, tmp_path: Path
) -> None:
    with example_path().open("rb") as stream:
        cohort = read_cohort(b"".join(islice(stream, 2)), filename="one.csv")
    cohort_id = store.save_cohort(to_profiles(cohort, load_panel()), owner="ana")
    tiny_checkpoint(tmp_path / "tiny")
    model = store.registry.register(tmp_path / "tiny", owner="ana")
    params = {"cohort_id": cohort_id, "drugs": ["trametinib"], "doses": ["1 uM"], "times": [24]}
    job_id = submit(store, "predict", {**params, "model": model}, owner="ana")
    assert attempt(store).status == "done"
    assert store.load_prediction(job_id).provenance["model_name"] == "tiny"
    submit(store, "predict", {**params, "model": model}, owner="ben")
    failed = attempt(store)
    assert failed.failure is not None and "no stored cohort" in failed.failure.what
    store.share_cohort(cohort_id, True)
    submit(store, "predict", {**params, "model": model}, owner="ben")
    failed = attempt(store)
    assert failed.failure is not None and "no such model" in failed.failure.what
    # Nor by the folder of the checkpoint, which any user could name.
    folder = str(store.registry.get(model, "ana").folder)
    for kind, more in (("predict", {}), ("explain", {"what": "genes"})):
        submit(store, kind, {**params, **more, "model": folder}, owner="ben")
        failed = attempt(store)
        assert failed.failure is not None and "no such model" in failed.failure.what
    assert store.runs("ben")["owner"].tolist() == []


def test_train_goes_on_from_the_last_epoch_to_the_same_model(store: Store, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    values: dict[str, Any] = {
        "name": "small",
        "data": str(SMALL_DATA),
        "model": {"d_model": 16, "n_heads": 2, "base_layers": "SA", "pert_layers": "CA"},
        "max_epochs": 3,
        "valid": 0.2,
        "test": 0.2,
        "threads": 1,
    }
    recipe.write_text(yaml.safe_dump(values), encoding="utf-8")
    first = submit(store, "train", {"config": str(recipe)})
    assert attempt(store, stop_at(2)).status == "submitted"
    stopped = attempt(store)
    submit(store, "train", {"config": str(recipe), "out": str(tmp_path / "out")})
    whole = attempt(store)
    assert stopped.result is not None and whole.result is not None, (stopped, whole)
    # Not the hash of the checkpoint: its card says how long the training took.
    weights = [load_checkpoint(Path(r["folder"])).model for r in (stopped.result, whole.result)]
    others = dict(weights[1].named_parameters())
    assert all(torch.equal(v, others[k]) for k, v in weights[0].named_parameters())
    assert stopped.result["scores"] == whole.result["scores"]
    assert Path(stopped.result["folder"]).is_relative_to(store.jobs.folder(first))
    assert (tmp_path / "out" / "model").is_dir()
    models = [store.registry.get(r["model_id"]) for r in (stopped.result, whole.result)]
    assert [(m.kind, m.digest) for m in models] == [
        ("trained", r["digest"]) for r in (stopped.result, whole.result)
    ]
    assert [m["epoch"] for m in store.jobs.metrics(first)] == [1, 2, 3]
    assert "last whole epoch" in store.jobs.log(first)[-1].payload["text"]
    store.jobs.delete(first)
    assert load_checkpoint(models[0].folder).digest == models[0].digest


def test_benchmark_keeps_its_numbers_for_the_owner(store: Store, tmp_path: Path) -> None:
    config = tmp_path / "bench.yaml"
    values = {
        "name": "tiny",
        "data": str(SMALL_DATA),
        "n_folds": 3,
        "scenarios": [{"name": "cold-drug", "readout": "level 3", "folds": [1]}],
        "models": ["mean-cell", "control"],
    }
    config.write_text(yaml.safe_dump(values), encoding="utf-8")
    submit(store, "benchmark", {"config": str(config), "workers": 1}, owner="ana")
    job = attempt(store)
    assert job.result is not None, job.failure
    assert store.benchmarks("ana").index.tolist() == [job.result["benchmark_id"]]
    assert Path(job.result["report"]).is_file() and "cold-drug" in job.result["verdict"]


@pytest.mark.parametrize("kind", ["train", "benchmark"])
def test_a_missing_configuration_is_named(store: Store, kind: str) -> None:
    submit(store, kind, {"config": "nowhere.yaml"})
    job = attempt(store)
    assert job.failure is not None and "nowhere.yaml" in job.failure.where


def test_explanations_are_kept_with_the_job(store: Store) -> None:
    with example_path().open("rb") as stream:
        cohort = read_cohort(b"".join(islice(stream, 4)), filename="three.csv")
    cohort_id = store.save_cohort(to_profiles(cohort, load_panel()))
    samples = list(cohort.samples.index[:1])
    submit(store, "explain", {"what": "genes", "cohort_id": cohort_id, "samples": samples})
    done = attempt(store)
    assert done.status == "done", done.failure
    assert done.result is not None and "genes.csv" in done.result["files"]
    folder = store.jobs.folder(done.id) / "result"
    assert sorted(path.name for path in folder.iterdir()) == done.result["files"]
    atoms = {
        "what": "atoms", "cohort_id": cohort_id, "samples": samples, "genes": ["CDK4"],
        "drug": "vorinostat", "dose": 1.0, "time": 24.0,
    }  # fmt: skip
    submit(store, "explain", atoms)
    done = attempt(store)
    assert done.status == "done" and done.result is not None, done.failure
    folder = store.jobs.folder(done.id) / "result"
    assert sorted(path.name for path in folder.iterdir()) == done.result["files"]
    provenance = json.loads((folder / "provenance.json").read_text(encoding="utf-8"))
    assert provenance["model_name"] == shipped_default()
    assert len(pd.read_csv(folder / "atoms.csv")) == 19
    groups = {"what": "resistance", "cohort_id": cohort_id, "column": "response", "a": ["PD"],
              "b": ["SD"]}  # fmt: skip
    submit(store, "explain", groups)
    refused = attempt(store)
    assert refused.status == "failed" and refused.failure is not None
    assert "3" in str(refused.failure)  # the fewest patients of a group
    submit(store, "explain", {"what": "dreams", "cohort_id": cohort_id})
    unknown = attempt(store)
    assert unknown.failure is not None and "dreams" in unknown.failure.what
