"""Two groups of patients from a sample table, and the thresholds of a comparison."""

from __future__ import annotations

from functools import partial
from typing import Any

import pandas as pd
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from app import keys
from xpert_core.explanation.differential import Thresholds
from xpert_core.explanation.groups import (
    Groups,
    group_values,
    groups_by_threshold,
    groups_by_value,
    is_numeric,
)

#: Columns that cannot make two groups, whatever they hold.
NOT_GROUPS = ("patient_id", "sample_before", "sample_after")


def usable_columns(samples: pd.DataFrame) -> list[str]:
    """Columns with at least two values, response first."""
    found = []
    for column in map(str, samples.columns):
        kinds = len(group_values(samples, column))
        names = kinds == len(samples) and not is_numeric(samples, column)
        if column not in NOT_GROUPS and kinds > 1 and not names:
            found.append(column)
    return sorted(found, key=lambda name: name != "response")


def choose_groups(samples: pd.DataFrame, scope: str = "") -> Groups | None:
    """Column and values of the two groups; None while a group is still to be chosen.

    Parameters
    ----------
    samples : DataFrame
    scope : str
        Keeps the choices of one part of a page apart from those of another.
    """
    columns = usable_columns(samples)
    if not columns:
        st.info(
            "The sample table of this cohort has no column with two or more values, so there are "
            "no groups to compare. Add a column such as response to the file and upload it again."
        )
        return None
    key = f"{keys.RESISTANCE_COLUMN}{scope}"
    if st.session_state.get(key) not in columns:
        st.session_state[key] = columns[0]
    column = st.selectbox("Column with the groups", columns, key=key)
    if is_numeric(samples, column):
        middle = float(pd.to_numeric(samples[column], errors="coerce").median())
        limit = st.number_input(
            "Threshold", value=middle, key=_key(keys.RESISTANCE_SPLIT, scope, column),
            help="A: up to it. B: above it. The median to begin with.",
        )  # fmt: skip
        return groups_by_threshold(samples, column, limit)
    counts = group_values(samples, column)
    values = [str(value) for value in counts.index]
    left, right = st.columns(2)
    show = partial(_with_count, counts)
    a = left.multiselect(
        "Group A, the reference (for instance responders)", values, format_func=show,
        key=_key(keys.RESISTANCE_A, scope, column), placeholder="Choose values",
    )  # fmt: skip
    b = right.multiselect(
        "Group B (for instance non-responders)", values, format_func=show,
        key=_key(keys.RESISTANCE_B, scope, column), placeholder="Choose values",
    )  # fmt: skip
    if not a or not b:
        st.info(f"Still to choose: values of group {' and '.join(_empty(a, b))}.")
        return None
    return groups_by_value(samples, column, a, b)


def chosen_values(column: str, scope: str = "") -> dict[str, Any]:
    """The groups as the widgets have them: two lists of values, or a threshold."""
    values = [
        st.session_state.get(_key(key, scope, column))
        for key in (keys.RESISTANCE_A, keys.RESISTANCE_B)
    ]
    if all(values):
        return dict(zip(("a", "b"), values, strict=True))
    return {"threshold": st.session_state[_key(keys.RESISTANCE_SPLIT, scope, column)]}


def choose_thresholds(
    left: DeltaGenerator, right: DeltaGenerator, label: str, scope: str = ""
) -> Thresholds:
    """What a gene must reach to pass; `label` names the smallest difference."""
    q = left.number_input(
        "Largest q", 0.001, 1.0, 0.05, step=0.01, format="%.3f", key=f"{keys.RESISTANCE_Q}{scope}",
        help="Share of false genes among those that pass (Benjamini-Hochberg).",
    )  # fmt: skip
    smallest = right.number_input(
        label, 0.0, 10.0, 0.0, step=0.1, key=f"{keys.RESISTANCE_RATIO}{scope}"
    )
    return Thresholds(q, smallest)


def _key(name: str, scope: str, column: str) -> str:
    return f"{name}{scope}-{column}"


def _with_count(counts: pd.Series, value: str) -> str:
    return f"{value} ({counts[value]})"


def _empty(a: list[str], b: list[str]) -> list[str]:
    return [name for name, values in (("A", a), ("B", b)) if not values]
