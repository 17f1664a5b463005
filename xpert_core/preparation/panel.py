"""Expression matrices to the panel, block by block: its genes, and sums over all genes.

In memory are a block and, of a few samples, all genes; the genes of the panel stand on disk. What
was read is staged, so that an interrupted command goes on from the last whole block.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from xpert_core.cohorts.records import ScaleReport
from xpert_core.cohorts.scale import (
    FIRST,
    ScaleSample,
    bring_to_log2,
    samples_looked_at,
    scale_of,
)
from xpert_core.errors import DataError
from xpert_core.preparation.matrices import averaged, genes_of_columns, refuse_few
from xpert_core.preparation.records import Counts
from xpert_core.preparation.sheets import read_sheet
from xpert_core.preparation.staging import Staged, State
from xpert_core.preparation.text_matrix import Block, LineMatrix

BLOCK_CELLS = 1 << 20
"""Cells in memory at a time."""
CHECKPOINT_BLOCKS = 16
"""Blocks after which what was read is kept for an interrupted command to go on from."""
_MILLION = 1e6
_NAMES = ("total", "low", "high", "part", "first")
"""Arrays of `_Sums`."""


@dataclass(frozen=True)
class Lengths:
    """Gene lengths.

    Attributes
    ----------
    name : str
        File name.
    of_gene : dict of str to float
        Bases, NaN where it is no number.
    """

    name: str
    of_gene: dict[str, float]

    def problem(self, identifiers: tuple[str, ...], matrix: str) -> DataError | None:
        """What speaks against using them for a matrix."""
        wrong = sum(not length > 0 for length in self.of_gene.values())
        if wrong:
            return DataError(
                "Gene lengths must be greater than zero.",
                where=f"{self.name}: {wrong} are not",
                fix="Give the length of each gene in bases, and leave out genes without one.",
            )
        if not any(gene in self.of_gene for gene in identifiers):
            return DataError(
                "No gene of the matrix has a length.",
                where=f"{matrix} begins with {', '.join(identifiers[:3])}",
                fix="Name the genes alike in both files.",
            )
        return None


def read_lengths(path: Path) -> Lengths:
    """Read a table of ``gene`` and ``length`` (bases).

    Raises
    ------
    DataError
        When it cannot be read or lacks a column.
    """
    table = read_sheet(path, "table of gene lengths", {"gene": ("gene_id",), "length": ()}, {})
    number = pd.to_numeric(table["length"], errors="coerce")
    return Lengths(path.name, dict(zip(table["gene"], number, strict=True)))


@dataclass(frozen=True)
class PanelMatrix:
    """What is needed of an expression matrix.

    Attributes
    ----------
    name : str
        File name.
    samples : tuple of str, n
    n_genes : int
        Genes or probes of the file.
    values : ndarray of float32, shape (n, columns)
        As in the file, NaN where missing; the columns that name a gene of the panel.
    gene_of : ndarray of int64, shape (columns,)
        Panel gene of each column.
    lengths : ndarray of float64, shape (columns,), or None
        Gene length of each column, where counts become TPM.
    total : ndarray of float64, shape (n,)
        Sum over all genes of the file: of the values, or of values / length.
    scale : ScaleReport
        Recognised over all genes of the file; of the TPM, where there are lengths.
    counts : Counts
        Genes found, and what became of the others.
    """

    name: str
    samples: tuple[str, ...]
    n_genes: int
    values: np.ndarray
    gene_of: np.ndarray
    lengths: np.ndarray | None
    total: np.ndarray
    scale: ScaleReport
    counts: Counts

    def log2(self, rows: np.ndarray, counts: Counts) -> np.ndarray:
        """log2 values of samples on the panel; float32, shape (n, G), NaN where not measured.

        Probes of one gene are averaged on the log2 scale, which is counted.

        Raises
        ------
        CohortError
            When the scale has no way to log2.
        """
        counts.steps += self.counts.steps
        chosen = np.array(self.values[rows])
        if self.lengths is not None:
            rate = np.nan_to_num(chosen.astype(np.float64)) / self.lengths
            chosen = _per_million(rate, self.total[rows][:, None])
        bring_to_log2(self.scale, chosen, self.total[rows], self.name)
        return averaged(chosen, self.gene_of)


def _per_million(rate: np.ndarray, total: np.ndarray) -> np.ndarray:
    """Rates of samples whose rates add up to `total`, scaled to a million; NaN without reads."""
    found: np.ndarray = rate / np.where(total > 0, total, np.nan) * _MILLION
    return found.astype(np.float32)


class _Sums:
    """What sums, extremes and scale of a matrix need, added to block by block.

    Attributes
    ----------
    state : dict of ndarray
        ``total``, ``low`` and ``high`` of each sample; ``part`` and ``first``, as in `ScaleSample`.
    """

    @classmethod
    def of(cls, state: State, kind: str) -> _Sums:
        """The sums in the state of a matrix; `kind` is ``"raw"`` or ``"rate"``."""
        own = {name: state[f"{kind}_{name}"] for name in _NAMES}
        return cls(len(own["total"]), own["part"].shape[1], own["part"].dtype.type, own)

    def __init__(
        self, n_samples: int, n_genes: int, dtype: type, state: State | None = None
    ) -> None:
        self._looked = samples_looked_at(n_samples, n_genes)
        self._first = np.arange(min(FIRST, n_samples))
        self.state: State = state or {
            "total": np.zeros(n_samples),
            "low": np.full(n_samples, np.nan),
            "high": np.full(n_samples, np.nan),
            "part": np.full((len(self._looked), n_genes), np.nan, dtype=dtype),
            "first": np.full((len(self._first), n_genes), np.nan, dtype=dtype),
        }

    def add(self, values: np.ndarray, sample: int, gene: int) -> None:
        """Add values, shape (samples, genes), whose first sample and gene are given."""
        samples = slice(sample, sample + len(values))
        genes = slice(gene, gene + values.shape[1])
        self.state["total"][samples] += np.nansum(values, axis=1, dtype=np.float64)
        for name, extreme in (("low", np.fmin), ("high", np.fmax)):
            found = extreme.reduce(values, axis=1, initial=np.nan)
            self.state[name][samples] = extreme(self.state[name][samples], found)
        for name, rows in (("part", self._looked), ("first", self._first)):
            inside = (rows >= samples.start) & (rows < samples.stop)
            self.state[name][inside, genes] = values[rows[inside] - sample]

    def scale_sample(self) -> ScaleSample:
        """Evidence for the scale."""
        low, high = self.state["low"], self.state["high"]
        return ScaleSample(*_extremes(low, high), self.state["part"], self.state["first"])

    def scale_sample_per_million(self) -> ScaleSample:
        """Evidence for the scale of rates brought to a million a sample."""
        total = self.state["total"]
        low, high = (_per_million(self.state[name], total) for name in ("low", "high"))
        part, first = (
            _per_million(self.state[name], total[rows][:, None])
            for name, rows in (("part", self._looked), ("first", self._first))
        )
        return ScaleSample(*_extremes(low, high), part, first)


def _extremes(low: np.ndarray, high: np.ndarray) -> tuple[float, float]:
    """The least of `low` and the greatest of `high`, NaN left out."""
    return (
        float(np.fmin.reduce(low, initial=np.nan)),
        float(np.fmax.reduce(high, initial=np.nan)),
    )


class PanelReader:
    """Reads one expression matrix to the panel, or finds it staged.

    Parameters
    ----------
    opened : callable
        Gives the matrix: called only where it is not staged whole.
    entry : Staged
    lengths : Lengths, optional
        Counts become TPM then.
    """

    def __init__(
        self, opened: Callable[[], LineMatrix], entry: Staged, lengths: Lengths | None = None
    ) -> None:
        self._opened, self._entry, self._lengths = opened, entry, lengths
        self._whole = entry.load()

    @cached_property
    def _matrix(self) -> LineMatrix:
        return self._opened()

    @property
    def samples(self) -> tuple[str, ...]:
        """Sample names; no value is read for them."""
        if self._whole is not None:
            return tuple(json.loads(str(self._whole["samples"])))
        return self._matrix.samples

    def read(self, scale: str | None = None) -> PanelMatrix:
        """Read the values.

        Parameters
        ----------
        scale : str, optional
            One of `xpert_core.cohorts.records.SCALES`, where the detection is wrong.

        Raises
        ------
        DataError, CohortError
            When the matrix cannot be used, fewer than half of the panel is there, or lengths are
            given for what is no table of counts.
        """
        if self._whole is None:
            known = None
            if self._lengths is not None:
                known = self._lengths.of_gene
                self._refuse_lengths(self._lengths)
            self._whole = _Gatherer(self._matrix, self._entry, known).run()
            self.__dict__.pop("_matrix")  # values of other formats are let go
        state = self._whole
        name = str(state["name"])
        sums = _Sums.of(state, "raw")
        report = scale_of(sums.scale_sample(), scale, name=name)
        if self._lengths is not None:
            _refuse_no_counts(report, name)
            sums = _Sums.of(state, "rate")
            report = scale_of(sums.scale_sample_per_million(), "tpm", name=name)
        rows = self._entry.rows(tuple(state["shape"])).values
        return PanelMatrix(
            name=name,
            samples=self.samples,
            n_genes=int(state["n_genes"]),
            values=rows if state["by_sample"] else rows.T,
            gene_of=state["gene_of"],
            lengths=state.get("lengths"),
            total=sums.state["total"],
            scale=report,
            counts=Counts([(what, count) for what, count in json.loads(str(state["counts"]))]),
        )

    def _refuse_lengths(self, lengths: Lengths) -> None:
        """Refuse lengths before the values are read; that these are no counts is told first."""
        matrix = self._matrix
        problem = lengths.problem(matrix.identifiers, matrix.name)
        if problem is None:
            return
        sums = _Sums(len(matrix.samples), len(matrix.identifiers), np.float32)
        block = next(matrix.blocks(0, BLOCK_CELLS)).values
        sums.add(block if matrix.samples_in == "rows" else block.T, 0, 0)
        _refuse_no_counts(scale_of(sums.scale_sample(), name=matrix.name), matrix.name)
        raise problem


def _refuse_no_counts(scale: ScaleReport, name: str) -> None:
    if scale.used != "counts":
        raise DataError(
            "Gene lengths were given, but the matrix does not hold counts.",
            where=f"{name}: {scale.evidence}",
            fix="Leave the lengths out: values on this scale need none.",
        )


class _Gatherer:
    """Takes the lines of a matrix in order; everything it knows is in `state` and in `rows`.

    Parameters
    ----------
    matrix : LineMatrix
    entry : Staged
    lengths : dict of str to float, or None
    """

    def __init__(self, matrix: LineMatrix, entry: Staged, lengths: dict[str, float] | None) -> None:
        self._matrix, self._entry = matrix, entry
        identifiers, self._counts = matrix.identifiers, Counts()
        self.length = None
        if lengths is not None:
            self.length = np.array([lengths.get(gene, np.nan) for gene in identifiers])
            known = np.isfinite(self.length)
            self._counts.add("genes with a length", int(known.sum()))
            self._counts.add("left out: genes without a length", int((~known).sum()))
            self._rank = np.cumsum(known) - known  # number of a gene among those with a length
            identifiers = tuple(i for i, k in zip(identifiers, known, strict=True) if k)
        gene_of, found = genes_of_columns(identifiers, self._counts)
        refuse_few(found, matrix.name, identifiers)
        if self.length is not None:
            whole = np.full(len(matrix.identifiers), -1, dtype=np.int64)
            whole[np.isfinite(self.length)] = gene_of
            gene_of = whole
        self.genes = np.flatnonzero(gene_of >= 0)
        self.gene_of = gene_of[self.genes]
        sizes = (len(matrix.samples), len(matrix.identifiers))
        self.raw = _Sums(*sizes, np.float32)
        self.rate = None
        if self.length is not None:
            self.rate = _Sums(sizes[0], len(identifiers), np.float64)
        by_sample = matrix.samples_in == "rows"
        shape = (sizes[0], len(self.genes))
        self.shape = shape if by_sample else shape[::-1]
        self.start, self.line = 0, 0

    def run(self) -> State:
        """Read what is left of the matrix; returns the state, whole and staged."""
        state = self._entry.load(self.shape)
        if state is not None:
            self._restore(state)
        rows = self._entry.rows(self.shape)
        for number, block in enumerate(self._matrix.blocks(self.start, BLOCK_CELLS), start=1):
            self.add(block, rows.values)
            if block.sound and number % CHECKPOINT_BLOCKS == 0:
                rows.sync()
                self._entry.save(self._state())
                rows.release()
        rows.sync()
        state = self._state() | {
            "samples": np.array(json.dumps(self._matrix.samples)),
            "counts": np.array(json.dumps(self._counts.steps)),
            "name": np.array(self._matrix.name),
            "n_genes": np.array(len(self._matrix.identifiers)),
            "gene_of": self.gene_of,
            "shape": np.array(self.shape),
            "by_sample": np.array(self._matrix.samples_in == "rows"),
        }
        if self.length is not None:
            state["lengths"] = self.length[self.genes]
        self._entry.save(state)
        return state

    def add(self, block: Block, rows: np.ndarray) -> None:
        """Take a block; its values on the panel go to `rows`."""
        size, line = len(block.values), self.line
        if self._matrix.samples_in == "rows":
            values, sample, gene = block.values, line, 0
            rows[line : line + size] = values[:, self.genes]
        else:
            values, sample, gene = block.values.T, 0, line
            first, last = np.searchsorted(self.genes, (line, line + size))
            rows[first:last] = block.values[self.genes[first:last] - line]
        self.raw.add(values, sample, gene)
        if self.rate is not None:
            assert self.length is not None
            length = self.length[gene : gene + values.shape[1]]
            known = np.isfinite(length)
            rate = np.nan_to_num(values[:, known].astype(np.float64)) / length[known]
            if known.any():
                self.rate.add(rate, sample, int(self._rank[gene + np.argmax(known)]))
        self.start, self.line = block.end, line + size

    def _state(self) -> State:
        state = {"start": np.array(self.start), "line": np.array(self.line)}
        state |= {f"raw_{name}": array for name, array in self.raw.state.items()}
        if self.rate is not None:
            state |= {f"rate_{name}": array for name, array in self.rate.state.items()}
        return state

    def _restore(self, state: State) -> None:
        self.start, self.line = int(state["start"]), int(state["line"])
        self.raw = _Sums.of(state, "raw")
        self.rate = None if self.length is None else _Sums.of(state, "rate")
