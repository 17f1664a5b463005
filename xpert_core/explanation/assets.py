"""The small tables that explanations are read beside."""

from __future__ import annotations

import pandas as pd

from xpert_core.errors import DataError
from xpert_core.paths import assets_dir


def read_asset(name: str) -> pd.DataFrame:
    """A table of assets/explanation; blank cells are "".

    Raises
    ------
    DataError
        If it is missing or damaged.
    """
    path = assets_dir() / "explanation" / name
    try:
        return pd.read_csv(path, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise DataError(
            "A table that comes with the program is missing or damaged.",
            where=f"assets/explanation/{name} ({type(error).__name__})",
            fix="Install XPert again.",
        ) from error
