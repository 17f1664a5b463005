"""A finished benchmark as it is kept in the results database."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from xpert_core.benchmark.config import BenchmarkConfig
    from xpert_core.benchmark.results import Results


@dataclass(frozen=True)
class BenchmarkRecord:
    """Numbers of a benchmark, and what they depend on.

    Attributes
    ----------
    name : str
    run_sha256 : str
        Hash of everything below that is not a result: the same run has the same.
    data_sha256 : str
        Digest of the data.
    splits : dict of str to str
        Hash of each scenario's split.
    config : dict
        Scenarios, models with their whole recipes, seeds; no path of this machine.
    version : str
        Of the program.
    verdict : str
        First paragraph of the report.
    scores : DataFrame
        Columns ``scenario``, ``readout``, ``model``, ``seed``, ``fold``, ``metric``, ``value``.
    intervals : DataFrame
        Columns ``scenario``, ``readout``, ``model``, ``minus`` (None for a model's own PCC, else
        the model it is compared with), ``mean``, ``low``, ``high``, ``p``, ``p_holm``, ``n_rows``,
        ``n_groups``, ``unit``.
    """

    name: str
    run_sha256: str
    data_sha256: str
    splits: dict[str, str]
    config: dict[str, Any]
    version: str
    verdict: str
    scores: pd.DataFrame
    intervals: pd.DataFrame


SCORE_COLUMNS = ["scenario", "readout", "model", "seed", "fold", "metric", "value"]
INTERVAL_COLUMNS = [
    "scenario", "readout", "model", "minus", "mean", "low", "high", "p", "p_holm", "n_rows",
    "n_groups", "unit",
]  # fmt: skip


def record_of(results: Results) -> BenchmarkRecord:
    """The record of results."""
    from xpert_core import __version__
    from xpert_core.benchmark.runner import split_path, write_split
    from xpert_core.benchmark.verdict import verdict_of
    from xpert_core.learning.fold_files import stored_digest

    config, splits = results.config, {}
    for scenario in config.scenarios:
        path = split_path(config, scenario, results.out / "splits")
        if not path.is_file():
            write_split(config, scenario, results.data, results.out / "splits")
        splits[scenario.name] = stored_digest(path)
    document = _config_document(config)
    stated = [document, results.data.features_digest, splits, __version__]
    return BenchmarkRecord(
        name=config.name,
        run_sha256=hashlib.sha256(json.dumps(stated, sort_keys=True).encode()).hexdigest(),
        data_sha256=results.data.digest,
        splits=splits,
        config=document,
        version=__version__,
        verdict=verdict_of(results).replace("**", ""),
        scores=results.scores[SCORE_COLUMNS],
        intervals=_intervals(results),
    )


def _config_document(config: BenchmarkConfig) -> dict[str, Any]:
    """Settings that the numbers depend on, without paths; lists as JSON gives them back."""
    from xpert_core.benchmark.config import tasks
    from xpert_core.benchmark.models import of_fold, recipe_document

    values = asdict(config)
    for name in ("data", "base", "splits", "workers", "subset"):
        values.pop(name, None)
    for model, spec in zip(values["models"], config.models, strict=True):
        model["recipe"] = recipe_document(spec, config.base)
        if spec.of_each_fold:
            model["vectors"] = {
                f"{task.scenario.name}-{task.fold}": recipe_document(
                    of_fold(spec, task.scenario.name, task.fold), config.base
                )["graph"]
                for task in tasks(config)
                if task.model == spec
            }
    found: dict[str, Any] = json.loads(json.dumps(values, default=str))
    return found


def _intervals(results: Results) -> pd.DataFrame:
    own = results.intervals.rename(columns={"rows": "n_rows", "groups": "n_groups"})
    parts = [own.assign(minus=None, p=np.nan, p_holm=np.nan)]
    if len(results.differences):
        apart = results.differences.rename(columns={"model": "minus", "difference": "mean"})
        parts.append(apart.assign(model=results.model, n_rows=None, n_groups=None, unit=None))
    lines = [line for part in parts for line in part[INTERVAL_COLUMNS].to_dict("records")]
    return pd.DataFrame(lines, columns=INTERVAL_COLUMNS)
