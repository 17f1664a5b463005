"""Biological vectors of the training drugs, made ahead: training needs torch and numpy alone.

`training/prepare_biology.py` writes them with the knowledge graph's encoder. There are two tables:
in `informed` every drug is placed by all that is known of it; in `strict` the target edges of the
held-out drugs are removed, as for a drug that nobody has studied. The encoder itself saw the
target edges of no held-out drug.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

from xpert_core.errors import DataError
from xpert_core.files import atomic_path

MODES = ("strict", "informed")


@dataclass(frozen=True)
class Biology:
    """Vectors of the drugs of one training set.

    Attributes
    ----------
    drug_keys : tuple of str
        As in `xpert_core.tokens.dataset.TrainingData`.
    strict, informed : ndarray of float32, shape (D, width)
        Unit vectors; zeros where the graph cannot place a drug.
    held_out : tuple of str
        Keys of the drugs whose target edges the encoder never saw, sorted.
    digest : str
        SHA-256 of the graph encoder.
    """

    drug_keys: tuple[str, ...]
    strict: np.ndarray
    informed: np.ndarray
    held_out: tuple[str, ...]
    digest: str

    def save(self, path: Path) -> None:
        """Write to one safetensors file, atomically."""
        header = {name: json.dumps(getattr(self, name)) for name in ("drug_keys", "held_out")}
        with atomic_path(path) as temporary:
            save_file(
                {mode: np.ascontiguousarray(getattr(self, mode)) for mode in MODES},
                temporary,
                {**header, "digest": self.digest},
            )

    @classmethod
    def load(cls, path: Path) -> Biology:
        """Read what `save` wrote.

        Raises
        ------
        DataError
            If the file is missing or is something else.
        """
        try:
            with safe_open(path, "np") as stream:
                header = stream.metadata() or {}
                values: dict[str, Any] = {mode: stream.get_tensor(mode) for mode in MODES}
            values |= {n: tuple(json.loads(header[n])) for n in ("drug_keys", "held_out")}
            return cls(**values, digest=header["digest"])
        except Exception as error:
            raise DataError(
                "The biological vectors cannot be read.",
                where=f"{Path(path).name}: {error}",
                fix="Prepare them again with training/prepare_biology.py.",
            ) from error

    def check(self, drug_keys: tuple[str, ...], held_out: tuple[str, ...]) -> None:
        """Refuse vectors of other drugs, or of an encoder that saw targets of held-out drugs.

        Parameters
        ----------
        drug_keys : tuple of str
            Drugs of the training data.
        held_out : tuple of str
            Drugs whose targets nothing may know; empty where they may be known.

        Raises
        ------
        DataError
        """
        fix = "Prepare them again with training/prepare_biology.py."
        if self.drug_keys != drug_keys:
            raise DataError("The biological vectors are those of other drugs.", fix=fix)
        seen = sorted(set(held_out) - set(self.held_out))
        if seen:
            raise DataError(
                f"The graph encoder saw the targets of {len(seen)} held-out drug(s).",
                where=f"first: {seen[0]}",
                fix=fix,
            )
