"""Sums on disk: their space is taken at once, a full disk is told, lost sums are not zeros."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from processes import room_for

from xpert_core.errors import DataError
from xpert_core.preparation.disk import DiskRows, Work

SHAPE = (512, 978)
SIZE = 512 * 978 * 8


@pytest.fixture(params=["system call", "by hand"])
def reserving(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways of taking space: the second one where the system has no call for it."""
    if request.param == "by hand":
        monkeypatch.delattr(os, "posix_fallocate", raising=False)
    elif not hasattr(os, "posix_fallocate"):
        pytest.skip("this system has no posix_fallocate")
    return str(request.param)


def test_sums_are_zeros_with_all_of_their_space(tmp_path: Path, reserving: str) -> None:
    rows = DiskRows(tmp_path / "x.f64", SHAPE)
    assert rows.values.shape == SHAPE and not rows.values.any()
    found = (tmp_path / "x.f64").stat()
    assert found.st_size == SIZE and found.st_blocks * 512 >= SIZE, "no hole"
    rows.values[3] = 7
    rows.sync()
    again = DiskRows(tmp_path / "x.f64", SHAPE)
    assert again.values[3].tolist() == [7] * 978 and again.values.sum() == 7 * 978


def test_a_disk_without_room_is_told_and_nothing_stays(tmp_path: Path, reserving: str) -> None:
    with room_for(SIZE - 1), pytest.raises(DataError, match="do not fit on the disk") as caught:
        DiskRows(tmp_path / "x.f64", SHAPE)
    assert "0.00401 GB are needed" in caught.value.where and "another disk" in caught.value.fix
    assert not list(tmp_path.iterdir())
    with room_for(SIZE):
        assert not DiskRows(tmp_path / "x.f64", SHAPE).values.any()


@pytest.mark.parametrize("damage", ["lost", "cut off"])
def test_lost_sums_are_refused_once_something_was_added(tmp_path: Path, damage: str) -> None:
    work = Work(tmp_path / ".work", "a")
    sums = work.rows("x", SHAPE, "treated")
    path = tmp_path / ".work" / "x.f64"
    path.unlink()
    sums = work.rows("x", SHAPE, "treated")  # nothing was in it yet
    work.add("treated", 0, [(sums, np.array([2]), np.ones((1, 978)))])
    assert Work(tmp_path / ".work", "a").rows("x", SHAPE, "treated").values.sum() == 978
    if damage == "lost":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[: SIZE // 2])
    again = Work(tmp_path / ".work", "a")
    with pytest.raises(DataError, match="are lost") as caught:
        again.rows("x", SHAPE, "treated")
    assert "x.f64, after 1 blocks" in caught.value.where and ".work" in caught.value.fix
    assert not again.rows("controls", SHAPE, "vehicle").values.any(), "another phase"
