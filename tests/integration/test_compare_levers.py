"""Levers are compared row by row with the main model, on validation and on test rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml

from training.compare_levers import compare as levers
from training.compare_levers import run as compare
from xpert_core.benchmark.config import BenchmarkConfig, ModelSpec, ScenarioSpec, Task
from xpert_core.benchmark.predictions import Predictions
from xpert_core.benchmark.runner import run
from xpert_core.errors import DataError
from xpert_core.evaluation.metrics import pearson_rows
from xpert_core.tokens.dataset import TrainingData

ROOT = Path(__file__).parents[2]


def test_levers_stand_beside_the_main_model(tmp_path: Path) -> None:
    pytest.importorskip("lightning")
    recipe = str(ROOT / "training" / "configs" / "smoke-xpert.yaml")
    main = {"name": "XPert", "kind": "xpert", "recipe": recipe, "average_seeds": True}
    lever = {
        "name": "raw", "kind": "xpert", "recipe": recipe, "seeds": [0], "keep_predictions": True,
        "settings": {"model": {"raw_values": True}},
    }  # fmt: skip
    values = {
        "name": "levers",
        "data": str(ROOT / "tests" / "data" / "l1000_small.safetensors"),
        "n_folds": 3,
        "seeds": [0, 1],
        "workers": 1,
        "scenarios": [{"name": "cold-drug", "folds": [1]}],
        "models": [main, lever],
    }
    path = tmp_path / "levers.yaml"
    path.write_text(yaml.safe_dump(values))
    with pytest.raises(DataError, match="no stored predictions"):
        compare(path, tmp_path / "out", tmp_path / "levers.md")
    found = run(BenchmarkConfig.load(path), tmp_path / "out")
    compare(path, tmp_path / "out", tmp_path / "levers.md")
    text = (tmp_path / "levers.md").read_text()
    lines = [line.split(" | ") for line in text.splitlines() if line.startswith("| cold-drug")]
    assert {line[2] for line in lines} == {"raw", "mean of 2 seeds"}
    assert "- raw: model.raw_values: False to True" in text
    single = next(f for f in found if f.facts["model"] == "XPert" and f.facts["seed"] == 0)
    both = next(f for f in found if f.facts["model"] == "XPert, mean of 2 seeds")
    other = next(f for f in found if f.facts["model"] == "XPert" and f.facts["seed"] == 1)
    for line in lines:
        if line[2] != "mean of 2 seeds":
            continue
        level = line[1]
        each = [f.facts["values"][level]["pcc"] for f in (single, other)]
        expected = both.facts["values"][level]["pcc"] - sum(each) / 2
        assert float(line[-1].split()[0]) == pytest.approx(expected, abs=6e-4)


def test_a_lever_is_compared_with_the_form_it_stands_on() -> None:
    data = TrainingData.load(ROOT / "tests" / "data" / "l1000_small.safetensors")
    rows = np.arange(8)
    random = np.random.default_rng(0)
    specs = (ModelSpec("XPert", "xpert"), ModelSpec("short", "xpert"),
             ModelSpec("raw", "xpert", against="short"))  # fmt: skip
    found = []
    for spec in specs:
        said = data.x_deg[rows] + random.normal(size=data.x_deg[rows].shape).astype(np.float32)
        kept = Predictions(rows[:4], said[:4], rows[4:], said[4:])
        found.append((Task(ScenarioSpec("cold-drug"), 1, spec, 0), kept))
    compared = levers(found, data, "XPert")
    assert set(compared["lever"]) == {"raw"}, "what others stand on is no lever"
    test = compared[compared["part"] == "test"]
    for column, (_, kept) in (("pcc", found[2]), ("pcc_main", found[1])):
        expected = pearson_rows(kept.x_deg, data.x_deg[kept.rows])
        np.testing.assert_allclose(test[column], expected, atol=1e-6)
