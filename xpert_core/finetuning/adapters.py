"""Low-rank adapters: few trained numbers beside frozen weights, merged into them at the end.

W + U V, with U zero at the start, so that training begins at the base model itself (Hu et al. 2021,
LoRA). Adapted are the projections of attention and feed-forward layers, and the table of gene
vectors, without which nothing could be said of a single gene.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from xpert_core.errors import DataError
from xpert_core.model.blocks import FeedForward, MultiHeadAttention
from xpert_core.model.xpert import XPert

#: Most of the model's parameters that adapters, heads and norms may train.
MOST_TRAINED = 0.04
#: Ranks above this have not been of use.
HIGHEST_RANK = 8


class LowRank(nn.Module):
    """A weight plus a product of two thin matrices.

    Parameters
    ----------
    weight : Tensor, shape (m, n)
    rank : int
    """

    def __init__(self, weight: Tensor, rank: int) -> None:
        super().__init__()
        rows, columns = weight.shape
        self.up = nn.Parameter(torch.zeros(rows, rank))
        self.down = nn.Parameter(torch.randn(rank, columns) / columns**0.5)

    def forward(self, weight: Tensor) -> Tensor:
        """The adapted weight."""
        return weight + self.up @ self.down


@dataclass(frozen=True)
class Adapted:
    """What is trained of a network.

    Attributes
    ----------
    method : str
        ``"adapters"`` or ``"full"``.
    rank : int
        Of the adapters; 0 without.
    layers : tuple of str
        Weights that have an adapter, by name.
    trained, parameters : int
        Numbers that are trained, and numbers of the network (without its adapters).
    """

    method: str
    rank: int
    layers: tuple[str, ...]
    trained: int
    parameters: int

    @property
    def share(self) -> float:
        """Trained numbers in units of the network's."""
        return self.trained / self.parameters

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {**asdict(self), "share": round(self.share, 4)}


def add_adapters(
    model: XPert, *, heads: tuple[str, ...] = ("deg_head", "pert_head"), most: float = MOST_TRAINED,
    seed: int = 0,
) -> Adapted:  # fmt: skip
    """Freeze a network but for its norms, the heads named and adapters of the highest rank there is
    room for.

    Where not even rank 1 fits everywhere, the weights nearest the read-outs get it, after the gene
    vectors.

    Parameters
    ----------
    model : XPert
        Changed in place; `merge_adapters` makes it a plain network again.
    heads : tuple of str
        Read-outs that have something to learn.
    most : float
        Most of the parameters that may be trained.
    seed : int

    Raises
    ------
    DataError
        If heads and norms alone are more than that.
    """
    parameters = sum(p.numel() for p in model.parameters())
    model.requires_grad_(False)
    norms = [m for m in model.modules() if isinstance(m, nn.LayerNorm)]
    for module in (*norms, *(h for n in heads if (h := getattr(model, n)) is not None)):
        module.requires_grad_(True)
    trained = _count_trained(model)
    room = int(most * parameters) - trained
    places = list(_places(model))
    costs = [sum(getattr(module, name).shape) for _, module, name in places]
    rank = min(HIGHEST_RANK, room // sum(costs))
    if rank < 1:
        rank, chosen = 1, []
        for place, cost in zip(places, costs, strict=True):
            if cost <= room:
                chosen.append(place)
                room -= cost
        places = chosen
    if not places:
        raise DataError(
            "The network is too small for adapters: its heads and norms alone are more than "
            f"{most:.0%} of its parameters.",
            where=f"{trained:,} of {parameters:,}",
            fix="Use the full-parameter method.",
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for _, module, name in places:
            weight = getattr(module, name)
            parametrize.register_parametrization(module, name, LowRank(weight, rank))
            # Registering made a new parameter of the old weight, under the name "original".
            module.get_parameter(f"parametrizations.{name}.original").requires_grad_(False)
    layers = tuple(f"{path}.{name}" for path, _, name in places)
    found = Adapted("adapters", rank, layers, _count_trained(model), parameters)
    assert found.share <= most
    return found


def train_everything(model: XPert) -> Adapted:
    """Full-parameter fine-tuning, as in the paper."""
    trained = _count_trained(model)
    return Adapted("full", 0, (), trained, sum(p.numel() for p in model.parameters()))


def merge_adapters(model: XPert) -> XPert:
    """Add every adapter to its weight and remove it; the network predicts as before."""
    for module in list(model.modules()):
        if parametrize.is_parametrized(module):
            for name in [n for n, _ in module.get_submodule("parametrizations").named_children()]:
                parametrize.remove_parametrizations(module, name, leave_parametrized=True)
    return model


def _places(model: XPert) -> Iterator[tuple[str, nn.Module, str]]:
    """Weights that can be adapted, in the order in which they get an adapter."""
    yield "cell_embedding", model.cell_embedding, "gene"
    layers = [(f"pert_layers.{i}", m) for i, m in enumerate(model.pert_layers)][::-1]
    layers += [(f"base_layers.{i}", m) for i, m in enumerate(model.base_layers)][::-1]
    for prefix, layer in layers:
        found = []
        for path, block in layer.named_modules():
            if isinstance(block, MultiHeadAttention | FeedForward):
                for name, linear in block.named_modules():
                    if isinstance(linear, nn.Linear):
                        found.append((f"{prefix}.{path}.{name}", linear, "weight"))
        yield from reversed(found)


def _count_trained(model: XPert) -> int:
    return sum(p.numel() for p in model.parameters() if p.requires_grad)
