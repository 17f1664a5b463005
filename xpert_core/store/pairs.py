"""Paired cohorts in the database: what fine-tuning takes."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np
import pandas as pd
from sqlalchemy import delete, insert, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from xpert_core.cohorts.paired import PairedProfiles
from xpert_core.errors import StoreError
from xpert_core.store import arrays as files
from xpert_core.store.database import Database
from xpert_core.store.failures import explained
from xpert_core.store.frames import PackedFrame, unpack_frame
from xpert_core.store.models import LOCAL_OWNER, PairedCohortRow
from xpert_core.store.rows import Row, genes_document, genes_from, json_frame


class PairStore:
    """Paired cohorts in the database.

    Methods that take `owner` treat another owner's entry like one that does not exist; None sees
    all.

    Parameters
    ----------
    database : Database
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def save(self, pairs: PairedProfiles, owner: str = LOCAL_OWNER) -> str:
        """Keep a paired cohort and return its id.

        The same upload on the same scale is kept once for each owner: its first id is returned.

        Raises
        ------
        StoreError
            It cannot be kept; nothing is stored.
        """
        row, arrays, document = _packed(pairs)
        row["owner"] = owner
        database, failure = self._database, "The paired cohort could not be saved"
        with database.reading(failure) as session:
            known = _same(session, row)
        if known is not None and self._intact(known):
            return known.id
        with database.new_file(arrays, document) as file, explained(failure, database.location):
            try:
                return self._put({**row, **file})
            except IntegrityError:  # another process saved the same pairs at this moment
                return self._put({**row, **file})

    def _put(self, row: Row) -> str:
        with self._database.write_session.begin() as session:
            known = _same(session, row)
            if known is None:
                pairs_id = files.new_id()
                session.execute(insert(PairedCohortRow), [{"id": pairs_id, **row}])
                return pairs_id
            if not self._intact(known):  # the upload heals a lost or damaged file
                for name in ("array_id", "array_sha256", "array_bytes"):
                    setattr(known, name, row[name])
            return known.id

    def _intact(self, row: PairedCohortRow) -> bool:
        return files.is_intact(self._database.arrays_folder, row.array_id, row.array_sha256)

    def list(self, owner: str | None = None) -> pd.DataFrame:
        """List the paired cohorts, newest first.

        Returns
        -------
        DataFrame
            Index ``id``; columns ``name``, ``owner``, ``created_at`` (UTC), ``n_pairs``,
            ``n_patients``, ``unit``, ``panel_name``, ``n_genes``, ``n_genes_found``,
            ``input_sha256``.
        """
        row = PairedCohortRow
        query = select(
            row.id,
            row.name,
            row.owner,
            row.created_at,
            row.n_pairs,
            row.n_patients,
            row.unit,
            row.panel_name,
            row.n_genes,
            row.n_genes_found,
            row.input_sha256,
        ).order_by(row.created_at.desc(), row.id)
        return self._database.listed(query if owner is None else query.where(row.owner == owner))

    def load(self, pairs_id: str, owner: str | None = None) -> PairedProfiles:
        """Return a stored paired cohort, equal to the one saved.

        Raises
        ------
        StoreError
            There is none, or its file is missing or damaged.
        """
        with self._database.reading("The paired cohort could not be opened") as session:
            row = _found(session, pairs_id, owner)
        folder = self._database.arrays_folder
        arrays, document = files.read_arrays(folder, row.array_id, row.array_sha256)
        panel, genes = genes_from(document, arrays["column_of_gene"])
        return PairedProfiles(
            name=row.name,
            pairs=unpack_frame(PackedFrame(**document["pairs"])),
            x_before=arrays["x_before"],
            x_after=arrays["x_after"],
            unit=row.unit,
            panel=panel,
            genes=genes,
            scale_transform=row.scale_transform,
            input_sha256=row.input_sha256,
            notes=tuple(row.notes),
        )

    def delete(self, pairs_id: str, owner: str | None = None) -> None:
        """Delete a paired cohort, row and file; what was trained on it stays."""
        with self._database.writing("The paired cohort could not be deleted") as session:
            array_id = _found(session, pairs_id, owner).array_id
            session.execute(delete(PairedCohortRow).where(PairedCohortRow.id == pairs_id))
        self._database.erase([array_id])


def _packed(pairs: PairedProfiles) -> tuple[Row, dict[str, np.ndarray], Row]:
    """Values of the row (without id, owner and file), arrays and document of the file."""
    arrays = {
        "x_before": pairs.x_before,
        "x_after": pairs.x_after,
        "column_of_gene": pairs.genes.column_of_gene,
    }
    document: dict[str, Any] = genes_document(pairs.panel, pairs.genes)
    document["pairs"] = json_frame(pairs.pairs, "table of pairs")
    row = {
        "name": pairs.name,
        "input_sha256": pairs.input_sha256,
        "unit": pairs.unit,
        "scale_transform": pairs.scale_transform,
        "panel_name": pairs.panel.name,
        "panel_digest": pairs.panel.digest,
        "n_pairs": len(pairs),
        "n_patients": len(set(pairs.patients)),
        "n_genes": len(pairs.panel),
        "n_genes_found": pairs.genes.n_found,
        "notes": list(pairs.notes),
    }
    identity = [pairs.input_sha256, pairs.unit, pairs.panel.digest, document["pairs"]]
    content = hashlib.sha256(json.dumps(identity, allow_nan=False).encode())
    for values in (pairs.x_before, pairs.x_after):
        content.update(str((values.dtype, values.shape)).encode())
        content.update(np.ascontiguousarray(values).tobytes())
    row["content_sha256"] = content.hexdigest()
    return row, arrays, document


def _same(session: Session, row: Row) -> PairedCohortRow | None:
    return session.scalar(
        select(PairedCohortRow)
        .where(PairedCohortRow.owner == row["owner"])
        .where(PairedCohortRow.content_sha256 == row["content_sha256"])
    )


def _found(session: Session, pairs_id: str, owner: str | None) -> PairedCohortRow:
    row = session.get(PairedCohortRow, files.checked_id(pairs_id, "paired cohort"))
    if row is None or (owner is not None and row.owner != owner):
        raise StoreError(
            "There is no paired cohort with this id; it may have been deleted.",
            where=pairs_id,
            fix="Open it from the list of paired cohorts.",
        )
    return row
