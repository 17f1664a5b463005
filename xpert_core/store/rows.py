"""Records of the engine to database rows and array files, and back, without loss."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from xpert_core.cohorts.records import Profiles, ScaleReport
from xpert_core.genes.records import GenePanel, GeneReport
from xpert_core.prediction.records import Prediction
from xpert_core.store import models
from xpert_core.store.frames import PackedFrame, decode, encode, pack_frame, unpack_frame

Row = dict[str, Any]

#: Columns of `Prediction.rows` kept in columns of their own. SQLite would take any type in any
#: column, PostgreSQL would not: a cell of another type goes to ``details``.
PREDICTION_COLUMNS: Mapping[str, type] = {
    "sample_id": str,
    "patient_id": str,
    "dose_um": float,
    "time_h": float,
    "n_missing_genes": int,
    "drug_fallback": str,
}
DRUG_COLUMNS: Mapping[str, type] = {"drug": str, "smiles": str, "inchikey": str}
SAMPLE_COLUMNS: Mapping[str, type] = {"patient_id": str, "timepoint": str}

#: Key of a row label in ``details``; no column of a table is named like this.
_LABEL = ""


def _split(cells: Row, label: str, columns: Mapping[str, type]) -> Row:
    """Cells of one row by database column; what has no column of its own goes to ``details``."""
    known = {_LABEL: str, **columns}
    own = {
        name: cells[name] if type(cells.get(name)) is kind else None for name, kind in known.items()
    }
    details = {
        name: cell for name, cell in cells.items() if cell is not None and own.get(name) is None
    }
    return {label: own.pop(_LABEL), **own, "details": details or None}


def _rows(packed: PackedFrame, label: str, columns: Mapping[str, type]) -> list[Row]:
    table = {**packed.columns, _LABEL: packed.index}
    return [
        {"position": position, **_split(dict(zip(table, cells, strict=True)), label, columns)}
        for position, cells in enumerate(zip(*table.values(), strict=True))
    ]


def _frame(
    rows: Sequence[Mapping[str, Any]], format_: Row, label: str, columns: Mapping[str, type]
) -> pd.DataFrame:
    """Undo `_rows`; `rows` are in order of position."""
    details = [row["details"] or {} for row in rows]

    def cells(name: str, column: str | None) -> list[Any]:
        if column is None:
            return [more.get(name) for more in details]
        return [more.get(name, row[column]) for row, more in zip(rows, details, strict=True)]

    names = [name for name, _ in format_["columns"]]
    packed = PackedFrame(
        format=format_,
        index=cells(_LABEL, label),
        columns={name: cells(name, name if name in columns else None) for name in names},
    )
    return unpack_frame(packed)


def json_frame(frame: pd.DataFrame, where: str) -> Row:
    """A table as JSON; ``unpack_frame(PackedFrame(**...))`` undoes it."""
    return asdict(pack_frame(frame, where))


# --- profiles ---------------------------------------------------------------------------------


def sample_rows(profiles: Profiles) -> tuple[Row, list[Row]]:
    """Format of the sample table, and one row a sample for `models.SampleRow`."""
    packed = pack_frame(profiles.samples, "sample table")
    return packed.format, _rows(packed, "sample_id", SAMPLE_COLUMNS)


def cohort_row(profiles: Profiles, sample_format: Row, samples: Iterable[Row]) -> Row:
    """Values of `models.CohortRow`, without id and owner."""
    values = np.ascontiguousarray(profiles.x_ctl)
    identity = [
        profiles.input_sha256,
        profiles.scale.used,
        profiles.panel.digest,
        sample_format,
        list(samples),
        [str(values.dtype), values.shape],
    ]
    content = hashlib.sha256(json.dumps(identity, allow_nan=False).encode())
    content.update(values.tobytes())
    return {
        "name": profiles.name,
        "input_sha256": profiles.input_sha256,
        "content_sha256": content.hexdigest(),
        "scale_detected": profiles.scale.detected,
        "scale_used": profiles.scale.used,
        "scale_evidence": profiles.scale.evidence,
        "scale_transform": profiles.scale.transform,
        "notes": list(profiles.notes),
        "sample_format": sample_format,
    }


def profiles_row(profiles: Profiles) -> Row:
    """Values of `models.ProfilesRow`, without cohort and file."""
    return {
        "panel_name": profiles.panel.name,
        "panel_digest": profiles.panel.digest,
        "n_profiles": len(profiles),
        "n_genes": len(profiles.panel),
        "n_genes_found": profiles.genes.n_found,
    }


def genes_document(panel: GenePanel, genes: GeneReport) -> Row:
    """Panel and gene report as JSON, without ``column_of_gene``, which is an array."""
    return {
        "panel": asdict(panel),
        "genes": {
            "table": json_frame(genes.table, "gene report"),
            "panel_size": genes.panel_size,
            "counts": encode(genes.counts, "gene report, counts"),
        },
    }


def genes_from(document: Row, column_of_gene: np.ndarray) -> tuple[GenePanel, GeneReport]:
    """Undo `genes_document`."""
    panel, genes = document["panel"], document["genes"]
    return (
        GenePanel(
            name=panel["name"],
            symbols=tuple(panel["symbols"]),
            entrez=tuple(panel["entrez"]),
            ensembl=tuple(panel["ensembl"]),
            digest=panel["digest"],
        ),
        GeneReport(
            table=unpack_frame(PackedFrame(**genes["table"])),
            column_of_gene=column_of_gene,
            panel_size=genes["panel_size"],
            counts=decode(genes["counts"]),
        ),
    )


def profiles_file(profiles: Profiles) -> tuple[dict[str, np.ndarray], Row]:
    """Arrays and document of the file of a cohort's profiles."""
    arrays = {"x_ctl": profiles.x_ctl, "column_of_gene": profiles.genes.column_of_gene}
    return arrays, genes_document(profiles.panel, profiles.genes)


def profiles_from(
    cohort: models.CohortRow,
    samples: Sequence[Mapping[str, Any]],
    arrays: Mapping[str, np.ndarray],
    document: Row,
) -> Profiles:
    """Undo `sample_rows`, `cohort_row` and `profiles_file`."""
    panel, genes = genes_from(document, arrays["column_of_gene"])
    return Profiles(
        name=cohort.name,
        samples=_frame(samples, cohort.sample_format, "sample_id", SAMPLE_COLUMNS),
        x_ctl=arrays["x_ctl"],
        panel=panel,
        genes=genes,
        scale=ScaleReport(
            detected=cohort.scale_detected,
            used=cohort.scale_used,
            evidence=cohort.scale_evidence,
            transform=cohort.scale_transform,
        ),
        input_sha256=cohort.input_sha256,
        notes=tuple(cohort.notes),
    )


# --- predictions ------------------------------------------------------------------------------


def run_row(prediction: Prediction, row_format: Row) -> Row:
    """Values of `models.RunRow`, without id, owner, title, links and file."""
    return {
        "n_rows": len(prediction),
        "n_genes": len(prediction.genes),
        "provenance": encode(prediction.provenance, "provenance"),
        "row_format": row_format,
    }


def prediction_rows(prediction: Prediction) -> tuple[Row, list[Row], list[Row]]:
    """Format of the row table, rows for `models.DrugRow`, rows for `models.PredictionRow`.

    The ``drug_position`` of a prediction row says which drug row it belongs to.
    """
    packed = pack_frame(prediction.rows, "prediction table")
    rows = _rows(packed, "row_id", {**PREDICTION_COLUMNS, **DRUG_COLUMNS})
    position_of: dict[tuple[str | None, ...], int] = {}
    for row in rows:
        identity = tuple(row.pop(name) for name in DRUG_COLUMNS)
        row["drug_position"] = position_of.setdefault(identity, len(position_of))
    drugs = [
        {"position": position, **dict(zip(DRUG_COLUMNS, identity, strict=True))}
        for identity, position in position_of.items()
    ]
    return packed.format, drugs, rows


def prediction_file(prediction: Prediction) -> tuple[dict[str, np.ndarray], Row]:
    """Arrays and document of the file of a run."""
    arrays = {"x_deg": prediction.x_deg, "x_pert": prediction.x_pert}
    return arrays, {"genes": json_frame(prediction.genes, "gene table")}


def prediction_from(
    run: models.RunRow,
    rows: Sequence[Mapping[str, Any]],
    arrays: Mapping[str, np.ndarray],
    document: Row,
) -> Prediction:
    """Undo `run_row`, `prediction_rows` and `prediction_file`."""
    columns = {**PREDICTION_COLUMNS, **DRUG_COLUMNS}
    return Prediction(
        rows=_frame(rows, run.row_format, "row_id", columns),
        genes=unpack_frame(PackedFrame(**document["genes"])),
        x_deg=arrays["x_deg"],
        x_pert=arrays["x_pert"],
        provenance=decode(run.provenance),
    )
