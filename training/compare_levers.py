"""What each cheap lever does to XPert: on the validation rows, and on the test rows beside them.

Usage: python -m training.compare_levers training/configs/benchmark.yaml FOLDER OUT.md

FOLDER is what `xpert benchmark` wrote for the same configuration. A lever is another model of kind
xpert that keeps its predictions; it is compared row by row with the main model, or the one that its
line names (``against``), of the same fold and seed. Averaging over seeds is compared with the mean
score of the seeds. The interval is a bootstrap over drugs, or over scaffolds or cell lines where
these are new. A choice is made on validation rows alone.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd

from xpert_core.benchmark.comparisons import changed, settings_of
from xpert_core.benchmark.config import XPERT, BenchmarkConfig, ScenarioSpec, Task, tasks
from xpert_core.benchmark.predictions import Predictions
from xpert_core.benchmark.results import main_model
from xpert_core.benchmark.runner import read_task, task_path, write_split
from xpert_core.benchmark.tables import unit_of
from xpert_core.errors import DataError
from xpert_core.evaluation.metrics import bootstrap_mean, pearson_rows
from xpert_core.files import write_bytes_atomic
from xpert_core.learning.folds import labels_of
from xpert_core.tokens.dataset import READOUTS, TrainingData

PARTS = ("validation", "test")


def stored(
    config: BenchmarkConfig, data: TrainingData, folder: Path
) -> list[tuple[Task, Predictions]]:
    """Predictions of every finished task of an XPert model that kept them."""
    splits = {s.name: write_split(config, s, data, folder / "splits") for s in config.scenarios}
    found = []
    for task in tasks(config):
        path = task_path(config, task, data, splits[task.scenario.name], folder)
        if task.model.kind != XPERT or not path.with_suffix(".json").is_file():
            continue
        kept = read_task(path).predictions
        if kept is not None:
            found.append((task, Predictions.load(kept)))
    return found


def row_scores(task: Task, rows: np.ndarray, x_deg: np.ndarray, data: TrainingData) -> pd.DataFrame:
    """PCC of each row with what it belongs to."""
    scenario: ScenarioSpec = task.scenario
    name = unit_of(scenario.name)
    unit = {
        "cell": data.cell_index,
        "patient": np.array(data.patients),
        "cancer": np.array(data.cancers),
    }.get(name, data.drug_index)
    if name == "scaffold":
        unit = labels_of(data).scaffold
    return pd.DataFrame(
        {
            "scenario": scenario.name,
            "fold": task.fold,
            "readout": np.array(READOUTS)[data.readout[rows]],
            "row": rows,
            "unit": unit[rows],
            "pcc": pearson_rows(x_deg, data.x_deg[rows]),
        }
    )


def parts_of(kept: Predictions) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Rows and predictions by part."""
    return dict(
        zip(PARTS, ((kept.valid_rows, kept.valid_x_deg), (kept.rows, kept.x_deg)), strict=True)
    )


def compare(found: list[tuple[Task, Predictions]], data: TrainingData, main: str) -> pd.DataFrame:
    """Scores of each lever and of the model it stands on: a line a row of the data."""
    each = {(t.model.name, t.scenario.name, t.fold, t.seed): (t, k) for t, k in found}
    base = {key[1:]: pair for key, pair in each.items() if key[0] == main}
    stood_on = {main, *(t.model.against for t, _ in found)}
    if not base:
        raise DataError(
            f"{main} has no stored predictions to compare with.",
            fix="Give it average_seeds or keep_predictions, and run the benchmark.",
        )
    keys = ["scenario", "fold", "readout", "row", "unit"]
    lines = []
    for part in PARTS:
        for task, kept in found:
            under = task.model.against or main
            own = each.get((under, task.scenario.name, task.fold, task.seed))
            if task.model.name in stood_on or own is None:
                continue
            tables = [row_scores(t, *parts_of(k)[part], data) for t, k in ((task, kept), own)]
            both = tables[0].merge(tables[1], on=keys, suffixes=("", "_main"))
            lines.append(both.assign(lever=task.model.name, part=part))
        for place in dict.fromkeys(key[:2] for key in base):
            seeds = [value for key, value in base.items() if key[:2] == place]
            if len(seeds) < 2:
                continue
            task, rows = seeds[0][0], parts_of(seeds[0][1])[part][0]
            said = [parts_of(k)[part][1] for _, k in seeds]
            mean = row_scores(task, rows, np.stack(said).mean(axis=0), data)
            single = np.mean([pearson_rows(x, data.x_deg[rows]) for x in said], axis=0)
            label = f"mean of {len(seeds)} seeds"
            lines.append(mean.assign(pcc_main=single, lever=label, part=part))
    return pd.concat(lines, ignore_index=True)


def table(compared: pd.DataFrame) -> str:
    """Markdown: a line a scenario, read-out and lever."""
    lines = [
        "| scenario | read-out | lever | folds | XPert | with it | difference (validation) "
        "| difference (test) |",
        "| --- " * 8 + "|",
    ]
    for (scenario, readout, lever), place in compared.groupby(
        ["scenario", "readout", "lever"], sort=False
    ):
        cells = {}
        for part, own in place.groupby("part"):
            score = bootstrap_mean(
                (own["pcc"] - own["pcc_main"]).to_numpy(), own["unit"].to_numpy()
            )
            cells[part] = f"{score.mean:+.3f} [{score.low:+.3f}, {score.high:+.3f}]"
        chosen = place[place["part"] == PARTS[0]]
        folds = ", ".join(str(f) for f in sorted(place["fold"].unique()))
        lines.append(
            f"| {scenario} | {readout} | {lever} | {folds} | {chosen['pcc_main'].mean():.3f} "
            f"| {chosen['pcc'].mean():.3f} | {cells[PARTS[0]]} | {cells[PARTS[1]]} |"
        )
    return "\n".join(lines) + "\n"


def run(path: Path, folder: Path, out: Path) -> None:
    """Compare and write."""
    config = BenchmarkConfig.load(path)
    data = TrainingData.load(config.data)
    main = main_model(config)
    named = {m.name: m for m in config.models}
    base, stood_on = named[main], {main, *(m.against for m in config.models)}
    text = table(compare(stored(config, data, folder), data, main))
    text += "\nWhat each lever changes:\n\n"
    for model in config.models:
        if model.kind == XPERT and model.drug == base.drug and model.name not in stood_on:
            under = named[model.against or main]
            differs = changed(settings_of(under, config), settings_of(model, config))
            words = "; ".join(f"{k}: {a} to {b}" for k, (a, b) in differs.items())
            text += f"- {model.name}: {words}\n"
    write_bytes_atomic(out, text.encode())
    print(text)


if __name__ == "__main__":
    run(*(Path(argument) for argument in sys.argv[1:4]))
