"""List the conditions a shipped model was trained on, beside its weights.

Usage: python -m training.model_conditions DATA.safetensors [MODEL]

DATA is what training/prepare_l1000.py wrote. The split is made again from the seeds of the model's
card and must have as many rows and drugs in each part as the card says.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd

from xpert_core.errors import DataError
from xpert_core.explanation.training_conditions import FILE, TrainingConditions, save_conditions
from xpert_core.learning.splits import split_by_drug
from xpert_core.model.checkpoint import load_checkpoint
from xpert_core.prediction.models import model_folder
from xpert_core.tokens.dataset import READOUTS, TrainingData


def conditions_table(data: TrainingData, part: np.ndarray) -> pd.DataFrame:
    """One row a distinct condition; `part` is the name of each row's part."""
    rows = pd.DataFrame(
        {
            "drug_key": np.array(data.drug_keys)[data.drug_index],
            "drug": np.array(data.drug_names)[data.drug_index],
            "cell": np.array(data.cells)[data.cell_index],
            "dose_um": [float(f"{dose:.4g}") for dose in data.dose_um],
            "time_h": data.time_h.astype(float),
            "readout": np.array(READOUTS)[data.readout],
            "part": part,
        }
    )
    return rows.groupby(list(rows.columns), as_index=False).size().rename(columns={"size": "rows"})


def main(path: Path, model: str | None) -> None:
    """Make the split again, compare it with the card, write."""
    folder = model_folder(model)
    checkpoint = load_checkpoint(folder)
    card = checkpoint.meta.card
    config = card["config"]
    data = TrainingData.load(path)
    split = split_by_drug(
        data, valid=config["valid"], test=config["test"], seed=config["split_seed"]
    )
    part = np.empty(len(data), dtype=object)
    for name, rows in split.parts().items():
        part[rows] = name
        counts = (len(rows), len(np.unique(data.drug_index[rows])))
        expected = (card["rows"][name], card["drugs"][name])
        if counts != expected:
            raise DataError(
                "The split is not the one the model was trained on.",
                where=f"{name}: {counts} rows and drugs, the card says {expected}",
                fix="Prepare the data with the version of XPert that trained the model.",
            )
    table = conditions_table(data, part)
    save_conditions(TrainingConditions(checkpoint.digest, table), folder / FILE)
    print(f"{len(table)} conditions of {len(data)} rows in {folder.name}/{FILE}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else None)
