"""PANACEA (GSE186341) and other tables of counts with a sample sheet: cell lines under drugs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from xpert_core.cohorts import Cohort
from xpert_core.errors import DataError
from xpert_core.preparation.doses import dose_bins, read_doses, read_times, time_bins
from xpert_core.preparation.layout import write_prepared
from xpert_core.preparation.matrices import align, on_panel, read_matrix
from xpert_core.preparation.records import Counts, Prepared, Report, digests, rows_of, silent
from xpert_core.preparation.sheets import is_vehicle, read_sheet

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
_MILLION = 1e6


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
    cohort = read_matrix(counts_table)
    rows = align(table, list(cohort.samples.index), counts, sheet.name)
    report("Samples", 0, len(rows))
    if lengths is not None:
        cohort = transcripts_per_million(cohort, lengths, counts)
        scale = "log2(TPM + 1)"
    else:
        scale = "log2" if cohort.scale.used == "log2" else cohort.scale.transform
        scale = {"log2(x + 1)": f"log2({cohort.scale.used.upper()} + 1)"}.get(scale, scale)
    values = on_panel(cohort, rows["position"].to_numpy(), counts)
    unread = np.isnan(values).all(axis=1)
    rows["row"] = np.arange(len(rows))
    rows = counts.keep(rows, ~unread, "no reads")
    obs, x, x_ctl = _conditions(rows, values, counts, sheet.name)
    report("Samples", len(rows), len(rows))
    data = Prepared(
        obs, rows_of(x), rows_of(x_ctl), "pairs", scale, "panacea",
        digests([counts_table, sheet, lengths], report),
        {"control": "mean of the DMSO samples", "scale_evidence": cohort.scale.evidence}, counts,
    )  # fmt: skip
    return write_prepared(out, data, report=report), counts


def transcripts_per_million(cohort: Cohort, lengths: Path, counts: Counts) -> Cohort:
    """Counts divided by gene length, scaled to a million a sample; genes without one left out.

    Raises
    ------
    DataError
        When the values are no counts, or a length is not positive.
    """
    from dataclasses import replace

    from xpert_core.cohorts.scale import detect_scale

    if cohort.scale.used != "counts":
        raise DataError(
            "Gene lengths were given, but the matrix does not hold counts.",
            where=f"{cohort.name}: {cohort.scale.evidence}",
            fix="Leave the lengths out: values on this scale need none.",
        )
    table = read_sheet(lengths, "table of gene lengths", {"gene": ("gene_id",), "length": ()}, {})
    number = pd.to_numeric(table["length"], errors="coerce")
    if not (number > 0).all():
        raise DataError(
            "Gene lengths must be greater than zero.",
            where=f"{lengths.name}: {int((~(number > 0)).sum())} are not",
        )
    known = dict(zip(table["gene"], number, strict=True))
    length = np.array([known.get(gene, np.nan) for gene in cohort.identifiers])
    chosen = np.flatnonzero(np.isfinite(length))
    counts.add("genes with a length", len(chosen))
    counts.add("left out: genes without a length", len(length) - len(chosen))
    if not len(chosen):
        raise DataError(
            "No gene of the matrix has a length.",
            where=f"{cohort.name} begins with {', '.join(cohort.identifiers[:3])}",
            fix="Name the genes alike in both files.",
        )
    rate = np.nan_to_num(cohort.expression[:, chosen].astype(np.float64)) / length[chosen]
    total = rate.sum(axis=1, keepdims=True)
    values = (rate / np.where(total > 0, total, np.nan) * _MILLION).astype(np.float32)
    named = tuple(cohort.identifiers[i] for i in chosen)
    scale = detect_scale(values, "tpm", name=cohort.name)
    return replace(cohort, expression=values, identifiers=named, scale=scale)


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
