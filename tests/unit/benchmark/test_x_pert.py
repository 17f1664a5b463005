"""Profiles after treatment: scored beside x_deg, completed in old tasks, with their null."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from xpert_core.benchmark.config import BenchmarkConfig
from xpert_core.benchmark.report import write_report
from xpert_core.benchmark.results import Results, matched_rows, seed_by_seed
from xpert_core.benchmark.runner import Finished, run
from xpert_core.benchmark.scoring import HEAD, IMPLIED, ROW_PCC, score_x_pert
from xpert_core.benchmark.tables import difference_table, row_table
from xpert_core.benchmark.x_pert import section, x_pert_rows
from xpert_core.tokens.dataset import TrainingData

ROOT = Path(__file__).resolve().parents[3]
DATA = ROOT / "tests" / "data" / "l1000_small.safetensors"


@pytest.fixture(scope="module")
def data() -> TrainingData:
    return TrainingData.load(DATA)


def test_both_ways_are_scored_where_profiles_were_measured(data: TrainingData) -> None:
    rows = np.arange(0, len(data), 3)
    generator = np.random.default_rng(0)
    x_deg, head = generator.normal(size=(2, len(rows), 978)).astype(np.float32)
    values, table = score_x_pert(data, rows, x_deg, head)
    known = np.flatnonzero(data.has_x_pert[rows])
    assert 0 < len(known) < len(rows)
    assert table["row"].tolist() == rows[known].tolist()
    control = data.profiles[data.profile_index[rows[known]]]
    truth = control + data.x_deg[rows[known]]
    for form, predicted in ((IMPLIED, control + x_deg[known]), (HEAD, head[known])):
        pcc = [np.corrcoef(a, b)[0, 1] for a, b in zip(predicted, truth, strict=True)]
        np.testing.assert_allclose(table[ROW_PCC[form]], pcc, atol=1e-5)
        assert values[form]["pcc"] == pytest.approx(np.mean(pcc), abs=1e-5)
        assert values[form]["mse"] == pytest.approx(((predicted - truth) ** 2).mean(), rel=1e-4)


def test_without_measured_profiles_there_is_nothing(data: TrainingData) -> None:
    rows = np.flatnonzero(~data.has_x_pert)[:4]
    values, table = score_x_pert(data, rows, data.x_deg[rows])
    assert values == {} and table.empty


@pytest.fixture(scope="module")
def benchmark(tmp_path_factory: pytest.TempPathFactory) -> tuple[BenchmarkConfig, Path]:
    folder = tmp_path_factory.mktemp("x-pert")
    recipe = ROOT / "training" / "configs" / "smoke-xpert.yaml"
    values = {
        "name": "x-pert", "data": str(DATA), "n_folds": 3, "seeds": [0], "workers": 1,
        "scenarios": [{"name": "cold-drug", "folds": [1]}],
        "models": [
            {"name": "XPert", "kind": "xpert", "recipe": str(recipe),
             "settings": {"max_epochs": 1}},
            "control", {"name": "ridge", "keep_predictions": True},
        ],
    }  # fmt: skip
    path = folder / "bench.yaml"
    path.write_text(yaml.safe_dump(values))
    return BenchmarkConfig.load(path), folder / "out"


def task(model: str, seed: int, pcc: float) -> Finished:
    rows = pd.DataFrame({"row": [0, 1], "readout": 1, "drug": ["a", "b"], "cell": "c"})
    facts = {"scenario": "cold-drug", "fold": 1, "model": model, "seed": seed}
    return Finished(rows.assign(pcc=pcc), facts)


def test_a_variant_is_compared_on_the_seeds_that_both_have() -> None:
    lucky = [task("XPert", 0, 0.1), task("XPert", 1, 0.4), task("variant", 0, 0.2)]
    matched = matched_rows(lucky, "XPert", "variant").groupby("model")["value"].mean()
    assert matched.to_dict() == {"XPert": 0.1, "variant": 0.2}
    apart = matched_rows([*lucky[1:]], "XPert", "variant").groupby("model")["value"].mean()
    assert apart.to_dict() == {"XPert": 0.4, "variant": 0.2}, "no seed is shared: all are taken"
    near = difference_table(row_table(lucky), "XPert", {"variant"})
    assert near["difference"].tolist() == pytest.approx([0.05])
    rows = matched_rows(lucky, "XPert", "variant")
    found = seed_by_seed(near, "XPert", {"variant": rows})
    assert found["model"].tolist() == ["variant"]
    assert found["difference"].tolist() == pytest.approx([-0.1])


def stored(out: Path, model: str) -> Path:
    """Task of a model, without suffix."""
    for path in (out / "tasks").glob("*.json"):
        if json.loads(path.read_text())["model"] == model:
            return path.with_suffix("")
    raise AssertionError(model)


def forget_x_pert(path: Path) -> None:
    """A task as it was stored before x_pert was scored."""
    facts = json.loads(path.with_suffix(".json").read_text())
    del facts["x_pert"]
    path.with_suffix(".json").write_text(json.dumps(facts))
    rows = pd.read_parquet(path.with_suffix(".parquet"))
    rows.drop(columns=rows.columns.intersection([*ROW_PCC.values()])).to_parquet(
        path.with_suffix(".parquet"), index=False
    )


def test_a_run_scores_reports_and_completes_old_tasks(
    benchmark: tuple[BenchmarkConfig, Path],
) -> None:
    config, out = benchmark
    found = {str(f.facts["model"]): f for f in run(config, out)}
    assert set(found["XPert"].facts["x_pert"]) == {IMPLIED, HEAD}
    assert set(found["ridge"].facts["x_pert"]) == {IMPLIED}
    text = write_report(config, list(found.values()), out).read_text()
    part = text.split("## Profiles after treatment (x_pert)")[1].split("\n## ")[0]
    lines = {row.split(" | ")[0].strip("| "): row for row in part.splitlines() if "|" in row}
    assert {"XPert", f"XPert, {HEAD}", "control", "ridge"} <= set(lines)
    control = found["control"].facts["x_pert"][IMPLIED]["pcc"]
    assert control > 0.5 and f"{control:.3f}" in lines["control"]
    scores = pd.read_csv(out / "x_pert.csv")
    own = scores[(scores["model"] == "ridge") & (scores["metric"] == "rmse")]["value"].item()
    # The control is the same on both sides: errors are those of x_deg.
    level3 = found["ridge"].facts["values"]["log2 change (level 3)"]["rmse"]
    assert own == pytest.approx(level3, rel=1e-4)

    for model in ("ridge", "control"):
        forget_x_pert(stored(out, model))
    half = stored(out, "ridge").with_suffix(".json")  # values without their rows
    half.write_text(json.dumps({**json.loads(half.read_text()), "x_pert": {HEAD: {"pcc": 0.5}}}))
    again = {str(f.facts["model"]): f for f in run(config, out, stored_only=True)}
    assert "x_pert" not in again["control"].facts, "its predictions were not kept"
    same(again["ridge"], found["ridge"])
    text = write_report(config, list(again.values()), out).read_text()
    part = text.split("## Profiles after treatment (x_pert)")[1].split("\n## ")[0]
    assert "| ridge |" in part and "| control |" not in part


def same(one: Finished, other: Finished) -> None:
    pd.testing.assert_frame_equal(one.rows, other.rows, rtol=1e-5)
    for name, value in one.facts["x_pert"][IMPLIED].items():
        assert value == pytest.approx(other.facts["x_pert"][IMPLIED][name], rel=1e-5), name


def test_intervals_of_new_scaffolds_are_over_scaffolds(tmp_path: Path) -> None:
    values = {
        "name": "scaffold", "data": str(DATA), "n_folds": 3, "seeds": [0], "workers": 1,
        "scenarios": [{"name": "cold-scaffold", "readout": "level 3", "folds": [1]}],
        "models": ["control", "mean-cell"],
    }  # fmt: skip
    path = tmp_path / "bench.yaml"
    path.write_text(yaml.safe_dump(values))
    config = BenchmarkConfig.load(path)
    found = run(config, tmp_path / "out")
    results = Results.collect(config, found, tmp_path / "out")
    rows = x_pert_rows(found, results.scaffold)
    assert set(rows["model"]) == {"control", "mean-cell"} and rows["scaffold"].nunique() > 1
    part = section(results)
    assert part is not None and "cold-scaffold" in part.text
