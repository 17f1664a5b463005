"""What the shipped model was trained on is listed, and agrees with its card."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from xpert_core.errors import DataError
from xpert_core.explanation.training_conditions import (
    COLUMNS,
    FILE,
    PREDICTED_READOUT,
    TrainingConditions,
    conditions_of,
    read_conditions,
    save_conditions,
)
from xpert_core.model.checkpoint import load_checkpoint
from xpert_core.prediction.models import model_folder

OTHER = "z-score (level 5)"


def small() -> TrainingConditions:
    rows = [
        ("X", "x", "A375", 1.0, 24.0, PREDICTED_READOUT, "train", 2),
        ("X", "x", "A375", 10.0, 24.0, PREDICTED_READOUT, "train", 1),
        ("Y", "y", "A375", 1.0, 24.0, PREDICTED_READOUT, "train", 1),
        ("Y", "y", "A375", 1.0, 6.0, OTHER, "train", 1),
        ("Y", "y", "A375", 1.0, 24.0, OTHER, "train", 1),
        ("Z", "z", "PC3", 30.0, 6.0, PREDICTED_READOUT, "test", 4),
    ]
    return TrainingConditions("abc", pd.DataFrame(rows, columns=COLUMNS))


def test_shipped_list_has_the_rows_and_drugs_of_the_card() -> None:
    checkpoint = load_checkpoint(model_folder())
    found = conditions_of(checkpoint.digest)
    assert found is not None
    by_part = found.table.groupby("part")
    assert by_part["rows"].sum().to_dict() == checkpoint.meta.card["rows"]
    assert by_part["drug_key"].nunique().to_dict() == checkpoint.meta.card["drugs"]
    assert found.table.groupby("drug_key")["part"].nunique().max() == 1


def test_a_model_that_is_not_shipped_has_no_list() -> None:
    assert conditions_of("f" * 64) is None


def test_trained_counts_training_rows_of_the_read_out() -> None:
    found = small().trained().set_index(["dose_um", "time_h"])
    assert found["rows"].to_dict() == {(1.0, 24.0): 3, (10.0, 24.0): 1}
    assert found["drugs"].to_dict() == {(1.0, 24.0): 2, (10.0, 24.0): 1}
    assert small().trained("Y")["rows"].tolist() == [1]
    assert small().trained("Y", readout=None)["rows"].sum() == 3
    assert small().trained("Z").empty


def test_contrasts_count_pairs_within_one_read_out() -> None:
    assert small().contrasts() == {"pairs": 2, "several_doses": 1, "several_times": 0}
    assert small().contrasts(readout=None) == {"pairs": 3, "several_doses": 1, "several_times": 1}


def test_near_is_within_both_factors() -> None:
    dose = np.array([0.49, 0.5, 2.0, 2.01, 1.0, 1.0, 30.0])
    time = np.array([24.0, 24.0, 24.0, 24.0, 16.0, 15.9, 6.0])
    expected = [False, True, True, False, True, False, False]
    assert small().near(dose, time).tolist() == expected


def test_parts_of_drugs() -> None:
    assert [small().part_of(key) for key in ("X", "Z", "new")] == ["train", "test", ""]


def test_files_come_back_and_damage_is_explained(tmp_path: Path) -> None:
    path = tmp_path / FILE
    save_conditions(small(), path)
    back = read_conditions(path)
    assert back.model_digest == "abc"
    pd.testing.assert_frame_equal(back.table, small().table)
    path.write_text("# model: abc\nnot,the,columns\n1,2,3\n", encoding="utf-8")
    with pytest.raises(DataError, match="training conditions"):
        read_conditions(path)
