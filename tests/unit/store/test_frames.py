"""Tables survive JSON: types, categories, every kind of missing value."""

from __future__ import annotations

import json
from datetime import date, datetime, time

import numpy as np
import pandas as pd
import pytest
from store_data import assert_same_table

from xpert_core.errors import StoreError
from xpert_core.store.frames import PackedFrame, decode, encode, pack_frame, unpack_frame


def through_json(frame: pd.DataFrame) -> pd.DataFrame:
    packed = pack_frame(frame, "table")
    text = json.dumps([packed.format, packed.index, packed.columns], allow_nan=False)
    return unpack_frame(PackedFrame(*json.loads(text)))


COLUMNS = {
    "text": pd.Series(["a", "", "ü", "=1+1"]),
    "text with None": pd.Series(["a", None, "b", None]),
    "text with NaN": pd.Series(["a", np.nan, "b", np.nan]),
    "mixed missing": pd.Series(["a", np.nan, None, pd.NA], dtype=object),
    "mixed kinds": pd.Series([1, "1", 1.0, True], dtype=object),
    "all missing": pd.Series([None] * 4, dtype=object),
    "nullable text": pd.Series(["a", pd.NA, "b", ""], dtype="string[python]"),
    "int64": pd.Series([1, -(2**62), 0, 2**62]),
    "uint8": pd.Series([0, 255, 3, 4], dtype="uint8"),
    "bool": pd.Series([True, False, True, True]),
    "float64": pd.Series([0.1, np.nan, -np.inf, 5e-324]),
    "float32": pd.Series([0.1, np.nan, np.inf, -0.0], dtype="float32"),
    "Int64": pd.Series([2**62 + 1, pd.NA, 3, -4], dtype="Int64"),
    "boolean": pd.Series([True, pd.NA, False, True], dtype="boolean"),
    "day": pd.to_datetime(pd.Series(["2026-01-01", None, "2026-01-02", "1970-01-01"])),
    "moment": pd.to_datetime(pd.Series(["2026-01-01T01:02:03.000000004Z", None] * 2), utc=True),
    "span": pd.to_timedelta(pd.Series(["1 day 00:00:01.5", None, "3 h", "-2 min"])),
    "python times": pd.Series(
        [datetime(2026, 1, 2, 3, 4), date(2026, 1, 2), time(3, 4), None], dtype=object
    ),
    "ordered": pd.Series(pd.Categorical(["b", None, "a", "b"], ["b", "a", "c"], ordered=True)),
    "number categories": pd.Series(pd.Categorical([2, 1, None, 2], [2, 1])),
    "no categories": pd.Series(pd.Categorical([None] * 4, [])),
}


@pytest.mark.parametrize("name", COLUMNS)
def test_a_column_comes_back_the_same(name: str) -> None:
    frame = pd.DataFrame({name: COLUMNS[name]})
    frame.index = pd.Index(["r1", "r2", "r3", "r4"], name="row")
    assert_same_table(through_json(frame), frame)


@pytest.mark.parametrize(
    "index",
    [
        pd.RangeIndex(4),
        pd.Index([10, 20, 30, 30], name="number"),
        pd.Index(["a", "b", None, "d"], name="label"),
    ],
)
def test_row_labels_come_back_the_same(index: pd.Index) -> None:
    frame = pd.DataFrame({"x": [1.0, 2.0, 3.0, 4.0]}, index=index)
    back = through_json(frame)
    assert back.index.tolist() == frame.index.tolist()
    assert (back.index.dtype, back.index.name) == (frame.index.dtype, frame.index.name)


def test_a_table_without_rows_keeps_its_columns() -> None:
    frame = pd.DataFrame(COLUMNS).iloc[:0]
    back = through_json(frame)
    assert list(back.columns) == list(frame.columns)
    assert back.dtypes.astype(str).tolist() == frame.dtypes.astype(str).tolist()


def test_a_document_that_uses_the_tag_is_not_taken_for_one() -> None:
    document = {"a": [{"$": "nan", "value": {"$": 1}}, None, {"$": {"x": [float("-inf")]}}]}
    assert decode(json.loads(json.dumps(encode(document, "card"), allow_nan=False))) == document


def test_numpy_numbers_become_plain_ones() -> None:
    assert encode({"a": np.float32(0.5), "b": np.int64(3), "c": np.bool_(True)}, "card") == {
        "a": 0.5,
        "b": 3,
        "c": True,
    }


@pytest.mark.parametrize("value", [{1, 2}, 1 + 2j, {1: "a"}, b"bytes", object()])
def test_what_cannot_be_kept_is_refused_by_name(value: object) -> None:
    frame = pd.DataFrame({"site": pd.Series(["a", value], dtype=object)})
    with pytest.raises(StoreError, match="cannot be stored") as caught:
        pack_frame(frame, "sample table")
    assert "sample table, column 'site'" in caught.value.where
    assert caught.value.fix


def test_two_columns_of_one_name_are_refused() -> None:
    frame = pd.DataFrame([[1, 2]], columns=["site", "site"])
    with pytest.raises(StoreError, match="differ from each other") as caught:
        pack_frame(frame, "sample table")
    assert "'site'" in caught.value.where
