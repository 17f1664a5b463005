"""From a base model to a network of other genes, classes, read-outs or conditions, by name."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from xpert_core.errors import CheckpointError
from xpert_core.model.checkpoint import Checkpoint
from xpert_core.model.config import ModelConfig
from xpert_core.model.embedding import TOKEN_KINDS, token_kinds
from xpert_core.model.xpert import XPert

#: Tensors with one row a gene, class, ...: which names their first axis has.
_AXES = {
    "cell_embedding.gene": "gene",
    "cell_embedding.ppi": "gene",
    "cell_embedding.token_mean": "gene",
    "x_pert_mean": "gene",
    "cell_embedding.value.weight": "value token",
    "classifier.weight": "class",
    "classifier.bias": "class",
    "drug_embedding.readout.weight": "read-out",
    "x_deg_scale": "read-out",
    "drug_embedding.position": "drug token",
}
_SHOWN = 10


@dataclass(frozen=True)
class Names:
    """What the rows of a network's tables stand for.

    Attributes
    ----------
    genes, classes, readouts : tuple of str
    """

    genes: tuple[str, ...]
    classes: tuple[str, ...]
    readouts: tuple[str, ...]


@dataclass(frozen=True)
class Transfer:
    """What a network took over from the base model.

    Attributes
    ----------
    parameters : int
        Numbers of the new network that are trained.
    taken : int
        Of these, how many start at the base model's value.
    transferred, new, dropped : tuple of str
        In words: what was taken over; what starts untrained because the base model lacks it; what
        the base model has and the new network does not.
    """

    parameters: int
    taken: int
    transferred: tuple[str, ...]
    new: tuple[str, ...]
    dropped: tuple[str, ...]

    @property
    def untrained(self) -> tuple[str, ...]:
        """What is new besides the auxiliary classes: adapters alone would leave it random."""
        return tuple(
            text for text in self.new if " class: " not in text and " classes: " not in text
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self)


def transfer(
    base: Checkpoint, config: ModelConfig, names: Names, *, seed: int = 0
) -> tuple[XPert, Transfer]:
    """A network of `config` that starts from the base model wherever their parts have one name.

    Parameters
    ----------
    base : Checkpoint
    config : ModelConfig
    names : Names
        Of the new network, in its order.
    seed : int
        Of the parts that are new.

    Raises
    ------
    CheckpointError
        If the networks share no gene, or the base model adds to a simple model's prediction.
    """
    if base.model.config.use_prior:
        raise CheckpointError(
            "This model adds to the prediction of a simple model and cannot be fine-tuned.",
            where=f"model '{base.meta.name}'",
            fix="Choose a model that was trained without a prior.",
        )
    old = Names(tuple(base.meta.panel["symbols"]), base.meta.classes, base.meta.readouts)
    if not set(old.genes) & set(names.genes):
        raise CheckpointError(
            "The base model and the cohort have no gene in common.",
            where=f"model '{base.meta.name}' has {len(old.genes):,} genes, the cohort "
            f"{len(names.genes):,}",
            fix="Choose a model of the same gene panel.",
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = XPert(config)
    axes = _axes(base.model.config, old), _axes(config, names)
    source, state = base.model.state_dict(), model.state_dict()
    taken, fresh = 0, []
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    for name, tensor in state.items():
        moved = _move(source[name], tensor, name, *axes) if name in source else 0
        taken += moved if name in trained else 0
        if not moved and name not in _AXES and name in trained:
            fresh.append(name)
    model.load_state_dict(state)
    gone = [n for n in source if n not in state]
    total = sum(p.numel() for n, p in model.named_parameters() if n in trained)
    return model, _report(axes, source, state, taken, total, fresh, gone)


def _axes(config: ModelConfig, names: Names) -> dict[str, list[str]]:
    """Names along each kind of axis."""
    values = [f"bin {i}" for i in range(config.n_value_tokens)]
    kinds = list(TOKEN_KINDS)
    if config.positional != "type":
        kinds = token_kinds(config)
        kinds += [f"atom {i}" for i in range(config.max_atoms * config.use_atoms)]
    return {
        "gene": list(names.genes),
        "class": list(names.classes),
        "read-out": list(names.readouts),
        "value token": values + ["not measured"] * config.missing_token,
        "drug token": kinds,
    }


def _move(
    old: Tensor,
    new: Tensor,
    name: str,
    old_axes: dict[str, list[str]],
    new_axes: dict[str, list[str]],
) -> int:
    """Copy what two tensors share into `new`; how many numbers that were."""
    if name not in _AXES:
        if old.shape != new.shape:
            return 0
        new.copy_(old)
        return new.numel()
    if old.shape[1:] != new.shape[1:]:
        return 0
    axis = _AXES[name]
    place = {label: i for i, label in enumerate(old_axes[axis])}
    pairs = [(i, place[label]) for i, label in enumerate(new_axes[axis]) if label in place]
    if not pairs:
        return 0
    here, there = (torch.tensor(side) for side in zip(*pairs, strict=True))
    new[here] = old[there]
    return len(pairs) * (new.numel() // len(new))


def _report(
    axes: tuple[dict[str, list[str]], dict[str, list[str]]],
    source: dict[str, Tensor],
    state: dict[str, Tensor],
    taken: int,
    total: int,
    fresh: list[str],
    gone: list[str],
) -> Transfer:
    transferred = [f"{taken:,} of {total:,} trained numbers"]
    new: list[str] = []
    dropped: list[str] = []
    present = {_AXES[n] for n in state if n in _AXES}, {_AXES[n] for n in source if n in _AXES}
    for axis in dict.fromkeys(_AXES.values()):
        before = axes[0][axis] if axis in present[1] else []
        after = axes[1][axis] if axis in present[0] else []
        shared = [label for label in after if label in set(before)]
        if shared:
            transferred.append(_phrase(len(shared), axis))
        for labels, known, words in ((after, before, new), (before, after, dropped)):
            others = [label for label in labels if label not in set(known)]
            if others:
                words.append(f"{_phrase(len(others), axis)}: {_some(others)}")
    new += [f"layer {name}" for name in _modules(fresh)]
    dropped += [f"layer {name}" for name in _modules([n for n in gone if n not in _AXES])]
    return Transfer(total, taken, tuple(transferred), tuple(new), tuple(dropped))


def _phrase(count: int, axis: str) -> str:
    plural = f"{axis}es" if axis.endswith("s") else f"{axis}s"
    return f"{count:,} {axis if count == 1 else plural}"


def _some(labels: list[str]) -> str:
    return ", ".join(labels[:_SHOWN]) + (", …" if len(labels) > _SHOWN else "")


def _modules(names: list[str]) -> list[str]:
    """Modules of parameters, each once."""
    return list(dict.fromkeys(name.rpartition(".")[0] or name for name in names))
