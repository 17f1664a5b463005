"""Whether scores of the atoms of one molecule agree, and whether marked atoms score high.

Every number stands beside its null within the molecule: the same number when the scores are dealt
to the atoms at random.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from xpert_core.errors import ExplanationError

#: Random deals of the scores; the smallest p is one in this many.
PERMUTATIONS = 5000
#: Share of the atoms that counts as the top, at least `LEAST_TOP` atoms.
TOP_SHARE = 0.2
LEAST_TOP = 3


def top_size(n_atoms: int) -> int:
    """How many atoms count as the top of a molecule."""
    return min(n_atoms, max(LEAST_TOP, round(TOP_SHARE * n_atoms)))


def agreement(
    scores: pd.DataFrame, *, permutations: int = PERMUTATIONS, seed: int = 0
) -> pd.DataFrame:
    """Agreement of each pair of scores over the atoms of a molecule.

    Parameters
    ----------
    scores : DataFrame
        One row an atom, one column a score; high = important.
    permutations, seed : int

    Returns
    -------
    DataFrame
        One row a pair: ``first``, ``second``; ``spearman`` and its two-sided ``spearman_p``;
        ``top_k`` atoms, ``overlap`` of the two tops (a count; tied atoms count in part), the
        ``overlap_expected`` by chance and ``overlap_p`` (one-sided). NaN where a score is
        constant or not known.

    Raises
    ------
    ExplanationError
        If there are fewer than three atoms.
    """
    n_atoms = len(scores)
    if n_atoms < LEAST_TOP:
        raise ExplanationError(
            f"Agreement of scores needs {LEAST_TOP} atoms; this molecule has {n_atoms}.",
            fix="Choose a larger molecule.",
        )
    rng = np.random.default_rng(seed)
    deals = rng.permuted(np.tile(np.arange(n_atoms), (permutations, 1)), axis=1)
    k = top_size(n_atoms)
    # A score that is not known says as little as a constant one.
    known = scores.copy()
    known.loc[:, scores.isna().any()] = 0.0
    ranks = {name: _centred_ranks(known[name].to_numpy()) for name in known}
    tops = {name: _top(known[name].to_numpy(), k) for name in known}
    rows = []
    for first, second in combinations(scores.columns, 2):
        a, b = ranks[first], ranks[second]
        overlap = float(tops[first] @ tops[second])
        chance = tops[second][deals] @ tops[first]
        defined = bool(a.any() and b.any())
        rho = float(a @ b) if defined else np.nan
        rows.append(
            {
                "first": first,
                "second": second,
                "spearman": rho,
                "spearman_p": _share(np.abs(b[deals] @ a), abs(rho)) if defined else np.nan,
                "top_k": k,
                "overlap": overlap,
                "overlap_expected": k * k / n_atoms,
                "overlap_p": _share(chance, overlap) if defined else np.nan,
            }
        )
    return pd.DataFrame(rows)


@dataclass(frozen=True)
class Enrichment:
    """Whether the marked atoms of a molecule score higher than others.

    Attributes
    ----------
    n_marked, n_atoms : int
    fold : float
        Mean score of the marked atoms / mean score of all atoms; one = no preference.
    p_atoms : float
        One-sided p against as many atoms drawn at random.
    p_connected : float
        Against connected pieces of the same sizes: atoms next to each other score alike, so
        this is the fairer one.
    p_elements : float
        Against atoms drawn at random of the same elements; one where no other choice exists.
    p_untrained : float
        Against the same atoms scored by untrained networks; NaN without them.
    fold_untrained : float
        Mean fold of the untrained networks.
    """

    n_marked: int
    n_atoms: int
    fold: float
    p_atoms: float
    p_connected: float
    p_elements: float
    p_untrained: float
    fold_untrained: float


@dataclass(frozen=True)
class Nulls:
    """Atoms that might have been marked instead, drawn at random.

    Attributes
    ----------
    atoms, connected, elements : ndarray of bool, each (n_draws, n_atoms)
        As the p-values of `Enrichment` describe them.
    """

    atoms: np.ndarray
    connected: np.ndarray
    elements: np.ndarray


def draw_nulls(
    marked: np.ndarray,
    elements: Sequence[str],
    neighbours: Sequence[Sequence[int]],
    *,
    permutations: int = PERMUTATIONS,
    seed: int = 0,
) -> Nulls:
    """Draw the nulls of marked atoms; they serve every score of the molecule.

    Parameters
    ----------
    marked : ndarray of bool, shape (n_atoms,)
    elements : sequence of str
    neighbours : sequence of sequence of int
        Positions of the atoms bonded to each atom.
    permutations, seed : int

    Raises
    ------
    ExplanationError
        If no atom or every atom is marked: nothing to compare.
    """
    n_atoms, n_marked = len(marked), int(marked.sum())
    if n_marked in (0, n_atoms):
        raise ExplanationError(
            f"{n_marked} of {n_atoms} atoms are marked, so nothing can be compared.",
            fix="Mark a part of the molecule.",
        )
    rng = np.random.default_rng(seed)
    return Nulls(
        rng.permuted(np.tile(marked, (permutations, 1)), axis=1),
        _connected(marked, neighbours, permutations, rng),
        _same_elements(marked, np.asarray(elements), permutations, rng),
    )


def enrichment(
    scores: np.ndarray, marked: np.ndarray, nulls: Nulls, untrained: np.ndarray | None = None
) -> Enrichment:
    """Test marked atoms against the nulls of `Enrichment`.

    Parameters
    ----------
    scores : ndarray of float, shape (n_atoms,)
        Zero or more; where they are NaN, so is what is found.
    marked : ndarray of bool, shape (n_atoms,)
    nulls : Nulls
        Of the same marks.
    untrained : ndarray of float, shape (n_seeds, n_atoms), optional
    """
    n_marked, mean = int(marked.sum()), float(scores.mean())
    fold = _fold(scores, marked, mean)

    def p(draws: np.ndarray) -> float:
        return _share(draws @ scores / n_marked / mean, fold) if mean > 0 else np.nan

    alone = np.array([np.nan]) if untrained is None else _folds(untrained, marked)
    return Enrichment(
        n_marked,
        len(scores),
        fold,
        p(nulls.atoms),
        p(nulls.connected),
        p(nulls.elements),
        np.nan if untrained is None else _share(alone, fold),
        float(alone.mean()),
    )


def _fold(scores: np.ndarray, marked: np.ndarray, mean: float) -> float:
    return float(scores[marked].mean()) / mean if mean > 0 else np.nan


def _folds(scores: np.ndarray, marked: np.ndarray) -> np.ndarray:
    found: np.ndarray = scores[:, marked].mean(axis=1) / scores.mean(axis=1)
    return found


def _share(null: np.ndarray, observed: float) -> float:
    """Share of the null at or above the observed, the observed counted in."""
    reached = int((null >= observed - 1e-12 * max(1.0, abs(observed))).sum())
    return (1 + reached) / (1 + len(null))


def _centred_ranks(values: np.ndarray) -> np.ndarray:
    """Ranks of length one around zero, so that a product of two is their Spearman correlation."""
    ranks = rankdata(values) - (len(values) + 1) / 2
    length = float(np.linalg.norm(ranks))
    scaled: np.ndarray = ranks / length if length > 0 else np.zeros(len(values))
    return scaled


def _top(values: np.ndarray, k: int) -> np.ndarray:
    """Membership in the top k, between 0 and 1; atoms tied at its edge share what is left."""
    edge = np.sort(values)[-k]
    above, tied = values > edge, values == edge
    return above + tied * ((k - above.sum()) / tied.sum())


def _same_elements(
    marked: np.ndarray, elements: np.ndarray, count: int, rng: np.random.Generator
) -> np.ndarray:
    draws = np.zeros((count, len(marked)), dtype=bool)
    for element in np.unique(elements):
        place = np.flatnonzero(elements == element)
        draws[:, place] = rng.permuted(np.tile(marked[place], (count, 1)), axis=1)
    return draws


def _connected(
    marked: np.ndarray,
    neighbours: Sequence[Sequence[int]],
    count: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """Random pieces of the molecule, as many and as large as the marked ones."""
    sizes = sorted((len(piece) for piece in _pieces(marked, neighbours)), reverse=True)
    draws = np.zeros((count, len(marked)), dtype=bool)
    for row in draws:
        while not _grow_all(row, sizes, neighbours, rng):
            row[:] = False
    return draws


def _pieces(marked: np.ndarray, neighbours: Sequence[Sequence[int]]) -> list[list[int]]:
    left, found = set(np.flatnonzero(marked).tolist()), []
    while left:
        piece, edge = [], [left.pop()]
        while edge:
            piece.append(edge.pop())
            reached = left.intersection(neighbours[piece[-1]])
            left -= reached
            edge.extend(reached)
        found.append(piece)
    return found


def _grow_all(
    row: np.ndarray,
    sizes: Sequence[int],
    neighbours: Sequence[Sequence[int]],
    rng: np.random.Generator,
) -> bool:
    """Grow the pieces one after the other on `row`; False when one finds no room."""
    for size in sizes:
        free = np.flatnonzero(~row)
        edge = [int(rng.choice(free))] if len(free) else []
        for _ in range(size):
            if not edge:
                return False
            atom = edge.pop(int(rng.integers(len(edge))))
            row[atom] = True
            edge += [n for n in neighbours[atom] if not row[n] and n not in edge]
    return True
