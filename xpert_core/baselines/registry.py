"""Baselines by name: a class joins with ``@register``, `create` makes one."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np

from xpert_core.errors import DataError
from xpert_core.tokens.dataset import TrainingData

_MODULES = (
    "simple",
    "profiles",
    "neighbours",
    "stack",
    "mlp",
    "transigen",
    "prnet",
    "deepce",
    "ciger",
)


class Baseline(Protocol):
    """A model of x_deg that is fitted on rows of `TrainingData`."""

    def fit(self, data: TrainingData, train: np.ndarray, valid: np.ndarray) -> None:
        """Fit on the rows `train`; the rows `valid` choose penalties and epochs, nothing else."""
        ...

    def predict(self, data: TrainingData, rows: np.ndarray) -> np.ndarray:
        """x_deg of the given rows in units of their read-out, shape (len(rows), G)."""
        ...


@dataclass(frozen=True)
class BaselineInfo:
    """What a table says of a baseline.

    Attributes
    ----------
    name, label : str
    knows_cell, knows_drug, knows_control : bool
        Whether it can only answer for cell lines, drugs or control profiles it was fitted on. The
        paper leaves such a mean out where these are new; a network without them is asked all the
        same.
    seeded : bool
        Whether its numbers depend on a seed.
    grouped : bool
        Whether it asks what the scenario holds out as a whole: ``groups``, a label a row.
    differs : str
        Where it differs from what is published under its name; "" where it is ours.
    """

    name: str
    label: str
    knows_cell: bool = False
    knows_drug: bool = False
    knows_control: bool = False
    seeded: bool = False
    grouped: bool = False
    differs: str = ""

    def applies(self, scenario: str) -> bool:
        """Whether a scenario can ask it (paper, "Mean baseline models")."""
        # A patient's cell is the cancer, which is known where only the patient is new.
        new_cell = scenario in ("cold-cell", "unseen-cancer")
        new_drug = scenario in ("cold-drug", "cold-scaffold")
        new_control = scenario in ("cold-cell", "unseen-patient", "unseen-cancer")
        return not (
            (self.knows_cell and new_cell)
            or (self.knows_drug and new_drug)
            or (self.knows_control and new_control)
        )


_Class = TypeVar("_Class", bound=Callable[..., Any])
_known: dict[str, tuple[BaselineInfo, Callable[..., Baseline]]] = {}


def register(info: BaselineInfo) -> Callable[[_Class], _Class]:
    """Class decorator: make a baseline available as ``create(info.name)``.

    The class takes ``seed`` where `info.seeded`.
    """

    def add(baseline: _Class) -> _Class:
        if info.name in _known:
            raise ValueError(f"Two baselines are named {info.name!r}.")
        _known[info.name] = (info, baseline)
        return baseline

    return add


def available() -> dict[str, BaselineInfo]:
    """Every baseline by name, in the order of the tables."""
    for module in _MODULES:
        importlib.import_module(f"xpert_core.baselines.{module}")
    return {name: info for name, (info, _) in _known.items()}


def create(name: str, *, seed: int = 0, **settings: Any) -> Baseline:
    """Make the baseline registered as `name`.

    Parameters
    ----------
    name : str
    seed : int
    **settings
        Of that baseline, such as ``max_epochs`` of a network.

    Raises
    ------
    DataError
        When no baseline has that name.
    """
    if name not in available():
        raise DataError(
            f"There is no baseline named {name!r}.", fix=f"Use one of: {', '.join(_known)}."
        )
    info, baseline = _known[name]
    return baseline(seed=seed, **settings) if info.seeded else baseline(**settings)
