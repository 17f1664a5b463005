"""Train a network on some patients of a cohort, from a base model or from nothing."""

from __future__ import annotations

import importlib.util
import logging
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError

from xpert_core.errors import DataError
from xpert_core.evaluation.metrics import pearson_measured
from xpert_core.finetuning.adapters import (
    Adapted,
    add_adapters,
    merge_adapters,
    train_everything,
)
from xpert_core.finetuning.config import FinetuneConfig, digest_of
from xpert_core.finetuning.data import CohortData, network_config
from xpert_core.finetuning.hooks import Hooks
from xpert_core.finetuning.transfer import Transfer, transfer
from xpert_core.learning.loop import predict_rows
from xpert_core.learning.resume import STATE, Progress, save_state
from xpert_core.learning.splits import Split
from xpert_core.learning.trainer import Setup, fit
from xpert_core.model.checkpoint import Checkpoint
from xpert_core.model.config import ModelConfig
from xpert_core.model.xpert import XPert
from xpert_core.tokens.dataset import READOUTS, TensorView, TrainingData
from xpert_core.tokens.expression import ExpressionBins

#: Rows predicted at a time: each has its own profile, and memory grows with them.
PREDICT_ROWS = 8


@dataclass(frozen=True)
class Fitted:
    """A trained network, adapters merged.

    Attributes
    ----------
    model : XPert
        In evaluation mode, with the weights that were best on the inner validation patients.
    view : TensorView
        The cohort as the network reads it.
    progress : Progress
        Epochs, scores, the best epoch (0 = the base model itself).
    adapted : Adapted
    transfer : Transfer
    """

    model: XPert
    view: TensorView
    progress: Progress
    adapted: Adapted
    transfer: Transfer


def fit_patients(
    base: Checkpoint,
    cohort: CohortData,
    split: Split,
    config: FinetuneConfig,
    folder: Path,
    hooks: Hooks,
    *,
    method: str,
    label: str,
) -> Fitted:
    """Train on the patients of ``split.train``; those of ``split.valid`` choose the epoch.

    The state in `folder` is gone on from if it belongs to the same data, split, base model and
    settings.

    Parameters
    ----------
    base : Checkpoint
    cohort : CohortData
    split : Split
    config : FinetuneConfig
    folder : Path
    hooks : Hooks
    method : str
        ``"adapters"``, ``"full"``, or ``"scratch"``: the base model's network from random weights.
    label : str
        Of this training, for progress and curves.

    Raises
    ------
    DataError
        When the loss is not a number (the best weights so far stay in the folder's state), or the
        state cannot be saved.
    FinetuningCancelled
    """
    _require_lightning()
    if config.threads:
        torch.set_num_threads(config.threads)
    torch.set_flush_denormal(True)
    network = network_config(base.model.config, cohort)
    if method == "scratch":
        model, moved = _untrained(base, network, cohort, config.seed)
    else:
        model, moved = transfer(base, network, cohort.names, seed=config.seed)
    set_units(model, cohort.data, split.train)
    bins, view = view_of(cohort, model, base.meta.bins["kind"], split.train)
    adapted = (
        add_adapters(model, heads=_heads(cohort), most=config.most_trained, seed=config.seed)
        if method == "adapters"
        else train_everything(model)
    )
    identity = digest_of(
        cohort.data.features_digest, base.digest, method, config.to_dict(),
        [rows.tolist() for rows in split.parts().values()],
    )  # fmt: skip
    training = config.training(method, identity, base.meta.bins["kind"])
    setup = Setup(training, cohort.data, split, bins, None, view, model)
    run = _run(setup, folder / f"{method}-{identity[:16]}", hooks, label)
    return Fitted(merge_adapters(model).eval(), view, run, adapted, moved)


def choose_method(config: FinetuneConfig, base: Checkpoint, cohort: CohortData) -> str:
    """``"adapters"`` or ``"full"``; the latter also where the base model lacks whole parts.

    Raises
    ------
    DataError
        If adapters are asked for where they would leave parts untrained.
    """
    method = config.method_for(len(cohort.data))
    if method == "full":
        return method
    _, moved = transfer(base, network_config(base.model.config, cohort), cohort.names)
    if not moved.untrained:
        return method
    if config.method == "auto":
        return "full"
    raise DataError(
        "Adapters cannot train what the base model lacks.",
        where="; ".join(moved.untrained),
        fix="Use the full-parameter method, or another base model.",
    )


def _run(setup: Setup, folder: Path, hooks: Hooks, label: str) -> Progress:
    """Train, or go on; the network holds the best weights afterwards.

    When it fails, they stay in the folder's state, and the network holds whatever it was at.
    """
    most = setup.config.max_epochs

    def report(done: int, total: int, entry: dict[str, float]) -> None:
        hooks.progress(done, total, f"{label}: epoch {done} of at most {total}")
        hooks.metric(run=label, **entry)

    hooks.progress(0, most, f"{label}: starting")
    try:
        if not (folder / STATE).is_file():
            _save_start(setup, folder)
        return fit(
            setup, folder, resume=True, progress=report, before_batch=hooks.check,
            predict_at_a_time=PREDICT_ROWS,
        )  # fmt: skip
    except SystemExit as stop:
        # Lightning catches Ctrl-C and ends the process itself.
        if isinstance(stop.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from None
        raise
    except (OSError, SafetensorError) as error:
        raise DataError(
            "The state of the fine-tuning could not be saved; the last one that was saved is "
            "untouched.",
            where=f"{folder.name}: {error}",
            fix="Free some disk space and start again: it goes on from the last whole epoch.",
        ) from error


def _save_start(setup: Setup, folder: Path) -> None:
    """Keep the network as it is before training: it stays if no epoch is better."""
    from xpert_core.learning.module import make_optimizer

    model, valid = setup.model, setup.split.valid
    found, _ = predict_rows(model, setup.view, valid, batch_rows=PREDICT_ROWS)
    score = float(pearson_measured(setup.data.x_deg[valid], found).mean())
    best = {name: value.detach().clone() for name, value in model.state_dict().items()}
    run = Progress(setup.config.to_dict(), best_epoch=0, best_score=score)
    save_state(folder, model, best, make_optimizer(model, setup.config), run)


def _untrained(
    base: Checkpoint, network: ModelConfig, cohort: CohortData, seed: int
) -> tuple[XPert, Transfer]:
    """The same network with random weights; the fixed vectors of genes were never trained."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = XPert(network)
    copied, _ = transfer(base, network, cohort.names, seed=seed)
    for (_, buffer), (_, own) in zip(model.named_buffers(), copied.named_buffers(), strict=True):
        buffer.copy_(own)
    count = sum(p.numel() for p in model.parameters() if p.requires_grad)
    return model, Transfer(count, 0, (), (f"all {count:,} trained numbers",), ())


def set_units(model: XPert, data: TrainingData, rows: np.ndarray) -> None:
    """Measure the units of the cohort's assay on training rows and write them into the model.

    Genes and read-outs without a measurement keep what the model has.
    """
    scale = model.get_buffer("x_deg_scale")
    for readout in range(len(READOUTS)):
        change = data.x_deg[rows[data.readout[rows] == readout]]
        known = ~np.isnan(change)
        if known.any():
            scale[readout] = float(np.sqrt(np.mean(np.square(change[known], dtype=np.float64))))
    levels = rows[data.has_x_pert[rows]]
    if len(levels):
        controls = data.profiles[np.unique(data.profile_index[levels])]
        seen = (~np.isnan(controls)).any(axis=0)
        mean = np.nanmean(controls[:, seen], axis=0, dtype=np.float64)
        model.get_buffer("x_pert_mean")[torch.from_numpy(seen)] = torch.from_numpy(
            mean.astype(np.float32)
        )


def view_of(
    cohort: CohortData, model: XPert, bins: str, train: np.ndarray
) -> tuple[ExpressionBins, TensorView]:
    """Bin edges, fitted on the training profiles, and the cohort as a network reads it."""
    config, data = model.config, cohort.data
    used = np.unique(data.profile_index[train])
    edges = ExpressionBins.fit(data.profiles[used], bins, config.n_value_tokens)
    graph = None
    if config.use_graph:
        width = config.graph_dim or config.d_model
        fits = cohort.graph.shape[1] == width
        graph = cohort.graph if fits else np.zeros((len(data.drug_keys), width), np.float32)
    return edges, TensorView(data, edges, config.max_atoms, graph)


def _heads(cohort: CohortData) -> tuple[str, ...]:
    """Read-outs that the cohort has something to teach."""
    heads = ["deg_head", "direction_head"]
    if cohort.data.has_x_pert.any():
        heads.append("pert_head")
    if (cohort.data.cell_index >= 0).any():
        heads.append("classifier")
    return tuple(heads)


def _require_lightning() -> None:
    if not any(importlib.util.find_spec(n) for n in ("lightning", "pytorch_lightning")):
        raise DataError(
            "Fine-tuning needs Lightning.", fix='Install it: pip install "xpert[train]".'
        )
    import xpert_core.learning.module  # noqa: F401 - Lightning sets its log level when imported

    # Lightning's advice on its other products is not for the user of this program.
    warnings.filterwarnings("ignore", module=r"lightning\.pytorch")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
