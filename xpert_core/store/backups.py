"""A copy of an SQLite store while it is in use: database first, then the arrays it names."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection, Engine, select

from xpert_core.errors import StoreError
from xpert_core.files import atomic_path
from xpert_core.store import arrays as files
from xpert_core.store.engine import (
    arrays_folder,
    make_engine,
    models_folder,
    reading,
    resolve_url,
)
from xpert_core.store.failures import explained
from xpert_core.store.models import HasArrayFile, RegisteredModelRow


def back_up(engine: Engine, folder: Path, models: Path, target: Path) -> Path:
    """Copy the database of `engine` to `target`, its arrays and models to the folders beside it.

    Array files and models never change once written, so those that a snapshot of the database
    names make a consistent copy without stopping anybody's work. `target` appears last, when all is
    there.

    Raises
    ------
    StoreError
        `target` exists already, the disk is full, or a file of numbers is missing or damaged.
        Nothing is left at `target`.
    """
    address = resolve_url(f"sqlite:///{target}")
    copied, copied_models = arrays_folder(address), models_folder(address)
    for path in (target, copied, copied_models):
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
                for model_id in _named_models(temporary):
                    shutil.copytree(models / model_id, copied_models / model_id)
        except BaseException:
            shutil.rmtree(copied, ignore_errors=True)
            shutil.rmtree(copied_models, ignore_errors=True)
            raise
    return target


def _snapshot(engine: Engine, target: Path) -> None:
    connection = engine.raw_connection()
    try:
        connection.cursor().execute("VACUUM INTO ?", (str(target),))
    finally:
        connection.close()


@contextmanager
def _opened(database: Path) -> Iterator[Connection]:
    engine = make_engine(resolve_url(f"sqlite:///{database}"), migrating=True)
    try:
        with reading(engine).connect() as connection:
            yield connection
    finally:
        engine.dispose()


def _named_arrays(database: Path) -> list[tuple[str, str]]:
    with _opened(database) as connection:
        return [
            (array_id, sha256)
            for holder in HasArrayFile.__subclasses__()
            for array_id, sha256 in connection.execute(select(holder.array_id, holder.array_sha256))
        ]


def _named_models(database: Path) -> list[str]:
    with _opened(database) as connection:
        return list(connection.scalars(select(RegisteredModelRow.id)))


def _copy(folder: Path, copied: Path, array_id: str, sha256: str) -> None:
    if not files.is_intact(folder, array_id, sha256):
        raise StoreError(
            "The backup could not be made: a file of numbers is missing, damaged, or was deleted "
            "during the backup.",
            where=str(files.path_of(folder, array_id)),
            fix="Try again. If it happens again, delete the entry that cannot be opened.",
        )
    shutil.copy2(files.path_of(folder, array_id), files.path_of(copied, array_id))
