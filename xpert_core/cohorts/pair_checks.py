"""Whether pairs can be fine-tuned on: refusals with their numbers, and what to look out for."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from xpert_core.cohorts.paired import PairedProfiles
from xpert_core.cohorts.pairing import listed
from xpert_core.cohorts.privacy import identity_warnings
from xpert_core.errors import CohortError

#: Fewest pairs, and fewest patients: two folds, each with one to test on, one to train on, and one
#: that chooses.
FEWEST_PAIRS, FEWEST_PATIENTS = 8, 4
#: Different values a numeric label needs before an equal order in a gene cannot be chance.
_DISTINCT = 10
_LABEL_WORDS = re.compile(
    r"(?:^|[^a-z])(?:response|responder|nonresponder|outcome|recist|survival|relapse|progression|"
    r"label|arm|batch)(?:$|[^a-z])",
    re.IGNORECASE,
)
_SPLIT_WORDS = ("split", "fold", "set", "partition")


@dataclass(frozen=True)
class Finding:
    """One thing found.

    Attributes
    ----------
    what, where, fix : str
        What is wrong, with the numbers; where; what to do.
    """

    what: str
    where: str = ""
    fix: str = ""

    def __str__(self) -> str:
        parts = [self.what, self.where and f"Where: {self.where}.", self.fix]
        return " ".join(part for part in parts if part)


@dataclass(frozen=True)
class PairCheck:
    """What a paired cohort offers for fine-tuning.

    Attributes
    ----------
    n_pairs, n_patients, n_genes : int
        `n_genes`: landmark genes measured in at least one pair.
    drugs : dict
        Name of a drug to its number of pairs; "" where the file does not name it.
    refusals : tuple of Finding
        Why fine-tuning is refused; empty when it is not.
    warnings : tuple of Finding
        What the user should know even though fine-tuning is possible.
    notes : tuple of str
        What reading and pairing did, patients without a partner included.
    """

    n_pairs: int
    n_patients: int
    n_genes: int
    drugs: dict[str, int]
    refusals: tuple[Finding, ...]
    warnings: tuple[Finding, ...]
    notes: tuple[str, ...]

    @property
    def can_finetune(self) -> bool:
        """Whether nothing stands against it."""
        return not self.refusals


def check_pairs(pairs: PairedProfiles) -> PairCheck:
    """Say whether pairs can be fine-tuned on, why not, and what to look out for."""
    refusals = [*_too_few(pairs), *_faults(pairs)]
    warnings = [
        *_drugs(pairs),
        *_constant_genes(pairs),
        *_label_columns(pairs),
        *_units(pairs),
        *(Finding(text) for text in identity_warnings(pairs.patients)),
    ]
    return PairCheck(
        n_pairs=len(pairs),
        n_patients=len(set(pairs.patients)),
        n_genes=int((~np.isnan(pairs.x_deg)).any(axis=0).sum()),
        drugs=dict(Counter(pairs.pairs["drug"])),
        refusals=tuple(refusals),
        warnings=tuple(warnings),
        notes=pairs.notes,
    )


def require_usable(pairs: PairedProfiles) -> PairCheck:
    """`check_pairs`, raising what it refuses.

    Raises
    ------
    CohortError
        With every refusal.
    """
    found = check_pairs(pairs)
    _refuse(found.refusals)
    return found


def require_sound(pairs: PairedProfiles) -> None:
    """Refuse what makes pairs wrong for any use; their number is not looked at.

    Raises
    ------
    CohortError
        One profile stands under two patients, a pair holds no change, or a label stands among
        the genes.
    """
    _refuse(tuple(_faults(pairs)))


def _refuse(refusals: tuple[Finding, ...]) -> None:
    if refusals:
        raise CohortError(
            " ".join(f.what for f in refusals),
            where="; ".join(dict.fromkeys(f.where for f in refusals if f.where)),
            fix=" ".join(dict.fromkeys(f.fix for f in refusals if f.fix)),
        )


def _faults(pairs: PairedProfiles) -> Iterator[Finding]:
    yield from _one_patient_on_both_sides(pairs)
    yield from _no_change(pairs)
    yield from _labels_in_genes(pairs)


def _too_few(pairs: PairedProfiles) -> Iterator[Finding]:
    patients = len(set(pairs.patients))
    if len(pairs) < FEWEST_PAIRS:
        yield Finding(
            f"There {'is' if len(pairs) == 1 else 'are'} {len(pairs)} "
            f"{'pair' if len(pairs) == 1 else 'pairs'}; fine-tuning needs at least {FEWEST_PAIRS}.",
            pairs.name,
            "Add patients with a sample before and a sample after treatment.",
        )
    if patients < FEWEST_PATIENTS:
        yield Finding(
            f"The pairs are of {patients} {'patient' if patients == 1 else 'patients'}; at least "
            f"{FEWEST_PATIENTS} are needed, to train on, to choose on and to test on different "
            "patients.",
            f"{pairs.name}: {listed(sorted(set(pairs.patients)))}",
            "Add patients; check that the column patient_id names patients and not the study.",
        )


def _one_patient_on_both_sides(pairs: PairedProfiles) -> Iterator[Finding]:
    """One profile under two names, or a split of the user's own that cuts through patients."""
    for side, word in ((pairs.x_before, "before"), (pairs.x_after, "after")):
        first: dict[bytes, str] = {}
        same: list[str] = []
        for patient, profile in zip(pairs.patients, side, strict=True):
            other = first.setdefault(profile.tobytes(), patient)
            if other != patient:
                same.append(f"{other} = {patient}")
        same = list(dict.fromkeys(same))
        if same:
            yield Finding(
                f"{len(same)} {'profile' if len(same) == 1 else 'profiles'} {word} treatment "
                f"{'occurs' if len(same) == 1 else 'occur'} under two patient ids: one patient "
                "would be trained on and tested on.",
                f"patients {listed(same)}",
                "Give one patient one patient_id, or remove the copies.",
            )
    for column in pairs.pairs.columns:
        if str(column).lower() not in _SPLIT_WORDS:
            continue
        parts = pairs.pairs.groupby("patient_id")[column].nunique()
        torn = [str(p) for p in parts.index[parts > 1]]
        if torn:
            yield Finding(
                f"{len(torn)} {'patient is' if len(torn) == 1 else 'patients are'} on both sides "
                f"of the split in the column '{column}'.",
                f"patients {listed(torn)}",
                "Put all samples of a patient into one part. (XPert draws its own folds, by "
                "patient; the column may also be removed.)",
            )


def _no_change(pairs: PairedProfiles) -> Iterator[Finding]:
    largest = np.fmax.reduce(np.abs(pairs.x_deg), axis=1)
    same = [str(i) for i in pairs.pairs.index[largest == 0]]
    if same:
        which = "every pair" if len(same) == len(pairs) else f"{len(same)} of {len(pairs)} pairs"
        yield Finding(
            f"In {which} the profile after treatment equals the one before: there is no change "
            "to learn.",
            f"pairs {listed(same)}",
            "Check that the right files or rows were exported, or remove these pairs.",
        )


def _labels_in_genes(pairs: PairedProfiles) -> Iterator[Finding]:
    """Genes whose values are a label of the pairs in other words."""
    table, symbols = pairs.pairs, pairs.panel.symbols
    skip = {"patient_id", "sample_before", "sample_after"}
    for column in (c for c in table.columns if c not in skip):
        text = table[column].astype(object).where(table[column].notna(), "").astype(str)
        known = (text != "").to_numpy()
        numbers = pd.to_numeric(text.where(text != ""), errors="coerce").to_numpy(dtype=float)
        for values, side in ((pairs.x_before, "before"), (pairs.x_after, "after")):
            genes = set(_same_groups(values[known], text[known].to_numpy()))
            genes |= set(_same_order(values, numbers))
            if genes:
                yield Finding(
                    f"{len(genes)} gene {'column holds' if len(genes) == 1 else 'columns hold'} "
                    f"the label '{column}' instead of expression ({side} treatment).",
                    f"genes {listed([symbols[g] for g in sorted(genes)])}",
                    "Remove these columns, or export the expression of these genes again.",
                )
    report = pairs.genes.table
    taken = report["symbol"].ne("") & report["identifier"].map(_is_label)
    if taken.any():
        yield Finding(
            f"{int(taken.sum())} of the gene columns {'is' if taken.sum() == 1 else 'are'} named "
            "like a label and would enter the model.",
            f"columns {listed(list(report.loc[taken, 'identifier']))}",
            "Rename the genes, or remove these columns.",
        )


def _same_groups(values: np.ndarray, label: np.ndarray) -> list[int]:
    """Genes with one value for each level of a label and no other; levels of one pair are chance.

    Parameters
    ----------
    values : ndarray, shape (n, G)
    label : ndarray of str, shape (n,)
    """
    levels, code, count = np.unique(label, return_inverse=True, return_counts=True)
    if len(levels) < 2 or count.min() < 2:
        return []
    first = np.array([np.flatnonzero(code == i)[0] for i in range(len(levels))])
    equal = (values == values[first[code]]).all(axis=0)
    return [
        int(g) for g in np.flatnonzero(equal) if len(np.unique(values[first, g])) == len(levels)
    ]


def _same_order(values: np.ndarray, numbers: np.ndarray) -> list[int]:
    """Genes whose order over the pairs, or its reverse, is that of a numeric label."""
    known = np.isfinite(numbers)
    if len(np.unique(numbers[known])) < _DISTINCT:
        return []
    from scipy.stats import rankdata

    rank = rankdata(numbers[known])
    ranks = rankdata(values[known], axis=0)  # NaN for genes that are not measured in all pairs
    same = (ranks == rank[:, None]).all(axis=0)
    reverse = (ranks == (len(rank) + 1 - rank)[:, None]).all(axis=0)
    return [int(g) for g in np.flatnonzero(same | reverse)]


def _is_label(identifier: str) -> bool:
    return bool(_LABEL_WORDS.search(str(identifier)))


def _drugs(pairs: PairedProfiles) -> Iterator[Finding]:
    drugs = Counter(pairs.pairs["drug"])
    unnamed = drugs.pop("", 0)
    if unnamed:
        yield Finding(
            f"{unnamed} of {len(pairs)} pairs name no drug.",
            fix="Give the drug when you start the fine-tuning, or add a column drug.",
        )
    if len(drugs) + bool(unnamed) == 1:
        name = next(iter(drugs), "")
        yield Finding(
            f"All pairs are of one drug{f' ({name})' if name else ''}: what the drug does and what "
            "these patients have in common cannot be told apart, so predictions for other drugs do "
            "not gain from this cohort.",
        )


def _constant_genes(pairs: PairedProfiles) -> Iterator[Finding]:
    both = np.concatenate([pairs.x_before, pairs.x_after])
    low, high = np.fmin.reduce(both, axis=0), np.fmax.reduce(both, axis=0)
    constant = [pairs.panel.symbols[g] for g in np.flatnonzero(low == high)]
    if constant:
        yield Finding(
            f"{len(constant)} landmark {'gene has' if len(constant) == 1 else 'genes have'} the "
            "same value in every sample and tell nothing.",
            f"genes {listed(constant)}",
        )


def _label_columns(pairs: PairedProfiles) -> Iterator[Finding]:
    report = pairs.genes.table
    named = report["symbol"].eq("") & report["identifier"].map(_is_label)
    if named.any():
        columns = list(report.loc[named, "identifier"])
        yield Finding(
            f"{len(columns)} {'column' if len(columns) == 1 else 'columns'} among the genes "
            f"{'is' if len(columns) == 1 else 'are'} named like a label. No landmark gene has that "
            "name, so the model does not see it.",
            f"columns {listed(columns)}",
        )


def _units(pairs: PairedProfiles) -> Iterator[Finding]:
    if pairs.unit == "log2":
        return
    kind = "z-scores" if pairs.unit == "z-score" else "log-ratios to a reference"
    yield Finding(
        f"The values are {kind}: only their difference is used, as the change to learn. The "
        "expression after treatment is not trained, and the profiles before treatment are read "
        "relative to their study.",
    )
    measured = (~np.isnan(pairs.x_deg)).any(axis=0)
    sides = (pairs.x_before, pairs.x_after)
    centred = all(np.abs(np.nanmean(x[:, measured], axis=0)).max() < 0.05 for x in sides)
    if pairs.unit == "z-score" and centred:
        yield Finding(
            "Every gene has a mean of zero before and again after treatment: the two sides seem "
            "to have been standardised apart, which removes the mean effect of the treatment.",
            fix="Standardise both sides together, or upload the expression values.",
        )
