"""Featurizers by name: a class joins with ``@register("name")``, `create` makes one."""

from __future__ import annotations

import hashlib
import importlib
import json
from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeVar, runtime_checkable

from xpert_core.drugs.records import Drug, DrugFeatures
from xpert_core.errors import DrugError

BUILT_IN = ("aimnet2", "kpgt", "morgan", "unimol")
"""Featurizers of this package, one module each, imported when first asked for."""


@runtime_checkable
class Featurizer(Protocol):
    """Turns a drug into one molecule token and its atom tokens.

    Attributes
    ----------
    name : str
        Registered name.
    dim : int
        Width of every token.
    digest : str
        Hash over name, weights and settings; a checkpoint accepts features of one digest only.
    """

    name: str
    dim: int
    digest: str

    def featurize(self, drug: Drug) -> DrugFeatures:
        """Features of one drug.

        Raises
        ------
        DrugError
            When the drug cannot be featurized at all; a partial result says so in ``fallback``.
        """
        ...


_Class = TypeVar("_Class", bound=Callable[..., Any])
_classes: dict[str, Callable[..., Featurizer]] = {}


def register(name: str) -> Callable[[_Class], _Class]:
    """Class decorator: make a featurizer available as ``create(name)``.

    Raises
    ------
    ValueError
        When another class already has the name.
    """

    def add(featurizer: _Class) -> _Class:
        known = _classes.get(name)
        if known is not None and getattr(known, "__qualname__", "") != featurizer.__qualname__:
            raise ValueError(f"Two featurizers are named {name!r}.")
        _classes[name] = featurizer
        return featurizer

    return add


def names() -> tuple[str, ...]:
    """Names `create` accepts, sorted."""
    return tuple(sorted({*BUILT_IN, *_classes}))


def create(name: str, **options: Any) -> Featurizer:
    """Make the featurizer registered as `name`.

    Parameters
    ----------
    name : str
        One of `names`.
    **options
        Settings of that featurizer.

    Raises
    ------
    DrugError
        When no featurizer has that name, or its weights are missing.
    """
    if name not in _classes and name in BUILT_IN:
        importlib.import_module(f"xpert_core.drugs.featurizers.{name}")
    if name not in _classes:
        raise DrugError(
            f"There is no drug featurizer named {name!r}.",
            where="the featurizer setting",
            fix=f"Use one of: {', '.join(names())}.",
        )
    return _classes[name](**options)


def featurizer_digest(name: str, weights: str, settings: Mapping[str, Any]) -> str:
    """SHA-256 (hexadecimal) identifying a featurizer.

    Parameters
    ----------
    name : str
        Registered name.
    weights : str
        Hash of its weights or table; "" when it has none.
    settings : mapping
        Everything else that changes its output, as JSON-compatible values.
    """
    identity = {"name": name, "weights": weights, "settings": dict(settings)}
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode("utf-8")).hexdigest()
