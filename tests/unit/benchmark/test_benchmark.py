"""A benchmark runs, goes on where it stopped, repeats itself, and says what is beaten."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from processes import hear_ctrl_c
from typer.testing import CliRunner

from xpert_core.benchmark.config import BenchmarkConfig, ModelSpec, Task, tasks
from xpert_core.benchmark.models import (
    make_model,
    recipe_document,
)
from xpert_core.benchmark.predictions import Predictions
from xpert_core.benchmark.report import write_report
from xpert_core.benchmark.results import matched_tasks
from xpert_core.benchmark.runner import Finished, execute, run, split_path, write_split
from xpert_core.benchmark.search_config import SearchConfig
from xpert_core.benchmark.tables import (
    difference_table,
    fold_table,
    interval_table,
    row_table,
    score_table,
    stars,
)
from xpert_core.benchmark.verdict import verdict
from xpert_core.cli.application import application
from xpert_core.errors import DataError
from xpert_core.evaluation.metrics import pearson_rows
from xpert_core.graph.pretrain import PretrainConfig
from xpert_core.learning.config import TrainConfig
from xpert_core.learning.fold_files import load_folds
from xpert_core.learning.folds import SCENARIOS
from xpert_core.tokens.dataset import TrainingData

ROOT = Path(__file__).parents[3]
DATA = ROOT / "tests" / "data" / "l1000_small.safetensors"
VALUES = {
    "name": "tiny",
    "data": str(DATA),
    "n_folds": 3,
    "workers": 1,
    "scenarios": [{"name": "cold-drug", "folds": [1, 2, 3]}],
    "models": ["mean-cell", "ridge", {"name": "ridge blind", "kind": "ridge", "drug": "zeroed"}],
}


def write(folder: Path, **changes: object) -> Path:
    path = folder / "bench.yaml"
    path.write_text(yaml.safe_dump({**VALUES, **changes}))
    return path


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("bench")
    config = BenchmarkConfig.load(write(folder))
    return config, run(config, folder / "out"), folder / "out"


def test_every_task_leaves_scores_of_every_test_row(finished) -> None:
    config, found, out = finished
    assert len(found) == 9 and len(list((out / "tasks").glob("*.json"))) == 9
    data = TrainingData.load(config.data)
    folds = load_folds(split_path(config, config.scenarios[0], out / "splits"), data)
    for f in found:
        test = folds.split(f.facts["fold"] - 1).test
        assert sorted(f.rows["row"]) == sorted(test)
        for readout, values in f.facts["values"].items():
            own = f.rows[f.rows["readout"] == (0 if "level 3" in readout else 1)]
            assert values["pcc"] == pytest.approx(own["pcc"].mean())
        assert f.facts["seconds"]["fit"] > 0 and f.facts["memory_mib"] > 0


def test_what_is_done_is_not_done_again_and_repeats_itself(finished, tmp_path: Path) -> None:
    config, found, out = finished
    steps = []
    again = run(config, out, lambda *step: steps.append(step))
    assert steps == [(9, 9, "")], "nothing was left to do"
    victim = next((out / "tasks").glob("*.json"))
    before = json.loads(victim.read_text())["values"]
    victim.unlink()
    run(config, out, lambda *step: steps.append(step))
    assert steps[1:][0][0] == 8 and steps[-1][:2] == (9, 9)
    assert json.loads(victim.read_text())["values"] == before
    pd.testing.assert_frame_equal(score_table(found), score_table(again))
    fresh = run(config, tmp_path / "fresh")
    pd.testing.assert_frame_equal(score_table(found), score_table(fresh))


def test_a_failed_task_is_named_and_the_others_are_kept(tmp_path: Path) -> None:
    models = ["mean-cell", {"name": "broken", "kind": "ridge", "settings": {"penalties": 3}}]
    scenarios = [{"name": "cold-drug", "folds": [1]}]
    config = BenchmarkConfig.load(write(tmp_path, models=models, scenarios=scenarios))
    with pytest.raises(DataError, match="1 of 2 tasks failed") as caught:
        run(config, tmp_path / "out")
    assert "broken, seed 0" in caught.value.where and "penalties" in caught.value.where
    assert len(list((tmp_path / "out" / "tasks").glob("*.json"))) == 1


def test_means_over_seeds_take_the_predictions_that_are_left(tmp_path: Path) -> None:
    out = tmp_path / "out"
    model = {"name": "net", "kind": "mlp-no-drug", "settings": {"max_epochs": 2}}
    scenarios = [{"name": "cold-drug", "folds": [1, 2]}]
    mean = "net, mean of 2 seeds"

    def done(seeds: list[int]) -> dict[tuple[str, int, int], Finished]:
        models = [{**model, "average_seeds": True, "seeds": seeds}]
        path = write(tmp_path, models=models, scenarios=scenarios, seeds=[0, 1, 2])
        found = run(BenchmarkConfig.load(path), out)
        return {(f.facts["model"], f.facts["fold"], f.facts["seed"]): f for f in found}

    found = done([0])
    # As in a folder unpacked from an archive, which has no predictions.
    found["net", 2, 0].predictions.unlink()
    assert len(done([0, 1])) == 4, "a mean of one is none, and none of the first fold alone"
    found = done([0, 1, 2])
    means = {key: task for key, task in found.items() if key[0] == mean}
    assert len(found) == 8 and [task.facts["seeds"] for task in means.values()] == [[1, 2]] * 2
    data = TrainingData.load(DATA)
    for (_, fold, _), task in means.items():
        kept = [Predictions.load(found["net", fold, seed].predictions) for seed in (1, 2)]
        expected = pearson_rows((kept[0].x_deg + kept[1].x_deg) / 2, data.x_deg[kept[0].rows])
        assert task.rows["row"].tolist() == kept[0].rows.tolist()
        np.testing.assert_allclose(task.rows["pcc"], expected, atol=1e-6)
    # Compared with the network on its two seeds, not on all three.
    compared = matched_tasks(list(found.values()), "net", mean)
    assert {f.facts["seed"] for f in compared if f.facts["model"] == "net"} == {1, 2}
    assert len(compared) == 6
    for path in (out / "tasks").glob("*.npz"):
        path.unlink()
    again = done([0, 1, 2])
    for key, task in means.items():
        pd.testing.assert_frame_equal(again[key].rows, task.rows)
        assert again[key].facts["seeds"] == [1, 2]


def test_tables_by_hand(finished) -> None:
    _, found, _ = finished
    scores = score_table(found)
    place = scores[(scores["model"] == "ridge") & (scores["metric"] == "pcc")]
    level3 = place[place["readout"].str.contains("level 3")]["value"]
    folds = fold_table(scores)
    own = folds[(folds["model"] == "ridge") & (folds["metric"] == "pcc")].iloc[0]
    assert own["mean"] == pytest.approx(level3.mean()) and own["sd"] == pytest.approx(level3.std())
    assert (own["folds"], own["seeds"]) == (3, 1)
    ranks = folds[folds["metric"] == "rmse"].sort_values("mean")
    level3_ranks = ranks[ranks["readout"].str.contains("level 3")]["rank"].tolist()
    assert level3_ranks == [1, 2, 3], "smaller errors come first"
    rows = row_table(found)
    apart = difference_table(rows, "ridge").set_index(["readout", "model"])
    wide = rows.pivot_table(index=["readout", "fold", "row"], columns="model", values="value")
    for readout in wide.index.unique("readout"):
        expected = (wide["ridge"] - wide["mean-cell"]).loc[readout].mean()
        line = apart.loc[(readout, "mean-cell")]
        assert line["difference"] == pytest.approx(expected)
        assert line["low"] <= expected <= line["high"] and 0 < line["p"] <= 1
    assert [stars(p) for p in (0.0005, 0.005, 0.03, 0.2, float("nan"))] == [
        "***", "**", "*", "ns", "",
    ]  # fmt: skip
    assert (interval_table(rows)["unit"] == "drug").all()


def test_the_verdict_says_what_is_not_beaten() -> None:
    place = {"scenario": "cold-drug", "readout": "level 3"}
    own = pd.DataFrame([{**place, "model": "XPert", "mean": 0.2, "low": 0.1, "high": 0.3}])
    apart = pd.DataFrame(
        [
            {**place, "model": "better", "low": -0.3, "high": -0.1},
            {**place, "model": "level", "low": -0.1, "high": 0.1},
            {**place, "model": "worse", "low": 0.1, "high": 0.3},
        ]
    )
    assert verdict(own.iloc[:0], apart, "XPert") == "XPert has no score yet."
    text = verdict(own, apart, "XPert")
    assert "does NOT beat better; cannot be told from level; beats worse" in text


def test_the_verdict_of_a_mean_over_seeds_stands_with_its_place(tmp_path: Path) -> None:
    config = BenchmarkConfig.load(write(tmp_path))
    places = [{"scenario": s, "readout": "level 3"} for s in ("cold-drug", "cold-cell")]
    score = {"model": "XPert", "mean": 0.2, "low": 0.1, "high": 0.3, "folds": "1"}
    of_mean = {**places[0], **score, "model": "XPert, mean of 2 seeds"}
    own = pd.DataFrame([{**places[0], **score}, of_mean, {**places[1], **score}])
    near = {**places[0], "model": "ridge", "low": 0.1, "high": 0.3, "folds": "1"}
    means = pd.DataFrame([{**near, "mean": "XPert, mean of 2 seeds"}])
    # While a run is going on, the other place has no mean yet.
    first, second = verdict(own, pd.DataFrame([near]), "XPert", config, of_means=means).splitlines()
    assert "XPert, mean of 2 seeds (PCC 0.200 [0.100, 0.300]) beats ridge." in first
    assert "mean of" not in second and "cold-cell" in second


def test_report_leads_with_the_verdict_and_needs_no_network(finished, tmp_path: Path) -> None:
    config, found, _ = finished
    path = write_report(config, found, tmp_path)
    text = path.read_text()
    first = text.split("\n\n")[1].splitlines()
    assert first[0].startswith("- **cold-drug, log2 change (level 3)**: mean-cell (PCC ")
    assert len(first) == 2, "a line for each scenario and read-out"
    assert "| ridge blind |" in text and "PCC ↑" in text and "What each model costs" in text
    page = path.with_suffix(".html").read_text()
    assert "<ul><li><b>cold-drug, log2 change (level 3)</b>: mean-cell" in page
    assert "<table>" in page and "vegaEmbed" in page
    assert 'src="http' not in page and "<link" not in page
    assert len(pd.read_parquet(tmp_path / "scores.parquet")) == len(score_table(found))


def test_another_readout_number_of_folds_or_seed_has_a_split_of_its_own(tmp_path: Path) -> None:
    config = BenchmarkConfig.load(write(tmp_path))
    scenario = config.scenarios[0]
    data = TrainingData.load(DATA)
    others = [
        (config, scenario),
        (config, replace(scenario, readout="level 3")),
        (replace(config, n_folds=4), scenario),
        (replace(config, split_seed=1), scenario),
    ]
    assert len({write_split(c, s, data, tmp_path / "splits") for c, s in others}) == 4
    assert len({split_path(c, s, tmp_path) for c, s in others}) == 4


def test_means_that_cannot_answer_are_not_asked() -> None:
    config = BenchmarkConfig.load(ROOT / "training" / "configs" / "smoke.yaml")
    asked = {(t.scenario.name, t.model.name) for t in tasks(config)}
    assert ("cold-drug", "mean-drug") not in asked and ("warm-start", "mean-drug") in asked
    seeds = {t.model.name: t.seed for t in tasks(config)}
    assert seeds["mlp-morgan"] == 1 and seeds["ridge"] == 0


def test_features_and_files_are_part_of_a_task(tmp_path: Path) -> None:
    data = TrainingData.load(DATA)
    others = [
        replace(data, fingerprint=data.fingerprint * 0),
        replace(data, molecule=data.molecule[:, :2]),
        replace(data, drug_smiles=("",) * len(data.drug_smiles)),
        replace(data, info={**data.info, "featurizer": {"name": "morgan"}}),
        replace(data, has_x_pert=~data.has_x_pert),
    ]
    assert {d.digest for d in others} == {data.digest}, "split files hold for any features"
    assert len({data.features_digest, *(d.features_digest for d in others)}) == 6
    # Structure tokens computed on another machine differ in their last digits.
    assert replace(data, molecule=data.molecule * 1.0001).features_digest == data.features_digest
    recipe = tmp_path / "recipe.yaml"
    (tmp_path / "vectors.npz").write_bytes(b"one")
    recipe.write_text("name: x\ndata: d\nppi: vectors.npz\n")
    spec = ModelSpec("XPert", "xpert", recipe="recipe.yaml")
    before = recipe_document(spec, tmp_path)
    (tmp_path / "vectors.npz").write_bytes(b"two")
    after = recipe_document(spec, tmp_path)
    assert before["ppi"] != after["ppi"] and {**before, "ppi": ""} == {**after, "ppi": ""}
    (tmp_path / "vectors.npz").rename(tmp_path / "moved.npz")
    recipe.write_text("name: x\ndata: d\nppi: moved.npz\n")
    assert recipe_document(spec, tmp_path) == after, "content, not its path"


def test_an_identity_changes_with_what_its_numbers_depend_on() -> None:
    config = BenchmarkConfig.load(ROOT / "training" / "configs" / "smoke.yaml")
    task = tasks(config)[0]
    base = task.identity("data", "split", {"lr": 1})
    others = [
        task.identity("other", "split", {"lr": 1}),
        task.identity("data", "other", {"lr": 1}),
        task.identity("data", "split", {"lr": 2}),
        replace(task, seed=7).identity("data", "split", {"lr": 1}),
        replace(task, fold=3).identity("data", "split", {"lr": 1}),
    ]
    assert len({base, *others}) == 6
    shown = replace(task, model=replace(task.model, against="another"))
    assert shown.identity("data", "split", {"lr": 1}) == base, "where it is shown changes nothing"
    assert task.identity("data", "split", {"lr": 1}) == base


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"scenarios": [{"name": "cold"}]}, "scenario cold"),
        ({"scenarios": [{"name": "cold-drug", "folds": [4]}]}, "fold 4"),
        *(
            ({"scenarios": [{"name": "cold-drug", "longer": times}]}, f"longer {times}")
            for times in (0, 1.5, True, "four")
        ),
        ({"models": ["gears"]}, "model kind gears"),
        ({"models": ["ridge", "ridge"]}, "two models named ridge"),
        ({"models": [{"name": "x", "kind": "xpert"}]}, "without a recipe"),
        ({"models": [{"name": "ridge", "drug": "gone"}]}, "drug gone"),
        ({"models": ["mean", {"name": "ridge", "against": "mean"}]}, "ridge against mean"),
        ({"scenarios": ["cold-drug", {"name": "cold-drug", "readout": "level 3"}]}, "two of scen"),
        ({"models": []}, "no scenario, model or seed"),
        ({"speed": 3}, "speed"),
        ({"models": [{"name": "ridge", "alpha": 3}]}, "unknown keys alpha"),
        ({"data": None}, "cannot be used"),
    ],
)
def test_bad_configurations(tmp_path: Path, change: dict, words: str) -> None:
    with pytest.raises(DataError) as caught:
        BenchmarkConfig.load(write(tmp_path, **change))
    assert words in str(caught.value)


def test_damaged_results_and_planted_leaks_are_refused(tmp_path: Path) -> None:
    scenarios = [{"name": "cold-drug", "folds": [1]}]
    config = BenchmarkConfig.load(write(tmp_path, models=["mean"], scenarios=scenarios))
    run(config, tmp_path)
    table = next((tmp_path / "tasks").glob("*.parquet"))
    table.write_bytes(b"cut")
    with pytest.raises(DataError, match="stored result"):
        run(config, tmp_path)
    split = split_path(config, config.scenarios[0], tmp_path / "splits")
    split.write_text(split.read_text().replace("train", "test", 1))
    with pytest.raises(DataError, match="changed after"):
        run(config, tmp_path)


def test_command_line(tmp_path: Path) -> None:
    scenarios = [{"name": "cold-drug", "folds": [1]}]
    path = write(tmp_path, models=["mean-cell", "control"], scenarios=scenarios)
    done = CliRunner().invoke(
        application, ["benchmark", str(path), "--out", str(tmp_path / "out"), "--workers", "1"]
    )
    assert done.exit_code == 0, done.output
    assert "beats control" in done.output and (tmp_path / "out" / "report.md").is_file()
    failed = CliRunner().invoke(application, ["benchmark", str(tmp_path / "none.yaml")])
    assert failed.exit_code == 2 and "How to fix" in failed.output


def test_ctrl_c_stops_a_long_task_at_once_and_keeps_what_is_done(tmp_path: Path) -> None:
    endless = {"name": "prnet", "settings": {"max_epochs": 10**6, "patience": 10**6}}
    scenarios = [{"name": "cold-drug", "folds": [1]}]
    path = write(tmp_path, models=["mean-cell", endless], scenarios=scenarios)
    out = tmp_path / "out"
    process = subprocess.Popen(
        [sys.executable, "-c", "from xpert_core.cli import main; main()",
         "benchmark", str(path), "--out", str(out)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=hear_ctrl_c,
    )  # fmt: skip
    end = time.monotonic() + 90
    while not list(out.glob("tasks/*.json")):
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.5)
    time.sleep(2)
    os.killpg(process.pid, signal.SIGINT)
    # It would never end by itself.
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130 and "Stopped" in error
    assert "Traceback" not in error
    assert sorted(p.suffix for p in (out / "tasks").iterdir()) == [".json", ".parquet"]


def test_one_task_scores_the_rows_of_its_fold_alone(tmp_path: Path) -> None:
    config = BenchmarkConfig.load(write(tmp_path))
    data = TrainingData.load(config.data)
    write_split(config, config.scenarios[0], data, tmp_path)
    split = load_folds(split_path(config, config.scenarios[0], tmp_path), data).split(1)
    task = Task(config.scenarios[0], 2, config.models[0], 0)
    found = execute(task, data, split, config.base)
    assert set(found.rows["row"]) == set(split.test)


def test_predictions_are_kept_and_averaged_over_seeds(tmp_path: Path) -> None:
    models = [
        {"name": "net", "kind": "prnet", "settings": {"max_epochs": 2}, "average_seeds": True},
        {"name": "ridge", "keep_predictions": True},
        "mean-cell",
    ]
    scenarios = [{"name": "cold-drug", "folds": [1]}]
    path = write(tmp_path, models=models, scenarios=scenarios, seeds=[0, 1])
    config = BenchmarkConfig.load(path)
    found = run(config, tmp_path / "out")
    data = TrainingData.load(DATA)
    of = {(f.facts["model"], f.facts["seed"]): f for f in found}
    mean = of["net, mean of 2 seeds", 0]
    seeds = [Predictions.load(of["net", seed].predictions) for seed in (0, 1)]
    x_deg = (seeds[0].x_deg + seeds[1].x_deg) / 2
    np.testing.assert_array_equal(mean.rows["row"].sort_values(), np.sort(seeds[0].rows))
    own = mean.rows.set_index("row")["pcc"].loc[seeds[0].rows]
    expected = [
        np.corrcoef(a, b)[0, 1] for a, b in zip(x_deg, data.x_deg[seeds[0].rows], strict=True)
    ]
    np.testing.assert_allclose(own, expected, atol=1e-4)
    assert of["mean-cell", 0].predictions is None
    kept = Predictions.load(of["ridge", 0].predictions)
    folds = load_folds(split_path(config, config.scenarios[0], tmp_path / "out" / "splits"), data)
    split = folds.split(0)
    np.testing.assert_array_equal(kept.rows, split.test)
    np.testing.assert_array_equal(kept.valid_rows, split.valid)
    assert kept.valid_x_deg.shape == (len(split.valid), 978)
    # What is done is read again, the average with it, also without the predictions.
    for seed in (0, 1):
        of["net", seed].predictions.unlink()
    again = run(config, tmp_path / "out")
    pd.testing.assert_frame_equal(score_table(found), score_table(again))
    of["ridge", 0].predictions.write_bytes(b"cut")
    with pytest.raises(DataError, match="Stored predictions"):
        Predictions.load(of["ridge", 0].predictions)
    with pytest.raises(DataError, match="Stored predictions"):
        Predictions.load(None)


def test_a_model_can_run_on_fewer_scenarios_folds_and_seeds(tmp_path: Path) -> None:
    models = [
        "ridge",
        {"name": "some", "kind": "prnet", "scenarios": ["cold-drug"], "folds": [2], "seeds": [4]},
    ]
    scenarios = [{"name": name, "folds": [1, 2]} for name in ("cold-drug", "warm-start")]
    config = BenchmarkConfig.load(write(tmp_path, models=models, scenarios=scenarios))
    own = [t for t in tasks(config) if t.model.name == "some"]
    assert [(t.scenario.name, t.fold, t.seed) for t in own] == [("cold-drug", 2, 4)]
    # The same numbers, wherever else the model runs.
    everywhere = replace(own[0], model=replace(own[0].model, scenarios=(), folds=(), seeds=()))
    assert own[0].identity("d", "s", {}) == everywhere.identity("d", "s", {})
    with pytest.raises(DataError, match="some in scenario cold-cell"):
        BenchmarkConfig.load(write(tmp_path, models=[{**models[1], "scenarios": ["cold-cell"]}]))


SHIPPED = [
    path
    for path in sorted((ROOT / "training" / "configs").glob("*.yaml"))
    if {"scenarios", "models"} <= set(yaml.safe_load(path.read_text()))
]


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_every_benchmark_that_ships_names_models_that_can_be_made(path: Path) -> None:
    config = BenchmarkConfig.load(path)
    planned = tasks(config)
    assert {t.model.name for t in planned} == {m.name for m in config.models}
    for model in config.models:
        make_model(model, config.base, 0)


def test_every_configuration_that_ships_loads() -> None:
    folder = ROOT / "training" / "configs"
    kinds = {
        ("models", "scenarios"): BenchmarkConfig.load,
        ("space", "trials"): SearchConfig.load,
        ("data", "max_epochs"): TrainConfig.load,
        ("epochs", "negatives"): lambda p: PretrainConfig.from_dict(yaml.safe_load(p.read_text())),
    }
    for path in sorted(folder.glob("*.yaml")):
        keys = set(yaml.safe_load(path.read_text()))
        (load,) = (load for kind, load in kinds.items() if keys.issuperset(kind))
        load(path)


def test_the_papers_tables_ask_what_the_paper_asks() -> None:
    folder = ROOT / "training" / "configs"
    l1000, sdst, panacea, few, zero = (
        BenchmarkConfig.load(folder / f"paper-{name}.yaml")
        for name in ("l1000", "sdst", "panacea", "few-shot", "zero-shot")
    )
    everywhere = tuple(m for m in l1000.models if m.kind != "xpert" or m.name == "XPert")
    for other in (sdst, panacea):
        assert other.models == everywhere and other.scenarios == l1000.scenarios
    shots = [s.name for s in (*few.scenarios, *zero.scenarios)]
    assert sorted(shots) == sorted(n for n in SCENARIOS if n.startswith("cold-dose"))
    assert [s.name for s in zero.scenarios] == ["cold-dose-time-zero"] and zero.splits
    assert few.data == l1000.data != zero.data and all(len(s.folds) == 5 for s in few.scenarios)
    assert few.models == zero.models and all(model in everywhere for model in few.models)
