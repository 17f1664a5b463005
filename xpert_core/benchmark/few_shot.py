"""Few-shot learning of doses and times (paper, "Few-shot learning enhances prediction in unseen
dose-time condition", Fig. 5b to 5d): pretrain without the pairs that have several conditions, then
fine-tune on some of their conditions and predict one that was kept back.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from xpert_core.baselines import registry
from xpert_core.errors import DataError
from xpert_core.evaluation.metrics import bootstrap_mean, pearson_rows
from xpert_core.learning.config import TrainConfig
from xpert_core.learning.folds import FEWEST_CONDITIONS, SHOTS, labels_of, make_folds
from xpert_core.learning.loop import predict_rows
from xpert_core.learning.splits import Split
from xpert_core.learning.trainer import build, fit
from xpert_core.tokens.dataset import LOG2_READOUT, TrainingData

TUNED, SCRATCH, PRETRAINED = "XPert, fine-tuned", "XPert, from scratch", "XPert, pretrained only"
KNOWN_DOSES = "mean of the pair's known conditions"
#: Baselines of the registry, fitted on the pretraining rows and the shots together.
BASELINES = ("mean-cell", "ridge")

State = Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class Plan:
    """Rows of a few-shot experiment.

    Attributes
    ----------
    pretraining : Split
        Rows of all other cell-drug pairs; its validation rows are of drugs of their own, and its
        test rows are those of the pairs under test.
    repeats : tuple of dict
        For each repeat, number of shots (a key of `SHOTS`) to the rows trained on, chosen on and
        tested on. The tested rows of a repeat are the same for all numbers of shots.
    n_pairs : int
        Cell-drug pairs under test.
    """

    pretraining: Split
    repeats: tuple[dict[str, Split], ...]
    n_pairs: int

    def shots(self) -> dict[str, int]:
        """Rows trained on for each number of shots, in the first repeat."""
        return {name: len(split.train) for name, split in self.repeats[0].items()}

    def distinct(self) -> tuple[str, ...]:
        """Numbers of shots that train on different rows, the first of equals alone."""
        seen: list[bytes] = []
        found = []
        for name, split in self.repeats[0].items():
            rows = split.train.tobytes()
            if rows not in seen:
                seen.append(rows)
                found.append(name)
        return tuple(found)


def make_plan(data: TrainingData, *, n_repeats: int = 5, seed: int = 0, valid: float = 0.1) -> Plan:
    """Draw the rows; cell-drug pairs with three or more conditions at level 3 are under test.

    Raises
    ------
    DataError
        Where no pair has enough conditions, or a pair stands on both sides.
    """
    labels = labels_of(data)
    pair = np.char.add(np.char.add(labels.cell, "\t"), labels.drug)
    level3 = data.readout == LOG2_READOUT
    conditions = pd.Series(labels.condition[level3]).groupby(pair[level3]).nunique()
    tested = conditions.index[conditions >= FEWEST_CONDITIONS].to_numpy(dtype=str)
    if not len(tested):
        most = int(conditions.max()) if len(conditions) else 0
        raise DataError(
            "No cell-drug pair has enough doses and times for few-shot learning.",
            where=f"{most} condition(s) at most, {FEWEST_CONDITIONS} needed",
            fix="Give data with dose or time series.",
        )
    held_out = np.isin(pair, tested)
    pretraining = _pretraining(labels.drug, held_out, valid, seed)
    repeats: list[dict[str, Split]] = [{} for _ in range(n_repeats)]
    for shots in SHOTS:
        folds = make_folds(
            labels, f"cold-dose-time-{shots}", rows=level3, n_folds=n_repeats, seed=seed
        )
        for own, split in zip(repeats, folds.splits(), strict=True):
            # The scenario trains on all other pairs too; those are the pretraining here.
            own[shots] = replace(split, train=split.train[held_out[split.train]])
    plan = Plan(pretraining, tuple(repeats), len(tested))
    known = np.concatenate([pretraining.train, pretraining.valid])
    shared = set(pair[known]) & {p for own in repeats for p in pair[own["zero"].test]}
    if shared:
        raise DataError(
            "A pair under test is pretrained on.",
            where=sorted(shared)[0].replace("\t", " | "),
            fix="This is a fault of the program: report it with the data file.",
        )
    return plan


def _pretraining(drug: np.ndarray, held_out: np.ndarray, valid: float, seed: int) -> Split:
    """Rows of the other pairs; whole drugs are kept for validation."""
    rows = np.flatnonzero(~held_out)
    # A drug under test may be known from another cell line: it is never validated on.
    names = np.setdiff1d(np.unique(drug[rows]), np.unique(drug[held_out]))
    order = np.random.default_rng(seed).permutation(names)
    chosen = np.isin(drug[rows], order[: max(1, round(valid * len(order)))])
    nothing = np.zeros(0, dtype=np.int64)
    return Split(rows[~chosen], rows[chosen], np.flatnonzero(held_out), nothing, "informed")


def train_state(
    config: TrainConfig,
    base: Path,
    data: TrainingData,
    split: Split,
    start: State | None = None,
    progress: Callable[[int, int, dict[str, float]], None] | None = None,
) -> tuple[State, np.ndarray]:
    """Train all parameters, from `start` or from scratch.

    Parameters
    ----------
    config : TrainConfig
    base : Path
        Folder that relative paths of the configuration start from.
    data : TrainingData
    split : Split
    start : mapping of Tensor, optional
        Weights and units of a network trained by an equal configuration.
    progress : callable, optional

    Returns
    -------
    state : mapping of Tensor
        Best on the validation rows.
    x_deg : ndarray of float32, shape (len(split.test), G)
    """
    setup = build(config, base, data=data, split=split)
    if start is not None:
        setup.model.load_state_dict(dict(start))
    with tempfile.TemporaryDirectory() as room:
        fit(setup, Path(room), progress=progress)
    state = {k: v.detach().clone() for k, v in setup.model.state_dict().items()}
    return state, predict_rows(setup.model, setup.view, split.test)[0]


def pretrained_predictions(
    config: TrainConfig, base: Path, data: TrainingData, split: Split, start: State
) -> np.ndarray:
    """x_deg of the test rows by the pretrained network as it is: the zero-shot setting."""
    setup = build(config, base, data=data, split=split)
    setup.model.load_state_dict(dict(start))
    return predict_rows(setup.model, setup.view, split.test)[0]


def baseline_predictions(
    data: TrainingData, pretraining: Split, split: Split, seed: int = 0
) -> dict[str, np.ndarray]:
    """x_deg of the test rows by what a network has to beat, by name."""
    labels = registry.available()
    train = np.concatenate([pretraining.train, split.train])
    found = {}
    for name in BASELINES:
        model = registry.create(name, seed=seed)
        model.fit(data, train, split.valid)
        found[labels[name].label] = model.predict(data, split.test)
    if len(split.train):
        # Only the pair's own rows: the drug in its one cell line.
        own = registry.create("mean-drug")
        own.fit(data, split.train, split.valid)
        found[KNOWN_DOSES] = own.predict(data, split.test)
    return found


def row_scores(data: TrainingData, rows: np.ndarray, x_deg: np.ndarray) -> pd.DataFrame:
    """PCC of each tested row: columns ``row``, ``drug``, ``pcc``."""
    return pd.DataFrame(
        {
            "row": rows,
            "drug": np.array(data.drug_keys)[data.drug_index[rows]],
            "pcc": pearson_rows(x_deg, data.x_deg[rows]),
        }
    )


def curve(scores: pd.DataFrame) -> pd.DataFrame:
    """Mean PCC by model and number of shots (Fig. 5c).

    Parameters
    ----------
    scores : DataFrame
        Columns ``model``, ``shots``, ``repeat``, ``seed``, ``row``, ``drug``, ``pcc``.

    Returns
    -------
    DataFrame
        ``model``, ``shots``, ``mean``, ``sd`` (over repeats, as in the paper), ``low``, ``high``
        (95 %, bootstrap over drugs), ``n_rows``, ``n_drugs``.
    """
    lines = []
    for (model, shots), own in scores.groupby(["model", "shots"], sort=False):
        score = bootstrap_mean(own["pcc"].to_numpy(), own["drug"].to_numpy())
        repeats = own.groupby("repeat")["pcc"].mean()
        sd = float(repeats.std(ddof=1)) if len(repeats) > 1 else float("nan")
        lines.append(
            {"model": model, "shots": shots, "mean": score.mean, "sd": sd, "low": score.low,
             "high": score.high, "n_rows": score.n_rows, "n_drugs": score.n_groups}
        )  # fmt: skip
    return pd.DataFrame(lines)


def gains(
    scores: pd.DataFrame,
    model: str,
    other: str,
    other_shots: str = "",
    among: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Paired differences in PCC of `model` minus `other`, by number of shots (Fig. 5d).

    Parameters
    ----------
    scores : DataFrame
        As for `curve`.
    model, other : str
    other_shots : str
        Number of shots of `other`; "" = the same as of `model`.
    among : DataFrame, optional
        Scores in which `other` is looked for; default `scores`.

    Returns
    -------
    DataFrame
        ``model``, ``minus``, ``shots``, ``mean``, ``low``, ``high`` (95 %, bootstrap over drugs).
    """
    lines = []
    place = scores if among is None else among
    for shots, own in scores[scores["model"] == model].groupby("shots", sort=False):
        beside = place[(place["model"] == other) & (place["shots"] == (other_shots or shots))]
        # What has no seeds is compared with every seed.
        seeded = set(own["seed"]) <= set(beside["seed"])
        keys = ["repeat", "seed", "row"] if seeded else ["repeat", "row"]
        both = own.merge(beside, on=keys, suffixes=("", "_other"))
        if both.empty:
            continue
        difference = (both["pcc"] - both["pcc_other"]).to_numpy()
        score = bootstrap_mean(difference, both["drug"].to_numpy())
        lines.append(
            {"model": model, "minus": other, "shots": shots, "mean": score.mean, "low": score.low,
             "high": score.high}
        )  # fmt: skip
    return pd.DataFrame(lines, columns=["model", "minus", "shots", "mean", "low", "high"])
