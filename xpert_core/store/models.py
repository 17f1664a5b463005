"""Tables of the results database (SQLAlchemy 2, the same on SQLite and PostgreSQL).

Metadata live in rows, large matrices in files beside the database (see `arrays`). Deleting a
cohort or a run removes everything below it by ``ON DELETE CASCADE``. After a change here, write a
migration: ``python -m xpert_core.store.migrations "what changed"``.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    DateTime,
    Dialect,
    Double,
    ForeignKey,
    MetaData,
    String,
    Text,
    TypeDecorator,
    UniqueConstraint,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

#: Owner of everything on a single-user machine.
LOCAL_OWNER = "local"

#: Characters in a public id (8 random bytes in hexadecimal).
ID_LENGTH = 16


class UTCDateTime(TypeDecorator[datetime]):
    """A moment in UTC; SQLite keeps no time zone, so it is taken off and put back."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Convert to UTC before the value is written."""
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Mark the value read as UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def utc_now() -> datetime:
    """This moment."""
    return datetime.now(UTC)


class Base(DeclarativeBase):
    """Base of all tables; every constraint has a predictable name, so migrations can address it."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012 - read once by SQLAlchemy
        str: Text(),
        float: Double(),
        datetime: UTCDateTime(),
        dict[str, Any]: JSON(none_as_null=True),
        list[Any]: JSON(none_as_null=True),
    }


class HasArrayFile:
    """Columns of a row whose matrices are in a file; `sweep_orphans` asks every subclass."""

    array_id: Mapped[str] = mapped_column(String(ID_LENGTH), unique=True)
    array_sha256: Mapped[str] = mapped_column(String(64))
    array_bytes: Mapped[int] = mapped_column(BigInteger)


class CohortRow(Base):
    """A cohort as uploaded. `content_sha256` covers input hash, scale, panel, samples and values:
    the same upload by the same owner is kept once."""

    __tablename__ = "cohorts"
    __table_args__ = (UniqueConstraint("owner", "content_sha256"),)

    id: Mapped[str] = mapped_column(String(ID_LENGTH), primary_key=True)
    owner: Mapped[str] = mapped_column(default=LOCAL_OWNER, server_default=LOCAL_OWNER)
    name: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    input_sha256: Mapped[str] = mapped_column(index=True)
    content_sha256: Mapped[str] = mapped_column(String(64))
    scale_detected: Mapped[str]
    scale_used: Mapped[str]
    scale_evidence: Mapped[str]
    scale_transform: Mapped[str]
    notes: Mapped[list[Any]]
    sample_format: Mapped[dict[str, Any]]


class SampleRow(Base):
    """One sample of a cohort; `details` holds the remaining metadata columns of the file."""

    __tablename__ = "samples"
    __table_args__ = (UniqueConstraint("cohort_id", "position"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    cohort_id: Mapped[str] = mapped_column(ForeignKey("cohorts.id", ondelete="CASCADE"))
    position: Mapped[int]
    sample_id: Mapped[str | None]
    patient_id: Mapped[str | None]
    timepoint: Mapped[str | None]
    details: Mapped[dict[str, Any] | None]


class ProfilesRow(HasArrayFile, Base):
    """Base profiles of a cohort on a gene panel; the file holds x_ctl and the gene report."""

    __tablename__ = "profiles"

    id: Mapped[int] = mapped_column(primary_key=True)
    cohort_id: Mapped[str] = mapped_column(
        ForeignKey("cohorts.id", ondelete="CASCADE"), unique=True
    )
    panel_name: Mapped[str]
    panel_digest: Mapped[str]
    n_profiles: Mapped[int]
    n_genes: Mapped[int]
    n_genes_found: Mapped[int]


class ModelRow(Base):
    """A model that made predictions, identified by the hash of its checkpoint."""

    __tablename__ = "models"

    id: Mapped[str] = mapped_column(String(ID_LENGTH), primary_key=True)
    name: Mapped[str]
    digest: Mapped[str] = mapped_column(unique=True)
    card: Mapped[dict[str, Any]]
    created_at: Mapped[datetime] = mapped_column(default=utc_now)


class RunRow(HasArrayFile, Base):
    """One call of the predictor; the file holds x_deg, x_pert and the gene table."""

    __tablename__ = "runs"

    id: Mapped[str] = mapped_column(String(ID_LENGTH), primary_key=True)
    owner: Mapped[str] = mapped_column(default=LOCAL_OWNER, server_default=LOCAL_OWNER, index=True)
    title: Mapped[str]
    status: Mapped[str] = mapped_column(String(16), default="done", server_default="done")
    created_at: Mapped[datetime] = mapped_column(default=utc_now, index=True)
    cohort_id: Mapped[str | None] = mapped_column(
        ForeignKey("cohorts.id", ondelete="CASCADE"), index=True
    )
    model_id: Mapped[str | None] = mapped_column(
        ForeignKey("models.id", ondelete="SET NULL"), index=True
    )
    n_rows: Mapped[int]
    n_genes: Mapped[int]
    provenance: Mapped[dict[str, Any]]
    row_format: Mapped[dict[str, Any]]


class DrugRow(Base):
    """A drug used in a run. Kept per run, so that a private structure goes when the run goes."""

    __tablename__ = "drugs"
    __table_args__ = (UniqueConstraint("run_id", "position"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    run_id: Mapped[str] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"))
    position: Mapped[int]
    drug: Mapped[str | None]
    smiles: Mapped[str | None]
    inchikey: Mapped[str | None] = mapped_column(index=True)


class PredictionRow(Base):
    """One predicted profile: sample x drug x dose (uM) x time (h)."""

    __tablename__ = "predictions"
    __table_args__ = (UniqueConstraint("run_id", "position"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    run_id: Mapped[str] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"))
    drug_id: Mapped[int] = mapped_column(ForeignKey("drugs.id", ondelete="CASCADE"), index=True)
    position: Mapped[int]
    row_id: Mapped[str | None]
    sample_id: Mapped[str | None]
    patient_id: Mapped[str | None]
    dose_um: Mapped[float | None]
    time_h: Mapped[float | None]
    n_missing_genes: Mapped[int | None]
    drug_fallback: Mapped[str | None]
    details: Mapped[dict[str, Any] | None]


class BenchmarkRow(Base):
    """A benchmark as reported. `run_sha256` covers everything its numbers depend on: the same
    benchmark of the same owner is kept once, its numbers those of the last time."""

    __tablename__ = "benchmarks"
    __table_args__ = (UniqueConstraint("owner", "run_sha256"),)

    id: Mapped[str] = mapped_column(String(ID_LENGTH), primary_key=True)
    owner: Mapped[str] = mapped_column(default=LOCAL_OWNER, server_default=LOCAL_OWNER)
    name: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(default=utc_now, index=True)
    updated_at: Mapped[datetime] = mapped_column(default=utc_now)
    run_sha256: Mapped[str] = mapped_column(String(64))
    data_sha256: Mapped[str]
    splits: Mapped[dict[str, Any]]
    config: Mapped[dict[str, Any]]
    version: Mapped[str]
    verdict: Mapped[str]


class BenchmarkScoreRow(Base):
    """One metric of one fold with one seed; NULL where it is not defined."""

    __tablename__ = "benchmark_scores"
    __table_args__ = (UniqueConstraint("benchmark_id", "position"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    benchmark_id: Mapped[str] = mapped_column(ForeignKey("benchmarks.id", ondelete="CASCADE"))
    position: Mapped[int]
    scenario: Mapped[str]
    readout: Mapped[str]
    model: Mapped[str]
    seed: Mapped[int]
    fold: Mapped[int]
    metric: Mapped[str]
    value: Mapped[float | None]


class BenchmarkIntervalRow(Base):
    """PCC of a model with its interval, or, with `minus`, its difference to another model."""

    __tablename__ = "benchmark_intervals"
    __table_args__ = (UniqueConstraint("benchmark_id", "position"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    benchmark_id: Mapped[str] = mapped_column(ForeignKey("benchmarks.id", ondelete="CASCADE"))
    position: Mapped[int]
    scenario: Mapped[str]
    readout: Mapped[str]
    model: Mapped[str]
    minus: Mapped[str | None]
    mean: Mapped[float | None]
    low: Mapped[float | None]
    high: Mapped[float | None]
    p: Mapped[float | None]
    p_holm: Mapped[float | None]
    n_rows: Mapped[int | None]
    n_groups: Mapped[int | None]
    unit: Mapped[str | None]


class PairedCohortRow(HasArrayFile, Base):
    """Profiles before and after treatment; the file holds both, the pair table and the gene report.

    `content_sha256` covers everything but the name: the same upload by the same owner is kept once.
    """

    __tablename__ = "paired_cohorts"
    __table_args__ = (UniqueConstraint("owner", "content_sha256"),)

    id: Mapped[str] = mapped_column(String(ID_LENGTH), primary_key=True)
    owner: Mapped[str] = mapped_column(default=LOCAL_OWNER, server_default=LOCAL_OWNER)
    name: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    input_sha256: Mapped[str] = mapped_column(index=True)
    content_sha256: Mapped[str] = mapped_column(String(64))
    unit: Mapped[str]
    scale_transform: Mapped[str]
    panel_name: Mapped[str]
    panel_digest: Mapped[str]
    n_pairs: Mapped[int]
    n_patients: Mapped[int]
    n_genes: Mapped[int]
    n_genes_found: Mapped[int]
    notes: Mapped[list[Any]]


class JobRow(Base):
    """A piece of long work. `claim` is drawn anew each time a worker takes the job: whoever writes
    for a job names the claim, so that nothing of a former attempt can reach a later one.

    `attempts` counts how often it was taken, `crashes` how often in a row its process died without
    getting further than before (`crash_done`, steps done).
    """

    __tablename__ = "jobs"

    id: Mapped[str] = mapped_column(String(ID_LENGTH), primary_key=True)
    owner: Mapped[str] = mapped_column(default=LOCAL_OWNER, server_default=LOCAL_OWNER, index=True)
    kind: Mapped[str]
    title: Mapped[str]
    params: Mapped[dict[str, Any]]
    status: Mapped[str] = mapped_column(String(16), index=True)
    done: Mapped[int] = mapped_column(BigInteger, default=0)
    total: Mapped[int] = mapped_column(BigInteger, default=0)
    stage: Mapped[str] = mapped_column(default="")
    result: Mapped[dict[str, Any] | None]
    error: Mapped[dict[str, Any] | None]
    attempts: Mapped[int] = mapped_column(default=0)
    crashes: Mapped[int] = mapped_column(default=0)
    crash_done: Mapped[int] = mapped_column(BigInteger, default=0)
    claim: Mapped[str | None] = mapped_column(String(ID_LENGTH))
    worker: Mapped[str | None]
    heartbeat_at: Mapped[datetime | None]
    cancel_requested: Mapped[bool] = mapped_column(default=False)
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]


class JobEventRow(Base):
    """A line of a job's log (`kind` "log") or its live numbers (`kind` "metric")."""

    __tablename__ = "job_events"

    id: Mapped[int] = mapped_column(primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), index=True)
    attempt: Mapped[int]
    created_at: Mapped[datetime]
    kind: Mapped[str] = mapped_column(String(16))
    payload: Mapped[dict[str, Any]]


class WorkerRow(Base):
    """A running worker; `id` is its `WorkerName` as text."""

    __tablename__ = "workers"

    id: Mapped[str] = mapped_column(primary_key=True)
    started_at: Mapped[datetime]
    heartbeat_at: Mapped[datetime]
