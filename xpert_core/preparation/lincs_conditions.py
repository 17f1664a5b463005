"""Wells to conditions: a row a cell line, compound, time and dose bin; the paper's subsets."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from xpert_core.preparation.doses import time_bins
from xpert_core.preparation.lincs_tables import Wells

SUBSETS = ("full", "sdst", "mdmt", "mdmt_pretrain")
SDST_DOSE_BIN, SDST_TIME_H = 8, 24.0
"""10 uM falls into bin 8 (7.1 to 12.1 uM)."""


@dataclass(frozen=True)
class Conditions:
    """Conditions of wells.

    Attributes
    ----------
    obs : DataFrame, C rows
        In the order of their names.
    of_well : ndarray of int64, shape (treated wells,)
        Condition of each treated well.
    """

    obs: pd.DataFrame
    of_well: np.ndarray

    def __len__(self) -> int:
        return len(self.obs)


def collapse(wells: Wells, compounds: pd.DataFrame | None) -> Conditions:
    """Conditions of wells with their names, doses, compounds and numbers of replicates."""
    rows = wells.treated
    keys = pd.DataFrame(
        {
            "cell": rows["cell_iname"].cat.codes,
            "pert": rows["pert_id"].cat.codes,
            "time": time_bins(rows["pert_time"].to_numpy()),
            "bin": rows["dose_bin"],
        }
    )
    grouped = keys.groupby(list(keys.columns), sort=True)
    number = grouped.ngroup().to_numpy(dtype=np.int64)
    first = np.zeros(int(number.max()) + 1, dtype=np.int64)
    first[number[::-1]] = np.arange(len(rows))[::-1]
    head = rows.iloc[first].reset_index(drop=True)
    obs = pd.DataFrame(
        {
            "cell_iname": head["cell_iname"].astype(str),
            "pert_id": head["pert_id"].astype(str),
            "pert_idx": np.unique(head["pert_id"].cat.codes, return_inverse=True)[1],
            "pert_dose": _joined(rows["pert_dose"].map("{:g}".format), number),
            "pert_dose_unit": "uM",
            "dose_um": _mean(rows["dose_um"].to_numpy(), number),
            "pert_dose_idx": head["dose_bin"].to_numpy(),
            "pert_time": head["pert_time"].to_numpy(),
            "time_h": head["pert_time"].to_numpy(),
            "pert_time_idx": time_bins(head["pert_time"].to_numpy()),
            "n_replicates": np.bincount(number),
            "det_plate": _joined(rows["det_plate"].astype(str), number),
            "bead_batch": head["bead_batch"].astype(object).fillna("").astype(str),
        }
    )
    names = zip(obs["cell_iname"], obs["pert_id"], obs["time_h"], obs["pert_dose_idx"], strict=True)
    obs.index = pd.Index([f"{c}:{p}:{t:g}:{b}" for c, p, t, b in names], name="sample_id")
    obs["cell_pert_dose_time"] = obs.index
    for name in ("cmap_name", "canonical_smiles", "moa", "target"):
        obs[name] = "" if compounds is None else obs["pert_id"].map(compounds[name]).fillna("")
    return Conditions(obs, number)


def _joined(cells: pd.Series, number: np.ndarray) -> np.ndarray:
    """Distinct values of each condition, ``;``-joined in file order."""
    table = pd.DataFrame({"number": number, "cell": cells.to_numpy()}).drop_duplicates()
    return table.groupby("number")["cell"].agg(";".join).to_numpy()


def _mean(values: np.ndarray, number: np.ndarray) -> np.ndarray:
    return np.bincount(number, weights=values) / np.bincount(number)


def subset_rows(obs: pd.DataFrame, subset: str) -> np.ndarray:
    """Rows of a subset of the paper; int64, increasing.

    ``full`` all; ``sdst`` 24 h and 10 uM (bin 8); ``mdmt`` cell-drug pairs with both more than one
    dose bin and more than one time; ``mdmt_pretrain`` the others.
    """
    if subset == "full":
        chosen = np.ones(len(obs), dtype=bool)
    elif subset == "sdst":
        dose, time = obs["pert_dose_idx"].to_numpy(), obs["time_h"].to_numpy()
        chosen = (dose == SDST_DOSE_BIN) & (time == SDST_TIME_H)
    else:
        pairs = obs.groupby(["cell_iname", "pert_id"], observed=True)
        several = pairs[["pert_dose_idx", "pert_time_idx"]].transform("nunique") > 1
        chosen = several.to_numpy().all(axis=1) == (subset == "mdmt")
    return np.flatnonzero(chosen)
