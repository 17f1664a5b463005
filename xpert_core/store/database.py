"""One database with its folder of arrays: sessions, and files that stand or fall with their row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
import pandas as pd
from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from xpert_core.errors import StoreError
from xpert_core.store import arrays as files
from xpert_core.store import engine, migrate
from xpert_core.store.failures import explained
from xpert_core.store.models import HasArrayFile


class Database:
    """Connections to a database that is up to date; may be shared between threads.

    Parameters
    ----------
    url : str, optional
        As `xpert_core.store.engine.resolve_url` takes it.
    timeout_s : float
        How long to wait for another writer, in seconds.

    Raises
    ------
    StoreError
        The database cannot be opened.
    """

    def __init__(self, url: str | None = None, *, timeout_s: float = 30.0) -> None:
        self.url = engine.resolve_url(url)
        self.arrays_folder = engine.arrays_folder(self.url)
        self.jobs_folder = engine.jobs_folder(self.url)
        migrate.prepare(self.url, timeout_s=timeout_s)
        files.make_folder(self.arrays_folder)
        self.engine = engine.make_engine(self.url, timeout_s=timeout_s)
        self.write_session = sessionmaker(self.engine, expire_on_commit=False)
        self.read_session = sessionmaker(engine.reading(self.engine))

    @property
    def location(self) -> str:
        """Address of the database, without a password."""
        return engine.shown(self.url)

    def close(self) -> None:
        """Close the pooled connections."""
        self.engine.dispose()

    @contextmanager
    def reading(self, failure: str) -> Iterator[Session]:
        """A session that only reads, on one snapshot; `failure` is said if the database fails."""
        with explained(failure, self.location), self.read_session() as session:
            yield session

    @contextmanager
    def writing(self, failure: str) -> Iterator[Session]:
        """A session whose transaction is committed at the end of the block, whole or not at all."""
        with explained(failure, self.location), self.write_session.begin() as session:
            yield session

    @contextmanager
    def new_file(
        self, values: Mapping[str, np.ndarray], document: Mapping[str, Any]
    ) -> Iterator[dict[str, Any]]:
        """Write a file; it stays only when the block commits a row that names it."""
        file = files.write_arrays(self.arrays_folder, values, document)
        try:
            yield {
                "array_id": file.id,
                "array_sha256": file.sha256,
                "array_bytes": file.n_bytes,
            }
        except BaseException:
            # Ask the database: even a commit that failed may have come through. Where it cannot
            # answer, the first error counts and the file is left for `Store.sweep_orphans`.
            with suppress(StoreError):
                self._remove_unnamed(file.id)
            raise
        self._remove_unnamed(file.id)

    def _remove_unnamed(self, array_id: str) -> None:
        with self.reading("The stored entries could not be read") as session:
            named = any(
                session.scalar(select(holder.array_id).where(holder.array_id == array_id))
                for holder in HasArrayFile.__subclasses__()
            )
        if not named:
            files.remove_array(self.arrays_folder, array_id)

    def erase(self, array_ids: Sequence[str]) -> None:
        """Remove what a deletion leaves on the disk: files, and pages in the write-ahead log."""
        for array_id in array_ids:
            files.remove_array(self.arrays_folder, array_id)
        if engine.is_sqlite(self.url):
            with explained("The entry is gone, but its traces could not be erased", self.location):
                engine.empty_log(self.engine)

    def listed(self, query: Any) -> pd.DataFrame:
        """Rows of a query with the columns ``id`` and ``created_at``, by id."""
        with self.reading("The stored entries could not be listed") as session:
            result = session.execute(query)
            listed = pd.DataFrame(result.all(), columns=list(result.keys())).set_index("id")
        listed["created_at"] = pd.to_datetime(listed["created_at"], utc=True)
        return listed
