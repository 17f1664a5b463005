"""What stands next to a drug: its targets, and the library drugs of the most similar structure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from xpert_core.drugs.records import Drug
from xpert_core.errors import DrugError
from xpert_core.graph.build import shipped_fingerprints, shipped_tables
from xpert_core.graph.records import GraphTables, drug_key
from xpert_core.graph.similarity import fingerprints, tanimoto_to


@dataclass(frozen=True)
class TargetGene:
    """A target of a drug.

    Attributes
    ----------
    symbol : str
    known : bool
        Whether the gene is a node of the graph.
    partners : int
        Genes it interacts with.
    drugs : int
        Drugs with this target.
    """

    symbol: str
    known: bool
    partners: int
    drugs: int


@dataclass(frozen=True)
class SimilarDrug:
    """A drug of similar structure.

    Attributes
    ----------
    key, name : str
        Node of the graph.
    tanimoto : float
        Similarity of the Morgan fingerprints, 0 to 1.
    """

    key: str
    name: str
    tanimoto: float


@dataclass(frozen=True)
class Neighbours:
    """The place of a drug in the graph.

    Attributes
    ----------
    key : str
        Its node key.
    in_graph : bool
        False for a new structure.
    targets : tuple of TargetGene
        By symbol.
    similar : tuple of SimilarDrug
        Most similar first, also below the threshold of the graph's edges; the drug itself is
        left out. Empty for agents without a structure.
    """

    key: str
    in_graph: bool
    targets: tuple[TargetGene, ...]
    similar: tuple[SimilarDrug, ...]


def neighbours(drug: Drug, limit: int = 10, tables: GraphTables | None = None) -> Neighbours:
    """Targets of a drug and the library drugs of the most similar structure.

    Parameters
    ----------
    drug : Drug
        Of the library or new.
    limit : int
        Most similar drugs returned.
    tables : GraphTables, optional
        The shipped graph when left out; hand it over to ask for several drugs.

    Raises
    ------
    DrugError
        When the drug has neither a structure nor a known target, so that it has no place.
    DataError
        When the shipped graph is missing or damaged.
    """
    if not drug.smiles and not drug.targets:
        raise DrugError(
            "This drug has neither a structure nor a known target: it has no place in the graph.",
            where=drug.name,
            fix="Give its structure as SMILES.",
        )
    tables = tables or shipped_tables()
    key = drug_key(drug.connectivity, drug.name)
    return Neighbours(
        key=key,
        in_graph=key in tables.drugs.key,
        targets=tuple(_target(symbol, tables) for symbol in sorted(drug.targets)),
        similar=_similar(drug, key, limit, tables) if drug.smiles else (),
    )


def _target(symbol: str, tables: GraphTables) -> TargetGene:
    if symbol not in tables.genes.symbol:
        return TargetGene(symbol, False, 0, 0)
    row = tables.genes.symbol.index(symbol)
    ends = (tables.interacts.source, tables.interacts.target)
    partners = sum(int((end == row).sum()) for end in ends)
    return TargetGene(symbol, True, partners, int((tables.targets.target == row).sum()))


def _similar(drug: Drug, key: str, limit: int, tables: GraphTables) -> tuple[SimilarDrug, ...]:
    keys, packed = shipped_fingerprints()
    scores = tanimoto_to(packed, fingerprints([drug.smiles])[0])
    name = dict(zip(tables.drugs.key, tables.drugs.name, strict=True))
    best = (row for row in np.argsort(-scores, kind="stable") if keys[row] != key)
    rows = [row for row, _ in zip(best, range(limit), strict=False)]
    return tuple(SimilarDrug(keys[r], name[keys[r]], float(scores[r])) for r in rows)
