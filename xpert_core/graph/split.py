"""Edges as pairs: each once, held out, hidden and masked together with its reverse.

A pair stands for both directions of an edge, so that whatever is taken from the graph is gone in
both. A reverse that stayed would hand the answer to the encoder.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from xpert_core.errors import DataError
from xpert_core.graph.records import INTERACTS, SIMILAR, TARGETED_BY, TARGETS

if TYPE_CHECKING:
    from torch_geometric.data import HeteroData

Relation = tuple[str, str, str]
PAIRED: tuple[Relation, ...] = (TARGETS, INTERACTS, SIMILAR)
"""Relations without `TARGETED_BY`, which is the reverse of `TARGETS`."""


@dataclass(frozen=True)
class Pairs:
    """Linked pairs of nodes, each once; ``source < target`` within one node type.

    Attributes
    ----------
    source, target : Tensor of int64, shape (P,)
    weight : Tensor of float32, shape (P,)
    """

    source: Tensor
    target: Tensor
    weight: Tensor

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, kept: Tensor) -> Pairs:
        """The pairs at positions, or where a mask is true."""
        return Pairs(self.source[kept], self.target[kept], self.weight[kept])


PairSet = Mapping[Relation, Pairs]
"""Pairs of each of `PAIRED`."""


@dataclass(frozen=True)
class EdgeSplit:
    """The pairs of a graph, divided.

    Attributes
    ----------
    train, valid, test : dict of relation to Pairs
        Disjoint; together all pairs that are not masked.
    masked : tuple of str
        Keys of drugs whose target pairs are in none of the three.
    """

    train: PairSet
    valid: PairSet
    test: PairSet
    masked: tuple[str, ...] = ()

    @property
    def known(self) -> dict[Relation, Pairs]:
        """Training, validation and test pairs together."""
        return {r: joined(self.train[r], self.valid[r], self.test[r]) for r in PAIRED}


def joined(*parts: Pairs) -> Pairs:
    """Pairs one after the other."""
    columns = ([getattr(p, name) for p in parts] for name in ("source", "target", "weight"))
    return Pairs(*(torch.cat(column) for column in columns))


def pairs_of(data: HeteroData) -> dict[Relation, Pairs]:
    """The pairs of a graph.

    Raises
    ------
    DataError
        When a relation has no pair: it could be neither learned nor judged.
    """
    found: dict[Relation, Pairs] = {}
    for relation in PAIRED:
        source, target = data[relation].edge_index
        pairs = Pairs(source, target, data[relation].edge_weight)
        if relation[0] == relation[2]:
            pairs = pairs[source < target]  # both directions are stored
        if not len(pairs):
            raise DataError(
                f"The graph has no edge of the relation '{relation[1]}'.",
                where=" - ".join(relation),
                fix="Give tables with rows of every relation, or lower the threshold.",
            )
        found[relation] = pairs
    return found


def without_targets(pairs: PairSet, drugs: Tensor) -> dict[Relation, Pairs]:
    """`pairs` without the target pairs of some drugs.

    Parameters
    ----------
    pairs : dict of relation to Pairs
    drugs : Tensor of int64, shape (M,)
        Positions of the drugs.
    """
    targets = pairs[TARGETS]
    return {**pairs, TARGETS: targets[~torch.isin(targets.source, drugs)]}


def rows_of(data: HeteroData, keys: Collection[str]) -> Tensor:
    """Positions of drugs by key, in the order of the graph.

    Raises
    ------
    DataError
        When a key is not a drug of the graph.
    """
    row_of = {key: row for row, key in enumerate(data["drug"].key)}
    unknown = sorted(set(keys) - row_of.keys())
    if unknown:
        raise DataError(
            f"{len(unknown)} drugs to mask are not in the graph.",
            where=", ".join(unknown[:10]),
            fix="Give node keys: the first block of the InChIKey, or name:<name>.",
        )
    return torch.tensor(sorted(row_of[key] for key in set(keys)), dtype=torch.long)


def split_edges(
    data: HeteroData,
    *,
    valid: float = 0.05,
    test: float = 0.05,
    seed: int = 0,
    masked: Collection[str] = (),
) -> EdgeSplit:
    """Hold out a share of the pairs of each relation.

    Parameters
    ----------
    data : HeteroData
    valid, test : float
        Shares of the pairs of each relation; at least one pair each.
    seed : int
        Of the drawing.
    masked : collection of str
        Keys of drugs whose targets must not be known to anything: their target pairs are removed
        before the split. Their similarity pairs stay.

    Raises
    ------
    DataError
        When a relation has fewer than three pairs, a share is not between 0 and 1, or a masked
        drug is not in the graph.
    """
    if not (0 < valid < 1 and 0 < test < 1 and valid + test < 1):
        raise DataError(
            "The held-out shares of edges must lie between 0 and 1.",
            where=f"valid {valid}, test {test}",
            fix="Use for instance 0.05 and 0.05.",
        )
    everything = without_targets(pairs_of(data), rows_of(data, masked))
    generator = torch.Generator().manual_seed(seed)
    train: dict[Relation, Pairs] = {}
    held: dict[Relation, Pairs] = {}
    judged: dict[Relation, Pairs] = {}
    for relation, pairs in everything.items():
        if len(pairs) < 3:
            raise DataError(
                f"The relation '{relation[1]}' has {len(pairs)} edges: too few to hold any out.",
                fix="Mask fewer drugs, or give a larger table.",
            )
        order = torch.randperm(len(pairs), generator=generator)
        cuts = [max(1, round(share * len(pairs))) for share in (valid, test)]
        sizes = [len(pairs) - sum(cuts), *cuts]
        for part, rows in zip((train, held, judged), order.split(sizes), strict=True):
            part[relation] = pairs[rows.sort().values]
    return EdgeSplit(train, held, judged, tuple(sorted(set(masked))))


@dataclass(frozen=True)
class Directed:
    """Edges along which messages run.

    Attributes
    ----------
    source, target : Tensor of int64, shape (E,)
    weight : Tensor of float32, shape (E,)
    """

    source: Tensor
    target: Tensor
    weight: Tensor


def directed(pairs: PairSet) -> dict[Relation, Directed]:
    """Both directions of every pair, under the four relations of the graph."""
    found: dict[Relation, Directed] = {}
    for relation, p in pairs.items():
        if relation == TARGETS:
            found[TARGETS] = Directed(p.source, p.target, p.weight)
            found[TARGETED_BY] = Directed(p.target, p.source, p.weight)
        else:
            ends = (torch.cat([p.source, p.target]), torch.cat([p.target, p.source]))
            found[relation] = Directed(*ends, p.weight.repeat(2))
    return found


@dataclass(frozen=True)
class Hiding:
    """What an epoch hides from message passing.

    Attributes
    ----------
    supervised : int
        Most pairs of a relation that are predicted in one epoch.
    targets : float
        Share of drugs without any of their targets: drugs placed by their structure.
    structures : float
        Share of drugs without molecule token and similar drugs: drugs placed by their targets.
    pairs : float
        Share of the remaining target pairs that is hidden.
    """

    supervised: int = 5000
    targets: float = 0.3
    structures: float = 0.15
    pairs: float = 0.15


@dataclass(frozen=True)
class EpochView:
    """Messages and questions of one epoch.

    Attributes
    ----------
    message : dict of relation to Pairs
        Pairs along which messages run.
    supervised : dict of relation to Pairs
        Pairs to predict; none is in `message`.
    hidden_x : Tensor of bool, shape (D,)
        Drugs whose molecule token is hidden.
    """

    message: PairSet
    supervised: PairSet
    hidden_x: Tensor


def epoch_view(pairs: PairSet, drugs: int, hiding: Hiding, generator: torch.Generator) -> EpochView:
    """Divide training pairs into those that carry messages and those to be predicted.

    An edge that carries messages makes its ends alike whatever the encoder does, so that it would
    teach nothing about edges that are not known. Pairs to predict therefore carry none, in neither
    direction.

    Parameters
    ----------
    pairs : dict of relation to Pairs
        Training pairs.
    drugs : int
        Number of drug nodes.
    hiding : Hiding
    generator : torch.Generator
    """
    draw = torch.rand(drugs, generator=generator)
    no_targets = draw < hiding.targets
    no_structure = draw > 1 - hiding.structures  # never both: such a drug would have no place
    targets, similar = pairs[TARGETS], pairs[SIMILAR]
    chance = torch.rand(len(targets), generator=generator)
    hide_target = no_targets[targets.source] | (
        (chance < hiding.pairs) & ~no_structure[targets.source]
    )
    hide_similar = no_structure[similar.source] | no_structure[similar.target]
    masks = {TARGETS: hide_target, SIMILAR: hide_similar}
    masks[INTERACTS] = torch.zeros(len(pairs[INTERACTS]), dtype=torch.bool)
    message, supervised = {}, {}
    for relation, p in pairs.items():
        hidden = masks[relation]
        if relation != TARGETS:
            # Most structures are visible: their similarity must be asked as well.
            visible = (~hidden).nonzero()[:, 0]
            few = torch.randperm(len(visible), generator=generator)[: _share(hiding, len(p))]
            hidden[visible[few]] = True
        message[relation] = p[~hidden]
        asked = hidden.nonzero()[:, 0]
        order = torch.randperm(len(asked), generator=generator)[: hiding.supervised]
        supervised[relation] = p[asked[order]]
    return EpochView(message, supervised, no_structure)


def _share(hiding: Hiding, size: int) -> int:
    """Pairs hidden for being asked: at most a fifth, so that small graphs keep messages."""
    return min(hiding.supervised, max(1, size // 5))
