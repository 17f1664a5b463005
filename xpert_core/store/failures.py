"""Turn database and disk errors into sentences a person can act on."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

import filelock
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from xpert_core.errors import StoreError

_FULL = (
    "the disk is full, or a quota or file size limit was reached",
    "Free some disk space, then try again. Nothing was changed.",
)
_READ_ONLY = (
    "the database or its folder is read-only",
    "Allow writing to this place, or set XPERT_DATA_DIR to a folder that you can write to.",
)
_BUSY = (
    "another program is using the database and did not finish in time",
    "Wait a moment and try again. Close other programs that have the database open.",
)
_DAMAGED = (
    "the file is damaged or is not a database",
    "Put back a backup, or move the file away: a new, empty database is then made.",
)
_CANNOT_OPEN = (
    "the database cannot be opened",
    "Check that the folder exists, is a folder, and may be read and written by you.",
)
_UNREACHABLE = (
    "the database server did not answer or refused the connection",
    "Check the address in XPERT_DATABASE_URL, the password, and that the server is running.",
)
_BAD_TEXT = (
    "a name or text holds characters that cannot be stored",
    "Correct the names in the file (damaged characters), then try again.",
)
_OTHER_CAUSE = "Try again. If it happens again, report the details above."

_SQLITE = {
    "SQLITE_BUSY": _BUSY,
    "SQLITE_LOCKED": _BUSY,
    "SQLITE_READONLY": _READ_ONLY,
    "SQLITE_FULL": _FULL,
    "SQLITE_IOERR": (
        "the disk refused to read or write (it may be full, over quota or damaged)",
        "Free some disk space and check the disk, then try again. Nothing was changed.",
    ),
    "SQLITE_CORRUPT": _DAMAGED,
    "SQLITE_NOTADB": _DAMAGED,
    "SQLITE_CANTOPEN": _CANNOT_OPEN,
}
#: PostgreSQL error classes and codes (its manual, appendix A).
_POSTGRES = {"53100": _FULL, "25006": _READ_ONLY, "55P03": _BUSY, "42501": _READ_ONLY}
_OS = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.EFBIG: _FULL,
    errno.EROFS: _READ_ONLY,
    errno.EACCES: _READ_ONLY,
    errno.EPERM: _READ_ONLY,
    errno.ENOTDIR: _CANNOT_OPEN,
    errno.EEXIST: _CANNOT_OPEN,
}


def _cause(error: BaseException) -> tuple[str, str]:
    if isinstance(error, DBAPIError) and error.orig is not None:
        return _cause(error.orig)
    if isinstance(error, UnicodeError):
        return _BAD_TEXT
    if isinstance(error, filelock.Timeout):
        return _BUSY
    if isinstance(error, sqlite3.Error):
        # Extended codes read SQLITE_IOERR_WRITE, SQLITE_BUSY_SNAPSHOT, ...
        parts = getattr(error, "sqlite_errorname", "").split("_")
        known = _SQLITE.get("_".join(parts[:2]))
    elif isinstance(error, OSError):
        known = _OS.get(error.errno or 0)
    else:
        state = getattr(error, "sqlstate", "missing")
        known = _UNREACHABLE if state is None else _POSTGRES.get(str(state))
    return known or (str(error).splitlines()[0] if str(error) else repr(error), _OTHER_CAUSE)


@contextmanager
def explained(failure: str, where: str) -> Iterator[None]:
    """Raise `StoreError` in place of the database's or the disk's own errors.

    Parameters
    ----------
    failure : str
        What did not happen, e.g. ``"The cohort could not be saved"``.
    where : str
        The database or folder concerned, without a password.
    """
    try:
        yield
    except (SQLAlchemyError, sqlite3.Error, OSError, UnicodeError) as error:
        cause, fix = _cause(error)
        raise StoreError(f"{failure}: {cause}.", where=where, fix=fix) from error
