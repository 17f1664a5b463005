"""Migrations agree with the models, run whole or not at all, and refuse what is not theirs."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic import command
from alembic.script import ScriptDirectory
from alembic.util.exc import CommandError
from sqlalchemy import Engine, inspect, text
from store_data import melanoma_prediction, melanoma_profiles

import xpert_core
from xpert_core.errors import StoreError
from xpert_core.paths import assets_dir
from xpert_core.store import Store, migrate
from xpert_core.store.engine import make_engine, resolve_url
from xpert_core.store.models import Base


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    made = make_engine(resolve_url(f"sqlite:///{tmp_path / 'xpert.db'}"), migrating=True)
    yield made
    made.dispose()


def tables(engine: Engine) -> set[str]:
    return set(inspect(engine).get_table_names()) - {"alembic_version"}


def test_the_migrations_make_the_tables_of_the_models(engine: Engine) -> None:
    with engine.begin() as connection:
        migrate.upgrade(connection)
        command.check(migrate.config(connection))
    assert tables(engine) == set(Base.metadata.tables)


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE runs ADD COLUMN extra TEXT",
        "DROP INDEX ix_runs_owner",
        "ALTER TABLE samples RENAME COLUMN timepoint TO stage",
    ],
)
def test_a_difference_between_migrations_and_models_is_noticed(engine: Engine, change: str) -> None:
    with engine.begin() as connection:
        migrate.upgrade(connection)
        connection.execute(text(change))
        with pytest.raises(CommandError, match="New upgrade operations detected"):
            command.check(migrate.config(connection))


def test_every_step_down_and_up_again_works(engine: Engine) -> None:
    with engine.begin() as connection:
        migrate.upgrade(connection)
    for script in list(ScriptDirectory.from_config(migrate.config()).walk_revisions()):
        with engine.begin() as connection:
            migrate.downgrade(connection, str(script.down_revision or "base"))
    assert tables(engine) == set()
    with engine.begin() as connection:
        migrate.upgrade(connection)
        command.check(migrate.config(connection))


def test_an_interrupted_upgrade_changes_nothing(engine: Engine) -> None:
    with pytest.raises(KeyboardInterrupt), engine.begin() as connection:
        migrate.upgrade(connection)
        raise KeyboardInterrupt
    assert tables(engine) == set()


def test_an_upgrade_that_would_break_links_changes_nothing(engine: Engine) -> None:
    insert = (
        "INSERT INTO samples (cohort_id, position, sample_id) VALUES ('0123456789abcdef', 0, 's')"
    )
    with pytest.raises(StoreError, match="inconsistent"), engine.begin() as connection:
        migrate.upgrade(connection)
        connection.execute(text(insert))
        migrate.upgrade(connection)
    assert tables(engine) == set()


def test_opening_twice_changes_nothing(store: Store, url: str) -> None:
    file = Path(store.location.removeprefix("sqlite:///"))
    before = file.read_bytes()
    Store(url).close()
    assert file.read_bytes() == before


def test_a_newer_database_is_refused_and_left_alone(store: Store, url: str) -> None:
    file = Path(store.location.removeprefix("sqlite:///"))
    store.close()
    with sqlite3.connect(file) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    before = file.read_bytes()
    with pytest.raises(StoreError, match="newer version") as caught:
        Store(url)
    assert "9999" in caught.value.where
    assert file.read_bytes() == before


def test_another_programs_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "photos.db"
    with sqlite3.connect(file) as connection:
        connection.execute("CREATE TABLE photos (id INTEGER)")
    connection.close()
    before = file.read_bytes()
    with pytest.raises(StoreError, match="another program") as caught:
        Store(f"sqlite:///{file}")
    assert "photos" in caught.value.where
    assert file.read_bytes() == before


def test_the_next_version_can_add_to_the_schema_and_keeps_what_is_stored(
    store: Store, url: str, tmp_path: Path
) -> None:
    cohort_id = store.save_cohort(melanoma_profiles())
    run_id = store.save_prediction(melanoma_prediction(), cohort_id, title="before")
    store.close()
    # The next version: this package with one more column, and the migration written for it.
    package = tmp_path / "next" / "xpert_core"
    shutil.copytree(Path(xpert_core.__file__).parent, package)
    models = package / "store" / "models.py"
    models.write_text(
        models.read_text().replace(
            "    title: Mapped[str]\n", "    title: Mapped[str]\n    remark: Mapped[str | None]\n"
        )
    )

    # The coverage of this copy is not that of the project.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    environment["PYTHONPATH"] = os.pathsep.join([str(package.parent), *sys.path])
    environment["XPERT_ASSETS"] = str(assets_dir())

    def run_next(*arguments: str) -> str:
        child = subprocess.run(
            [sys.executable, *arguments],
            capture_output=True,
            text=True,
            cwd=package.parent,
            env=environment,
            check=False,
        )
        assert child.returncode == 0, child.stderr
        return child.stdout

    run_next("-m", "xpert_core.store.migrations", "Add a remark")
    number = int(migrate.head()) + 1
    assert (package / f"store/migrations/versions/r{number:04d}_add_a_remark.py").is_file()
    script = (
        "import sys; from store_data import *; from xpert_core.store import Store\n"
        "store = Store(sys.argv[1])\n"
        "assert_same_profiles(store.load_cohort(sys.argv[2]), melanoma_profiles())\n"
        "assert_same_prediction(store.load_prediction(sys.argv[3]), melanoma_prediction())\n"
        "print(store.runs()['title'].tolist(), store.cohorts()['n_runs'].tolist())\n"
    )
    assert run_next("-c", script, url, cohort_id, run_id).split() == ["['before']", "[1]"]
    with sqlite3.connect(url.removeprefix("sqlite:///")) as connection:
        columns = [row[1] for row in connection.execute("PRAGMA table_info(runs)")]
    connection.close()
    assert "remark" in columns
    with pytest.raises(StoreError, match="newer version"):
        Store(url)


def test_what_was_stored_before_sharing_is_private(engine: Engine) -> None:
    row = {
        "id": "0123456789abcdef", "name": "a", "created_at": "2026-11-01", "input_sha256": "i",
        "content_sha256": "c", "scale_detected": "log2", "scale_used": "log2", "scale_evidence": "",
        "scale_transform": "none", "notes": "[]", "sample_format": "{}",
    }  # fmt: skip
    columns, values = ", ".join(row), ", ".join(f":{name}" for name in row)
    with engine.begin() as connection:
        migrate.upgrade(connection, "0003")
        connection.execute(text(f"INSERT INTO cohorts ({columns}) VALUES ({values})"), row)
        migrate.upgrade(connection)
        found = connection.execute(text("SELECT id, owner, shared FROM cohorts")).all()
    assert [tuple(line) for line in found] == [("0123456789abcdef", "local", 0)]
