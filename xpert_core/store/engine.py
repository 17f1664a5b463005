"""Connections to the results database: its address, its settings, the folder of its arrays."""

from __future__ import annotations

import json
import os
import re
import sqlite3
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

from xpert_core.errors import StoreError
from xpert_core.paths import data_dir

#: Environment variable with the address of another database.
URL_VARIABLE = "XPERT_DATABASE_URL"

#: Name of the SQLite database in the user's data folder.
DATABASE_NAME = "xpert.db"

_READ = "xpert_read"


def resolve_url(url: str | None = None) -> URL:
    """Address of the database: `url`, else ``XPERT_DATABASE_URL``, else SQLite in `data_dir()`.

    Raises
    ------
    StoreError
        The address is not one of an SQLite file or a PostgreSQL server.
    """
    text = url or os.environ.get(URL_VARIABLE) or ""
    fix = (
        f"Unset {URL_VARIABLE} to use the database in your data folder, or give an address such "
        "as sqlite:////folder/xpert.db or postgresql://user:password@host/database."
    )
    if not text:
        return URL.create("sqlite", database=str((data_dir() / DATABASE_NAME).absolute()))
    try:
        parsed = make_url(text)
    except (ArgumentError, ValueError) as error:
        # The address is not shown: it may hold a password.
        raise StoreError("The database address cannot be understood.", fix=fix) from error
    if parsed.drivername in ("postgresql", "postgres"):
        parsed = parsed.set(drivername="postgresql+psycopg")
    backend = parsed.drivername.split("+")[0]
    if backend not in ("sqlite", "postgresql"):
        raise StoreError(
            "Only SQLite files and PostgreSQL servers can hold the results.",
            where=shown(parsed),
            fix=fix,
        )
    if backend == "sqlite" and parsed.database in (None, "", ":memory:"):
        raise StoreError("The database address names no file.", where=shown(parsed), fix=fix)
    return parsed


def shown(url: URL) -> str:
    """The address as it may be shown: without the password."""
    return url.render_as_string(hide_password=True)


def is_sqlite(url: URL) -> bool:
    """Whether the address is that of an SQLite file."""
    return url.drivername.startswith("sqlite")


def database_file(url: URL) -> Path:
    """Path of an SQLite database, also from an address of the form ``file:...?mode=ro``."""
    name = url.database or ""
    if name.startswith("file:"):
        name = unquote(name.removeprefix("file:"))
    return Path(name).absolute()


def arrays_folder(url: URL) -> Path:
    """Folder of the array files, named after the database so that two never share one.

    For SQLite it stands beside the database (``xpert.db-arrays``), for a server in `data_dir()`.
    """
    return _folder(url, "arrays")


def jobs_folder(url: URL) -> Path:
    """Folder of what running jobs keep (checkpoints), as `arrays_folder`: ``xpert.db-jobs``."""
    return _folder(url, "jobs")


def _folder(url: URL, what: str) -> Path:
    if is_sqlite(url):
        file = database_file(url)
        return file.with_name(f"{file.name}-{what}")
    name = f"{url.host or 'local'}-{url.port or 5432}-{url.database or url.username or 'default'}"
    return (data_dir() / f"{re.sub(r'[^A-Za-z0-9._-]', '_', name)}-{what}").absolute()


def _strict_json(value: Any) -> str:
    # NaN is no JSON: PostgreSQL would refuse what SQLite takes.
    return json.dumps(value, allow_nan=False)


def make_engine(url: URL, *, timeout_s: float = 30.0, migrating: bool = False) -> Engine:
    """Create the pooled engine of a database.

    SQLite: a transaction takes the write lock at its start (``BEGIN IMMEDIATE``), because the
    driver's default, to take it at the first write, silently loses updates that were computed from
    a value read before; write-ahead log, foreign keys enforced, deleted content overwritten.

    Parameters
    ----------
    url : URL
        From `resolve_url`.
    timeout_s : float
        How long to wait for another writer or for the server, in seconds.
    migrating : bool
        For schema changes: foreign keys are not enforced, because SQLite changes a table by
        copying it, and the journal mode is left alone.

    Raises
    ------
    StoreError
        The driver of the database is not installed.
    """
    options: dict[str, Any] = {"json_serializer": _strict_json}
    if is_sqlite(url):
        options["connect_args"] = {"timeout": timeout_s, "check_same_thread": False}
    else:
        options["connect_args"] = {"connect_timeout": max(1, round(timeout_s))}
        options["pool_pre_ping"] = True
    try:
        engine = create_engine(url, **options)
    except (ImportError, NoSuchModuleError) as error:
        raise StoreError(
            "The driver of this database is not installed.",
            where=shown(url),
            fix="Install it with: pip install 'psycopg[binary]'.",
        ) from error
    if is_sqlite(url):
        _set_up_sqlite(engine, timeout_s, migrating)
    return engine


def _set_up_sqlite(engine: Engine, timeout_s: float, migrating: bool) -> None:
    pragmas = [f"busy_timeout = {round(timeout_s * 1000)}", "secure_delete = ON"]
    if migrating:
        pragmas += ["foreign_keys = OFF"]
    else:
        pragmas += ["journal_mode = WAL", "synchronous = NORMAL", "foreign_keys = ON"]

    @event.listens_for(engine, "connect")
    def configure(connection: sqlite3.Connection, _record: object) -> None:
        connection.isolation_level = None  # this project, not the driver, opens transactions
        for pragma in pragmas:
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        reads = connection.get_execution_options().get(_READ, False)
        connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")


def reading(engine: Engine) -> Engine:
    """The same engine and pool for reading: a consistent snapshot, without the write lock."""
    if is_sqlite(engine.url):
        return engine.execution_options(**{_READ: True})
    return engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)


def empty_log(engine: Engine) -> None:
    """Move SQLite's write-ahead log into the database, so that nothing deleted stays in it.

    While another program reads for longer than a second, the next call empties it instead.
    """
    connection = engine.raw_connection()
    try:
        cursor = connection.cursor()
        (timeout_ms,) = cursor.execute("PRAGMA busy_timeout").fetchone()
        cursor.execute("PRAGMA busy_timeout = 1000")
        cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        cursor.execute(f"PRAGMA busy_timeout = {timeout_ms}")
    finally:
        connection.close()
