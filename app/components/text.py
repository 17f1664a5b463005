"""Text from files and databases, made safe to show and to export."""

from __future__ import annotations

import re
from datetime import datetime

import pandas as pd

_MARKDOWN = re.compile(r"([\\`*_{}\[\]()<>#+\-.!|~$:&])")
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\0")


def plain(text: object) -> str:
    """Escape `text` so that Markdown shows it letter by letter.

    A file may hold `![](http://...)` as a patient id; shown unescaped it would make the browser
    ask another machine for a picture.
    """
    return _MARKDOWN.sub(r"\\\1", str(text)).replace("\n", " ")


def count(number: int, noun: str, plural: str = "") -> str:
    """A number with its noun: ``"1 patient"``, ``"51 patients"``."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def local_time(moment: datetime) -> str:
    """A stored moment (UTC) on the clock of this machine."""
    return f"{datetime.fromtimestamp(moment.timestamp()):%Y-%m-%d %H:%M}"


def slug(text: object, fallback: str = "unnamed") -> str:
    """`text` reduced to what every file system accepts, at most 40 characters."""
    cleaned = re.sub(r"[^A-Za-z0-9]+", "-", str(text)).strip("-").lower()
    return cleaned[:40].rstrip("-") or fallback


def without_formulas(frame: pd.DataFrame) -> pd.DataFrame:
    """Copy of `frame` whose text cells and headers a spreadsheet cannot run as formulas.

    Text that starts with ``= + - @``, a tab, a carriage return or NUL gets a leading apostrophe
    (OWASP ASVS 1.2.10); numbers stay numbers. Tables on a page need it too: each has a menu that
    saves it as CSV.
    """
    safe = frame.copy()
    safe.columns = pd.Index([_quote(name) for name in frame.columns])
    safe.index = frame.index.map(_quote)
    for position, dtype in enumerate(frame.dtypes):
        if not (pd.api.types.is_numeric_dtype(dtype) or pd.api.types.is_bool_dtype(dtype)):
            safe.isetitem(position, frame.iloc[:, position].astype(object).map(_quote).to_numpy())
    return safe


def _quote(cell: object) -> object:
    if isinstance(cell, str) and cell.startswith(_FORMULA_STARTS):
        return f"'{cell}"
    return cell
