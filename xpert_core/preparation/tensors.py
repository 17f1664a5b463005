"""A file in the layout to prepared tensors: what training and the benchmark read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from xpert_core.conditions import parse_dose, parse_time
from xpert_core.drugs import DrugLibrary
from xpert_core.drugs.cache import FeatureCache
from xpert_core.drugs.featurizers import create
from xpert_core.errors import DataError, DrugError
from xpert_core.files import sha256_bytes
from xpert_core.genes import load_panel
from xpert_core.preparation.assemble import identified, training_data
from xpert_core.preparation.changes import read_changes
from xpert_core.preparation.published import (
    LayoutFile,
    count_other_bins,
    open_layout,
    standard_obs,
)
from xpert_core.preparation.published_splits import Carried, carry_splits, split_columns
from xpert_core.preparation.records import Counts, Report, digests, names_of, silent
from xpert_core.preparation.staging import staged
from xpert_core.tokens.dataset import LOG2_READOUT, TrainingData

_ROW = "row_of_file"


@dataclass(frozen=True)
class Tensors:
    """What was written.

    Attributes
    ----------
    rows : int
    counts : Counts
    splits : tuple of Carried
    notes : tuple of str
        What was said of single drugs.
    """

    rows: int
    counts: Counts
    splits: tuple[Carried, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Assumed:
    """What stands in for what a file does not tell; "" leaves such rows out.

    Attributes
    ----------
    dose, time : str
        Such as ``"1 uM"`` and ``"24 h"``: patients' doses are no concentrations.
    """

    dose: str = ""
    time: str = ""


def prepare_tensors(
    path: Path,
    out: Path,
    *,
    featurizer: str = "aimnet2",
    drugs: Path | None = None,
    assumed: Assumed | None = None,
    report: Report = silent,
) -> Tensors:
    """Write prepared training data, and the split columns of the file beside it.

    Values are read block by block to ``.NAME.work`` beside the output, and mapped from there: no
    more than a block of them is in memory. An interrupted call is taken up by the next one.

    Parameters
    ----------
    path : Path
        h5ad in the published layout or ours.
    out : Path
        Safetensors file; split files go to ``OUT.splits/``.
    featurizer : str
        Name of the structure tokens.
    drugs : Path, optional
        Table of structures, see `xpert_core.preparation.published.standard_obs`.
    assumed : Assumed, optional
    report : callable, optional

    Raises
    ------
    DataError
        When the file cannot be used, or nothing is left of it.
    """
    counts, notes = Counts(), list[str]()
    library, cache = DrugLibrary.load(), FeatureCache(create(featurizer))
    with open_layout(path) as file, staged(out) as stage:
        _refuse_unmeasured(file)
        rows, splits = _rows(file, drugs, assumed or Assumed(), library, counts)
        told: Any = {"sources": (path.name,), "note": notes.append, "track": _tracked(report)}
        whole = len(rows)
        rows, found, _ = identified(rows, library, **told)
        if len(rows) < whole:
            counts.add("left out: structure that cannot be used", whole - len(rows))
        wanted = rows[_ROW].to_numpy()
        (digest,) = digests([path], report).values()
        entry = stage.only_entry("changes", digest, sha256_bytes(wanted.tobytes()))
        values = read_changes(file, wanted, entry, report)
        rows = counts.keep(rows, values.whole, "a gene of the panel is not measured")
        counts.refuse_empty(len(rows), path.name)
        data = training_data(
            rows, found, values.profiles, values.profile_index, values.x_deg, cache=cache, **told
        )
        _count(data, counts)
        own = splits.iloc[rows[_ROW].to_numpy()]
        carried = carry_splits(own, data, out.with_name(f"{out.name}.splits"))
        # Last: once the output is there, so is everything that belongs to it.
        data.save(out, within=stage.folder)
        return Tensors(len(data), counts, tuple(carried), tuple(notes))


def _count(data: TrainingData, counts: Counts) -> None:
    """What the data hold."""
    counts.add("kept: rows", len(data))
    counts.add("control profiles", len(data.profiles))
    counts.add("drugs", len(data.drug_keys))
    counts.add("drugs with structure tokens", int(data.has_molecule.sum()))
    counts.add("cell lines or cancers", len(data.cells))
    if data.patients:
        counts.add("patients", len(set(data.patients)))


def _refuse_unmeasured(file: LayoutFile) -> None:
    """Refuse a file without a column for every gene of the panel: no row could be trained on."""
    missing = np.flatnonzero(file.columns < 0)
    if len(missing):
        symbols = [load_panel().symbols[i] for i in missing]
        raise DataError(
            f"{len(missing)} genes of the panel are not in the file, and training needs all.",
            where=f"{file.name}: {names_of(symbols, 5)}",
            fix="Nothing is filled in with a number that looks measured. Take a platform with "
            "these genes, or use the file as a cohort for prediction.",
        )


def _tracked(report: Report) -> Callable[[Iterable[Any], str], Iterable[Any]]:
    def track(items: Iterable[Any], label: str) -> Iterator[Any]:
        whole = list(items)
        for done, item in enumerate(whole, start=1):
            yield item
            report(label, done, len(whole))

    return track


def _rows(
    file: LayoutFile, drugs: Path | None, assumed: Assumed, library: DrugLibrary, counts: Counts
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Rows with a drug, a cell, a dose and a time; and the split columns of all rows."""
    rows = standard_obs(file.obs, file.name, drugs).reset_index(drop=True)
    rows[_ROW] = np.arange(len(rows))
    counts.add("rows", len(rows))
    count_other_bins(file.obs, rows["dose_um"].to_numpy(), counts)
    for name, what, text, parse in (
        ("dose_um", "molar dose", assumed.dose, parse_dose),
        ("time_h", "time", assumed.time, parse_time),
    ):
        blank = rows[name].isna()
        if text and blank.any():
            rows.loc[blank, name] = parse(text)
            counts.add(f"{what} taken as {text}: the file has none", int(blank.sum()))
        rows = counts.keep(rows, rows[name].notna(), f"no {what}")
    rows = counts.keep(rows, rows["own_id"] != "", "no drug")
    rows = counts.keep(rows, rows["cell"] != "", "no cell line or cancer")
    if (rows["patient"] != "").any():
        rows = counts.keep(rows, rows["patient"] != "", "no patient, where others have one")
    counts.refuse_empty(len(rows), file.name)
    rows["readout"] = LOG2_READOUT
    return _structures(rows, library, counts), file.obs[split_columns(file.obs)]


def _structures(rows: pd.DataFrame, library: DrugLibrary, counts: Counts) -> pd.DataFrame:
    """Structures of drugs that the file only names, from the library, by id or exact name."""
    bare = rows["smiles"] == ""
    known: dict[tuple[str, str], str] = {}
    for own_id, name in set(zip(rows.loc[bare, "own_id"], rows.loc[bare, "name"], strict=True)):
        for text in (own_id, name):
            try:
                found = library.resolve(text)
            except DrugError:
                continue
            if found.origin == "library" and found.smiles:
                known[own_id, name] = found.smiles
                break
    pairs = zip(rows["own_id"], rows["name"], rows["smiles"], strict=True)
    rows["smiles"] = [smiles or known.get((i, n), "") for i, n, smiles in pairs]
    filled = int((bare & (rows["smiles"] != "")).sum())
    counts.add("rows whose structure was found in the library", filled)
    counts.add("rows without a structure", int((rows["smiles"] == "").sum()))
    return rows
