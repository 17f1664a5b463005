"""What training was allowed to take stands beside what is said of the trained."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from xpert_core.baselines.network import MAX_EPOCHS, PATIENCE
from xpert_core.baselines.registry import available
from xpert_core.benchmark.config import BenchmarkConfig, ModelSpec, ScenarioSpec
from xpert_core.benchmark.config import tasks as planned
from xpert_core.benchmark.costs import budget_of, budget_words, cost_section
from xpert_core.benchmark.models import recipe_of
from xpert_core.benchmark.runner import Finished
from xpert_core.benchmark.verdict import verdict

CONFIGS = Path(__file__).parents[3] / "training" / "configs"
XPERT = ModelSpec("XPert", "xpert", recipe="benchmark-xpert.yaml")
CIGER = ModelSpec("ciger", "ciger", settings={"gene_share": 0.125, "max_epochs": 6, "patience": 2})


def tasks(scenario: str, **epochs: list[int]) -> list[Finished]:
    return [
        Finished(
            pd.DataFrame({"row": [1, 2]}),
            {"scenario": scenario, "model": model, "epochs": e, "memory_mib": 1,
             "seconds": {"fit": 1.0, "predict": 1.0}},
        )
        for model, own in epochs.items()
        for e in own
    ]  # fmt: skip


def asked(*models: ModelSpec) -> BenchmarkConfig:
    return replace(BenchmarkConfig.load(CONFIGS / "smoke.yaml"), models=models)


def test_a_budget_is_that_of_the_settings_or_the_recipe() -> None:
    own = budget_of(CIGER, CONFIGS)
    assert own.cut and own.words == "at most 6 epochs, 0.125 of the genes a step"
    judged = budget_of(ModelSpec("m", "ciger", settings={"judged_share": 0.25}), CONFIGS)
    assert judged.cut and judged.words == f"at most {MAX_EPOCHS} epochs, judged on 0.25"
    assert not budget_of(ModelSpec("m", "ciger", settings={"bf16": True}), CONFIGS).cut
    plain = budget_of(ModelSpec("prnet", "prnet"), CONFIGS)
    assert not plain.cut
    assert (plain.max_epochs, plain.patience) == (MAX_EPOCHS, PATIENCE)
    less = [{"max_epochs": MAX_EPOCHS - 1}, {"patience": 1}]
    for settings in less:
        assert budget_of(ModelSpec("m", "prnet", settings=settings), CONFIGS).cut
    assert not budget_of(ModelSpec("m", "prnet", settings={"max_epochs": 500}), CONFIGS).cut
    assert budget_of(ModelSpec("ridge", "ridge"), CONFIGS) is None
    assert budget_of(ModelSpec("stack", "stack"), CONFIGS) is None
    longer = replace(XPERT, settings={"max_epochs": 20})
    assert budget_of(XPERT, CONFIGS).max_epochs == 16
    assert budget_of(longer, CONFIGS).max_epochs == 20


def test_a_task_ended_at_its_cap_when_its_patience_was_not_over() -> None:
    xpert = budget_of(XPERT, CONFIGS)  # 16 epochs, patience 6; tasks store the best epoch
    assert [xpert.last(best) for best in (4, 10, 11, 16)] == [10, 16, 16, 16]
    assert [xpert.at_cap(best) for best in (4, 10, 11, 16)] == [False, False, True, True]
    network = budget_of(ModelSpec("prnet", "prnet"), CONFIGS)  # these store the last
    assert [network.last(e) for e in (20, MAX_EPOCHS)] == [20, MAX_EPOCHS]
    assert [network.at_cap(e) for e in (20, MAX_EPOCHS)] == [False, True]


def test_the_table_of_costs_gives_settings_and_who_ended_at_the_cap() -> None:
    found = tasks("cold-drug", XPert=[4, 16], prnet=[60, 30, 60], ciger=[6], ridge=[0])
    found += tasks("cold-drug", **{"XPert, mean of 2 seeds": [4]})
    models = (XPERT, ModelSpec("prnet", "prnet"), CIGER, ModelSpec("ridge", "ridge"))
    text = cost_section(asked(*models), found).text
    rows = {line.split(" | ")[0].removeprefix("| "): line for line in text.splitlines()}
    assert rows["XPert"].startswith("| XPert | benchmark-xpert.yaml |")
    assert rows["XPert"].endswith("| 0.25 | 13 | 16 (6) | 1 of 2 |")
    assert rows["prnet"].endswith("| 1 | 50 | 60 (8) | 2 of 3 |")
    assert "gene_share: 0.125, max_epochs: 6, patience: 2" in rows["ciger"]
    assert rows["ciger"].endswith("| 0.125 | 6 | 6 (2) | 1 of 1 |")
    for name in ("ridge", "XPert, mean of 2 seeds"):
        assert rows[name].endswith("| 1* |  |  |  |  |")


def test_the_table_of_costs_says_what_was_not_trained_in_bfloat16() -> None:
    spec = ModelSpec("ciger", "ciger", settings={"bf16": True})
    found = tasks("cold-drug", ciger=[5, 6, 7])
    for own, kind in zip(found, ("bfloat16", "float32", "bfloat16"), strict=True):
        own.facts["trained_in"] = kind
    assert "| bf16: True (1 of 3 in float32) |" in cost_section(asked(spec), found).text
    assert "| bf16: True |" in cost_section(asked(spec), found[::2]).text


def test_what_ran_on_a_gpu_is_counted_and_left_out_of_the_times() -> None:
    spec = ModelSpec("ciger", "ciger", settings={"bf16": True})
    found = tasks("cold-drug", ciger=[5, 7, 9])
    for own in found[:2]:
        own.facts.update(trained_on="cuda", seconds={"fit": 900.0, "predict": 900.0})
    found[2].facts["trained_in"] = "float32"
    text = cost_section(asked(spec), found).text
    assert "times and memory are those of its other trainings" in text
    line = text.splitlines()[-1]
    said = "bf16: True (1 of 3 in float32; 2 of 3 on a GPU, not timed)"
    assert line.startswith(f"| ciger | {said} | 1.0 |")
    assert " | 7 | 60 (8) | 0 of 3 |" in line, "all three count for the epochs"
    text = cost_section(asked(spec), found[:2]).text
    assert "| bf16: True (2 of 2 on a GPU) | 900.0 |" in text


def test_peaks_of_memory_that_are_not_of_a_task_are_marked() -> None:
    found = tasks("cold-drug", prnet=[30, 30], ridge=[0])
    for task in found[:2]:
        task.facts["memory_own"] = True
    models = (ModelSpec("prnet", "prnet"), ModelSpec("ridge", "ridge"))
    text = cost_section(asked(*models), found).text
    assert "; of lines with *, the most that some of its workers had held by then" in text
    assert "| 1* |" in text and "| 1 |" in text
    found[2].facts["memory_own"] = True
    assert "*" not in cost_section(asked(*models), found).text


@pytest.mark.parametrize("low", [0.1, -0.1])
def test_who_is_beaten_is_named_with_its_budget(low: float) -> None:
    place = {"scenario": "cold-drug", "readout": "level 3", "folds": "1"}
    names = ("XPert", "ciger", "prnet", "mlp-morgan")
    own = pd.DataFrame([{**place, "model": m, "mean": 0.2, "low": 0.1, "high": 0.3} for m in names])
    apart = pd.DataFrame([{**place, "model": m, "low": low, "high": 0.3} for m in names[1:]])
    apart.loc[apart["model"] == "ciger", "folds"] = "2"
    config = asked(XPERT, CIGER, *(ModelSpec(m, m) for m in names[2:]))
    found = tasks("cold-drug", XPert=[16], ciger=[5], prnet=[60, 12], **{"mlp-morgan": [20]})
    found += tasks("cold-cell", **{"mlp-morgan": [60]})
    budgets = budget_words(config, found)
    assert set(budgets) == {
        ("cold-drug", "ciger"), ("cold-drug", "prnet"), ("cold-cell", "mlp-morgan"),
    }  # fmt: skip
    text = verdict(own, apart, "XPert", config, budgets=budgets)
    if low > 0:
        assert (
            "beats ciger (on fold 2 alone; at most 6 epochs, 0.125 of the genes a step), prnet (at "
            "most 60 epochs, 1 of 2 trainings ended there), mlp-morgan;" in text
        )
    else:
        assert "cannot be told from ciger (on fold 2 alone), prnet, mlp-morgan" in text


def test_a_scenario_can_give_networks_more_epochs() -> None:
    config = asked(XPERT, ModelSpec("prnet", "prnet", settings={"patience": 20}),
                   ModelSpec("mlp-morgan", "mlp-morgan"), ModelSpec("stack", "stack"),
                   ModelSpec("ridge", "ridge"))  # fmt: skip
    scenarios = (
        ScenarioSpec("cold-drug", folds=(1,)),
        ScenarioSpec("warm-start", folds=(1,), longer=4),
    )
    config = replace(config, scenarios=scenarios)
    every = {(t.scenario.name, t.model.name): t.model for t in planned(config)}
    for spec in config.models:
        assert every["cold-drug", spec.name] == spec
    limits = {n: every["warm-start", n].settings for n in ("XPert", "prnet", "mlp-morgan")}
    assert limits["XPert"] == {"max_epochs": 64, "patience": 24}
    assert limits["prnet"] == {"max_epochs": 4 * MAX_EPOCHS, "patience": 80}
    assert limits["mlp-morgan"] == {"max_epochs": 4 * MAX_EPOCHS, "patience": 4 * PATIENCE}
    recipe = recipe_of(every["warm-start", "XPert"], CONFIGS)
    assert (recipe["max_epochs"], recipe["patience"]) == (64, 24)
    for name in ("stack", "ridge"):
        assert every["warm-start", name] == every["cold-drug", name]
    # 60 epochs are the most on new drugs, and not on warm start.
    found = tasks("cold-drug", **{"mlp-morgan": [60]}, XPert=[16])
    found += tasks("warm-start", **{"mlp-morgan": [60]}, XPert=[20])
    assert set(budget_words(config, found)) == {("cold-drug", "mlp-morgan")}
    text = cost_section(config, found).text
    assert "patience are 4 times these in warm-start, where an epoch is few steps." in text
    more = (
        *scenarios,
        ScenarioSpec("cold-cell", longer=4),
        ScenarioSpec("cold-scaffold", longer=2),
    )
    several = cost_section(replace(config, scenarios=more), found).text
    assert "are 4 times these in warm-start, cold-cell and 2 times these in cold-scaf" in several
    rows = {line.split(" | ")[0].removeprefix("| "): line for line in text.splitlines()}
    assert rows["mlp-morgan"].endswith("| 1 | 60 | 60 (8) | 1 of 2 |")
    assert rows["XPert"].endswith("| 0.25 | 30 | 16 (6) | 1 of 2 |")


def test_statements_of_networks_name_cap_and_patience() -> None:
    known = available()
    published = {"transigen": "300", "prnet": "500", "ciger": "100"}
    for name in (*published, "deepce", "mlp-morgan", "mlp-molecule"):
        assert f"at most {MAX_EPOCHS} epochs, stopped after {PATIENCE}" in known[name].differs
    assert all(f"{n} epochs" in known[m].differs for m, n in published.items())
