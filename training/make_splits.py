"""Write the split files of the benchmark on the shipped L1000 data.

Usage: python -m training.make_splits PREPARED.safetensors [OUT_FOLDER]

The warm, cold-drug and cold-scaffold scenarios take all rows; cold-cell the level-5 rows (most cell
lines), cold-dose-time the level-3 rows (the dose series). Prints rows and groups of each part.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from xpert_core.learning.fold_files import save_folds
from xpert_core.learning.folds import SCENARIOS, labels_of, make_folds, withhold_unknown
from xpert_core.tokens.dataset import LOG2_READOUT, Z_READOUT, TrainingData


def main(source: Path, out: Path) -> None:
    """Write every scenario that cell lines can have."""
    data = TrainingData.load(source)
    labels = labels_of(data)
    out.mkdir(parents=True, exist_ok=True)
    for name, kind in SCENARIOS.items():
        if kind.grouping in ("patient", "cancer"):
            continue
        rows = None
        if name == "cold-cell" or kind.shots:
            rows = data.readout == (LOG2_READOUT if kind.shots else Z_READOUT)
        folds = withhold_unknown(make_folds(labels, name, rows=rows), data)
        digest = save_folds(out / f"{name}.csv", folds, data)
        print(f"{name} ({digest[:12]})")
        groups = getattr(labels, kind.grouping)
        for number, split in enumerate(folds.splits(), start=1):
            sizes = (
                f"{part} {len(chosen)} rows, {len(np.unique(groups[chosen]))} {kind.grouping}s"
                for part, chosen in split.parts().items()
            )
            print(f"  fold {number}: {'; '.join(sizes)}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else Path("runs/splits"))
