"""Files to start from: the example cohort and templates that open in a spreadsheet."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pandas as pd

from xpert_core.cohorts.read import read_cohort
from xpert_core.errors import CohortError
from xpert_core.genes import load_panel, resolve
from xpert_core.paths import assets_dir

_EXAMPLE = "user_upload_pretreatment_melanoma_nivolumab.csv"
_PAIRED_EXAMPLE = "paired_melanoma_nivolumab.csv"
_TEMPLATE_ROWS = "template_paired_melanoma_nivolumab.csv"

#: Metadata columns of each template; the panel's genes follow.
_COLUMNS = {
    "pretreatment": ("patient_id", "cancer_type", "drug", "response"),
    "paired": ("patient_id", "timepoint", "cancer_type", "drug", "time", "response"),
}


def example_path() -> Path:
    """The example cohort: 51 melanoma patients before nivolumab (GSE91061)."""
    return assets_dir() / "examples" / _EXAMPLE


def paired_example_path() -> Path:
    """The paired example: 43 melanoma patients before and on nivolumab (GSE91061)."""
    return assets_dir() / "examples" / _PAIRED_EXAMPLE


def template_csv(kind: str) -> bytes:
    """A small CSV with the right columns and a few real melanoma samples to overwrite.

    Parameters
    ----------
    kind : {"pretreatment", "paired"}
        One row a patient, or one row before and one after treatment.

    Returns
    -------
    bytes
        UTF-8 with a byte-order mark, which makes Excel read accents rightly; log2(CPM + 1) with
        two decimals; a gene that the example lacks is blank.

    Raises
    ------
    CohortError
        When `kind` is not known.
    """
    if kind not in _COLUMNS:
        raise CohortError(
            f"There is no template '{kind}'.", fix=f"Use one of: {', '.join(_COLUMNS)}."
        )
    panel = load_panel()
    cohort = read_cohort(assets_dir() / "examples" / _TEMPLATE_ROWS)
    column = resolve(cohort.identifiers, panel).column_of_gene
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\r\n")
    writer.writerow([*_COLUMNS[kind], *panel.symbols])
    for row, (_, sample) in enumerate(cohort.samples.iterrows()):
        if kind == "pretreatment" and sample["timepoint"] != "pre":
            continue
        values = np.where(column >= 0, cohort.expression[row, column], np.nan)
        cells = ["" if np.isnan(v) else f"{v:.2f}" for v in values]
        writer.writerow([*_metadata(sample, kind), *cells])
    return stream.getvalue().encode("utf-8-sig")


def _metadata(sample: pd.Series, kind: str) -> list[str]:
    return [sample[name] or "" for name in _COLUMNS[kind]]
