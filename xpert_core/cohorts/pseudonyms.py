"""Pseudonyms for patients and samples, so that no name needs to be stored."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd

from xpert_core.cohorts.records import Profiles


def pseudonymised(profiles: Profiles) -> tuple[Profiles, pd.DataFrame]:
    """Replace patient and sample ids by numbers in order of appearance.

    Samples of one patient keep one pseudonym. Other columns of the sample table stay as they are.

    Parameters
    ----------
    profiles : Profiles

    Returns
    -------
    profiles : Profiles
        Patients P001, P002 and so on, samples S001 and so on.
    key : DataFrame
        Columns ``sample_id``, ``patient_id``, ``sample_pseudonym``, ``patient_pseudonym``: the
        only way back, which is the user's to keep.
    """
    samples = profiles.samples
    width = max(3, len(str(len(samples))))
    patients = samples["patient_id"]
    numbers, _ = pd.factorize(patients)  # -1 where no patient is named
    patient = pd.Series(
        [f"P{n + 1:0{width}d}" if n >= 0 else None for n in numbers], index=samples.index
    )
    sample = pd.Index([f"S{n + 1:0{width}d}" for n in range(len(samples))], name=samples.index.name)
    key = pd.DataFrame(
        {
            "sample_id": samples.index.to_numpy(),
            "patient_id": patients.to_numpy(),
            "sample_pseudonym": sample.to_numpy(),
            "patient_pseudonym": patient.to_numpy(),
        }
    )
    changed = samples.assign(patient_id=patient.astype(patients.dtype)).set_axis(sample)
    return replace(profiles, samples=changed), key
