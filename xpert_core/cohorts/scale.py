"""The scale of a matrix: recognised from its numbers, with the evidence, and brought to log2."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from xpert_core.cohorts.records import SCALES, Cohort, ScaleReport
from xpert_core.errors import CohortError

#: How each scale reaches log2; the scales that cannot are not listed.
TRANSFORMS = {
    "counts": "log2(CPM + 1)",
    "tpm": "log2(x + 1)",
    "cpm": "log2(x + 1)",
    "log2": "none",
}
_SPELLINGS = {
    "rawcounts": "counts",
    "count": "counts",
    "fpkm": "tpm",
    "rpkm": "tpm",
    "tpmfpkm": "tpm",
    "zscore": "z-score",
    "zscores": "z-score",
    "logratio": "log-ratio",
    "logfoldchange": "log-ratio",
    "log": "log2",
}

#: No log2 measurement exceeds this: 2**25 is more than any count or intensity in use.
_LOG2_MAX = 25.0
_CELLS_LOOKED_AT = 200_000
#: Samples whose sums and steps are looked at.
FIRST = 5
_MILLION = 1e6


@dataclass(frozen=True)
class ScaleSample:
    """What of a matrix tells its scale: the extremes of all cells, and every gene of some samples.

    Attributes
    ----------
    low, high : float
        Over all measured cells; NaN where there is none.
    part : ndarray of float32, shape (n_samples_looked_at, n_genes)
        Rows `samples_looked_at` of the matrix, NaN where missing.
    first : ndarray of float32, shape (up to 5, n_genes)
        The first rows of the matrix.
    """

    low: float
    high: float
    part: np.ndarray
    first: np.ndarray


@dataclass(frozen=True)
class _Summary:
    """Numbers of a matrix that tell scales apart."""

    low: float
    high: float
    negative: float  # share of the measured cells below zero
    whole: float  # share of the non-zero cells that are whole numbers
    level_spread: float  # SD over genes of the gene's mean
    level_top: float  # 95th percentile over genes of the gene's mean
    gene_sd: float  # median over genes of the SD over samples; NaN for one sample
    sums: np.ndarray  # per sample


def scale_name(text: str) -> str:
    """One of `SCALES` from a user's spelling.

    Raises
    ------
    CohortError
        When the name is not a scale.
    """
    lowered = text.strip().lower()
    letters = "".join(c for c in lowered if c.isalnum())
    name = lowered if lowered in SCALES else _SPELLINGS.get(letters, letters)
    if name not in SCALES:
        raise CohortError(
            f"The scale '{text}' is not known.", fix=f"Use one of: {', '.join(SCALES)}."
        )
    return name


def detect_scale(values: np.ndarray, override: str | None = None, *, name: str = "") -> ScaleReport:
    """Recognise the scale of a matrix over all genes of its file.

    Parameters
    ----------
    values : ndarray of float32, shape (n_samples, n_genes)
        Values as in the file, NaN where missing.
    override : str, optional
        The scale the user states; the detection is still reported.
    name : str
        File name, for messages.

    Raises
    ------
    CohortError
        When the matrix holds no number, or the stated scale contradicts negative values.
    """
    rows = samples_looked_at(*values.shape)
    low, high = (float(f.reduce(values, axis=None, initial=np.nan)) for f in (np.fmin, np.fmax))
    sample = ScaleSample(low, high, values[rows], values[:FIRST])
    return scale_of(sample, override, name=name)


def samples_looked_at(n_samples: int, n_genes: int) -> np.ndarray:
    """Rows of a matrix whose genes are all looked at: an even selection; int64."""
    rows = max(3, _CELLS_LOOKED_AT // max(n_genes, 1))
    return np.unique(np.linspace(0, n_samples - 1, min(rows, n_samples)).astype(int))


def scale_of(sample: ScaleSample, override: str | None = None, *, name: str = "") -> ScaleReport:
    """`detect_scale` for a matrix that is not in memory: the same answer from a part of it.

    Raises
    ------
    CohortError
        As `detect_scale`.
    """
    summary = _summarise(sample, name)
    detected, evidence = _recognise(summary, sample.first)
    used = scale_name(override) if override else detected
    if used in ("counts", "tpm", "cpm") and summary.low < 0:
        raise CohortError(
            f"The scale was given as {used}, but the file has negative values, down to "
            f"{summary.low:.3g}.",
            where=name,
            fix="Counts, TPM and CPM are never negative: choose log2, z-score or log-ratio, or "
            "upload the values before they were transformed.",
        )
    if used != detected:
        evidence += f" You chose {used} instead of the detected {detected}."
    return ScaleReport(detected, used, evidence, TRANSFORMS.get(used, "none possible"))


def _summarise(sample: ScaleSample, name: str) -> _Summary:
    part = sample.part.astype(np.float64)
    measured = part[~np.isnan(part)]
    if not measured.size:
        raise CohortError(
            "The file holds no expression value: every cell is blank.",
            where=name,
            fix="Check that the values were exported and not only the headers.",
        )
    counts = np.maximum((~np.isnan(part)).sum(axis=0), 1)
    filled = np.nan_to_num(part)
    means = filled.sum(axis=0) / counts
    variances = np.where(np.isnan(part), 0, (part - means) ** 2).sum(axis=0) / counts
    several = counts >= 3
    nonzero = measured[measured != 0]
    return _Summary(
        low=sample.low,
        high=sample.high,
        negative=float((measured < 0).mean()),
        whole=float((nonzero == np.round(nonzero)).mean()) if nonzero.size else 1.0,
        level_spread=float(means.std()),
        level_top=float(np.quantile(means, 0.95)),
        gene_sd=float(np.sqrt(np.median(variances[several]))) if several.any() else np.nan,
        sums=filled.sum(axis=1),
    )


def _recognise(s: _Summary, first: np.ndarray) -> tuple[str, str]:
    """The scale and the sentence that says why."""
    span = f"Values run from {s.low:.4g} to {s.high:.4g}"
    if s.low < 0:
        return _recognise_negative(s, span)
    if s.whole >= 0.99 and not _sums_to_a_million(s.sums):
        return "counts", f"{span} and {s.whole:.0%} of the non-zero values are whole numbers."
    if s.high > _LOG2_MAX:
        return _recognise_linear(s, first, span)
    evidence = f"{span}, as logarithms do (linear values would exceed {_LOG2_MAX:g})"
    sums = np.exp2(first.astype(np.float64)) - 1
    if _sums_to_a_million(np.nansum(sums, axis=1)):
        evidence += "; undoing log2(x + 1) gives one million per sample, so it is log2(CPM + 1) "
        evidence += "or log2(TPM + 1)"
    return "log2", evidence + "."


def _recognise_negative(s: _Summary, span: str) -> tuple[str, str]:
    # Expression levels differ between genes by many units; ratios and z-scores all centre on 0.
    if s.level_spread >= 1.2 and s.level_top >= 4:
        return "log2", (
            f"{span}, {s.negative:.1%} are negative, and the levels of the genes differ widely "
            f"(standard deviation {s.level_spread:.2f}), as log2 expression with low values does."
        )
    centred = f"{span}, {s.negative:.0%} are negative and the genes centre on zero"
    sd = s.level_spread if np.isnan(s.gene_sd) else s.gene_sd
    if 0.85 <= sd <= 1.15:
        return "z-score", f"{centred} with a typical standard deviation of {sd:.2f}, close to 1."
    return "log-ratio", (
        f"{centred} with a typical standard deviation of {sd:.2f}, as ratios to a reference do."
    )


def _recognise_linear(s: _Summary, first: np.ndarray, span: str) -> tuple[str, str]:
    top = f"the largest sample adds up to {s.sums.max():,.0f}"
    if s.whole >= 0.6 and not _sums_to_a_million(s.sums):
        return "counts", (
            f"{span} and {s.whole:.0%} of the non-zero values are whole numbers, as expected "
            "counts are."
        )
    if _steps_of_one_read(first):
        return "cpm", f"{span}, {top}, and the values are multiples of one read per million."
    return "tpm", f"{span}, too large for logarithms and not whole numbers; {top}."


def _sums_to_a_million(sums: np.ndarray) -> bool:
    """Whether samples add up to one million, within what a few dropped genes change."""
    return bool(np.all(np.abs(sums / _MILLION - 1) < 0.03))


def _steps_of_one_read(first: np.ndarray) -> bool:
    """Whether small values are whole multiples of the smallest one: CPM of counts."""
    rows: np.ndarray = first.astype(np.float64)
    for row in rows:
        positive = row[row > 0]
        if positive.size < 20:
            return False
        steps = positive / positive.min()
        steps = steps[(steps > 1.5) & (steps < 50)]
        if steps.size < 10 or (np.abs(steps - np.round(steps)) < 0.05).mean() < 0.95:
            return False
    return True


def to_log2(cohort: Cohort, rows: np.ndarray, chosen: np.ndarray) -> None:
    """Bring values taken from a cohort to the log2 scale, in place.

    Counts are divided by the sum over **all** genes of the file, not over the chosen ones.

    Parameters
    ----------
    cohort : Cohort
    rows : ndarray of int, shape (n,)
        Samples of the cohort that the rows of `chosen` come from.
    chosen : ndarray of float32, shape (n, g)
        Values on the cohort's scale, NaN where missing; log2 afterwards, NaN also where a sample
        has no reads.
    """
    library = None
    if cohort.scale.used == "counts":
        library = np.array([np.nansum(cohort.expression[r], dtype=np.float64) for r in rows])
    bring_to_log2(cohort.scale, chosen, library, cohort.name)


def bring_to_log2(
    scale: ScaleReport, chosen: np.ndarray, library: np.ndarray | None, name: str
) -> None:
    """Bring values to the log2 scale, in place.

    Parameters
    ----------
    scale : ScaleReport
        Of `chosen`.
    chosen : ndarray of float32, shape (n, g)
        As in `to_log2`.
    library : ndarray of float64, shape (n,), or None
        Sum over all genes of the file, which counts are divided by.
    name : str
        File name, for messages.

    Raises
    ------
    CohortError
        When the scale has no way to log2.
    """
    if scale.used == "counts":
        assert library is not None
        reads = np.where(library > 0, library, np.nan)
        chosen *= (_MILLION / reads).astype(np.float32)[:, None]
    if scale.used in ("counts", "tpm", "cpm"):
        np.log2(np.add(chosen, 1, out=chosen), out=chosen)
    elif scale.used != "log2":
        raise CohortError(
            f"Values on the {scale.used} scale cannot be brought to log2 expression.",
            where=name,
            fix="Upload the expression values before they were standardised.",
        )
