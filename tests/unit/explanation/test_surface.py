"""The surface goes through its points, says where data lie, and its contours are where they are."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from prediction_data import prediction_of

from xpert_core.errors import ConditionError
from xpert_core.explanation.dose_time import DoseTimeGrid, grid_of
from xpert_core.explanation.surface import contour_lines, surface
from xpert_core.explanation.training_conditions import (
    COLUMNS,
    PREDICTED_READOUT,
    TrainingConditions,
)

DOSES, TIMES = (0.1, 1.0, 10.0), (6.0, 12.0, 24.0)


def plane(sample: str, dose: float, time: float) -> np.ndarray:
    return np.array([np.log10(dose) + 2 * np.log2(time / 6), 0.0])


def grid(times: tuple[float, ...] = TIMES) -> DoseTimeGrid:
    return grid_of(prediction_of(plane, ["s"], DOSES, times, genes=("A", "B")))


def conditions(*rows: tuple[str, float, float]) -> TrainingConditions:
    table = pd.DataFrame(
        [(k, k, "A375", d, t, PREDICTED_READOUT, "train", 2) for k, d, t in rows], columns=COLUMNS
    )
    return TrainingConditions("digest", table)


def test_a_plane_is_interpolated_without_error() -> None:
    found = surface(grid(), "A", ["A"], size=9)
    time, dose = np.meshgrid(found.times, found.doses, indexing="ij")
    expected = np.log10(dose) + 2 * np.log2(time / 6)
    np.testing.assert_allclose(found.values, expected, atol=1e-6)
    assert found.error == pytest.approx(0, abs=1e-6)
    assert found.doses[[0, -1]] == pytest.approx((0.1, 10.0))


def test_the_surface_goes_through_every_prediction() -> None:
    values = np.random.default_rng(0).normal(size=(2, 3, 3, 1))
    own = DoseTimeGrid("d", ("s", "t"), np.array(TIMES), np.array(DOSES), ("A",), values)
    found = surface(own, "A", ["A"], size=5)  # every second grid point is a prediction
    np.testing.assert_allclose(found.values[::2, ::2], values.mean(axis=0)[..., 0], atol=1e-8)
    assert found.error > 0.1


def test_support_is_within_the_stated_factors() -> None:
    found = surface(grid(), "A", ["A"], conditions(("X", 1.0, 24.0)), "X", size=41)
    time, dose = np.meshgrid(found.times, found.doses, indexing="ij")
    inside = (dose >= 0.5) & (dose <= 2) & (time >= 16)
    np.testing.assert_array_equal(found.supported, inside)
    assert found.known and found.trained["this_drug"].tolist() == [True]
    table = found.table()
    assert table["training_data_near"].sum() == inside.sum()


def test_other_drugs_conditions_are_marked_as_such_and_cut_to_the_range() -> None:
    known = conditions(("X", 1.0, 24.0), ("Y", 10.0, 6.0), ("Y", 100.0, 6.0))
    marks = surface(grid(), "A", ["A"], known, "X").trained
    assert list(zip(marks["dose_um"], marks["this_drug"], strict=True)) == [
        (1.0, True),
        (10.0, False),
    ]


def test_without_known_conditions_nothing_is_claimed() -> None:
    found = surface(grid(), "A", ["A"])
    assert not found.known and not found.supported.any() and found.trained.empty
    assert set(found.table()["training_data_near"]) == {"not known"}


def test_one_time_gives_no_surface() -> None:
    with pytest.raises(ConditionError, match="at least two times"):
        surface(grid((24.0,)), "A", ["A"])


def test_contours_of_a_plane_are_straight_lines_at_their_level() -> None:
    x, y = np.linspace(0, 4, 9), np.linspace(0, 2, 5)
    values = np.broadcast_to(x, (5, 9)).copy()
    found = contour_lines(x, y, values, [1.25, 3.1, 99.0])
    assert set(found["level"]) == {1.25, 3.1}
    for level, lines in found.groupby("level"):
        np.testing.assert_allclose(lines[["x", "x2"]], level)
        assert np.abs(lines["y"] - lines["y2"]).sum() == pytest.approx(2.0)


def test_contour_of_a_cone_is_a_circle() -> None:
    axis = np.linspace(-1, 1, 61)
    xx, yy = np.meshgrid(axis, axis)
    found = contour_lines(axis, axis, np.hypot(xx, yy), [0.6])
    np.testing.assert_allclose(np.hypot(found["x"], found["y"]), 0.6, atol=2e-3)
    length = np.hypot(found["x"] - found["x2"], found["y"] - found["y2"]).sum()
    assert length == pytest.approx(2 * np.pi * 0.6, rel=0.01)
