"""A GEO series to a cohort file, or to pairs of patients."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from xpert_core.cohorts.metadata import sample_table, spelling, timepoint
from xpert_core.cohorts.scale import scale_name
from xpert_core.errors import CohortError, DataError
from xpert_core.preparation.layout import write_prepared
from xpert_core.preparation.pairing import pair_patients, stages_of
from xpert_core.preparation.panel import PanelMatrix, PanelReader
from xpert_core.preparation.records import Counts, Prepared, Report, digests, rows_of, silent
from xpert_core.preparation.series_matrix import SeriesHeader, SeriesTable, read_series_header
from xpert_core.preparation.staging import staged

_FIELDS = ("patient", "timepoint", "drug", "dose", "time", "cancer", "response")


@dataclass(frozen=True)
class GeoFields:
    """Where a series says what; a text that begins with ``=`` is the value of all samples.

    Attributes
    ----------
    patient, timepoint : str
        Columns; with both named, pairs are written.
    drug, dose, time, cancer, response : str
    """

    patient: str = ""
    timepoint: str = ""
    drug: str = ""
    dose: str = ""
    time: str = ""
    cancer: str = ""
    response: str = ""


def prepare_geo(
    path: Path,
    out: Path,
    *,
    named: GeoFields | None = None,
    scale: str | None = None,
    report: Report = silent,
) -> tuple[int, Counts]:
    """Write a series as one row a sample, or as pairs.

    Parameters
    ----------
    path : Path
        ``GSE..._series_matrix.txt``, gzipped or not.
    out : Path
    named : GeoFields, optional
        With ``patient`` and ``timepoint``, ``X`` is after and ``X_ctl`` before treatment.
    scale : str, optional
        Scale of the values, where the detection is wrong.
    report : callable, optional

    Returns
    -------
    (int, Counts)
        Rows written, and what was kept and left out.

    Raises
    ------
    DataError, CohortError
        When the file cannot be used, its scale has no way to log2, or a column is not there.
    """
    chosen, counts = named or GeoFields(), Counts()
    wanted = scale_name(scale) if scale else None
    series = read_series_header(path)
    if bool(chosen.patient) != bool(chosen.timepoint):
        raise DataError(
            "Pairs need both a patient column and a time point column.",
            where=f"columns: {', '.join(series.samples.columns)[:400]}",
            fix="Name both, or neither for one row a sample.",
        )
    fields = _named(series, chosen)
    inputs = digests([path], report)
    with staged(out) as stage:
        entry = stage.entry("series", path.name, *inputs.values())
        matrix = PanelReader(partial(SeriesTable, path, report), entry).read(wanted)
        counts.add("samples", len(matrix.samples))
        counts.add("probes or genes", matrix.n_genes)
        values = matrix.log2(np.arange(len(matrix.samples)), counts)
        obs, x, x_ctl = _rows(series, fields, values, counts, pairs=bool(chosen.patient))
        data = Prepared(
            obs, rows_of(x), None if x_ctl is None else rows_of(x_ctl),
            "samples" if x_ctl is None else "pairs", _scale_told(matrix), "geo", inputs,
            {**asdict(chosen), "series": series.series.get("geo_accession", ""),
             "platform": series.series.get("platform_id", ""),
             "scale_evidence": matrix.scale.evidence}, counts,
        )  # fmt: skip
        return write_prepared(out, data, stage=stage, report=report), counts


def _rows(
    series: SeriesHeader, fields: pd.DataFrame, values: np.ndarray, counts: Counts, *, pairs: bool
) -> tuple[pd.DataFrame, np.ndarray, np.ndarray | None]:
    """One row a sample, or pairs of patients with what was before treatment."""
    if not pairs:
        return _sample_obs(series.samples, fields), values, None
    rows = fields.assign(
        sample=series.samples.index, row=np.arange(len(values)), smiles="",
        platform=series.series.get("platform_id", ""),
        dataset=series.series.get("geo_accession", ""),
    )  # fmt: skip
    rows = stages_of(rows.reset_index(drop=True), counts)
    obs, x, x_ctl = pair_patients(rows, values, counts, series.name)
    extra = series.samples.drop(columns=[c for c in obs if c in series.samples])
    return obs.join(extra), x, x_ctl


def _scale_told(matrix: PanelMatrix) -> str:
    """The scale of the values written: log2, and what made it so."""
    transform = matrix.scale.transform
    return "log2" if transform == "none" else transform


def _named(series: SeriesHeader, chosen: GeoFields) -> pd.DataFrame:
    """The chosen fields of every sample, "" where none is named.

    Raises
    ------
    DataError
        When a column is not there; the message lists those that are.
    """
    by_spelling = {spelling(c): c for c in series.samples.columns}
    table = {}
    for field in _FIELDS:
        text = getattr(chosen, field)
        if not text or text.startswith("="):
            table[field] = [text.removeprefix("=").strip()] * len(series.samples)
            continue
        column = by_spelling.get(spelling(text))
        if column is None:
            raise DataError(
                f"The series has no sample field '{text}'.",
                where=f"{series.name}; its fields are: {', '.join(series.samples.columns)[:400]}",
                fix="Name one of these, or give one value for all samples as =VALUE.",
            )
        table[field] = series.samples[column].tolist()
    return pd.DataFrame(table, index=series.samples.index)


def _sample_obs(samples: pd.DataFrame, fields: pd.DataFrame) -> pd.DataFrame:
    """One row a sample, in columns that ``xpert cohort check`` and prediction understand."""
    obs = samples.copy()
    for column in list(obs.columns):
        if not _readable(column, obs[column].tolist()):
            obs = obs.rename(columns={column: f"geo {column}"})
    for field in fields:
        if (fields[field] != "").any():
            obs[field] = fields[field]
    return obs


def _readable(column: str, cells: list[str]) -> bool:
    """Whether a reader of cohorts takes the column for what it is.

    A field called ``visit`` or ``treatment status`` would be read as a time point, and refused
    where its values are none.
    """
    try:
        table = sample_table(
            {"sample_id": [str(i) for i in range(len(cells))], column: cells},
            range(len(cells)),
            "",
        )
    except CohortError:
        return False
    read = table.frame["timepoint"]
    return bool(read.isna().all()) or all(timepoint(c) for c in cells if c)
