"""Samples of patients to pairs: each sample after treatment with its patient's before it."""

from __future__ import annotations

import numpy as np
import pandas as pd

from xpert_core.cohorts.metadata import timepoint
from xpert_core.preparation.doses import dose_bins, read_doses, read_times, time_bins
from xpert_core.preparation.records import Counts

#: Text columns of pairs; "" where a sheet has none. The first four are the published names.
_PUBLISHED = {
    "patient": "Patient ID",
    "cancer": "Cancer subtype",
    "response": "Response group",
    "platform": "Platform",
    "dataset": "Source dataset",
}


def stages_of(rows: pd.DataFrame, counts: Counts) -> pd.DataFrame:
    """Rows with ``stage`` "pre" or "post" read from ``timepoint``, and a patient."""
    stage = [(timepoint(cell) or "") if cell else "" for cell in rows["timepoint"]]
    rows = rows.assign(stage=stage)
    rows = counts.keep(rows, rows["stage"] != "", "time point missing or not understood")
    return counts.keep(rows, rows["patient"] != "", "no patient")


def pair_patients(
    rows: pd.DataFrame, values: np.ndarray, counts: Counts, where: str
) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    """Pairs of patients.

    Several samples of a patient before treatment are averaged; each sample after it is a row.

    Parameters
    ----------
    rows : DataFrame
        ``sample``, ``row`` (of `values`), ``stage``, ``patient``, ``dataset``, ``drug``, ``dose``,
        ``time``, ``cancer``, ``platform``, ``response``, ``smiles``.
    values : ndarray of float32, shape (samples, G)

    Returns
    -------
    tuple
        obs of the pairs, and their values after and before treatment, float32 (pairs, G).

    Raises
    ------
    DataError
        When no patient has both.
    """
    obs, x, x_ctl, several = [], [], [], 0
    alone = {"before": 0, "after": 0}
    for _, group in rows.groupby(["dataset", "patient"], sort=True):
        before, after = (group[group["stage"] == stage] for stage in ("pre", "post"))
        if before.empty or after.empty:
            alone["before" if after.empty else "after"] += 1
            continue
        several += len(before) > 1
        control = values[before["row"]].mean(axis=0)
        for sample in after.to_dict("records"):
            x.append(values[sample["row"]])
            x_ctl.append(control)
            obs.append(_pair(sample, before.iloc[0]))
    counts.add("left out: patients with samples before treatment only", alone["before"])
    counts.add("left out: patients with samples after treatment only", alone["after"])
    counts.add("patients with several samples before treatment, averaged", several)
    counts.refuse_empty(len(obs), where)
    table = pd.DataFrame(obs).set_index("sample_id")
    counts.add("pairs", len(table))
    counts.add("patients", table["pair_match_id"].nunique())
    table["dose_um"] = read_doses(table["pert_dose"].tolist())
    table["time_h"] = read_times(table["pert_time"].tolist())
    dosed = table["dose_um"].notna()
    counts.add("pairs without a molar dose, kept", int((~dosed).sum()))
    counts.add("pairs without a time, kept", int(table["time_h"].isna().sum()))
    # The paper's own bins of clinical doses are not published: a dose by mass has none here.
    table["pert_dose_idx"] = np.where(dosed, dose_bins(table["dose_um"].to_numpy()), -1)
    table["pert_time_idx"] = time_bins(table["time_h"].to_numpy())
    table["pert_idx"] = pd.factorize(table["pert_id"], sort=True)[0]
    return table, np.stack(x).astype(np.float32), np.stack(x_ctl).astype(np.float32)


def _pair(after: dict, before: pd.Series) -> dict[str, str]:
    """``obs`` of one pair; what the later sample does not say is taken from the first one."""
    told = {key: after[key] or before[key] for key in (*_PUBLISHED, "dose", "time", "smiles")}
    patient = f"{told['dataset']}:{told['patient']}" if told["dataset"] else told["patient"]
    return {
        "sample_id": after["sample"],
        "sample_before": before["sample"],
        **{published: told[key] for key, published in _PUBLISHED.items()},
        "Patient ID": patient,
        "pair_match_id": patient,
        "pert_id": after["drug"],
        "cmap_name": after["drug"],
        "canonical_smiles": told["smiles"],
        "pert_dose": told["dose"],
        "pert_time": told["time"],
    }
