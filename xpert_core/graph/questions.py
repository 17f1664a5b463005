"""What an encoder is trained and judged on: true edges among candidates that are none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from xpert_core.graph.loss import info_nce, similarities
from xpert_core.graph.negatives import EdgeSet, draw_negatives
from xpert_core.graph.records import TARGETED_BY, TARGETS
from xpert_core.graph.split import PairSet, Relation, directed


@dataclass(frozen=True)
class Question:
    """Positive edges of one relation in one direction, with their candidates.

    Attributes
    ----------
    relation : Relation
    source : Tensor of int64, shape (P,)
    candidates : Tensor of int64, shape (P, 1 + K)
        The true target, then its negatives.
    """

    relation: Relation
    source: Tensor
    candidates: Tensor

    def __getitem__(self, rows: Tensor) -> Question:
        return Question(self.relation, self.source[rows], self.candidates[rows])


def edge_sets(pairs: PairSet, sizes: Mapping[str, int]) -> dict[Relation, EdgeSet]:
    """All true edges of the four relations, for the rejection of negatives."""
    return {
        r: EdgeSet.of(e.source, e.target, sizes[r[2]], one_type=r[0] == r[2])
        for r, e in directed(pairs).items()
    }


def ask(
    pairs: PairSet,
    truth: Mapping[Relation, EdgeSet],
    popular: PairSet,
    generator: torch.Generator,
    *,
    negatives: int,
    popular_share: float,
) -> list[Question]:
    """Candidates for pairs of every relation.

    Target pairs are asked in both directions, so that drugs and genes both get negatives; pairs of
    one node type in a random one.

    Parameters
    ----------
    pairs : dict of relation to Pairs
        The positives.
    truth : dict of relation to EdgeSet
        All true edges: no negative is among them.
    popular : dict of relation to Pairs
        Edges whose ends are the well-linked nodes.
    generator : torch.Generator
    negatives : int
        Of each positive.
    popular_share : float
        Share of the negatives drawn from these ends, see `draw_negatives`.
    """
    found = []
    for relation, ends in _ends(pairs, generator).items():
        source, target = ends
        well_linked = directed(popular)[relation].target
        drawn = draw_negatives(
            truth[relation],
            source,
            negatives,
            generator,
            popular=well_linked,
            popular_share=popular_share,
        )
        found.append(Question(relation, source, torch.cat([target[:, None], drawn], dim=1)))
    return found


def _ends(pairs: PairSet, generator: torch.Generator) -> dict[Relation, tuple[Tensor, Tensor]]:
    found: dict[Relation, tuple[Tensor, Tensor]] = {}
    for relation, p in pairs.items():
        if relation == TARGETS:
            found[TARGETS] = (p.source, p.target)
            found[TARGETED_BY] = (p.target, p.source)
        else:
            turned = torch.rand(len(p), generator=generator) < 0.5
            found[relation] = (
                torch.where(turned, p.target, p.source),
                torch.where(turned, p.source, p.target),
            )
    return found


def relation_loss(question: Question, embedded: Mapping[str, Tensor], temperature: float) -> Tensor:
    """Mean InfoNCE over the positives of one relation and direction."""
    start, _, end = question.relation
    similarity = similarities(
        embedded[start], embedded[end], question.source, question.candidates, temperature
    )
    return info_nce(similarity)


def seeds_of(questions: list[Question]) -> tuple[dict[str, Tensor], list[Question]]:
    """Distinct nodes of questions, and the questions in positions among them."""
    used: dict[str, list[Tensor]] = {}
    for q in questions:
        used.setdefault(q.relation[0], []).append(q.source)
        used.setdefault(q.relation[2], []).append(q.candidates.flatten())
    seeds = {node: torch.cat(parts).unique() for node, parts in used.items()}
    local = [
        Question(
            q.relation,
            torch.searchsorted(seeds[q.relation[0]], q.source),
            torch.searchsorted(seeds[q.relation[2]], q.candidates),
        )
        for q in questions
    ]
    return seeds, local
