"""The report on pretraining is written from real comparisons, and averages seeds, not patients."""

from __future__ import annotations

from argparse import Namespace

import numpy as np
import pytest
from finetuning_data import QUICK, make_base
from pair_data import paired_frame, pairs_of

from training import pretraining_pays as script
from xpert_core.finetuning.compare import FINETUNED, SCRATCH
from xpert_core.finetuning.data import prepare_cohort

pytest.importorskip("lightning")


def test_report_of_two_seeds(tmp_path, monkeypatch) -> None:
    base = make_base(tmp_path / "base")
    pairs = pairs_of(paired_frame(8))
    cohort = prepare_cohort(pairs, base)
    monkeypatch.setattr(
        script, "FinetuneConfig", lambda **values: QUICK.with_(**{**values, "max_epochs": 1})
    )
    options = Namespace(seeds=2, folds=2, threads=1)
    found = script.run(base, cohort, tmp_path / "work", "adapters", options)
    table = script.per_pair(found)
    assert len(table) == 8
    for result in found:
        for pair in result.pairs:
            assert set(pair) >= {"pair_id", "patient", FINETUNED, SCRATCH}
    own = [{p["pair_id"]: p[SCRATCH] for p in result.pairs} for result in found]
    for pair, value in table[SCRATCH].items():
        assert value == pytest.approx(np.mean([seed[pair] for seed in own]))
    text = script.report(pairs, base, {"adapters": found})
    difference = (table[FINETUNED] - table[SCRATCH]).mean()
    assert f"Fine-tuned minus scratch: {difference:.3f} [" in text
    assert "8 pairs of 8 patients" in text
    folds = sorted(tmp_path.glob("work/*/fold*"))
    assert len(folds) == 4
    before = [file.stat().st_mtime_ns for file in folds]
    script.run(base, cohort, tmp_path / "work", "adapters", options)
    assert [file.stat().st_mtime_ns for file in folds] == before
