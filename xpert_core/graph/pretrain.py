"""Contrastive pretraining of the graph encoder, with held-out edges, early stopping and resume."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from xpert_core.errors import DataError
from xpert_core.files import atomic_path
from xpert_core.graph.encoder import (
    EncoderConfig,
    Features,
    GraphEncoder,
    adjacencies,
    features_of,
    sizes_of,
)
from xpert_core.graph.questions import Question, ask, edge_sets, relation_loss, seeds_of
from xpert_core.graph.sampler import FAN_OUTS, NeighbourSampler, embed_seeds
from xpert_core.graph.split import (
    EdgeSplit,
    Hiding,
    Pairs,
    PairSet,
    directed,
    epoch_view,
    split_edges,
)

if TYPE_CHECKING:
    from torch_geometric.data import HeteroData

SAMPLING = ("full", "neighbours", "pyg")
VALID_PAIRS = 3000
"""Most held-out pairs of a relation that an evaluation during training looks at."""
VALID_NEGATIVES = 50


@dataclass(frozen=True)
class PretrainConfig:
    """How the encoder is pretrained.

    Attributes
    ----------
    seed : int
        Of the split, the weights, and everything drawn.
    epochs : int
        Most epochs.
    evaluate_every : int
        Epochs between two looks at the held-out edges.
    patience : int
        Evaluations without a lower validation loss after which training ends.
    lr, weight_decay : float
        Of Adam.
    temperature : float
        Tau of equation 3.
    negatives : int
        Non-neighbours per positive edge.
    popular_share : float
        Share of the negatives drawn by how well linked a node is instead of uniformly: against
        uniform ones, knowing the well-linked nodes would be enough.
    valid, test : float
        Shares of the pairs of each relation that are held out.
    sampling : str
        ``"full"`` (whole graph), ``"neighbours"`` (`NeighbourSampler`) or ``"pyg"``
        (`NeighborLoader`).
    batch : int
        Positive edges of a relation in one step of the sampled modes.
    fan_outs : tuple of int
        Of the sampled modes, one a layer.
    hiding : Hiding
    encoder : EncoderConfig
    """

    seed: int = 0
    epochs: int = 300
    evaluate_every: int = 5
    patience: int = 8
    lr: float = 0.003
    weight_decay: float = 0.0
    temperature: float = 0.1
    negatives: int = 10
    popular_share: float = 0.5
    valid: float = 0.05
    test: float = 0.05
    sampling: str = "full"
    batch: int = 256
    fan_outs: tuple[int, ...] = FAN_OUTS
    hiding: Hiding = field(default_factory=Hiding)
    encoder: EncoderConfig = field(default_factory=EncoderConfig)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> PretrainConfig:
        """Build from a mapping such as a YAML file holds.

        Raises
        ------
        DataError
            On unknown keys, or values out of range.
        """
        unknown = sorted(set(values) - {f.name for f in fields(cls)})
        if unknown:
            raise DataError(
                f"The graph configuration has unknown keys: {', '.join(unknown)}.",
                fix=f"Known keys: {', '.join(f.name for f in fields(cls))}.",
            )
        try:
            nested = {
                "hiding": Hiding(**values.get("hiding", {})),
                "encoder": EncoderConfig.from_dict(values.get("encoder", {})),
                "fan_outs": tuple(values.get("fan_outs", FAN_OUTS)),
            }
            config = cls(**{**values, **nested})
            config._check()
        except (TypeError, ValueError) as error:
            raise DataError(
                "A value of the graph configuration is not what its key needs.",
                where=str(error),
                fix="Compare with training/configs/graph.yaml.",
            ) from error
        return config

    def _check(self) -> None:
        if self.sampling not in SAMPLING:
            raise ValueError(f"sampling {self.sampling!r}: one of {', '.join(SAMPLING)}")
        if len(self.fan_outs) != self.encoder.layers:
            raise ValueError(f"{len(self.fan_outs)} fan-outs for {self.encoder.layers} layers")
        counts = (self.epochs, self.evaluate_every, self.patience, self.negatives, self.batch)
        if min(counts) < 1 or self.temperature <= 0 or self.lr <= 0:
            raise ValueError("counts are at least 1; temperature and lr are above 0")


@dataclass(frozen=True)
class Epoch:
    """What one epoch did.

    Attributes
    ----------
    number : int
        From 1.
    loss : float
        Training loss, summed over relations.
    valid : dict of str to float
        InfoNCE of the held-out edges by relation; empty in epochs without an evaluation.
    """

    number: int
    loss: float
    valid: dict[str, float] = field(default_factory=dict)

    @property
    def valid_loss(self) -> float:
        """Sum over relations: what training is stopped on."""
        return sum(self.valid.values())


@dataclass(frozen=True)
class Pretrained:
    """A pretrained encoder.

    Attributes
    ----------
    encoder : GraphEncoder
        Of the epoch with the lowest validation loss; in evaluation mode.
    split : EdgeSplit
    history : tuple of Epoch
    best_epoch : int
    """

    encoder: GraphEncoder
    split: EdgeSplit
    history: tuple[Epoch, ...]
    best_epoch: int


class Pretraining:
    """One pretraining run; `pretrain` drives it.

    Parameters
    ----------
    data : HeteroData
    config : PretrainConfig
    masked : collection of str
        Drugs whose targets nothing may know.
    """

    def __init__(
        self, data: HeteroData, config: PretrainConfig, masked: Collection[str] = ()
    ) -> None:
        self.config = config
        self.split = split_edges(
            data, valid=config.valid, test=config.test, seed=config.seed, masked=masked
        )
        self.sizes = sizes_of(data)
        self.features = features_of(data)
        self.truth = edge_sets(self.split.known, self.sizes)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self.encoder = GraphEncoder(config.encoder)
        self.encoder.fit_inputs(data)
        self.optimizer = torch.optim.Adam(
            self.encoder.parameters(), lr=config.lr, weight_decay=config.weight_decay
        )
        self.history: list[Epoch] = []
        self.best = copy.deepcopy(self.encoder.state_dict())
        self._train_matrices = adjacencies(self.split.train, self.sizes)
        self._valid_questions = self._held_out()
        self._digest = self._identity(data)

    @property
    def best_epoch(self) -> int:
        """Number of the epoch with the lowest validation loss; 0 before the first evaluation."""
        judged = [epoch for epoch in self.history if epoch.valid]
        return min(judged, key=lambda epoch: epoch.valid_loss).number if judged else 0

    @property
    def finished(self) -> bool:
        """Whether the last epoch is reached or the patience used up."""
        waited = sum(bool(e.valid) and e.number > self.best_epoch for e in self.history)
        return len(self.history) >= self.config.epochs or waited >= self.config.patience

    def run_epoch(self) -> Epoch:
        """Train one epoch; evaluate when it is due."""
        number = len(self.history) + 1
        # Everything drawn depends on the seed and the epoch alone, so that a resumed run goes on
        # as an uninterrupted one.
        generator = _generator(self.config.seed, number)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(torch.randint(2**62, (1,), generator=generator)))
            loss = self._train(generator)
        due = number % self.config.evaluate_every == 0 or number == self.config.epochs
        epoch = Epoch(number, loss, self.evaluate() if due else {})
        if not torch.isfinite(torch.tensor([loss, epoch.valid_loss])).all():
            raise DataError(
                "The pretraining diverged: its loss is no number any more.",
                where=f"epoch {number}",
                fix="Lower lr or raise temperature in the configuration.",
            )
        self.history.append(epoch)
        if due and self.best_epoch == number:
            self.best = copy.deepcopy(self.encoder.state_dict())
        return epoch

    def _train(self, generator: torch.Generator) -> float:
        config = self.config
        self.encoder.train()
        view = epoch_view(self.split.train, self.sizes["drug"], config.hiding, generator)
        x, has_x = self.features["drug"]
        features = {**self.features, "drug": (x, has_x & ~view.hidden_x)}
        questions = self._ask(view.supervised, generator, config.negatives)
        if config.sampling == "full":
            embedded = self.encoder(features, adjacencies(view.message, self.sizes))
            loss = torch.stack(
                [relation_loss(q, embedded, config.temperature) for q in questions]
            ).sum()
            self._step(loss)
            return float(loss.detach())
        return self._train_sampled(features, view.message, questions, generator)

    def _train_sampled(
        self,
        features: Features,
        message: PairSet,
        questions: list[Question],
        generator: torch.Generator,
    ) -> float:
        """Steps over batches of positives, each with the neighbourhood of its own nodes."""
        config, edges = self.config, directed(message)
        sampler = None
        if config.sampling == "neighbours":
            sampler = NeighbourSampler(edges, self.sizes, config.fan_outs, generator)
        steps = max(1, -(-max(len(q.source) for q in questions) // config.batch))
        total = 0.0
        for step in range(steps):
            batch = [q[torch.arange(step, len(q.source), steps)] for q in questions]
            batch = [q for q in batch if len(q.source)]
            seeds, local = seeds_of(batch)
            embedded = embed_seeds(self.encoder, features, edges, seeds, sampler, config.fan_outs)
            losses = [relation_loss(q, embedded, config.temperature) for q in local]
            loss = torch.stack(losses).sum()
            self._step(loss)
            total += float(loss.detach())
        return total / steps

    def _step(self, loss: Tensor) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()

    def _held_out(self) -> list[Question]:
        """The same validation questions in every epoch."""
        generator = _generator(self.config.seed, 0)
        pairs = {r: _some(p, VALID_PAIRS, generator) for r, p in self.split.valid.items()}
        return self._ask(pairs, generator, VALID_NEGATIVES)

    def _ask(self, pairs: PairSet, generator: torch.Generator, negatives: int) -> list[Question]:
        share = self.config.popular_share
        return ask(
            pairs,
            self.truth,
            self.split.train,
            generator,
            negatives=negatives,
            popular_share=share,
        )

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """InfoNCE of held-out validation edges by relation; messages run along training edges."""
        self.encoder.eval()
        embedded = self.encoder(self.features, self._train_matrices)
        return {
            q.relation[1]: float(relation_loss(q, embedded, self.config.temperature))
            for q in self._valid_questions
        }

    def _identity(self, data: HeteroData) -> str:
        """What a saved state must agree with: settings, nodes with their features, edges."""
        digest = hashlib.sha256()
        settings = {**asdict(self.config), "epochs": 0, "patience": 0}  # both may be raised
        digest.update(json.dumps([settings, self.split.masked]).encode())
        digest.update(json.dumps([data["drug"].key, data["gene"].symbol]).encode())
        for x, has_x in self.features.values():
            digest.update((x * has_x[:, None]).numpy().tobytes())
        for relation, p in self.split.known.items():
            digest.update(json.dumps(relation).encode())
            digest.update(torch.stack([p.source, p.target]).numpy().tobytes())
        return digest.hexdigest()

    def save(self, path: Path) -> None:
        """Write the whole state atomically: safetensors, history in the header."""
        from safetensors.torch import save_file

        tensors = {f"encoder.{k}": v for k, v in self.encoder.state_dict().items()}
        tensors |= {f"best.{k}": v for k, v in self.best.items()}
        for index, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"adam.{index}.{k}": v for k, v in state.items()}
        header = {"identity": self._digest, "history": [asdict(e) for e in self.history]}
        with atomic_path(Path(path)) as temporary:
            save_file(
                {k: v.detach().clone() for k, v in tensors.items()},
                temporary,
                metadata={k: json.dumps(v) for k, v in header.items()},
            )

    def resume(self, path: Path) -> None:
        """Go on from what `save` wrote.

        Raises
        ------
        DataError
            When the file is damaged, or of another graph or configuration.
        """
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, framework="pt") as file:
                header = {k: json.loads(v) for k, v in (file.metadata() or {}).items()}
                tensors = {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118
            if header["identity"] != self._digest:
                raise ValueError("it is of another graph, split or configuration")
            parts: dict[str, dict[str, Tensor]] = {"encoder": {}, "best": {}, "adam": {}}
            for name, tensor in tensors.items():
                kind, _, rest = name.partition(".")
                parts[kind][rest] = tensor
            history = [Epoch(**e) for e in header["history"]]
            self.encoder.load_state_dict(parts["encoder"])
            self._load_optimizer(parts["adam"])
        except (SafetensorError, OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
            raise DataError(
                "The saved state of the pretraining cannot be used.",
                where=f"{path}: {str(error)[:200]}",
                fix="Delete it to start again, or use the settings it was made with.",
            ) from error
        self.best, self.history = parts["best"], history

    def _load_optimizer(self, tensors: Mapping[str, Tensor]) -> None:
        document = self.optimizer.state_dict()
        states: dict[int, dict[str, Tensor]] = {}
        for name, tensor in tensors.items():
            index, _, what = name.partition(".")
            states.setdefault(int(index), {})[what] = tensor
        self.optimizer.load_state_dict({**document, "state": states})

    def result(self) -> Pretrained:
        """The encoder of the best epoch."""
        encoder = GraphEncoder(self.config.encoder)
        encoder.load_state_dict(self.best)
        return Pretrained(encoder.eval(), self.split, tuple(self.history), self.best_epoch)


def pretrain(
    data: HeteroData,
    config: PretrainConfig,
    *,
    masked_drugs: Collection[str] = (),
    state: Path | None = None,
    progress: Callable[[Epoch], None] | None = None,
) -> Pretrained:
    """Pretrain the encoder on a graph.

    Parameters
    ----------
    data : HeteroData
        See `xpert_core.graph.build.build_graph`.
    config : PretrainConfig
    masked_drugs : collection of str
        Strict mode: keys of drugs whose target edges are removed before anything else, so that a
        score on these drugs owes nothing to their targets. Their similarity edges stay.
    state : Path, optional
        File that the run is saved to after each evaluation, and taken up from if it exists.
    progress : callable, optional
        Called after every epoch.

    Raises
    ------
    DataError
        When a relation is empty, a masked drug is unknown, the saved state does not fit, or the
        loss is no number any more.
    """
    run = Pretraining(data, config, masked_drugs)
    if state is not None and Path(state).is_file():
        run.resume(Path(state))
    while not run.finished:
        epoch = run.run_epoch()
        if state is not None and epoch.valid:
            run.save(Path(state))
        if progress:
            progress(epoch)
    return run.result()


def _some(pairs: Pairs, limit: int, generator: torch.Generator) -> Pairs:
    return pairs[torch.randperm(len(pairs), generator=generator)[:limit]]


def _generator(seed: int, epoch: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed * 1_000_003 + epoch)
