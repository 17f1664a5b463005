"""Files that are either whole or absent: atomic writes and content hashes."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_path(target: Path, *, within: Path | None = None) -> Iterator[Path]:
    """Yield a temporary path; rename it to `target` when the block succeeds.

    On any error the temporary file is removed and `target` keeps its former content, so a full
    disk or a kill never leaves half a file under the final name.

    Parameters
    ----------
    target : Path
    within : Path, optional
        Folder of the temporary file; default beside `target`, and so where it is on another disk,
        from which nothing can be renamed.
    """
    target = Path(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    folder = target.parent
    if within is not None:
        within.mkdir(parents=True, exist_ok=True)
        if within.stat().st_dev == folder.stat().st_dev:
            folder = within
    temporary = folder / f".{target.name}.{secrets.token_hex(8)}"
    # Not mkstemp: its files are readable by their owner alone, also after the rename.
    temporary.touch(exist_ok=False)
    try:
        yield temporary
        with temporary.open("rb") as stream:
            os.fsync(stream.fileno())
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_bytes_atomic(target: Path, content: bytes) -> None:
    """Write `content` to `target` atomically."""
    with atomic_path(target) as temporary:
        temporary.write_bytes(content)


def sha256_bytes(content: bytes) -> str:
    """Hexadecimal SHA-256 of `content`."""
    return hashlib.sha256(content).hexdigest()


def sha256_file(path: Path, *, chunk: int = 1 << 20) -> str:
    """Hexadecimal SHA-256 of a file, read in chunks."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as stream:
        while block := stream.read(chunk):
            digest.update(block)
    return digest.hexdigest()
