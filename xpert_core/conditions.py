"""Dose and time: units, the paper's bins, and what a user may type.

One vocabulary serves cell lines and patients: doses are micromolar, times are hours.
"""

from __future__ import annotations

import math
import re

from xpert_core.errors import ConditionError

#: What is offered first: the most frequent condition of the training data.
DEFAULT_DOSE, DEFAULT_TIME = "1 uM", "24 h"
#: Inner edges of the paper's ten dose bins, micromolar (Supplementary Table 6).
DOSE_BIN_EDGES_UM = (0.21, 0.41, 0.71, 1.01, 1.51, 3.1, 4.1, 7.1, 12.1)
#: The paper's three time tokens, hours.
TIME_BINS_H = (3.0, 6.0, 24.0)
#: Beyond these a number is taken for a unit mix-up rather than an experiment.
MAX_DOSE_UM = 1e5
MAX_TIME_H = 24.0 * 365

_MOLAR_UNITS_UM = {"pm": 1e-6, "nm": 1e-3, "um": 1.0, "mm": 1e3, "m": 1e6}
_MASS_UNITS_G_PER_L = {"pg/ml": 1e-9, "ng/ml": 1e-6, "ug/ml": 1e-3, "mg/ml": 1.0, "ug/l": 1e-6}
_MASS_UNITS_G_PER_L |= {"ng/l": 1e-9, "mg/l": 1e-3}
_TIME_UNITS_H = {"s": 1 / 3600, "min": 1 / 60, "h": 1.0, "d": 24.0, "w": 168.0}
_TIME_WORDS = {
    **dict.fromkeys(("sec", "secs", "second", "seconds"), "s"),
    **dict.fromkeys(("m", "mins", "minute", "minutes"), "min"),
    **dict.fromkeys(("hr", "hrs", "hour", "hours"), "h"),
    **dict.fromkeys(("day", "days"), "d"),
    **dict.fromkeys(("wk", "week", "weeks"), "w"),
}
_NUMBER = re.compile(r"^([-+]?(?:\d+(?:[.,]\d*)?|[.,]\d+)(?:[eE][-+]?\d+)?)(.*)$", re.DOTALL)


#: ``1,000`` is a thousand to some and one to others: a factor of 1,000 in a dose.
_GROUPED = re.compile(r"^[-+]?[1-9]\d{0,2},\d{3}$")


def parse_dose(value: str | float, molar_mass: float | None = None) -> float:
    """Read a dose as micromolar.

    Parameters
    ----------
    value : str or float
        ``"1uM"``, ``"250 nM"``, ``"0,5 mM"``, ``"30 ng/mL"``; a bare number is micromolar.
    molar_mass : float, optional
        g/mol; needed for mass concentrations.

    Returns
    -------
    float
        Dose in micromolar.

    Raises
    ------
    ConditionError
        If it is no number, not positive, has an unknown unit or is beyond any experiment.
    """
    number, unit = _split_quantity(value, "dose", "1 uM, 250 nM, 0.5 mM or 30 ng/mL")
    unit = unit.lower()
    if unit in ("", *_MOLAR_UNITS_UM):
        dose = number * _MOLAR_UNITS_UM.get(unit, 1.0)
    elif unit in _MASS_UNITS_G_PER_L:
        if molar_mass is None or not math.isfinite(molar_mass) or molar_mass <= 0:
            raise ConditionError(
                "A dose by mass needs the drug's molar mass, which is not known here.",
                where=f"dose '{value}'",
                fix="Give the dose as a molar concentration, for example 1 uM.",
            )
        dose = number * _MASS_UNITS_G_PER_L[unit] / molar_mass * 1e6
    else:
        raise ConditionError(
            f"The unit '{unit}' of the dose is not known.",
            where=f"dose '{value}'",
            fix="Use pM, nM, uM, mM, M, or a mass such as ng/mL.",
        )
    return _positive(dose, value, "dose", "micromolar", MAX_DOSE_UM)


def parse_time(value: str | float) -> float:
    """Read a time of exposure as hours.

    Parameters
    ----------
    value : str or float
        ``"24h"``, ``"90 min"``, ``"2 days"``; a bare number is hours.

    Returns
    -------
    float
        Time in hours.

    Raises
    ------
    ConditionError
        If it is no number, not positive, has an unknown unit or is longer than a year.
    """
    number, unit = _split_quantity(value, "time", "24 h, 90 min or 2 days")
    unit = unit.lower()
    unit = _TIME_WORDS.get(unit, unit)
    if unit not in ("", *_TIME_UNITS_H):
        raise ConditionError(
            f"The unit '{unit}' of the time is not known.",
            where=f"time '{value}'",
            fix="Use min, h or d.",
        )
    return _positive(number * _TIME_UNITS_H.get(unit, 1.0), value, "time", "hours", MAX_TIME_H)


def split_values(text: str) -> list[str]:
    """Split what a user types for several doses or times: ``"0.1, 1; 10 uM"``.

    A unit written once at the end holds for all values that have none. A single comma between two
    digits, as in ``0,5``, is a decimal comma; with a semicolon or a line break between values every
    comma is one.
    """
    if ";" in text or "\n" in text:
        separators = r"[;\n]"
    else:
        is_decimal = text.count(",") == 1 and re.search(r"\d,\d", text)
        separators = r"$^" if is_decimal else r","
    parts = [part.strip() for part in re.split(separators, text) if part.strip()]
    last = _NUMBER.match(parts[-1]) if parts else None
    unit = last.group(2).strip() if last is not None else ""
    return [f"{part} {unit}" if unit and _is_bare(part) else part for part in parts]


def format_dose(dose_um: float) -> str:
    """A dose as a person writes it: ``"40 nM"``, ``"1 uM"``, ``"2.5 mM"``."""
    if dose_um < 0.1:
        return f"{dose_um * 1e3:g} nM"
    return f"{dose_um:g} uM" if dose_um < 1e3 else f"{dose_um / 1e3:g} mM"


def _is_bare(part: str) -> bool:
    match = _NUMBER.match(part)
    return match is not None and not match.group(2).strip()


def _split_quantity(value: str | float, name: str, examples: str) -> tuple[float, str]:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value), ""
    text = str(value).strip().replace("\u00b5", "u").replace("\u03bc", "u").replace("\u2212", "-")
    match = _NUMBER.match(text)
    if not match:
        raise ConditionError(
            f"The {name} is not a number with a unit.",
            where=f"{name} '{value}'",
            fix=f"Write for example {examples}.",
        )
    if _GROUPED.match(match.group(1)):
        raise ConditionError(
            f"The {name} can be read in two ways: a comma may group thousands or mark decimals.",
            where=f"{name} '{value}'",
            fix="Write it without the comma, for example 1000, or with a point, for example 1.0.",
        )
    return float(match.group(1).replace(",", ".")), match.group(2).strip().replace(" ", "")


def _positive(number: float, value: str | float, name: str, unit: str, most: float) -> float:
    if not math.isfinite(number) or number <= 0:
        raise ConditionError(
            f"The {name} must be greater than zero.",
            where=f"{name} '{value}'",
            fix="The untreated state is the profile you uploaded; give a positive value.",
        )
    if number > most:
        raise ConditionError(
            f"The {name} is larger than any experiment ({number:g} {unit}).",
            where=f"{name} '{value}'",
            fix="Check the unit.",
        )
    return number
