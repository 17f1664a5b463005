"""Folders of checkpoints on the disk: copied whole, put in place and taken away in one step."""

from __future__ import annotations

import filecmp
import os
import re
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from xpert_core.store.arrays import make_folder
from xpert_core.store.failures import explained
from xpert_core.store.models import ID_LENGTH

ID = re.compile(rf"[0-9a-f]{{{ID_LENGTH}}}")
_PARTIAL = re.compile(r"\.(new|gone|import)-.+")


@contextmanager
def working_folder(folder: Path, purpose: str) -> Iterator[Path]:
    """A folder inside `folder`, gone after the block; swept when its process was killed.

    Parameters
    ----------
    purpose : str
        ``"new"`` or ``"import"``, part of its name.
    """
    make_folder(folder)
    with explained("The model could not be stored", str(folder)):
        room = Path(tempfile.mkdtemp(prefix=f".{purpose}-", dir=folder))
    try:
        yield room
    finally:
        shutil.rmtree(room, ignore_errors=True)


def place(copied: Path, target: Path) -> None:
    """Move a whole checkpoint to `target`; what is there goes away first."""
    drop(target)
    copied.rename(target)


def drop(target: Path) -> None:
    """Delete a checkpoint: under its name it is there whole, or not at all."""
    if target.is_dir():
        gone = target.with_name(f".gone-{secrets.token_hex(8)}")
        target.rename(gone)
        shutil.rmtree(gone)


def copy_checkpoint(source: Path, target: Path) -> int:
    """Copy the files of a checkpoint, and no others, through to the disk; returns their bytes."""
    from xpert_core.model.checkpoint import CARD, CONFIG, WEIGHTS

    target.mkdir(mode=0o700)
    total = 0
    for name in (WEIGHTS, CONFIG, CARD):
        if not (source / name).is_file():
            continue  # `verify_checkpoint` says what is missing
        with (source / name).open("rb") as original, (target / name).open("wb") as copied:
            shutil.copyfileobj(original, copied, 1 << 20)
            copied.flush()
            os.fsync(copied.fileno())
        total += (target / name).stat().st_size
    return total


def same_files(one: Path, other: Path) -> bool:
    """Whether `other` has all files of `one`, with the same content."""
    names = [path.name for path in one.iterdir()]
    same, _, _ = filecmp.cmpfiles(one, other, names, shallow=False)
    return len(same) == len(names)


def is_old(path: Path, grace_s: float) -> bool:
    """Whether this is a checkpoint or a part of one, last changed over `grace_s` seconds ago."""
    if not (ID.fullmatch(path.name) or _PARTIAL.fullmatch(path.name)):
        return False
    try:
        return path.is_dir() and path.stat().st_mtime <= time.time() - grace_s
    except FileNotFoundError:
        return False  # another process deleted it meanwhile
