"""Tensors and published files: stopped anywhere, they go on, to the same file, in little memory."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable
from functools import partial
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from preparation_data import DRUGS, patients_h5ad, wells
from processes import room_for

from xpert_core.drugs.cache import FeatureCache
from xpert_core.errors import DataError
from xpert_core.preparation import changes, layout, parts
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


class Reads(list[tuple[str, int]]):
    """(matrix, first row) of every block that was read since `clear`; one of them may be a kill."""

    stop_at = 0

    def kill(self, command: Callable[[Path, Path], object], path: Path, out: Path, at: int) -> None:
        """Run a command that is killed when it reads its block number `at`."""
        self.clear()
        self.stop_at = at
        with pytest.raises(Killed):
            command(path, out)
        assert not out.exists() and out.with_name(f".{out.name}.work").is_dir()
        self.stop_at = 0
        self.clear()


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Reads:
    """Small blocks, of which every one that is read is noted."""
    small_blocks(monkeypatch)
    noted, rows = Reads(), LayoutFile.rows

    def noting(self: LayoutFile, part: str) -> Callable[[int, int], np.ndarray]:
        read = rows(self, part)

        def one(first: int, last: int) -> np.ndarray:
            noted.append((part, first))
            if len(noted) == noted.stop_at:
                raise Killed
            return read(first, last)

        return one

    monkeypatch.setattr(LayoutFile, "rows", noting)
    return noted


@pytest.mark.parametrize("name", list(COMMANDS))
def test_an_interrupted_command_goes_on_from_the_last_checkpoint(
    tmp_path: Path, reads: Reads, name: str
) -> None:
    command, same = COMMANDS[name]
    path, whole, out = (tmp_path / n for n in ("in.h5ad", "whole", "out"))
    data = patients_h5ad(path, 20)  # 40 rows: ten blocks of each matrix
    data.X[7, 3] = np.nan  # a row that tensors leaves out
    data.write_h5ad(path)
    command(path, whole)
    assert len(reads) == 20
    for at in (7, 4, 9):
        reads.kill(command, path, out, at)
    command(path, out)
    assert 0 < len(reads) < 10, "most was there before the last start"
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
    tmp_path: Path, reads: Reads, name: str
) -> None:
    command, same = COMMANDS[name]
    path, whole, out = (tmp_path / n for n in ("in.h5ad", "whole", "out"))
    patients_h5ad(path, 300)
    command(path, whole)
    here = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[2] / "helpers")])
    words = [sys.executable, "-c", CHILD, here, name, str(path), str(out)]
    pattern = {"tensors": "*.npz", "published": "*.sha256"}[name]
    work = tmp_path / ".out.work"
    for _ in range(5):  # on a busy machine a child may end before it is killed
        process = subprocess.Popen(words)
        while process.poll() is None and not list(work.glob(pattern)):
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
        if process.wait() == -signal.SIGKILL and list(work.glob(pattern)) and not out.exists():
            break
        assert out.exists(), "the child failed"
        out.unlink()
    reads.clear()
    command(path, out)
    assert 0 < len(reads) < 2 * 600 // 4, "all was read again"
    same(whole, out)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.h5ad", "out", "whole"]


@pytest.mark.parametrize("name", list(COMMANDS))
def test_another_file_of_the_same_name_is_read_by_itself(
    tmp_path: Path, reads: Reads, name: str
) -> None:
    command, same = COMMANDS[name]
    path, out, whole = (tmp_path / n for n in ("in.h5ad", "out", "whole"))
    data = patients_h5ad(path, 20)
    reads.kill(command, path, out, 14)
    data.X[0, 0] += 1
    data.write_h5ad(path)
    command(path, out)
    assert len(reads) == 20
    command(path, whole)
    same(whole, out)


def half_done(
    folder: Path, command: Callable[[Path, Path], object], reads: Reads
) -> tuple[Path, Path, Path]:
    """An input, an output whose command was killed on the way, and one that was made at once."""
    path, out, whole = (folder / n for n in ("in.h5ad", "out", "whole"))
    patients_h5ad(path, 20)
    command(path, whole)
    reads.kill(command, path, out, 14)
    return path, out, whole


@pytest.mark.parametrize("damage", ["lost", "cut off"])
def test_lost_values_are_read_again(tmp_path: Path, reads: Reads, damage: str) -> None:
    path, out, whole = half_done(tmp_path, tensors, reads)
    (values,) = (tmp_path / ".out.work").glob("*.f32")
    if damage == "lost":
        values.unlink()
    else:
        values.write_bytes(values.read_bytes()[:1000])
    # Stopped before there is a new checkpoint: the old one must not speak for the new values.
    reads.kill(tensors, path, out, 2)
    tensors(path, out)
    assert len(reads) == 20
    same_tensors(whole, out)


@pytest.mark.parametrize("damage", ["cut off", "changed"])
def test_a_damaged_part_is_packed_again(tmp_path: Path, reads: Reads, damage: str) -> None:
    path, out, whole = half_done(tmp_path, prepare_published, reads)
    part, *_ = (tmp_path / ".out.work").glob("*.h5")
    good = part.read_bytes()
    bad = good[:1000] if damage == "cut off" else good[:9000] + bytes(500) + good[9500:]
    assert bad != good
    part.write_bytes(bad)
    prepare_published(path, out)
    assert 2 < len(reads) < 20
    same_h5ad(whole, out)


def test_a_disk_without_room_is_told_and_the_parts_stay(tmp_path: Path, reads: Reads) -> None:
    path, out = tmp_path / "in.h5ad", tmp_path / "out"
    patients_h5ad(path, 20)
    prepare_published(path, out)
    size = out.stat().st_size
    out.unlink()
    with room_for(size), pytest.raises(DataError, match="do not fit on the disk") as caught:
        prepare_published(path, out)
    assert "GB are needed" in caught.value.where and not out.exists()
    reads.clear()
    prepare_published(path, out)
    assert not reads and ad.read_h5ad(out).n_obs == 40


def test_room_that_is_enough_for_the_check_is_enough(
    tmp_path: Path, reads: Reads, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, out = tmp_path / "in.h5ad", tmp_path / "out"
    patients_h5ad(path, 100)
    asked = list[int]()
    with monkeypatch.context() as patch:
        patch.setattr(layout, "reserve", lambda _, size: asked.append(size))
        prepare_published(path, out)
    assert out.stat().st_size < asked[0] < out.stat().st_size + 2**21
    with room_for(asked[0]):
        prepare_published(path, out)
    assert ad.read_h5ad(out).n_obs == 200


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


def test_values_of_other_rows_do_not_stay(tmp_path: Path, reads: Reads) -> None:
    path, out = tmp_path / "in.h5ad", tmp_path / "out"
    data = patients_h5ad(path, 20)
    data.obs["pert_dose"] = ["1 uM", ""] * 20
    data.write_h5ad(path)
    for dose in ("1 uM", ""):
        assumed = Assumed(dose, "24 h")
        command = partial(prepare_tensors, featurizer="morgan", assumed=assumed)
        reads.kill(command, path, out, 14)
        assert len(list((tmp_path / ".out.work").glob("*.f32"))) == 1


def test_another_table_of_drugs_costs_no_second_packing(tmp_path: Path, reads: Reads) -> None:
    path, out, table = (tmp_path / n for n in ("in.h5ad", "out", "drugs.csv"))
    patients_h5ad(path, 20)
    reads.kill(prepare_published, path, out, 14)
    rows = {
        "pert_id": list(DRUGS),
        "cmap_name": ["a", "b", "c", "d"],
        "smiles": list(DRUGS.values()),
    }
    pd.DataFrame(rows).to_csv(table, index=False)
    prepare_published(path, out, drugs=table)
    assert len(reads) < 10
    assert set(ad.read_h5ad(out).obs["cmap_name"]) == set("abcd")


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
