"""Reading what a page of the dashboard says."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


def texts(elements: Iterable[Any]) -> str:
    """What a list of page elements says, in one string, without Markdown escapes."""
    return "\n".join(str(element.value) for element in elements).replace("\\", "")
