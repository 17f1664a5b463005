"""Samples of one patient before and after treatment."""

from __future__ import annotations

import pandas as pd

from xpert_core.cohorts.records import Cohort


def pair_table(cohort: Cohort) -> pd.DataFrame:
    """Pairs of samples of the same patient, as row numbers of the cohort.

    A patient with several samples at a timepoint is paired by the first of each.

    Returns
    -------
    DataFrame
        Columns ``patient_id`` (str), ``before`` and ``after`` (rows of `cohort.expression`, int),
        in the order of the file; no row for patients who lack one side (see
        `unmatched_patients`).
    """
    rows = {"pre": _first_rows(cohort, "pre"), "post": _first_rows(cohort, "post")}
    pairs = [(p, row, rows["post"][p]) for p, row in rows["pre"].items() if p in rows["post"]]
    table = pd.DataFrame(pairs, columns=["patient_id", "before", "after"])
    return table.astype({"before": int, "after": int})


def unmatched_patients(cohort: Cohort) -> tuple[str, ...]:
    """Patients of a paired cohort who lack the sample before or the sample after treatment."""
    before, after = _first_rows(cohort, "pre"), _first_rows(cohort, "post")
    return tuple(p for p in cohort.samples["patient_id"].unique() if (p in before) != (p in after))


def _first_rows(cohort: Cohort, stage: str) -> dict[str, int]:
    found: dict[str, int] = {}
    columns = (cohort.samples["patient_id"], cohort.samples["timepoint"])
    for row, (patient, timepoint) in enumerate(zip(*columns, strict=True)):
        if timepoint == stage:
            found.setdefault(patient, row)
    return found
