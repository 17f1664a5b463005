"""Train a checkpoint: from a configuration file to a verified model folder with its card.

Imports with torch and numpy alone; Lightning is imported when training starts, scikit-learn when
the baselines beside the scores are fitted.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch

from xpert_core.errors import DataError
from xpert_core.learning.config import TrainConfig
from xpert_core.learning.loop import fit_token_means, fit_units, predict_rows
from xpert_core.learning.resume import Progress, load_state
from xpert_core.learning.splits import Split, held_out_keys, split_by_drug
from xpert_core.model.checkpoint import ModelMeta, save_checkpoint
from xpert_core.model.config import ModelConfig
from xpert_core.model.xpert import XPert
from xpert_core.tokens.biology import Biology
from xpert_core.tokens.dataset import READOUTS, TensorView, TrainingData
from xpert_core.tokens.expression import ExpressionBins

EpochReport = Callable[[int, int, dict[str, float]], None]


@dataclass(frozen=True)
class TrainResult:
    """A finished training.

    Attributes
    ----------
    folder : Path
        The checkpoint.
    digest : str
        SHA-256 of its weights.
    best_epoch : int
    card : dict
        The model card's facts.
    """

    folder: Path
    digest: str
    best_epoch: int
    card: dict[str, Any]


@dataclass(frozen=True)
class Setup:
    """Everything a run needs, built from its configuration."""

    config: TrainConfig
    data: TrainingData
    split: Split
    bins: ExpressionBins
    biology: Biology | None
    view: TensorView
    model: XPert


def build(
    config: TrainConfig,
    base: Path,
    *,
    data: TrainingData | None = None,
    split: Split | None = None,
    prior: np.ndarray | None = None,
) -> Setup:
    """Load data, split, fit bins and units on training rows, and build the network.

    Parameters
    ----------
    config : TrainConfig
    base : Path
        Folder that relative paths of the configuration start from.
    data, split : optional
        Default: what the configuration names.
    prior : ndarray of float32, shape (N, G), optional
        What a simple model predicts for each row, out of fold for the training rows; the network
        then learns what to add.
    """
    data = data or TrainingData.load(base / config.data)
    split = split or split_by_drug(
        data,
        valid=config.valid,
        test=config.test,
        seed=config.split_seed,
        targets=config.targets,
    )
    known = {"n_value_tokens": 128, **config.model}["n_value_tokens"]
    used = np.unique(data.profile_index[split.train])
    bins = ExpressionBins.fit(data.profiles[used], config.bins, known)
    biology = _biology(config, base, data, split)
    sizes = {
        "n_genes": data.profiles.shape[1],
        "graph_dim": 0 if biology is None else biology.strict.shape[1],
        "n_classes": len(data.cells),
        "n_readouts": len(READOUTS),
        "feature_dim": data.molecule.shape[1],
    }
    torch.manual_seed(config.seed)
    model_config = ModelConfig.from_dict({**sizes, **config.model})
    model_config = model_config.with_(
        use_graph=model_config.use_graph and biology is not None, use_prior=prior is not None
    )
    model = XPert(model_config)
    if config.ppi and model_config.use_ppi:
        vectors = _network_vectors(base / config.ppi, data.info["entrez_id"])
        model.cell_embedding.get_buffer("ppi").copy_(torch.from_numpy(vectors / vectors.std()))
    fit_units(model, data, split.train)
    # In a strict split, training and early stopping see held-out drugs as nobody studied them.
    graph = getattr(biology, split.targets) if biology is not None else None
    view = TensorView(data, bins, model_config.max_atoms, graph, prior)
    fit_token_means(model, view, split.train)
    return Setup(config, data, split, bins, biology, view, model)


def _biology(config: TrainConfig, base: Path, data: TrainingData, split: Split) -> Biology | None:
    if not config.graph:
        return None
    biology = Biology.load(base / config.graph)
    strict = split.targets == "strict"
    biology.check(data.drug_keys, held_out_keys(data, split) if strict else ())
    return biology


def _network_vectors(path: Path, entrez_id: list[int]) -> np.ndarray:
    """PPI vectors, refused unless they stand in the gene order of the data."""
    fix = "Write them again with training/prepare_ppi.py."
    try:
        with np.load(path, allow_pickle=False) as stream:
            genes, vectors = stream["entrez_id"].tolist(), stream["embedding"]
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        raise DataError(
            "The network vectors cannot be read.", where=f"{path.name}: {error}", fix=fix
        ) from error
    if genes != entrez_id:
        raise DataError(
            "The network vectors are not in the gene order of the training data.",
            where=path.name,
            fix=fix,
        )
    return vectors


def train(
    config_path: Path,
    out: Path,
    resume: bool = False,
    progress: EpochReport | None = None,
) -> TrainResult:
    """Train, score once on the test drugs, and write the checkpoint.

    Parameters
    ----------
    config_path : Path
        YAML file, see `TrainConfig`.
    out : Path
        Folder of the run: state while it runs, ``model/`` at the end.
    resume : bool
        Continue from the state in `out`.
    progress : callable, optional
        Called after each epoch with (done, most, scores).

    Raises
    ------
    DataError
        On a bad configuration, leaking split, unreadable data or diverged loss.
    """
    config = TrainConfig.load(config_path)
    torch.set_num_threads(config.threads)
    torch.set_flush_denormal(True)
    setup = build(config, Path(config_path).parent)
    run = fit(setup, out, resume, progress)
    card = _card(setup, run)
    from xpert_core.learning.card import card_text

    meta = ModelMeta(
        name=config.name,
        panel={
            "name": setup.data.info["panel_name"],
            "digest": setup.data.info["panel_digest"],
            "symbols": list(setup.data.panel_symbols),
        },
        bins={"kind": config.bins, "n_tokens": setup.bins.n_tokens},
        featurizer=setup.data.info["featurizer"],
        graph=_graph_facts(setup),
        classes=setup.data.cells,
        readouts=READOUTS,
        card=card,
    )
    digest = save_checkpoint(out / "model", setup.model.eval(), meta, card_text(config.name, card))
    return TrainResult(out / "model", digest, run.best_epoch, card)


def fit(
    setup: Setup,
    out: Path,
    resume: bool = False,
    progress: EpochReport | None = None,
    before_batch: Callable[[], None] | None = None,
    predict_at_a_time: int = 128,
) -> Progress:
    """Train the network of `setup`; it holds the best weights afterwards.

    Parameters
    ----------
    setup : Setup
    out : Path
        Folder of the run's state.
    resume : bool
    progress : callable, optional
        Called after each epoch with (done, most, scores).
    before_batch : callable, optional
        Called before each training batch; what it raises ends the training, whose state stays.
    predict_at_a_time : int
        Validation rows predicted together; memory grows with rows of their own profile.

    Raises
    ------
    DataError
        Without Lightning, on a state of another configuration, or on a diverged loss.
    """
    if not any(importlib.util.find_spec(n) for n in ("lightning", "pytorch_lightning")):
        raise DataError("Training needs Lightning.", fix='Install it: pip install "xpert[train]".')
    from xpert_core.learning.module import Validation, XPertModule, make_optimizer

    config = setup.config
    run = Progress(config.to_dict())
    best: dict[str, torch.Tensor] = {}
    optimizer = make_optimizer(setup.model, config)
    if resume:
        run, best = load_state(out, setup.model, optimizer, config.to_dict())
    module = XPertModule(setup.model, setup.view, setup.split, config, optimizer, run.epochs_done)
    report = progress or (lambda *_: None)
    keeper = Validation(run, best, out, report, predict_at_a_time)
    left = config.max_epochs - run.epochs_done
    stopped = run.epochs_done - run.best_epoch >= config.patience and run.epochs_done > 0
    if left > 0 and not stopped:
        _trainer(config, left, keeper, before_batch).fit(module)
    setup.model.load_state_dict(keeper.best)
    return run


def _trainer(
    config: TrainConfig, epochs: int, keeper: Any, before_batch: Callable[[], None] | None
) -> Any:
    """Lightning's trainer of this many epochs, which writes nothing by itself."""
    from xpert_core.learning.module import pl

    callbacks: list[pl.Callback] = [keeper]
    if before_batch is not None:
        callbacks += [pl.callbacks.LambdaCallback(on_train_batch_start=lambda *_: before_batch())]
    return pl.Trainer(
        max_epochs=epochs,
        accelerator=config.accelerator,
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        gradient_clip_val=config.clip_norm,
        reload_dataloaders_every_n_epochs=1,
        callbacks=callbacks,
    )


def _graph_facts(setup: Setup) -> dict[str, Any]:
    if setup.biology is None or not setup.model.config.use_graph:
        return {}
    return {"digest": setup.biology.digest, "dim": setup.model.config.graph_dim}


def _card(setup: Setup, run: Progress) -> dict[str, Any]:
    from xpert_core.learning.card import INFORMED, MODEL, score_card

    views = {MODEL: setup.view}
    told = setup.split.targets == "informed"
    if setup.biology is not None and setup.model.config.use_graph and not told:
        views[INFORMED] = TensorView(
            setup.data, setup.bins, setup.model.config.max_atoms, setup.biology.informed
        )
    x_deg = {
        part: {
            name: predict_rows(setup.model, view, getattr(setup.split, part))[0]
            for name, view in views.items()
        }
        for part in ("valid", "test")
    }
    parameters = sum(p.numel() for p in setup.model.parameters() if p.requires_grad)
    return {
        "scores": score_card(setup.data, setup.split, x_deg),
        "best_epoch": run.best_epoch,
        "epochs": run.epochs_done,
        "minutes": round(run.seconds / 60, 1),
        "parameters": parameters,
        "rows": {part: len(rows) for part, rows in setup.split.parts().items()},
        "drugs": {
            part: len(np.unique(setup.data.drug_index[rows]))
            for part, rows in setup.split.parts().items()
        },
        "cell_lines": len(setup.data.cells),
        "profiles": len(setup.data.profiles),
        "sources": setup.data.info["sources"],
        "config": json.loads(
            json.dumps(replace(setup.config, data="", ppi="", graph="").to_dict())
        ),
        "history": run.history,
    }
