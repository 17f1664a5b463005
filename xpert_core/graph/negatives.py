"""Negatives that are no neighbours: drawn for every edge, all at once, and checked."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from xpert_core.errors import DataError

MAX_ROUNDS = 100
"""Drawings again of what turned out to be a neighbour, before a node is called too well linked."""


@dataclass(frozen=True)
class EdgeSet:
    """Directed edges of one relation that can be asked for.

    Attributes
    ----------
    codes : Tensor of int64, shape (E,)
        ``source * targets + target``, sorted.
    targets : int
        Number of nodes at the far end.
    one_type : bool
        Whether both ends are of one node type, so that a node is no negative of itself.
    """

    codes: Tensor
    targets: int
    one_type: bool

    @classmethod
    def of(cls, source: Tensor, target: Tensor, targets: int, *, one_type: bool) -> EdgeSet:
        """Edges from `source` to `target`, each a Tensor of int64 of shape (E,)."""
        return cls(torch.unique(source * targets + target), targets, one_type)

    def contains(self, source: Tensor, target: Tensor) -> Tensor:
        """Whether each pair is an edge: bool, of the shape of `source` and `target`."""
        code = source * self.targets + target
        if not len(self.codes):
            return torch.zeros_like(code, dtype=torch.bool)
        place = torch.searchsorted(self.codes, code).clamp_(max=len(self.codes) - 1)
        return self.codes[place] == code

    def forbidden(self, source: Tensor, target: Tensor) -> Tensor:
        """Whether each pair must not be a negative: an edge, or a node with itself."""
        found = self.contains(source, target)
        return found | (source == target) if self.one_type else found

    def neighbours(self, source: int) -> Tensor:
        """Far ends of the edges of one node, int64."""
        ends = torch.tensor([source * self.targets, (source + 1) * self.targets])
        first, last = torch.searchsorted(self.codes, ends).tolist()
        return self.codes[first:last] - source * self.targets


def draw_negatives(
    edges: EdgeSet,
    source: Tensor,
    count: int,
    generator: torch.Generator,
    *,
    popular: Tensor | None = None,
    popular_share: float = 0.0,
) -> Tensor:
    """Non-neighbours of every source node, each drawn independently, with replacement.

    Parameters
    ----------
    edges : EdgeSet
        All true edges, held-out ones included: none of them is a negative.
    source : Tensor of int64, shape (P,)
    count : int
        Negatives of each source.
    generator : torch.Generator
    popular : Tensor of int64, optional
        Nodes to draw from instead of all, such as the ends of known edges, repeated as often as
        they occur. Against these, being well linked alone tells nothing.
    popular_share : float
        Share of the `count` drawn from `popular`.

    Returns
    -------
    Tensor of int64, shape (P, count)

    Raises
    ------
    DataError
        When a node is linked to (nearly) all others, so that it has no negative.
    """
    from_popular = round(count * popular_share) if popular is not None and len(popular) else 0
    wide = source[:, None].expand(-1, count)
    drawn = torch.randint(edges.targets, wide.shape, generator=generator)
    if popular is not None and from_popular:
        picks = torch.randint(len(popular), (len(source), from_popular), generator=generator)
        drawn[:, :from_popular] = popular[picks]
    for _ in range(MAX_ROUNDS):
        rows, columns = edges.forbidden(wide, drawn).nonzero(as_tuple=True)
        if not len(rows):
            return drawn
        # Whatever is drawn again comes from all nodes: a node may be linked to all popular ones.
        again = torch.randint(edges.targets, (len(rows),), generator=generator)
        drawn[rows, columns] = again
    raise DataError(
        "A node of the graph is linked to nearly all others, so it has no negatives.",
        where=f"node {int(source[rows[0]])} of {edges.targets}",
        fix="Raise the similarity or score threshold of the graph.",
    )
