"""``xpert app`` serves the dashboard and a worker, with the project's settings, from any folder."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from job_workers import until

from xpert_core.cli.app import _go_to, dashboard_script, default_workers
from xpert_core.store import Store

pytest.importorskip("streamlit")


def free_port() -> int:
    """Return a port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until_healthy(port: int, process: subprocess.Popen[str], limit_s: float = 60) -> None:
    """Return when the server answers; fail when it ends or does not answer in time."""
    end = time.monotonic() + limit_s
    while time.monotonic() < end:
        assert process.poll() is None, "the dashboard ended"
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health", timeout=2) as r:
                assert r.read() == b"ok"
                return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.2)
    raise AssertionError("the dashboard did not answer")


@pytest.mark.parametrize(
    ("address", "kept"),
    [
        ("sqlite:///mine.db", "sqlite:///{here}/mine.db"),
        ("sqlite+pysqlite:///data/mine.db", "sqlite+pysqlite:///{here}/data/mine.db"),
        ("sqlite:////srv/mine.db", "sqlite:////srv/mine.db"),
        ("sqlite:///:memory:", "sqlite:///:memory:"),
        ("postgresql:///mine", "postgresql:///mine"),
    ],
)
def test_the_database_stays_where_the_user_meant_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str, kept: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XPERT_DATABASE_URL", address)
    (tmp_path / "project").mkdir()
    _go_to(tmp_path / "project")
    assert os.environ["XPERT_DATABASE_URL"] == kept.format(here=tmp_path)


@pytest.mark.parametrize(("cores", "workers"), [(1, 1), (2, 2), (16, 2)])
def test_two_workers_where_two_cores_may_be_used(
    monkeypatch: pytest.MonkeyPatch, cores: int, workers: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)), raising=False)
    assert default_workers() == workers


def test_serves_from_another_folder_and_stops_when_told(tmp_path: Path) -> None:
    port = free_port()
    project = dashboard_script().parent.parent
    environment = {**os.environ, "PYTHONPATH": str(project), "XPERT_DATA_DIR": "data"}
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "from xpert_core.cli import main; main()",
            "app",
            "--port",
            str(port),
            "--workers",
            "2",
        ],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        wait_until_healthy(port, process)
        store = Store(f"sqlite:///{tmp_path / 'data' / 'xpert.db'}")
        until(lambda: len(store.claims.workers()) == 2)
    finally:
        # To this process alone: a child left behind would keep the pipe open and the port taken.
        process.terminate()
        output, _ = process.communicate(timeout=30)
    assert store.claims.workers() == []
    store.close()
    assert f"http://127.0.0.1:{port}" in output
    assert "Traceback" not in output
    # Streamlit says this unless the project's settings, in another folder, were read.
    assert "usage statistics" not in output
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0
