"""Predicted profiles that a task kept beside its scores."""

from __future__ import annotations

import zipfile

import numpy as np

from xpert_core.benchmark.runner import Finished
from xpert_core.errors import DataError


def predictions_of(finished: Finished) -> tuple[np.ndarray, np.ndarray] | None:
    """What a task predicted.

    Parameters
    ----------
    finished : Finished

    Returns
    -------
    rows : ndarray of int64, shape (N,)
        Numbers of the rows of the data.
    x_deg : ndarray of float32, shape (N, G)
        Predicted change, in units of each row's read-out. None in place of both where the task
        kept no predictions.

    Raises
    ------
    DataError
        When the file is damaged or holds something else.
    """
    path = finished.predictions
    if path is None:
        return None
    try:
        with np.load(path, allow_pickle=False) as stored:
            rows, x_deg = stored["rows"].astype(np.int64), stored["x_deg"].astype(np.float32)
        if rows.ndim != 1 or x_deg.ndim != 2 or len(rows) != len(x_deg):
            raise ValueError(f"rows {rows.shape}, x_deg {x_deg.shape}")
    except (OSError, ValueError, KeyError, zipfile.BadZipFile, EOFError) as error:
        raise DataError(
            "The stored predictions of a task cannot be read.",
            where=f"{path.name}: {str(error)[:200]}",
            fix="Delete the task's three files and run the same command again.",
        ) from error
    return rows, x_deg
