"""Files of numbers beside the database: compressed, hashed, written whole or not at all.

A file is a zip archive of ``.npy`` members (readable with ``numpy.load``) and ``document.json``.
Its name is a random id; its SHA-256 is kept in the database row and checked at every reading.
Nothing in it is ever unpickled.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import secrets
import time
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from xpert_core.errors import StoreError
from xpert_core.files import atomic_path, sha256_file
from xpert_core.store.failures import explained
from xpert_core.store.models import ID_LENGTH

_DOCUMENT = "document.json"
_ID = re.compile(rf"[0-9a-f]{{{ID_LENGTH}}}")


@dataclass(frozen=True)
class ArrayFile:
    """Identity of a written file: its id, hash and size in bytes."""

    id: str
    sha256: str
    n_bytes: int


def new_id() -> str:
    """A random id that is safe in addresses and file names."""
    return secrets.token_hex(ID_LENGTH // 2)


def checked_id(text: str, kind: str) -> str:
    """Return `text` when it has the form of an id, so that no id can point at another file.

    Raises
    ------
    StoreError
        It has another form.
    """
    if not isinstance(text, str) or not _ID.fullmatch(text):
        raise StoreError(
            f"This is not the id of a stored {kind}.",
            where=repr(text)[:60],
            fix="Open it from the list of stored results.",
        )
    return text


def path_of(folder: Path, array_id: str) -> Path:
    """Path of the file with this id."""
    return folder / f"{checked_id(array_id, 'array')}.npz"


def make_folder(folder: Path) -> None:
    """Create the folder, closed to other users of the machine, unless it is there.

    Raises
    ------
    StoreError
        Something else has its name, or its parent cannot be written.
    """
    with explained("The folder of stored numbers cannot be used", str(folder)):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)


def write_arrays(
    folder: Path, arrays: Mapping[str, np.ndarray], document: Mapping[str, Any]
) -> ArrayFile:
    """Write arrays and a JSON document into a new file; it appears complete or not at all.

    Raises
    ------
    StoreError
        The disk is full or the folder cannot be written; nothing is left behind.
    """
    array_id = new_id()
    target = path_of(folder, array_id)
    make_folder(folder)
    with explained("The numbers could not be stored", str(folder)), atomic_path(target) as part:
        # Level 1: expression values hardly compress, higher levels only cost time.
        with zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            for name, values in arrays.items():
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, values, allow_pickle=False)
            archive.writestr(_DOCUMENT, json.dumps(document, allow_nan=False))
        return ArrayFile(array_id, sha256_file(part), part.stat().st_size)


def read_arrays(
    folder: Path, array_id: str, sha256: str
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Read a file back, after checking that it is the one that was written.

    Raises
    ------
    StoreError
        The file is missing, cannot be read, or its content has changed.
    """
    path = path_of(folder, array_id)
    if not path.is_file():
        raise StoreError(
            "The stored numbers are missing: their file is not there.",
            where=str(path),
            fix="Put the file back from a backup, or delete this entry and make it again.",
        )
    with explained("The stored numbers could not be read", str(path)):
        content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != sha256:
        raise StoreError(
            "The stored numbers are damaged: their file has changed since it was written.",
            where=str(path),
            fix="Put the file back from a backup, or delete this entry and make it again.",
        )
    with np.load(io.BytesIO(content), allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files if name != _DOCUMENT}
        return arrays, json.loads(archive[_DOCUMENT])


def is_intact(folder: Path, array_id: str, sha256: str) -> bool:
    """Whether the file is there and has the content that was written."""
    path = path_of(folder, array_id)
    with explained("The stored numbers could not be read", str(path)):
        return path.is_file() and sha256_file(path) == sha256


def remove_array(folder: Path, array_id: str) -> None:
    """Delete a file; it is no error when it is already gone.

    Raises
    ------
    StoreError
        The file is there and cannot be deleted.
    """
    path = path_of(folder, array_id)
    with explained("The entry is gone, but its file of numbers could not be deleted", str(path)):
        path.unlink(missing_ok=True)


def old_files(folder: Path, grace_s: float) -> Iterator[tuple[str, Path]]:
    """Files of this folder, half-written ones too, last changed over `grace_s` seconds ago.

    Yields
    ------
    (str, Path)
        The id ("" for a half-written file, which never has a row) and the path.
    """
    limit = time.time() - grace_s
    if not folder.is_dir():
        return
    for path in sorted(folder.iterdir()):
        whole = path.suffix == ".npz" and _ID.fullmatch(path.stem)
        half = re.fullmatch(rf"\.{_ID.pattern}\.npz\..+", path.name)
        try:
            old = path.stat().st_mtime <= limit
        except FileNotFoundError:
            continue  # another process deleted it meanwhile
        if old and (whole or half):
            yield (path.stem if whole else ""), path
