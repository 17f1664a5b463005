"""Groups of patients: what can be asked for, and what is refused with numbers."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from xpert_core.errors import ExplanationError
from xpert_core.explanation.groups import (
    average_by_patient,
    group_values,
    groups_by_threshold,
    groups_by_value,
    is_numeric,
)


def samples(**columns: list[object]) -> pd.DataFrame:
    n = len(next(iter(columns.values())))
    table = pd.DataFrame(columns, index=pd.Index([f"S{i}" for i in range(n)], name="sample_id"))
    if "patient_id" not in table:
        table["patient_id"] = [f"P{i}" for i in range(n)]
    return table


RESPONSE = ["PRCR", "PRCR", " prcr", "SD", "PD", "PD", "SD", None, "UNK", "NE", "mixed"]


def test_values_are_joined_and_what_is_left_out_is_counted() -> None:
    groups = groups_by_value(samples(response=RESPONSE), "response", ["PRCR"], ["SD", "PD"])
    assert (groups.n_a, groups.n_b) == (3, 4)
    assert groups.rows.tolist() == [0, 1, 2, 3, 4, 5, 6]
    assert groups.in_b.tolist() == [False] * 3 + [True] * 4
    assert (groups.n_unlabelled, groups.n_other) == (3, 1)
    assert groups.sentence == (
        "3 patients in A (PRCR) and 4 in B (SD, PD); left out: 3 without a value of 'response' "
        "and 1 with a value not chosen."
    )
    assert group_values(samples(response=RESPONSE), "response")["PD"] == 2


def test_numbers_are_split_at_the_median_or_a_threshold() -> None:
    table = samples(age=["40", "50", 60, 70.5, "80", "90", None])
    assert is_numeric(table, "age") and not is_numeric(samples(r=RESPONSE), "r")
    groups = groups_by_threshold(table, "age")
    assert groups.in_b.tolist() == [False, False, False, True, True, True]
    assert groups.label_a == "age ≤ median 65.25" and groups.n_unlabelled == 1
    moved = groups_by_threshold(samples(age=list(range(10))), "age", 3)
    assert (moved.n_a, moved.n_b, moved.label_b) == (4, 6, "age > 3")


@pytest.mark.parametrize(
    ("labels", "a", "b", "says"),
    [
        (["R"] * 6, ["R"], ["N"], "All labels are equal: every sample with a value has 'R'"),
        (["R", "R", "R", "N", "N", "N"], [], ["N"], "Group A is empty"),
        (["R", "R", "R", "N", "N", "N"], ["R"], [" "], "Group B is empty"),
        (["R", "R", "R", "N", "N", "N"], ["R"], ["X"], "asks for 'X', which no sample has"),
        (["R", "R", "R", "N", "N", "N"], ["R"], ["R", "N"], "asked for in both groups"),
        (["R", "R", "R", "R", "N", "N"], ["R"], ["N"], "Group B (N) has 2 patients: too few"),
        (["R", "N"], ["R"], ["N"], "Group A (R) has 1 patient: too few for a test"),
        ([None, "NA"], ["R"], ["N"], "which no sample has"),
    ],
)
def test_bad_groups_are_refused(
    labels: list[object], a: list[str], b: list[str], says: str
) -> None:
    with pytest.raises(ExplanationError) as caught:
        groups_by_value(samples(response=labels), "response", a, b)
    assert says in caught.value.what
    assert caught.value.fix and "response" in caught.value.where


def test_bad_columns_are_refused() -> None:
    with pytest.raises(ExplanationError, match="has no column 'outcome'") as caught:
        groups_by_value(samples(response=RESPONSE), "outcome", ["a"], ["b"])
    assert "response" in caught.value.where
    with pytest.raises(ExplanationError, match="such as 'PRCR'"):
        groups_by_threshold(samples(response=RESPONSE), "response")
    with pytest.raises(ExplanationError, match=r"Group B .* is empty"):
        groups_by_threshold(samples(age=[5, 5, 5, 5]), "age")


def test_biopsies_of_one_patient_count_once() -> None:
    table = samples(
        response=["R", "R", "R", "R", "N", "N", "N"],
        patient_id=["b", "b", "a", "c", "d", "e", "f"],
    )
    groups = groups_by_value(table, "response", ["R"], ["N"])
    assert (groups.n_a, groups.n_b) == (3, 3) and "7 samples averaged" in groups.sentence
    values = np.arange(14.0).reshape(7, 2)
    values[1, 1] = np.nan
    mean = average_by_patient(values, groups.patients)
    assert mean[0].tolist() == [1.0, 1.0] and mean[1].tolist() == [4.0, 5.0]
    assert groups.patient_in_b.tolist() == [False, False, False, True, True, True]
    with pytest.raises(ExplanationError, match="samples in both groups, for instance 'b'"):
        groups_by_value(
            samples(response=["R", "N"] * 3, patient_id=["b", "b", "c", "d", "e", "f"]),
            "response", ["R"], ["N"],
        )  # fmt: skip
