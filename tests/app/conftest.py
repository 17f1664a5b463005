"""Every test has its own data folder and sees the real model, library and database."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from xpert_core.cohorts import example_path

MAIN = Path(__file__).resolve().parents[2] / "app" / "main.py"


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty data folder for each test; drug features are shared by all."""
    monkeypatch.delenv("XPERT_DATABASE_URL", raising=False)
    monkeypatch.setenv("XPERT_DATA_DIR", str(tmp_path / "data"))
    return tmp_path


@pytest.fixture(scope="session", autouse=True)
def _warmed_up() -> Iterator[None]:
    """An interpreter that ends while a thread is inside a compiled library is aborted."""
    yield
    for thread in threading.enumerate():
        if thread.name == "xpert-warm-up":
            thread.join(120)


@pytest.fixture
def open_page() -> Callable[..., AppTest]:
    """Opens a page of the dashboard in a session of its own."""

    def open_(name: str = "home", **query: str) -> AppTest:
        page = AppTest.from_file(str(MAIN), default_timeout=120)
        if name != "home":
            page.run()
            page.switch_page(f"views/{name}.py")
        for key, value in query.items():
            page.query_params[key] = value
        return page.run()

    return open_


@pytest.fixture(scope="session")
def three_patients() -> bytes:
    """The first three patients of the example cohort, as a CSV."""
    with example_path().open("rb") as stream:
        return b"".join(islice(stream, 4))
