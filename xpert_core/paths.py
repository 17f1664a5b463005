"""Where things live: shipped assets, the user's data folder, the feature cache."""

from __future__ import annotations

import os
from pathlib import Path


def assets_dir() -> Path:
    """Folder of the shipped assets (``XPERT_ASSETS`` overrides it).

    In a checkout it stands beside the package; in a wheel it is bundled inside it.
    """
    override = os.environ.get("XPERT_ASSETS")
    if override:
        return Path(override)
    package = Path(__file__).resolve().parent
    bundled = package / "assets"
    return bundled if bundled.is_dir() else package.parent / "assets"


def data_dir() -> Path:
    """The user's data folder: database, arrays (``XPERT_DATA_DIR`` overrides it)."""
    override = os.environ.get("XPERT_DATA_DIR")
    if override:
        return Path(override)
    from platformdirs import user_data_path

    return user_data_path("xpert", appauthor=False)


def cache_dir() -> Path:
    """Folder of what can be computed again (``XPERT_CACHE_DIR`` overrides it)."""
    override = os.environ.get("XPERT_CACHE_DIR")
    if override:
        return Path(override)
    from platformdirs import user_cache_path

    return user_cache_path("xpert", appauthor=False)
