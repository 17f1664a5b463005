"""One test run never touches the user's own data, and leaves nothing behind."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from pathlib import Path

# Set while this file is imported: before any test module imports the engine or torch.
_room = Path(tempfile.mkdtemp(prefix="xpert-tests-"))
atexit.register(shutil.rmtree, _room, ignore_errors=True)
os.environ["XPERT_DATA_DIR"] = str(_room / "data")
os.environ["XPERT_CACHE_DIR"] = str(_room / "cache")
for _name in ("XPERT_ASSETS", "XPERT_DATABASE_URL"):
    os.environ.pop(_name, None)

# Two threads for a lone run; one a worker when pytest-xdist runs several side by side.
_threads = "1" if "PYTEST_XDIST_WORKER" in os.environ else "2"
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS"):
    os.environ[_name] = _threads
# Nothing may be fetched while tests run.
os.environ["HF_HUB_OFFLINE"] = "1"
