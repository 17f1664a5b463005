"""Settings of a fine-tuning."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from xpert_core.errors import DataError
from xpert_core.files import sha256_bytes
from xpert_core.finetuning.adapters import MOST_TRAINED
from xpert_core.learning.config import TrainConfig
from xpert_core.model.losses import LossWeights

METHODS = ("auto", "adapters", "full")
#: Fewer pairs than this are fine-tuned with adapters unless the user says otherwise.
FEW_PAIRS = 200
#: Learning rates: few new numbers beside frozen ones take larger steps than the weights themselves.
#: Those of a base model were chosen on nine patients (docs/finetune.md, "Settings").
LEARNING_RATES = {"adapters": 1e-2, "full": 1e-3, "scratch": 1e-3}


@dataclass(frozen=True)
class FinetuneConfig:
    """One fine-tuning.

    Attributes
    ----------
    method : str
        ``"adapters"``, ``"full"`` (all parameters, as in the paper) or ``"auto"``: adapters for
        fewer than `FEW_PAIRS` pairs.
    most_trained : float
        Most of the parameters that adapters, heads and norms may train.
    lr : float or None
        Highest learning rate; None = that of `LEARNING_RATES`. Linear warm-up, then cosine decay
        to zero at `max_epochs`.
    weight_decay, warmup_epochs, clip_norm : float
    max_epochs, patience : int
        Training stops when the inner validation patients have not improved for `patience` epochs.
    batch_rows : int
        Pairs a step.
    gene_dropout, gene_share, value_noise : float
        See `xpert_core.learning.config.TrainConfig`.
    loss : LossWeights
    valid : float
        Share of the pairs that the inner validation patients have.
    seed, split_seed, threads : int
        `threads` 0 = as PyTorch is set.
    accelerator : str
        ``"auto"`` or ``"cpu"``.
    """

    method: str = "auto"
    most_trained: float = MOST_TRAINED
    lr: float | None = None
    weight_decay: float = 1e-2
    warmup_epochs: float = 2.0
    clip_norm: float = 1.0
    max_epochs: int = 40
    patience: int = 8
    batch_rows: int = 8
    gene_dropout: float = 0.3
    gene_share: float = 0.5
    value_noise: float = 0.0
    loss: LossWeights = field(default_factory=LossWeights)
    valid: float = 0.2
    seed: int = 0
    split_seed: int = 0
    threads: int = 0
    accelerator: str = "auto"

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise DataError(
                f"The method '{self.method}' is not known.", fix=f"Use one of {', '.join(METHODS)}."
            )
        for name, low, high in (("gene_share", 0.0, 1.0), ("valid", 0.0, 0.5),
                                ("most_trained", 0.0, 1.0)):  # fmt: skip
            if not low < getattr(self, name) <= high:
                raise DataError(
                    f"The setting {name} cannot be {getattr(self, name):g}.",
                    fix=f"Give a number above {low:g}, at most {high:g}.",
                )
        if self.lr is not None and not 0 <= self.lr < math.inf:
            raise DataError(
                f"The learning rate cannot be {self.lr:g}.",
                fix="Give a number above 0; without one, that of the method is used.",
            )
        if min(self.max_epochs, self.patience, self.batch_rows) < 1:
            raise DataError(
                "Epochs, patience and pairs a step must be at least 1.",
                where=f"max_epochs {self.max_epochs}, patience {self.patience}, batch_rows "
                f"{self.batch_rows}",
            )

    def method_for(self, n_pairs: int) -> str:
        """``"adapters"`` or ``"full"``."""
        if self.method != "auto":
            return self.method
        return "adapters" if n_pairs < FEW_PAIRS else "full"

    def training(self, method: str, identity: str, bins: str) -> TrainConfig:
        """What the trainer is told.

        Parameters
        ----------
        method : str
            ``"adapters"``, ``"full"`` or ``"scratch"``.
        identity : str
            Hash of what is trained on; a state of another one is not gone on from.
        bins : str
            Kind of bin edges of the base model.
        """
        shared = {
            name: getattr(self, name)
            for name in ("loss", "weight_decay", "warmup_epochs", "clip_norm", "max_epochs",
                         "patience", "batch_rows", "gene_dropout", "gene_share", "value_noise",
                         "seed", "split_seed", "accelerator", "valid")
        }  # fmt: skip
        return TrainConfig(
            name=method,
            data=identity,
            bins=bins,
            lr=LEARNING_RATES[method] if self.lr is None or method == "scratch" else self.lr,
            # Each pair has its own profile, and the few drugs of a cohort must stay themselves.
            chunk_rows=1,
            structure_dropout=0.0,
            graph_dropout=0.0,
            test=0.0,
            **shared,
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> FinetuneConfig:
        """Build from what `to_dict` gave.

        Raises
        ------
        DataError
            On unknown settings or values of the wrong kind.
        """
        try:
            return cls(**{**values, "loss": LossWeights(**values.get("loss", {}))})
        except TypeError as error:
            raise DataError(
                "The settings of the fine-tuning cannot be read.", where=str(error)
            ) from error

    def with_(self, **changes: Any) -> FinetuneConfig:
        """A copy with some settings changed."""
        return replace(self, **changes)


def digest_of(*parts: Any) -> str:
    """SHA-256 of JSON values."""
    return sha256_bytes(json.dumps(parts, sort_keys=True, default=str).encode())
