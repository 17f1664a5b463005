"""Tensors and published files: stopped anywhere, they go on, to the same file, in little memory."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import anndata as ad
import numpy as np
import pytest
from preparation_data import patients_h5ad, wells

from xpert_core.preparation import changes, layout, published
from xpert_core.preparation.assemble import ProfileNumbers, distinct_rows
from xpert_core.preparation.changes import Changes, read_changes
from xpert_core.preparation.published import LayoutFile, open_layout, prepare_published
from xpert_core.preparation.records import silent
from xpert_core.preparation.staging import Stage
from xpert_core.preparation.tensors import Assumed, prepare_tensors
from xpert_core.tokens.dataset import TrainingData


class Killed(BaseException):
    """Ends a preparation as a kill would: nothing is tidied up by who waits for errors."""


def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of 4 rows, a checkpoint and a part every 8; so many rows are in a chunk."""
    monkeypatch.setattr(layout, "BLOCK", 4)
    monkeypatch.setattr(changes, "BLOCK", 4)
    monkeypatch.setattr(changes, "CHECKPOINT_BLOCKS", 2)
    monkeypatch.setattr(layout, "PART_BLOCKS", 2)
    monkeypatch.setattr(layout, "_CHUNK", 8)


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


def test_lost_values_are_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_blocks(monkeypatch)
    path, out, whole = (tmp_path / n for n in ("in.h5ad", "out", "whole"))
    patients_h5ad(path, 20)
    tensors(path, whole)
    reads, stop = list[tuple[str, int]](), {"at": 14}
    watched(monkeypatch, reads, stop)
    with pytest.raises(Killed):
        tensors(path, out)
    (values,) = (tmp_path / ".out.work").glob("*.f32")
    values.write_bytes(values.read_bytes()[:1000])
    reads.clear()
    stop["at"] = 0
    tensors(path, out)
    assert len(reads) == 20
    same_tensors(whole, out)


def test_values_are_on_the_disk_and_not_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes, "BLOCK", 32)
    path = tmp_path / "many.h5ad"
    small = patients_h5ad(path, 20)
    many = ad.concat([small] * 50, merge="same", index_unique="-", keys=map(str, range(50)))
    many.write_h5ad(path)
    rows = np.arange(len(many))
    with open_layout(path) as file:
        tracemalloc.start()
        found = read_changes(file, rows, Stage(tmp_path / "work").entry("a"), silent)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert found.x_deg.nbytes > 7e6 and peak < 2e6
    np.testing.assert_array_equal(found.x_deg, many.X - many.obsm["X_ctl"])
    np.testing.assert_array_equal(found.profiles[found.profile_index], many.obsm["X_ctl"])
    assert isinstance(found, Changes) and len(found.profiles) == 20


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
