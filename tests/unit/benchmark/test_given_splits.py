"""Split files that a benchmark is given are used as they are, or refused with what is wrong."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from xpert_core.benchmark.config import BenchmarkConfig, ModelSpec, ScenarioSpec
from xpert_core.benchmark.runner import split_path, write_split
from xpert_core.errors import DataError
from xpert_core.learning.fold_files import load_folds, save_folds, stored_digest
from xpert_core.learning.folds import NONE
from xpert_core.tokens.dataset import LOG2_READOUT, TrainingData

DATA = Path(__file__).parents[3] / "tests" / "data" / "l1000_small.safetensors"
SCENARIO = ScenarioSpec("cold-drug", folds=(1, 2, 3))


@pytest.fixture(scope="module")
def data() -> TrainingData:
    return TrainingData.load(DATA)


@pytest.fixture
def asked(data: TrainingData, tmp_path: Path) -> BenchmarkConfig:
    """A benchmark whose folder has a split of seed 0 that is not the one a draw would give."""
    model = ModelSpec("ridge", "ridge")
    config = BenchmarkConfig("given", DATA, (SCENARIO,), (model,), n_folds=3, split_seed=5)
    write_split(config, SCENARIO, data, tmp_path / "mine")
    found = replace(config, split_seed=0, splits=tmp_path / "mine")
    drawn = split_path(config, SCENARIO, tmp_path / "mine")
    folds = replace(load_folds(drawn, data), seed=0)
    save_folds(split_path(found, SCENARIO, tmp_path / "mine"), folds, data)
    drawn.unlink()
    return found


def given_path(config: BenchmarkConfig, scenario: ScenarioSpec = SCENARIO) -> Path:
    assert config.splits is not None
    return split_path(config, scenario, config.splits)


def test_a_given_split_is_used_in_place_of_a_drawn_one(
    asked: BenchmarkConfig, data: TrainingData, tmp_path: Path
) -> None:
    digest = write_split(asked, SCENARIO, data, tmp_path / "run")
    assert digest == stored_digest(given_path(asked))
    assert digest != write_split(replace(asked, splits=None), SCENARIO, data, tmp_path / "drawn")
    assert write_split(asked, SCENARIO, data, tmp_path / "run") == digest, "and again"


@pytest.mark.parametrize(
    "change",
    [
        {"split_seed": 1},
        {"n_folds": 4},
        {"readout": "level 3"},
        {"name": "warm-start"},
        {"splits": "nothing"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_split_that_is_not_given_is_not_drawn(
    asked: BenchmarkConfig, data: TrainingData, tmp_path: Path, change: dict
) -> None:
    scenario, there = SCENARIO, given_path(asked).name
    if "splits" in change:
        asked, there = replace(asked, splits=tmp_path / "nothing"), "there is none"
    elif "readout" in change or "name" in change:
        scenario = replace(SCENARIO, **change)
    else:
        asked = replace(asked, **change)
    with pytest.raises(DataError, match=f"has none for {scenario.name}") as caught:
        write_split(asked, scenario, data, tmp_path / "run")
    assert there in caught.value.where and given_path(asked, scenario).name in caught.value.where
    assert not list((tmp_path / "run").iterdir())


def test_a_given_split_that_is_not_what_its_name_says_is_refused_and_not_copied(
    asked: BenchmarkConfig, data: TrainingData, tmp_path: Path
) -> None:
    given = given_path(asked)
    warm, four, seed, level3 = (
        replace(SCENARIO, name="warm-start"),
        replace(asked, n_folds=4),
        replace(asked, split_seed=7),
        replace(SCENARIO, readout="level 3"),
    )
    whole = given.read_text()
    for config, scenario, message in (
        (asked, warm, "its scenario is cold-drug, not warm-start"),
        (four, SCENARIO, "it has 3 folds, not 4"),
        (seed, SCENARIO, "its seed is 0, not split_seed 7"),
        (asked, level3, "rows of another read-out than level 3"),
    ):
        given_path(config, scenario).write_text(whole)
        with pytest.raises(DataError, match="not of this benchmark") as caught:
            write_split(config, scenario, data, tmp_path / "run")
        assert message in caught.value.where
    given.write_text(whole.replace("train", "test", 1))
    with pytest.raises(DataError, match="changed after"):
        write_split(asked, SCENARIO, data, tmp_path / "run")
    assert not list((tmp_path / "run").iterdir()), "nothing that was refused stays"


def test_a_given_split_of_one_read_out_is_used(
    asked: BenchmarkConfig, data: TrainingData, tmp_path: Path
) -> None:
    level3 = replace(SCENARIO, readout="level 3")
    folds = load_folds(given_path(asked), data)
    parts = folds.parts.copy()
    parts[:, data.readout != LOG2_READOUT] = NONE
    digest = save_folds(given_path(asked, level3), replace(folds, parts=parts), data)
    assert write_split(asked, level3, data, tmp_path / "run") == digest


def test_a_split_in_the_output_folder_does_not_win_over_a_given_one(
    asked: BenchmarkConfig, data: TrainingData, tmp_path: Path
) -> None:
    drawn = replace(asked, splits=None)
    digest = write_split(drawn, SCENARIO, data, tmp_path / "run")
    with pytest.raises(DataError, match="are of another split of cold-drug"):
        write_split(asked, SCENARIO, data, tmp_path / "run")
    assert write_split(drawn, SCENARIO, data, tmp_path / "run") == digest
    split_path(asked, SCENARIO, tmp_path / "run").unlink()
    assert write_split(asked, SCENARIO, data, tmp_path / "run") != digest
