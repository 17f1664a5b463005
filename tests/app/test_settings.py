"""Settings that protect patient data."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

APP = Path(__file__).resolve().parents[2] / "app"


@pytest.mark.parametrize(
    ("section", "name", "value"),
    [
        ("browser", "gatherUsageStats", False),
        ("client", "showErrorDetails", "none"),
        ("runner", "magicEnabled", False),
        ("server", "address", "127.0.0.1"),
        ("server", "enableXsrfProtection", True),
        ("server", "maxUploadSize", 200),
    ],
)
def test_protective_settings_stay(section: str, name: str, value: object) -> None:
    settings = tomllib.loads(
        (APP.parent / ".streamlit" / "config.toml").read_text(encoding="utf-8")
    )
    assert settings[section][name] == value
    assert "enableCORS" not in settings["server"]


def test_no_page_shows_raw_html() -> None:
    sources = [path.read_text(encoding="utf-8") for path in APP.rglob("*.py")]
    assert len(sources) > 15
    assert not any("unsafe_allow_html" in source or "st.html" in source for source in sources)


def test_the_store_is_opened_in_one_place_for_a_known_user() -> None:
    opening = re.compile(r"\b(Store|Registry|JobQueue|PairStore)\(|\b_store\(")
    found = {
        (path.name, line.strip())
        for path in APP.rglob("*.py")
        for line in path.read_text(encoding="utf-8").splitlines()
        if opening.search(line)
    }
    assert {name for name, _ in found} == {"services.py"}
    assert len(found) == 3, found  # `store`, and the cached opening behind it
