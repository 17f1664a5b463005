"""Settings of a training run, read from YAML; unknown keys are refused."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from xpert_core.errors import DataError
from xpert_core.model.losses import LossWeights


@dataclass(frozen=True)
class TrainConfig:
    """One training run.

    Attributes
    ----------
    name : str
        Name of the checkpoint.
    data : str
        Prepared training data, relative to the configuration file.
    ppi : str
        Network vectors of genes (npz with ``embedding`` in panel order); "" = none.
    graph : str
        Biological vectors of the drugs, see `xpert_core.tokens.biology`; "" = none.
    bins : str
        ``"equidistant"`` or ``"quantile"``.
    model : dict
        Fields of `xpert_core.model.config.ModelConfig` that differ from the defaults.
    loss : LossWeights
    lr, weight_decay, warmup_epochs, clip_norm : float
        AdamW; linear warm-up, then cosine decay to zero at `max_epochs`.
    max_epochs, patience : int
        Training stops when inner validation has not improved for `patience` epochs.
    batch_rows, chunk_rows : int
        See `xpert_core.learning.sampler.ProfileGroupedBatches`.
    gene_dropout, structure_dropout, graph_dropout : float
        Share of profiles with some genes shown as "not measured", of drugs shown without their
        structure and of drugs shown without their place in the graph, so that all are trained.
    gene_share : float
        Share of the genes, drawn anew for each batch, that a training step sees and predicts.
        Validation and prediction see all. Attention costs the square of it.
    full_epochs : int
        Epochs at the end that train on all genes, whatever `gene_share` says.
    value_noise : float
        s.d. (tokens) of noise added to value tokens.
    valid, test : float
        Shares of drug structures held out.
    targets : str
        What is known of held-out drugs: ``"strict"`` or ``"informed"``, see
        `xpert_core.learning.splits.Split`.
    accelerator : str
        ``"auto"`` (a GPU where there is one), ``"cpu"`` or another name Lightning knows.
    split_seed, seed, threads : int
    """

    name: str
    data: str
    ppi: str = ""
    graph: str = ""
    bins: str = "quantile"
    model: dict[str, Any] = field(default_factory=dict)
    loss: LossWeights = field(default_factory=LossWeights)
    lr: float = 1e-3
    weight_decay: float = 1e-2
    warmup_epochs: float = 0.5
    clip_norm: float = 1.0
    max_epochs: int = 20
    patience: int = 5
    batch_rows: int = 64
    chunk_rows: int = 8
    gene_dropout: float = 0.3
    structure_dropout: float = 0.1
    graph_dropout: float = 0.1
    gene_share: float = 1.0
    full_epochs: int = 0
    value_noise: float = 0.0
    valid: float = 0.1
    test: float = 0.1
    targets: str = "strict"
    accelerator: str = "auto"
    split_seed: int = 0
    seed: int = 0
    threads: int = 2

    @classmethod
    def from_dict(cls, values: dict[str, Any], where: str = "") -> TrainConfig:
        """Build from a mapping.

        Raises
        ------
        DataError
            On unknown or missing keys.
        """
        known = {f.name for f in fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown or not {"name", "data"} <= set(values):
            raise DataError(
                f"The training configuration has unknown keys: {', '.join(unknown)}."
                if unknown
                else "The training configuration must give `name` and `data`.",
                where=where,
                fix=f"Known keys: {', '.join(sorted(known))}.",
            )
        try:
            loss = LossWeights(**{k: float(v) for k, v in values.get("loss", {}).items()})
            # YAML reads 1e-3, without a point, as text.
            numbers = {
                f.name: (float if f.type == "float" else int)(values[f.name])
                for f in fields(cls)
                if f.name in values and f.type in ("float", "int")
            }
        except (TypeError, ValueError, AttributeError) as error:
            raise DataError(
                "A value of the training configuration is not what its key needs.",
                where=f"{where}: {error}",
                fix="Compare with training/configs/l1000.yaml.",
            ) from error
        found = cls(**{**values, **numbers, "loss": loss})
        if not 0 < found.gene_share <= 1:
            raise DataError(
                f"The share of genes a step sees cannot be {found.gene_share:g}.",
                where=f"{where}: gene_share",
                fix="Give a number above 0, at most 1.",
            )
        return found

    @classmethod
    def load(cls, path: Path) -> TrainConfig:
        """Read a YAML file.

        Raises
        ------
        DataError
            If it cannot be read or has unknown keys.
        """
        import yaml

        try:
            values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise DataError(
                "The training configuration cannot be read.",
                where=f"{Path(path).name}: {error}",
                fix="Give a YAML file such as training/configs/l1000.yaml.",
            ) from error
        if not isinstance(values, dict):
            raise DataError(
                "The training configuration is empty.",
                where=Path(path).name,
                fix="Give a YAML file such as training/configs/l1000.yaml.",
            )
        return cls.from_dict(values, where=Path(path).name)

    def to_dict(self) -> dict[str, Any]:
        """A JSON-serialisable mapping."""
        return asdict(self)
