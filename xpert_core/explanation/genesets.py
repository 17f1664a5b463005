"""Shipped gene sets, cut to the genes of the panel."""

from __future__ import annotations

import gzip
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from xpert_core.errors import ExplanationError
from xpert_core.paths import assets_dir

#: Collections in assets/genesets, with the names shown.
COLLECTIONS = {
    "hallmark": "MSigDB Hallmark",
    "reactome": "Reactome pathways",
    "go_bp": "GO biological process",
}
#: Sets with fewer or more tested genes are not tested: few genes decide by themselves, and a set
#: of a third of the panel is no question.
MIN_SIZE, MAX_SIZE = 5, 300


@dataclass(frozen=True)
class GeneSets:
    """Sets over the genes that were tested.

    Attributes
    ----------
    collection : tuple of str, one a set
        Key of `COLLECTIONS`, or another name.
    names : tuple of str
    members : tuple of ndarray of int64
        Positions in the list of genes tested, sorted.
    genes : tuple of str
        Genes tested: the background.
    """

    collection: tuple[str, ...]
    names: tuple[str, ...]
    members: tuple[np.ndarray, ...]
    genes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.names)

    @property
    def sizes(self) -> np.ndarray:
        """Genes of each set that were tested."""
        return np.array([len(m) for m in self.members], dtype=np.int64)


def parse_gmt(text: str) -> dict[str, tuple[str, ...]]:
    """Sets of a GMT file: name, description and genes on each line, with tabs between."""
    lines = (line.split("\t") for line in text.splitlines() if line.strip())
    return {cells[0]: tuple(g for g in cells[2:] if g) for cells in lines}


@cache
def _shipped(collection: str) -> Mapping[str, tuple[str, ...]]:
    if collection not in COLLECTIONS:
        raise ExplanationError(
            f"There is no gene-set collection '{collection}'.",
            fix=f"Use some of {', '.join(COLLECTIONS)}.",
        )
    path = assets_dir() / "genesets" / f"{collection}.gmt.gz"
    try:
        return parse_gmt(gzip.decompress(path.read_bytes()).decode("utf-8"))
    except OSError as error:
        raise ExplanationError(
            "The gene sets are not installed.",
            where=f"assets/genesets/{path.name}",
            fix="Install XPert again, or run training/prepare_genesets.py.",
        ) from error


def load_sets(genes: Sequence[str], collections: Collection[str] = tuple(COLLECTIONS)) -> GeneSets:
    """Shipped sets over the genes that were tested.

    Raises
    ------
    ExplanationError
        If a collection is not known or not installed.
    """
    return restrict({name: _shipped(name) for name in collections}, genes)


def restrict(
    sets: Mapping[str, Mapping[str, Sequence[str]]],
    genes: Sequence[str],
    *,
    min_size: int = MIN_SIZE,
    max_size: int = MAX_SIZE,
) -> GeneSets:
    """Cut sets, by collection and name, to `genes` and to sizes that can be tested.

    Sets of one collection with the same genes left are kept once, under the first name: as tests
    they are one.
    """
    place = {gene: i for i, gene in enumerate(genes)}
    collection, names, members = [], [], []
    for key, group in sets.items():
        seen: set[bytes] = set()
        for name, symbols in group.items():
            found = np.array(sorted({place[s] for s in symbols if s in place}), dtype=np.int64)
            if min_size <= len(found) <= max_size and found.tobytes() not in seen:
                seen.add(found.tobytes())
                collection.append(key)
                names.append(name)
                members.append(found)
    return GeneSets(tuple(collection), tuple(names), tuple(members), tuple(genes))
