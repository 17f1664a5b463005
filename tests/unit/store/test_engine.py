"""Addresses and connection settings."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import text

from xpert_core.errors import StoreError
from xpert_core.store import Store
from xpert_core.store.engine import arrays_folder, make_engine, reading, resolve_url, shown


def test_every_connection_has_the_settings(store: Store, url: str) -> None:
    engine = make_engine(resolve_url(url), timeout_s=20)
    with engine.connect() as one, engine.connect() as other:
        for connection in (one, reading(engine).connect(), other):
            values = {
                name: connection.execute(text(f"PRAGMA {name}")).scalar_one()
                for name in (
                    "journal_mode",
                    "synchronous",
                    "foreign_keys",
                    "busy_timeout",
                    "secure_delete",
                )
            }
            assert values == {
                "journal_mode": "wal",
                "synchronous": 1,  # NORMAL
                "foreign_keys": 1,
                "busy_timeout": 20_000,
                "secure_delete": 1,
            }
            connection.close()
    engine.dispose()


def test_the_default_is_a_file_in_the_data_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XPERT_DATA_DIR", str(tmp_path / "my data"))
    monkeypatch.delenv("XPERT_DATABASE_URL", raising=False)
    store = Store()
    assert (tmp_path / "my data" / "xpert.db").is_file()
    assert store.arrays_folder == tmp_path / "my data" / "xpert.db-arrays"
    store.close()


def test_the_environment_names_another_database(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XPERT_DATABASE_URL", f"sqlite:///{tmp_path / 'other.db'}")
    store = Store()
    assert (tmp_path / "other.db").is_file()
    assert store.location.endswith("other.db")
    store.close()


def test_a_server_address_is_understood_and_its_password_never_shown() -> None:
    url = resolve_url("postgresql://anna:s3cret@db.example:5433/xpert")
    assert url.drivername == "postgresql+psycopg"
    assert "s3cret" not in shown(url)
    assert arrays_folder(url).name == "db.example-5433-xpert-arrays"
    assert arrays_folder(resolve_url("postgres://h/../../x")).parent == arrays_folder(url).parent


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("not an address", "cannot be understood"),
        ("mysql://u:s3cret@host/db", "Only SQLite files and PostgreSQL"),
        ("sqlite://", "names no file"),
        ("sqlite:///:memory:", "names no file"),
        ("postgresql://anna:s3cret@host:notaport/x", "cannot be understood"),
    ],
)
def test_a_wrong_address_is_explained(url: str, message: str) -> None:
    with pytest.raises(StoreError, match=message) as caught:
        Store(url)
    assert "XPERT_DATABASE_URL" in caught.value.fix
    assert "s3cret" not in str(caught.value)
