"""Memory and speed of ``xpert data prepare`` on generated files.

Usage: python -m training.bench_prepare [lincs [PROFILES [GENES]]]
       python -m training.bench_prepare text [GENES [SAMPLES]]
       python -m training.bench_prepare layout [ROWS]

``lincs`` writes matrices of random numbers with the headers of LINCS 2020 to a temporary folder
(60,000 treated profiles of 978 genes by default; a tenth as many vehicle wells), prepares them in a
process of its own, and prints its peak memory and the profiles a second. ``text`` writes a table of
counts as text (60,000 genes x 2,000 samples by default), and reads it to the panel once in blocks,
as ``panacea`` and ``cdsdb`` do, and once as a whole, as an upload is read. ``layout`` writes a file
in the published layout (60,000 rows by default, 20 a control, 300 drugs), and prepares it with
``published`` and with ``tensors``, with fingerprints as features.
"""

from __future__ import annotations

import multiprocessing
import resource
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import h5py
import numpy as np
import pandas as pd

from xpert_core.cohorts import read_cohort
from xpert_core.drugs import DrugLibrary
from xpert_core.genes import load_panel
from xpert_core.paths import assets_dir
from xpert_core.preparation.layout import write_prepared
from xpert_core.preparation.lincs import LincsFiles, LincsSettings, prepare
from xpert_core.preparation.panel import PanelReader
from xpert_core.preparation.published import prepare_published
from xpert_core.preparation.records import Counts, Prepared, silent
from xpert_core.preparation.staging import Stage, staged
from xpert_core.preparation.tensors import prepare_tensors
from xpert_core.preparation.text_matrix import LineMatrix, WholeMatrix, open_matrix

WELLS_A_PLATE = 350
BLOCK = 1024


def write_release(folder: Path, profiles: int, genes: int) -> LincsFiles:
    """A release of random numbers, written block by block."""
    rng = np.random.default_rng(0)
    panel = load_panel()
    ids = [*map(str, panel.entrez), *(f"9{i:08d}" for i in range(genes - len(panel)))]
    tables = []
    for kind, size in (("trt_cp", profiles), ("ctl_vehicle", profiles // 10)):
        a_plate = WELLS_A_PLATE if kind == "trt_cp" else WELLS_A_PLATE // 10
        plate = np.arange(size) // a_plate
        names = [f"PLATE{p:05d}_{kind}:{i:07d}" for i, p in enumerate(plate)]
        with h5py.File(folder / f"{kind}.gctx", "w") as file:
            matrix = file.create_dataset(
                "0/DATA/0/matrix", (size, genes), np.float32, chunks=(20, genes)
            )
            for first in range(0, size, BLOCK):
                last = min(first + BLOCK, size)
                matrix[first:last] = rng.uniform(2, 14, (last - first, genes))
            file["0/META/COL/id"] = np.array(names, dtype="S")
            file["0/META/ROW/id"] = np.array(ids, dtype="S")
        # Three replicate plates of each set of compounds, as in the assay.
        well = np.arange(size) % a_plate
        tables.append(
            pd.DataFrame(
                {
                    "sample_id": names,
                    "pert_type": kind,
                    "pert_id": [f"BRD-{p // 3}-{w // 6}" for p, w in zip(plate, well, strict=True)],
                    "pert_dose": np.array([0.04, 0.12, 0.37, 1.11, 3.33, 10.0])[well % 6],
                    "pert_dose_unit": "uM",
                    "nearest_dose": np.array([0.04, 0.12, 0.37, 1.11, 3.33, 10.0])[well % 6],
                    "pert_time": 24.0,
                    "cell_iname": [f"CELL{p // 3 % 40}" for p in plate],
                    "det_plate": [f"PLATE{p:05d}" for p in plate],
                    "qc_pass": 1,
                }
            )
        )
    instances = folder / "instinfo_beta.txt"
    pd.concat(tables).to_csv(instances, sep="\t", index=False)
    return LincsFiles(folder / "trt_cp.gctx", folder / "ctl_vehicle.gctx", instances)


def measure(files: LincsFiles, out: Path) -> None:
    """Prepare, and print what it took; in a process of its own, for the peak is of a process."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    started = time.perf_counter()
    written, counts = prepare(files, out, LincsSettings())
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    profiles = next(n for what, n in counts.steps if what == "kept: treated wells")
    print(f"{profiles:,} profiles to {sum(written.values()):,} conditions in {seconds:.0f} s")
    print(f"{profiles / seconds:,.0f} profiles a second")
    print(f"peak memory {peak:,.0f} MiB, of which {before:,.0f} MiB before the first file was read")


def in_its_own_process(function: Callable[..., None], *arguments: object) -> None:
    """Call a function in a new process: the peak of memory is that of a process."""
    process = multiprocessing.get_context("spawn").Process(target=function, args=arguments)
    process.start()
    process.join()
    if process.exitcode:
        raise SystemExit(process.exitcode)


def lincs(profiles: int = 60_000, genes: int = 978) -> None:
    """Write a release and measure."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = write_release(folder, profiles, genes)
        size = sum(p.stat().st_size for p in folder.iterdir()) / 2**20
        print(f"{profiles:,} treated profiles x {genes:,} genes, {size:,.0f} MiB on disk")
        in_its_own_process(measure, files, folder / "out")


def write_counts(path: Path, genes: int, samples: int) -> None:
    """A table of counts, genes in rows, the landmark genes spread among the others."""
    rng, symbols = np.random.default_rng(0), load_panel().symbols
    names = [f"gene{i:06d}" for i in range(genes)]
    for place, symbol in zip(rng.choice(genes, len(symbols), replace=False), symbols, strict=True):
        names[place] = symbol
    pool = [str(n) for n in rng.negative_binomial(1, 0.002, 100_000)]
    with path.open("w", encoding="utf-8") as stream:
        stream.write(",".join(["gene", *(f"sample{i:05d}" for i in range(samples))]) + "\n")
        for name, first in zip(names, rng.integers(0, len(pool) - samples, genes), strict=True):
            stream.write(",".join([name, *pool[first : first + samples]]) + "\n")


def measure_text(path: Path, *, whole: bool) -> None:
    """Read a table of counts to log2 values on the panel, and print what it took."""
    load_panel()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    started = time.perf_counter()
    with staged(path.with_suffix(".h5ad")) as stage:
        matrix: LineMatrix = (
            WholeMatrix(read_cohort(path, limit_mb=100_000), silent)
            if whole
            else open_matrix(path, silent)
        )
        read = PanelReader(lambda: matrix, stage.entry(path.name, "")).read()
        values = read.log2(np.arange(len(read.samples)), Counts())
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{'as a whole' if whole else 'in blocks'}: {seconds:.0f} s, peak memory {peak:,.0f} MiB, "
        f"of which {before:,.0f} MiB before; {read.scale.used}, mean {np.nanmean(values):.6f}"
    )


def text(genes: int = 60_000, samples: int = 2_000) -> None:
    """Write a table of counts and measure."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "counts.csv"
        write_counts(path, genes, samples)
        size = path.stat().st_size / 2**20
        print(f"{genes:,} genes x {samples:,} samples, {size:,.0f} MiB of text")
        for whole in (False, True):
            in_its_own_process(partial(measure_text, whole=whole), path)


def write_layout(path: Path, rows: int) -> None:
    """A file in the published layout, of random numbers; drugs of the shipped library."""
    table = pd.read_parquet(assets_dir() / "drugs" / "library.parquet")
    drugs = table.loc[table["smiles"] != "", "smiles"].iloc[:300].to_numpy()
    of_row = np.arange(rows) % len(drugs)
    obs = pd.DataFrame(
        {
            "pert_id": [f"BRD-{i}" for i in of_row],
            "canonical_smiles": drugs[of_row],
            "pert_dose": "10 uM",
            "pert_time": "24 h",
            "cell_iname": [f"CELL{i % 40}" for i in range(rows)],
        },
        index=[f"row{i}" for i in range(rows)],
    )
    genes = len(load_panel())

    def some(seed: int, a_value: int) -> Callable[[int, int], np.ndarray]:
        def read(first: int, last: int) -> np.ndarray:
            numbers = [seed + i // a_value for i in range(first, last)]
            return np.stack(
                [np.random.default_rng(n).uniform(2, 14, genes) for n in numbers]
            ).astype(np.float32)

        return read

    data = Prepared(obs, some(0, 1), some(10**9, 20), "pairs", "log2", "bench", {}, {}, Counts())
    write_prepared(path, data, stage=Stage(path.parent / "parts"))


def anonymous_mib() -> float:
    """Memory of this process that is not a file's, MiB (Linux)."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.split("RssAnon:")[1].split()[0]) / 1024


def measure_layout(path: Path, command: str) -> None:
    """Prepare, and print the peaks: of all pages, and of those that are no file's."""
    DrugLibrary.load()
    peaks, over = [before := anonymous_mib()], threading.Event()

    def watch() -> None:
        while not over.wait(0.02):
            peaks.append(anonymous_mib())

    watcher = threading.Thread(target=watch)
    watcher.start()
    started = time.perf_counter()
    out = path.with_name("out")
    if command == "tensors":
        prepare_tensors(path, out, featurizer="morgan")
    else:
        prepare_published(path, out)
    seconds = time.perf_counter() - started
    over.set()
    watcher.join()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{command}: {seconds:.0f} s, peak memory {max(peaks):,.0f} MiB, of which {before:,.0f} MiB"
        f" before; with the pages of mapped files {peak:,.0f} MiB"
    )
    out.unlink()


def layout(rows: int = 60_000) -> None:
    """Write a file in the published layout and measure."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "published.h5ad"
        write_layout(path, rows)
        print(f"{rows:,} rows, {path.stat().st_size / 2**20:,.0f} MiB")
        for command in ("published", "tensors"):
            in_its_own_process(measure_layout, path, command)


if __name__ == "__main__":
    words = sys.argv[1:]
    kinds: dict[str, Callable[..., None]] = {"lincs": lincs, "text": text, "layout": layout}
    kinds[words.pop(0) if words and words[0] in kinds else "lincs"](*map(int, words))
