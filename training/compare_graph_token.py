"""What the graph token is worth: the shipped recipe with and without it, several seeds, per drug.

Usage::

    python -m training.compare_graph_token run CONFIG.yaml OUT_FOLDER
        [--seeds 0 1 2] [--only with|without]
    python -m training.compare_graph_token report CONFIG.yaml OUT_FOLDER TABLE.json

``run`` trains what is not there yet, one after the other. ``report`` compares x_deg PCC on the
validation drugs, row by row, averaged over seeds and then over the rows of each drug: with the
graph token (`strict`: the drug's own targets withheld; `informed`: told) minus without it.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from xpert_core.evaluation.metrics import bootstrap_mean, pearson_rows
from xpert_core.files import write_bytes_atomic
from xpert_core.learning.config import TrainConfig
from xpert_core.learning.loop import predict_rows
from xpert_core.learning.trainer import Setup, build, train
from xpert_core.model.checkpoint import load_checkpoint
from xpert_core.tokens.biology import MODES
from xpert_core.tokens.dataset import READOUTS, TensorView

KINDS = ("with", "without")


def run(config_path: Path, out: Path, seeds: list[int], kinds: tuple[str, ...]) -> None:
    """Train every kind and seed that has no finished model."""
    config = TrainConfig.load(config_path)
    for seed in seeds:
        for kind in kinds:
            folder = out / f"{kind}-{seed}"
            if (folder / "model").is_dir():
                continue
            changed = replace(config, seed=seed, graph=config.graph if kind == "with" else "")
            path = config_path.with_name(f".{kind}-{seed}.yaml")  # paths stay relative to it
            path.write_text(yaml.safe_dump(changed.to_dict()), encoding="utf-8")
            try:
                train(path, folder, resume=(folder / "progress.json").is_file(), progress=show)
            finally:
                path.unlink()


def show(done: int, most: int, entry: dict[str, float]) -> None:
    """One line an epoch."""
    print(f"epoch {done} of {most}: {entry['score']:.4f}", flush=True)


def scores(setup: Setup, folder: Path, graph: np.ndarray | None) -> np.ndarray:
    """x_deg PCC of every validation row by one trained model."""
    model = load_checkpoint(folder / "model").model
    view = TensorView(setup.data, setup.bins, model.config.max_atoms, graph)
    rows = setup.split.valid
    return pearson_rows(predict_rows(model, view, rows)[0], setup.data.x_deg[rows])


def report(config_path: Path, out: Path, target: Path) -> None:
    """Write and print the comparison."""
    setup = build(TrainConfig.load(config_path), config_path.parent)
    assert setup.biology is not None
    seeds = sorted(int(path.name.split("-")[1]) for path in out.glob("with-*"))
    tables = {"without": [scores(setup, out / f"without-{s}", None) for s in seeds]}
    for mode in MODES:
        vectors = getattr(setup.biology, mode)
        tables[mode] = [scores(setup, out / f"with-{s}", vectors) for s in seeds]
    rows = setup.split.valid
    drugs, readout = setup.data.drug_index[rows], setup.data.readout[rows]
    entries: list[dict[str, Any]] = []
    for number, label in enumerate(READOUTS):
        chosen = readout == number
        for name, runs in tables.items():
            pcc = np.mean(runs, axis=0)
            entry = _entry(label, name, pcc[chosen], drugs[chosen])
            entry["seeds"] = [round(float(r[chosen].mean()), 4) for r in runs]
            entries.append(entry)
        for mode in MODES:
            difference = np.mean(tables[mode], axis=0) - np.mean(tables["without"], axis=0)
            entries.append(
                _entry(label, f"{mode} minus without", difference[chosen], drugs[chosen])
            )
    per_drug = _per_drug(setup, tables, drugs)
    document = {"seeds": seeds, "scores": entries, "drugs": per_drug}
    write_bytes_atomic(target, (json.dumps(document, indent=1) + "\n").encode())
    for entry in entries:
        print(entry)


def _entry(readout: str, name: str, values: np.ndarray, drugs: np.ndarray) -> dict[str, Any]:
    result = bootstrap_mean(values, drugs)
    return {
        "readout": readout,
        "model": name,
        "pcc": round(result.mean, 4),
        "low": round(result.low, 4),
        "high": round(result.high, 4),
        "rows": result.n_rows,
        "drugs": result.n_groups,
    }


def _per_drug(
    setup: Setup, tables: dict[str, list[np.ndarray]], drugs: np.ndarray
) -> list[dict[str, Any]]:
    found = []
    for drug in np.unique(drugs):
        own = drugs == drug
        means = {name: float(np.mean(runs, axis=0)[own].mean()) for name, runs in tables.items()}
        found.append(
            {
                "drug": setup.data.drug_names[drug],
                "targets": setup.data.drug_targets[drug],
                "rows": int(own.sum()),
                **{name: round(value, 4) for name, value in means.items()},
            }
        )
    return sorted(found, key=lambda entry: entry["without"] - entry["informed"])


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    running = commands.add_parser("run")
    running.add_argument("config", type=Path)
    running.add_argument("out", type=Path)
    running.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    running.add_argument("--only", choices=KINDS)
    reporting = commands.add_parser("report")
    reporting.add_argument("config", type=Path)
    reporting.add_argument("out", type=Path)
    reporting.add_argument("table", type=Path)
    chosen = parser.parse_args()
    if chosen.command == "run":
        kinds = (chosen.only,) if chosen.only else KINDS
        run(chosen.config, chosen.out, chosen.seeds, kinds)
    else:
        report(chosen.config, chosen.out, chosen.table)


if __name__ == "__main__":
    main()
