"""Batches whose rows share control profiles, so that the base branch runs few times."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np


class ProfileGroupedBatches:
    """Batches made of chunks of rows with one control profile each.

    Parameters
    ----------
    profile_index : ndarray of int64, shape (N,)
        Control profile of every row of the data.
    rows : ndarray of int64
        Rows to draw from.
    batch_rows, chunk_rows : int
        Rows a batch; rows of one profile that stay together. A batch sees about
        ``batch_rows / chunk_rows`` profiles.
    seed : int
        The order of an epoch depends on this and on the epoch alone, so a resumed run repeats it.
    """

    def __init__(
        self,
        profile_index: np.ndarray,
        rows: np.ndarray,
        *,
        batch_rows: int,
        chunk_rows: int,
        seed: int,
    ) -> None:
        self.rows = rows
        self.batch_rows = batch_rows
        self.chunk_rows = chunk_rows
        self.seed = seed
        order = np.argsort(profile_index[rows], kind="stable")
        _, starts = np.unique(profile_index[rows][order], return_index=True)
        self.groups = np.split(rows[order], starts[1:])

    def epoch(self, number: int) -> Iterator[np.ndarray]:
        """Row numbers of each batch of an epoch; every row occurs once."""
        rng = np.random.default_rng([self.seed, number])
        chunks = []
        for group in self.groups:
            shuffled = rng.permutation(group)
            chunks += [
                shuffled[i : i + self.chunk_rows] for i in range(0, len(group), self.chunk_rows)
            ]
        rng.shuffle(chunks)
        stream = np.concatenate(chunks)
        for i in range(0, len(stream), self.batch_rows):
            yield stream[i : i + self.batch_rows]

    def n_batches(self) -> int:
        """Batches an epoch."""
        return -(-len(self.rows) // self.batch_rows)
