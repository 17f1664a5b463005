"""What the built-in kinds of jobs do. Heavy libraries are imported inside the functions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from xpert_core.drugs.records import Drug
from xpert_core.errors import DataError
from xpert_core.jobs.context import JobContext

#: Result of a finished training, kept until the job has ended.
TRAINED_FILE = "trained.json"


def predict(context: JobContext, params: dict[str, Any]) -> dict[str, Any]:
    """Predict for a stored cohort and keep the result as a run.

    Parameters
    ----------
    context : JobContext
    params : dict
        ``cohort_id``; ``drugs``: names, LINCS ids, InChIKeys, SMILES, or the fields of a `Drug`;
        ``doses``, ``times``: text with units, or numbers in uM and h; optional ``samples`` (ids),
        ``model`` (name or id; on a machine without users also a folder; the owner's
        default without it) and ``title``.

    Returns
    -------
    dict
        ``run_id`` (the job's own id) and ``n_rows``.
    """
    from xpert_core.prediction import Predictor

    store = context.store
    context.stage("Loading the model")
    profiles = store.load_cohort(params["cohort_id"])
    predictor = Predictor.load(context.model_folder(params.get("model")))
    context.check()
    prediction = predictor.predict(
        profiles,
        [_drug(entry) for entry in params["drugs"]],
        params["doses"],
        params["times"],
        samples=params.get("samples"),
        progress=context.progress,
        cancelled=context.cancelled,
    )
    context.check()
    context.stage("Storing the result")
    store.register_model(predictor.name, predictor.digest, predictor.card)
    run_id = store.save_prediction(
        prediction,
        params["cohort_id"],
        title=params.get("title") or profiles.name,
        owner=context.owner,
        run_id=context.job_id,
    )
    return {"run_id": run_id, "n_rows": len(prediction)}


def train(context: JobContext, params: dict[str, Any]) -> dict[str, Any]:
    """Train a model from a recipe and register it; goes on from the last whole epoch.

    Parameters
    ----------
    context : JobContext
    params : dict
        ``config``: path of the recipe, a YAML file. Optional ``out``: folder of the run; by default
        the job's own, which goes when the job is deleted.

    Returns
    -------
    dict
        ``model_id`` in the registry, ``folder`` of the run's own checkpoint, ``digest``,
        ``best_epoch`` and ``scores``.
    """
    from xpert_core.store.registered import TRAINED

    found = context.once(TRAINED_FILE, lambda: _trained(context, params))
    context.stage("Registering the model")
    model_id = context.store.registry.register(Path(found["folder"]), kind=TRAINED)
    return {"model_id": model_id, **found}


def _trained(context: JobContext, params: dict[str, Any]) -> dict[str, Any]:
    import logging

    from xpert_core.learning.resume import STATE
    from xpert_core.learning.trainer import train as run_training

    # Lightning's advice on its other products is not for the log of a worker.
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    config, out = _input_file(params["config"]), _output(context, params)
    context.stage("Preparing the data")

    def report(done: int, total: int, scores: dict[str, float]) -> None:
        context.progress(done, total, f"Epoch {done} of at most {total}")
        context.metric(**{"epoch": done, **scores})
        context.check()

    resume = (out / STATE).is_file()
    if resume:
        context.log("Going on from the last whole epoch.")
    result = run_training(config, out, resume=resume, progress=report)
    return {
        "folder": str(result.folder),
        "digest": result.digest,
        "best_epoch": result.best_epoch,
        "scores": result.card["scores"],
    }


def benchmark(context: JobContext, params: dict[str, Any]) -> dict[str, Any]:
    """Run a benchmark, write its report and keep its numbers; tasks that are done stay done.

    Parameters
    ----------
    context : JobContext
    params : dict
        ``config``: path of the YAML file. Optional ``workers``, a number of processes, and
        ``out``: folder of the results; by default the job's own.

    Returns
    -------
    dict
        ``benchmark_id`` in the database, ``report`` (path) and ``verdict``.
    """
    from dataclasses import replace

    from xpert_core.benchmark.config import BenchmarkConfig
    from xpert_core.benchmark.record import record_of
    from xpert_core.benchmark.report import report_of
    from xpert_core.benchmark.results import Results
    from xpert_core.benchmark.runner import run

    chosen = BenchmarkConfig.load(_input_file(params["config"]))
    if params.get("workers"):
        chosen = replace(chosen, workers=int(params["workers"]))
    out = _output(context, params)
    context.stage("Reading data and splits")

    def report(done: int, total: int, label: str) -> None:
        context.check()
        context.progress(done, total, f"Tasks: {label}" if label else "Tasks")
        if label:
            context.log(f"{done} of {total}: {label}")

    results = Results.collect(chosen, run(chosen, out, report), out)
    context.stage("Writing the report")
    path = report_of(results)
    record = record_of(results)
    saved = context.store.save_benchmark(record, context.owner)
    return {"benchmark_id": saved, "report": str(path), "verdict": record.verdict}


def _drug(entry: str | dict[str, Any]) -> Drug | str:
    """A drug as it was submitted: JSON has no tuples."""
    if isinstance(entry, str):
        return entry
    fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in entry.items()}
    return Drug(**fields)


def _input_file(text: str) -> Path:
    path = Path(text)
    if not path.is_file():
        raise DataError(
            "The configuration file is not there.",
            where=str(path),
            fix="Give its full path, as this machine sees it.",
        )
    return path


def _output(context: JobContext, params: dict[str, Any]) -> Path:
    return Path(params["out"]) if params.get("out") else context.folder / "run"
