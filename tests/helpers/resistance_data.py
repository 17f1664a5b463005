"""A few patients of the melanoma cohort, by response."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from xpert_core.cohorts import example_path, paired_example_path
from xpert_core.genes import load_panel


def write_responders(path: Path, n: int = 4) -> Path:
    """Write `n` patients with PRCR, `n` with PD and one without a response; landmark genes."""
    table = pd.read_csv(example_path())
    response = table["response"].fillna("")
    rows = [
        table[response == label].head(size) for label, size in (("PRCR", n), ("PD", n), ("", 1))
    ]
    genes = set(load_panel().symbols)
    columns = [c for i, c in enumerate(table.columns) if i < 4 or c in genes]
    pd.concat(rows)[columns].to_csv(path, index=False)
    return path


def write_pairs(path: Path) -> Path:
    """Write the pairs of three patients with PRCR, two with SD and two with PD."""
    table = pd.read_csv(paired_example_path())
    chosen = []
    for label, size in (("PRCR", 3), ("SD", 2), ("PD", 2)):
        chosen += list(table.loc[table["response"] == label, "patient_id"].unique()[:size])
    table[table["patient_id"].isin(chosen)].to_csv(path, index=False)
    return path
