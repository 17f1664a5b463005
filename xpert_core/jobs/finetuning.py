"""The job that fine-tunes a model on a stored paired cohort and registers it."""

from __future__ import annotations

import shutil
from typing import Any

from xpert_core.errors import DataError
from xpert_core.jobs.context import JobContext

#: Result of the finished training, kept until the job has ended: a training that is repeated takes
#: other minutes, which the card names, and would be another model.
FINISHED = "finetuned.json"
FOLDER = "finetuning"


def finetune(context: JobContext, params: dict[str, Any]) -> dict[str, Any]:
    """Fine-tune, compare on held-out patients, and register the model for the job's owner.

    It goes on from the last fold and the last whole epoch, to the same numbers; a training that is
    finished is not repeated, and its model is registered once.

    Parameters
    ----------
    context : JobContext
    params : dict
        ``pairs_id``: the stored paired cohort. Optional ``base`` (id or name of a registered model;
        default: the owner's default), ``name`` of the new model, ``config`` (fields of
        `FinetuneConfig`), ``drug``, ``dose``, ``time`` (where the cohort does not say them),
        ``drop_unknown``, ``folds`` (0 = no comparison) and ``licence``.

    Returns
    -------
    dict
        ``model_id`` in the registry, ``digest``, ``best_epoch``, ``comparison`` (as
        `Comparison.to_dict` gives it, with numbers in place of ids; None without one),
        ``transfer``, ``method``, ``notes`` (for the owner: they may name patients), ``minutes`` and
        ``peak_memory_mib``.
    """
    from xpert_core.finetuning.finetune import MODEL, WORK
    from xpert_core.store.registered import FINE_TUNED

    kept = context.once(FINISHED, lambda: _trained(context, params))
    context.stage("Registering the model")
    # The same checkpoint is kept once, so a job that is killed here may do this again.
    model_id = context.store.registry.register(
        context.folder / FOLDER / MODEL,
        parents=kept["parents"],
        kind=FINE_TUNED,
        name=params.get("name") or "",
    )
    shutil.rmtree(context.folder / FOLDER / WORK, ignore_errors=True)
    return {"model_id": model_id, **kept["result"]}


def _trained(context: JobContext, params: dict[str, Any]) -> dict[str, Any]:
    """``parents`` of the new model and ``result`` of the job, all but the model's id."""
    from xpert_core.finetuning.config import FinetuneConfig
    from xpert_core.finetuning.data import Defaults
    from xpert_core.finetuning.finetune import finetune as run
    from xpert_core.finetuning.hooks import Hooks
    from xpert_core.model.checkpoint import load_checkpoint

    store = context.store
    chosen = params.get("base")
    base = store.registry.get(chosen) if chosen else store.registry.default()
    if base.why_not_finetune:
        raise DataError(
            f"'{base.name}' cannot be fine-tuned: {base.why_not_finetune}.",
            where=base.id,
            fix="Choose another base model.",
        )
    context.progress(0, 0, "Reading the cohort")
    pairs = store.pairs.load(params["pairs_id"])
    context.check()
    given = {name: params[name] for name in ("drug", "dose", "time") if params.get(name)}
    result = run(
        pairs,
        load_checkpoint(base.folder),
        context.folder / FOLDER,
        FinetuneConfig.from_dict(params.get("config") or {}),
        name=params.get("name") or "",
        defaults=Defaults(**given),
        drop_unknown=bool(params.get("drop_unknown")),
        folds=int(params.get("folds", 5)),
        licence=params.get("licence") or "not stated",
        hooks=Hooks(context.progress, context.metric, context.cancelled),
    )
    # A shared job shows its log to everybody; the ids stand in comparison.json in the folder.
    for note in result.card["notes"]:
        context.log(note)
    compared = result.comparison
    told = {
        "digest": result.digest,
        "best_epoch": result.best_epoch,
        "comparison": compared.without_ids().to_dict() if compared else None,
        "transfer": result.transfer.to_dict(),
        "method": result.card["method"],
        "notes": list(result.notes),
        "minutes": result.minutes,
        "peak_memory_mib": result.peak_memory_mib,
    }
    return {"parents": [base.digest], "result": told}
