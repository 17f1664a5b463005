"""A search repeats itself, goes on where it stopped, prunes, and never looks at test rows."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from xpert_core.benchmark import search_config
from xpert_core.benchmark.runner import write_split
from xpert_core.benchmark.search import MOST_ATTEMPTS, run, splits_of
from xpert_core.benchmark.search_config import (
    Range,
    SearchConfig,
    check_params,
    draw,
    seed_of,
    spec_of,
)
from xpert_core.benchmark.search_report import (
    Difference,
    difference,
    importances,
    ranked,
    verdict,
    write_report,
)
from xpert_core.benchmark.search_study import CUT_OFF, Attempt, Study
from xpert_core.benchmark.search_trial import (
    COMPLETE,
    FAILED,
    PRUNED,
    Curves,
    Outcome,
    Plan,
    beaten,
    run_trial,
    running,
)
from xpert_core.errors import DataError
from xpert_core.learning.config import TrainConfig
from xpert_core.tokens.dataset import TrainingData

optuna = pytest.importorskip("optuna")
ROOT = Path(__file__).parents[3]
DATA = ROOT / "tests" / "data" / "l1000_small.safetensors"
RECIPE = ROOT / "training" / "configs" / "smoke-xpert.yaml"
RIDGE: dict[str, Any] = {
    "name": "tiny",
    "data": str(DATA),
    "n_folds": 3,
    "model": {"kind": "ridge", "settings": {"penalty": 1.0}},
    "scenarios": [{"name": "cold-drug", "folds": [1, 2, 3]}],
    "trials": 12,
    "round": 6,
    "workers": 1,
    "space": {"penalty": {"low": "1e-3", "high": "1e5", "log": True}},
}
XPERT: dict[str, Any] = {
    **RIDGE,
    "model": {"kind": "xpert", "recipe": str(RECIPE), "settings": {"max_epochs": 2}},
    "scenarios": [{"name": "cold-drug", "folds": [1]}],
    "pruner": {"kind": "median", "min_epochs": 1},
    "space": {
        "lr": {"low": "1e-4", "high": "1e-2", "log": True},
        "batch_rows": {"low": 16, "high": 64, "step": 16},
        "model.d_model": [8, 12, 16],
        "model.n_heads": [2, 4, 8],
        "loss.deg_mse": {"low": 0.1, "high": 1.0},
    },
}


def load(folder: Path, values: dict[str, Any] = RIDGE, **changes: Any) -> SearchConfig:
    path = folder / "search.yaml"
    path.write_text(yaml.safe_dump({**values, **changes}))
    return SearchConfig.load(path)


def study_of(search: SearchConfig, out: Path) -> Study:
    data = TrainingData.load(search.bench.data)
    hashes = {
        s.name: write_split(search.bench, s, data, out / "splits") for s in search.bench.scenarios
    }
    return Study(out / "study.sqlite", search, search.identity(data.features_digest, hashes))


def attempt(number: int, curves: Curves, state: str = COMPLETE, **params: Any) -> Attempt:
    values = {"value": running(curves)} if state == COMPLETE else {}
    kind = {COMPLETE: "COMPLETE", PRUNED: "PRUNED", FAILED: "FAIL"}[state]
    frozen = optuna.trial.create_trial(
        state=optuna.trial.TrialState[kind],
        params=params,
        distributions={k: optuna.distributions.FloatDistribution(0, 1) for k in params},
        **values,
    )
    return Attempt(number, params, Outcome(state, curves, "why" * (state == FAILED)), True, frozen)


def close(curves: Curves) -> list[Any]:
    """The same but for the order of floating-point sums, which depends on where arrays lie."""
    return [pytest.approx(fold, abs=1e-5) for fold in curves]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("search")
    search = load(folder)
    found = run(search, folder / "out")
    write_report(search, found, folder / "out")
    return search, found, folder / "out"


def test_every_trial_is_scored_on_every_fold_and_the_base_comes_first(whole) -> None:
    _, found, out = whole
    assert [t.number for t in found.trials] == list(range(12)) and found.interrupted == 0
    assert found.folds == ("cold-drug 1", "cold-drug 2", "cold-drug 3")
    assert found.trials[0].params == {} and found.trials[0].outcome.state == COMPLETE
    complete = [t for t in found.trials if t.outcome.state == COMPLETE]
    assert all(len(t.outcome.curves) == 3 for t in complete)
    # The first round has nothing to be compared with; later ones are ended between folds.
    assert all(t.outcome.state == COMPLETE for t in found.trials[:6])
    assert any(t.outcome.state == PRUNED for t in found.trials[6:])
    for t in complete:
        assert t.frozen.values == [pytest.approx(np.mean([c[0] for c in t.outcome.curves]))]
    assert (
        yaml.safe_load((out / "best.yaml").read_text())["settings"]
        == ranked(found.trials)[0].params
    )


def test_two_workers_and_an_interruption_change_no_table(whole, tmp_path: Path) -> None:
    search, _, out = whole
    two = replace(search, bench=replace(search.bench, workers=2))
    run(replace(search, trials=4), tmp_path)
    # As a killed process leaves it: trial 4 was under way.
    study = study_of(search, tmp_path)
    study.start(4, draw(search, 4, [])[0])
    again = run(two, tmp_path)
    assert again.interrupted == 1
    write_report(two, again, tmp_path)
    assert (tmp_path / "trials.csv").read_bytes() == (out / "trials.csv").read_bytes()
    text = (tmp_path / "report.md").read_text()
    assert text.replace("1 attempt(s) were cut", "0 attempt(s) were cut") == (
        (out / "report.md").read_text()
    )
    steps: list[tuple[int, int, str]] = []
    run(two, tmp_path, lambda *step: steps.append(step))
    assert steps == [(12, 12, "")], "nothing was left to do"


def test_a_trial_that_kills_its_process_is_given_up(whole, tmp_path: Path) -> None:
    search = replace(whole[0], trials=2)
    study = study_of(search, tmp_path)
    study.finish(study.start(0, {}), Outcome(COMPLETE, [[0.1]] * 3))
    for _ in range(MOST_ATTEMPTS):
        study.stop(study.start(1, draw(search, 1, [])[0]), CUT_OFF)
    found = run(search, tmp_path)
    assert [t.outcome.state for t in found.trials] == [COMPLETE, FAILED]
    assert "killed" in found.trials[1].outcome.reason and found.interrupted == MOST_ATTEMPTS


def test_another_search_or_a_second_process_is_refused(whole, tmp_path: Path) -> None:
    search, _, out = whole
    other = load(tmp_path, space={"penalty": {"low": 1, "high": "1e5", "log": True}}, seed=4)
    with pytest.raises(DataError) as caught:
        run(other, out)
    assert "different: seed; space (penalty)" in caught.value.where
    folds = load(tmp_path, scenarios=[{"name": "cold-drug", "folds": [1, 2]}])
    with pytest.raises(DataError) as caught:
        run(folds, out)
    assert "different: folds (cold-drug)" in caught.value.where
    from filelock import FileLock

    with FileLock(out / ".lock"), pytest.raises(DataError, match="Another process"):
        run(search, out)
    (tmp_path / "study.sqlite").write_text("no database")
    with pytest.raises(DataError, match="cannot be read"):
        run(search, tmp_path)


def test_settings_follow_from_seed_and_number_alone(tmp_path: Path) -> None:
    search = load(tmp_path, XPERT)
    assert draw(search, 0, []) == ({}, "")
    drawn = [draw(search, n, [])[0] for n in range(1, 40)]
    assert drawn == [draw(search, n, [])[0] for n in range(1, 40)]
    assert (
        len({d["lr"] for d in drawn}) == 39 and len({seed_of(search, n) for n in range(40)}) == 40
    )
    assert draw(replace(search, seed=1), 1, [])[0] != drawn[0]
    for d in drawn:
        assert 1e-4 <= d["lr"] <= 1e-2 and d["batch_rows"] in (16, 32, 48, 64)
        assert d["model.d_model"] % d["model.n_heads"] == 0, "drawn again"
    settings = spec_of(search, drawn[0]).settings
    assert settings["model"]["d_model"] == drawn[0]["model.d_model"]
    assert settings["max_epochs"] == 2 and settings["lr"] == drawn[0]["lr"]
    assert search.base.settings == {"max_epochs": 2}, "the base stays as it is"


def test_tpe_learns_from_earlier_rounds_and_repeats_itself(tmp_path: Path) -> None:
    search = load(tmp_path, sampler="tpe")
    space = {"penalty": search.space["penalty"].distribution()}
    earlier = [
        optuna.trial.create_trial(
            params={"penalty": 10.0**k}, distributions=space, value=-abs(k - 3.0)
        )
        for k in np.linspace(-3, 5, 30)
    ]
    tpe = [draw(search, n, earlier)[0]["penalty"] for n in range(1, 21)]
    assert tpe == [draw(search, n, earlier)[0]["penalty"] for n in range(1, 21)]
    random = [
        draw(replace(search, sampler="random"), n, earlier)[0]["penalty"] for n in range(1, 21)
    ]
    far = [np.abs(np.log10(drawn) - 3).mean() for drawn in (tpe, random)]
    assert far[0] < far[1] / 2


def test_the_median_rule_is_optunas() -> None:
    rng = np.random.default_rng(0)
    pruner = optuna.pruners.MedianPruner(n_startup_trials=4)
    answers = []
    for count in (3, 4, 7):
        rivals = [[np.maximum.accumulate(rng.normal(size=5)).tolist()] for _ in range(count)]
        study = optuna.create_study(direction="maximize", pruner=pruner)
        for (curve,) in rivals:
            study.add_trial(
                optuna.trial.create_trial(
                    value=curve[-1], intermediate_values=dict(enumerate(curve))
                )
            )
        for _ in range(20):
            own = rng.normal(size=rng.integers(1, 6)).tolist()
            trial = study.ask()
            for step, score in enumerate(own):
                trial.report(score, step)
            answers.append(beaten([own], rivals))
            assert answers[-1] == trial.should_prune()
    assert {True, False} == set(answers[20:]) and not any(answers[:20]), "too few rivals"


def test_the_median_rule_over_folds_by_hand() -> None:
    rivals: list[Curves] = [[[0.1, 0.5], [0.2, 0.6]]] * 4
    assert not beaten([[0.1]], rivals) and beaten([[0.09]], rivals)
    assert beaten([[0.3]], rivals, ended=True), "the rivals' whole first fold counts"
    # Second fold, first epoch: (0.5 + 0.2) / 2.
    assert not beaten([[0.6], [0.1]], rivals) and beaten([[0.4], [0.29]], rivals)


def test_invalid_settings_are_recorded_and_the_search_goes_on(tmp_path: Path) -> None:
    search = load(tmp_path, XPERT, space={"model.n_heads": [5, 7]}, trials=3)
    study = study_of(search, tmp_path / "out")
    study.finish(study.start(0, {}), Outcome(COMPLETE, [[0.1, 0.2]]))
    found = run(search, tmp_path / "out")
    assert [t.outcome.state for t in found.trials] == [COMPLETE, FAILED, FAILED]
    assert "cannot be divided" in found.trials[1].outcome.reason
    text = write_report(search, found, tmp_path / "out").read_text()
    assert "No trial is better than the base recipe" in text and "2 failed" in text
    assert "cannot be divided" in text


@pytest.fixture(scope="module")
def one_fold(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("fold")
    search = load(folder, XPERT)
    data = TrainingData.load(DATA)
    write_split(search.bench, search.bench.scenarios[0], data, folder / "splits")
    return search, data, splits_of(search, data, folder)


def test_a_setting_that_the_model_lacks_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="ridge cannot be made") as caught:
        check_params(load(tmp_path), {"depth": 3})
    assert "'depth': 3" in caught.value.where and "'space'" in caught.value.fix


def test_a_diverged_trial_is_a_failed_one(one_fold) -> None:
    pytest.importorskip("lightning")
    search, data, splits = one_fold
    outcome = run_trial(search, Plan(1, {"lr": 1e30}), data, splits)
    assert outcome.state == FAILED and "diverged" in outcome.reason


def test_a_pruned_trial_ends_at_once_and_leaves_nothing_behind(one_fold) -> None:
    pytest.importorskip("lightning")
    search, data, splits = one_fold
    whole = run_trial(search, Plan(3, {"lr": 1e-3}), data, splits)
    good: tuple[Curves, ...] = ([[0.9, 0.9]],) * 4
    pruned = run_trial(search, Plan(3, {"lr": 1e-3}, good), data, splits)
    assert pruned.state == PRUNED and [len(c) for c in pruned.curves] == [1]
    later = replace(search, min_epochs=2)
    assert [len(c) for c in run_trial(later, Plan(3, {}, good), data, splits).curves] == [2]
    again = run_trial(search, Plan(3, {"lr": 1e-3}), data, splits)
    assert whole.state == COMPLETE and again.curves == close(whole.curves)
    assert pruned.curves == close([whole.curves[0][:1]])


@pytest.mark.parametrize("kind", ["xpert", "ridge"])
def test_the_answers_of_test_rows_change_no_score(one_fold, tmp_path: Path, kind: str) -> None:
    pytest.importorskip("lightning")
    search, data, splits = one_fold
    search = search if kind == "xpert" else load(tmp_path)
    ((label, split),) = splits.items()
    assert len(split.test) > 10
    params = {"lr": 2e-3} if kind == "xpert" else {"penalty": 3.0}
    plain = run_trial(search, Plan(2, params), data, {label: split})
    curves = {}
    for part in ("test", "valid"):
        spoilt = replace(data, x_deg=data.x_deg.copy())
        spoilt.x_deg[getattr(split, part)] *= -1e3
        curves[part] = run_trial(search, Plan(2, params), spoilt, {label: split}).curves
    assert plain.state == COMPLETE and curves["test"] == close(plain.curves)
    assert curves["valid"] != close(plain.curves), "where it is scored, it would show"


def test_the_verdict_compares_with_the_spread_over_folds() -> None:
    base = attempt(0, [[0.1, 0.2], [0.3]])
    sure = attempt(1, [[0.31], [0.39]], lr=0.5)
    apart = difference(sure, base)
    assert apart == Difference(pytest.approx(0.1), pytest.approx(0.02 / 2**0.5), 2, 2)
    assert "(1) differs from the base recipe by more than" in verdict([base, sure])
    unsure = attempt(1, [[0.5], [0.29]], lr=0.5)
    assert "(1) does NOT differ from the base recipe by more" in verdict([base, unsure])
    assert "No trial is better than the base" in verdict([base, attempt(1, [[0.1], [0.1]], lr=0.5)])
    assert "itself failed** (why)" in verdict([attempt(0, [], FAILED), sure])
    assert "one fold" in verdict([attempt(0, [[0.1]]), attempt(1, [[0.2]], lr=0.5)])
    assert ranked([base, attempt(2, [[0.9]], PRUNED), sure]) == [sure, base]


def test_importance_names_the_setting_that_decides(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    points = rng.uniform(size=(40, 2))
    trials = [attempt(n, [[float(a)]], a=float(a), b=float(b)) for n, (a, b) in enumerate(points)]
    found = importances(load(tmp_path), trials)
    assert found["a"] > 0.7 and sum(found.values()) == pytest.approx(1)
    assert importances(load(tmp_path), trials[:5]) == {}


def test_the_best_trial_is_a_recipe(one_fold, tmp_path: Path) -> None:
    from xpert_core.benchmark.search import Found

    search, _, _ = one_fold
    params, _ = draw(search, 1, [])
    frozen = optuna.trial.create_trial(
        params=params,
        distributions={k: r.distribution() for k, r in search.space.items()},
        value=0.5,
    )
    best = Attempt(1, params, Outcome(COMPLETE, [[0.5]]), True, frozen)
    found = Found([attempt(0, [[0.4]]), best], 0, ("cold-drug 1",), {"cold-drug 1": 0.0})
    write_report(search, found, tmp_path / "out")
    recipe = TrainConfig.load(tmp_path / "out" / "best.yaml")
    assert (tmp_path / "out" / recipe.data).resolve() == DATA.resolve()
    assert recipe.lr == params["lr"] and recipe.batch_rows == params["batch_rows"]
    assert recipe.model["d_model"] == params["model.d_model"] and recipe.max_epochs == 2
    assert recipe.loss.deg_mse == params["loss.deg_mse"] and recipe.loss.pert_mse == 0.2


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"space": {}}, "no space"),
        ({"space": {"penalty": {"low": 2, "high": 1}}}, "no range"),
        ({"space": {"penalty": {"low": 0, "high": 1, "log": True}}}, "no range"),
        ({"space": {"penalty": {"lo": 0, "high": 1}}}, "lo"),
        ({"space": {"penalti": [1, 2]}}, "penalti"),
        ({"space": {"a.b": [1, 2]}}, "a.b"),
        ({"sampler": "grid"}, "grid"),
        ({"pruner": "hyperband"}, "hyperband"),
        ({"pruner": {"kind": "median", "epochs": 2}}, "epochs"),
        ({"trials": 0}, "trials"),
        ({"trails": 3}, "trails"),
        ({"scenarios": ["cold-drugs"]}, "cold-drugs"),
        ({"model": {"kind": "mean-drug"}}, "mean-drug in cold-drug"),
        ({"model": {"kind": "ridge", "drug": "zeroed"}}, "zeroed"),
    ],
)
def test_what_cannot_be_searched_is_named(
    tmp_path: Path, changes: dict[str, Any], word: str
) -> None:
    with pytest.raises(DataError) as caught:
        load(tmp_path, **changes)
    assert word in str(caught.value)


@pytest.mark.parametrize("key", ["seed", "name", "model.depth", "loss", "graph.x"])
def test_no_setting_of_xpert_is_invented(tmp_path: Path, key: str) -> None:
    with pytest.raises(DataError, match=f"space {key}"):
        load(tmp_path, XPERT, space={key: [1, 2]})


def test_ranges_keep_whole_numbers_whole() -> None:
    whole = Range.read({"low": 1, "high": 5, "step": 2}).distribution()
    assert isinstance(whole, optuna.distributions.IntDistribution) and whole.step == 2
    part = Range.read({"low": "1e-3", "high": 1, "log": True}).distribution()
    assert isinstance(part, optuna.distributions.FloatDistribution) and part.low == 1e-3


@pytest.mark.parametrize("name", ["search.yaml", "search-smoke.yaml"])
def test_shipped_searches_can_be_drawn(name: str) -> None:
    search = SearchConfig.load(ROOT / "training" / "configs" / name)
    assert not any(draw(search, n, [])[1] for n in range(20))


def test_without_optuna_it_says_what_to_install(monkeypatch, whole, tmp_path: Path) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        search_config.importlib.util,
        "find_spec",
        lambda name, *rest: None if name == "optuna" else find(name, *rest),
    )
    with pytest.raises(DataError, match="needs Optuna") as caught:
        run(whole[0], tmp_path)
    assert "xpert[search]" in caught.value.fix


def test_settings_of_the_benchmark_are_part_of_what_a_study_is(tmp_path: Path) -> None:
    plain = load(tmp_path, XPERT)
    added = {**XPERT["model"]["settings"], "residual": True, "snapshots": 5}
    other = load(tmp_path, XPERT, model={**XPERT["model"], "settings": added})
    assert plain.identity("d", {}) == load(tmp_path, XPERT).identity("d", {})
    assert plain.identity("d", {})["model"] != other.identity("d", {})["model"]
