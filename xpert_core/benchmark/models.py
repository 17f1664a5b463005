"""Models behind one interface: baselines as they are, XPert through its trainer."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from xpert_core.baselines import registry
from xpert_core.baselines.registry import Baseline
from xpert_core.benchmark.config import XPERT, ModelSpec
from xpert_core.learning.config import TrainConfig
from xpert_core.learning.splits import Split
from xpert_core.tokens.dataset import TrainingData

EpochReport = Callable[[int, int, dict[str, float]], None]


def recipe_of(spec: ModelSpec, base: Path) -> dict[str, Any]:
    """The training configuration of an XPert model as values; empty for a baseline."""
    if spec.kind != XPERT:
        return {}
    recipe = TrainConfig.load(base / spec.recipe).to_dict()
    changed = dict(spec.settings)
    recipe["model"] = {**recipe["model"], **changed.pop("model", {})}
    recipe["loss"] = {**recipe["loss"], **changed.pop("loss", {})}
    if spec.drug != "true":
        # Its place in the graph would give the drug away.
        changed["graph"] = ""
    # The benchmark's data are used, whatever the recipe names.
    return {**recipe, **changed, "data": ""}


class XPertModel:
    """XPert as an ordinary model of x_deg.

    Parameters
    ----------
    values : dict
        Fields of `TrainConfig`; paths relative to `base`.
    base : Path
    seed : int

    Attributes
    ----------
    progress : callable or None
        Called after each epoch with (done, most, scores); what it raises ends the training.
    """

    def __init__(self, values: dict[str, Any], base: Path, seed: int) -> None:
        self.config = TrainConfig.from_dict({**values, "seed": seed, "threads": 1})
        self.base = base
        self.epochs = 0
        self.progress: EpochReport | None = None

    def fit(self, data: TrainingData, train: np.ndarray, valid: np.ndarray) -> None:
        """Train; the best epoch is chosen on `valid`."""
        from xpert_core.learning.trainer import build, fit

        # Rows that are neither trained nor chosen on are not looked at, but their drugs are held
        # out: graph vectors whose encoder saw these drugs' targets are refused in a strict split.
        # Compounds without a structure are in no part.
        rest = np.setdiff1d(np.arange(len(data)), np.concatenate([train, valid]))
        known = np.array([":" not in key for key in data.drug_keys])
        rest = rest[known[data.drug_index[rest]]]
        nothing = np.zeros(0, dtype=np.int64)
        split = Split(train, valid, rest, nothing, self.config.targets)
        self.setup = build(self.config, self.base, data=data, split=split)
        with tempfile.TemporaryDirectory() as room:
            self.epochs = fit(self.setup, Path(room), progress=self.progress).best_epoch

    def predict(self, data: TrainingData, rows: np.ndarray) -> np.ndarray:
        """x_deg of rows of the data it was fitted on."""
        from xpert_core.learning.loop import predict_rows

        return predict_rows(self.setup.model, self.setup.view, rows)[0]


def make_model(spec: ModelSpec, base: Path, seed: int) -> Baseline:
    """The untrained model of a specification."""
    if spec.kind == XPERT:
        return XPertModel(recipe_of(spec, base), (base / spec.recipe).parent, seed)
    return registry.create(spec.kind, seed=seed, **spec.settings)


def with_drug_input(data: TrainingData, drug: str, seed: int) -> TrainingData:
    """The data with the structures of all drugs taken away or dealt out anew.

    Parameters
    ----------
    data : TrainingData
    drug : str
        ``"true"``, ``"zeroed"`` or ``"shuffled"``: structures are dealt out at random.
    seed : int
    """
    if drug == "true":
        return data
    spans = [
        data.atoms[a:b] for a, b in zip(data.atom_offsets, data.atom_offsets[1:], strict=False)
    ]
    if drug == "zeroed":
        return replace(
            data,
            fingerprint=data.fingerprint * 0,
            molecule=data.molecule * 0,
            has_molecule=data.has_molecule & False,
            atoms=data.atoms[:0],
            atom_offsets=data.atom_offsets * 0,
            drug_smiles=("",) * len(data.drug_smiles),
        )
    order = np.arange(len(data.drug_keys))
    known = np.flatnonzero(data.has_molecule)
    order[known] = np.random.default_rng(seed).permutation(known)
    moved = [spans[i] for i in order]
    return replace(
        data,
        fingerprint=data.fingerprint[order],
        molecule=data.molecule[order],
        has_molecule=data.has_molecule[order],
        atoms=np.concatenate(moved),
        atom_offsets=np.cumsum([0, *map(len, moved)]).astype(np.int64),
        drug_smiles=tuple(data.drug_smiles[i] for i in order),
    )
