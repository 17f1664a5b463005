"""Whether a cohort can be predicted, in words, and its base profiles on a panel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from xpert_core.cohorts.pairs import unmatched_patients
from xpert_core.cohorts.privacy import identity_warnings
from xpert_core.cohorts.records import Cohort, Profiles
from xpert_core.cohorts.scale import TRANSFORMS, to_log2
from xpert_core.errors import CohortError
from xpert_core.genes import resolve
from xpert_core.genes.records import GenePanel, GeneReport

#: Share of the panel that must be measured for a prediction.
MINIMUM_FRACTION = 0.5

#: Below this many genes a library size is not that of the whole sample.
_GENES_FOR_LIBRARY = 5000

_SCALE_REASONS = {
    "z-score": (
        "The values are z-scores: they say how a sample differs from the other samples of its "
        "study, not how strongly each gene is expressed, and prediction starts from expression "
        "levels."
    ),
    "log-ratio": (
        "The values are log-ratios to a reference sample: they say how a sample differs from the "
        "reference, not how strongly each gene is expressed, and prediction starts from expression "
        "levels."
    ),
}
_SCALE_HELP = (
    "Upload the expression values before they were standardised or divided by a reference (log2 "
    "intensities, TPM, or raw counts), or state the scale if it was recognised wrongly."
)


@dataclass(frozen=True)
class CohortCheck:
    """What a cohort offers for prediction.

    Attributes
    ----------
    genes : GeneReport
        What became of every identifier of the file.
    can_predict : bool
    reasons : tuple of str
        Why prediction is refused and what would help; empty when it is not.
    warnings : tuple of str
        What the user should know even though prediction is possible.
    """

    genes: GeneReport
    can_predict: bool
    reasons: tuple[str, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class _Refusal:
    why: str
    help: str


@dataclass(frozen=True)
class _Assessment:
    """A check together with the profiles it was made on.

    Attributes
    ----------
    rows : ndarray of int
        Rows of the cohort that become profiles.
    x_ctl : ndarray of float32, shape (len(rows), len(panel))
        NaN where not measured.
    """

    genes: GeneReport
    rows: np.ndarray
    x_ctl: np.ndarray
    refusals: tuple[_Refusal, ...]
    warnings: tuple[str, ...]


def check_cohort(cohort: Cohort, panel: GenePanel) -> CohortCheck:
    """Say whether a cohort can be predicted, why not, and what to look out for."""
    found = _assess(cohort, panel)
    reasons = tuple(f"{r.why} {r.help}" for r in found.refusals)
    return CohortCheck(found.genes, not reasons, reasons, found.warnings)


def to_profiles(cohort: Cohort, panel: GenePanel) -> Profiles:
    """Base profiles of a cohort: samples before treatment, panel genes, log2 scale.

    Raises
    ------
    CohortError
        When prediction is refused: too few landmark genes, z-scores or log-ratios, no sample
        before treatment.
    """
    found = _assess(cohort, panel)
    if found.refusals:
        raise CohortError(
            " ".join(r.why for r in found.refusals),
            where=cohort.name,
            fix=" ".join(r.help for r in found.refusals),
        )
    return Profiles(
        name=cohort.name,
        samples=cohort.samples.iloc[found.rows],
        x_ctl=found.x_ctl,
        panel=panel,
        genes=found.genes,
        scale=cohort.scale,
        input_sha256=cohort.input_sha256,
        notes=(*cohort.notes, *found.warnings),
    )


def _assess(cohort: Cohort, panel: GenePanel) -> _Assessment:
    genes = resolve(cohort.identifiers, panel)
    refusals: list[_Refusal] = []
    warnings: list[str] = []
    rows = np.flatnonzero((cohort.samples["timepoint"] != "post").to_numpy())
    if not rows.size:
        refusals.append(
            _Refusal(
                "Every sample is marked as taken after treatment; prediction starts from samples "
                "before treatment.",
                "Add the samples before treatment, or correct the timepoint column.",
            )
        )
    if cohort.scale.used not in TRANSFORMS:
        refusals.append(_Refusal(_SCALE_REASONS[cohort.scale.used], _SCALE_HELP))
    x_ctl, measured = on_panel(cohort, genes, rows)
    few = _too_few_genes(genes, measured, len(rows))
    if few:
        refusals.append(few)
    elif rows.size:
        warnings += _missing_genes(genes, measured, panel)
    if not refusals:
        usable, lost = _usable_profiles(cohort, x_ctl, rows)
        warnings += lost
        if len(usable) < len(rows):
            rows, x_ctl = rows[usable], x_ctl[usable]
        if not rows.size:
            refusals.append(
                _Refusal(
                    "No sample has a usable profile: " + " ".join(lost),
                    "Check that the expression values of the samples were exported.",
                )
            )
    warnings += _general_warnings(cohort)
    return _Assessment(genes, rows, x_ctl, tuple(refusals), tuple(warnings))


def on_panel(cohort: Cohort, genes: GeneReport, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Profiles (log2 where the scale allows it) and which panel genes have any value."""
    x_ctl = np.full((len(rows), genes.panel_size), np.nan, dtype=np.float32)
    found = np.flatnonzero(genes.column_of_gene >= 0)
    columns = genes.column_of_gene[found]
    for profile, row in zip(x_ctl, rows, strict=True):  # row by row, to hold no second matrix
        profile[found] = cohort.expression[row, columns]
    measured: np.ndarray = np.any(~np.isnan(x_ctl), axis=0)
    if cohort.scale.used in TRANSFORMS:
        to_log2(cohort, rows, x_ctl)
    return x_ctl, measured


def _too_few_genes(genes: GeneReport, measured: np.ndarray, n_rows: int) -> _Refusal | None:
    n_measured = int(measured.sum()) if n_rows else genes.n_found
    needed = int(np.ceil(MINIMUM_FRACTION * genes.panel_size))
    if n_measured >= needed:
        return None
    blank = genes.n_found - n_measured
    also = f" ({blank:,} more are in the file without any value)" if blank else ""
    return _Refusal(
        f"Only {n_measured:,} of the {genes.panel_size:,} landmark genes "
        f"({n_measured / genes.panel_size:.1%}) are measured in the file{also}; prediction needs "
        f"at least {needed:,} ({MINIMUM_FRACTION:.0%}).",
        "Upload the complete expression matrix of the study rather than a selection of genes; the "
        "list of missing genes is in the gene report.",
    )


def _missing_genes(genes: GeneReport, measured: np.ndarray, panel: GenePanel) -> list[str]:
    warnings = []
    n_missing = genes.panel_size - int(measured.sum())
    if n_missing:
        warnings.append(
            f"{n_missing:,} of the {genes.panel_size:,} landmark genes "
            f"{'is not measured and is' if n_missing == 1 else 'are not measured and are'} marked "
            "as missing, not filled in."
        )
    blank = np.flatnonzero((genes.column_of_gene >= 0) & ~measured)
    if blank.size:
        names = ", ".join(panel.symbols[g] for g in blank[:5])
        warnings.append(
            f"{blank.size:,} landmark {'gene has' if blank.size == 1 else 'genes have'} a column "
            f"without any value and {'counts' if blank.size == 1 else 'count'} as missing: "
            f"{names}{', …' if blank.size > 5 else ''}."
        )
    return warnings


def _usable_profiles(
    cohort: Cohort, x_ctl: np.ndarray, rows: np.ndarray
) -> tuple[np.ndarray, list[str]]:
    """Positions of profiles with enough genes that are not constant; sentences on the others."""
    n_measured = (~np.isnan(x_ctl)).sum(axis=1)
    needed = int(np.ceil(MINIMUM_FRACTION * x_ctl.shape[1]))
    sparse = n_measured < needed
    constant = ~sparse & (np.fmax.reduce(x_ctl, axis=1) == np.fmin.reduce(x_ctl, axis=1))
    names = cohort.samples.index[rows]
    warnings = []
    for which, why in (
        (sparse, f"has a value for fewer than {needed:,} landmark genes"),
        (constant, "has the same value for every landmark gene"),
    ):
        if which.any():
            listed = ", ".join(str(n)[:40] for n in names[which][:5])
            count = int(which.sum())
            warnings.append(
                f"{count:,} {'sample is' if count == 1 else 'samples are'} left out, because "
                f"{'it' if count == 1 else 'each'} {why}: {listed}{', …' if count > 5 else ''}."
            )
    return np.flatnonzero(~sparse & ~constant), warnings


def _general_warnings(cohort: Cohort) -> list[str]:
    warnings = list(identity_warnings([*cohort.samples["patient_id"], *cohort.samples.index]))
    n_genes = len(cohort.identifiers)
    if cohort.scale.used == "counts" and n_genes < _GENES_FOR_LIBRARY:
        warnings.append(
            f"Counts per million are computed from the {n_genes:,} genes of the file only; with "
            "all genes of the sample they would be lower. Upload the complete count matrix."
        )
    if cohort.scale.used == "log2":
        low, high = float(np.nanmin(cohort.expression)), float(np.nanmax(cohort.expression))
        if high - low < 3:
            warnings.append(
                f"The values span only {low:.2f} to {high:.2f}; log2 expression usually spans 5 to "
                "15 units. Check that the file was not rescaled."
            )
    unmatched = unmatched_patients(cohort) if cohort.is_paired else ()
    if unmatched:
        listed = ", ".join(p[:40] for p in unmatched[:5])
        warnings.append(
            f"{len(unmatched):,} {'patient has' if len(unmatched) == 1 else 'patients have'} no "
            f"partner sample and cannot be compared before and after: {listed}"
            f"{', …' if len(unmatched) > 5 else ''}."
        )
    return warnings
