"""Tensors and published files: stopped anywhere, they go on, to the same file, in little memory."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
import tracemalloc
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path

import anndata as ad
import numpy as np
import pytest
from preparation_data import patients_h5ad, wells
from processes import room_for

from xpert_core.drugs.cache import FeatureCache
from xpert_core.errors import DataError
from xpert_core.preparation import changes, parts, published
from xpert_core.preparation.assemble import ProfileNumbers, distinct_rows
from xpert_core.preparation.published import LayoutFile, prepare_published
from xpert_core.preparation.tensors import Assumed, prepare_tensors
from xpert_core.tokens.dataset import TrainingData


class Killed(BaseException):
    """Ends a preparation as a kill would: nothing is tidied up by who waits for errors."""


def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of 4 rows, a checkpoint and a part every 8; so many rows are in a chunk."""
    for module, name, value in (
        (parts, "BLOCK", 4), (changes, "BLOCK", 4), (changes, "CHECKPOINT_BLOCKS", 2),
        (parts, "PART_BLOCKS", 2), (parts, "_CHUNK", 8),
    ):  # fmt: skip
        monkeypatch.setattr(module, name, value)


def tensors(path: Path, out: Path) -> None:
    prepare_tensors(path, out, featurizer="morgan", assumed=Assumed("1 uM", "24 h"))


def same_tensors(first: Path, second: Path) -> None:
    a, b = TrainingData.load(first), TrainingData.load(second)
    assert a.features_digest == b.features_digest
    np.testing.assert_array_equal(a.x_deg, b.x_deg)
    np.testing.assert_array_equal(a.profiles[a.profile_index], b.profiles[b.profile_index])


def same_h5ad(first: Path, second: Path) -> None:
    a, b = ad.read_h5ad(first), ad.read_h5ad(second)
    np.testing.assert_array_equal(a.X, b.X)
    np.testing.assert_array_equal(a.obsm["X_ctl"], b.obsm["X_ctl"])
    assert a.obs.equals(b.obs) and a.uns == b.uns


COMMANDS: dict[str, tuple[Callable[[Path, Path], object], Callable[[Path, Path], None]]] = {
    "tensors": (tensors, same_tensors),
    "published": (prepare_published, same_h5ad),
}


def watched(
    monkeypatch: pytest.MonkeyPatch, reads: list[tuple[str, int]], stop: dict[str, int]
) -> None:
    """Note every block that is read, and stop at one."""
    rows = LayoutFile.rows

    def noted(self: LayoutFile, part: str) -> Callable[[int, int], np.ndarray]:
        read = rows(self, part)

        def one(first: int, last: int) -> np.ndarray:
            reads.append((part, first))
            if len(reads) == stop["at"]:
                raise Killed
            return read(first, last)

        return one

    monkeypatch.setattr(published.LayoutFile, "rows", noted)


@pytest.mark.parametrize("name", list(COMMANDS))
def test_an_interrupted_command_goes_on_from_the_last_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    small_blocks(monkeypatch)
    command, same = COMMANDS[name]
    path, whole, out = (tmp_path / n for n in ("in.h5ad", "whole", "out"))
    data = patients_h5ad(path, 20)  # 40 rows: ten blocks of each matrix
    data.X[7, 3] = np.nan  # a row that tensors leaves out
    data.write_h5ad(path)
    reads, stop = list[tuple[str, int]](), {"at": 0}
    watched(monkeypatch, reads, stop)
    command(path, whole)
    everything = len(reads)
    assert everything == 20
    done = 0
    for stop["at"] in (7, 4, 9, 0):
        reads.clear()
        if stop["at"]:
            with pytest.raises(Killed):
                command(path, out)
            assert not out.exists() and (tmp_path / ".out.work").is_dir()
        else:
            command(path, out)
        done += len(reads)
    assert done > everything, "what follows the last checkpoint is read again"
    assert len(reads) < 10, "most was there before the last start"
    same(whole, out)
    assert not list(tmp_path.glob(".*"))


CHILD = """
import os
import sys
sys.path[:0] = sys.argv[1].split(os.pathsep)
from pathlib import Path
import test_interrupted_writing as here

class Patch:
    setattr = staticmethod(setattr)

here.small_blocks(Patch)
here.COMMANDS[sys.argv[2]][0](Path(sys.argv[3]), Path(sys.argv[4]))
"""


@pytest.mark.parametrize("name", list(COMMANDS))
def test_a_killed_process_leaves_what_the_same_command_goes_on_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    small_blocks(monkeypatch)
    command, same = COMMANDS[name]
    path, whole, out = (tmp_path / n for n in ("in.h5ad", "whole", "out"))
    patients_h5ad(path, 300)
    command(path, whole)
    here = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[2] / "helpers")])
    words = [sys.executable, "-c", CHILD, here, name, str(path), str(out)]
    process = subprocess.Popen(words)
    work = tmp_path / ".out.work"
    pattern = {"tensors": "*.npz", "published": "*.h5"}[name]
    while process.poll() is None and not list(work.glob(pattern)):
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert list(work.glob(pattern)), "killed too late, or it failed"
    reads, stop = list[tuple[str, int]](), {"at": 0}
    watched(monkeypatch, reads, stop)
    command(path, out)
    assert 0 < len(reads) < 2 * 600 // 4, "all was read again"
    same(whole, out)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.h5ad", "out", "whole"]


def test_another_file_of_the_same_name_is_read_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_blocks(monkeypatch)
    path, out, whole = (tmp_path / n for n in ("in.h5ad", "out", "whole"))
    reads, stop = list[tuple[str, int]](), {"at": 14}
    for command, same in COMMANDS.values():
        data = patients_h5ad(path, 20)
        with monkeypatch.context() as patch:
            watched(patch, reads, stop)
            reads.clear()
            with pytest.raises(Killed):
                command(path, out)
        data.X[0, 0] += 1
        data.write_h5ad(path)
        command(path, out)
        command(path, whole)
        same(whole, out)
        for made in (out, whole):
            made.unlink()


@pytest.mark.parametrize("damage", ["lost", "cut off"])
def test_lost_values_are_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    small_blocks(monkeypatch)
    path, out, whole = (tmp_path / n for n in ("in.h5ad", "out", "whole"))
    patients_h5ad(path, 20)
    tensors(path, whole)
    reads, stop = list[tuple[str, int]](), {"at": 14}
    watched(monkeypatch, reads, stop)
    with pytest.raises(Killed):
        tensors(path, out)
    (values,) = (tmp_path / ".out.work").glob("*.f32")
    if damage == "lost":
        values.unlink()
    else:
        values.write_bytes(values.read_bytes()[:1000])
    # Stopped before there is a new checkpoint: the old one must not speak for the new values.
    reads.clear()
    stop["at"] = 2
    with pytest.raises(Killed):
        tensors(path, out)
    reads.clear()
    stop["at"] = 0
    tensors(path, out)
    assert len(reads) == 20
    same_tensors(whole, out)


def test_a_damaged_part_is_packed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_blocks(monkeypatch)
    path, out, whole = (tmp_path / n for n in ("in.h5ad", "out", "whole"))
    patients_h5ad(path, 20)
    prepare_published(path, whole)
    reads, stop = list[tuple[str, int]](), {"at": 14}
    watched(monkeypatch, reads, stop)
    with pytest.raises(Killed):
        prepare_published(path, out)
    part, *_ = (tmp_path / ".out.work").glob("*.h5")
    part.write_bytes(part.read_bytes()[:1000])
    reads.clear()
    stop["at"] = 0
    prepare_published(path, out)
    assert 2 < len(reads) < 20
    same_h5ad(whole, out)


def test_a_disk_without_room_is_told_and_the_parts_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, out = tmp_path / "in.h5ad", tmp_path / "out"
    patients_h5ad(path, 20)
    full = namedtuple("full", "free")(1000)
    with monkeypatch.context() as patch:
        patch.setattr(parts.shutil, "disk_usage", lambda _: full)
        with pytest.raises(DataError, match="does not fit on the disk") as caught:
            prepare_published(path, out)
    assert "1e-06 GB are free" in caught.value.where and not out.exists()
    reads, stop = list[tuple[str, int]](), {"at": 1}
    watched(monkeypatch, reads, stop)
    prepare_published(path, out)
    assert not reads and ad.read_h5ad(out).n_obs == 40


def test_tensors_that_do_not_fit_on_the_disk_are_told(tmp_path: Path) -> None:
    path, out = tmp_path / "in.h5ad", tmp_path / "out"
    patients_h5ad(path, 20)
    tensors(path, out)
    data, again = TrainingData.load(out), tmp_path / "again"
    with room_for(50_000), pytest.raises(DataError, match="could not be written") as caught:
        data.save(again)
    assert "Make room" in caught.value.fix
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.h5ad", "out"]


def test_what_fails_elsewhere_is_not_blamed_on_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, out = tmp_path / "in.h5ad", tmp_path / "out"
    patients_h5ad(path, 3)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "drugs.cache")

    monkeypatch.setattr(FeatureCache, "get", full)
    with pytest.raises(OSError, match="No space left"):
        tensors(path, out)


def test_values_of_other_rows_do_not_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_blocks(monkeypatch)
    path, out = tmp_path / "in.h5ad", tmp_path / "out"
    data = patients_h5ad(path, 20)
    data.obs["pert_dose"] = ["1 uM", ""] * 20
    data.write_h5ad(path)
    reads, stop = list[tuple[str, int]](), {"at": 14}
    watched(monkeypatch, reads, stop)
    for assumed in (Assumed("1 uM", "24 h"), Assumed("", "24 h")):
        reads.clear()
        with pytest.raises(Killed):
            prepare_tensors(path, out, featurizer="morgan", assumed=assumed)
        assert len(list((tmp_path / ".out.work").glob("*.f32"))) == 1


def test_values_are_on_the_disk_and_not_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes, "BLOCK", 32)
    monkeypatch.setattr(parts, "BLOCK", 32)
    monkeypatch.setattr(parts, "PART_BLOCKS", 8)
    path, out = tmp_path / "many.h5ad", tmp_path / "out"
    small = patients_h5ad(path, 20)
    tensors(path, out)  # what is loaded once: names, drugs
    prepare_published(path, out)
    for command in (tensors, prepare_published):
        peaks = []
        for times in (50, 100):
            names = [str(i) for i in range(times)]
            many = ad.concat([small] * times, merge="same", index_unique="-", keys=names)
            many.write_h5ad(path)
            tracemalloc.start()
            command(path, out)
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
            if command is tensors:
                data = TrainingData.load(out)
                np.testing.assert_array_equal(data.x_deg, many.X - many.obsm["X_ctl"])
                control = data.profiles[data.profile_index]
                np.testing.assert_array_equal(control, many.obsm["X_ctl"])
                assert len(data.profiles) == 20
        a_row = (peaks[1] - peaks[0]) / (50 * 40)
        assert a_row < 978 * 4 / 2, f"{command.__name__}: {a_row:,.0f} bytes a row"


def test_numbers_of_profiles_go_on_from_their_hashes() -> None:
    values = wells(6)[[0, 1, 0, 2, 3, 1, 4, 5, 5]]
    whole = ProfileNumbers()
    numbers, new = whole.add(values)
    assert numbers.tolist() == [0, 1, 0, 2, 3, 1, 4, 5, 5] and new.tolist() == [0, 1, 3, 4, 6, 7]
    begun = ProfileNumbers()
    begun.add(values[:4])
    second, fresh = ProfileNumbers(begun.hashes).add(values[4:])
    assert second.tolist() == numbers[4:].tolist() and fresh.tolist() == [0, 2, 3]
    assert ProfileNumbers(whole.hashes).hashes.tolist() == whole.hashes.tolist()
    signed = np.array([[0.0, 1.0], [-0.0, 1.0]], dtype=np.float32)
    assert ProfileNumbers().add(signed)[0].tolist() == [0, 0]
    assert len(distinct_rows(signed)[0]) == 1
