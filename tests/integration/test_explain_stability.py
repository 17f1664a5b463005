"""Stability over seeds: one command over several checkpoints."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from model_data import tiny_checkpoint
from scipy.stats import spearmanr

from training import explain_atoms
from training.explain_stability import GENES
from xpert_core.cohorts import example_path, read_cohort, to_profiles
from xpert_core.errors import ExplanationError
from xpert_core.prediction import Predictor


def test_two_checkpoints_give_the_tables_and_the_figure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = [tmp_path / f"seed{seed}" for seed in (0, 1)]
    for seed, folder in enumerate(folders):
        tiny_checkpoint(folder, f"seed{seed}", seed=seed)
    panel = Predictor.load(folders[0]).panel
    whole = to_profiles(read_cohort(example_path()), panel)
    assert len(whole) == 51
    few = replace(whole, samples=whole.samples.iloc[:2], x_ctl=whole.x_ctl[:2])
    monkeypatch.setattr(explain_atoms, "patients_of", lambda predictor: few)
    monkeypatch.setattr(explain_atoms, "cell_lines", lambda predictor: few)
    monkeypatch.setattr(explain_atoms, "case_drugs", lambda: ("gefitinib", "vorinostat"))
    out = tmp_path / "out"
    explain_atoms.main(["stability", "--models", *map(str, folders), "--out", str(out)])
    table = pd.read_csv(out / "stability.csv").set_index("explained")
    assert (
        list(table.index) == ["gefitinib", "vorinostat", GENES] and table.loc[GENES, "items"] == 978
    )
    items = pd.read_csv(out / "stability-items.csv")
    own = items[items["explained"] == "gefitinib"]
    one, other = own["model 1"].to_numpy(), own["model 2"].to_numpy()
    assert len(own) == table.loc["gefitinib", "items"] == 31
    cosine = one @ other / np.linalg.norm(one) / np.linalg.norm(other)
    assert table.loc["gefitinib", "mean_cosine"] == pytest.approx(cosine, abs=1e-5)
    assert table.loc["gefitinib", "mean_spearman"] == pytest.approx(
        spearmanr(one, other).statistic, abs=1e-5
    )
    spread = np.std([one, other], axis=0, ddof=1) / np.mean([one, other], axis=0)
    assert table.loc["gefitinib", "mean_cv"] == pytest.approx(spread.mean(), abs=1e-5)
    assert (out / "stability.svg").read_text().startswith("<svg")
    assert "| gefitinib | 31 |" in (out / "stability.md").read_text()
    models = json.loads((out / "stability.json").read_text())["models"]
    assert [model["name"] for model in models] == ["seed0", "seed1"]
    with pytest.raises(ExplanationError, match="two"):
        explain_atoms.main(["stability", "--models", str(folders[0]), "--out", str(out)])
