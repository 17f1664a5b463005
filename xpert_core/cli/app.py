"""``xpert app``: serves the dashboard on this machine."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from xpert_core.cli.interrupt import raise_waiting
from xpert_core.errors import XPertError


def dashboard_script() -> Path:
    """Return the entry script of the dashboard.

    Raises
    ------
    XPertError
        When this installation holds no dashboard.
    """
    script = Path(__file__).resolve().parents[2] / "app" / "main.py"
    if not script.is_file():
        raise XPertError(
            "The dashboard is not part of this installation.",
            where=str(script),
            fix="Install XPert from its repository with the extra named app.",
        )
    return script


def app(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to serve on.")] = 8501,
    host: Annotated[
        str, typer.Option(help="Address to serve on; the default is this machine only.")
    ] = "127.0.0.1",
    worker: Annotated[
        bool, typer.Option("--worker/--no-worker", help="Also work on background jobs.")
    ] = True,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1, help="Jobs at a time; by default 2, or 1 where there is one processor core."
        ),
    ] = None,
) -> None:
    """Serve the dashboard, with workers for its background jobs.

    Open the address it prints in a browser; Ctrl-C stops them all.
    """
    from importlib.util import find_spec

    script = dashboard_script()
    if find_spec("streamlit") is None:
        raise XPertError(
            "Streamlit, which draws the dashboard, is not installed.",
            fix='Run: pip install "xpert[app]"',
        )
    _go_to(script.parents[1])
    raise_waiting()  # it would be lost with this process
    if worker:
        for _ in range(workers or default_workers()):
            _start_worker()
    print(f"XPert dashboard: http://{host}:{port} (Ctrl-C stops it)", flush=True)
    command = [sys.executable, "-m", "streamlit", "run", str(script)]
    settings = ["--server.port", str(port), "--server.address", host, "--server.headless", "true"]
    # Streamlit takes this process over, so that a signal reaches it and no child is left behind.
    os.execv(sys.executable, command + settings)


def default_workers() -> int:
    """Two, so that a short job does not wait for a long one, where two cores may be used."""
    usable = getattr(os, "sched_getaffinity", None)
    cores = len(usable(0)) if usable else os.cpu_count() or 1
    return min(2, cores)


def _start_worker() -> None:
    """Start a worker that ends with this process, which becomes that of Streamlit."""
    program = "from xpert_core.cli import main; main()"
    subprocess.Popen(
        [sys.executable, "-c", program, "worker", "--beside", str(os.getpid())],
        stdin=subprocess.DEVNULL,
    )


def _go_to(project: Path) -> None:
    """Make the project the working folder: Streamlit reads its settings from there."""
    for name in ("XPERT_DATA_DIR", "XPERT_CACHE_DIR", "XPERT_ASSETS"):
        if name in os.environ:
            os.environ[name] = str(Path(os.environ[name]).resolve())
    address = os.environ.get("XPERT_DATABASE_URL", "")
    scheme, slashes, file = address.partition(":///")
    if scheme.startswith("sqlite") and slashes and file and file != ":memory:":
        os.environ["XPERT_DATABASE_URL"] = f"{scheme}:///{Path(file).resolve()}"
    os.chdir(project)
