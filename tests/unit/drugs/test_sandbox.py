"""Sandbox: limits hold, errors arrive unchanged, a child is reused and replaced."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from xpert_core.drugs import _messages, _worker, sandbox
from xpert_core.drugs.conformers import embed_here
from xpert_core.drugs.records import Drug
from xpert_core.errors import DrugError

# A long peptide on a ring system of impossible stereochemistry: every attempt to embed it fails.
SLOW = "CN1[C@@H]2CC[C@@H]1CC(OC(=O)" + "C(C)C(=O)N" * 18 + "C)C2"


@pytest.fixture
def worker():
    child = sandbox.Worker()
    yield child
    child.close()


def test_child_is_reused(worker):
    pid = worker.pid
    worker.run(embed_here, "CCO", None, timeout_s=20)
    fields = worker.run(embed_here, "CCO", None, timeout_s=20)
    assert worker.pid == pid and worker.alive and fields["coordinates"].shape == (9, 3)


def test_errors_of_the_child_arrive_unchanged(worker):
    with pytest.raises(DrugError) as here:
        embed_here("C1CC", None)
    with pytest.raises(DrugError) as there:
        worker.run(embed_here, "C1CC", None, timeout_s=20)
    assert str(there.value) == str(here.value) and type(there.value) is DrugError
    assert worker.alive


def test_time_limit_kills_the_child(worker):
    started = time.perf_counter()
    with pytest.raises(sandbox.LimitError, match="too long") as caught:
        worker.run(embed_here, SLOW, None, timeout_s=0.2)
    assert time.perf_counter() - started < 5 and not worker.alive
    assert "limit 0.2 s" in caught.value.where and caught.value.fix
    with pytest.raises(ProcessLookupError):
        os.kill(worker.pid, 0)


def test_after_a_kill_the_next_call_works():
    with pytest.raises(sandbox.LimitError):
        sandbox.run_limited(embed_here, SLOW, None, timeout_s=0.1)
    fields = sandbox.run_limited(embed_here, "CCO", None, timeout_s=20)
    assert fields["charge"] == 0


def test_death_of_the_child_is_a_clear_error(worker):
    killer = threading.Timer(0.3, os.kill, (worker.pid, signal.SIGKILL))
    killer.start()
    with pytest.raises(sandbox.LimitError, match="ended without an answer"):
        worker.run(embed_here, SLOW, None, timeout_s=60)
    killer.join()
    assert not worker.alive


def test_child_that_died_idle_is_replaced():
    sandbox.warm_up()
    for idle in list(sandbox._pool._idle):
        os.kill(idle.pid, signal.SIGKILL)
        while idle.alive:
            time.sleep(0.01)
    fields = sandbox.run_limited(embed_here, "CO", None, timeout_s=20)
    assert fields["symbols"][:2] == ("C", "O")


@pytest.mark.skipif(sys.platform != "linux", reason="address space limits are Linux's")
def test_memory_limit_holds():
    child = sandbox.Worker(memory_bytes=300 * 1024**2)
    try:
        with pytest.raises(sandbox.LimitError, match="memory"):
            child.run(embed_here, "C" * 150_000_000, timeout_s=60)
    finally:
        child.close()


def test_only_own_functions_and_plain_values_pass(worker):
    with pytest.raises(TypeError, match="not a top-level function"):
        worker.run(os.system, "true", timeout_s=1)
    with pytest.raises(TypeError, match="not a top-level function"):
        _worker._find("os:system")
    with pytest.raises(TypeError, match="cannot be sent"):
        sandbox.run_limited(embed_here, object(), None, timeout_s=1)
    with pytest.raises(DrugError, match="unexpected problem") as caught:
        worker.run(embed_here, 5, None, timeout_s=20)
    assert worker.alive and "Error" in caught.value.where


def test_messages_keep_every_kind_of_value():
    values = {
        "text": "é\n", "none": None, "float": float("inf"), "tuple": (1, ("a",)), "flag": True,
        "drug": Drug("x", "CCO", "KEY", targets=("A", "B"), notes=("salt removed",)),
        "array": np.arange(6, dtype=np.float32).reshape(2, 3), "list": [1.5, {"k": []}],
    }  # fmt: skip
    read, write = os.pipe()
    with os.fdopen(read, "rb", buffering=0) as source, os.fdopen(write, "wb", buffering=0) as sink:
        _messages.write_message(sink, values)
        back = _messages.read_message(source)
    assert back is not None
    array = back.pop("array")
    assert array.dtype == np.float32 and np.array_equal(array, values.pop("array"))
    assert {**back, "drug": None} == {**values, "drug": None}
    assert back["drug"].targets == ("A", "B") and back["drug"].smiles == "CCO"


def test_threads_share_the_children():
    answers: dict[str, int] = {}

    def work(smiles: str) -> None:
        fields = sandbox.run_limited(embed_here, smiles, None, timeout_s=30)
        answers[smiles] = int(fields["heavy"].sum())

    expected = {"C" * n: n for n in range(1, 9)}
    threads = [threading.Thread(target=work, args=(smiles,)) for smiles in expected]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == expected
    assert len(sandbox._pool._idle) <= sandbox.MAX_CHILDREN


def test_main_script_is_not_run_again(tmp_path):
    marker = tmp_path / "runs"
    script = tmp_path / "page.py"
    script.write_text(
        f"open({str(marker)!r}, 'a').write('run\\n')\n"
        "from xpert_core.drugs.conformers import embed\n"
        "print(embed('CCO').charge)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    done = subprocess.run(
        [sys.executable, str(script)], env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "0" and marker.read_text() == "run\n"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_forked_process_starts_its_own_child():
    sandbox.warm_up()
    parents = {worker.pid for worker in sandbox._pool._idle}
    pid = os.fork()
    if pid == 0:
        ok = not sandbox._pool._idle
        sandbox.run_limited(embed_here, "CO", None, timeout_s=60)
        ok = ok and not parents & {worker.pid for worker in sandbox._pool._idle}
        sandbox._pool.close()
        os._exit(0 if ok else 1)
    assert os.waitpid(pid, 0)[1] == 0
    assert sandbox.run_limited(embed_here, "CO", None, timeout_s=20)["charge"] == 0
