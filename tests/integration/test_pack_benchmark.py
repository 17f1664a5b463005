"""What is published of a benchmark is enough to go on from, and the same each time."""

from __future__ import annotations

import tarfile
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from training.pack_benchmark import pack
from xpert_core.benchmark.config import BenchmarkConfig
from xpert_core.benchmark.runner import run
from xpert_core.benchmark.tables import row_table, score_table
from xpert_core.errors import DataError

SMOKE = Path(__file__).parents[2] / "training" / "configs" / "smoke.yaml"


def test_a_benchmark_goes_on_from_what_was_published(tmp_path: Path) -> None:
    whole = BenchmarkConfig.load(SMOKE)
    chosen = tuple(m for m in whole.models if m.name in ("mean-cell", "ridge", "nearest-drugs"))
    models = tuple(replace(m, keep_predictions=True) for m in chosen)
    scenarios = (replace(whole.scenarios[0], folds=(1,)),)
    config = replace(whole, workers=1, models=models[:2], scenarios=scenarios)
    folder, out = tmp_path / "run", tmp_path / "docs"
    with pytest.raises(DataError, match="No task of this benchmark is done"):
        pack(config, folder, out)
    finished = run(config, folder)
    (folder / "tasks" / "0123.json").write_text("{}")  # of another configuration
    more = replace(config, models=models)
    assert pack(more, folder, out) == "2 of 3 tasks"
    text = (out / "report.md").read_text()
    assert "nearest-drugs" in text and (out / "cells.csv").is_file()
    first = (out / "tasks.tar.xz").read_bytes()
    with tarfile.open(out / "tasks.tar.xz") as packed:
        packed.extractall(tmp_path / "again", filter="data")
    names = {path.name for path in (tmp_path / "again" / "tasks").iterdir()}
    assert len(names) == 4 and "0123.json" not in names
    assert not list((tmp_path / "again").rglob("*.npz")), "no predictions"
    stored = run(config, tmp_path / "again", stored_only=True)
    for table in (score_table, row_table):
        pd.testing.assert_frame_equal(table(stored), table(finished), check_exact=True)
    # From the archive: the same report, boxes of variable genes included, and the same archive.
    again = tmp_path / "docs again"
    assert pack(more, tmp_path / "again", again) == "2 of 3 tasks"
    assert (again / "genes.csv").read_text() == (out / "genes.csv").read_text()
    assert (again / "tasks.tar.xz").read_bytes() == first
