"""The shipped model and a few patients of the example cohort."""

from __future__ import annotations

from itertools import islice

import pytest

from xpert_core.cohorts import example_path, read_cohort, to_profiles
from xpert_core.cohorts.records import Profiles
from xpert_core.prediction import Predictor


@pytest.fixture(scope="session")
def predictor() -> Predictor:
    return Predictor.load()


@pytest.fixture(scope="session")
def profiles(predictor: Predictor) -> Profiles:
    """Ten patients."""
    with example_path().open("rb") as stream:
        rows = b"".join(islice(stream, 11))
    return to_profiles(read_cohort(rows, filename="ten.csv"), predictor.panel)
