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
from xpert_core.preparation.drugs import Found, Note, features, identify, untracked
from xpert_core.tokens.dataset import LOG2_READOUT, TrainingData

_HASH_BYTES = 16


class ProfileNumbers:
    """Numbers control profiles in the order they are first seen; only their hashes are kept.

    Parameters
    ----------
    hashes : ndarray of uint8, shape (P, 16), optional
        Of the profiles that have a number already.
    """

    def __init__(self, hashes: np.ndarray | None = None) -> None:
        known = [] if hashes is None else [row.tobytes() for row in hashes]
        self._number = {digest: number for number, digest in enumerate(known)}

    def __len__(self) -> int:
        return len(self._number)

    @property
    def hashes(self) -> np.ndarray:
        """Hash of each profile, in the order of their numbers; uint8 of shape (P, 16)."""
        return np.frombuffer(b"".join(self._number), dtype=np.uint8).reshape(-1, _HASH_BYTES)

    def add(self, block: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Number the profiles of some rows.

        Parameters
        ----------
        block : ndarray of float32, shape (n, G)

        Returns
        -------
        (ndarray of int64, shape (n,), ndarray of int64)
            Number of each row's profile; rows whose profile is new, in the order of its number.
        """
        numbers, new = np.empty(len(block), dtype=np.int64), []
        for i, row in enumerate(block):
            # Adding zero makes -0.0 and 0.0 one, as a comparison does.
            value = (row + np.float32(0)).tobytes()
            digest = hashlib.blake2b(value, digest_size=_HASH_BYTES).digest()
            count = len(self._number)
            numbers[i] = self._number.setdefault(digest, count)
            if len(self._number) > count:
                new.append(i)
        return numbers, np.array(new, dtype=np.int64)


def distinct_rows(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """``numpy.unique(values, axis=0, return_inverse=True)``, in a fraction of its time."""
    numbers, new = ProfileNumbers().add(values)
    rows = values[new]
    width = 1
    # As many columns as tell all rows apart: sorting by all of them would take minutes.
    while width < rows.shape[1] and len(np.unique(rows[:, :width], axis=0)) < len(rows):
        width *= 2
    order = np.lexsort(rows[:, :width].T[::-1])
    return rows[order], np.argsort(order, kind="stable")[numbers]


def identified(
    obs: pd.DataFrame,
    library: DrugLibrary,
    *,
    sources: Sequence[str],
    note: Note,
    track: Callable[[Iterable[Any], str], Iterable[Any]] = untracked,
) -> tuple[pd.DataFrame, Found, np.ndarray]:
    """Who the drugs of the rows are.

    Parameters
    ----------
    obs : DataFrame, N rows
        Columns ``name``, ``smiles``, ``own_id``, ``targets``.
    library : DrugLibrary
    sources : sequence of str
        Names of the files, for the message.
    note, track
        As `xpert_core.preparation.drugs.identify`.

    Returns
    -------
    (DataFrame, Found, ndarray of bool, shape (N,))
        Rows whose drug has no structure or one that can be used, with ``key`` and ``aliases``;
        their drugs; which rows of `obs` these are.

    Raises
    ------
    DataError
        When there is none.
    """
    obs = obs.assign(key=None, aliases="")
    drugs = identify(obs, library, note=note, track=track)
    keep = obs["key"].notna().to_numpy()
    if not keep.any():
        raise DataError(
            "No row has a drug whose structure can be used.", where=", ".join(sources),
            fix="Check the SMILES of the file; a blank one is allowed, a wrong one is not.",
        )  # fmt: skip
    return obs[keep].reset_index(drop=True), drugs, keep


def training_data(
    obs: pd.DataFrame,
    drugs: Found,
    profiles: np.ndarray,
    profile_index: np.ndarray,
    x_deg: np.ndarray,
    *,
    cache: FeatureCache,
    sources: Sequence[str],
    note: Note,
    track: Callable[[Iterable[Any], str], Iterable[Any]] = untracked,
) -> TrainingData:
    """Put training data together.

    Parameters
    ----------
    obs : DataFrame, N rows
        From `identified`, with ``moa``, ``cell``, ``dose_um``, ``time_h``, ``readout`` too;
        ``patient`` and ``cancer`` where there are such.
    drugs : dict
        From `identified`.
    profiles : ndarray of float32, shape (P, G)
        Distinct control profiles.
    profile_index : ndarray of int64, shape (N,)
    x_deg : ndarray of float32, shape (N, G)
        Not copied: it may be a file that is mapped.
    cache : FeatureCache
        Drug features.
    sources : sequence of str
        Names of the files.
    note, track
        As `xpert_core.preparation.drugs.identify`.
    """
    cells, keys = tuple(sorted(obs["cell"].unique())), tuple(sorted(obs["key"].unique()))
    return TrainingData(
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
