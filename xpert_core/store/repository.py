"""The store: what the dashboard, the command line and scripts keep and reopen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd
from sqlalchemy import ColumnElement, Select, delete, insert, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from xpert_core.benchmark.record import BenchmarkRecord
from xpert_core.cohorts.records import Profiles
from xpert_core.errors import StoreError
from xpert_core.prediction.records import Prediction
from xpert_core.store import arrays as files
from xpert_core.store import backups, benchmarks, engine, listings, rows
from xpert_core.store.claims import Claims
from xpert_core.store.database import Database
from xpert_core.store.failures import explained
from xpert_core.store.frames import decode, encode
from xpert_core.store.jobs import JobQueue
from xpert_core.store.models import (
    LOCAL_OWNER,
    BenchmarkRow,
    CohortRow,
    DrugRow,
    HasArrayFile,
    ModelRow,
    PredictionRow,
    ProfilesRow,
    RunRow,
    SampleRow,
)
from xpert_core.store.pairs import PairStore


class Store:
    """Results database with its folder of arrays; may be shared between threads and processes.

    Every operation has its own short transaction, and no database object leaves the store.
    Opening it creates the database or upgrades it to the schema of this version. `jobs` holds the
    queue of background jobs, `claims` what a worker does with it, `pairs` the paired cohorts.

    Parameters
    ----------
    url : str, optional
        Address of an SQLite file or a PostgreSQL database; by default ``XPERT_DATABASE_URL``, else
        ``xpert.db`` in the user's data folder.
    timeout_s : float
        How long to wait for another writer, in seconds.

    Raises
    ------
    StoreError
        The database cannot be opened; says why and what to do. All methods raise it too.
    """

    def __init__(self, url: str | None = None, *, timeout_s: float = 30.0) -> None:
        database = Database(url, timeout_s=timeout_s)
        self._database = database
        self._folder = database.arrays_folder
        self._reading, self._writing = database.reading, database.writing
        self._new_file, self._erase = database.new_file, database.erase
        self._listed = database.listed
        self.jobs = JobQueue(database)
        self.claims = Claims(database)
        self.pairs = PairStore(database)

    @property
    def address(self) -> str:
        """Address of the database with its password: for a child process, never to be shown."""
        return self._database.url.render_as_string(hide_password=False)

    @property
    def location(self) -> str:
        """Address of the database, without a password."""
        return self._database.location

    @property
    def arrays_folder(self) -> Path:
        """Folder of the array files."""
        return self._folder

    def close(self) -> None:
        """Close the pooled connections."""
        self._database.close()

    # --- cohorts ------------------------------------------------------------------------------

    def save_cohort(self, profiles: Profiles, owner: str = LOCAL_OWNER) -> str:
        """Keep a cohort's base profiles and return their id.

        The same upload on the same scale is kept once for each owner: its first id is returned.
        """
        sample_format, samples = rows.sample_rows(profiles)
        cohort = {"owner": owner, **rows.cohort_row(profiles, sample_format, samples)}
        failure = "The cohort could not be saved"
        with self._reading(failure) as session:
            known = self._same_cohort(session, cohort)
        if known is not None and files.is_intact(self._folder, known.array_id, known.array_sha256):
            return known.cohort_id
        with self._new_file(*rows.profiles_file(profiles)) as file:
            entry = {**rows.profiles_row(profiles), **file}
            with explained(failure, self.location):
                try:
                    return self._put_cohort(cohort, samples, entry)
                except IntegrityError:  # another process saved the same cohort at this moment
                    return self._put_cohort(cohort, samples, entry)

    def _put_cohort(self, cohort: rows.Row, samples: Sequence[rows.Row], entry: rows.Row) -> str:
        with self._database.write_session.begin() as session:
            known = self._same_cohort(session, cohort)
            if known is None:
                cohort_id = files.new_id()
                session.execute(insert(CohortRow), [{"id": cohort_id, **cohort}])
                session.execute(insert(ProfilesRow), [{"cohort_id": cohort_id, **entry}])
                if samples:
                    session.execute(
                        insert(SampleRow), [{"cohort_id": cohort_id, **row} for row in samples]
                    )
                return cohort_id
            if not files.is_intact(self._folder, known.array_id, known.array_sha256):
                for name, value in entry.items():  # the upload heals a lost or damaged file
                    setattr(known, name, value)
            return known.cohort_id

    @staticmethod
    def _same_cohort(session: Session, cohort: rows.Row) -> ProfilesRow | None:
        return session.scalar(
            select(ProfilesRow)
            .join(CohortRow)
            .where(CohortRow.owner == cohort["owner"])
            .where(CohortRow.content_sha256 == cohort["content_sha256"])
        )

    def cohorts(self, owner: str | None = None) -> pd.DataFrame:
        """List the stored cohorts, newest first.

        Returns
        -------
        DataFrame
            Index ``id``; columns ``name``, ``owner``, ``created_at`` (UTC), ``n_profiles``,
            ``n_patients``, ``panel``, ``n_genes``, ``n_genes_found``, ``scale``, ``n_runs``,
            ``input_sha256``.
        """
        return self._listed(listings.cohorts(owner))

    def load_cohort(self, cohort_id: str) -> Profiles:
        """Return a stored cohort, equal to the one saved."""
        failure = "The cohort could not be opened"
        with self._reading(failure) as session:
            cohort = _found(session, CohortRow, cohort_id)
            entry = session.scalars(
                select(ProfilesRow).where(ProfilesRow.cohort_id == cohort_id)
            ).one()
            samples = session.execute(
                select(SampleRow.__table__)
                .where(SampleRow.cohort_id == cohort_id)
                .order_by(SampleRow.position)
            ).mappings()
            found = [dict(row) for row in samples]
        content = files.read_arrays(self._folder, entry.array_id, entry.array_sha256)
        return rows.profiles_from(cohort, found, *content)

    def delete_cohort(self, cohort_id: str) -> None:
        """Delete a cohort, its samples, and all predictions made for it, rows and files."""
        with self._writing("The cohort could not be deleted") as session:
            _found(session, CohortRow, cohort_id)
            array_ids = [
                *session.scalars(_array_ids(ProfilesRow, ProfilesRow.cohort_id == cohort_id)),
                *session.scalars(_array_ids(RunRow, RunRow.cohort_id == cohort_id)),
            ]
            session.execute(delete(CohortRow).where(CohortRow.id == cohort_id))
        self._erase(array_ids)

    # --- models -------------------------------------------------------------------------------

    def register_model(self, name: str, digest: str, card: Mapping[str, Any]) -> str:
        """Keep a model's name and card under the hash of its checkpoint; returns its id.

        A model that is known by its hash gets the new name and card.
        """
        values = {"name": name, "card": encode(dict(card), "model card")}
        with explained("The model could not be registered", self.location):
            try:
                return self._put_model(digest, values)
            except IntegrityError:  # another process registered the same model at this moment
                return self._put_model(digest, values)

    def _put_model(self, digest: str, values: rows.Row) -> str:
        with self._database.write_session.begin() as session:
            known = session.scalar(select(ModelRow).where(ModelRow.digest == digest))
            if known is None:
                known = ModelRow(id=files.new_id(), digest=digest)
                session.add(known)
            for name, value in values.items():
                setattr(known, name, value)
            return known.id

    def models(self) -> pd.DataFrame:
        """List the models: index ``id``; ``name``, ``digest``, ``card``, ``created_at`` (UTC)."""
        listed = self._listed(listings.models())
        listed["card"] = listed["card"].map(decode)
        return listed

    # --- runs ---------------------------------------------------------------------------------

    def save_prediction(
        self,
        prediction: Prediction,
        cohort_id: str | None,
        title: str = "",
        owner: str = LOCAL_OWNER,
        run_id: str | None = None,
    ) -> str:
        """Keep a prediction and return its run id; `cohort_id` is that of the stored cohort.

        With a `run_id` of your own (a job's), what is stored under it already is left as it is.
        """
        if run_id is not None and self._has_run(files.checked_id(run_id, "prediction")):
            return run_id
        row_format, drugs, predicted = rows.prediction_rows(prediction)
        run = rows.run_row(prediction, row_format)
        run |= {
            "id": run_id or files.new_id(),
            "owner": owner,
            "title": title,
            "cohort_id": cohort_id,
        }
        run["model_id"] = self._model_of(prediction.provenance)
        with (
            self._new_file(*rows.prediction_file(prediction)) as file,
            self._writing("The prediction could not be saved") as session,
        ):
            if session.get(RunRow, run["id"]) is not None:  # another attempt was faster
                return str(run["id"])
            if cohort_id is not None:
                _found(session, CohortRow, cohort_id)
            session.execute(insert(RunRow), [{**run, **file}])
            if drugs:
                self._put_rows(session, run["id"], drugs, predicted)
        return str(run["id"])

    def _has_run(self, run_id: str) -> bool:
        with self._reading("The stored predictions could not be read") as session:
            return session.get(RunRow, run_id) is not None

    @staticmethod
    def _put_rows(
        session: Session, run_id: str, drugs: Sequence[rows.Row], predicted: Sequence[rows.Row]
    ) -> None:
        session.execute(insert(DrugRow), [{"run_id": run_id, **drug} for drug in drugs])
        ids = session.scalars(
            select(DrugRow.id).where(DrugRow.run_id == run_id).order_by(DrugRow.position)
        ).all()
        session.execute(
            insert(PredictionRow),
            [
                {"run_id": run_id, "drug_id": ids[row.pop("drug_position")], **row}
                for row in predicted
            ],
        )

    def _model_of(self, provenance: Mapping[str, Any]) -> str | None:
        """Id of the model that a prediction names; registered without a card when unknown."""
        digest = provenance.get("model_digest")
        if not digest:
            return None
        with self._reading("The model could not be looked up") as session:
            known = session.scalar(select(ModelRow.id).where(ModelRow.digest == digest))
        return known or self.register_model(str(provenance.get("model_name", "")), digest, {})

    def runs(self, owner: str | None = None, cohort_id: str | None = None) -> pd.DataFrame:
        """List the stored predictions, newest first.

        Returns
        -------
        DataFrame
            Index ``id``; columns ``title``, ``owner``, ``status``, ``created_at`` (UTC),
            ``cohort_id``, ``cohort``, ``model``, ``drugs`` (names, joined by commas), ``n_rows``,
            ``n_patients``, ``n_genes``, and the range of conditions: ``dose_um_min``,
            ``dose_um_max`` (uM), ``time_h_min``, ``time_h_max`` (h).
        """
        return self._listed(listings.runs(owner, cohort_id))

    def load_prediction(self, run_id: str) -> Prediction:
        """Return a stored prediction, equal to the one saved."""
        with self._reading("The prediction could not be opened") as session:
            run = _found(session, RunRow, run_id)
            table = PredictionRow.__table__
            predicted = session.execute(
                select(*table.columns, DrugRow.drug, DrugRow.smiles, DrugRow.inchikey)
                .join(DrugRow, PredictionRow.drug_id == DrugRow.id)
                .where(PredictionRow.run_id == run_id)
                .order_by(PredictionRow.position)
            ).mappings()
            found = [dict(row) for row in predicted]
        content = files.read_arrays(self._folder, run.array_id, run.array_sha256)
        return rows.prediction_from(run, found, *content)

    def delete_run(self, run_id: str) -> None:
        """Delete a prediction, rows and file."""
        with self._writing("The prediction could not be deleted") as session:
            array_id = _found(session, RunRow, run_id).array_id
            session.execute(delete(RunRow).where(RunRow.id == run_id))
        self._erase([array_id])

    # --- benchmarks ---------------------------------------------------------------------------

    def save_benchmark(self, record: BenchmarkRecord, owner: str = LOCAL_OWNER) -> str:
        """Keep the numbers of a benchmark, all or none, and return its id.

        The same run of the same owner is replaced and keeps its id.
        """
        with explained("The benchmark could not be saved", self.location):
            try:
                return self._put_benchmark(record, owner)
            except IntegrityError:  # another process saved the same run at this moment
                return self._put_benchmark(record, owner)

    def _put_benchmark(self, record: BenchmarkRecord, owner: str) -> str:
        with self._database.write_session.begin() as session:
            return benchmarks.put(session, record, owner)

    def benchmarks(self, owner: str | None = None) -> pd.DataFrame:
        """List the stored benchmarks, the last saved first.

        Returns
        -------
        DataFrame
            Index ``id``; columns ``name``, ``owner``, ``created_at``, ``updated_at`` (UTC),
            ``version``, ``data_sha256``, ``n_scenarios``, ``n_models``, ``verdict``.
        """
        listed = self._listed(benchmarks.listing(owner))
        listed["updated_at"] = pd.to_datetime(listed["updated_at"], utc=True)
        return listed

    def load_benchmark(self, benchmark_id: str) -> BenchmarkRecord:
        """Return a stored benchmark, equal to the one saved."""
        with self._reading("The benchmark could not be opened") as session:
            return benchmarks.read(session, _found(session, BenchmarkRow, benchmark_id))

    def delete_benchmark(self, benchmark_id: str) -> None:
        """Delete a benchmark with its numbers."""
        with self._writing("The benchmark could not be deleted") as session:
            _found(session, BenchmarkRow, benchmark_id)
            session.execute(delete(BenchmarkRow).where(BenchmarkRow.id == benchmark_id))
        self._erase([])

    # --- upkeep -------------------------------------------------------------------------------

    def sweep_orphans(self, grace_s: float = 3600.0) -> int:
        """Delete array files that no row names, left by a killed process; returns how many.

        Files changed within `grace_s` seconds stay: their row may be about to be written.
        """
        with explained("Left-over files could not be swept", str(self._folder)):
            # First the files, then the rows: a file whose row comes in between is kept.
            old = list(files.old_files(self._folder, grace_s))
            with self._database.read_session() as session:
                known = {
                    array_id
                    for holder in HasArrayFile.__subclasses__()
                    for array_id in session.scalars(select(holder.array_id))
                }
            orphans = [path for array_id, path in old if array_id not in known]
            for path in orphans:
                path.unlink(missing_ok=True)
        return len(orphans)

    def backup(self, path: str | Path) -> Path:
        """Copy the database and its arrays to a new place while it may be in use.

        Returns the path of the copy: a complete store, to be opened by its address.
        """
        if not engine.is_sqlite(self._database.url):
            raise StoreError(
                "A backup of a PostgreSQL database is made by the server's own tools.",
                where=self.location,
                fix=f"Use pg_dump, and copy the folder {self._folder}.",
            )
        return backups.back_up(self._database.engine, self._folder, Path(path).absolute())


_Row = TypeVar("_Row", CohortRow, RunRow, BenchmarkRow)
_NAMES = {CohortRow: "cohort", RunRow: "prediction", BenchmarkRow: "benchmark"}


def _found(session: Session, kind: type[_Row], key: str) -> _Row:
    """The row with this id; an id that is malformed or unknown is an error."""
    name = _NAMES[kind]
    row = session.get(kind, files.checked_id(key, name))
    if row is None:
        raise StoreError(
            f"There is no stored {name} with this id; it may have been deleted.",
            where=key,
            fix="Open it from the list of stored results.",
        )
    return row


def _array_ids(holder: type[HasArrayFile], *which: ColumnElement[bool]) -> Select[Any]:
    return select(holder.array_id).where(*which)
