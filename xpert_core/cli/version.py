"""``xpert version``."""

from __future__ import annotations

import platform
from importlib import metadata

import xpert_core


def version() -> None:
    """Show versions.

    Those of XPert and of the libraries that decide its numbers.
    """
    print(f"xpert {xpert_core.__version__}")
    print(f"python {platform.python_version()}")
    for library in ("torch", "numpy", "pandas", "rdkit", "anndata"):
        print(f"{library} {metadata.version(library)}")
