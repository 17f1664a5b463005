"""Predicted and measured changes of responders and non-responders, and where predictions err."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy.stats import gaussian_kde, ttest_1samp, ttest_ind

from xpert_core.cohorts.paired import PairedProfiles
from xpert_core.errors import CohortError, DataError, GeneError
from xpert_core.explanation.differential import Thresholds, balanced_changes, change_table
from xpert_core.explanation.groups import known_word
from xpert_core.explanation.statistics import benjamini_hochberg
from xpert_core.prediction.records import X_DEG_UNIT, Prediction

RESPONDER, NON_RESPONDER = "responder", "non-responder"
GROUPS = (RESPONDER, NON_RESPONDER)
#: How files write the two groups; anything else stands for no group until the user says so.
_RESPONDER = {"responder", "response", "res", "r", "prcr", "cr", "pr", "cr/pr", "yes", "1", "pcr"}
_NON_RESPONDER = {
    "non-responder", "nonresponder", "non responder", "non-response", "non", "nr", "pd", "sd",
    "no", "0", "rd",
}  # fmt: skip
#: Smallest group that has a spread.
MIN_GROUP = 2
#: Points at which densities are given.
DENSITY_POINTS = 80


@dataclass(frozen=True)
class Changes:
    """Changes of patients from one source: measured, or predicted by one model.

    Attributes
    ----------
    source : str
        ``"measured"``, or the name of the model.
    patients : tuple of str
        Unique, one a row.
    genes : tuple of str
        Symbols, one a column.
    x_deg : ndarray of float64, shape (n, n_genes)
        NaN = not measured.
    unit : str
    """

    source: str
    patients: tuple[str, ...]
    genes: tuple[str, ...]
    x_deg: np.ndarray
    unit: str

    def of(self, patients: Sequence[str]) -> np.ndarray:
        """Rows of some patients, in their order, shape (len(patients), n_genes)."""
        return self.x_deg[pd.Index(self.patients).get_indexer(pd.Index(patients))]

    def column(self, gene: str) -> int:
        """Position of a gene.

        Raises
        ------
        GeneError
            If it is not among the genes.
        """
        try:
            return self.genes.index(gene)
        except ValueError:
            raise GeneError(
                f"'{gene}' is not among the genes of {self.source}.",
                where=f"{len(self.genes)} genes",
                fix="Give the symbol of a landmark gene, such as CDK1.",
            ) from None


def from_prediction(
    prediction: Prediction,
    drug: str | None = None,
    dose_um: float | None = None,
    time_h: float | None = None,
    source: str = "",
) -> Changes:
    """Changes of one condition of a result; conditions may be left out where there is only one.

    Several samples of one patient are averaged; a sample without a patient stands for itself.

    Raises
    ------
    DataError
        If the condition is not in the result, or several fit.
    """
    rows = prediction.rows
    fits = np.ones(len(rows), dtype=bool)
    for column, value in (("drug", drug), ("dose_um", dose_um), ("time_h", time_h)):
        if value is not None:
            own = rows[column]
            fits &= np.isclose(own, value) if column != "drug" else (own == value).to_numpy()
    conditions = rows.loc[fits, ["drug", "dose_um", "time_h"]].drop_duplicates()
    if len(conditions) != 1:
        shown = rows[["drug", "dose_um", "time_h"]].drop_duplicates().head(4)
        listed = "; ".join(f"{d}, {dose:g} uM, {t:g} h" for d, dose, t in shown.to_numpy())
        raise DataError(
            "This condition was not predicted." if conditions.empty else "Several conditions fit.",
            where=f"the result holds {listed}",
            fix="Name the drug, the dose and the time.",
        )
    patient = rows["patient_id"].where(rows["patient_id"] != "", rows["sample_id"])[fits]
    table = pd.DataFrame(prediction.x_deg[fits].astype(np.float64))
    mean = table.groupby(patient.to_numpy(), sort=False).mean()
    name = source or str(prediction.provenance.get("model_name", "prediction"))
    return Changes(
        name, tuple(map(str, mean.index)), tuple(prediction.genes.index), mean.to_numpy(),
        X_DEG_UNIT,
    )  # fmt: skip


def from_pairs(pairs: PairedProfiles, source: str = "measured") -> Changes:
    """Measured changes; several pairs of one patient are averaged."""
    table = pd.DataFrame(pairs.x_deg.astype(np.float64))
    mean = table.groupby(np.array(pairs.patients), sort=False).mean()
    unit = "log2 fold change" if pairs.unit == "log2" else "difference of z-scores"
    return Changes(
        source, tuple(map(str, mean.index)), tuple(pairs.panel.symbols), mean.to_numpy(), unit
    )


def on_common(sources: Sequence[Changes]) -> list[Changes]:
    """The same patients and genes in every source, in the order of the first.

    Genes that a source lacks everywhere are left out.

    Raises
    ------
    CohortError
        If the sources share no patient or no gene, or two have one name.
    """
    if len({s.source for s in sources}) < len(sources):
        raise CohortError(
            "Two sources have the same name.",
            where=", ".join(s.source for s in sources),
            fix="Give each model a name of its own.",
        )
    patients = [p for p in sources[0].patients if all(p in s.patients for s in sources)]
    genes = [
        g
        for g in sources[0].genes
        if all(g in s.genes and not np.isnan(s.x_deg[:, s.column(g)]).all() for s in sources)
    ]
    if not patients or not genes:
        what = "patient" if not patients else "gene"
        raise CohortError(
            f"The sources share no {what}.",
            where="; ".join(f"{s.source}: {len(s.patients)} patients" for s in sources),
            fix="Predict the patients whose response was measured, under the same patient ids.",
        )
    found = []
    for source in sources:
        columns = [source.column(gene) for gene in genes]
        values = source.of(patients)[:, columns]
        found.append(replace(source, patients=tuple(patients), genes=tuple(genes), x_deg=values))
    return found


def response_groups(
    labels: Mapping[str, object],
    responders: Sequence[str] | None = None,
    non_responders: Sequence[str] | None = None,
) -> dict[str, str]:
    """Group of each patient: `RESPONDER`, `NON_RESPONDER`, or left out.

    Parameters
    ----------
    labels : mapping
        Patient to the response as the file writes it.
    responders, non_responders : sequence of str, optional
        Which labels form each group; by default the usual words (CR, PR, PRCR, responder; SD, PD,
        nonresponder and the like).

    Raises
    ------
    CohortError
        If a group is empty, or a label stands in both.
    """
    one = {known_word(w) for w in (_RESPONDER if responders is None else responders)}
    other = {known_word(w) for w in (_NON_RESPONDER if non_responders is None else non_responders)}
    if one & other:
        raise CohortError(
            "A label stands in both groups.",
            where=", ".join(sorted(one & other)),
            fix="Give each label to one group.",
        )
    found = {}
    for patient, label in labels.items():
        word = known_word(label)
        if word in one or word in other:
            found[str(patient)] = RESPONDER if word in one else NON_RESPONDER
    for group in GROUPS:
        if group not in found.values():
            seen = sorted({str(v) for v in labels.values() if known_word(v)})
            raise CohortError(
                f"There is no {group} in the cohort.",
                where=f"labels: {', '.join(seen[:8]) or 'none'}",
                fix="Say which labels mean a response and which do not.",
            )
    return found


def recognised(label: object) -> str:
    """Group that a label usually means; ``""`` where it is none of the usual words."""
    word = known_word(label)
    return RESPONDER if word in _RESPONDER else NON_RESPONDER if word in _NON_RESPONDER else ""


def _split(changes: Changes, groups: Mapping[str, str]) -> dict[str, np.ndarray]:
    """Rows of each group.

    Raises
    ------
    CohortError
        If a group has fewer than `MIN_GROUP` patients.
    """
    found = {}
    for group in GROUPS:
        members = [p for p in changes.patients if groups.get(p) == group]
        if len(members) < MIN_GROUP:
            raise CohortError(
                f"There are too few patients in the group '{group}'.",
                where=f"{len(members)} in {changes.source}, at least {MIN_GROUP} are needed",
                fix="Choose labels, or a cohort, with more patients in each group.",
            )
        found[group] = changes.of(members)
    return found


def distribution(sources: Sequence[Changes], groups: Mapping[str, str]) -> pd.DataFrame:
    """Density of the changes of all genes and patients, by source and group.

    Returns
    -------
    DataFrame
        Columns ``source``, ``group``, ``x_deg``, ``density``, ``patients``, ``sd`` (of the
        changes), ``share_large`` (share beyond 1 in absolute value). The points reach from the 0.1
        to the 99.9 percentile of all sources.
    """
    split = {s.source: _split(s, groups) for s in sources}
    pooled = np.concatenate([v.ravel() for parts in split.values() for v in parts.values()])
    low, high = np.nanquantile(pooled, [0.001, 0.999])
    edges = np.linspace(low, high, DENSITY_POINTS + 1)
    centres = (edges[1:] + edges[:-1]) / 2
    tables = []
    for source, parts in split.items():
        for group, rows in parts.items():
            values = rows[~np.isnan(rows)]
            density = np.histogram(values, bins=edges)[0] / (len(values) * (edges[1] - edges[0]))
            tables.append(
                pd.DataFrame(
                    {
                        "source": source,
                        "group": group,
                        "x_deg": centres,
                        "density": density,
                        "patients": len(rows),
                        "sd": float(values.std()),
                        "share_large": float((np.abs(values) > 1).mean()),
                    }
                )
            )
    return pd.concat(tables, ignore_index=True)


def most_changed(changes: Changes, groups: Mapping[str, str]) -> pd.DataFrame:
    """Every gene's change in both groups, and their difference, largest change first.

    Returns
    -------
    DataFrame
        Columns ``gene``; ``mean`` and ``sd`` of each group; ``q`` of each group (one-sample t
        test of the patients' changes against 0, Benjamini-Hochberg); ``difference`` (responders
        minus non-responders), ``p_difference`` (Welch), ``q_difference``. Predictions of one model
        are not independent observations: their tests say how uniform the predictions are.
    """
    parts = _split(changes, groups)
    table = pd.DataFrame({"gene": changes.genes})
    for group, rows in parts.items():
        name = group.replace("-", "_")
        with np.errstate(all="ignore"):
            table[f"mean_{name}"] = np.nanmean(rows, axis=0)
            table[f"sd_{name}"] = np.nanstd(rows, axis=0, ddof=1)
            p = ttest_1samp(rows, 0.0, axis=0, nan_policy="omit").pvalue
        table[f"q_{name}"] = benjamini_hochberg(np.ma.filled(p, np.nan))
    one, other = parts[RESPONDER], parts[NON_RESPONDER]
    table["difference"] = table["mean_responder"] - table["mean_non_responder"]
    with np.errstate(all="ignore"):
        p = ttest_ind(one, other, axis=0, equal_var=False, nan_policy="omit").pvalue
    table["p_difference"] = np.ma.filled(p, np.nan)
    table["q_difference"] = benjamini_hochberg(table["p_difference"].to_numpy())
    size = table[["mean_responder", "mean_non_responder"]].abs().max(axis=1)
    return table.iloc[np.argsort(-size.fillna(0).to_numpy(), kind="stable")].reset_index(drop=True)


@dataclass(frozen=True)
class ChangedGenes:
    """How many genes change in each group, at equal group sizes.

    Attributes
    ----------
    table : DataFrame
        A row a group: ``group``, ``patients``, ``all`` (genes counted on all of its patients),
        ``equal`` (mean over random subsets of the smaller group's size), ``low``, ``high`` (their
        95 % range).
    size : int
        Patients of a subset.
    alpha, threshold : float
        A gene counts with q up to `alpha` and a mean change of at least `threshold`.
    """

    table: pd.DataFrame
    size: int
    alpha: float
    threshold: float


def count_changed(
    changes: Changes,
    groups: Mapping[str, str],
    *,
    alpha: float = 0.05,
    threshold: float = 0.0,
    draws: int = 200,
    seed: int = 0,
) -> ChangedGenes:
    """Count changed genes of both groups; a larger group finds more for its size alone.

    The test is the moderated paired t of `differential.change_table`.
    """
    parts = _split(changes, groups)
    thresholds = Thresholds(alpha, threshold)
    one, other = parts[RESPONDER], parts[NON_RESPONDER]
    in_b = np.repeat([False, True], [len(one), len(other)])
    balanced = balanced_changes(
        np.concatenate([one, other]), in_b, thresholds, draws=draws, seed=seed
    )
    records = []
    for (group, rows), found in zip(parts.items(), balanced, strict=True):
        low, high = np.quantile(found.counts, [0.025, 0.975])
        records.append(
            {
                "group": group,
                "patients": len(rows),
                "all": int(change_table(rows, changes.genes, thresholds)["passes"].sum()),
                "equal": float(np.mean(found.counts)),
                "low": float(low),
                "high": float(high),
            }
        )
    return ChangedGenes(pd.DataFrame(records), balanced[0].size, alpha, threshold)


def violins(
    sources: Sequence[Changes], groups: Mapping[str, str], genes: Sequence[str]
) -> pd.DataFrame:
    """Density of single genes over patients, by source and group.

    Returns
    -------
    DataFrame
        Columns ``gene``, ``source``, ``group``, ``x_deg``, ``density`` (scaled to a largest value
        of 1; NaN where fewer than three patients or no spread give no density), ``median``,
        ``low``, ``high`` (quartiles), ``patients``.
    """
    tables = []
    for source in sources:
        parts = _split(source, groups)
        for gene in genes:
            column = source.column(gene)
            for group, rows in parts.items():
                values = rows[:, column]
                values = values[~np.isnan(values)]
                if len(values):
                    tables.append(_violin(gene, source.source, group, values))
    if not tables:
        raise GeneError(
            "None of these genes was measured.",
            where=", ".join(genes) or "no gene given",
            fix="Choose genes that the cohort holds.",
        )
    return pd.concat(tables, ignore_index=True)


def _violin(gene: str, source: str, group: str, values: np.ndarray) -> pd.DataFrame:
    low, median, high = np.quantile(values, [0.25, 0.5, 0.75])
    if len(values) < 3 or np.ptp(values) < 1e-9:
        points, density = np.unique(values), np.nan
    else:
        pad = 0.15 * np.ptp(values)
        points = np.linspace(values.min() - pad, values.max() + pad, DENSITY_POINTS)
        density = gaussian_kde(values)(points)
        density = density / density.max()
    return pd.DataFrame(
        {
            "gene": gene,
            "source": source,
            "group": group,
            "x_deg": points,
            "density": density,
            "median": median,
            "low": low,
            "high": high,
            "patients": len(values),
        }
    )
