"""Split files of the paper's zero-shot experiment: tested are the pairs of L1000_mdmt.

Usage: python -m training.make_zero_shot_splits training/configs/paper-zero-shot.yaml

Of each cell-drug pair with more than one dose bin and more than one time, one condition is tested
and one chosen on; all rows of the other pairs, the paper's L1000_mdmt_pretrain, are trained on.
Writes to the folder that the configuration names under `splits`.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd

from xpert_core.benchmark.config import BenchmarkConfig
from xpert_core.benchmark.runner import split_path
from xpert_core.errors import DataError
from xpert_core.learning.fold_files import save_folds
from xpert_core.learning.folds import NONE, SCENARIOS, TRAIN, Folds, Labels, labels_of, make_folds
from xpert_core.preparation.doses import dose_bins
from xpert_core.tokens.dataset import TrainingData


def mdmt_rows(data: TrainingData, labels: Labels) -> np.ndarray:
    """Rows of pairs with more than one dose bin and more than one time; bool, shape (N,).

    A pair is a cell line and a drug by structure, where `xpert data prepare lincs` goes by
    ``pert_id``: two samples of one drug must not stand on two sides.
    """
    frame = pd.DataFrame(
        {
            "cell": labels.cell,
            "drug": labels.drug,
            "dose": dose_bins(data.dose_um),
            "time": data.time_h,
        }
    )
    several = frame.groupby(["cell", "drug"])[["dose", "time"]].transform("nunique") > 1
    return several.all(axis=1).to_numpy()


def zero_shot(data: TrainingData, scenario: str, n_folds: int, seed: int) -> Folds:
    """Folds of a cold-dose-time scenario that test the pairs of L1000_mdmt alone."""
    labels = labels_of(data)
    mdmt = mdmt_rows(data, labels)
    folds = make_folds(labels, scenario, n_folds=n_folds, seed=seed, testable=mdmt)
    if folds.scenario.shots == "zero":
        # Pairs of two conditions are in L1000_mdmt too: the paper does not pretrain on them.
        folds.parts[mdmt & (folds.parts == TRAIN)] = NONE
    return folds


def main(path: Path) -> None:
    """Write the files, and print the rows of each part."""
    config = BenchmarkConfig.load(path)
    wrong = [s.name for s in config.scenarios if not SCENARIOS[s.name].shots]
    if config.splits is None or wrong:
        raise DataError(
            "This is no configuration of a zero-shot experiment.",
            where=f"{path}: {', '.join(wrong) or 'no splits'}",
            fix="Name the folder of the split files under 'splits', and cold-dose-time scenarios "
            "alone, as training/configs/paper-zero-shot.yaml does.",
        )
    data = TrainingData.load(config.data)
    config.splits.mkdir(parents=True, exist_ok=True)
    for scenario in config.scenarios:
        folds = zero_shot(data, scenario.name, config.n_folds, config.split_seed)
        target = split_path(config, scenario, config.splits)
        digest = save_folds(target, folds, data)
        print(f"{target} ({digest[:12]})")
        for number, split in enumerate(folds.splits(), start=1):
            sizes = (f"{part} {len(rows):,} rows" for part, rows in split.parts().items())
            print(f"  fold {number}: {'; '.join(sizes)}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
