"""Gene sets among differing genes: over-representation and ranked enrichment.

The background is the genes that were tested, never the genome: the panel was chosen, and much of
biology is over-represented in it before any experiment.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from xpert_core.explanation.genesets import GeneSets
from xpert_core.explanation.progress import Steps
from xpert_core.explanation.statistics import benjamini_hochberg

#: Random gene lists for the gene null.
N_GENE_DRAWS = 2_000
#: Nulls of ranked enrichment.
NULLS = ("samples", "genes")


def over_representation(chosen: Sequence[str], sets: GeneSets) -> pd.DataFrame:
    """Hypergeometric test of each set among `chosen` genes.

    Parameters
    ----------
    chosen : sequence of str
        Genes that passed; those that were not tested are left out.
    sets : GeneSets

    Returns
    -------
    DataFrame
        One row a set, smallest p first: ``collection``, ``set``, ``size`` (genes tested),
        ``hits``, ``expected``, ``fold``, ``p`` (chance of at least so many hits), ``q``
        (Benjamini-Hochberg within the collection), ``genes`` (the hits). Empty when nothing was
        chosen.
    """
    place = {gene: i for i, gene in enumerate(sets.genes)}
    inside = np.zeros(len(sets.genes), dtype=bool)
    inside[[place[gene] for gene in chosen if gene in place]] = True
    n_chosen = int(inside.sum())
    columns = ["collection", "set", "size", "hits", "expected", "fold", "p", "q", "genes"]
    if not n_chosen or not len(sets):
        return pd.DataFrame(columns=columns)
    hits = np.array([int(inside[m].sum()) for m in sets.members])
    expected = sets.sizes * n_chosen / len(sets.genes)
    p = stats.hypergeom.sf(hits - 1, len(sets.genes), sets.sizes, n_chosen)
    table = pd.DataFrame(
        {
            "collection": sets.collection,
            "set": sets.names,
            "size": sets.sizes,
            "hits": hits,
            "expected": expected,
            "fold": hits / expected,
            "p": p,
            "q": _by_collection(p, sets),
            "genes": [", ".join(sets.genes[i] for i in m if inside[i]) for m in sets.members],
        }
    )
    return table.sort_values(["p", "fold"], ascending=[True, False], kind="stable")[columns]


@dataclass(frozen=True)
class Ranking:
    """Genes in the order of their scores.

    Attributes
    ----------
    position : ndarray of int64, shape (R, G)
        Place of each gene, 0 = highest score.
    weight : ndarray of float64, shape (R, G)
        Absolute score of each gene.
    """

    position: np.ndarray
    weight: np.ndarray

    @classmethod
    def of(cls, scores: np.ndarray) -> Ranking:
        """Rank rows of scores (R, G); a gene without a score (NaN) counts as 0."""
        known = np.nan_to_num(np.atleast_2d(scores))
        order = np.argsort(-known, axis=1, kind="stable")
        position = np.empty_like(order)
        np.put_along_axis(position, order, np.arange(order.shape[1])[None, :], axis=1)
        return cls(position, np.abs(known))


def enrichment_scores(ranking: Ranking, members: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Enrichment score of one set in every ranking.

    The running sum goes up by the weight of each gene of the set (over their total) and down by
    1 / (genes outside) elsewhere; the score is its largest deviation from zero (Subramanian 2005,
    doi 10.1073/pnas.0506580102, weight exponent 1). It can only be reached at a gene of the set
    or just before one, so nothing else is computed.

    Parameters
    ----------
    ranking : Ranking
    members : ndarray of int64, shape (k,)

    Returns
    -------
    score : ndarray of float64, shape (R,)
    peak : ndarray of int64, shape (R,)
        Place of the gene at which a positive score is reached, or before which a negative one is.
    """
    places = ranking.position[:, members]
    order = np.argsort(places, axis=1)
    places = np.take_along_axis(places, order, axis=1)
    weights = np.take_along_axis(ranking.weight[:, members], order, axis=1)
    return _largest_deviation(places, weights, ranking.position.shape[1])


def _largest_deviation(
    places: np.ndarray, weights: np.ndarray, n_genes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Score and place of the peak from the places of a set's genes, sorted, and their weights."""
    k = places.shape[1]
    total = weights.sum(axis=1, keepdims=True)
    # Where all scores of a set are 0 every gene counts the same.
    weights = np.where(total > 0, weights / np.where(total > 0, total, 1.0), 1.0 / k)
    after = np.cumsum(weights, axis=1)
    misses = (places - np.arange(k)) / (n_genes - k)
    high, low = after - misses, after - weights - misses
    up, down = high.argmax(axis=1), low.argmin(axis=1)
    rows = np.arange(len(places))
    top, bottom = high[rows, up], low[rows, down]
    positive = top >= -bottom
    score = np.where(positive, top, bottom)
    return score, np.where(positive, places[rows, up], places[rows, down])


def ranked_enrichment(
    scores: np.ndarray,
    sets: GeneSets,
    *,
    null_scores: np.ndarray | None = None,
    draws: int = N_GENE_DRAWS,
    seed: int = 0,
    steps: Steps | None = None,
) -> pd.DataFrame:
    """Gene-set enrichment analysis of a ranked list.

    Parameters
    ----------
    scores : ndarray, shape (G,)
        Statistic of each gene of `sets.genes`, such as t; NaN counts as 0.
    sets : GeneSets
    null_scores : ndarray, shape (P, G), optional
        Scores under permuted sample labels: the null that keeps the correlation of genes. None
        permutes gene labels instead, which takes genes for independent and lets correlated sets
        pass too easily.
    draws, seed : int
        Of the gene null.
    steps : Steps, optional

    Returns
    -------
    DataFrame
        One row a set, smallest p first: ``collection``, ``set``, ``size``, ``es``, ``nes`` (es
        over the mean null es of its sign), ``p`` (one-sided within its sign, (1 + k) / (1 + n)),
        ``q`` (share of false sets among those with such a nes, within the collection),
        ``leading_edge`` (genes up to the peak).
    """
    observed = Ranking.of(scores)
    permuted = None if null_scores is None else Ranking.of(null_scores)
    by_size = {} if permuted is not None else _gene_null(observed, sets.sizes, draws, seed, steps)
    found, peaks, nulls = [], [], []
    for i, members in enumerate(sets.members):
        if steps is not None and i % 100 == 0:
            steps.begin(f"Gene sets, {i} of {len(sets)}")
        score, peak = enrichment_scores(observed, members)
        found.append(score[0])
        peaks.append(peak[0])
        if permuted is None:
            nulls.append(by_size[len(members)])
        else:
            nulls.append(enrichment_scores(permuted, members)[0])
    columns = ["collection", "set", "size", "es", "nes", "p", "q", "leading_edge"]
    if not found:
        return pd.DataFrame(columns=columns)
    es, null = np.array(found), np.stack(nulls)
    nes, null_nes = _normalised(es, null)
    same = np.sign(null) == np.sign(es)[:, None]
    extreme = same & (np.abs(null) >= np.abs(es)[:, None] - 1e-12)
    table = pd.DataFrame(
        {
            "collection": sets.collection,
            "set": sets.names,
            "size": sets.sizes,
            "es": es,
            "nes": nes,
            "p": (1 + extreme.sum(axis=1)) / (1 + same.sum(axis=1)),
            "q": _false_share(nes, null_nes, sets),
            "leading_edge": [
                _leading_edge(observed, m, s, p, sets.genes)
                for m, s, p in zip(sets.members, es, peaks, strict=True)
            ],
        }
    )
    order = np.lexsort((-np.abs(table["nes"].fillna(0)), table["p"]))
    return table.iloc[order][columns]


def _gene_null(
    observed: Ranking, sizes: np.ndarray, draws: int, seed: int, steps: Steps | None
) -> dict[int, np.ndarray]:
    """Scores of random sets by size: sets of one size share their null."""
    generator = np.random.default_rng(seed)
    weight = observed.weight[0][np.argsort(observed.position[0])]
    n_genes = len(weight)
    nulls = {}
    for size in map(int, np.unique(sizes)):
        if steps is not None:
            steps.begin("Random gene sets")
        places = np.argpartition(generator.random((draws, n_genes)), size, axis=1)[:, :size]
        places.sort(axis=1)
        nulls[size], _ = _largest_deviation(places, weight[places], n_genes)
    return nulls


def _normalised(es: np.ndarray, null: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scores over the mean null score of their sign; NaN where the null has none of it."""
    with np.errstate(invalid="ignore", divide="ignore"):
        up = np.where(null > 0, null, 0).sum(axis=1) / (null > 0).sum(axis=1)
        down = -np.where(null < 0, null, 0).sum(axis=1) / (null < 0).sum(axis=1)
        nes = es / np.where(es >= 0, up, down)
        null_nes = null / np.where(null >= 0, up[:, None], down[:, None])
    return nes, null_nes


def _false_share(nes: np.ndarray, null_nes: np.ndarray, sets: GeneSets) -> np.ndarray:
    """FDR of the GSEA paper (its appendix, step 3 of "multiple hypothesis testing")."""
    q = np.full(len(nes), np.nan)
    names = np.array(sets.collection)
    for name in np.unique(names):
        for sign in (1, -1):
            rows = np.flatnonzero((names == name) & (np.sign(nes) == sign))
            pool = np.sort((sign * null_nes[names == name]).ravel())
            pool = pool[np.searchsorted(pool, 0.0, side="right") :]
            pool = pool[np.isfinite(pool)]
            if not len(rows) or not len(pool):
                continue
            own = np.sort(sign * nes[rows])
            value = sign * nes[rows]
            beyond = len(pool) - np.searchsorted(pool, value - 1e-12)
            null_share = (1 + beyond) / (1 + len(pool))
            own_share = (len(own) - np.searchsorted(own, value - 1e-12)) / len(own)
            raw = np.minimum(null_share / own_share, 1.0)
            # A set with a more extreme score is never less sure.
            order = np.argsort(value)
            q[rows[order]] = np.minimum.accumulate(raw[order])
    return q


def _leading_edge(
    ranking: Ranking, members: np.ndarray, es: float, peak: int, genes: Sequence[str]
) -> str:
    place = ranking.position[0][members]
    edge = members[place <= peak] if es >= 0 else members[place >= peak]
    order = np.argsort(ranking.position[0][edge])
    chosen = edge[order] if es >= 0 else edge[order][::-1]
    return ", ".join(genes[i] for i in chosen)


def _by_collection(p: np.ndarray, sets: GeneSets) -> np.ndarray:
    q = np.empty_like(p)
    names = np.array(sets.collection)
    for name in np.unique(names):
        q[names == name] = benjamini_hochberg(p[names == name])
    return q
