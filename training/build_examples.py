"""Copy the example cohorts into ``assets/examples`` and cut paired ones from real pairs.

Usage: ``python training/build_examples.py CLINICAL_FOLDER``, where the folder holds the files
listed in ``assets/examples/PROVENANCE.md``.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import anndata
import numpy as np
import pandas as pd

from xpert_core.files import atomic_path
from xpert_core.genes import load_panel, resolve
from xpert_core.paths import assets_dir

EXAMPLES = (
    "user_upload_pretreatment_melanoma_nivolumab.csv",
    "user_upload_paired_breast_letrozole.csv",
    "user_upload_paired_breast_doxorubicin.csv",
)
PAIRED = "gse91061_nivolumab_melanoma_paired.h5ad"
TEMPLATE = "template_paired_melanoma_nivolumab.csv"
TEMPLATE_PATIENTS = 3
PAIRS = "paired_melanoma_nivolumab.csv"


def paired_rows(paired: anndata.AnnData, patients: int, decimals: int) -> pd.DataFrame:
    """The first patients of the paired cohort, before and after, landmark genes."""
    column = resolve(list(paired.var_names), load_panel()).column_of_gene
    column = column[column >= 0]
    parts = []
    for patient in range(patients):
        about = paired.obs.iloc[patient]
        for stage, matrix in (("pre", paired.obsm["X_ctl"]), ("post", paired.X)):
            values = np.round(np.asarray(matrix[patient, column], dtype=np.float64), decimals)
            row = {
                "patient_id": about["patient_id"],
                "timepoint": stage,
                "cancer_type": about["cancer_type"],
                "drug": about["drug"],
                "time": about["time"] if stage == "post" else "",
                "response": about["response"],
            }
            parts.append({**row, **dict(zip(paired.var_names[column], values, strict=True))})
    return pd.DataFrame(parts)


def main(folder: Path) -> None:
    """Write every example file."""
    target = assets_dir() / "examples"
    for name in EXAMPLES:
        with atomic_path(target / name) as temporary:
            shutil.copyfile(folder / name, temporary)
    paired = anndata.read_h5ad(folder / PAIRED)
    for name, patients, decimals in ((TEMPLATE, TEMPLATE_PATIENTS, 2), (PAIRS, len(paired), 3)):
        with atomic_path(target / name) as temporary:
            paired_rows(paired, patients, decimals).to_csv(temporary, index=False)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
