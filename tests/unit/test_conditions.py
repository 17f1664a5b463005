"""Doses and times as people write them."""

from __future__ import annotations

import pytest

from xpert_core.conditions import (
    format_dose,
    parse_dose,
    parse_time,
    split_values,
)
from xpert_core.errors import ConditionError


@pytest.mark.parametrize(
    ("text", "dose_um"),
    [
        ("1uM", 1.0),
        ("250 nM", 0.25),
        ("0,5 mM", 500.0),
        ("1 \u00b5M", 1.0),
        ("1 \u03bcM", 1.0),
        ("10", 10.0),
        (3.3, 3.3),
        ("1e-2 uM", 0.01),
        (".5uM", 0.5),
        ("2000 pM", 0.002),
    ],
)
def test_doses(text: str | float, dose_um: float) -> None:
    assert parse_dose(text) == pytest.approx(dose_um)


def test_dose_by_mass_needs_the_molar_mass() -> None:
    assert parse_dose("615.4 ng/mL", molar_mass=615.4) == pytest.approx(1.0)
    assert parse_dose("0.6154 \u00b5g/mL", molar_mass=615.4) == pytest.approx(1.0)
    with pytest.raises(ConditionError, match="molar mass"):
        parse_dose("615 ng/mL")
    with pytest.raises(ConditionError, match="molar mass"):
        parse_dose("615 ng/mL", molar_mass=float("nan"))


@pytest.mark.parametrize(
    "text", ["1,000 nM", "10,000", "-1", "0", "abc", "", "nan", "inf", "1 parsec", "1e9 uM", "--1"]
)
def test_bad_doses_name_the_value_and_the_fix(text: str) -> None:
    with pytest.raises(ConditionError) as caught:
        parse_dose(text)
    assert f"'{text}'" in caught.value.where
    assert caught.value.fix


@pytest.mark.parametrize(
    ("text", "hours"),
    [("24h", 24), ("90 min", 1.5), ("2 days", 48), ("6", 6), ("1 d", 24), ("3 hours", 3), (6, 6)],
)
def test_times(text: str | float, hours: float) -> None:
    assert parse_time(text) == pytest.approx(hours)


@pytest.mark.parametrize("text", ["0", "-3 h", "tomorrow", "5 parsec", "9999999 h", "0 h"])
def test_bad_times(text: str) -> None:
    with pytest.raises(ConditionError):
        parse_time(text)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("0.1, 1, 10 uM", ["0.1 uM", "1 uM", "10 uM"]),
        ("0.1,1,10 uM", ["0.1 uM", "1 uM", "10 uM"]),
        ("100 nM; 1 uM", ["100 nM", "1 uM"]),
        ("0,5 uM", ["0,5 uM"]),
        ("0,5; 1,5 uM", ["0,5 uM", "1,5 uM"]),
        ("24 h", ["24 h"]),
        ("6, 24 h", ["6 h", "24 h"]),
        ("100 nM, 1 uM", ["100 nM", "1 uM"]),
        ("", []),
    ],
)
def test_lists_of_values(text: str, parts: list[str]) -> None:
    assert split_values(text) == parts


def test_doses_are_written_for_people() -> None:
    assert [format_dose(d) for d in (0.04, 1.0, 2500.0)] == ["40 nM", "1 uM", "2.5 mM"]
