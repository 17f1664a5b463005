"""What is published of a benchmark: its report and tables, and an archive of its tasks.

Usage: python -m training.pack_benchmark training/configs/benchmark.yaml FOLDER docs/benchmark

FOLDER is what `xpert benchmark` wrote for the same configuration. The report is made anew from the
tasks that are there. The archive, ``tasks.tar.xz``, holds the scores of every test row of these
tasks, their splits and the boxes of variable genes, without predictions: unpacked, it is a folder
that `xpert benchmark` goes on from. The same tasks give the same archive.
"""

from __future__ import annotations

import shutil
import sys
import tarfile
from pathlib import Path

from xpert_core.benchmark.config import BenchmarkConfig, tasks
from xpert_core.benchmark.report import write_report
from xpert_core.benchmark.runner import run
from xpert_core.files import atomic_path

ARCHIVE = "tasks.tar.xz"
TABLES = ("report.md", "report.html", "scores.parquet", "*.csv")
BESIDE = ("splits", "genes")


def archive(folder: Path, identities: set[str], out: Path) -> None:
    """Pack tasks and what belongs to them, without times, owners and modes of this machine."""
    files = [folder / "tasks" / f"{i}{end}" for i in identities for end in (".json", ".parquet")]
    files += [path for name in BESIDE for path in (folder / name).glob("*") if path.is_file()]
    with atomic_path(out) as temporary, tarfile.open(temporary, "w:xz", preset=6) as packed:
        for path in sorted(files):
            entry = tarfile.TarInfo(str(path.relative_to(folder)))
            entry.size, entry.mode = path.stat().st_size, 0o644
            with path.open("rb") as stream:
                packed.addfile(entry, stream)


def pack(config: BenchmarkConfig, folder: Path, out: Path) -> str:
    """Write the report, copy it with its tables to `out`, and pack the tasks.

    Returns
    -------
    str
        For people: how many of the tasks are there.

    Raises
    ------
    DataError
        When none is, or one is damaged.
    """
    finished = run(config, folder, stored_only=True)
    write_report(config, finished, folder)
    out.mkdir(parents=True, exist_ok=True)
    for pattern in TABLES:
        for path in sorted(folder.glob(pattern)):
            shutil.copyfile(path, out / path.name)
    archive(folder, {str(f.facts["identity"]) for f in finished}, out / ARCHIVE)
    asked = len(tasks(config))
    own = {m.name for m in config.models}
    done = sum(f.facts["model"] in own for f in finished)
    return f"{done} of {asked} tasks"


if __name__ == "__main__":
    print(pack(BenchmarkConfig.load(Path(sys.argv[1])), Path(sys.argv[2]), Path(sys.argv[3])))
