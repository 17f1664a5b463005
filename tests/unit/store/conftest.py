"""A store in a folder of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from xpert_core.store import Store


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'data' / 'xpert.db'}"


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    opened = Store(url, timeout_s=15)
    yield opened
    opened.close()
