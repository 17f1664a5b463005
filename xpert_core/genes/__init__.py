"""Gene identity: the panel a model speaks, and the reading of any file's gene identifiers.

>>> from xpert_core.genes import load_panel
>>> len(load_panel("l1000"))
978
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from xpert_core.genes.matching import resolve
    from xpert_core.genes.panel import load_panel
    from xpert_core.genes.records import STATUSES, GenePanel, GeneReport
    from xpert_core.genes.report import describe, report_csv

__all__ = [
    "STATUSES",
    "GenePanel",
    "GeneReport",
    "describe",
    "load_panel",
    "report_csv",
    "resolve",
]

_MODULES = {
    "resolve": "matching",
    "load_panel": "panel",
    "describe": "report",
    "report_csv": "report",
    "STATUSES": "records",
    "GenePanel": "records",
    "GeneReport": "records",
}


def __getattr__(name: str) -> Any:
    # pandas is imported when a function is first used, not with the package.
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
