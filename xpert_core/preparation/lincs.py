"""LINCS 2020 level 3 to conditions with controls of the same plate, streaming and resumable.

The two matrices are read once, in blocks in file order; sums of each condition stand in a file.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout

from xpert_core.errors import DataError
from xpert_core.genes import load_panel
from xpert_core.preparation.disk import DiskRows, Work, read_state, summed
from xpert_core.preparation.gctx import Gctx, open_gctx, panel_columns
from xpert_core.preparation.layout import write_prepared
from xpert_core.preparation.lincs_conditions import SUBSETS, Conditions, collapse, subset_rows
from xpert_core.preparation.lincs_tables import (
    Wells,
    clean_wells,
    read_compounds,
    read_instances,
)
from xpert_core.preparation.records import (
    Counts,
    Prepared,
    Report,
    Rows,
    blocks,
    digests,
    silent,
)
from xpert_core.preparation.sheets import read_sheet
from xpert_core.preparation.staging import Stage

CONTROLS = ("mean", "random")
SCALE = "log2, quantile-normalised (L1000 level 3)"


@dataclass(frozen=True)
class LincsFiles:
    """Files of one LINCS release.

    Attributes
    ----------
    treated, vehicle : Path
        Level-3 matrices, GCTX.
    instances : Path
        ``instinfo_beta.txt``.
    compounds : Path or None
        ``compoundinfo_beta.txt``: structures, names, mechanisms.
    genes : Path or None
        ``geneinfo_beta.txt``; needed only where the matrices do not name genes by Entrez id.
    """

    treated: Path
    vehicle: Path
    instances: Path
    compounds: Path | None = None
    genes: Path | None = None

    def paths(self) -> tuple[Path | None, ...]:
        """All files."""
        return (self.treated, self.vehicle, self.instances, self.compounds, self.genes)


@dataclass(frozen=True)
class LincsSettings:
    """What can be chosen.

    Attributes
    ----------
    control : str
        ``"mean"`` of the plate's vehicle wells, or ``"random"``, one of them for each treated well.
    seed : int
        Of the random wells.
    subsets : tuple of str
        Files to write, of `SUBSETS`.
    block : int
        Most profiles in memory at a time.
    """

    control: str = "mean"
    seed: int = 0
    subsets: tuple[str, ...] = ("full",)
    block: int = 1024

    def __post_init__(self) -> None:
        unknown = [s for s in self.subsets if s not in SUBSETS]
        if unknown or not self.subsets or self.control not in CONTROLS or self.block < 1:
            raise DataError(
                "The settings of the preparation cannot be used.",
                where=f"subsets {', '.join(self.subsets)}; control {self.control}; "
                f"block {self.block}",
                fix=f"Subsets are {', '.join(SUBSETS)}; controls are {' and '.join(CONTROLS)}.",
            )


@dataclass(frozen=True)
class Plan:
    """What a preparation will do.

    Attributes
    ----------
    wells : Wells
    conditions : Conditions
    columns : tuple of ndarray of int64, shape (G,)
        Column of each panel gene in the treated and in the vehicle matrix, -1 where none.
    counts : Counts
    """

    wells: Wells
    conditions: Conditions
    columns: tuple[np.ndarray, np.ndarray]
    counts: Counts


@contextmanager
def opened(files: LincsFiles) -> Iterator[tuple[Gctx, Gctx]]:
    """Both matrices."""
    with ExitStack() as stack:
        yield (
            stack.enter_context(open_gctx(files.treated, "treated matrix")),
            stack.enter_context(open_gctx(files.vehicle, "vehicle matrix")),
        )


def plan(files: LincsFiles, treated: Gctx, vehicle: Gctx) -> Plan:
    """Read the tables and decide what is kept; no expression value is read.

    Raises
    ------
    DataError
        When a file is missing, damaged or lacks a column, or nothing is left.
    """
    counts = Counts()
    info = None
    if files.genes is not None:
        info = read_sheet(files.genes, "gene table", {"gene_id": (), "gene_symbol": ()}, {})
    columns = tuple(panel_columns(m.genes, m.name, info) for m in (treated, vehicle))
    counts.add(
        "landmark genes in both matrices", int(((columns[0] >= 0) & (columns[1] >= 0)).sum())
    )
    table = read_instances(files.instances, treated, vehicle, counts)
    wells = clean_wells(table, counts, files.instances.name)
    del table
    compounds = None if files.compounds is None else read_compounds(files.compounds)
    conditions = collapse(wells, compounds)
    obs = conditions.obs
    for subset in SUBSETS:
        counts.add(f"conditions in {subset}", len(subset_rows(obs, subset)))
    counts.add("conditions without a structure", int((obs["canonical_smiles"] == "").sum()))
    return Plan(wells, conditions, (columns[0], columns[1]), counts)


def check(files: LincsFiles) -> Counts:
    """What would be kept, from tables and sample ids alone."""
    with opened(files) as (treated, vehicle):
        return plan(files, treated, vehicle).counts


def prepare(
    files: LincsFiles,
    out: Path,
    settings: LincsSettings | None = None,
    *,
    force: bool = False,
    report: Report = silent,
) -> tuple[dict[Path, int], Counts]:
    """Prepare the files of a LINCS release.

    Parameters
    ----------
    files : LincsFiles
    out : Path
        Folder; ``l1000_SUBSET.h5ad`` is written for each subset. An interrupted run leaves only
        the folder ``.l1000-work`` in it, and the same call goes on from there.
    settings : LincsSettings, optional
    force : bool
        Overwrite files, and drop an interrupted run of other files or settings.
    report : callable, optional
        (what is done, done, total).

    Returns
    -------
    (dict, Counts)
        File written to its number of rows; what was kept and left out.

    Raises
    ------
    DataError
        When a file cannot be used, nothing is left, an output exists, or another run is at work
        in the folder.
    """
    chosen = settings or LincsSettings()
    targets = {subset: out / f"l1000_{subset}.h5ad" for subset in chosen.subsets}
    folder = out / ".l1000-work"
    state = read_state(folder)
    own = {*state.get("written", ()), state.get("writing", "")}
    _refuse_overwrite(targets, own, force=force)
    out.mkdir(parents=True, exist_ok=True)
    lock = FileLock(out / ".l1000-work.lock", timeout=0)
    try:
        with lock, opened(files) as (treated, vehicle):
            made = plan(files, treated, vehicle)
            written = _run(files, chosen, made, (treated, vehicle), folder, targets, force, report)
    except Timeout as error:
        raise DataError(
            "Another preparation is at work in the output folder.",
            where=str(out),
            fix="Wait for it, or choose another folder.",
        ) from error
    (out / ".l1000-work.lock").unlink(missing_ok=True)
    return written, made.counts


def _refuse_overwrite(targets: dict[str, Path], own: set[str], *, force: bool) -> None:
    there = [p for p in targets.values() if p.exists() and p.name not in own]
    if there and not force:
        raise DataError(
            "The output file exists and would be overwritten.",
            where=str(there[0]),
            fix="Choose another folder, or add --force.",
        )


def _run(
    files: LincsFiles,
    settings: LincsSettings,
    made: Plan,
    matrices: tuple[Gctx, Gctx],
    folder: Path,
    targets: dict[str, Path],
    force: bool,
    report: Report,
) -> dict[Path, int]:
    work = Work(folder, _identity(files, settings, made), force=force)
    if "inputs" not in work.state:
        work.state["inputs"] = digests(files.paths(), report)
        work.save()
    x, x_ctl = accumulate(made, matrices, settings, work, report)
    data = Prepared(
        made.conditions.obs, x, x_ctl, "pairs", SCALE, "lincs", work.state["inputs"],
        {**asdict(settings), "subsets": list(settings.subsets)}, made.counts,
    )  # fmt: skip
    written = {
        path: _write(path, data, subset_rows(made.conditions.obs, subset), work, report)
        for subset, path in targets.items()
    }
    work.clear()
    return written


def _write(path: Path, data: Prepared, rows: np.ndarray, work: Work, report: Report) -> int:
    """Write a subset, unless an interrupted run has done so; returns its rows."""
    done = work.state["written"]
    if path.is_file() and done.get(path.name) == _stamp(path):
        return len(rows)
    stage = Stage(work.folder / "parts")
    work.state["writing"] = path.name
    work.save()
    # The sums are the same whatever subsets are written.
    own = work.state["identity"]
    size = write_prepared(path, data, stage=stage, identity=own, rows=rows, report=report)
    done[path.name] = _stamp(path)
    work.save()
    stage.clear()
    return size


def _stamp(path: Path) -> list[int]:
    """Size and time: whether a file is still the one that was written."""
    return [path.stat().st_size, path.stat().st_mtime_ns]


def _identity(files: LincsFiles, settings: LincsSettings, made: Plan) -> str:
    """Hash of everything the sums depend on; which subsets are written changes nothing of them."""
    stamps = [[p.name, *_stamp(p)] for p in filter(None, files.paths())]
    document = [stamps, settings.control, settings.seed, settings.block, load_panel().digest]
    found = hashlib.sha256(json.dumps(document).encode())
    wells = made.wells
    for array in (
        wells.treated["position"], wells.treated["plate"], wells.vehicle["position"],
        wells.vehicle["plate"], made.conditions.of_well, *made.columns,
    ):  # fmt: skip
        found.update(np.ascontiguousarray(array, dtype=np.int64).tobytes())
    return found.hexdigest()


def accumulate(
    made: Plan,
    matrices: tuple[Gctx, Gctx],
    settings: LincsSettings,
    work: Work,
    report: Report = silent,
) -> tuple[Rows, Rows]:
    """Means of each condition and of its controls, as rows on disk.

    Returns
    -------
    tuple of callable
        Rows of x_pert and x_ctl, float32 of shape (last - first, G).
    """
    n_genes = len(load_panel())
    shape = (len(made.conditions), n_genes)
    # Before the vehicle wells are read: that the disk is too small is told at the start.
    x, x_ctl = (work.rows(name, shape, "treated") for name in ("x", "x_ctl"))
    controls = _controls(made, matrices[1], settings, work, report)
    wells, of_well = made.wells.treated, made.conditions.of_well
    work.undo_half_done("treated", [x, x_ctl])
    position = wells["position"].to_numpy()
    for block, (first, last) in enumerate(blocks(len(wells), settings.block)):
        if block < work.done("treated"):
            continue
        values = matrices[0].read(position[first:last], made.columns[0])
        conditions = of_well[first:last]
        work.add(
            "treated",
            block,
            [
                (x, *summed(conditions, values)),
                (x_ctl, *summed(conditions, controls(first, last))),
            ],
        )
        report("Treated profiles", last, len(wells))
    replicates = np.bincount(of_well)

    def mean_of(sums: DiskRows) -> Rows:
        def rows(first: int, last: int) -> np.ndarray:
            found = sums.values[first:last] / replicates[first:last, None]
            sums.release()
            return found.astype(np.float32)

        return rows

    return mean_of(x), mean_of(x_ctl)


def _controls(
    made: Plan, vehicle: Gctx, settings: LincsSettings, work: Work, report: Report
) -> Rows:
    """Control profile of treated wells: (first, last) to float64 of shape (last - first, G)."""
    wells, plate = made.wells.vehicle, made.wells.treated["plate"].to_numpy()
    of_plate = wells["plate"].to_numpy()
    size = np.bincount(of_plate, minlength=len(made.wells.plates))
    if settings.control == "mean":
        group, count = of_plate, size
        choice = plate
    else:  # every vehicle well is a group of its own
        group, count = np.arange(len(wells)), np.ones(len(wells), dtype=np.int64)
        by_plate = np.argsort(of_plate, kind="stable")
        start = np.cumsum(size) - size
        drawn = np.random.default_rng(settings.seed).random(len(plate))
        choice = by_plate[start[plate] + (drawn * size[plate]).astype(np.int64)]
    sums = work.rows("controls", (len(count), len(load_panel())), "vehicle")
    work.undo_half_done("vehicle", [sums])
    position = wells["position"].to_numpy()
    for block, (first, last) in enumerate(blocks(len(wells), settings.block)):
        if block < work.done("vehicle"):
            continue
        values = vehicle.read(position[first:last], made.columns[1])
        work.add("vehicle", block, [(sums, *summed(group[first:last], values))])
        report("Vehicle profiles", last, len(wells))

    def rows(first: int, last: int) -> np.ndarray:
        chosen = choice[first:last]
        found: np.ndarray = sums.values[chosen] / count[chosen, None]
        sums.release()
        return found

    return rows
