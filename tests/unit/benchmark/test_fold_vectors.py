"""A model may have graph vectors of each fold: part of its task, and of that fold alone."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

import xpert_core
from xpert_core.benchmark.comparisons import ablations
from xpert_core.benchmark.config import BenchmarkConfig, ModelSpec, ScenarioSpec, Task, tasks
from xpert_core.benchmark.models import of_fold, split_of, vectors_of
from xpert_core.benchmark.record import _config_document
from xpert_core.benchmark.runner import execute, run, split_path, task_path, write_split
from xpert_core.benchmark.search_config import SearchConfig
from xpert_core.errors import DataError
from xpert_core.learning.fold_files import load_folds
from xpert_core.learning.splits import held_out_keys
from xpert_core.tokens.biology import Biology
from xpert_core.tokens.dataset import TrainingData

ROOT = Path(__file__).parents[3]
DATA = ROOT / "tests" / "data" / "l1000_small.safetensors"
RECIPE = str(ROOT / "training" / "configs" / "smoke-xpert.yaml")


def configuration(folder: Path, graph: str = "{scenario}-{fold}.safetensors") -> BenchmarkConfig:
    """XPert with and without vectors of each fold, which lie in `folder`."""
    xpert = {"kind": "xpert", "recipe": RECIPE}
    own = {"graph": str(folder / graph), "max_epochs": 1}
    values = {
        "name": "tiny",
        "data": str(DATA),
        "n_folds": 3,
        "workers": 1,
        "scenarios": [{"name": "cold-drug", "folds": [1, 2]}],
        "models": [
            {"name": "XPert", **xpert, "folds": [1], "settings": {"max_epochs": 1}},
            {"name": "XPert, graph", **xpert, "settings": own},
        ],
    }
    path = folder / "bench.yaml"
    path.write_text(yaml.safe_dump(values))
    return BenchmarkConfig.load(path)


def write_vectors(config: BenchmarkConfig, folder: Path, fold: int, of: int = 0) -> Path:
    """Vectors of a fold whose encoder never saw the held-out drugs of the fold `of`."""
    data, scenario = TrainingData.load(DATA), config.scenarios[0]
    write_split(config, scenario, data, folder / "out" / "splits")
    folds = load_folds(split_path(config, scenario, folder / "out" / "splits"), data)
    split = folds.split((of or fold) - 1)
    held_out = held_out_keys(data, split_of(data, split.train, split.valid))
    vectors = np.random.default_rng(fold).normal(size=(len(data.drug_keys), 4)).astype(np.float32)
    path = folder / f"cold-drug-{fold}.safetensors"
    Biology(data.drug_keys, vectors, vectors, held_out, "g" * 64).save(path)
    return path


def test_a_template_gives_each_fold_its_file(tmp_path: Path) -> None:
    config = configuration(tmp_path)
    plain, graph = config.models
    assert of_fold(plain, "cold-drug", 1) is plain and not plain.of_each_fold
    own = of_fold(graph, "cold-drug", 2)
    assert vectors_of(own, config.base) == tmp_path / "cold-drug-2.safetensors"
    assert vectors_of(plain, config.base) is None
    assert vectors_of(replace(own, drug="zeroed"), config.base) is None
    fixed = replace(graph, settings={"graph": "vectors.safetensors"})
    assert of_fold(fixed, "cold-drug", 2) is fixed


@pytest.mark.parametrize(
    "graph", ["{scenario}.safetensors", "{fold}", "{}-{fold}", "{folds}", "{scenario-{fold}"]
)
def test_a_template_that_mixes_folds_is_refused(tmp_path: Path, graph: str) -> None:
    with pytest.raises(DataError, match="of XPert, graph"):
        configuration(tmp_path, graph)


def test_tasks_without_a_template_keep_their_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hashes of the program before there were templates: what is stored is still found."""
    monkeypatch.setattr(xpert_core, "__version__", "0")
    fixed = {"bins": "equidistant", "graph": "vectors.safetensors"}
    models = (
        ModelSpec("XPert", "xpert", settings=fixed, recipe="r.yaml", average_seeds=True),
        ModelSpec("ridge", "ridge", drug="shuffled"),
    )
    found = [
        Task(ScenarioSpec("cold-drug"), 2, m, 1).identity("d", "s", {"lr": 0.1}) for m in models
    ]
    assert [name[:16] for name in found] == ["1c412f7179ec73c0", "7aab497ac7cad75f"]


def test_new_vectors_are_a_new_task_of_their_fold_alone(tmp_path: Path) -> None:
    config, data = configuration(tmp_path), TrainingData.load(DATA)

    def names() -> dict[tuple[str, int], str]:
        return {
            (t.model.name, t.fold): task_path(config, t, data, "split", tmp_path).name
            for t in tasks(config)
        }

    absent = names()
    write_vectors(config, tmp_path, 1)
    write_vectors(config, tmp_path, 2)
    first, record = names(), json.dumps(_config_document(config))
    assert len(set(first.values())) == 3
    write_vectors(config, tmp_path, 2, of=1)
    second = names()
    changed = {place for place in first if first[place] != second[place]}
    assert changed == {("XPert, graph", 2)}
    assert {place for place in first if first[place] != absent[place]} == {
        ("XPert, graph", 1), ("XPert, graph", 2),
    }  # fmt: skip
    assert json.dumps(_config_document(config)) != record, "the database tells such runs apart"


def test_each_fold_is_trained_with_its_own_vectors(tmp_path: Path) -> None:
    pytest.importorskip("lightning")
    config = configuration(tmp_path)
    with pytest.raises(DataError, match=r"graph vectors of 2 fold\(s\)") as caught:
        run(config, tmp_path / "out")
    assert "training.fold_graph" in caught.value.fix
    assert not list((tmp_path / "out").rglob("*.json")), "nothing was run first"
    data, scenario = TrainingData.load(DATA), config.scenarios[0]
    graph = Task(scenario, 2, config.models[1], 0)
    write_vectors(config, tmp_path, 2, of=1)
    split = load_folds(split_path(config, scenario, tmp_path / "out" / "splits"), data).split(1)
    with pytest.raises(DataError, match="saw the targets"):
        execute(graph, data, split, config.base)
    write_vectors(config, tmp_path, 2)
    found = [
        execute(task, data, split, config.base).facts["values"]
        for task in (graph, replace(graph, model=config.models[0]))
    ]
    assert found[0] != found[1]


def test_the_report_says_that_the_vectors_are_the_folds_own(tmp_path: Path) -> None:
    config = configuration(tmp_path)
    assert ablations(config, "XPert") == [
        ("XPert, graph", "XPert", "graph vectors: none to each fold's own")
    ]


def test_a_search_has_one_set_of_vectors(tmp_path: Path) -> None:
    values = {
        "name": "tiny",
        "data": str(DATA),
        "model": {"kind": "xpert", "recipe": RECIPE, "settings": {"graph": "{scenario}-{fold}"}},
        "scenarios": [{"name": "cold-drug", "folds": [1]}],
        "space": {"lr": {"low": 0.001, "high": 0.01}},
    }
    path = tmp_path / "search.yaml"
    path.write_text(yaml.safe_dump(values))
    with pytest.raises(DataError, match="graph vectors of each fold"):
        SearchConfig.load(path)
