"""The job that fine-tunes a model on a stored paired cohort and registers it."""

from __future__ import annotations

from typing import Any

from xpert_core.jobs.context import JobContext


def finetune(context: JobContext, params: dict[str, Any]) -> dict[str, Any]:
    """Fine-tune, compare on held-out patients, and register the model for the job's owner.

    It goes on from the last fold and the last whole epoch, to the same numbers.

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
        `Comparison.to_dict` gives it, None without one), ``transfer``, ``method``, ``notes``,
        ``minutes`` and ``peak_memory_mib``.
    """
    from xpert_core.finetuning.config import FinetuneConfig
    from xpert_core.finetuning.data import Defaults
    from xpert_core.finetuning.finetune import finetune as run
    from xpert_core.finetuning.hooks import Hooks
    from xpert_core.model.checkpoint import load_checkpoint
    from xpert_core.store.registered import FINE_TUNED

    store = context.store
    context.progress(0, 0, "Reading the cohort")
    pairs = store.pairs.load(params["pairs_id"])
    chosen = params.get("base")
    base = store.registry.get(chosen) if chosen else store.registry.default()
    context.check()
    given = {name: params[name] for name in ("drug", "dose", "time") if params.get(name)}
    result = run(
        pairs,
        load_checkpoint(base.folder),
        context.folder / "finetuning",
        FinetuneConfig.from_dict(params.get("config") or {}),
        name=params.get("name") or "",
        defaults=Defaults(**given),
        drop_unknown=bool(params.get("drop_unknown")),
        folds=int(params.get("folds", 5)),
        licence=params.get("licence") or "not stated",
        hooks=Hooks(context.progress, context.metric, context.cancelled),
    )
    context.progress(1, 1, "Registering the model")
    for note in result.notes:
        context.log(note)
    # The same checkpoint is kept once, so a job that is killed here may do this again.
    model_id = store.registry.register(
        result.folder, parents=[base.digest], kind=FINE_TUNED, name=params.get("name") or ""
    )
    return {
        "model_id": model_id,
        "digest": result.digest,
        "best_epoch": result.best_epoch,
        "comparison": result.comparison.to_dict() if result.comparison else None,
        "transfer": result.transfer.to_dict(),
        "method": result.card["method"],
        "notes": list(result.notes),
        "minutes": result.minutes,
        "peak_memory_mib": result.peak_memory_mib,
    }
