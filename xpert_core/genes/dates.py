"""Gene names that a spreadsheet turned into dates: MARCH1 -> 1-Mar, SEPT2 -> Sep-02 -> 44806.

Only reading is done here: what day a text may stand for, and which names a spreadsheet turns
into that day. Which gene is meant is decided in `matching`, where the rest of the file is known.
See Ziemann et al. 2016, Genome Biology 17:177.
"""

from __future__ import annotations

import re
from datetime import date, timedelta

#: Beginnings of gene names that spreadsheets read as a month, by month.
FAMILIES = {
    1: ("JAN",), 2: ("FEB",), 3: ("MARCH", "MARC", "MAR"), 4: ("APR",), 5: ("MAY",), 6: ("JUN",),
    7: ("JUL",), 8: ("AUG",), 9: ("SEPT", "SEP"), 10: ("OCT",), 11: ("NOV",), 12: ("DEC",),
}  # fmt: skip

#: Months of the gene families large enough to read a date without a month's name as a gene.
GENE_MONTHS = (3, 9, 12)

#: English, and for the three gene months German, Dutch, French, Spanish, Portuguese, Italian.
_MONTH_WORDS = {
    1: "jan january", 2: "feb february", 3: "mar march marc mrz mär märz mrt mars",
    4: "apr april", 5: "may", 6: "jun june", 7: "jul july", 8: "aug august",
    9: "sep sept september set", 10: "oct october", 11: "nov november",
    12: "dec december dez déc dic",
}  # fmt: skip
_MONTHS = {word.upper(): month for month, words in _MONTH_WORDS.items() for word in words.split()}

_YEAR = r"(?:\d{4}|\d{2})"
_CLOCK = r"(?:[T ]\d{1,2}:\d{2}(?::\d{2})?(?:\.\d+)?)?"
_DAY_NAME = re.compile(rf"(\d{{1,2}})(?:[-/ ]|\.[ -]?)([^\W\d_]{{3,9}})\.?(?:[-/ ,.]+{_YEAR})?")
_NAME_DAY = re.compile(rf"([^\W\d_]{{3,9}})\.?[-/ ](\d{{1,2}})(?:[-/ ,.]+{_YEAR})?")
_ISO = re.compile(rf"\d{{4}}[-/](\d{{1,2}})[-/](\d{{1,2}}){_CLOCK}")
_NUMBERS = re.compile(rf"(\d{{1,2}})([-/.])(\d{{1,2}})(?:\2{_YEAR}{_CLOCK})?")

#: Spreadsheets count days from 30 December 1899 (true for every day after February 1900).
_EPOCH = date(1899, 12, 30)
#: Hardly any human gene has an Entrez id in this range (32874 to 49674).
_SERIAL_YEARS = range(1990, 2036)


def days_of_text(text: str) -> tuple[tuple[int, int], ...]:
    """Days (month, day) that a text may stand for; empty where it is no date.

    A date written in digits alone counts only in `GENE_MONTHS`; where the order of day and
    month is open ("3/9/2023"), both are returned.
    """
    if match := _DAY_NAME.fullmatch(text):
        return _named(match[2], match[1])
    if match := _NAME_DAY.fullmatch(text):
        return _named(match[1], match[2])
    if match := _ISO.fullmatch(text):
        return _in_gene_months((int(match[1]), int(match[2])))
    if match := _NUMBERS.fullmatch(text):
        first, second = int(match[1]), int(match[3])
        if match[2] == ".":
            # "3.9" is a number; "03.09.2023" is a date, and with points the day comes first.
            return _in_gene_months((second, first)) if text.count(".") == 2 else ()
        return _in_gene_months((first, second), (second, first))
    return ()


def day_of_serial(number: int) -> tuple[int, int] | None:
    """Day (month, day) of a spreadsheet's serial number, in `GENE_MONTHS` of 1990 to 2035."""
    if not 0 < number < 100_000:
        return None
    day = _EPOCH + timedelta(days=number)
    if day.year not in _SERIAL_YEARS or day.month not in GENE_MONTHS:
        return None
    return day.month, day.day


def names_of_day(month: int, day: int) -> tuple[str, ...]:
    """Gene names that a spreadsheet turns into this day, for instance MARCH1, MARC1, MAR1."""
    return tuple(f"{family}{day}" for family in FAMILIES[month])


def _named(word: str, day: str) -> tuple[tuple[int, int], ...]:
    month = _MONTHS.get(word.upper())
    return ((month, int(day)),) if month and 1 <= int(day) <= 31 else ()


def _in_gene_months(*days: tuple[int, int]) -> tuple[tuple[int, int], ...]:
    kept = [(month, day) for month, day in days if month in GENE_MONTHS and 1 <= day <= 31]
    return tuple(dict.fromkeys(kept))
