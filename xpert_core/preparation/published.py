"""Files in the published layout, read as they are: ``X`` after treatment, ``X_ctl`` before."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from xpert_core.cohorts.hdf import label_texts, refuse_links
from xpert_core.cohorts.profiles import MINIMUM_FRACTION
from xpert_core.errors import CohortError, DataError
from xpert_core.genes import load_panel, resolve
from xpert_core.preparation.doses import dose_bins, read_doses, read_times, time_bins
from xpert_core.preparation.layout import write_prepared
from xpert_core.preparation.records import (
    Counts,
    Prepared,
    Report,
    Rows,
    digests,
    names_of,
    silent,
)
from xpert_core.preparation.sheets import find_columns, need_file, read_sheet, unreadable
from xpert_core.preparation.staging import staged

if TYPE_CHECKING:
    import h5py

_SIGNATURE = re.compile(r"z-?score|signature|log.?ratio|fold", re.IGNORECASE)
#: Columns of ``obs`` under their names here. The published names come first.
COLUMNS: dict[str, tuple[str, ...]] = {
    "own_id": ("pert_id", "drug"),
    "name": ("cmap_name", "pert_iname", "pert_name", "drug", "Drug name"),
    "smiles": ("canonical_smiles",),
    "cell": ("cell_iname", "cell_id", "Cancer subtype", "cancer_type", "cancer"),
    "dose": ("dose_um", "pert_dose"),
    "nearest_dose": (),
    "dose_unit": ("pert_dose_unit",),
    "time": ("time_h", "pert_time"),
    "patient": ("Patient ID", "patient_id"),
    "cancer": ("Cancer subtype", "cancer_type"),
    "moa": (),
    "targets": ("target",),
}
_NEEDED = ("own_id", "cell", "dose", "time")


class LayoutFile:
    """An open file in the published layout, or ours.

    Attributes
    ----------
    name : str
    obs : DataFrame
        As in the file, text and numbers.
    columns : ndarray of int64, shape (G,)
        Column of the file for each panel gene, -1 where it has none.
    scale : str
        What ``uns['scale']`` says, or "".
    """

    def __init__(self, file: h5py.File, path: Path) -> None:
        from anndata.io import read_elem

        refuse_links(file, path.name)
        self.name, self._path, self._file = path.name, path, file
        for part in ("X", "obsm/X_ctl", "obs", "var"):
            if part not in file:
                raise DataError(
                    f"The file has no {part}.",
                    where=path.name,
                    fix="In the published layout X holds the profiles after treatment and "
                    "obsm['X_ctl'] those before.",
                )
        kind = _text(file, "X_kind")
        if _SIGNATURE.search(kind):
            raise DataError(
                "X does not hold profiles after treatment, but signatures.",
                where=f"{path.name}: X_kind is '{kind}'",
                fix="Give the file with profiles (level 3).",
            )
        self.scale = _text(file, "scale")
        self.obs: pd.DataFrame = read_elem(file["obs"])
        self.columns = _genes(read_elem(file["var"]), path.name)
        shapes = {part: _shape(file[part]) for part in ("X", "obsm/X_ctl")}
        if len(set(shapes.values())) > 1 or shapes["X"][0] != len(self.obs):
            raise DataError(
                "X, X_ctl and obs do not have the same rows.",
                where=f"{path.name}: {shapes}, {len(self.obs):,} rows of obs",
                fix="Write the file anew with one row of each for every sample, or download it "
                "again.",
            )
        if self.obs.empty:
            raise DataError(
                "The file has no row.",
                where=path.name,
                fix="Give the file before its rows were filtered out, or download it again.",
            )

    def rows(self, part: str) -> Rows:
        """Rows of ``"X"`` or ``"obsm/X_ctl"`` in panel order; float32, NaN where not measured."""
        from anndata.io import sparse_dataset

        known = self.columns >= 0
        item = self._file[part]
        stored = item if hasattr(item, "shape") else sparse_dataset(item)

        def read(first: int, last: int) -> np.ndarray:
            try:
                values = stored[first:last]
            except (OSError, ValueError) as error:
                raise unreadable(self._path, "file", error) from error
            dense = values.toarray() if hasattr(values, "toarray") else np.asarray(values)
            found = np.full((last - first, len(self.columns)), np.nan, dtype=np.float32)
            found[:, known] = dense[:, self.columns[known]]
            return found

        return read


@contextmanager
def open_layout(path: Path) -> Iterator[LayoutFile]:
    """A file in the published layout.

    Raises
    ------
    DataError
        When it is missing or damaged, or is not in that layout.
    """
    import h5py

    need_file(path, "prepared file")
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise unreadable(path, "file", error) from error
    with file:
        try:
            opened = LayoutFile(file, path)
        except (OSError, KeyError, AttributeError, TypeError, ValueError, CohortError) as error:
            raise unreadable(path, "file", error) from error
        yield opened


def _text(file: h5py.File, key: str) -> str:
    item = file.get(f"uns/{key}")
    value = item[()] if item is not None and getattr(item, "shape", None) == () else b""
    return label_texts([value])[0]


def _shape(item: Any) -> tuple[int, ...]:
    return tuple(int(n) for n in (item.shape if hasattr(item, "shape") else item.attrs["shape"]))


def _genes(var: pd.DataFrame, name: str) -> np.ndarray:
    """Column of the panel's genes, by the labels of ``var`` that name most of them."""
    panel = load_panel()
    candidates = [var.index, *(var[c] for c in var if "id" in str(c) or "symbol" in str(c))]
    found = [resolve(label_texts(labels), panel).column_of_gene for labels in candidates]
    best = max(found, key=lambda columns: int((columns >= 0).sum()))
    count = int((best >= 0).sum())
    if count < MINIMUM_FRACTION * len(panel):
        raise DataError(
            f"Only {count} of the {len(panel)} landmark genes are in the file.",
            where=f"{name}: var begins with {names_of(var.index)}",
            fix="Name the genes in var by symbol, Entrez or Ensembl id.",
        )
    return best


def standard_obs(obs: pd.DataFrame, name: str, drugs: Path | None = None) -> pd.DataFrame:
    """Rows in one vocabulary, whatever the file calls them.

    Parameters
    ----------
    obs : DataFrame
    name : str
        File name, for messages.
    drugs : Path, optional
        Table with ``pert_id`` and ``smiles`` (and name, target, moa), as the published
        ``l1000_sdst_drugs_info_8432.csv``, for files that name drugs by id only.

    Returns
    -------
    DataFrame
        ``own_id``, ``name``, ``smiles``, ``cell``, ``patient``, ``cancer``, ``moa``, ``targets``
        (text, "" where missing), ``dose_um``, ``time_h`` (float64, NaN where it is no molar dose or
        no time). Where the file has no ``dose_um``, a positive ``nearest_dose`` comes before
        ``pert_dose``: the published bins are of the nominal dose. Index as `obs`.

    Raises
    ------
    DataError
        When a needed column is missing.
    """
    found = find_columns([str(c) for c in obs.columns], COLUMNS)
    missing = [name_ for name_ in _NEEDED if name_ not in found]
    if missing:
        told = {n: " or ".join(COLUMNS[n]) for n in missing}
        raise DataError(
            f"The file's obs has no column {'; no column '.join(told.values())}.",
            where=f"{name}; its columns are: {', '.join(map(str, obs.columns))[:300]}",
            fix="Name the columns as in docs/data-preparation.md.",
        )
    table = {
        key: label_texts(obs[found[key]].astype(object)) if key in found else [""] * len(obs)
        for key in COLUMNS
    }
    doses, nearest, units = (table.pop(key) for key in ("dose", "nearest_dose", "dose_unit"))
    if found["dose"] == "dose_um":
        dose_um = read_doses(doses)
    else:
        given, nominal = (
            read_doses([_with_unit(d, unit) for d, unit in zip(column, units, strict=True)])
            for column in (doses, nearest)
        )
        dose_um = np.where(nominal > 0, nominal, given)
    frame = pd.DataFrame(table, index=obs.index)
    frame["name"] = frame["name"].where(frame["name"] != "", frame["own_id"])
    frame["dose_um"], frame["time_h"] = dose_um, read_times(table["time"])
    return _with_drugs(frame.drop(columns="time"), drugs)


def count_other_bins(obs: pd.DataFrame, dose_um: np.ndarray, counts: Counts) -> None:
    """Note the rows whose dose falls into another bin than the file states.

    Parameters
    ----------
    obs : DataFrame, N rows
        As in the file; nothing is noted where it has no ``pert_dose_idx``.
    dose_um : ndarray of float64, shape (N,)
        NaN where there is no molar dose: such a row is not compared.
    counts : Counts
    """
    if "pert_dose_idx" not in obs:
        return
    stored = pd.to_numeric(obs["pert_dose_idx"].astype(object), errors="coerce").to_numpy(float)
    compared = np.isfinite(dose_um) & (stored >= 0)
    differs = compared & (dose_bins(dose_um) != stored)
    counts.add("rows whose dose is not in the bin that pert_dose_idx states", int(differs.sum()))


def _with_unit(dose: str, unit: str) -> str:
    """A dose, or doses joined with ``;``, with the unit of its column."""
    parts = [part.strip() for part in dose.split(";") if part.strip()]
    return ";".join(f"{p} {unit}" if unit and re.fullmatch(r"[-\d.eE+]+", p) else p for p in parts)


def _with_drugs(frame: pd.DataFrame, path: Path | None) -> pd.DataFrame:
    """Structures and names from a table of drugs, where the rows have none."""
    if path is None:
        return frame
    names = {
        "smiles": ("canonical_smiles",), "name": ("cmap_name",), "targets": ("target",), "moa": (),
    }  # fmt: skip
    table = read_sheet(path, "drug table", {"pert_id": ("drug",)}, names)
    table = table.drop_duplicates("pert_id").set_index("pert_id")
    for column in names:
        told = frame["own_id"].map(table[column]).fillna("")
        own = frame[column] if column != "name" else frame["name"].where(
            frame["name"] != frame["own_id"], ""
        )  # fmt: skip
        frame[column] = own.where(own != "", told)
    frame["name"] = frame["name"].where(frame["name"] != "", frame["own_id"])
    return frame


def prepare_published(
    path: Path, out: Path, *, drugs: Path | None = None, report: Report = silent
) -> tuple[int, Counts]:
    """Write a file of the published layout in ours.

    Parameters
    ----------
    path, out : Path
    drugs : Path, optional
        See `standard_obs`.
    report : callable, optional

    Returns
    -------
    (int, Counts)
        Rows written, and what was kept and left out.

    Raises
    ------
    DataError
        When the file cannot be used.
    """
    counts = Counts()
    with open_layout(path) as file, staged(out) as stage:
        obs, known = file.obs.copy(), standard_obs(file.obs, file.name, drugs)
        obs.index = obs.index.astype(str)
        counts.add("rows", len(obs))
        counts.add("landmark genes", int((file.columns >= 0).sum()))
        dosed, timed = np.isfinite(known["dose_um"]), np.isfinite(known["time_h"])
        counts.add("kept, without a molar dose", int((~dosed).sum()))
        counts.add("kept, without a time", int((~timed).sum()))
        count_other_bins(obs, known["dose_um"].to_numpy(), counts)
        for name in ("dose_um", "time_h"):
            obs[name] = known[name].to_numpy()
        obs["canonical_smiles"] = known["smiles"].to_numpy()
        obs["cmap_name"] = known["name"].to_numpy()
        if "pert_dose_idx" not in obs:
            bins = dose_bins(known["dose_um"].to_numpy())
            obs["pert_dose_idx"] = np.where(dosed, bins, -1)
        if "pert_time_idx" not in obs:
            obs["pert_time_idx"] = time_bins(known["time_h"].to_numpy())
        if "pert_idx" not in obs:
            obs["pert_idx"] = pd.factorize(known["own_id"], sort=True)[0]
        if not obs.index.is_unique:
            obs.index = [f"{i}-{n}" for n, i in enumerate(obs.index, start=1)]
            counts.add("row names made unique", len(obs))
        settings = {"drugs": drugs.name if drugs else ""}
        inputs = digests([path, drugs], report)
        data = Prepared(
            obs, file.rows("X"), file.rows("obsm/X_ctl"), "pairs",
            file.scale or "log2, as the file has it", "published", inputs, settings, counts,
        )  # fmt: skip
        # Its values are those of the file, whatever the table of drugs says.
        own = inputs[path.name]
        return write_prepared(out, data, stage=stage, identity=own, report=report), counts
