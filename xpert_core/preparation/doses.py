"""Doses and times of public tables: units, the paper's bins, and what cannot be used."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pandas as pd

from xpert_core.conditions import (
    DOSE_BIN_EDGES_UM,
    MAX_DOSE_UM,
    TIME_BINS_H,
    parse_dose,
    parse_time,
)
from xpert_core.errors import ConditionError

#: Units of LINCS tables in micromolar; doses in other units (% or mass) cannot be compared.
UNITS_UM = {"um": 1.0, "nm": 1e-3, "mm": 1e3, "pm": 1e-6, "m": 1e6}
_RANGE = re.compile(r"^([\d.]+)\s*(?:-|–|to)\s*([\d.]+)\s*([a-zA-Z]*)$")


def dose_bins(dose_um: np.ndarray) -> np.ndarray:
    """The paper's bin of each dose, 0 to 9; shape as `dose_um`, int64. Edges are left-closed."""
    return np.digitize(dose_um, DOSE_BIN_EDGES_UM).astype(np.int64)


def time_bins(time_h: np.ndarray) -> np.ndarray:
    """The paper's time token: 0, 1, 2 for 3, 6 and 24 h; -1 for any other time. int64."""
    found = np.full(np.shape(time_h), -1, dtype=np.int64)
    for token, hours in enumerate(TIME_BINS_H):
        found[np.isclose(time_h, hours)] = token
    return found


def micromolar(values: pd.Series, units: pd.Series) -> np.ndarray:
    """Doses with a unit column as micromolar; NaN where missing, not positive or not molar.

    Parameters
    ----------
    values : Series of numbers (or text)
        -666, the missing value of LINCS tables, is not positive and so becomes NaN.
    units : Series of str
        ``uM``, ``nM``... (µ in either form). A blank unit gives NaN: 10 and 10,000 look alike.
    """
    number = pd.to_numeric(values, errors="coerce").to_numpy(dtype=np.float64)
    plain = (
        units.fillna("").astype(str).str.strip().str.lower().str.replace("[µμ]", "u", regex=True)
    )
    dose = number * plain.map(UNITS_UM).to_numpy(dtype=np.float64)
    return np.where((dose > 0) & (dose <= MAX_DOSE_UM), dose, np.nan)


def read_doses(cells: Sequence[str]) -> np.ndarray:
    """Doses as people write them, in micromolar; float64, NaN where it is no molar dose.

    ``"10.01;10.0"``, as the published files join merged replicates, is the mean of its parts.
    """
    known: dict[str, float] = {}
    for cell in dict.fromkeys(map(str, cells)):
        try:
            parts = [parse_dose(part) for part in cell.split(";") if part.strip()]
            known[cell] = float(np.mean(parts)) if parts else np.nan
        except ConditionError:
            known[cell] = np.nan
    return np.array([known[str(cell)] for cell in cells], dtype=np.float64)


def read_times(cells: Sequence[str]) -> np.ndarray:
    """Times as people write them, in hours; float64, NaN where it is no time.

    Of a range, ``"10-14 days"``, the middle is taken; of joined parts the mean.
    """
    known: dict[str, float] = {}
    for cell in dict.fromkeys(map(str, cells)):
        try:
            parts = [_time(part.strip()) for part in cell.split(";") if part.strip()]
            known[cell] = float(np.mean(parts)) if parts else np.nan
        except ConditionError:
            known[cell] = np.nan
    return np.array([known[str(cell)] for cell in cells], dtype=np.float64)


def _time(text: str) -> float:
    span = _RANGE.match(text)
    if span is None:
        return parse_time(text)
    low, high, unit = span.groups()
    return (parse_time(f"{low} {unit}") + parse_time(f"{high} {unit}")) / 2
