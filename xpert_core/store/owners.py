"""Who may see and who may change a stored entry: decided here and nowhere else.

An owner sees own entries and what others share; changes and deletes own entries alone. What an
owner may not see looks like what is not there. Owner None is the administrator, who sees all.

Another table joins with a column ``owner``, the mixin `models.Shareable` where sharing makes sense,
and a name in `NAMES`; its queries then use `visible`, `readable` and `changeable`.
"""

from __future__ import annotations

from typing import Any, TypeVar

from sqlalchemy import ColumnElement, or_, true
from sqlalchemy.orm import Session

from xpert_core.errors import StoreError
from xpert_core.store.arrays import checked_id
from xpert_core.store.models import (
    Base,
    BenchmarkRow,
    CohortRow,
    JobRow,
    PairedCohortRow,
    RegisteredModelRow,
    RunRow,
    Shareable,
)

#: What an entry of each table is called in messages.
NAMES: dict[type[Base], str] = {
    CohortRow: "stored cohort",
    RunRow: "stored prediction",
    BenchmarkRow: "stored benchmark",
    PairedCohortRow: "paired cohort",
    RegisteredModelRow: "model",
    JobRow: "job",
}

Row = TypeVar("Row", bound=Base)


def visible(kind: type[Any], owner: str | None) -> ColumnElement[bool]:
    """Condition on rows of `kind`: own and shared ones; all for None."""
    if owner is None:
        return true()
    own: ColumnElement[bool] = kind.owner == owner
    return or_(own, kind.shared) if issubclass(kind, Shareable) else own


def readable(session: Session, kind: type[Row], key: str, owner: str | None) -> Row:
    """The row with this id.

    Raises
    ------
    StoreError
        The id is malformed or unknown, or the row is another owner's and not shared: the message
        is the same.
    """
    name = NAMES[kind]
    row = session.get(kind, checked_id(key, name.removeprefix("stored ")))
    if row is None or not _may_see(row, owner):
        raise StoreError(
            f"There is no {name} with this id; it may have been deleted.",
            where=key,
            fix="Open it from the list of what is stored.",
        )
    return row


def changeable(session: Session, kind: type[Row], key: str, owner: str | None) -> Row:
    """The row with this id, to change or delete it.

    Raises
    ------
    StoreError
        As `readable`; also when another owner shares it.
    """
    row = readable(session, kind, key, owner)
    if owner is not None and _owner(row) != owner:
        raise StoreError(
            f"This {NAMES[kind].removeprefix('stored ')} belongs to another user, who shares it.",
            where=key,
            fix="Ask its owner to change or delete it.",
        )
    return row


def _may_see(row: Base, owner: str | None) -> bool:
    shared = isinstance(row, Shareable) and row.shared
    return owner is None or shared or _owner(row) == owner


def _owner(row: Any) -> str:
    return str(row.owner)
