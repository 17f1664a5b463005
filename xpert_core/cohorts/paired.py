"""Profiles before and after treatment, pair by pair: what fine-tuning takes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from xpert_core.genes.records import GenePanel, GeneReport

#: Columns that `PairedProfiles.pairs` always has; they are text, "" where the file does not say.
PAIR_COLUMNS = ("patient_id", "sample_before", "sample_after", "drug", "dose", "time", "response")


@dataclass(frozen=True)
class PairedProfiles:
    """A paired cohort on a gene panel.

    Attributes
    ----------
    name : str
        Name of the cohort.
    pairs : DataFrame, n rows
        One row a pair: index ``pair_id`` (unique), the columns of `PAIR_COLUMNS`, then any other
        column of the file, as it stands at the sample after treatment.
    x_before, x_after : ndarray of float32, shape (n, len(panel))
        Values on the scale of `unit`; NaN = not measured.
    unit : str
        ``"log2"``: expression levels. ``"z-score"`` and ``"log-ratio"`` (log2 ratio to a reference
        sample): only the difference means anything, so the cohort gives x_deg targets and no
        x_pert; the difference of log2 ratios to one reference is a log2 change.
    panel : GenePanel
    genes : GeneReport
    scale_transform : str
        What was applied to reach `unit`, e.g. ``"log2(CPM + 1)"`` or ``"none"``.
    input_sha256 : str
        Hash of the uploaded bytes.
    notes : tuple of str
    """

    name: str
    pairs: pd.DataFrame
    x_before: np.ndarray
    x_after: np.ndarray
    unit: str
    panel: GenePanel
    genes: GeneReport
    scale_transform: str
    input_sha256: str
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.pairs)

    @property
    def x_deg(self) -> np.ndarray:
        """Change of each pair, in `unit`; NaN where either side is not measured."""
        return self.x_after - self.x_before

    @property
    def patients(self) -> tuple[str, ...]:
        """Patient of each pair."""
        return tuple(self.pairs["patient_id"])
