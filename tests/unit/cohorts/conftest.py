"""Real melanoma profiles (three patients, before and on treatment) as building material."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd
import pytest

from xpert_core.cohorts import Cohort, read_cohort
from xpert_core.genes import load_panel
from xpert_core.genes.records import GenePanel
from xpert_core.paths import assets_dir


@pytest.fixture(scope="session")
def panel() -> GenePanel:
    return load_panel()


@pytest.fixture(scope="session")
def paired_frame() -> pd.DataFrame:
    """6 samples x (6 metadata columns + 977 landmark genes), as shipped."""
    return pd.read_csv(assets_dir() / "examples" / "template_paired_melanoma_nivolumab.csv")


@pytest.fixture
def frame(paired_frame: pd.DataFrame) -> pd.DataFrame:
    """The three samples before treatment with 60 landmark genes: small, for malformed files."""
    before = paired_frame[paired_frame["timepoint"] == "pre"].reset_index(drop=True)
    return before[["patient_id", "response", *before.columns[6:66]]].copy()


@pytest.fixture
def read() -> Callable[..., Cohort]:
    """Read text (as UTF-8) or bytes as an upload of the given name."""

    def read_content(content: str | bytes, name: str = "upload.csv", **options: object) -> Cohort:
        data = content.encode() if isinstance(content, str) else content
        return read_cohort(data, filename=name, **options)

    return read_content
