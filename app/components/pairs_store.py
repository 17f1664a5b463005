"""Paired cohorts in the database, as shown in a selector."""

from __future__ import annotations

import pandas as pd

from app.components.text import count, local_time


def pairs_labels(table: pd.DataFrame) -> dict[str, str]:
    """Name, size and date of each stored paired cohort, by id."""
    return {
        str(key): f"{row['name']} ({count(row['n_pairs'], 'pair')}, "
        f"stored {local_time(row['created_at'])})"
        for key, row in table.iterrows()
    }
