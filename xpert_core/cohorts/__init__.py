"""Expression files of patients: reading, checking, and profiles ready for prediction."""

from __future__ import annotations

from xpert_core.cohorts.pair_checks import (
    Finding,
    PairCheck,
    check_pairs,
    require_sound,
    require_usable,
)
from xpert_core.cohorts.paired import PairedProfiles
from xpert_core.cohorts.pairing import to_pairs
from xpert_core.cohorts.pairs import pair_table, unmatched_patients
from xpert_core.cohorts.profiles import CohortCheck, check_cohort, to_profiles
from xpert_core.cohorts.read import UPLOAD_LIMIT_MB, read_cohort, read_paired_files
from xpert_core.cohorts.readers import suffixes
from xpert_core.cohorts.records import SAMPLE_COLUMNS, SCALES, Cohort, Profiles, ScaleReport
from xpert_core.cohorts.templates import example_path, paired_example_path, template_csv

__all__ = [
    "SAMPLE_COLUMNS",
    "SCALES",
    "UPLOAD_LIMIT_MB",
    "Cohort",
    "CohortCheck",
    "Finding",
    "PairCheck",
    "PairedProfiles",
    "Profiles",
    "ScaleReport",
    "check_cohort",
    "check_pairs",
    "example_path",
    "pair_table",
    "paired_example_path",
    "read_cohort",
    "read_paired_files",
    "require_sound",
    "require_usable",
    "suffixes",
    "template_csv",
    "to_pairs",
    "to_profiles",
    "unmatched_patients",
]
