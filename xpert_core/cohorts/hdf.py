"""HDF5 files: AnnData (.h5ad) in the published convention, and CMap matrices (.gctx)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from xpert_core.cohorts.metadata import spelling
from xpert_core.cohorts.readers import reader
from xpert_core.cohorts.source import Source, library_reads, refuse_unpacked_size
from xpert_core.cohorts.table import LABEL, MISSING, RawTable, blank_missing, clean, unique_key
from xpert_core.errors import CohortError

if TYPE_CHECKING:
    import h5py
    import pandas as pd

_SIGNATURE = re.compile(r"z-?score|signature|log.?ratio|fold", re.IGNORECASE)


@contextmanager
def _opened(source: Source) -> Iterator[h5py.File]:
    """The HDF5 file, which must be whole and must not refer to other files."""
    import h5py

    with (
        library_reads(source, f"{source.suffix} file"),
        source.open() as stream,
        h5py.File(stream, "r") as file,
    ):
        refuse_links(file, source.name)
        yield file


def refuse_links(group: h5py.Group, name: str) -> None:
    """Refuse parts that point to other files: an upload must not make us read local files."""
    import h5py

    for key in group:
        link = group.get(key, getlink=True)
        item = group.get(key) if isinstance(link, h5py.HardLink) else None
        outside = not isinstance(link, h5py.HardLink) or (
            isinstance(item, h5py.Dataset) and (item.is_virtual or item.external)
        )
        if outside:
            raise CohortError(
                "The file points to data outside itself or through a link, which is not followed.",
                where=f"{name}, part {group.name.rstrip('/')}/{key}",
                fix="Save the data again as one self-contained file.",
            )
        if isinstance(item, h5py.Group):
            refuse_links(item, name)


def label_texts(values: Any) -> list[str]:
    """Labels as text, "" where missing; whole floats lose their ".0"."""
    labels = []
    for value in values:
        if isinstance(value, bytes):
            value = value.decode("utf-8", errors="replace")
        if isinstance(value, float | np.floating):
            value = "" if np.isnan(value) else int(value) if float(value).is_integer() else value
        text = clean(str(value))
        labels.append("" if text.lower() in MISSING | {"<na>", "nat"} else text)
    return labels


def _matrix(item: h5py.Dataset | h5py.Group, source: Source) -> np.ndarray:
    """A stored matrix, dense or sparse, as float32; shape (n_samples, n_genes)."""
    import h5py

    if isinstance(item, h5py.Dataset):
        refuse_unpacked_size(source, 4 * item.size)
        return item.astype(np.float32)[...]
    from anndata.io import read_elem

    rows, columns = (int(n) for n in item.attrs["shape"])
    refuse_unpacked_size(source, 4 * rows * columns)
    refuse_unpacked_size(source, sum(part.nbytes for part in item.values()))
    return read_elem(item).astype(np.float32).toarray()


def _fields(group: Any) -> dict[str, list[str]]:
    """Columns of an ``obs`` or ``var`` table; the index is the axis' own label."""
    from anndata.io import read_elem

    frame: pd.DataFrame = read_elem(group)
    fields = {LABEL: label_texts(frame.index)}
    for column in frame.columns:
        fields[unique_key(fields, clean(str(column)))] = label_texts(frame[column])
    return fields


@reader(".h5ad", content="HDF5")
def read_h5ad(source: Source) -> RawTable:
    """Read AnnData: ``X`` after treatment and ``obsm['X_ctl']`` before, or ``X`` alone.

    With ``obsm['X_ctl']`` every row becomes two samples of one patient, "pre" and "post". Where
    ``uns['X_kind']`` says that ``X`` is a signature, only the rows before treatment are kept.
    """
    with _opened(source) as file:
        if "obs" not in file or "var" not in file:
            raise KeyError("the tables 'obs' and 'var' are missing")
        notes = []
        obs, var = _fields(file["obs"]), _fields(file["var"])
        before = file.get("obsm/X_ctl")
        kind = _said(file, "X_kind")
        if before is not None and kind and _SIGNATURE.search(kind):
            after = None
            notes.append(
                f"X holds '{kind}', so only the profiles before treatment (X_ctl) are used."
            )
        elif "X" in file:
            after = _matrix(file["X"], source)
        elif "raw/X" in file:
            after, var = _matrix(file["raw/X"], source), _fields(file["raw/var"])
            notes.append("The file has no X, so its raw matrix is used.")
        else:
            raise KeyError("there is no matrix X")
        table = _stack(None if before is None else _matrix(before, source), after, obs, var)
        if before is not None and after is not None:
            notes.append("X is taken as after treatment and obsm['X_ctl'] as before treatment.")
        scale = _said(file, "scale")
        if scale:
            notes.append(f"The file itself says that its scale is '{scale}'.")
    table.notes = notes
    table.genes_in = "columns"
    blank_missing(table, source.name)
    return table


def _said(file: h5py.File, key: str) -> str:
    """A short text stored under ``uns``, or ""."""
    item = file.get(f"uns/{key}")
    value = item[()] if item is not None and getattr(item, "shape", None) == () else b""
    return label_texts([value])[0][:200]


def _stack(before: np.ndarray | None, after: np.ndarray | None, obs: dict, var: dict) -> RawTable:
    """One table of the rows before and after treatment, checked against the labels."""
    parts = [part for part in (before, after) if part is not None]
    shape = (len(obs[LABEL]), len(var[LABEL]))
    for part in parts:
        if part.shape != shape:
            raise ValueError(f"a matrix of {part.shape} stands beside labels for {shape}")
    if shape[0] == 0:
        raise ValueError("there is no sample")
    numbers = list(range(1, shape[0] + 1)) * len(parts)
    columns = list(range(1, shape[1] + 1))
    if before is None:
        return RawTable(parts[0], obs, var, numbers, columns)
    stages = ["pre"] * shape[0] + (["post"] * shape[0] if after is not None else [])
    fields = {key: cells * len(parts) for key, cells in obs.items() if spelling(key) != "timepoint"}
    return RawTable(
        np.concatenate(parts) if len(parts) > 1 else parts[0],
        {**fields, "timepoint": stages},
        var,
        numbers,
        columns,
    )


@reader(".gctx", content="HDF5")
def read_gctx(source: Source) -> RawTable:
    """Read a CMap GCTX matrix: ``/0/DATA/0/matrix`` with ``/0/META/ROW`` and ``/0/META/COL``.

    On disk one row of the matrix is one sample.
    """
    with _opened(source) as file:
        samples = _meta(file["0/META/COL"])
        genes = _meta(file["0/META/ROW"])
        values = _matrix(file["0/DATA/0/matrix"], source)
        shape = (len(samples[LABEL]), len(genes[LABEL]))
        if values.shape != shape:
            raise ValueError(f"a matrix of {values.shape} stands beside labels for {shape}")
    rows, columns = (list(range(1, n + 1)) for n in shape)
    table = RawTable(values, samples, genes, rows, columns)
    table.genes_in = "columns"
    blank_missing(table, source.name)
    return table


def _meta(group: h5py.Group) -> dict[str, list[str]]:
    fields = {LABEL: label_texts(group["id"][...])}
    for key in group:
        if key != "id" and group[key].shape == group["id"].shape:
            fields[unique_key(fields, key)] = label_texts(group[key][...])
    return fields
