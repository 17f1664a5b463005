"""Maps of profiles, embeddings, genes and drugs, and how well labels separate or mix in them.

A map shows neighbours, not distances: every statement about mixing or separation comes from the
scores, which are computed before the projection to two dimensions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np
import pandas as pd

from xpert_core.errors import DataError, XPertError
from xpert_core.explanation.progress import Steps
from xpert_core.prediction.predictor import Cancelled, Progress

#: Principal components first, then neighbours, as in the paper (Methods).
COMPONENTS, NEIGHBOURS = 40, 15
#: Fewer points have no neighbourhoods.
MIN_POINTS = 6
#: More points than this are thinned at random before scoring and drawing.
MAX_POINTS = 3000
METHODS = ("umap", "t-sne")
MIXING, CONSERVATION = "batch mixing", "conservation"


@dataclass(frozen=True)
class Space:
    """Vectors with what is known of each, before any projection.

    Attributes
    ----------
    name : str
        What the vectors are.
    vectors : ndarray of float, shape (N, F)
        Without NaN.
    labels : DataFrame, N rows
        Index: unique id of each point. Text columns; "" = not known.
    notes : tuple of str
        What was left out or filled, in sentences.
    """

    name: str
    vectors: np.ndarray
    labels: pd.DataFrame
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, keep: np.ndarray) -> Space:
        """The points at `keep` (positions or a mask)."""
        return Space(self.name, self.vectors[keep], self.labels[keep], self.notes)

    def thinned(self, most: int = MAX_POINTS, seed: int = 0) -> Space:
        """At most `most` points, drawn at random, in their order, with a note."""
        if len(self) <= most:
            return self
        chosen = np.sort(np.random.default_rng(seed).permutation(len(self))[:most])
        note = f"{most} of {len(self)} points, drawn at random, are shown and scored."
        return Space(self.name, self.vectors[chosen], self.labels.iloc[chosen], (*self.notes, note))


@dataclass(frozen=True)
class EmbeddingMap:
    """Two coordinates a point.

    Attributes
    ----------
    name : str
        What was mapped.
    method : str
        One of `METHODS`.
    points : DataFrame
        Index as `Space.labels`; columns ``x``, ``y``, then the labels.
    components : int
        Principal components used.
    share : float
        Share of the variance they hold.
    neighbours : int
        Neighbours of UMAP, perplexity of t-SNE.
    trust : float
        Trustworthiness (0 to 1): how far the neighbours on the map are neighbours in the space.
    seed : int
    notes : tuple of str
    """

    name: str
    method: str
    points: pd.DataFrame
    components: int
    share: float
    neighbours: int
    trust: float
    seed: int
    notes: tuple[str, ...] = ()


def umap_installed() -> bool:
    """Whether UMAP can be used (extra ``maps``)."""
    return find_spec("umap") is not None


def reduce(vectors: np.ndarray, seed: int = 0) -> tuple[np.ndarray, float]:
    """First `COMPONENTS` principal components, and the share of the variance they hold.

    Raises
    ------
    DataError
        If there are too few points, values that are no numbers, or no variation at all.
    """
    from sklearn.decomposition import PCA

    _check(vectors)
    count = min(COMPONENTS, *vectors.shape)
    fitted = PCA(count, svd_solver="full", random_state=seed).fit(vectors.astype(np.float64))
    return fitted.transform(vectors.astype(np.float64)), float(
        fitted.explained_variance_ratio_.sum()
    )


def _check(vectors: np.ndarray) -> None:
    if len(vectors) < MIN_POINTS:
        raise DataError(
            "There are too few points for a map.",
            where=f"{len(vectors)} points, at least {MIN_POINTS} are needed",
            fix="Add samples, or lay them on the map of the cell lines.",
        )
    if not np.isfinite(vectors).all():
        raise DataError(
            "The vectors hold values that are not numbers.",
            where=f"{int((~np.isfinite(vectors)).any(axis=1).sum())} points",
            fix="Leave out genes or samples that were not measured.",
        )
    if np.ptp(vectors, axis=0).max() == 0:
        raise DataError(
            "All points are the same; there is nothing to map.",
            where=f"{len(vectors)} points",
            fix="Choose samples that differ.",
        )


def project(space: Space, method: str = "auto", seed: int = 0) -> EmbeddingMap:
    """Project a space to two dimensions; the same seed gives the same map.

    Parameters
    ----------
    space : Space
    method : str
        ``"umap"``, ``"t-sne"``, or ``"auto"``: UMAP where it is installed.
    seed : int

    Raises
    ------
    DataError
        If there are too few points or nothing varies.
    XPertError
        If UMAP is asked for and not installed, or the method is not known.
    """
    from sklearn.manifold import trustworthiness

    space = space.thinned(seed=seed)
    if method == "auto":
        method = "umap" if umap_installed() else "t-sne"
    reduced, share = reduce(space.vectors, seed)
    neighbours = min(NEIGHBOURS, (len(space) - 1) // 3)
    xy = _PROJECTIONS.get(method, _unknown)(reduced, neighbours, seed)
    place = pd.DataFrame(xy, index=space.labels.index, columns=["x", "y"])
    points = pd.concat([place, space.labels], axis=1)
    trust = float(trustworthiness(reduced, xy, n_neighbors=max(1, neighbours)))
    return EmbeddingMap(
        space.name, method, points, reduced.shape[1], share, neighbours, trust, seed, space.notes
    )


def _umap(reduced: np.ndarray, neighbours: int, seed: int) -> np.ndarray:
    if not umap_installed():
        raise XPertError(
            "UMAP is not installed.",
            where="package umap-learn",
            fix='Run: pip install "xpert[maps]", or choose t-SNE.',
        )
    import umap

    reducer = umap.UMAP(n_neighbors=max(2, neighbours), random_state=seed, n_jobs=1)
    return np.asarray(reducer.fit_transform(reduced), dtype=np.float64)


def _tsne(reduced: np.ndarray, neighbours: int, seed: int) -> np.ndarray:
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    model = TSNE(perplexity=max(1.0, float(neighbours)), init="pca", random_state=seed, n_jobs=1)
    # Its threads wait in a loop: on a busy machine two of them are slower than one.
    with threadpool_limits(1):
        return np.asarray(model.fit_transform(reduced), dtype=np.float64)


def _unknown(reduced: np.ndarray, neighbours: int, seed: int) -> np.ndarray:
    raise XPertError("This kind of map is not known.", fix=f"Use one of {', '.join(METHODS)}.")


_PROJECTIONS: dict[str, Callable[[np.ndarray, int, int], np.ndarray]] = {
    "umap": _umap,
    "t-sne": _tsne,
}


@dataclass(frozen=True)
class MapScores:
    """How a label stands in a space, beside what permuted labels give.

    Attributes
    ----------
    label : str
        The column.
    kind : str
        `MIXING`: a label that should not matter, such as the plate; good when the groups mix.
        `CONSERVATION`: a label that should, such as the cell line; good when groups separate.
    table : DataFrame
        Columns ``score``, ``value``, ``null`` (mean of the permutations), ``null_low``,
        ``null_high`` (their 95 % range), ``p`` (share of the permutations at least as far from
        the null's mean), ``better`` (in words: which direction is better).
    points, groups : int
        Points with a label, and groups scored (of two points or more).
    within : str
        Column within which labels were permuted, "" where freely.
    """

    label: str
    kind: str
    table: pd.DataFrame
    points: int
    groups: int
    within: str


def score(
    space: Space,
    label: str,
    kind: str = CONSERVATION,
    *,
    within: str = "",
    permutations: int = 200,
    seed: int = 0,
    progress: Progress | None = None,
    cancelled: Cancelled | None = None,
) -> MapScores:
    """Score a label in the space of the principal components, with its permutation null.

    The scores are those of scIB (Luecken et al. 2022) in the forms that scikit-learn gives: share
    of the `NEIGHBOURS` nearest points of the same label, local inverse Simpson index scaled to 0
    (one label around every point) to 1 (all equally), silhouette, and ARI and NMI of k-means with
    as many clusters as labels.

    Parameters
    ----------
    space : Space
    label : str
        Column of the labels. Points without a label, and groups of one point, are left out.
    kind : str
        `MIXING` or `CONSERVATION`.
    within : str
        Column within which labels are permuted: plates hold different cell lines, so plates
        permuted freely would ask whether cell lines differ.
    permutations, seed : int
    progress, cancelled : callable, optional

    Raises
    ------
    DataError
        If there are fewer than two groups, or too few points.
    PredictionCancelled
        If `cancelled` said so.
    """
    space = space.thinned(seed=seed)
    names = space.labels[label].astype(str)
    keep = ((names != "") & (names.map(names.value_counts()) > 1)).to_numpy()
    codes, groups = pd.factorize(names[keep], sort=True)
    if len(groups) < 2:
        raise DataError(
            f"'{label}' does not form two groups to compare.",
            where=f"{len(groups)} group(s) of two points or more",
            fix="Choose another label, or more samples.",
        )
    reduced, _ = reduce(space.vectors[keep], seed)
    measure = _Measure(reduced, len(groups), seed)
    strata = space.labels.loc[keep, within].to_numpy() if within else np.zeros(len(codes))
    rng = np.random.default_rng(seed)
    values = measure(codes)
    null = np.empty((permutations, len(values)))
    steps = Steps(permutations, progress, cancelled)
    for i in range(permutations):
        steps.begin(f"Null of {label}: permutation {i + 1} of {permutations}")
        null[i] = measure(_shuffled(codes, strata, rng))
        steps.end()
    return MapScores(label, kind, _table(values, null, kind), int(keep.sum()), len(groups), within)


#: Scores in the order of `_Measure`; whether a higher value means that groups separate.
SCORES = {
    f"Same label among the {NEIGHBOURS} nearest": True,
    "Local inverse Simpson index, scaled": False,
    "Silhouette": True,
    "ARI of k-means": True,
    "NMI of k-means": True,
}


class _Measure:
    """What does not depend on the labels is computed once."""

    def __init__(self, reduced: np.ndarray, groups: int, seed: int) -> None:
        from sklearn.cluster import KMeans
        from sklearn.metrics import pairwise_distances
        from sklearn.neighbors import NearestNeighbors

        self.groups = groups
        self.distance = pairwise_distances(reduced)
        count = min(NEIGHBOURS, len(reduced) - 1)
        nearest = NearestNeighbors(n_neighbors=count).fit(reduced)
        self.nearest = nearest.kneighbors(return_distance=False)
        self.clusters = KMeans(groups, n_init=4, random_state=seed).fit_predict(reduced)

    def __call__(self, codes: np.ndarray) -> np.ndarray:
        from sklearn.metrics import (
            adjusted_rand_score,
            normalized_mutual_info_score,
        )

        around = codes[self.nearest]
        counts = np.zeros((len(codes), self.groups))
        np.add.at(counts, (np.arange(len(codes))[:, None], around), 1)
        simpson = 1 / ((counts / around.shape[1]) ** 2).sum(axis=1)
        return np.array(
            [
                (around == codes[:, None]).mean(),
                (simpson.mean() - 1) / (self.groups - 1),
                self._silhouette(codes),
                adjusted_rand_score(codes, self.clusters),
                normalized_mutual_info_score(codes, self.clusters),
            ]
        )

    def _silhouette(self, codes: np.ndarray) -> float:
        """As scikit-learn's, from the distances at hand: permutations are a product each."""
        member = np.eye(self.groups)[codes]
        size = member.sum(axis=0)
        total = self.distance @ member
        own = total[np.arange(len(codes)), codes] / np.maximum(size[codes] - 1, 1)
        mean = total / size
        mean[np.arange(len(codes)), codes] = np.inf
        other = mean.min(axis=1)
        largest = np.maximum(own, other)
        return float(np.where(largest > 0, (other - own) / np.maximum(largest, 1e-300), 0).mean())


def _shuffled(codes: np.ndarray, strata: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Labels permuted within each stratum."""
    by_stratum = pd.factorize(strata)[0]
    place = np.lexsort((np.arange(len(codes)), by_stratum))
    source = np.lexsort((rng.random(len(codes)), by_stratum))
    found = np.empty_like(codes)
    found[place] = codes[source]
    return found


def _table(values: np.ndarray, null: np.ndarray, kind: str) -> pd.DataFrame:
    mean = null.mean(axis=0)
    far = np.abs(null - mean) >= np.abs(values - mean) - 1e-12
    low, high = np.quantile(null, [0.025, 0.975], axis=0)
    wanted = kind == CONSERVATION
    words = ["higher" if separates == wanted else "lower" for separates in SCORES.values()]
    return pd.DataFrame(
        {
            "score": list(SCORES),
            "value": values,
            "null": mean,
            "null_low": low,
            "null_high": high,
            "p": (1 + far.sum(axis=0)) / (1 + len(null)),
            "better": words,
        }
    )


def settings(found: EmbeddingMap) -> dict[str, Any]:
    """What a methods section needs of a map."""
    return {
        "map": found.name,
        "method": found.method,
        "points": len(found.points),
        "principal components": found.components,
        "variance held": found.share,
        "neighbours": found.neighbours,
        "trustworthiness": found.trust,
        "seed": found.seed,
    }
