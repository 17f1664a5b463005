"""PANACEA (GSE186341) and other tables of counts with a sample sheet: cell lines under drugs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from xpert_core.preparation.doses import dose_bins, read_doses, read_times, time_bins
from xpert_core.preparation.layout import write_prepared
from xpert_core.preparation.matrices import align
from xpert_core.preparation.panel import PanelMatrix, PanelReader, read_lengths
from xpert_core.preparation.records import Counts, Prepared, Report, digests, rows_of, silent
from xpert_core.preparation.sheets import is_vehicle, need_file, read_sheet
from xpert_core.preparation.staging import staged
from xpert_core.preparation.text_matrix import open_matrix

_NEEDED = {
    "sample": ("sample_id", "geo_accession"),
    "cell": ("cell_line", "cell_iname", "cellline"),
    "drug": ("compound", "treatment", "cmap_name"),
    "dose": ("concentration", "pert_dose"),
    "time": ("pert_time", "duration"),
}
_OPTIONAL = {
    "smiles": ("canonical_smiles",), "plate": ("det_plate", "batch"), "pert_id": (),
    "dose_unit": ("pert_dose_unit",),
}  # fmt: skip


def prepare_panacea(
    counts_table: Path,
    sheet: Path,
    out: Path,
    *,
    lengths: Path | None = None,
    report: Report = silent,
) -> tuple[int, Counts]:
    """Counts to log2 values, replicates to means, controls of the same cell line (and plate).

    Parameters
    ----------
    counts_table : Path
        Genes x samples (or the reverse), any identifiers.
    sheet : Path
        ``sample``, ``cell``, ``drug``, ``dose``, ``time``; ``smiles``, ``plate``, ``pert_id``,
        ``dose_unit`` where known. Rows whose drug is DMSO (vehicle, untreated) are the controls.
    out : Path
    lengths : Path, optional
        ``gene`` and ``length`` (bases): log2(TPM + 1) then, else log2(CPM + 1).
    report : callable, optional

    Returns
    -------
    (int, Counts)
        Rows written, and what was kept and left out.

    Raises
    ------
    DataError, CohortError
        When a file cannot be used, or nothing is left.
    """
    counts = Counts()
    table = read_sheet(sheet, "sample sheet", _NEEDED, _OPTIONAL)
    known = None if lengths is None else read_lengths(lengths)
    need_file(counts_table, "expression matrix")
    inputs = digests([counts_table, sheet, lengths], report)
    hashes = list(inputs.values())
    with staged(out) as stage:
        entry = stage.entry(counts_table.name, hashes[0], *hashes[2:])
        reader = PanelReader(lambda: open_matrix(counts_table, report), entry, known)
        rows = align(table, reader.samples, counts, sheet.name)
        matrix = reader.read()
        values = matrix.log2(rows["position"].to_numpy(), counts)
        rows["row"] = np.arange(len(rows))
        rows = counts.keep(rows, ~np.isnan(values).all(axis=1), "no reads")
        obs, x, x_ctl = _conditions(rows, values, counts, sheet.name)
        data = Prepared(
            obs, rows_of(x), rows_of(x_ctl), "pairs", _scale_told(matrix), "panacea", inputs,
            {"control": "mean of the DMSO samples", "scale_evidence": matrix.scale.evidence},
            counts,
        )  # fmt: skip
        return write_prepared(out, data, stage=stage, report=report), counts


def _scale_told(matrix: PanelMatrix) -> str:
    """The scale of the values written, and what they were made of."""
    scale = matrix.scale
    if scale.used == "log2":
        return "log2"
    return {"log2(x + 1)": f"log2({scale.used.upper()} + 1)"}.get(scale.transform, scale.transform)


def _conditions(
    rows: pd.DataFrame, values: np.ndarray, counts: Counts, where: str
) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    """Conditions with the mean of their replicates and of the replicates' controls."""
    vehicle = rows["drug"].map(is_vehicle).to_numpy()
    place = rows["cell"] + "\t" + rows["plate"]
    counts.add("control samples", int(vehicle.sum()))
    control = {
        name: values[group["row"]].mean(axis=0)
        for name, group in rows[vehicle].groupby(place[vehicle])
    }
    treated = rows[~vehicle].assign(place=place[~vehicle]).reset_index(drop=True)
    counts.add("treated samples", len(treated))
    treated = counts.keep(treated, treated["drug"] != "", "no drug")
    treated = counts.keep(treated, treated["cell"] != "", "no cell line")
    units = treated["dose_unit"]
    treated["dose_um"] = read_doses((treated["dose"] + " " + units).str.strip().tolist())
    treated["time_h"] = read_times(treated["time"].tolist())
    treated = counts.keep(treated, treated["dose_um"].notna(), "dose missing or not positive")
    treated = counts.keep(treated, treated["time_h"].notna(), "time missing or not understood")
    alone = "no control of the cell line" + (" on the plate" if rows["plate"].any() else "")
    treated = counts.keep(treated, treated["place"].isin(control), alone)
    counts.refuse_empty(len(treated), where)
    keys = ["cell", "drug", "dose_um", "time_h"]
    obs, x, x_ctl = [], [], []
    for (cell, drug, dose, time), group in treated.groupby(keys, sort=True):
        x.append(values[group["row"]].mean(axis=0))
        x_ctl.append(np.mean([control[p] for p in group["place"]], axis=0))
        obs.append(
            {
                "cell_iname": cell,
                "pert_id": next(filter(None, group["pert_id"]), drug),
                "cmap_name": drug,
                "canonical_smiles": next(filter(None, group["smiles"]), ""),
                "dose_um": dose,
                "pert_dose": f"{dose:g}",
                "time_h": time,
                "pert_time": time,
                "n_replicates": len(group),
                "n_plates": group["plate"].nunique(),
            }
        )
    counts.add("conditions", len(obs))
    table = pd.DataFrame(obs)
    table["pert_idx"] = pd.factorize(table["pert_id"], sort=True)[0]
    table["pert_dose_unit"] = "uM"
    table["pert_dose_idx"] = dose_bins(table["dose_um"].to_numpy())
    table["pert_time_idx"] = time_bins(table["time_h"].to_numpy())
    table.index = pd.Index(
        [f"{r.cell_iname}:{r.cmap_name}:{r.time_h:g}:{r.dose_um:g}" for r in table.itertuples()],
        name="sample_id",
    )
    return table, np.stack(x).astype(np.float32), np.stack(x_ctl).astype(np.float32)
