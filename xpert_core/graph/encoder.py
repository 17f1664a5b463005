"""The graph encoder: three layers of weighted SAGE convolutions over drugs and genes."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch_geometric.nn import HeteroConv, MessagePassing
from torch_geometric.utils import spmm

from xpert_core.errors import CheckpointError, DataError
from xpert_core.files import atomic_path
from xpert_core.graph.records import RELATIONS
from xpert_core.graph.split import Directed, Relation, directed, pairs_of

if TYPE_CHECKING:
    from torch_geometric.data import HeteroData

    from xpert_core.graph.split import PairSet

SCHEMA = 1
"""Raised when the meaning of an encoder file changes."""
NODES = ("drug", "gene")
_UNFIT = (RuntimeError, DataError)
"""Raised by weights and by a configuration that do not fit the encoder."""


@dataclass(frozen=True)
class EncoderConfig:
    """Shape of the encoder.

    Attributes
    ----------
    drug_dim, gene_dim : int
        Width of the node features.
    hidden, out : int
        Width between the layers, and of the embeddings.
    layers : int
        Number of HeteroConv layers.
    dropout : float
        After each layer but the last.
    """

    drug_dim: int = 256
    gene_dim: int = 128
    hidden: int = 128
    out: int = 128
    layers: int = 3
    dropout: float = 0.1

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> EncoderConfig:
        """Build from a mapping.

        Raises
        ------
        DataError
            On unknown keys, or values out of range.
        """
        unknown = sorted(set(values) - {f.name for f in fields(cls)})
        if unknown:
            raise DataError(
                f"The encoder has no setting {', '.join(unknown)}.",
                fix=f"Known settings: {', '.join(f.name for f in fields(cls))}.",
            )
        config = cls(**values)
        sizes = (config.drug_dim, config.gene_dim, config.hidden, config.out, config.layers)
        if min(sizes) < 1 or not 0 <= config.dropout < 1:
            raise DataError(
                "A setting of the encoder is out of range.",
                where=str(asdict(config)),
                fix="Sizes are at least 1; dropout is at least 0 and below 1.",
            )
        return config


def adjacency(edges: Directed, sources: int, targets: int) -> Tensor:
    """Row-normalised weights of one relation: row v holds w(u, v) / sum over u of w(u, v).

    Parameters
    ----------
    edges : Directed
    sources, targets : int
        Nodes at the two ends.

    Returns
    -------
    Tensor, sparse CSR, shape (targets, sources)
        A row without edges is empty.
    """
    order = torch.argsort(edges.target, stable=True)
    target = edges.target[order]
    total = torch.zeros(targets).index_add_(0, target, edges.weight[order])
    counts = torch.bincount(target, minlength=targets)
    starts = torch.cat([torch.zeros(1, dtype=torch.long), counts.cumsum(0)])
    values = edges.weight[order] / total[target]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
        return torch.sparse_csr_tensor(
            starts, edges.source[order], values, (targets, sources), check_invariants=False
        )


def adjacencies(pairs: PairSet, sizes: Mapping[str, int]) -> dict[Relation, Tensor]:
    """`adjacency` of both directions of every pair, for the four relations."""
    return {
        relation: adjacency(edges, sizes[relation[0]], sizes[relation[2]])
        for relation, edges in directed(pairs).items()
    }


class WeightedSAGE(MessagePassing):
    """GraphSAGE with edge weights: W1 (weighted mean of the neighbours) + W2 (the node itself).

    Parameters
    ----------
    width_in, width_out : int
    """

    def __init__(self, width_in: int, width_out: int) -> None:
        super().__init__(aggr="sum")  # the weights of a row of `adjacency` sum to 1
        self.neighbours = nn.Linear(width_in, width_out, bias=False)
        self.root = nn.Linear(width_in, width_out)

    def forward(self, x: Tensor | tuple[Tensor, Tensor], edge_index: Tensor) -> Tensor:
        """Convolve.

        Parameters
        ----------
        x : pair of Tensor, shapes (sources, width_in) and (targets, width_in)
            One Tensor where sources and targets are the same nodes.
        edge_index : Tensor, sparse CSR, shape (targets, sources)
            See `adjacency`.

        Returns
        -------
        Tensor, shape (targets, width_out)
        """
        x = (x, x) if isinstance(x, Tensor) else x
        mean = self.propagate(edge_index, x=x)
        result: Tensor = self.neighbours(mean) + self.root(x[1])
        return result

    def message_and_aggregate(self, edge_index: Tensor, x: tuple[Tensor, Tensor]) -> Tensor:
        """Weighted means by one sparse product: no message is ever stored."""
        result: Tensor = spmm(edge_index, x[0])
        return result


class InputProjection(nn.Module):
    """Standardised node features, projected; a learned vector where a node has none.

    Parameters
    ----------
    width_in, width_out : int
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, width_in: int, width_out: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(width_in))
        self.register_buffer("scale", torch.ones(width_in))
        self.project = nn.Linear(width_in, width_out)
        self.missing = nn.Parameter(torch.randn(width_out) / width_out**0.5)
        self.norm = nn.LayerNorm(width_out)

    @torch.no_grad()
    def fit(self, x: Tensor, has_x: Tensor) -> None:
        """Take mean and scale from the nodes that have features."""
        known = x[has_x]
        if len(known) > 1:
            self.mean.copy_(known.mean(0))
            spread = known.std(0)
            # A constant column says nothing; divided by nearly nothing it would shout.
            self.scale.copy_(torch.where(spread > 1e-6, spread, torch.ones_like(spread)))

    def forward(self, x: Tensor, has_x: Tensor) -> Tensor:
        """Project.

        Parameters
        ----------
        x : Tensor, shape (N, width_in)
        has_x : Tensor of bool, shape (N,)

        Returns
        -------
        Tensor, shape (N, width_out)
        """
        projected = self.project((x - self.mean) / self.scale)
        result: Tensor = self.norm(torch.where(has_x[:, None], projected, self.missing))
        return result


class GraphEncoder(nn.Module):
    """Embeds drugs and genes from their features and their neighbours.

    Three HeteroConv layers of SAGE convolutions (section "Biological token based on prior-knowledge
    HG" of the paper), one module a layer and relation, LayerNorm, ReLU and dropout between layers
    only: the output has both signs. It holds no vector of any single node, so that nodes it has
    never seen are embedded in the same way.

    Parameters
    ----------
    config : EncoderConfig
    """

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        dims = {"drug": config.drug_dim, "gene": config.gene_dim}
        self.inputs = nn.ModuleDict({n: InputProjection(dims[n], config.hidden) for n in NODES})
        widths = [config.hidden] * config.layers + [config.out]
        self.layers = nn.ModuleList(
            HeteroConv({r: WeightedSAGE(a, b) for r in RELATIONS}, aggr="sum")
            for a, b in pairwise(widths)
        )
        self.norms = nn.ModuleList(
            nn.ModuleDict({n: nn.LayerNorm(config.hidden) for n in NODES})
            for _ in range(config.layers - 1)
        )

    def fit_inputs(self, data: HeteroData) -> None:
        """Standardise by the features of a graph, see `InputProjection.fit`."""
        for node in NODES:
            self.inputs[node].fit(data[node].x, data[node].has_x)  # type: ignore[operator]

    def forward(self, features: Features, matrices: Mapping[Relation, Tensor]) -> dict[str, Tensor]:
        """Embeddings of all nodes.

        Parameters
        ----------
        features : dict of str to (Tensor, Tensor)
            For each node type x, shape (N, dim), and has_x, bool of shape (N,).
        matrices : dict of relation to Tensor
            See `adjacencies`.

        Returns
        -------
        dict of str to Tensor, shape (N, out)
        """
        states = self.layer_states(features, matrices)
        return {node: states[node][-1] for node in NODES}

    def layer_states(
        self, features: Features, matrices: Mapping[Relation, Tensor]
    ) -> dict[str, list[Tensor]]:
        """Input of every layer and the output, for each node type: layers + 1 tensors."""
        x = {node: self.inputs[node](*features[node]) for node in NODES}
        states = {node: [x[node]] for node in NODES}
        for depth, layer in enumerate(self.layers):
            x = layer(x, dict(matrices))
            if depth < len(self.norms):
                x = {node: self._between(depth, node, x[node]) for node in NODES}
            for node in NODES:
                states[node].append(x[node])
        return states

    def states(self, data: HeteroData) -> dict[str, list[Tensor]]:
        """`layer_states` of a graph with all its edges."""
        return self.layer_states(features_of(data), adjacencies(pairs_of(data), sizes_of(data)))

    def attach(
        self,
        states: Mapping[str, list[Tensor]],
        features: tuple[Tensor, Tensor],
        matrices: Mapping[Relation, Tensor],
    ) -> Tensor:
        """Embeddings of drugs that receive messages and send none.

        Parameters
        ----------
        states : dict of str to list of Tensor
            Of the graph they are attached to, see `layer_states`.
        features : (Tensor, Tensor)
            x, shape (B, drug_dim), and has_x, bool of shape (B,).
        matrices : dict of relation to Tensor
            Of the relations that lead to drugs, each of shape (B, nodes of the source).

        Returns
        -------
        Tensor, shape (B, out)
        """
        x: Tensor = self.inputs["drug"](*features)
        for depth, layer in enumerate(self.layers):
            parts = [
                layer.convs[relation]((states[relation[0]][depth], x), matrix)  # type: ignore[index,operator]
                for relation, matrix in matrices.items()
            ]
            x = torch.stack(parts).sum(0)
            if depth < len(self.norms):
                x = self._between(depth, "drug", x)
        return x

    def _between(self, depth: int, node: str, x: Tensor) -> Tensor:
        normed = self.norms[depth][node](x)  # type: ignore[index]
        return nn.functional.dropout(normed.relu(), self.config.dropout, self.training)


Features = Mapping[str, tuple[Tensor, Tensor]]
"""For each node type its features and which nodes have them."""


def features_of(data: HeteroData) -> dict[str, tuple[Tensor, Tensor]]:
    """Features of a graph as the encoder takes them."""
    return {node: (data[node].x, data[node].has_x) for node in NODES}


def sizes_of(data: HeteroData) -> dict[str, int]:
    """Number of nodes of each type."""
    return {node: len(data[node].x) for node in NODES}


def save_encoder(path: Path, encoder: GraphEncoder, meta: Mapping[str, Any]) -> None:
    """Write weights and buffers as safetensors; configuration and `meta` are in the header.

    Parameters
    ----------
    path : Path
    encoder : GraphEncoder
    meta : dict
        What a reader of the file must know, as JSON values: seed, scores, masked drugs.
    """
    from safetensors.torch import save_file

    header = {"schema": SCHEMA, "config": asdict(encoder.config), "meta": dict(meta)}
    state = {name: tensor.detach().cpu().clone() for name, tensor in encoder.state_dict().items()}
    with atomic_path(Path(path)) as temporary:
        save_file(state, temporary, metadata={k: json.dumps(v) for k, v in header.items()})


def load_encoder(path: Path) -> tuple[GraphEncoder, dict[str, Any]]:
    """Read what `save_encoder` wrote.

    Returns
    -------
    encoder : GraphEncoder
        In evaluation mode.
    meta : dict

    Raises
    ------
    CheckpointError
        When the file is missing, damaged, of another version, or holds weights that are not finite.
    """
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    try:
        with safe_open(path, framework="pt") as file:
            header = {k: json.loads(text) for k, text in (file.metadata() or {}).items()}
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if header["schema"] != SCHEMA:
            raise ValueError(f"schema {header['schema']}, this program reads {SCHEMA}")
        encoder = GraphEncoder(EncoderConfig.from_dict(header["config"]))
        encoder.load_state_dict(state)
        bad = [name for name, tensor in state.items() if not tensor.isfinite().all()]
        if bad:
            raise ValueError(f"{bad[0]} holds values that are no numbers")
        return encoder.eval(), dict(header["meta"])
    except FileNotFoundError as error:
        raise CheckpointError(
            "The graph encoder is missing.",
            where=str(path),
            fix="Install the program again, or run training/pretrain_graph.py.",
        ) from error
    except (SafetensorError, OSError, ValueError, LookupError, TypeError, *_UNFIT) as error:
        raise CheckpointError(
            "The graph encoder is damaged or of another version.",
            where=f"{path}: {str(error)[:200]}",
            fix="Copy the file again, or run training/pretrain_graph.py.",
        ) from error
