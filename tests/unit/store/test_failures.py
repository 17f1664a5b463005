"""Full disk, read-only, locked, damaged: a clear sentence, and nothing stored by half."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from filelock import FileLock
from store_data import assert_same_profiles, melanoma_prediction, melanoma_profiles

from xpert_core.errors import StoreError
from xpert_core.store import Store

UNTIL_THE_LIMIT = """
import dataclasses, resource, sys
import numpy as np
from store_data import melanoma_profiles
from xpert_core.errors import StoreError
from xpert_core.store import Store

url, what, limit = sys.argv[1], sys.argv[2], int(sys.argv[3])
store = Store(url)
store.save_cohort(melanoma_profiles(60))
big = melanoma_profiles(900)
if what == "rows":  # numbers that compress to nothing, but megabytes of text in the rows
    letters = np.random.default_rng(0).choice(list("ACGT"), (len(big), 40_000))
    samples = big.samples.assign(note=["".join(row) for row in letters])
    big = dataclasses.replace(big, samples=samples, x_ctl=np.zeros_like(big.x_ctl))
_, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
try:
    store.save_cohort(big)
except StoreError as error:
    print(error)
else:
    sys.exit("saved beyond the limit")
files = sorted(path.name for path in store.arrays_folder.iterdir())
assert len(files) == len(store.cohorts()) == 1, files
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
store.save_cohort(big)
assert len(store.cohorts()) == len(list(store.arrays_folder.iterdir())) == 2
"""


@pytest.mark.parametrize(("what", "limit"), [("arrays", 60_000), ("rows", 600_000)])
def test_a_full_disk_is_explained_and_stores_nothing(url: str, what: str, limit: int) -> None:
    # A real limit on the size of files: writing beyond it fails like writing to a full disk.
    child = subprocess.run(
        [sys.executable, "-c", UNTIL_THE_LIMIT, url, what, str(limit)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        check=False,
    )
    assert child.returncode == 0, child.stderr
    assert "could not be s" in child.stdout
    assert "full" in child.stdout
    assert "How to fix: Free some disk space" in child.stdout


def test_a_read_only_database_is_explained_and_still_readable(store: Store, url: str) -> None:
    profiles = melanoma_profiles()
    cohort_id = store.save_cohort(profiles)
    path = url.removeprefix("sqlite:///")
    locked = Store(f"sqlite:///file:{path}?mode=ro&uri=true")
    assert locked.arrays_folder == store.arrays_folder
    assert_same_profiles(locked.load_cohort(cohort_id), profiles)
    for operation in (
        lambda: locked.save_cohort(melanoma_profiles(60)),
        lambda: locked.save_prediction(melanoma_prediction(), cohort_id),
        lambda: locked.delete_cohort(cohort_id),
        lambda: locked.register_model("m", "e" * 64, {}),
    ):
        with pytest.raises(StoreError, match="read-only") as caught:
            operation()
        assert path in caught.value.where
        assert "XPERT_DATA_DIR" in caught.value.fix
    assert len(list(store.arrays_folder.iterdir())) == 1
    assert list(store.cohorts().index) == [cohort_id]
    locked.close()


@contextmanager
def ordinary_user() -> Iterator[None]:
    """Permissions do not bind root: act as nobody for a while."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def shared_folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="xpert-store-"))  # pytest's own is closed to others
    folder.chmod(0o755)
    yield folder
    folder.chmod(0o755)
    shutil.rmtree(folder)


def test_a_folder_without_write_permission_is_explained(shared_folder: Path) -> None:
    store = Store(f"sqlite:///{shared_folder / 'xpert.db'}")
    store.save_cohort(melanoma_profiles())
    shared_folder.chmod(0o555)
    store.close()
    with ordinary_user():
        for path in (shared_folder / "xpert.db", shared_folder / "new" / "xpert.db"):
            with pytest.raises(StoreError, match=r"read-only|cannot be opened") as caught:
                Store(f"sqlite:///{path}").save_cohort(melanoma_profiles(60))
            assert str(path) in caught.value.where
            assert caught.value.fix


def test_an_array_folder_without_write_permission_is_explained(store: Store, url: str) -> None:
    cohort_id = store.save_cohort(melanoma_profiles())
    # A file in the way of the folder stops root as well.
    moved = store.arrays_folder.with_name("elsewhere")
    store.arrays_folder.rename(moved)
    store.arrays_folder.write_text("in the way")
    with pytest.raises(StoreError, match=r"cannot be used: .* cannot be opened") as caught:
        store.save_prediction(melanoma_prediction(), cohort_id)
    assert str(store.arrays_folder) in caught.value.where
    assert store.runs().empty
    with pytest.raises(StoreError, match="cannot be opened"):
        Store(url)
    store.arrays_folder.unlink()
    moved.rename(store.arrays_folder)
    store.save_prediction(melanoma_prediction(), cohort_id)


def test_a_data_folder_that_is_a_file_is_explained(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file")
    with pytest.raises(StoreError, match="cannot be opened") as caught:
        Store(f"sqlite:///{tmp_path / 'data' / 'xpert.db'}")
    assert "is a folder" in caught.value.fix


def test_a_database_that_is_a_folder_is_explained(tmp_path: Path) -> None:
    (tmp_path / "xpert.db").mkdir()
    with pytest.raises(StoreError, match="cannot be opened"):
        Store(f"sqlite:///{tmp_path / 'xpert.db'}")


def test_a_locked_database_can_be_read_and_is_explained_on_writing(url: str) -> None:
    store = Store(url, timeout_s=0.2)
    cohort_id = store.save_cohort(melanoma_profiles())
    other = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    assert len(store.load_cohort(cohort_id)) == 51
    with pytest.raises(StoreError, match="another program is using the database") as caught:
        store.save_prediction(melanoma_prediction(), cohort_id)
    assert "try again" in caught.value.fix
    assert len(list(store.arrays_folder.iterdir())) == 1
    other.execute("ROLLBACK")
    other.close()
    store.save_prediction(melanoma_prediction(), cohort_id)
    store.close()


def test_a_database_being_prepared_by_another_process_is_explained(url: str) -> None:
    file = Path(url.removeprefix("sqlite:///"))
    file.parent.mkdir()
    with FileLock(f"{file}.lock"), pytest.raises(StoreError, match="another program is using"):
        Store(url, timeout_s=0.2)
    Store(url, timeout_s=0.2).close()


def test_a_file_that_is_no_database_is_explained_and_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "xpert.db"
    file.write_bytes(b"patient,gene\n" * 1000)
    with pytest.raises(StoreError, match="damaged or is not a database") as caught:
        Store(f"sqlite:///{file}")
    assert str(file) in caught.value.where
    assert "backup" in caught.value.fix
    assert file.read_bytes() == b"patient,gene\n" * 1000


def test_a_damaged_database_is_explained(store: Store, url: str) -> None:
    cohort_id = store.save_cohort(melanoma_profiles())
    store.close()
    file = Path(url.removeprefix("sqlite:///"))
    content = file.read_bytes()
    file.write_bytes(content[:8192] + os.urandom(len(content) - 8192))
    with pytest.raises(StoreError, match="damaged"):
        Store(url).load_cohort(cohort_id)


def test_a_server_that_does_not_answer_is_explained() -> None:
    pytest.importorskip("psycopg", reason="the PostgreSQL driver is not installed")
    with pytest.raises(StoreError, match="did not answer") as caught:
        Store("postgresql://anna:s3cret@127.0.0.1:1/xpert", timeout_s=2)
    assert "s3cret" not in str(caught.value)
