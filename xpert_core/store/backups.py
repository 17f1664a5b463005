"""A copy of an SQLite store while it is in use: database first, then the arrays it names."""

from __future__ import annotations

import shutil
from pathlib import Path

from sqlalchemy import Engine, select

from xpert_core.errors import StoreError
from xpert_core.files import atomic_path
from xpert_core.store import arrays as files
from xpert_core.store.engine import arrays_folder, make_engine, reading, resolve_url
from xpert_core.store.failures import explained
from xpert_core.store.models import HasArrayFile


def back_up(engine: Engine, folder: Path, target: Path) -> Path:
    """Copy the database of `engine` to `target` and its arrays to the folder beside it.

    Array files never change once written, so those that a snapshot of the database names make a
    consistent copy without stopping anybody's work. `target` appears last, when all is there.

    Raises
    ------
    StoreError
        `target` exists already, the disk is full, or a file of numbers is missing or damaged.
        Nothing is left at `target`.
    """
    copied = arrays_folder(resolve_url(f"sqlite:///{target}"))
    for path in (target, copied):
        if path.exists():
            raise StoreError(
                "The backup would overwrite something.",
                where=str(path),
                fix="Give the backup a new name.",
            )
    with explained("The backup could not be made", str(target)):
        try:
            with atomic_path(target) as temporary:
                _snapshot(engine, temporary)
                copied.mkdir(mode=0o700)
                for array_id, sha256 in _named_arrays(temporary):
                    _copy(folder, copied, array_id, sha256)
        except BaseException:
            shutil.rmtree(copied, ignore_errors=True)
            raise
    return target


def _snapshot(engine: Engine, target: Path) -> None:
    connection = engine.raw_connection()
    try:
        connection.cursor().execute("VACUUM INTO ?", (str(target),))
    finally:
        connection.close()


def _named_arrays(database: Path) -> list[tuple[str, str]]:
    engine = make_engine(resolve_url(f"sqlite:///{database}"), migrating=True)
    try:
        with reading(engine).connect() as connection:
            return [
                (array_id, sha256)
                for holder in HasArrayFile.__subclasses__()
                for array_id, sha256 in connection.execute(
                    select(holder.array_id, holder.array_sha256)
                )
            ]
    finally:
        engine.dispose()


def _copy(folder: Path, copied: Path, array_id: str, sha256: str) -> None:
    if not files.is_intact(folder, array_id, sha256):
        raise StoreError(
            "The backup could not be made: a file of numbers is missing, damaged, or was deleted "
            "during the backup.",
            where=str(files.path_of(folder, array_id)),
            fix="Try again. If it happens again, delete the entry that cannot be opened.",
        )
    shutil.copy2(files.path_of(folder, array_id), files.path_of(copied, array_id))
