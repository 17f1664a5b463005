"""LINCS 2020 tables: which wells are kept, and what they are, without touching the matrices.

``instinfo_beta.txt`` has three million rows; it is read in pieces, and only what is needed of
treated and vehicle wells is kept, as codes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from xpert_core.conditions import TIME_BINS_H
from xpert_core.errors import DataError
from xpert_core.preparation.doses import dose_bins, micromolar
from xpert_core.preparation.gctx import Gctx
from xpert_core.preparation.records import Counts, names_of
from xpert_core.preparation.sheets import (
    READ_ERRORS,
    delimiter_of,
    find_columns,
    need_file,
    read_sheet,
    refuse_missing,
    unreadable,
)

TREATED, VEHICLE = "trt_cp", "ctl_vehicle"
_CHUNK = 200_000
_NEEDED: dict[str, tuple[str, ...]] = {
    "sample_id": ("inst_id",),
    "pert_type": (),
    "pert_id": (),
    "pert_dose": (),
    "pert_dose_unit": (),
    "pert_time": (),
    "cell_iname": ("cell_mfc_name", "cell_id"),
    "det_plate": (),
    "qc_pass": (),
}
_OPTIONAL: dict[str, tuple[str, ...]] = {"nearest_dose": (), "bead_batch": (), "build_name": ()}
_TEXT = ("pert_id", "cell_iname", "det_plate", "bead_batch")
_MISSING = ["-666", "-666.0", "NA", "nan", "NaN", "None", "null", ""]


@dataclass(frozen=True)
class Wells:
    """Wells that are kept.

    Attributes
    ----------
    treated : DataFrame
        A row a treated well, in file order: ``position`` (row of its matrix), ``cell_iname``,
        ``pert_id``, ``det_plate``, ``bead_batch`` (categories), ``pert_dose`` (measured, uM),
        ``dose_um`` (nominal, uM), ``pert_time`` (h), ``dose_bin``, ``plate`` (int).
    vehicle : DataFrame
        A row a vehicle well, in file order: ``position``, ``plate``.
    plates : tuple of str
        Names of the plates.
    """

    treated: pd.DataFrame
    vehicle: pd.DataFrame
    plates: tuple[str, ...]


def read_instances(path: Path, treated: Gctx, vehicle: Gctx, counts: Counts) -> pd.DataFrame:
    """Treated and vehicle wells of ``instinfo_beta.txt`` that a matrix holds.

    Returns
    -------
    DataFrame
        ``position`` and ``is_treated``, dose, unit, time, quality flag as numbers, the rest as
        categories.

    Raises
    ------
    DataError
        When it is missing or damaged, lacks a column, repeats a sample, or fits no matrix.
    """
    need_file(path, "instance table")
    separator = delimiter_of(path)
    try:
        header = list(pd.read_csv(path, sep=separator, nrows=0).columns)
        found = find_columns(header, {**_NEEDED, **_OPTIONAL})
        refuse_missing(found, _NEEDED, header, f"instance table, {path.name}")
        pieces, seen, others = [], 0, 0
        unknown: list[str] = []
        n_unknown = 0
        for piece in pd.read_csv(
            path, sep=separator, usecols=list(found.values()), dtype=str, chunksize=_CHUNK,
            na_values=_MISSING, keep_default_na=False,
        ):  # fmt: skip
            named = piece.rename(columns={old: new for new, old in found.items()})
            seen += len(named)
            kept, foreign = _located(named, treated, vehicle)
            others += int((~named["pert_type"].isin([TREATED, VEHICLE])).sum())
            n_unknown += len(foreign)
            unknown += foreign[: 3 - len(unknown)]
            pieces.append(_compact(kept))
    except READ_ERRORS as error:
        raise unreadable(path, "instance table", error) from error
    if not seen:
        raise DataError(
            "The instance table has a header but no row.",
            where=path.name,
            fix="Download instinfo_beta.txt of the release again.",
        )
    counts.add("rows of the instance table", seen)
    counts.add(f"left out: neither {TREATED} nor {VEHICLE}", others)
    counts.add("left out: in the table but in no matrix", n_unknown)
    table = _joined(pieces)
    _refuse_repeated(table, treated, vehicle, path.name)
    for matrix, flag in ((treated, True), (vehicle, False)):
        inside = int((table["is_treated"] == flag).sum())
        if not inside:
            raise DataError(
                "No sample of the matrix is in the instance table.",
                where=f"{matrix.name} begins with {names_of(i.decode() for i in matrix.ids)}; "
                f"{path.name} has for instance {names_of(unknown) or 'only other types'}",
                fix="Give the matrix, the vehicle matrix and the instance table of one release.",
            )
        counts.add(f"left out: in {matrix.name} but not in the table", len(matrix) - inside)
    return table


def _located(piece: pd.DataFrame, treated: Gctx, vehicle: Gctx) -> tuple[pd.DataFrame, list[str]]:
    """Rows with their place in a matrix, and the ids of wells that no matrix holds."""
    piece = piece[piece["pert_type"].isin([TREATED, VEHICLE])]
    names = piece["sample_id"].fillna("").str.strip().to_numpy(dtype=str)
    ids = np.char.encode(names, "utf-8")
    is_treated = (piece["pert_type"] == TREATED).to_numpy()
    position = np.where(is_treated, treated.positions(ids), vehicle.positions(ids))
    inside = position >= 0
    found = piece.assign(position=position, is_treated=is_treated)[inside]
    return found, [i.decode() for i in ids[~inside]]


def _compact(piece: pd.DataFrame) -> pd.DataFrame:
    """Numbers and categories in place of text."""
    table: dict[str, Any] = {
        "position": piece["position"].to_numpy(dtype=np.int64),
        "is_treated": piece["is_treated"].to_numpy(),
        "passed": (pd.to_numeric(piece["qc_pass"], errors="coerce") == 1).to_numpy(),
        "pert_dose": micromolar(piece["pert_dose"], piece["pert_dose_unit"]),
        # In percent, by mass or without a unit: no number of micromolar.
        "molar": micromolar(pd.Series(1, piece.index), piece["pert_dose_unit"]) > 0,
        "pert_time": pd.to_numeric(piece["pert_time"], errors="coerce").to_numpy(),
    }
    nearest = piece["nearest_dose"] if "nearest_dose" in piece else pd.Series(np.nan, piece.index)
    nominal = pd.to_numeric(nearest, errors="coerce").to_numpy(dtype=np.float64)
    # The nominal dose of the series (already uM); wells outside a series have none.
    table["dose_um"] = np.where(nominal > 0, nominal, table["pert_dose"])
    for name in _TEXT:
        cells = piece[name].str.strip() if name in piece else pd.Series("", piece.index)
        table[name] = pd.Categorical(cells.mask(cells == ""))
    return pd.DataFrame(table)


def _joined(pieces: list[pd.DataFrame]) -> pd.DataFrame:
    from pandas.api.types import union_categoricals

    whole = {
        name: union_categoricals([p[name] for p in pieces], sort_categories=True)
        if name in _TEXT
        else np.concatenate([p[name].to_numpy() for p in pieces])
        for name in pieces[0].columns
    }
    return pd.DataFrame(whole)


def _refuse_repeated(table: pd.DataFrame, treated: Gctx, vehicle: Gctx, name: str) -> None:
    repeated = table[table.duplicated(["is_treated", "position"])]
    if len(repeated):
        ids = (
            (treated if flag else vehicle).ids[row].decode()
            for flag, row in zip(repeated["is_treated"], repeated["position"], strict=True)
        )
        raise DataError(
            f"{len(repeated):,} sample ids occur more than once in the instance table.",
            where=f"{name}: {names_of(ids)}",
            fix="Keep one row for each sample id.",
        )


def clean_wells(table: pd.DataFrame, counts: Counts, where: str) -> Wells:
    """Wells that pass: quality, times of 3, 6 and 24 h, complete metadata, a plate with vehicle.

    Raises
    ------
    DataError
        When nothing is left.
    """
    rows = table[table["is_treated"]].reset_index(drop=True)
    vehicle = table[~table["is_treated"]].reset_index(drop=True)
    counts.add("treated wells", len(rows))
    rows = counts.keep(rows, rows["passed"], "treated, quality flag not 1")
    for name in ("pert_id", "cell_iname", "det_plate"):
        rows = counts.keep(rows, rows[name].notna(), f"treated, no {name}")
    rows = counts.keep(rows, rows["pert_time"].notna(), "treated, no time")
    timed = np.isclose(rows["pert_time"].to_numpy()[:, None], TIME_BINS_H).any(axis=1)
    rows = counts.keep(rows, timed, "treated, time other than 3, 6 or 24 h")
    rows = counts.keep(rows, rows["molar"], "treated, dose without a molar unit")
    rows = counts.keep(rows, rows["pert_dose"].notna(), "treated, dose missing or not positive")
    counts.add("vehicle wells", len(vehicle))
    vehicle = counts.keep(vehicle, vehicle["passed"], "vehicle, quality flag not 1")
    vehicle = counts.keep(vehicle, vehicle["det_plate"].notna(), "vehicle, no det_plate")
    used = vehicle["det_plate"].cat.codes.unique()
    paired = rows["det_plate"].cat.codes.isin(used)
    counts.add(
        "plates of treated wells without a vehicle well",
        rows["det_plate"].cat.codes[~paired].nunique(),
    )
    rows = counts.keep(rows, paired, "treated, no vehicle well on the plate")
    vehicle = vehicle[vehicle["det_plate"].cat.codes.isin(rows["det_plate"].cat.codes.unique())]
    counts.refuse_empty(len(rows), where)
    counts.add("kept: treated wells", len(rows))
    counts.add("kept: vehicle wells on their plates", len(vehicle))
    names, plate = np.unique(vehicle["det_plate"].cat.codes, return_inverse=True)
    plates = tuple(vehicle["det_plate"].cat.categories[names])
    rows["plate"] = np.searchsorted(names, rows["det_plate"].cat.codes)
    rows["dose_bin"] = dose_bins(rows["dose_um"].to_numpy())
    return Wells(
        rows.sort_values("position", kind="stable").reset_index(drop=True),
        pd.DataFrame({"position": vehicle["position"].to_numpy(), "plate": plate})
        .sort_values("position", kind="stable")
        .reset_index(drop=True),
        plates,
    )


def read_compounds(path: Path) -> pd.DataFrame:
    """``compoundinfo_beta.txt``, one row a pert_id: ``cmap_name``, ``canonical_smiles``, ``moa``,
    ``target``; several values joined with ``|``.

    Raises
    ------
    DataError
        When it is missing or damaged, or lacks the column ``pert_id``.
    """
    wanted = ("cmap_name", "canonical_smiles", "moa", "target")
    spellings = {
        "canonical_smiles": ("smiles",),
        "cmap_name": ("pert_iname",),
        "moa": (),
        "target": (),
    }
    table = read_sheet(path, "compound table", {"pert_id": ()}, spellings)
    # What the release may not show, and what is no structure.
    smiles = table["canonical_smiles"]
    table["canonical_smiles"] = smiles.where(~smiles.str.lower().isin(["restricted"]), "")
    joined = {
        name: (name, lambda cells: "|".join(sorted(set(filter(None, cells))))) for name in wanted
    }
    joined |= {n: (n, lambda cells: next(filter(None, cells), "")) for n in wanted[:2]}
    return table[table["pert_id"] != ""].groupby("pert_id").agg(**joined)
