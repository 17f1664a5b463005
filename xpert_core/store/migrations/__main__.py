"""Write a new migration from the difference between `models` and the migrations so far.

Usage: ``python -m xpert_core.store.migrations "add a jobs table"``, then read and test the file.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from alembic import command

from xpert_core.store import migrate
from xpert_core.store.engine import make_engine, resolve_url


def main(message: str) -> None:
    """Write the migration `message` into the package."""
    number = f"{int(migrate.head()) + 1:04d}"
    with tempfile.TemporaryDirectory() as folder:
        engine = make_engine(resolve_url(f"sqlite:///{Path(folder) / 'new.db'}"), migrating=True)
        with engine.begin() as connection:
            migrate.upgrade(connection)
            command.revision(migrate.config(connection), message, autogenerate=True, rev_id=number)
        engine.dispose()


if __name__ == "__main__":
    main(sys.argv[1])
