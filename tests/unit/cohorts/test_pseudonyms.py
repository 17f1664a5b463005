"""Pseudonyms: no name survives, samples of one patient stay together, the key leads back."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest

from xpert_core.cohorts import example_path, read_cohort, to_profiles
from xpert_core.cohorts.pseudonyms import pseudonymised
from xpert_core.cohorts.records import Profiles
from xpert_core.genes import load_panel


@pytest.fixture(scope="module")
def profiles() -> Profiles:
    with example_path().open("rb") as stream:
        content = b"".join(islice(stream, 5))
    # Two samples of one patient, with ids that hold names.
    header, *rows = content.decode().splitlines()
    names = ["Ann Alpha", "Bob Beta", "Ann Alpha", "Cyd Gamma"]
    lines = []
    for number, (row, name) in enumerate(zip(rows, names, strict=True)):
        lines.append(f"biopsy of {name} {number},{name},{row.split(',', 1)[1]}")
    text = "\n".join([f"sample_id,{header}", *lines])
    return to_profiles(read_cohort(text.encode(), filename="names.csv"), load_panel())


def test_no_name_survives_and_patients_stay_together(profiles: Profiles) -> None:
    changed, key = pseudonymised(profiles)
    assert list(changed.samples.index) == ["S001", "S002", "S003", "S004"]
    assert list(changed.samples["patient_id"]) == ["P001", "P002", "P001", "P003"]
    assert not [n for n in ("Ann", "Bob", "Cyd") if n in changed.samples.to_csv()]
    np.testing.assert_array_equal(changed.x_ctl, profiles.x_ctl)
    assert changed.samples.index.name == profiles.samples.index.name
    back = key.set_index("sample_pseudonym")
    assert back.loc["S003", "patient_id"] == "Ann Alpha"
    assert back.loc["S004", "sample_id"] == profiles.samples.index[3]


def test_the_original_is_not_touched(profiles: Profiles) -> None:
    before = profiles.samples.copy()
    pseudonymised(profiles)
    assert profiles.samples.equals(before)
