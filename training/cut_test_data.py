"""Cut a small real piece of the prepared training data for the tests.

Usage: python -m training.cut_test_data PREPARED.safetensors tests/data/l1000_small.safetensors
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from xpert_core.tokens.dataset import LOG2_READOUT, TrainingData

#: Cell lines of the piece (two a read-out) and rows taken of each.
CELLS = ("A375", "HT115", "THP1", "HEK293")
ROWS = 40


def cut(data: TrainingData, rows: np.ndarray) -> TrainingData:
    """The given rows with only the profiles, drugs and cell lines they use."""
    profiles, profile_index = np.unique(data.profile_index[rows], return_inverse=True)
    drugs, drug_index = np.unique(data.drug_index[rows], return_inverse=True)
    cells, cell_index = np.unique(data.cell_index[rows], return_inverse=True)
    spans = [slice(*data.atom_offsets[i : i + 2]) for i in drugs]
    per_row = ("dose_um", "time_h", "readout", "x_deg", "has_x_pert")
    per_drug = ("fingerprint", "molecule", "has_molecule")
    names = (
        "drug_keys", "drug_names", "drug_smiles", "drug_aliases", "drug_moa", "drug_targets",
    )  # fmt: skip
    changed: dict[str, Any] = {name: getattr(data, name)[rows] for name in per_row}
    changed |= {name: getattr(data, name)[drugs] for name in per_drug}
    changed |= {name: tuple(getattr(data, name)[i] for i in drugs) for name in names}
    labels = ("patients", "cancers")
    changed |= {n: tuple(v[i] for i in rows) for n in labels if (v := getattr(data, n))}
    return replace(
        data,
        profiles=data.profiles[profiles],
        profile_index=profile_index,
        drug_index=drug_index,
        cell_index=cell_index,
        cells=tuple(data.cells[i] for i in cells),
        atoms=np.concatenate([data.atoms[s] for s in spans]),
        atom_offsets=np.cumsum([0, *(s.stop - s.start for s in spans)]).astype(np.int64),
        **changed,
    )


def main(source: Path, target: Path) -> None:
    """Choose rows and write."""
    data = TrainingData.load(source)
    rng = np.random.default_rng(0)
    chosen = []
    for cell in CELLS:
        if cell not in data.cells:
            continue
        rows = np.flatnonzero(data.cell_index == data.cells.index(cell))
        chosen.append(rng.choice(rows, min(ROWS, len(rows)), replace=False))
    piece = cut(data, np.sort(np.concatenate(chosen)))
    piece.save(target)
    log2 = int((piece.readout == LOG2_READOUT).sum())
    print(f"{len(piece)} rows ({log2} at level 3), {len(piece.drug_keys)} drugs, {piece.cells}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
