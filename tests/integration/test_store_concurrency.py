"""Many threads and processes at one store; a process killed between file and row."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from model_data import tiny_checkpoint
from sqlalchemy import select
from sqlalchemy.orm import Session
from store_data import (
    assert_same_prediction,
    assert_same_profiles,
    melanoma_prediction,
    melanoma_profiles,
)

from xpert_core.model.bundle import export_bundle
from xpert_core.model.checkpoint import load_checkpoint
from xpert_core.store import Store
from xpert_core.store.engine import make_engine, resolve_url
from xpert_core.store.models import ModelRow

START_AND_SAVE = """
import sys
from store_data import melanoma_prediction, melanoma_profiles
from xpert_core.store import Store
sys.stdin.readline()  # all start at the same moment
store = Store(sys.argv[1])
shared = store.save_cohort(melanoma_profiles())
store.register_model("l1000-cpu", "d" * 64, {})
for i in range(5):
    run = store.save_prediction(melanoma_prediction(), shared, title=f"{sys.argv[2]} {i}")
    store.load_prediction(run)
print(shared)
"""

IMPORT = """
import sys
from pathlib import Path
from xpert_core.store import Store
import xpert_core.model.bundle
sys.stdin.readline()  # all start at the same moment
store = Store(sys.argv[1])
print(store.registry.import_(Path(sys.argv[2]), sys.argv[3]))
"""

KEEP_IMPORTING = """
import sys
from pathlib import Path
from xpert_core.store import Store
store = Store(sys.argv[1])
store.registry.import_(Path(sys.argv[2]))
print("imported", flush=True)
while True:
    store.registry.delete(store.registry.import_(Path(sys.argv[2])))
"""

SAVE = """
import sys
from store_data import melanoma_prediction
from xpert_core.store import Store
store = Store(sys.argv[1])
print("open", flush=True)
store.save_prediction(melanoma_prediction(), None)
"""


def child(script: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", script, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'xpert.db'}"


def test_a_value_read_and_then_changed_is_never_lost(url: str) -> None:
    store = Store(url)
    model_id = store.register_model("counter", "c" * 64, {"n": 0})
    engine = make_engine(resolve_url(url))

    def count(_: int) -> None:
        for _ in range(20):
            with Session(engine) as session, session.begin():
                row = session.scalars(select(ModelRow).where(ModelRow.id == model_id)).one()
                row.card = {"n": row.card["n"] + 1}

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(count, range(8)))
    assert store.models().loc[model_id, "card"] == {"n": 160}
    engine.dispose()
    store.close()


def test_threads_save_load_list_and_delete_together(url: str) -> None:
    store = Store(url)
    prediction = melanoma_prediction()
    profiles = melanoma_profiles()

    def work(number: int) -> tuple[str, str]:
        cohort_id = store.save_cohort(profiles)
        kept = store.save_prediction(prediction, cohort_id, title=f"kept {number}")
        gone = store.save_prediction(prediction, cohort_id, title=f"gone {number}")
        assert {kept, gone} <= set(store.runs().index)
        assert_same_prediction(store.load_prediction(kept), prediction)
        store.delete_run(gone)
        store.sweep_orphans()
        return cohort_id, kept

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(work, range(24)))
    assert len({cohort_id for cohort_id, _ in results}) == 1
    assert set(store.runs().index) == {kept for _, kept in results}
    assert len(list(store.arrays_folder.iterdir())) == 1 + 24
    assert_same_profiles(store.load_cohort(results[0][0]), profiles)
    store.close()


def test_processes_that_start_together_share_one_new_database(url: str) -> None:
    children = [child(START_AND_SAVE, url, str(i)) for i in range(4)]
    outputs = []
    for process in children:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in children:
        output, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
        outputs.append(output.strip())
    store = Store(url)
    assert len(set(outputs)) == 1
    assert store.cohorts().index.tolist() == outputs[:1]
    assert len(store.runs()) == 20
    assert len(store.models()) == 1
    assert len(list(store.arrays_folder.iterdir())) == 21
    assert store.sweep_orphans(grace_s=0) == 0
    store.close()


def test_a_kill_between_file_and_row_leaves_an_orphan_that_is_swept(url: str) -> None:
    store = Store(url)
    kept = store.save_prediction(melanoma_prediction(), None)
    (kept_file,) = store.arrays_folder.iterdir()
    # While this lock is held the child can write its file, but not its row.
    holder = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    process = child(SAVE, url)
    deadline = time.monotonic() + 60
    while not (new := [p for p in store.arrays_folder.glob("*.npz") if p != kept_file]):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "the child wrote no file"
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    holder.execute("ROLLBACK")
    holder.close()
    assert store.runs().index.tolist() == [kept]
    assert store.sweep_orphans() == 0
    assert store.sweep_orphans(grace_s=0) == 1
    assert not new[0].exists()
    assert_same_prediction(store.load_prediction(kept), melanoma_prediction())
    store.close()


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    tiny_checkpoint(tmp_path / "tiny")
    export_bundle(tmp_path / "tiny", tmp_path / "tiny.xpert")
    return tmp_path / "tiny.xpert"


def test_processes_that_import_one_file_together_keep_it_once(url: str, bundle: Path) -> None:
    children = [child(IMPORT, url, str(bundle), "a") for _ in range(2)]
    for process in children:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    outputs = []
    for process in children:
        output, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
        outputs.append(output.strip())
    store = Store(url)
    assert outputs[0] == outputs[1]
    assert [p.name for p in store.registry.folder.iterdir()] == outputs[:1]
    assert load_checkpoint(store.registry.get(outputs[0]).folder).meta.name == "tiny"
    assert len(store.models()) == 1
    store.close()


def test_threads_that_take_the_same_name_get_names_of_their_own(url: str, tmp_path: Path) -> None:
    store = Store(url)
    for seed in range(4):
        tiny_checkpoint(tmp_path / f"made{seed}", name="same", seed=seed)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda seed: store.registry.register(tmp_path / f"made{seed}"), range(4)))
    names = {model.name for model in store.registry.list() if model.owner}
    assert names == {"same", "same (2)", "same (3)", "same (4)"}
    store.close()


def test_an_import_killed_at_any_moment_leaves_no_half_model(url: str, bundle: Path) -> None:
    store = Store(url)
    process = child(KEEP_IMPORTING, url, str(bundle))
    assert process.stdout is not None
    assert process.stdout.readline().strip() == "imported", process.communicate()
    time.sleep(0.5)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    for model in store.registry.list():
        assert load_checkpoint(model.folder).digest == model.digest
    store.sweep_orphans(grace_s=0)
    named = {model.id for model in store.registry.list() if model.owner}
    assert {p.name for p in store.registry.folder.iterdir()} == named
    store.close()
