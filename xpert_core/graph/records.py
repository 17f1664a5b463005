"""Records of the knowledge graph: nodes, edges, what was left out, statistics."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from xpert_core.drugs.search import plain

TARGETS = ("drug", "targets", "gene")
TARGETED_BY = ("gene", "targeted_by", "drug")
INTERACTS = ("gene", "interacts", "gene")
SIMILAR = ("drug", "similar", "drug")
RELATIONS = (TARGETS, TARGETED_BY, INTERACTS, SIMILAR)
"""The four edge types of the graph."""


def drug_key(connectivity: str, name: str) -> str:
    """Identity of a drug node: the connectivity block, else ``name:`` and the plain name."""
    return connectivity or f"name:{plain(name)}"


@dataclass(frozen=True)
class DrugNodes:
    """Drug nodes in the order of the graph.

    Attributes
    ----------
    key : tuple of str
        Unique identity, see `drug_key`.
    name : tuple of str
        Name to show.
    smiles : tuple of str
        Standardised SMILES; "" for agents without a structure.
    molecule : ndarray of float32, shape (D, 256)
        Molecule token of the featurizer; a zero row where there is none.
    """

    key: tuple[str, ...]
    name: tuple[str, ...]
    smiles: tuple[str, ...]
    molecule: np.ndarray


@dataclass(frozen=True)
class GeneNodes:
    """Gene nodes in the order of the graph.

    Attributes
    ----------
    entrez_id : ndarray of int64, shape (G,)
        Unique identity.
    symbol : tuple of str
        Symbol to show.
    netmf : ndarray of float32, shape (G, 128)
        Vector in the interaction network; a zero row where there is none.
    has_ppi : ndarray of bool, shape (G,)
        Whether `netmf` holds a vector: not for genes without an interaction, nor for those in
        parts of the network too small to reach the first 128 dimensions.
    """

    entrez_id: np.ndarray
    symbol: tuple[str, ...]
    netmf: np.ndarray
    has_ppi: np.ndarray


@dataclass(frozen=True)
class Edges:
    """Edges of one relation, each once: a relation within one node type has ``source < target``.

    Attributes
    ----------
    source, target : ndarray of int64, shape (E,)
        Positions among the nodes of their types.
    weight : ndarray of float32, shape (E,)
        Above 0, at most 1.
    """

    source: np.ndarray
    target: np.ndarray
    weight: np.ndarray

    def __len__(self) -> int:
        return len(self.source)


@dataclass(frozen=True)
class Dropped:
    """Rows of a table that are not in the graph.

    Attributes
    ----------
    reason : str
        Why, in one sentence.
    rows : int
    examples : tuple of str
        The values concerned, at most ten.
    """

    reason: str
    rows: int
    examples: tuple[str, ...] = ()

    def __str__(self) -> str:
        named = f" ({', '.join(self.examples)}{', ...' if len(self.examples) == 10 else ''})"
        return f"{self.rows:,} rows left out: {self.reason}{named if self.examples else ''}"


@dataclass(frozen=True)
class GraphTables:
    """All that a graph is built from.

    Attributes
    ----------
    drugs : DrugNodes
    genes : GeneNodes
    targets : Edges
        From drugs to genes; weight 1 for the tier mechanism, 0.5 for any other.
    interacts : Edges
        Between genes; weight is the STRING score / 1000.
    similar : Edges
        Between drugs; weight is the Tanimoto similarity.
    dropped : tuple of Dropped
    settings : dict
        Tiers, licences and threshold, as recorded in the graph file.
    """

    drugs: DrugNodes
    genes: GeneNodes
    targets: Edges
    interacts: Edges
    similar: Edges
    dropped: tuple[Dropped, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class GraphStatistics:
    """Size of a graph.

    Attributes
    ----------
    nodes : dict of str to int
        Nodes by type.
    edges : dict of str to int
        Edges by relation, each pair counted once and reverse relations left out.
    sparsity : float
        Share of all pairs of nodes, of any type, that have no edge.
    relation_sparsity : dict of str to float
        The same within each relation.
    drugs_with_target : int
    isolated : dict of str to int
        Nodes without any edge, by type.
    without_features : dict of str to int
        Nodes with a zero feature row, by type.
    notes : tuple of str
        What a reader should know, such as a relation without edges.
    """

    nodes: dict[str, int]
    edges: dict[str, int]
    sparsity: float
    relation_sparsity: dict[str, float]
    drugs_with_target: int
    isolated: dict[str, int]
    without_features: dict[str, int]
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    @classmethod
    def of(cls, tables: GraphTables) -> GraphStatistics:
        """Count the nodes and edges of `tables`."""
        drugs, genes = len(tables.drugs.key), len(tables.genes.symbol)
        edges = {name: getattr(tables, name) for name in ("targets", "interacts", "similar")}
        possible = {
            "targets": drugs * genes,
            "interacts": genes * (genes - 1) // 2,
            "similar": drugs * (drugs - 1) // 2,
        }
        linked_drugs = (tables.targets.source, tables.similar.source, tables.similar.target)
        linked_genes = (tables.targets.target, tables.interacts.source, tables.interacts.target)
        empty = [name for name, found in edges.items() if not len(found)]
        return cls(
            nodes={"drug": drugs, "gene": genes},
            edges={name: len(found) for name, found in edges.items()},
            sparsity=1 - sum(map(len, edges.values())) / sum(possible.values()),
            relation_sparsity={n: 1 - len(e) / max(possible[n], 1) for n, e in edges.items()},
            drugs_with_target=len(np.unique(tables.targets.source)),
            isolated={
                "drug": drugs - len(np.unique(np.concatenate(linked_drugs))),
                "gene": genes - len(np.unique(np.concatenate(linked_genes))),
            },
            without_features={
                "drug": int((~tables.drugs.molecule.any(axis=1)).sum()),
                "gene": int((~tables.genes.has_ppi).sum()),
            },
            notes=tuple(f"The relation '{name}' has no edge." for name in empty),
        )
