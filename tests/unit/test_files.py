"""Files are whole or absent."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from xpert_core.files import atomic_path, sha256_bytes, sha256_file, write_bytes_atomic


def test_success_replaces_the_target_and_leaves_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "new" / "result.csv"
    with atomic_path(target) as temporary:
        assert temporary.parent == target.parent
        temporary.write_text("a,b\n")
        assert not target.exists()
    assert target.read_text() == "a,b\n"
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_failure_keeps_the_former_content(tmp_path: Path, error: type[BaseException]) -> None:
    target = tmp_path / "result.csv"
    target.write_text("former")
    with pytest.raises(error), atomic_path(target) as temporary:
        temporary.write_text("half")
        raise error
    assert target.read_text() == "former"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_full_disk_keeps_the_former_content(tmp_path: Path) -> None:
    target = tmp_path / "result.bin"
    target.write_bytes(b"former")
    with pytest.raises(OSError, match="No space left"), atomic_path(target) as temporary:
        temporary.unlink()
        temporary.symlink_to("/dev/full")
        with temporary.open("wb") as stream:
            stream.write(b"x" * 100_000)
    assert target.read_bytes() == b"former"
    assert list(tmp_path.iterdir()) == [target]


def test_kill_leaves_no_half_file_under_the_final_name(tmp_path: Path) -> None:
    target = tmp_path / "result.bin"
    program = (
        "import sys, time\nfrom pathlib import Path\nfrom xpert_core.files import atomic_path\n"
        "with atomic_path(Path(sys.argv[1])) as temporary:\n"
        "    temporary.write_bytes(b'half')\n    print('writing', flush=True)\n    time.sleep(60)\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", program, str(target)], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "writing\n"
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    child.stdout.close()
    assert not target.exists()


def test_new_files_can_be_read_by_their_group_as_the_umask_says(tmp_path: Path) -> None:
    former = os.umask(0o022)
    try:
        write_bytes_atomic(tmp_path / "result.bin", b"x")
    finally:
        os.umask(former)
    assert (tmp_path / "result.bin").stat().st_mode & 0o777 == 0o644


def test_hashes_agree_with_hashlib_over_several_chunks(tmp_path: Path) -> None:
    content = bytes(range(256)) * 40
    write_bytes_atomic(tmp_path / "x.bin", content)
    expected = hashlib.sha256(content).hexdigest()
    assert sha256_bytes(content) == expected
    assert sha256_file(tmp_path / "x.bin", chunk=1000) == expected
