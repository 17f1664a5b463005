"""What a request becomes before the network sees it: profiles, drugs and treatments as tokens."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from xpert_core.cohorts.records import Profiles
from xpert_core.conditions import parse_dose, parse_time
from xpert_core.drugs import DrugLibrary
from xpert_core.drugs.records import Drug, DrugFeatures
from xpert_core.errors import CohortError, DrugError
from xpert_core.graph.embed import Placement
from xpert_core.tokens.batch import Batch
from xpert_core.tokens.expression import ExpressionBins


@dataclass(frozen=True)
class Treatment:
    """A drug at a dose for a time; `drug` is its position in the request."""

    drug: int
    dose_um: float
    time_h: float


@dataclass(frozen=True)
class ProfileTokens:
    """Profiles as the network takes them.

    Attributes
    ----------
    profiles : Profiles
        The whole cohort.
    chosen : ndarray of int64, shape (P,)
        Positions of the samples asked for.
    bins : ExpressionBins
        Fitted on the whole cohort.
    tokens : ndarray of int64, shape (P, G)
    """

    profiles: Profiles
    chosen: np.ndarray
    bins: ExpressionBins
    tokens: np.ndarray

    @property
    def samples(self) -> pd.DataFrame:
        """Sample table of the chosen profiles."""
        return self.profiles.samples.iloc[self.chosen]


@dataclass(frozen=True)
class Inputs:
    """A whole request as the network takes it.

    Attributes
    ----------
    cells : ProfileTokens
    drugs : list of Drug
        Distinct, names unique.
    features : list of DrugFeatures
    placements : list of Placement or None
        Place in the knowledge graph; None = the model has no graph token.
    treatments : list of Treatment
    batch : Batch
        Every profile x treatment, profile by profile.
    """

    cells: ProfileTokens
    drugs: list[Drug]
    features: list[DrugFeatures]
    placements: list[Placement | None]
    treatments: list[Treatment]
    batch: Batch


def chosen_samples(profiles: Profiles, samples: Sequence[str] | None) -> np.ndarray:
    """Positions of the samples named; None = all.

    Raises
    ------
    CohortError
        If a sample is not in the cohort, or none is named.
    """
    index = profiles.samples.index
    if samples is None:
        return np.arange(len(index))
    unknown = [s for s in samples if s not in index]
    if unknown or not len(samples):
        shown = ", ".join(map(str, index[:5]))
        raise CohortError(
            f"There is no sample '{unknown[0]}'." if unknown else "No sample was chosen.",
            where=f"cohort '{profiles.name}' has {len(index)} samples: {shown}, ...",
            fix="Choose samples of the cohort by their sample id.",
        )
    return index.get_indexer(pd.Index(samples))


def distinct_drugs(drugs: Sequence[Drug | str]) -> list[Drug]:
    """Resolve names; a drug given twice counts once, other stereochemistry is another drug.

    Names come out unique, because a result is read and chosen by them.
    """
    found: dict[str, Drug] = {}
    for entry in drugs:
        drug = DrugLibrary.load().resolve(entry) if isinstance(entry, str) else entry
        found.setdefault(drug.inchikey or drug.key, drug)
    if not found:
        raise DrugError("No drug was chosen.", fix="Give at least one drug or SMILES.")
    return _with_unique_names(list(found.values()))


def _with_unique_names(drugs: list[Drug]) -> list[Drug]:
    """Tell drugs of one name apart by their identifiers, whole where the short ones agree."""
    for tell in (lambda d: d.pert_id or d.connectivity, lambda d: d.inchikey or d.key):
        names = Counter(drug.name for drug in drugs)
        drugs = [
            replace(d, name=f"{d.name} ({tell(d)})") if names[d.name] > 1 and tell(d) else d
            for d in drugs
        ]
    return drugs


def treatments_of(
    drugs: Sequence[Drug], doses: Sequence[float | str], times: Sequence[float | str]
) -> list[Treatment]:
    """Every drug x dose x time, equal conditions once.

    Raises
    ------
    ConditionError, DrugError
        If a dose or time is not understood, or there is none.
    """
    # dict.fromkeys: equal values written differently (1 uM, 1000 nM) are one treatment.
    hours = list(dict.fromkeys(parse_time(t) for t in times))
    found = []
    for i, drug in enumerate(drugs):
        for dose in dict.fromkeys(parse_dose(d, drug.molar_mass) for d in doses):
            found += [Treatment(i, dose, hour) for hour in hours]
    if not found:
        raise DrugError("No dose or no time was given.", fix="Give for example 1 uM and 24 h.")
    return found
