"""Drug featurizers: `create` one by name; `names` lists them."""

from __future__ import annotations

from xpert_core.drugs.featurizers.registry import Featurizer, create, names, register

__all__ = ["Featurizer", "create", "names", "register"]
