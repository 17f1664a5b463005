"""Run by Alembic: migrations use the connection and transaction of `xpert_core.store.migrate`."""

from __future__ import annotations

from typing import Any, Literal

from alembic import context

from xpert_core.store.models import Base, UTCDateTime


def _render(kind: str, item: Any, _context: object) -> str | Literal[False]:
    """Write plain types into migrations, so that these never depend on later code."""
    if kind == "type" and isinstance(item, UTCDateTime):
        return "sa.DateTime(timezone=True)"
    return False


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    render_as_batch=True,  # SQLite can only change a table by copying it
    render_item=_render,
)
with context.begin_transaction():
    context.run_migrations()
