"""Held-out link prediction: does the embedding know edges it was never trained on?"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from xpert_core.graph.negatives import EdgeSet, draw_negatives
from xpert_core.graph.records import SIMILAR, TARGETS
from xpert_core.graph.split import EdgeSplit, Pairs, PairSet, Relation, directed

MAX_PAIRS = 2000
"""Most held-out pairs of a relation that are ranked against all other nodes."""
NEGATIVES = 50
"""Non-neighbours per held-out pair for the AUROC."""
CHUNK = 500

Scorer = Callable[[Tensor], Tensor]
"""Scores of some source nodes, shape (S,), for all far ends, shape (S, targets)."""


@dataclass(frozen=True)
class LinkScore:
    """How well a method finds held-out edges of one relation.

    Attributes
    ----------
    relation : str
    method : str
        ``"embedding"`` or a baseline.
    pairs : int
        Held-out pairs judged.
    auroc : float
        Against uniformly drawn non-neighbours: 0.5 is chance.
    auroc_popular : float
        Against non-neighbours drawn by their degree: knowing well-linked nodes does not help.
    hits : float
        Share of pairs whose true far end is among the first ten of all non-neighbours.
    mean_reciprocal_rank : float
    """

    relation: str
    method: str
    pairs: int
    auroc: float
    auroc_popular: float
    hits: float
    mean_reciprocal_rank: float


def cosine_scorer(sources: Tensor, targets: Tensor) -> Scorer:
    """Cosine of embeddings, shapes (N, F) and (M, F)."""
    u, v = functional.normalize(sources, dim=1), functional.normalize(targets, dim=1)
    return lambda rows: u[rows] @ v.T


def degree_scorer(train: Pairs, targets: int, *, one_type: bool) -> Scorer:
    """Number of training edges of the far end, whatever the source."""
    ends = torch.cat([train.source, train.target]) if one_type else train.target
    degree = torch.bincount(ends, minlength=targets).float()
    return lambda rows: degree.expand(len(rows), -1)


def tanimoto_scorer(train: PairSet, similar: Pairs, drugs: int, genes: int) -> Scorer:
    """Vote of the similar drugs for their targets, each with its Tanimoto similarity.

    All similar pairs vote, held-out ones too: a structure is known whether or not its edge is.
    Equal votes, mostly none, are put in order by the degree of the gene.
    """
    both = directed({SIMILAR: similar})[SIMILAR]
    likeness = _sparse(both.target, both.source, both.weight, (drugs, drugs))
    targets = train[TARGETS]
    known = _sparse(targets.source, targets.target, torch.ones(len(targets)), (drugs, genes))
    degree = torch.bincount(targets.target, minlength=genes).float()
    votes = torch.sparse.mm(likeness, known).coalesce()

    def scores(rows: Tensor) -> Tensor:
        picked = torch.index_select(votes, 0, rows).to_dense()
        return picked + 1e-3 * degree / degree.max()

    return scores


def _sparse(rows: Tensor, columns: Tensor, values: Tensor, shape: tuple[int, int]) -> Tensor:
    return torch.sparse_coo_tensor(
        torch.stack([rows, columns]), values, shape, check_invariants=False
    ).coalesce()


def evaluate_links(
    embedded: Mapping[str, Tensor], split: EdgeSplit, *, seed: int = 0
) -> list[LinkScore]:
    """Judge embeddings and baselines on the test edges of each relation.

    Similar drugs have no Tanimoto baseline: their edges are defined by the Tanimoto similarity.

    Parameters
    ----------
    embedded : dict of str to Tensor
        Embeddings of a graph with the training edges alone.
    split : EdgeSplit
    seed : int
        Of the drawn negatives.

    Returns
    -------
    list of LinkScore
        By relation, then method. The relation ``targets of unknown drugs`` is the part of the
        target pairs whose drug has no other target in training.
    """
    sizes = {node: len(x) for node, x in embedded.items()}
    known = split.known
    found: list[LinkScore] = []
    for relation in split.test:
        start, name, end = relation
        methods: dict[str, Scorer] = {
            "embedding": cosine_scorer(embedded[start], embedded[end]),
            "degree": degree_scorer(split.train[relation], sizes[end], one_type=start == end),
        }
        if relation == TARGETS:
            methods["tanimoto"] = tanimoto_scorer(
                split.train, known[SIMILAR], sizes["drug"], sizes["gene"]
            )
        truth = directed({relation: known[relation]})[relation]
        edges = EdgeSet.of(truth.source, truth.target, sizes[end], one_type=start == end)
        parts = {name: split.test[relation]}
        if relation == TARGETS:
            unknown = ~torch.isin(split.test[relation].source, split.train[relation].source)
            parts["targets of unknown drugs"] = split.test[relation][unknown]
        popular = _ends(split.train[relation], relation)
        for part, pairs in parts.items():
            if len(pairs):
                found += _judge(part, pairs, methods, edges, popular, seed)
    return found


def _ends(pairs: Pairs, relation: Relation) -> Tensor:
    return directed({relation: pairs})[relation].target


def _judge(
    part: str,
    pairs: Pairs,
    methods: Mapping[str, Scorer],
    edges: EdgeSet,
    popular: Tensor,
    seed: int,
) -> list[LinkScore]:
    generator = torch.Generator().manual_seed(seed)
    pairs = pairs[torch.randperm(len(pairs), generator=generator)[:MAX_PAIRS]]
    draws = [
        draw_negatives(
            edges, pairs.source, NEGATIVES, generator, popular=popular, popular_share=share
        )
        for share in (0.0, 1.0)
    ]
    scores = []
    for method, scorer in methods.items():
        positive, uniform, linked, ranks = [], [], [], []
        for rows in torch.arange(len(pairs)).split(CHUNK):
            source, target = pairs.source[rows], pairs.target[rows]
            every = scorer(source)
            positive.append(every.gather(1, target[:, None])[:, 0])
            uniform.append(every.gather(1, draws[0][rows]))
            linked.append(every.gather(1, draws[1][rows]))
            ranks.append(_ranks(every, source, positive[-1], edges))
        rank = torch.cat(ranks)
        scores.append(
            LinkScore(
                relation=part,
                method=method,
                pairs=len(pairs),
                auroc=auroc(torch.cat(positive), torch.cat(uniform).flatten()),
                auroc_popular=auroc(torch.cat(positive), torch.cat(linked).flatten()),
                hits=float((rank <= 10).float().mean()),
                mean_reciprocal_rank=float((1 / rank).mean()),
            )
        )
    return scores


def _ranks(every: Tensor, source: Tensor, positive: Tensor, edges: EdgeSet) -> Tensor:
    """Rank of the positive among all non-neighbours; ties count half."""
    others = torch.ones_like(every, dtype=torch.bool)
    for row, node in enumerate(source.tolist()):
        others[row, edges.neighbours(node)] = False
        if edges.one_type:
            others[row, node] = False
    better = ((every > positive[:, None]) & others).sum(1)
    equal = ((every == positive[:, None]) & others).sum(1)
    return 1 + better + equal / 2


def auroc(positive: Tensor, negative: Tensor) -> float:
    """Chance that a positive scores above a negative; ties count half."""
    from sklearn.metrics import roc_auc_score

    labels = np.repeat([1, 0], [len(positive), len(negative)])
    return float(roc_auc_score(labels, torch.cat([positive, negative]).numpy()))
