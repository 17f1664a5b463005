"""A small base model on 60 landmark genes, and cohorts of real profiles cut to them."""

from __future__ import annotations

import pytest
from finetuning_data import make_base
from pair_data import paired_frame, pairs_of, small_panel

from xpert_core.cohorts import PairedProfiles
from xpert_core.finetuning.data import CohortData, prepare_cohort
from xpert_core.model.checkpoint import Checkpoint


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return make_base(tmp_path_factory.mktemp("base") / "small")


@pytest.fixture(scope="session")
def pairs() -> PairedProfiles:
    """Twelve patients, one of them with a gene that was not measured after treatment."""
    frame = paired_frame(12)
    frame.loc[5, small_panel().symbols[3]] = None
    return pairs_of(frame)


@pytest.fixture(scope="session")
def cohort(pairs: PairedProfiles, base: Checkpoint) -> CohortData:
    return prepare_cohort(pairs, base)
