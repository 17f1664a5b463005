"""Recipes of the paper's tables on small data of each layout: every scenario has folds of use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from training.make_zero_shot_splits import main, mdmt_rows, zero_shot
from xpert_core.benchmark.config import BenchmarkConfig, tasks
from xpert_core.benchmark.runner import split_path, write_split
from xpert_core.errors import DataError
from xpert_core.learning.fold_files import load_folds, save_folds
from xpert_core.learning.folds import NONE, SCENARIOS, TEST, TRAIN, VALID, labels_of, make_folds
from xpert_core.tokens.dataset import TrainingData

ROOT = Path(__file__).parents[3]
SMALL = TrainingData.load(ROOT / "tests" / "data" / "l1000_small.safetensors")
RECIPES = sorted((ROOT / "training" / "configs").glob("paper-*.yaml"))
#: Rows of the 14 drugs of a cohort such as CDS-DB, 613 in all.
CDSDB_DRUGS = (118, 96, 90, 75, 60, 48, 37, 28, 20, 14, 10, 8, 6, 3)


def layout(rows: list[tuple], patients: bool = False) -> TrainingData:
    """Data of rows (cell line, drug, dose, time), each cell line or patient with its own control.

    Drugs are real ones whose structures are known; `cell` is the cancer where rows are of patients.
    """
    cell, drug, dose, time = (np.array(column) for column in zip(*rows, strict=True))
    structured = np.flatnonzero([":" not in key for key in SMALL.drug_keys])
    n = len(rows)
    control = np.arange(n) if patients else cell
    return replace(
        SMALL,
        profiles=np.zeros((control.max() + 1, 1), dtype=np.float32),
        profile_index=control,
        drug_index=structured[drug],
        cell_index=cell,
        dose_um=dose.astype(np.float32),
        time_h=time.astype(np.float32),
        readout=np.zeros(n, dtype=np.int64),
        has_x_pert=np.ones(n, dtype=bool),
        x_deg=np.zeros((n, 1), dtype=np.float32),
        cells=tuple(f"C{i:02d}" for i in range(cell.max() + 1)),
        patients=tuple(f"P{i:03d}" for i in range(n)) if patients else (),
        cancers=tuple(f"K{c}" for c in cell) if patients else (),
    )


def series() -> list[tuple]:
    """Pairs with two doses and two times, and some with one of each."""
    return [(c, d, x, t) for c in range(8) for d in range(10) for x in (1, 10) for t in (6, 24)] + [
        (c, 10, x, t) for c in range(8) for x, t in ((1, 6), (10, 24))
    ]


def single() -> list[tuple]:
    return [(c, d, 10, 24) for c in range(8) for d in range(11, 40)]


def dose_only() -> list[tuple]:
    """Pairs with several doses at one time are not in L1000_mdmt."""
    return [(c, 40, x, 24) for c in range(8) for x in (0.1, 0.4, 1, 10)]


LAYOUTS: dict[str, Callable[[], TrainingData]] = {
    "lincs_full": lambda: layout(series() + single() + dose_only()),
    "lincs_mdmt": lambda: layout(series()),
    "lincs_sdst": lambda: layout([(c, d, 10, 24) for c in range(12) for d in range(60)]),
    "panacea": lambda: layout([(c, d, 1, 24) for c in range(11) for d in range(32)]),
    "cdsdb": lambda: layout(
        [(i % 7, d, 1, 24) for i, d in enumerate(np.repeat(range(14), CDSDB_DRUGS))], True
    ),
}


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_scenario_of_a_paper_recipe_can_be_drawn(path: Path, tmp_path: Path) -> None:
    config = BenchmarkConfig.load(path)
    data = LAYOUTS[config.data.stem]()
    if config.splits is not None:
        config = replace(config, splits=tmp_path / "given")
        config.splits.mkdir()
        for scenario in config.scenarios:
            folds = zero_shot(data, scenario.name, config.n_folds, config.split_seed)
            save_folds(split_path(config, scenario, config.splits), folds, data)
    assert {task.scenario for task in tasks(config)} == set(config.scenarios)
    for scenario in config.scenarios:
        write_split(config, scenario, data, tmp_path / "splits")
        folds = load_folds(split_path(config, scenario, tmp_path / "splits"), data)
        sizes = [[(part == side).sum() for side in (TRAIN, VALID, TEST)] for part in folds.parts]
        assert len(folds) == 5 and np.min(sizes) >= 30, (scenario.name, sizes)
        if not SCENARIOS[scenario.name].shots:
            assert ((folds.parts == TEST).sum(axis=0) == 1).mean() > 0.8, scenario.name


def test_zero_shots_train_on_what_the_paper_pretrains_on() -> None:
    data = LAYOUTS["lincs_full"]()
    labels, rows = labels_of(data), series() + single() + dose_only()
    mdmt = mdmt_rows(data, labels)
    assert mdmt.tolist() == [i < len(series()) for i in range(len(rows))]
    folds = zero_shot(data, "cold-dose-time-zero", 5, 0)
    pairs = mdmt & np.array([drug < 10 for _, drug, _, _ in rows])
    for part in folds.parts:
        np.testing.assert_array_equal(part == TRAIN, ~mdmt)
        for side in (VALID, TEST):  # one condition of each pair of four
            held = np.flatnonzero(part == side)
            assert pairs[held].all() and len(held) == 80
            assert len({rows[i][:2] for i in held}) == 80
        assert (part[mdmt & ~pairs] == NONE).all()
    one = zero_shot(data, "cold-dose-time-one", 5, 0)
    np.testing.assert_array_equal(one.parts == TEST, folds.parts == TEST)
    assert ((one.parts == TRAIN)[:, pairs].sum(axis=1) == 80).all()


def test_series_alone_leave_nothing_to_train_on_without_shots() -> None:
    data = layout([row for row in series() if row[1] < 10])
    with pytest.raises(DataError, match="The train part has no rows") as caught:
        make_folds(labels_of(data), "cold-dose-time-zero")
    assert "data with other pairs too" in caught.value.fix


def test_the_script_writes_what_the_benchmark_takes(tmp_path: Path, capsys) -> None:
    LAYOUTS["lincs_full"]().save(tmp_path / "lincs_full.safetensors")
    recipe = (ROOT / "training" / "configs" / "paper-zero-shot.yaml").read_text()
    path = tmp_path / "paper-zero-shot.yaml"
    path.write_text(recipe.replace("../../runs/", ""))
    main(path)
    assert "fold 5: train 264 rows; valid 80 rows; test 80 rows" in capsys.readouterr().out
    config = BenchmarkConfig.load(path)
    write_split(config, config.scenarios[0], TrainingData.load(config.data), tmp_path / "splits")
    path.write_text(recipe.replace("splits:", "# splits:"))
    with pytest.raises(DataError, match="no configuration of a zero-shot"):
        main(path)
