"""Predictions that a benchmark keeps, for figures of single genes and for averages over seeds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from xpert_core.errors import DataError
from xpert_core.files import atomic_path


@dataclass(frozen=True)
class Predictions:
    """What a model of one task predicts.

    Attributes
    ----------
    rows : ndarray of int64, shape (N,)
        Test rows of the data.
    x_deg : ndarray of float32, shape (N, G)
        In units of each row's read-out.
    valid_rows : ndarray of int64, shape (V,)
        Validation rows: what choices between models are made on.
    valid_x_deg : ndarray of float32, shape (V, G)
    """

    rows: np.ndarray
    x_deg: np.ndarray
    valid_rows: np.ndarray
    valid_x_deg: np.ndarray

    @staticmethod
    def path(task: Path) -> Path:
        """File beside the others of a task."""
        return task.with_name(f"{task.name}.predictions.npz")

    def save(self, path: Path) -> None:
        """Write atomically."""
        with atomic_path(path) as temporary, temporary.open("wb") as stream:
            np.savez_compressed(stream, **vars(self))

    @classmethod
    def load(cls, path: Path | None) -> Predictions:
        """Read what `save` wrote.

        Raises
        ------
        DataError
            When the file is missing or damaged.
        """
        try:
            if path is None:
                raise FileNotFoundError("no file")
            with np.load(path, allow_pickle=False) as stream:
                return cls(**{name: stream[name] for name in cls.__dataclass_fields__})
        except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
            raise DataError(
                "Stored predictions of the benchmark cannot be read.",
                where=f"{'' if path is None else path.name}: {str(error)[:200]}",
                fix="Delete the files of this task and run the same command again.",
            ) from error
