"""Bring a database to the schema of this code, once, however many processes start together."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from filelock import FileLock
from sqlalchemy import URL, Connection, Engine, inspect, text

from xpert_core.errors import StoreError
from xpert_core.paths import data_dir
from xpert_core.store.engine import database_file, is_sqlite, make_engine, reading, shown
from xpert_core.store.failures import explained
from xpert_core.store.models import Base

#: Key of PostgreSQL's advisory lock ("xper" as a number): servers are shared between machines.
_ADVISORY_LOCK = 0x78706572


def config(connection: Connection | None = None) -> Config:
    """Alembic's configuration for the migrations inside this package."""
    settings = Config()
    settings.set_main_option("script_location", "xpert_core.store:migrations")
    settings.set_main_option("file_template", "r%%(rev)s_%%(slug)s")
    settings.attributes["connection"] = connection
    return settings


def head() -> str:
    """Revision that this code speaks."""
    revision = ScriptDirectory.from_config(config()).get_current_head()
    if revision is None:
        raise StoreError(
            "This installation has no database migrations.", fix="Install the package again."
        )
    return revision


def current(connection: Connection) -> str | None:
    """Revision of the database, None for an empty one.

    Raises
    ------
    StoreError
        The schema is newer than this code, or the database belongs to another program.
    """
    revision = MigrationContext.configure(connection).get_current_revision()
    where = shown(connection.engine.url)
    if revision is None:
        tables = set(inspect(connection).get_table_names())
        # A server may hold other programs' tables beside these; a file of its own does not.
        foreign = tables if is_sqlite(connection.engine.url) else tables & set(Base.metadata.tables)
        if foreign:
            raise StoreError(
                "This database was made by another program.",
                where=f"{where}, tables: {', '.join(sorted(foreign)[:5])}",
                fix="Give the address of a new file or of an empty database.",
            )
        return None
    known = {script.revision for script in ScriptDirectory.from_config(config()).walk_revisions()}
    if revision not in known:
        raise StoreError(
            "The database was made by a newer version of this software.",
            where=f"{where}, schema {revision}; this version knows {head()}",
            fix="Install the newer version again, or set XPERT_DATA_DIR to another folder.",
        )
    return revision


def upgrade(connection: Connection, revision: str = "head") -> None:
    """Upgrade inside the transaction of `connection`: all steps or none."""
    command.upgrade(config(connection), revision)
    _check_links(connection)


def downgrade(connection: Connection, revision: str) -> None:
    """Go back to an older revision inside the transaction of `connection`."""
    command.downgrade(config(connection), revision)
    _check_links(connection)


def _check_links(connection: Connection) -> None:
    # Foreign keys are off while SQLite copies tables: look afterwards that none is broken.
    if is_sqlite(connection.engine.url):
        broken = connection.exec_driver_sql("PRAGMA foreign_key_check").fetchall()
        if broken:
            raise StoreError(
                "The database could not be upgraded: some of its entries are inconsistent.",
                where=f"{shown(connection.engine.url)}, tables: {sorted({r[0] for r in broken})}",
                fix="Nothing was changed. Put back a backup and try again.",
            )


def prepare(url: URL, *, timeout_s: float = 30.0) -> None:
    """Create or upgrade the database unless it is up to date already.

    Raises
    ------
    StoreError
        The database cannot be opened, is damaged, locked, read-only, foreign, or too new.
    """
    with explained("The results database could not be opened", shown(url)):
        lock = _lock_file(url)
        engine = make_engine(url, timeout_s=timeout_s, migrating=True)
        try:
            if _is_current(engine):
                return
            with FileLock(lock, timeout=timeout_s):
                if not _is_current(engine):
                    _create_or_upgrade(engine)
        finally:
            engine.dispose()


def _lock_file(url: URL) -> Path:
    if not is_sqlite(url):
        data_dir().mkdir(parents=True, exist_ok=True)
        return data_dir() / "database.lock"
    file = database_file(url)
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    return file.with_name(f"{file.name}.lock")


def _is_current(engine: Engine) -> bool:
    if is_sqlite(engine.url) and not database_file(engine.url).exists():
        return False  # do not let the mere look create an empty file
    with reading(engine).connect() as connection:
        return current(connection) == head()


def _create_or_upgrade(engine: Engine) -> None:
    if is_sqlite(engine.url):
        raw = engine.raw_connection()
        try:
            # The mode stays with the file. It cannot be changed inside a transaction.
            raw.cursor().execute("PRAGMA journal_mode = WAL")
        finally:
            raw.close()
    with engine.begin() as connection:
        if not is_sqlite(engine.url):
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK})
        upgrade(connection)
