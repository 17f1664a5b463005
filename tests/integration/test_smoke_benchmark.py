"""The networks of smoke.yaml, on one of its folds, trained twice: the same tables."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from xpert_core.baselines import registry
from xpert_core.benchmark.config import XPERT, BenchmarkConfig
from xpert_core.benchmark.runner import run
from xpert_core.benchmark.tables import row_table, score_table

SMOKE = Path(__file__).parents[2] / "training" / "configs" / "smoke.yaml"
NETWORKS = ("XPert", "mlp-morgan", "transigen", "prnet")


def test_smoke_has_every_kind_of_model() -> None:
    config = BenchmarkConfig.load(SMOKE)
    assert {m.kind for m in config.models} == {XPERT, *registry.available()}


def test_networks_trained_twice_give_the_same_tables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # a GPU adds in no fixed order
    whole = BenchmarkConfig.load(SMOKE)
    config = replace(
        whole,
        seeds=(0,),
        workers=1,
        scenarios=(replace(whole.scenarios[0], folds=(1,)),),
        models=tuple(m for m in whole.models if m.name in NETWORKS),
    )
    assert [m.name for m in config.models] == list(NETWORKS)
    one, two = (run(config, tmp_path / name) for name in ("one", "two"))
    pd.testing.assert_frame_equal(score_table(one), score_table(two), check_exact=True)
    pd.testing.assert_frame_equal(row_table(one), row_table(two), check_exact=True)
    assert score_table(one)["model"].nunique() == len(NETWORKS)
