"""Is the fine-tuned model better than what it has to beat? Nested cross-validation by patient."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from xpert_core.baselines import registry
from xpert_core.evaluation.metrics import Score, bootstrap_mean, pearson_measured
from xpert_core.files import atomic_path
from xpert_core.finetuning.config import FinetuneConfig, digest_of
from xpert_core.finetuning.data import CohortData, filled, network_config
from xpert_core.finetuning.hooks import Hooks
from xpert_core.finetuning.split import outer_splits
from xpert_core.finetuning.train import PREDICT_ROWS, choose_method, fit_patients, view_of
from xpert_core.finetuning.transfer import transfer
from xpert_core.learning.loop import predict_rows
from xpert_core.learning.splits import Split
from xpert_core.model.checkpoint import Checkpoint
from xpert_core.tokens.dataset import LOG2_READOUT, READOUTS

FINETUNED, BASE, SCRATCH, MEAN, MLP = "finetuned", "base", "scratch", "mean", "mlp"
#: What each model is called; the method of the fine-tuned one is put in.
LABELS = {
    FINETUNED: "fine-tuned ({method})",
    BASE: "base model as it is",
    SCRATCH: "same network, trained from scratch",
    MEAN: "mean change of the drug in the cohort",
    MLP: "MLP without the drug",
}
_BASELINES = {MEAN: "mean-drug", MLP: "mlp-no-drug"}
PART = "test patients"
#: Folder of the states of trainings that are not done.
STATES = "state"
#: Steps of progress that each training counts for.
STEPS = 100


@dataclass(frozen=True)
class Interval:
    """A mean over pairs with its 95 % bootstrap interval over patients (NaN for one patient)."""

    mean: float
    low: float
    high: float

    @classmethod
    def of(cls, values: np.ndarray, patients: np.ndarray) -> Interval:
        """Of one number a pair."""
        found: Score = bootstrap_mean(values, patients)
        return cls(found.mean, found.low, found.high)

    def __str__(self) -> str:
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}]"


@dataclass(frozen=True)
class ModelScore:
    """Scores of one model on the test patients.

    Attributes
    ----------
    model : str
        Key of `LABELS`.
    label : str
    pcc : Interval
        Pearson correlation of x_deg of a pair over the genes measured.
    centred : Interval
        The same after the mean change of the other patients is taken from both sides: what a
        model knows of one patient beyond all. 0 for the mean change itself.
    """

    model: str
    label: str
    pcc: Interval
    centred: Interval


@dataclass(frozen=True)
class Difference:
    """PCC of the fine-tuned model minus that of another one, pair by pair.

    Attributes
    ----------
    other : str
        Key of `LABELS`.
    pcc : Interval
    """

    other: str
    pcc: Interval


@dataclass(frozen=True)
class Comparison:
    """Outcome of a comparison on held-out patients.

    Attributes
    ----------
    method : str
        ``"adapters"`` or ``"full"``.
    readout : str
    folds, seed, n_pairs, n_patients : int
    drugs : dict
        Pairs of each drug.
    scores : tuple of ModelScore
    differences : tuple of Difference
    epochs : dict
        Best epoch in each fold of the models that are trained step by step.
    pairs : tuple of dict
        ``pair_id``, ``patient``, ``drug``, ``fold`` and the PCC of each model.
    verdict : str
    may_be_default : bool
        Whether the interval of fine-tuned minus mean change lies above zero, on the log2 read-out:
        the one that predictions have.
    """

    method: str
    readout: str
    folds: int
    seed: int
    n_pairs: int
    n_patients: int
    drugs: dict[str, int]
    scores: tuple[ModelScore, ...]
    differences: tuple[Difference, ...]
    epochs: dict[str, list[int]]
    pairs: tuple[dict[str, Any], ...]
    verdict: str
    may_be_default: bool

    def score(self, model: str) -> ModelScore:
        """Scores of one model."""
        return next(s for s in self.scores if s.model == model)

    def difference(self, other: str) -> Difference:
        """Fine-tuned minus another model."""
        return next(d for d in self.differences if d.other == other)

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return json.loads(json.dumps(asdict(self)))

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Comparison:
        """Build from what `to_dict` gave."""
        scores = tuple(
            ModelScore(s["model"], s["label"], Interval(**s["pcc"]), Interval(**s["centred"]))
            for s in values["scores"]
        )
        differences = tuple(
            Difference(d["other"], Interval(**d["pcc"])) for d in values["differences"]
        )
        rest = {"scores": scores, "differences": differences, "pairs": tuple(values["pairs"])}
        return cls(**{**values, **rest})

    def without_ids(self) -> Comparison:
        """The same with numbers in place of the ids of pairs and patients."""
        number = {
            p: str(i) for i, p in enumerate(dict.fromkeys(p["patient"] for p in self.pairs), 1)
        }
        pairs = tuple(
            {**pair, "pair_id": str(i), "patient": number[pair["patient"]]}
            for i, pair in enumerate(self.pairs, start=1)
        )
        return replace(self, pairs=pairs)

    def for_card(self) -> dict[str, Any]:
        """What a model card holds of it, with one line a model under ``scores``."""
        lines = [
            {
                "part": PART,
                "readout": self.readout,
                "model": s.label,
                "pcc": round(s.pcc.mean, 4),
                "low": round(s.pcc.low, 4),
                "high": round(s.pcc.high, 4),
                "centred": round(s.centred.mean, 4),
                "rows": self.n_pairs,
                "patients": self.n_patients,
                "drugs": len(self.drugs),
            }
            for s in self.scores
        ]
        values = self.to_dict()
        kept = ("method", "folds", "seed", "differences", "epochs", "may_be_default")
        return {"scores": lines, "why": self.verdict, **{name: values[name] for name in kept}}


def comparison_steps(folds: int) -> int:
    """Steps of a comparison's progress: two models are trained in each fold."""
    return 2 * STEPS * folds


@dataclass(frozen=True)
class _Fold:
    """Predictions of one fold: x_deg of each model for its test rows, and best epochs."""

    x_deg: dict[str, np.ndarray]
    epochs: dict[str, int]


def compare(
    base: Checkpoint,
    cohort: CohortData,
    folder: Path,
    config: FinetuneConfig | None = None,
    *,
    folds: int = 5,
    hooks: Hooks | None = None,
) -> Comparison:
    """Score all models on the same held-out patients.

    Outer folds are of patients. In each fold every model is fitted on the remaining patients, of
    whom some choose the number of epochs; the test patients choose nothing. Drugs are not held out:
    their structures and places in the graph are known on both sides.

    Parameters
    ----------
    base : Checkpoint
    cohort : CohortData
    folder : Path
        Folds that are done stand here and are not done again; so does the state of the one that
        was interrupted.
    config : FinetuneConfig, optional
    folds : int
    hooks : Hooks, optional

    Raises
    ------
    DataError
        When there are too few patients, or a training fails.
    FinetuningCancelled
    """
    config, hooks = config or FinetuneConfig(), hooks or Hooks()
    method = choose_method(config, base, cohort)
    splits = outer_splits(cohort.data, folds=folds, valid=config.valid, seed=config.split_seed)
    found = []
    for number, split in enumerate(splits):
        identity = digest_of(
            cohort.data.features_digest, base.digest, method, config.to_dict(), LABELS,
            [rows.tolist() for rows in split.parts().values()],
        )  # fmt: skip
        file = folder / f"fold{number + 1}-{identity[:16]}.safetensors"
        done = _load(file, identity)
        if done is None:
            place = (number, len(splits))
            done = _run_fold(base, cohort, split, config, method, folder, hooks, place)
            _save(file, identity, done)
            shutil.rmtree(folder / STATES, ignore_errors=True)
        found.append(done)
    steps = comparison_steps(len(splits))
    hooks.progress(steps, steps, "Comparison done")
    return _conclude(cohort, splits, found, config, method)


def _run_fold(
    base: Checkpoint,
    cohort: CohortData,
    split: Split,
    config: FinetuneConfig,
    method: str,
    folder: Path,
    hooks: Hooks,
    place: tuple[int, int],
) -> _Fold:
    fold, folds = place
    x_deg, epochs = {}, {}
    named = f"fold {fold + 1} of {folds}"
    for step, (model, how) in enumerate(((FINETUNED, method), (SCRATCH, "scratch"))):
        first = STEPS * (2 * fold + step)
        own = hooks.part(first, first + STEPS, comparison_steps(folds))
        fitted = fit_patients(
            base, cohort, split, config, folder / STATES, own, method=how,
            label=f"{LABELS[model].format(method=method)}, {named}",
        )  # fmt: skip
        x_deg[model], _ = predict_rows(
            fitted.model, fitted.view, split.test, batch_rows=PREDICT_ROWS
        )
        epochs[model] = fitted.progress.best_epoch
    hooks.check()
    x_deg[BASE] = _as_it_is(base, cohort, split)
    for model, name in _BASELINES.items():
        hooks.check()
        baseline = registry.create(name, seed=config.seed)
        # A mean chooses nothing, so it is of all patients that are not tested.
        both = np.concatenate([split.train, split.valid])
        rows = both if model == MEAN else split.train
        complete = filled(cohort.data, rows)
        baseline.fit(complete, rows, split.valid)
        x_deg[model] = baseline.predict(complete, split.test)
    return _Fold(x_deg, epochs)


def _as_it_is(base: Checkpoint, cohort: CohortData, split: Split) -> np.ndarray:
    """x_deg of the test rows by the base model, which has seen no patient of the cohort."""
    model, _ = transfer(base, network_config(base.model.config, cohort), cohort.names)
    _, view = view_of(cohort, model, base.meta.bins["kind"], split.train)
    return predict_rows(model.eval(), view, split.test, batch_rows=PREDICT_ROWS)[0]


def _save(file: Path, identity: str, fold: _Fold) -> None:
    with atomic_path(file) as temporary:
        save_file(
            {name: np.ascontiguousarray(x, dtype=np.float32) for name, x in fold.x_deg.items()},
            temporary,
            {"identity": identity, "epochs": json.dumps(fold.epochs)},
        )


def _load(file: Path, identity: str) -> _Fold | None:
    """A fold that is done; None where it is not, or its file is damaged."""
    try:
        with safe_open(file, "np") as stream:
            header = stream.metadata()
            if header["identity"] != identity:
                return None
            x_deg = {name: stream.get_tensor(name) for name in LABELS}
            return _Fold(x_deg, json.loads(header["epochs"]))
    except (OSError, SafetensorError, KeyError, TypeError, ValueError):
        return None


def _conclude(
    cohort: CohortData,
    splits: Sequence[Split],
    folds: Sequence[_Fold],
    config: FinetuneConfig,
    method: str,
) -> Comparison:
    data = cohort.data
    rows = np.concatenate([split.test for split in splits])
    patients = np.array(data.patients)[rows]
    truth = data.x_deg[rows]
    predicted = {m: np.concatenate([f.x_deg[m] for f in folds]) for m in LABELS}
    pcc = {model: pearson_measured(truth, x) for model, x in predicted.items()}
    centre = predicted[MEAN]
    centred = {m: pearson_measured(truth - centre, x - centre) for m, x in predicted.items()}
    scores = tuple(
        ModelScore(
            model,
            label.format(method=method),
            Interval.of(pcc[model], patients),
            Interval.of(centred[model], patients),
        )
        for model, label in LABELS.items()
    )
    differences = tuple(
        Difference(other, Interval.of(pcc[FINETUNED] - pcc[other], patients))
        for other in (MEAN, BASE, SCRATCH, MLP)
    )
    against = differences[0].pcc
    read_log2 = int(data.readout[0]) == LOG2_READOUT
    better = bool(against.low > 0)  # False for NaN: without an interval nothing is shown
    drug = np.array(data.drug_names)[data.drug_index[rows]]
    number = np.repeat(np.arange(len(splits)) + 1, [len(split.test) for split in splits])
    pairs = tuple(
        {
            "pair_id": cohort.pair_ids[row],
            "patient": str(patients[i]),
            "drug": str(drug[i]),
            "fold": int(number[i]),
            **{model: round(float(values[i]), 4) for model, values in pcc.items()},
        }
        for i, row in enumerate(rows)
    )
    return Comparison(
        method=method,
        readout=READOUTS[int(data.readout[0])],
        folds=len(splits),
        seed=config.seed,
        n_pairs=len(rows),
        n_patients=len(set(patients.tolist())),
        drugs=dict(Counter(drug.tolist())),
        scores=scores,
        differences=differences,
        epochs={m: [f.epochs[m] for f in folds] for m in (FINETUNED, SCRATCH)},
        pairs=pairs,
        verdict=_verdict(scores, against, len(set(patients.tolist())), read_log2=read_log2),
        may_be_default=better and read_log2,
    )


def _verdict(
    scores: tuple[ModelScore, ...], against: Interval, n_patients: int, *, read_log2: bool
) -> str:
    own, mean = (next(s for s in scores if s.model == m) for m in (FINETUNED, MEAN))
    numbers = (
        f"PCC {own.pcc} against {mean.pcc} on {n_patients} held-out patients, difference {against}"
    )
    if against.low > 0:
        unread = "" if read_log2 else (
            " It must not be made the default: this is the z-score read-out, and predictions are "
            "read out as log2 changes, which were scored on no patient."
        )  # fmt: skip
        return (
            f"The fine-tuned model is better than the mean change of the cohort: {numbers}.{unread}"
        )
    worse = "worse" if against.high < 0 else "not better"
    return (
        f"The fine-tuned model is {worse} than the mean change of the cohort: {numbers}. It must "
        "not be made the default; for patients like these the mean change is the simpler and safer "
        "prediction."
    )


def load_comparison(file: Path) -> Comparison:
    """Read what `save_comparison` wrote."""
    return Comparison.from_dict(json.loads(Path(file).read_text(encoding="utf-8")))


def save_comparison(file: Path, comparison: Comparison) -> None:
    """Write a comparison as JSON, atomically."""
    with atomic_path(Path(file)) as temporary:
        temporary.write_text(json.dumps(comparison.to_dict(), indent=1) + "\n", encoding="utf-8")
