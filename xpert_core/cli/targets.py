"""Files the commands write."""

from __future__ import annotations

from pathlib import Path

from xpert_core.errors import XPertError


def refuse_overwrite(target: Path, *, force: bool) -> None:
    """Refuse a target that exists, unless forced, before any work is done.

    Raises
    ------
    XPertError
        When `target` is a folder, or exists and `force` is not set.
    """
    if target.is_dir():
        raise XPertError(
            "The output is a folder, not a file.", where=str(target), fix="Name a file."
        )
    if target.exists() and not force:
        raise XPertError(
            "The output file exists and would be overwritten.",
            where=str(target),
            fix="Choose another name, or add --force.",
        )
