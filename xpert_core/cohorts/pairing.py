"""From a cohort to pairs: every sample after treatment with one before, on a gene panel."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd

from xpert_core.cohorts.paired import PAIR_COLUMNS, PairedProfiles
from xpert_core.cohorts.profiles import MINIMUM_FRACTION, on_panel
from xpert_core.cohorts.records import SAMPLE_COLUMNS, Cohort
from xpert_core.cohorts.scale import TRANSFORMS
from xpert_core.conditions import parse_time
from xpert_core.errors import CohortError, ConditionError
from xpert_core.genes import resolve
from xpert_core.genes.records import GenePanel

#: Names listed in a message before it says "and so on".
SHOWN = 8
_ZERO = re.compile(r"0+(?:[.,]0+)?\s*[a-zA-Z]*")


def to_pairs(cohort: Cohort, panel: GenePanel) -> PairedProfiles:
    """Pair the samples of each patient before and after treatment.

    Every sample after treatment makes a pair, so a patient with repeated biopsies has several. It
    is compared with the patient's sample before treatment; where there are several of these, with
    the nearest earlier one if the times of all of them can be read, else with the first.

    Parameters
    ----------
    cohort : Cohort
        One file with a timepoint column, an h5ad file with ``obsm["X_ctl"]``, or two files.
    panel : GenePanel

    Returns
    -------
    PairedProfiles
        On log2 (counts, TPM and CPM are transformed), or in z-scores or log-ratios, of which only
        the difference is used. Genes that one side lacks altogether are missing on both.

    Raises
    ------
    CohortError
        When there is no pair, or fewer than half of the panel is measured on both sides.
    """
    notes = list(cohort.notes)
    rows = _match(cohort, notes)
    genes = resolve(cohort.identifiers, panel)
    before, measured_before = on_panel(cohort, genes, rows[:, 0])
    after, measured_after = on_panel(cohort, genes, rows[:, 1])
    common = measured_before & measured_after
    _refuse_few_genes(cohort, measured_before, measured_after)
    notes += _lost_genes(panel, measured_before, measured_after)
    before[:, ~common], after[:, ~common] = np.nan, np.nan
    usable = _usable(cohort, rows, before, after, notes)
    rows, before, after = rows[usable], before[usable], after[usable]
    scale = cohort.scale.used
    return PairedProfiles(
        name=cohort.name,
        pairs=_table(cohort.samples, rows),
        x_before=before,
        x_after=after,
        unit="log2" if scale in TRANSFORMS else scale,
        panel=panel,
        genes=genes,
        scale_transform=TRANSFORMS.get(scale, "none"),
        input_sha256=cohort.input_sha256,
        notes=tuple(notes),
    )


def listed(names: list[str] | tuple[str, ...]) -> str:
    """Some names for a message: the first few, shortened."""
    shown = ", ".join(str(name)[:40] for name in names[:SHOWN])
    return f"{shown}, …" if len(names) > SHOWN else shown


def _match(cohort: Cohort, notes: list[str]) -> np.ndarray:
    """Rows (before, after) of every pair, shape (n, 2), in the order of the samples after."""
    samples = cohort.samples
    rows_of = {
        stage: samples.reset_index(drop=True)
        .query("timepoint == @stage")
        .groupby("patient_id", sort=False)
        .groups
        for stage in ("pre", "post")
    }
    hours = [_hours(text) for text in samples["time"]]
    found = []
    for patient, after in rows_of["post"].items():
        before = list(rows_of["pre"].get(patient, ()))
        found += [(_partner(before, row, hours), row) for row in after if before]
        if len(before) > 1:
            how = "the nearest earlier one" if _timed(before, list(after), hours) else "the first"
            notes.append(
                f"{str(patient)[:40]} has {len(before)} samples before treatment; {how} is used."
            )
        if before and len(after) > 1:
            notes.append(
                f"{str(patient)[:40]} has {len(after)} samples after treatment: "
                f"{len(after)} pairs of one patient."
            )
    if not found:
        raise _no_pair(cohort, rows_of)
    notes += _unpaired(cohort, rows_of)
    return np.array(sorted(found, key=lambda pair: pair[1]), dtype=np.int64)


def _partner(before: list[int], after: int, hours: list[float | None]) -> int:
    """The nearest earlier sample where all times are known, else the first."""
    if not _timed(before, [after], hours):
        return before[0]
    earlier = [row for row in before if _at(hours, row) <= _at(hours, after)]
    return max(earlier, key=lambda row: _at(hours, row)) if earlier else before[0]


def _timed(before: list[int], after: list[int], hours: list[float | None]) -> bool:
    return all(hours[row] is not None for row in (*before, *after))


def _at(hours: list[float | None], row: int) -> float:
    found = hours[row]
    assert found is not None
    return found


def _hours(text: str | None) -> float | None:
    """Time of a sample, also zero and before the first dose; None where it cannot be read."""
    word = "" if text is None or pd.isna(text) else str(text).strip()
    sign = -1.0 if word[:1] in ("-", "\u2212") else 1.0
    word = word.lstrip("+-\u2212 ")
    if _ZERO.fullmatch(word):
        return 0.0
    try:
        return sign * parse_time(word)
    except ConditionError:
        return None


def _no_pair(cohort: Cohort, rows_of: dict[str, dict]) -> CohortError:
    stages = cohort.samples["timepoint"]
    counts = {stage: int((stages == stage).sum()) for stage in ("pre", "post")}
    if not sum(counts.values()):
        return CohortError(
            "The file does not say which samples were taken before and which after treatment.",
            where=f"{cohort.name}: {len(stages):,} samples without a timepoint",
            fix="Add a column timepoint with 'pre' and 'post', or give a second file with the "
            "samples after treatment.",
        )
    return CohortError(
        "No patient has a sample before and a sample after treatment.",
        where=f"{cohort.name}: {counts['pre']:,} samples before treatment of "
        f"{len(rows_of['pre']):,} patients, {counts['post']:,} after of {len(rows_of['post']):,}",
        fix="Give both samples of a patient the same patient_id.",
    )


def _unpaired(cohort: Cohort, rows_of: dict[str, dict]) -> list[str]:
    """A sentence on the patients of one side only, and on the samples of neither."""
    notes = []
    sides = (("pre", "post", "after"), ("post", "pre", "before"))
    for stage, other, word in sides:
        lone = [str(p) for p in rows_of[stage] if p not in rows_of[other]]
        if lone:
            notes.append(
                f"{len(lone):,} {'patient has' if len(lone) == 1 else 'patients have'} no sample "
                f"{word} treatment and {'is' if len(lone) == 1 else 'are'} left out: "
                f"{listed(lone)}."
            )
    unknown = [str(i) for i, s in cohort.samples["timepoint"].items() if s not in ("pre", "post")]
    if unknown:
        notes.append(
            f"{len(unknown):,} {'sample has' if len(unknown) == 1 else 'samples have'} no "
            f"timepoint and {'is' if len(unknown) == 1 else 'are'} left out: {listed(unknown)}."
        )
    return notes


def _refuse_few_genes(cohort: Cohort, before: np.ndarray, after: np.ndarray) -> None:
    size, common = len(before), int((before & after).sum())
    needed = int(np.ceil(MINIMUM_FRACTION * size))
    if common < needed:
        raise CohortError(
            f"Only {common:,} of the {size:,} landmark genes ({common / size:.1%}) are measured "
            f"before and after treatment; fine-tuning needs at least {needed:,} "
            f"({MINIMUM_FRACTION:.0%}).",
            where=f"{cohort.name}: {int(before.sum()):,} are measured before treatment, "
            f"{int(after.sum()):,} after",
            fix="Upload the complete expression matrix of the study rather than a selection of "
            "genes, with the same gene names before and after.",
        )


def _lost_genes(panel: GenePanel, before: np.ndarray, after: np.ndarray) -> list[str]:
    notes = []
    for side, other, word in ((before, after, "before"), (after, before, "after")):
        lost = [panel.symbols[g] for g in np.flatnonzero(side & ~other)]
        if lost:
            notes.append(
                f"{len(lost):,} landmark {'gene is' if len(lost) == 1 else 'genes are'} measured "
                f"only {word} treatment and not used: {listed(lost)}."
            )
    missing = int((~before & ~after).sum())
    if missing:
        notes.append(
            f"{missing:,} of the {len(panel):,} landmark genes "
            f"{'is not measured and is' if missing == 1 else 'are not measured and are'} marked "
            "as missing, not filled in."
        )
    return notes


def _usable(
    cohort: Cohort, rows: np.ndarray, before: np.ndarray, after: np.ndarray, notes: list[str]
) -> np.ndarray:
    """Pairs with enough genes on both sides whose profiles are not constant."""
    needed = int(np.ceil(MINIMUM_FRACTION * before.shape[1]))
    sparse = (~np.isnan(after - before)).sum(axis=1) < needed
    constant = ~sparse & np.logical_or.reduce(
        [np.fmax.reduce(x, axis=1) == np.fmin.reduce(x, axis=1) for x in (before, after)]
    )
    names = [str(name) for name in cohort.samples.index[rows[:, 1]]]
    for which, why in (
        (sparse, f"fewer than {needed:,} landmark genes have a value on both sides"),
        (constant, "every landmark gene has the same value before or after treatment"),
    ):
        lost = [names[i] for i in np.flatnonzero(which)]
        if lost:
            notes.append(
                f"{len(lost):,} {'pair is' if len(lost) == 1 else 'pairs are'} left out, because "
                f"{why}: {listed(lost)}."
            )
    usable = np.flatnonzero(~sparse & ~constant)
    if not usable.size:
        raise CohortError(
            "No pair has usable profiles: " + " ".join(notes[-2:]),
            where=cohort.name,
            fix="Check that the expression values of the samples were exported.",
        )
    return usable


def _table(samples: pd.DataFrame, rows: np.ndarray) -> pd.DataFrame:
    """`PairedProfiles.pairs`; the id of a pair is that of its sample after treatment."""
    before, after = samples.iloc[rows[:, 0]], samples.iloc[rows[:, 1]]
    index = pd.Index([str(i) for i in after.index], name="pair_id", dtype=object)
    columns: dict[str, list] = {
        "patient_id": [str(p) for p in after["patient_id"]],
        "sample_before": [str(i) for i in before.index],
        "sample_after": list(index),
    }
    for name in ("drug", "dose", "time", "response"):
        columns[name] = _texts(after[name])
    # The sheet may name drug and response at the sample before treatment alone.
    for name in ("drug", "dose", "response"):
        columns[name] = [a or b for a, b in zip(columns[name], _texts(before[name]), strict=True)]
    assert tuple(columns) == PAIR_COLUMNS
    taken = {*SAMPLE_COLUMNS, *PAIR_COLUMNS}
    columns |= {str(c): list(after[c]) for c in after.columns if str(c) not in taken}
    return pd.DataFrame(columns, index=index)


def _texts(cells: pd.Series) -> list[str]:
    return ["" if cell is None or pd.isna(cell) else str(cell).strip() for cell in cells]
