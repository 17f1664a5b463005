"""Rows, drugs and profiles to `TrainingData`: the last step of every preparation."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from xpert_core.drugs import DrugLibrary
from xpert_core.drugs.cache import FeatureCache
from xpert_core.errors import DataError
from xpert_core.genes import load_panel
from xpert_core.preparation.drugs import Note, features, identify, untracked
from xpert_core.tokens.dataset import LOG2_READOUT, TrainingData


class DistinctProfiles:
    """Control profiles, each kept once, however many rows have it; rows come in blocks."""

    def __init__(self) -> None:
        self._rows: list[np.ndarray] = []
        self._number: dict[bytes, int] = {}

    def add(self, block: np.ndarray) -> np.ndarray:
        """Number of the profile of each row of a block, float32 of shape (n, G); int64."""
        numbers = np.empty(len(block), dtype=np.int64)
        for i, row in enumerate(block):
            # Adding zero makes -0.0 and 0.0 one, as a comparison does.
            digest = hashlib.blake2b((row + np.float32(0)).tobytes(), digest_size=16).digest()
            number = self._number.setdefault(digest, len(self._rows))
            if number == len(self._rows):
                self._rows.append(np.array(row, dtype=np.float32))
            numbers[i] = number
        return numbers

    def sorted(self) -> tuple[np.ndarray, np.ndarray]:
        """Profiles in the order of `numpy.unique` over rows, and the new number of each old one."""
        rows = np.stack(self._rows)
        width = 1
        # As many columns as tell all rows apart: sorting by all of them would take minutes.
        while width < rows.shape[1] and len(np.unique(rows[:, :width], axis=0)) < len(rows):
            width *= 2
        order = np.lexsort(rows[:, :width].T[::-1])
        return rows[order], np.argsort(order, kind="stable")


def distinct_rows(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """``numpy.unique(values, axis=0, return_inverse=True)``, in a fraction of its time."""
    found = DistinctProfiles()
    numbers = found.add(values)
    rows, place = found.sorted()
    return rows, place[numbers]


def training_data(
    obs: pd.DataFrame,
    profiles: np.ndarray,
    profile_index: np.ndarray,
    x_deg: np.ndarray,
    *,
    library: DrugLibrary,
    cache: FeatureCache,
    sources: Sequence[str],
    note: Note,
    track: Callable[[Iterable[Any], str], Iterable[Any]] = untracked,
) -> tuple[TrainingData, np.ndarray]:
    """Put training data together.

    Parameters
    ----------
    obs : DataFrame, N rows
        Columns ``name``, ``smiles``, ``own_id``, ``moa``, ``targets``, ``cell``, ``dose_um``,
        ``time_h``, ``readout``; ``patient`` and ``cancer`` where there are such.
    profiles : ndarray of float32, shape (P, G)
        Distinct control profiles.
    profile_index : ndarray of int64, shape (N,)
    x_deg : ndarray of float32, shape (N, G)
    library, cache
        Names and targets; drug features.
    sources : sequence of str
        Names of the files.
    note, track
        As `xpert_core.preparation.drugs.identify`.

    Returns
    -------
    (TrainingData, ndarray of bool, shape (N,))
        The data, and which rows of `obs` are in them: those whose structure can be used.
    """
    obs = obs.assign(key=None, aliases="")
    drugs = identify(obs, library, note=note, track=track)
    keep = _usable(obs, sources)
    if not keep.all():
        obs, x_deg = obs[keep].reset_index(drop=True), x_deg[keep]
        used, profile_index = np.unique(profile_index[keep], return_inverse=True)
        profiles = profiles[used]
    cells, keys = tuple(sorted(obs["cell"].unique())), tuple(sorted(drugs))
    data = TrainingData(
        profiles=profiles,
        profile_index=profile_index.astype(np.int64).reshape(-1),
        x_deg=x_deg,
        cells=cells,
        drug_keys=keys,
        drug_aliases=_aliases(obs),
        panel_symbols=load_panel().symbols,
        **_of_rows(obs, cells, keys),
        **features(keys, drugs, cache, note=note, track=track),
        info=_info(cache, sources),
    )
    return data, keep


def _usable(obs: pd.DataFrame, sources: Sequence[str]) -> np.ndarray:
    """Rows whose drug was identified; refused where there is none."""
    keep = obs["key"].notna().to_numpy()
    if not keep.any():
        raise DataError(
            "No row has a drug whose structure can be used.", where=", ".join(sources),
            fix="Check the SMILES of the file; a blank one is allowed, a wrong one is not.",
        )  # fmt: skip
    return keep


def _of_rows(obs: pd.DataFrame, cells: tuple[str, ...], keys: tuple[str, ...]) -> dict[str, Any]:
    """What `TrainingData` holds of each row, profiles and changes aside."""
    return {
        "drug_index": _codes(keys, obs["key"]),
        "dose_um": obs["dose_um"].to_numpy(dtype=np.float32),
        "time_h": obs["time_h"].to_numpy(dtype=np.float32),
        "readout": obs["readout"].to_numpy(dtype=np.int64),
        "cell_index": _codes(cells, obs["cell"]),
        "has_x_pert": (obs["readout"] == LOG2_READOUT).to_numpy(),
        "patients": _labels(obs, "patient"),
        "cancers": _labels(obs, "cancer"),
    }


def _codes(names: tuple[str, ...], values: pd.Series) -> np.ndarray:
    """Number of each value among sorted names; int64."""
    return np.searchsorted(names, values.to_numpy(dtype=str)).astype(np.int64)


def _aliases(obs: pd.DataFrame) -> tuple[str, ...]:
    """Names and identifiers of each drug, ``|``-joined, in key order."""
    return tuple(
        "|".join(sorted({a for text in group for a in text.split("|") if a}))
        for _, group in obs.groupby("key")["aliases"]
    )


def _info(cache: FeatureCache, sources: Sequence[str]) -> dict[str, Any]:
    """Panel, featurizer and files that the data stand on."""
    panel, featurizer = load_panel(), cache.featurizer
    return {
        "panel_name": panel.name,
        "panel_digest": panel.digest,
        "entrez_id": list(panel.entrez),
        "featurizer": {
            "name": featurizer.name,
            "digest": featurizer.digest,
            "dim": featurizer.dim,
        },
        "sources": list(sources),
    }


def _labels(obs: pd.DataFrame, name: str) -> tuple[str, ...]:
    """Labels of the rows; none where no row has one."""
    labels = tuple(obs[name]) if name in obs else ()
    return labels if any(labels) else ()
