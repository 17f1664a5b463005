"""How long XPert should train: its scores on validation rows after trainings of several lengths.

Usage: python -m training.compare_epochs training/configs/benchmark.yaml SCENARIO FOLD EPOCHS ...

Trains the first XPert of a benchmark's configuration on one fold, with seed 0 and the data and
splits of the configuration, once for each number of epochs; patience is three eighths of it. The
learning rate falls to 0 over the epochs asked, so that the last one of a short training is not that
epoch of a long one. Test rows are not looked at. Prints a table (docs/benchmark/epochs.md).
"""

from __future__ import annotations

import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from xpert_core.benchmark.config import BenchmarkConfig, ModelSpec
from xpert_core.benchmark.models import XPertModel, make_model
from xpert_core.benchmark.results import main_model
from xpert_core.benchmark.runner import split_path, write_split
from xpert_core.errors import DataError
from xpert_core.learning.fold_files import load_folds
from xpert_core.learning.splits import Split
from xpert_core.tokens.dataset import TrainingData

HEAD = (
    "| scenario, fold | rows trained on | epochs | best epoch | PCC level 3 | PCC level 5 | mean "
    "| minutes |"
)


def trained(
    spec: ModelSpec, base: Path, data: TrainingData, split: Split, epochs: int
) -> dict[str, Any]:
    """Scores of the best epoch of one training, its number and the minutes it took."""
    settings = {**spec.settings, "max_epochs": epochs, "patience": max(1, epochs * 3 // 8)}
    model = make_model(replace(spec, settings=settings), base, 0)
    assert isinstance(model, XPertModel)
    seen: list[dict[str, float]] = []
    model.progress = lambda _done, _most, scores: seen.append(dict(scores))
    started = time.monotonic()
    model.fit(data, split.train, split.valid)
    best = max(seen, key=lambda scores: scores["score"])
    return {**best, "minutes": (time.monotonic() - started) / 60}


def line(where: str, rows: int, epochs: int, best: dict[str, Any]) -> str:
    """A line of the table; a read-out that no validation row has is left empty."""
    scores = [
        f"{best[name]:.4f}" if name in best else ""
        for name in ("pcc_level3", "pcc_level5", "score")
    ]
    cells = [where, rows, epochs, int(best["epoch"]), *scores, f"{best['minutes']:.1f}"]
    return f"| {' | '.join(str(c) for c in cells)} |"


def main(path: Path, scenario: str, fold: int, lengths: list[int]) -> None:
    """Train and print."""
    config = BenchmarkConfig.load(path)
    place = next((s for s in config.scenarios if s.name == scenario), None)
    if place is None or not 1 <= fold <= config.n_folds:
        raise DataError(
            f"The configuration has no fold {fold} of {scenario}.",
            where=path.name,
            fix=f"Name one of: {', '.join(s.name for s in config.scenarios)}.",
        )
    data = TrainingData.load(config.data)
    with tempfile.TemporaryDirectory() as room:
        write_split(config, place, data, Path(room))
        split = load_folds(split_path(config, place, Path(room)), data).split(fold - 1)
    spec = next(m for m in config.models if m.name == main_model(config))
    print(f"{HEAD}\n{'| --- ' * 8}|")
    for epochs in lengths:
        best = trained(spec, config.base, data, split, epochs)
        print(line(f"{scenario}, {fold}", len(split.train), epochs, best), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), [int(a) for a in sys.argv[4:]])
