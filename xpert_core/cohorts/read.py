"""From an upload to a `Cohort`: one file, or one file before and one after treatment."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from xpert_core.cohorts.layout import lay_out
from xpert_core.cohorts.metadata import split_staged_ids
from xpert_core.cohorts.readers import read_table
from xpert_core.cohorts.records import Cohort
from xpert_core.cohorts.scale import detect_scale, scale_name
from xpert_core.cohorts.source import open_source
from xpert_core.errors import CohortError
from xpert_core.files import sha256_bytes
from xpert_core.genes import load_panel
from xpert_core.genes.records import GenePanel

#: Largest upload in megabytes, unless the caller says otherwise.
UPLOAD_LIMIT_MB = 500.0


def read_cohort(
    source: str | Path | bytes,
    *,
    filename: str | None = None,
    scale: str | None = None,
    orientation: str = "auto",
    panel: GenePanel | None = None,
    limit_mb: float = UPLOAD_LIMIT_MB,
) -> Cohort:
    """Read an expression file of any supported format.

    Parameters
    ----------
    source : Path or bytes
        The file, or its content.
    filename : str, optional
        Name of the upload when `source` is bytes; its extension decides the reader.
    scale : str, optional
        One of `SCALES`, overriding the detection.
    orientation : {"auto", "rows", "columns"}
        Where the samples are.
    panel : GenePanel, optional
        Genes by which the gene axis is recognised; the L1000 landmarks by default.
    limit_mb : float
        Largest accepted file, checked before parsing.

    Returns
    -------
    Cohort

    Raises
    ------
    CohortError
        Saying what is wrong, in which row and column, and how to fix it.

    Examples
    --------
    >>> from xpert_core.cohorts import example_path, read_cohort
    >>> read_cohort(example_path()).scale.used
    'log2'
    """
    if scale is not None:
        scale = scale_name(scale)
    upload = open_source(source, filename=filename, limit_mb=limit_mb)
    table = read_table(upload)
    layout = lay_out(table, panel or load_panel(), orientation, upload.name)
    return Cohort(
        name=upload.name,
        expression=layout.values,
        identifiers=layout.identifiers,
        samples=layout.samples.frame,
        scale=detect_scale(layout.values, scale, name=upload.name),
        input_sha256=upload.sha256(),
        notes=(*table.notes, *layout.notes),
    )


def read_paired_files(
    before: str | Path | bytes,
    after: str | Path | bytes,
    *,
    filenames: tuple[str, str] | None = None,
    scale: str | None = None,
    orientation: str = "auto",
    panel: GenePanel | None = None,
    limit_mb: float = UPLOAD_LIMIT_MB,
) -> Cohort:
    """Read two matrices, before and after treatment, and match them by patient.

    Parameters are those of `read_cohort`; `filenames` names both uploads.

    Returns
    -------
    Cohort
        Rows of `before` ("pre"), then rows of `after` ("post"); genes of either file, NaN where
        a file lacks one.

    Raises
    ------
    CohortError
        When a file cannot be read, the scales differ, or no patient is in both files.
    """
    names = filenames or (None, None)
    first, second = (
        read_cohort(
            content,
            filename=name,
            scale=scale,
            orientation=orientation,
            panel=panel,
            limit_mb=limit_mb,
        )
        for content, name in zip((before, after), names, strict=True)
    )
    if first.scale.used != second.scale.used:
        raise CohortError(
            f"The two files are on different scales: {first.scale.used} and {second.scale.used}.",
            where=f"{first.name}: {first.scale.evidence} {second.name}: {second.scale.evidence}",
            fix="Export both with the same processing, or state the scale yourself.",
        )
    samples = _matched_samples(first, second)
    identifiers, expression = _merge_genes(first, second)
    return Cohort(
        name=f"{first.name} + {second.name}",
        expression=expression,
        identifiers=identifiers,
        samples=samples,
        scale=first.scale,
        input_sha256=sha256_bytes(f"{first.input_sha256}{second.input_sha256}".encode()),
        notes=(
            *(f"{first.name}: {note}" for note in first.notes),
            *(f"{second.name}: {note}" for note in second.notes),
        ),
    )


def _matched_samples(first: Cohort, second: Cohort) -> pd.DataFrame:
    """Both sample tables below each other, checked to share patients."""
    frames = [first.samples.copy(), second.samples.copy()]
    for cohort, frame, stage in zip((first, second), frames, ("pre", "post"), strict=True):
        other = frame["timepoint"].notna() & (frame["timepoint"] != stage)
        if other.any():
            raise CohortError(
                f"The file given as {'before' if stage == 'pre' else 'after'} treatment has "
                f"samples marked '{'post' if stage == 'pre' else 'pre'}'.",
                where=f"{cohort.name}, sample '{frame.index[other][0]}'",
                fix="Exchange the two files, or upload one file with a timepoint column.",
            )
        frame["timepoint"] = stage
    if not set(frames[0]["patient_id"]) & set(frames[1]["patient_id"]):
        ids = [*frames[0].index, *frames[1].index]
        split = split_staged_ids(ids)
        if split:
            frames[0]["patient_id"] = split[0][: len(frames[0])]
            frames[1]["patient_id"] = split[0][len(frames[0]) :]
    if not set(frames[0]["patient_id"]) & set(frames[1]["patient_id"]):
        raise CohortError(
            "No patient is in both files.",
            where=f"{first.name} begins with '{frames[0]['patient_id'].iloc[0]}', "
            f"{second.name} with '{frames[1]['patient_id'].iloc[0]}'",
            fix="Use the same patient_id in both files.",
        )
    samples = pd.concat(frames)
    if samples.index.has_duplicates:
        index = [
            f"{i}_{stage}" for i, stage in zip(samples.index, samples["timepoint"], strict=True)
        ]
        samples.index = pd.Index(index, name="sample_id", dtype=object)
    return samples.astype(object).where(samples.notna(), None)


def _merge_genes(first: Cohort, second: Cohort) -> tuple[tuple[str, ...], np.ndarray]:
    """Columns of both files; the n-th column of a name meets the n-th of the other file."""
    if first.identifiers == second.identifiers:
        return first.identifiers, np.concatenate([first.expression, second.expression])
    keys = [_numbered(cohort.identifiers) for cohort in (first, second)]
    union = list(dict.fromkeys([*keys[0], *keys[1]]))
    column = {key: i for i, key in enumerate(union)}
    n_first = len(first.expression)
    merged = np.full((n_first + len(second.expression), len(union)), np.nan, dtype=np.float32)
    merged[:n_first, [column[k] for k in keys[0]]] = first.expression
    merged[n_first:, [column[k] for k in keys[1]]] = second.expression
    return tuple(identifier for identifier, _ in union), merged


def _numbered(identifiers: tuple[str, ...]) -> list[tuple[str, int]]:
    seen: dict[str, int] = {}
    keys = []
    for identifier in identifiers:
        seen[identifier] = seen.get(identifier, -1) + 1
        keys.append((identifier, seen[identifier]))
    return keys
