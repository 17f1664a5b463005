"""Tables to JSON and back without loss: column types, categories and kinds of missing values.

A cell becomes text, a number, true/false, null (missing in the way its column says), or a tagged
object such as ``{"$": "nan"}`` for what JSON cannot hold.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from typing import Any

import numpy as np
import pandas as pd

from xpert_core.errors import StoreError

_TAG = "$"
_MISSING: dict[str, Any] = {"none": None, "nan": math.nan, "na": pd.NA, "nat": pd.NaT}
_READERS: dict[str, Any] = {
    "inf": lambda sign: math.inf * sign,
    "timestamp": pd.Timestamp,
    "timedelta": pd.Timedelta,
    "datetime": datetime.fromisoformat,
    "date": date.fromisoformat,
    "time": time.fromisoformat,
    "object": lambda items: {name: decode(value) for name, value in items},
}


@dataclass(frozen=True)
class PackedFrame:
    """A table ready for JSON.

    Attributes
    ----------
    format : dict
        Types of the index and of each column.
    index : list
        Encoded row labels.
    columns : dict of str to list
        Encoded cells by column.
    """

    format: dict[str, Any]
    index: list[Any]
    columns: dict[str, list[Any]]


def _tagged(kind: str, value: Any = None) -> dict[str, Any]:
    return {_TAG: kind} if value is None else {_TAG: kind, "value": value}


def _missing_kind(value: Any) -> str | None:
    if value is None:
        return "none"
    if value is pd.NA:
        return "na"
    if value is pd.NaT:
        return "nat"
    return "nan" if isinstance(value, float) and math.isnan(value) else None


def encode(value: Any, where: str) -> Any:
    """Encode one cell or JSON document; `where` names it in the error.

    Raises
    ------
    StoreError
        The value is of a kind that cannot be kept exactly.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or type(value) in (str, bool, int):
        return value
    kind = _missing_kind(value)
    if kind is not None:
        return _tagged(kind)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else _tagged("inf", math.copysign(1, value))
    for name, type_ in (
        ("timestamp", pd.Timestamp),
        ("timedelta", pd.Timedelta),
        ("datetime", datetime),
        ("date", date),
        ("time", time),
    ):
        if isinstance(value, type_):
            return _tagged(name, value.isoformat())
    if isinstance(value, list | tuple):
        return [encode(item, where) for item in value]
    if isinstance(value, Mapping) and all(isinstance(name, str) for name in value):
        items = {name: encode(item, where) for name, item in value.items()}
        # A document that itself uses the tag is wrapped, so it cannot be taken for one.
        return _tagged("object", list(items.items())) if _TAG in items else items
    if isinstance(value, str):
        return str(value)
    raise StoreError(
        f"A value of the kind {type(value).__name__!r} cannot be stored.",
        where=f"{where}: {value!r}"[:200],
        fix="Give this column as text, numbers or dates.",
    )


def decode(value: Any) -> Any:
    """Undo `encode`."""
    if isinstance(value, list):
        return [decode(item) for item in value]
    if not isinstance(value, dict):
        return value
    kind = value.get(_TAG)
    if kind is None:
        return {name: decode(item) for name, item in value.items()}
    return _MISSING[kind] if kind in _MISSING else _READERS[kind](value["value"])


def _type_name(dtype: Any) -> str:
    if isinstance(dtype, pd.StringDtype) and dtype.na_value is pd.NA:
        return f"string[{dtype.storage}]"
    return str(dtype)


def pack_column(values: pd.Series, where: str) -> tuple[dict[str, Any], list[Any]]:
    """Encode a column; returns its format and its cells (null = missing)."""
    kind: dict[str, Any] = {"type": _type_name(values.dtype)}
    if isinstance(values.dtype, pd.CategoricalDtype):
        categories = values.dtype.categories.to_series()
        kind["ordered"] = bool(values.dtype.ordered)
        kind["categories"] = pack_column(categories, where)
        kind["type"] = "category"
    cells = [
        value
        if type(value) is str
        else (_tagged("none") if value is None else encode(value, where))
        for value in values.tolist()
    ]
    missing = {
        cell[_TAG]: None for cell in cells if isinstance(cell, dict) and cell.get(_TAG) in _MISSING
    }
    if missing:
        # The most usual case is one kind of missing value per column: it becomes null.
        usual = next(iter(missing))
        kind["missing"] = usual
        cells = [None if cell == {_TAG: usual} else cell for cell in cells]
    return kind, cells


def unpack_column(kind: Mapping[str, Any], cells: Sequence[Any]) -> pd.Series:
    """Undo `pack_column`."""
    missing = _MISSING.get(kind.get("missing", "none"))
    values = [missing if cell is None else decode(cell) for cell in cells]
    if kind["type"] == "category":
        categories = pd.Index(unpack_column(*kind["categories"]))
        codes = categories.get_indexer(pd.Index(values, dtype=object)).tolist()
        return pd.Series(pd.Categorical.from_codes(codes, categories, ordered=kind["ordered"]))
    return pd.Series(values, dtype=kind["type"])


def pack_frame(frame: pd.DataFrame, where: str) -> PackedFrame:
    """Encode a table.

    Raises
    ------
    StoreError
        Two columns have the same name, a name is no text, or a value cannot be kept exactly.
    """
    names = list(frame.columns)
    doubtful = [name for name in names if not isinstance(name, str) or names.count(name) > 1]
    if doubtful:
        raise StoreError(
            "Column names must be text and differ from each other.",
            where=f"{where}, column {doubtful[0]!r}",
            fix="Rename this column.",
        )
    index_kind, index = pack_column(frame.index.to_series(), f"{where}, row labels")
    packed = {name: pack_column(frame[name], f"{where}, column {name!r}") for name in names}
    kinds = [[name, kind] for name, (kind, _) in packed.items()]
    return PackedFrame(
        format={"index": [frame.index.name, index_kind], "columns": kinds},
        index=index,
        columns={name: cells for name, (_, cells) in packed.items()},
    )


def unpack_frame(packed: PackedFrame) -> pd.DataFrame:
    """Undo `pack_frame`."""
    index_name, index_kind = packed.format["index"]
    index = pd.Index(unpack_column(index_kind, packed.index), name=index_name)
    columns = {
        name: unpack_column(kind, packed.columns[name]).set_axis(index)
        for name, kind in packed.format["columns"]
    }
    return pd.DataFrame(columns, index=index)
