"""Results database: cohorts and predictions, kept on this machine."""

from xpert_core.store.repository import Store

__all__ = ["Store"]
