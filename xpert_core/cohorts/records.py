"""Records of a cohort: the file as read, and the profiles a model can take."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from xpert_core.genes.records import GenePanel, GeneReport

#: Standard sample columns; anything else of the file is kept under its own name.
SAMPLE_COLUMNS = ("patient_id", "timepoint", "drug", "dose", "time", "response")

#: Scales a matrix can be on. The first four can give base profiles, the last two cannot.
SCALES = ("counts", "tpm", "cpm", "log2", "z-score", "log-ratio")


@dataclass(frozen=True)
class ScaleReport:
    """The scale of a matrix: what was detected, what is used, and why.

    Attributes
    ----------
    detected, used : str
        One of `SCALES`; they differ when the user overrode the detection.
    evidence : str
        The sentence shown to the user, with the numbers that decided.
    transform : str
        What is applied to reach log2, e.g. ``"log2(CPM + 1)"`` or ``"none"``.
    """

    detected: str
    used: str
    evidence: str
    transform: str


@dataclass(frozen=True)
class Cohort:
    """An expression file as read, before genes are matched to a panel.

    Attributes
    ----------
    name : str
        File name without folder.
    expression : ndarray of float32, shape (n_samples, n_columns)
        Values as in the file; NaN where blank.
    identifiers : tuple of str
        Gene identifiers as in the file, one per column.
    samples : DataFrame, n_samples rows
        Index ``sample_id`` (unique). Always has the columns of `SAMPLE_COLUMNS` (missing values
        where the file does not say); ``timepoint`` is "pre", "post" or missing. Extra metadata
        columns of the file follow.
    scale : ScaleReport
        The scale of `expression`.
    input_sha256 : str
        Hash of the file's bytes.
    notes : tuple of str
        What the reader did: encoding, delimiter, orientation, renamed or repaired fields.
    """

    name: str
    expression: np.ndarray
    identifiers: tuple[str, ...]
    samples: pd.DataFrame
    scale: ScaleReport
    input_sha256: str
    notes: tuple[str, ...] = ()

    @property
    def is_paired(self) -> bool:
        """Whether at least one patient has a sample before and one after treatment."""
        stages = self.samples.groupby("patient_id")["timepoint"].agg(set)
        return any({"pre", "post"} <= s for s in stages)


@dataclass(frozen=True)
class Profiles:
    """Pretreatment profiles on a panel, on the log2 scale: what prediction takes.

    Attributes
    ----------
    name : str
        Name of the cohort.
    samples : DataFrame, n rows
        As `Cohort.samples`, only rows before treatment (or without a timepoint).
    x_ctl : ndarray of float32, shape (n, len(panel))
        log2 expression; NaN = not measured (gene absent from the file, or a blank cell).
    panel : GenePanel
    genes : GeneReport
    scale : ScaleReport
    input_sha256 : str
    notes : tuple of str
    """

    name: str
    samples: pd.DataFrame
    x_ctl: np.ndarray
    panel: GenePanel
    genes: GeneReport
    scale: ScaleReport
    input_sha256: str
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def n_missing(self) -> np.ndarray:
        """Panel genes not measured, per profile; shape (n,)."""
        return np.isnan(self.x_ctl).sum(axis=1)
