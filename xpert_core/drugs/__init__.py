"""Drugs: the library, standard structures, featurizers and their cache."""

from __future__ import annotations

from xpert_core.drugs.cache import FeatureCache
from xpert_core.drugs.library import DrugLibrary
from xpert_core.drugs.records import Drug, DrugFeatures
from xpert_core.drugs.sandbox import run_limited
from xpert_core.drugs.search import DrugHit
from xpert_core.drugs.standardise import standardise

__all__ = [
    "Drug",
    "DrugFeatures",
    "DrugHit",
    "DrugLibrary",
    "FeatureCache",
    "run_limited",
    "standardise",
]
