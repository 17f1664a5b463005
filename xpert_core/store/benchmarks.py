"""Benchmarks in the results database: rows of a record, and the record of rows."""

from __future__ import annotations

from typing import Any

import pandas as pd
from sqlalchemy import Select, delete, func, insert, select
from sqlalchemy.orm import Session

from xpert_core.benchmark.record import INTERVAL_COLUMNS, SCORE_COLUMNS, BenchmarkRecord
from xpert_core.store.arrays import new_id
from xpert_core.store.frames import decode, encode
from xpert_core.store.models import BenchmarkIntervalRow, BenchmarkRow, BenchmarkScoreRow, utc_now
from xpert_core.store.owners import visible


def put(session: Session, record: BenchmarkRecord, owner: str) -> str:
    """Write a record in the session's transaction; the same run of the owner is replaced.

    Returns
    -------
    str
        Id of the benchmark: that of the former one where it is replaced.
    """
    known = session.scalar(
        select(BenchmarkRow)
        .where(BenchmarkRow.owner == owner)
        .where(BenchmarkRow.run_sha256 == record.run_sha256)
    )
    if known is None:
        known = BenchmarkRow(id=new_id(), owner=owner, run_sha256=record.run_sha256)
        session.add(known)
    known.name, known.version, known.verdict = record.name, record.version, record.verdict
    known.data_sha256, known.splits = record.data_sha256, dict(record.splits)
    known.config = encode(record.config, "benchmark's configuration")
    known.updated_at = utc_now()
    session.flush()
    tables = (
        (BenchmarkScoreRow, record.scores, SCORE_COLUMNS),
        (BenchmarkIntervalRow, record.intervals, INTERVAL_COLUMNS),
    )
    for kind, table, columns in tables:
        session.execute(delete(kind).where(kind.benchmark_id == known.id))
        lines = _lines(table, columns, known.id)
        if lines:
            session.execute(insert(kind), lines)
    return known.id


def _lines(table: pd.DataFrame, columns: list[str], benchmark_id: str) -> list[dict[str, Any]]:
    # Missing numbers are NULL: what is not a number compares with nothing in SQL either.
    plain = table[columns].astype(object)
    plain = plain.where(plain.notna(), None)
    return [
        {
            "benchmark_id": benchmark_id,
            "position": i,
            **{str(k): _plain(v) for k, v in line.items()},
        }
        for i, line in enumerate(plain.to_dict("records"))
    ]


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value


def read(session: Session, row: BenchmarkRow) -> BenchmarkRecord:
    """The record of a stored benchmark, its lines in the order they were saved."""
    scores, intervals = (
        pd.DataFrame(
            session.execute(
                select(*(getattr(kind, name) for name in columns))
                .where(kind.benchmark_id == row.id)
                .order_by(kind.position)
            ).all(),
            columns=columns,
        )
        for kind, columns in (
            (BenchmarkScoreRow, SCORE_COLUMNS),
            (BenchmarkIntervalRow, INTERVAL_COLUMNS),
        )
    )
    numbers = ["mean", "low", "high", "p", "p_holm"]
    intervals[numbers] = intervals[numbers].astype(float)
    return BenchmarkRecord(
        name=row.name,
        run_sha256=row.run_sha256,
        data_sha256=row.data_sha256,
        splits=row.splits,
        config=decode(row.config),
        version=row.version,
        verdict=row.verdict,
        scores=scores.astype({"value": float}),
        intervals=intervals,
    )


def listing(owner: str | None) -> Select[Any]:
    """Stored benchmarks, newest first; columns as `Store.benchmarks` documents."""
    counts = [
        select(func.count(column.distinct()))
        .where(BenchmarkScoreRow.benchmark_id == BenchmarkRow.id)
        .scalar_subquery()
        .label(label)
        for column, label in (
            (BenchmarkScoreRow.scenario, "n_scenarios"),
            (BenchmarkScoreRow.model, "n_models"),
        )
    ]
    query = select(
        BenchmarkRow.id,
        BenchmarkRow.name,
        BenchmarkRow.owner,
        BenchmarkRow.created_at,
        BenchmarkRow.updated_at,
        BenchmarkRow.version,
        BenchmarkRow.data_sha256,
        *counts,
        BenchmarkRow.verdict,
    ).order_by(BenchmarkRow.updated_at.desc(), BenchmarkRow.id)
    return query.where(visible(BenchmarkRow, owner))
