"""Models behind one interface: baselines as they are, XPert through its trainer."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from xpert_core.baselines import registry
from xpert_core.baselines.registry import Baseline
from xpert_core.baselines.stack import Stack
from xpert_core.benchmark.config import XPERT, ModelSpec
from xpert_core.files import sha256_file
from xpert_core.learning.config import TrainConfig
from xpert_core.learning.folds import SCENARIOS, labels_of
from xpert_core.learning.splits import Split
from xpert_core.tokens.dataset import TrainingData

OF_THE_BENCHMARK = {"snapshots": 1, "residual": False}
"""Settings of an XPert model that are not fields of its training configuration; defaults."""

EpochReport = Callable[[int, int, dict[str, float]], None]


def recipe_of(spec: ModelSpec, base: Path) -> dict[str, Any]:
    """The training configuration of an XPert model as values; empty for a baseline."""
    if spec.kind != XPERT:
        return {}
    recipe = TrainConfig.load(base / spec.recipe).to_dict()
    changed = {k: v for k, v in spec.settings.items() if k not in OF_THE_BENCHMARK}
    recipe["model"] = {**recipe["model"], **changed.pop("model", {})}
    recipe["loss"] = {**recipe["loss"], **changed.pop("loss", {})}
    if spec.drug != "true":
        # Its place in the graph would give the drug away.
        changed["graph"] = ""
    # The benchmark's data are used, whatever the recipe names.
    return {**recipe, **changed, "data": ""}


def recipe_document(spec: ModelSpec, base: Path) -> dict[str, Any]:
    """What `recipe_of` gives, with the content of its files (SHA-256) in place of their paths."""
    recipe = recipe_of(spec, base)
    folder = (base / spec.recipe).parent
    for name in ("ppi", "graph"):
        if recipe.get(name):
            path = folder / recipe[name]
            recipe[name] = sha256_file(path) if path.is_file() else f"missing: {path.name}"
    return recipe


def of_fold(spec: ModelSpec, scenario: str, fold: int) -> ModelSpec:
    """The model with the graph vectors of one fold, where ``graph`` in its settings is a template.

    Parameters
    ----------
    spec : ModelSpec
        ``settings: {graph: "folder/{scenario}-{fold}.safetensors"}``; others come back as they are.
    scenario : str
    fold : int
        From 1.
    """
    if not spec.of_each_fold:
        return spec
    graph = str(spec.settings["graph"]).format(scenario=scenario, fold=fold)
    return replace(spec, settings={**spec.settings, "graph": graph})


def split_of(
    data: TrainingData, train: np.ndarray, valid: np.ndarray, targets: str = "strict"
) -> Split:
    """What XPert is told of a fold: every row that is not trained or chosen on counts as tested.

    These rows are not looked at, but their drugs are held out: graph vectors whose encoder saw
    these drugs' targets are refused in a strict split. Compounds without a structure are in no
    part.
    """
    rest = np.setdiff1d(np.arange(len(data)), np.concatenate([train, valid]))
    known = np.array([":" not in key for key in data.drug_keys])
    rest = rest[known[data.drug_index[rest]]]
    return Split(train, valid, rest, np.zeros(0, dtype=np.int64), targets)


def vectors_of(spec: ModelSpec, base: Path) -> Path | None:
    """File of the graph vectors of an XPert model; None where it is trained without."""
    graph = recipe_of(spec, base).get("graph")
    return (base / spec.recipe).parent / graph if graph else None


class XPertModel:
    """XPert as an ordinary model of x_deg.

    Parameters
    ----------
    values : dict
        Fields of `TrainConfig`; paths relative to `base`.
    base : Path
    seed : int
    snapshots : int
        Epochs whose predictions are averaged: those with the best validation scores of the run.
    residual : Stack, optional
        Untrained; the network learns what to add to it.

    Attributes
    ----------
    device : torch.device
        Where it was trained.
    progress : callable or None
        Called after each epoch with (done, most, scores); what it raises ends the training.
    """

    def __init__(
        self,
        values: dict[str, Any],
        base: Path,
        seed: int,
        snapshots: int = 1,
        residual: Stack | None = None,
    ) -> None:
        self.config = TrainConfig.from_dict({**values, "seed": seed, "threads": 1})
        self.base = base
        self.snapshots = snapshots
        self.residual = residual
        self.epochs = 0
        self.device = torch.device("cpu")
        self.progress: EpochReport | None = None

    def fit(self, data: TrainingData, train: np.ndarray, valid: np.ndarray) -> None:
        """Train; the best epoch is chosen on `valid`."""
        from xpert_core.learning.trainer import build, fit

        split = split_of(data, train, valid, self.config.targets)
        prior = None
        if self.residual is not None:
            self.residual.fit(data, train, valid)
            prior = self.residual.priors(data)
        self.setup = build(self.config, self.base, data=data, split=split, prior=prior)
        self._kept: list[tuple[float, dict[str, Any]]] = []
        with tempfile.TemporaryDirectory() as room:
            self.epochs = fit(self.setup, Path(room), progress=self._keep).best_epoch

    def _keep(self, done: int, most: int, scores: dict[str, float]) -> None:
        """Remember the weights of the best epochs so far, and tell who listens."""
        self.device = next(self.setup.model.parameters()).device
        state = {k: v.detach().clone() for k, v in self.setup.model.state_dict().items()}
        self._kept.append((scores["score"], state))
        self._kept = sorted(self._kept, key=lambda kept: -kept[0])[: self.snapshots]
        if self.progress is not None:
            self.progress(done, most, scores)

    def predict(self, data: TrainingData, rows: np.ndarray) -> np.ndarray:
        """x_deg of rows of the data it was fitted on."""
        return self.predict_both(data, rows)[0]

    def predict_both(self, data: TrainingData, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """x_deg, and x_pert by its own head, of rows of the data it was fitted on."""
        from xpert_core.learning.loop import predict_rows

        parts = []
        for _, state in self._kept:
            self.setup.model.load_state_dict(state)
            parts.append(predict_rows(self.setup.model, self.setup.view, rows))
        x_deg, x_pert = (
            np.stack(p).mean(axis=0, dtype=np.float32) for p in zip(*parts, strict=True)
        )
        return x_deg, x_pert


def make_model(
    spec: ModelSpec, base: Path, seed: int, groups: np.ndarray | None = None
) -> Baseline:
    """The untrained model of a specification.

    Parameters
    ----------
    spec : ModelSpec
    base : Path
        Folder that relative paths of the specification start from.
    seed : int
    groups : ndarray, shape (N,), optional
        From `held_out`, for models that split their training rows again.
    """
    if spec.kind == XPERT:
        own = {k: spec.settings.get(k, default) for k, default in OF_THE_BENCHMARK.items()}
        residual = Stack(seed, groups) if own["residual"] else None
        folder = (base / spec.recipe).parent
        return XPertModel(recipe_of(spec, base), folder, seed, int(own["snapshots"]), residual)
    settings = dict(spec.settings)
    if registry.available()[spec.kind].grouped:
        settings["groups"] = groups
    return registry.create(spec.kind, seed=seed, **settings)


def held_out(data: TrainingData, scenario: str) -> np.ndarray:
    """Label of each row that the scenario holds out as a whole."""
    labels: np.ndarray = getattr(labels_of(data), SCENARIOS[scenario].grouping)
    return labels


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
