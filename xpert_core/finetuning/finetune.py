"""From a paired cohort to a checkpoint with its card: check, compare, train, merge, save."""

from __future__ import annotations

import resource
import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from xpert_core.cohorts.pair_checks import FEWEST_PAIRS, require_usable
from xpert_core.cohorts.paired import PairedProfiles
from xpert_core.errors import CohortError
from xpert_core.finetuning.card import card_text, without_ids
from xpert_core.finetuning.compare import (
    STATES,
    STEPS,
    Comparison,
    compare,
    comparison_steps,
    save_comparison,
)
from xpert_core.finetuning.config import FinetuneConfig
from xpert_core.finetuning.data import CohortData, Defaults, prepare_cohort
from xpert_core.finetuning.hooks import Hooks
from xpert_core.finetuning.split import inner_split, n_folds
from xpert_core.finetuning.train import Fitted, choose_method, fit_patients
from xpert_core.finetuning.transfer import Transfer
from xpert_core.learning.splits import Split
from xpert_core.model.checkpoint import Checkpoint, ModelMeta, save_checkpoint
from xpert_core.tokens.dataset import READOUTS

MODEL, COMPARISON, WORK = "model", "comparison.json", "work"
#: Said where no comparison was made.
NOT_COMPARED = (
    "It was not compared with the mean change of the cohort, so it must not be the default."
)


@dataclass(frozen=True)
class FinetuneResult:
    """A finished fine-tuning.

    Attributes
    ----------
    folder : Path
        The checkpoint: adapters are merged, so it loads like any other.
    digest : str
        SHA-256 of the checkpoint.
    best_epoch : int
        0 = no epoch was better than the base model on the inner validation patients.
    transfer : Transfer
    comparison : Comparison or None
    card : dict
    notes : tuple of str
        What was assumed and left out; may name patients and samples, which the card does not.
    minutes, peak_memory_mib : float
        Of the final training; of the process so far.
    """

    folder: Path
    digest: str
    best_epoch: int
    transfer: Transfer
    comparison: Comparison | None
    card: dict[str, Any]
    notes: tuple[str, ...]
    minutes: float
    peak_memory_mib: float


def finetune(
    pairs: PairedProfiles,
    base: Checkpoint,
    out: Path,
    config: FinetuneConfig | None = None,
    *,
    name: str = "",
    defaults: Defaults | None = None,
    drop_unknown: bool = False,
    folds: int = 5,
    licence: str = "not stated",
    hooks: Hooks | None = None,
) -> FinetuneResult:
    """Fine-tune a base model on a paired cohort and say whether it was worth it.

    Everything is resumable: called again with the same arguments and folder it goes on from the
    last fold and the last whole epoch, to the same numbers.

    Parameters
    ----------
    pairs : PairedProfiles
    base : Checkpoint
    out : Path
        ``model/`` (the checkpoint), ``comparison.json``, and ``work/`` with what a resumed run
        goes on from.
    config : FinetuneConfig, optional
    name : str
        Of the new model; by default of the base model and the cohort.
    defaults : Defaults, optional
        Drug, dose and time of pairs of which the file does not say it.
    drop_unknown : bool
        Leave pairs of unknown drugs out instead of refusing the cohort.
    folds : int
        Outer folds of the comparison; 0 = no comparison, and the model may not be the default.
    licence : str
        Terms under which the cohort's owner lets the model be used.
    hooks : Hooks, optional

    Raises
    ------
    CohortError, DrugError
        When the cohort cannot be fine-tuned on.
    DataError
        When training fails; the best weights so far stay in ``work/``.
    FinetuningCancelled
    """
    config, hooks, out = config or FinetuneConfig(), hooks or Hooks(), Path(out)
    require_usable(pairs)
    hooks.check()
    own = hooks.part(0, 0, STEPS)
    cohort = prepare_cohort(pairs, base, defaults, drop_unknown=drop_unknown, hooks=own)
    if len(cohort.data) < FEWEST_PAIRS:
        raise CohortError(
            f"{len(cohort.data)} pairs are left; fine-tuning needs at least {FEWEST_PAIRS}.",
            where=pairs.name,
            fix="Name the drugs that could not be found.",
        )
    compared = None
    steps = comparison_steps(n_folds(cohort.data, folds)) if folds else 0
    total = steps + STEPS
    if folds:
        own = hooks.part(0, steps, total)
        compared = compare(base, cohort, out / WORK, config, folds=folds, hooks=own)
        save_comparison(out / COMPARISON, compared)
    split = inner_split(cohort.data, valid=config.valid, seed=config.split_seed)
    method = choose_method(config, base, cohort)
    own = hooks.part(steps, total, total)
    fitted = fit_patients(
        base, cohort, split, config, out / WORK / STATES, own, method=method, label="final model"
    )
    minutes = fitted.progress.seconds / 60
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    name = name or f"{base.meta.name}-{Path(pairs.name.split(' + ')[0]).stem}"[:80]
    card = {
        **_card(pairs, cohort, base, split, config, fitted, compared),
        "licence": licence,
        "minutes": round(minutes, 1),
        "peak_memory_mib": round(peak),
    }
    digest = _save(out / MODEL, name, cohort, base, fitted, card)
    shutil.rmtree(out / WORK / STATES, ignore_errors=True)
    notes = (*pairs.notes, *cohort.notes)
    return FinetuneResult(
        out / MODEL, digest, fitted.progress.best_epoch, fitted.transfer, compared, card, notes,
        minutes, peak,
    )  # fmt: skip


def _save(
    folder: Path,
    name: str,
    cohort: CohortData,
    base: Checkpoint,
    fitted: Fitted,
    card: dict[str, Any],
) -> str:
    info, config = cohort.data.info, fitted.model.config
    meta = ModelMeta(
        name=name,
        panel={
            "name": info["panel_name"],
            "digest": info["panel_digest"],
            "symbols": list(cohort.data.panel_symbols),
        },
        bins={"kind": base.meta.bins["kind"], "n_tokens": config.n_value_tokens},
        featurizer=base.meta.featurizer,
        graph=base.meta.graph,
        classes=cohort.classes,
        readouts=READOUTS,
        card=card,
    )
    return save_checkpoint(folder, fitted.model, meta, card_text(name, card))


def _card(
    pairs: PairedProfiles,
    cohort: CohortData,
    base: Checkpoint,
    split: Split,
    config: FinetuneConfig,
    fitted: Fitted,
    compared: Comparison | None,
) -> dict[str, Any]:
    data = cohort.data
    counts = Counter(data.drug_names[i] for i in data.drug_index)
    comparison = (
        compared.for_card()
        if compared
        else {"scores": [], "may_be_default": False, "why": NOT_COMPARED}
    )
    return {
        "kind": "fine-tuned",
        "scores": [],
        "comparison": comparison,
        "parents": [base.digest],
        "base": {"name": base.meta.name, "digest": base.digest},
        "method": fitted.adapted.to_dict(),
        "transfer": fitted.transfer.to_dict(),
        "best_epoch": fitted.progress.best_epoch,
        "epochs": fitted.progress.epochs_done,
        "validation_pcc": round(fitted.progress.best_score, 4),
        "parameters": fitted.adapted.parameters,
        "sources": [pairs.name],
        "data": {
            "sha256": pairs.input_sha256,
            "rows_sha256": data.digest,
            "unit": pairs.unit,
            "pairs": len(data),
            "patients": len(set(data.patients)),
            "drugs": dict(counts),
            "genes": int((~np.isnan(data.x_deg)).any(axis=0).sum()),
        },
        "rows": {part: len(rows) for part, rows in split.parts().items()},
        "limits": _limits(cohort, pairs),
        "notes": [*without_ids(pairs.notes), *cohort.notes],
        "config": {**config.to_dict(), "method": fitted.adapted.method},
        "history": fitted.progress.history,
    }


def _limits(cohort: CohortData, pairs: PairedProfiles) -> list[str]:
    drugs = set(cohort.data.drug_names)
    limits = [
        "Patients were held out in the comparison, drugs were not: it says nothing of other drugs.",
        f"Fine-tuned on {len(set(cohort.data.patients))} patients of one cohort: other hospitals, "
        "platforms and cancers were not seen.",
        "A change after treatment is not only the drug's: biopsies differ in tumour content, and "
        "time passes.",
    ]
    if len(drugs) == 1:
        limits.append(
            f"All pairs are of {next(iter(drugs))}: the effect of the drug and what these patients "
            "have in common cannot be told apart."
        )
    if pairs.unit != "log2":
        limits.append(
            f"The cohort was given in {pairs.unit}s: expression after treatment (x_pert) was not "
            "trained and is that of the base model's assay."
        )
    if pairs.unit == "z-score":
        limits.append(
            "The z-score read-out was trained; predictions for new cohorts are read out as log2 "
            "changes, which were scored on no patient."
        )
    return limits
