"""A model of the registry, as pages and commands see it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from xpert_core.errors import CheckpointError
from xpert_core.prediction.models import (
    finetuning_obstacle,
    model_folder,
    obstacle,
    shipped_default,
    shipped_models,
)
from xpert_core.store.frames import decode
from xpert_core.store.models import ModelRow, RegisteredModelRow

SHIPPED, TRAINED, FINE_TUNED, IMPORTED = KINDS = ("shipped", "trained", "fine-tuned", "imported")


@dataclass(frozen=True)
class RegisteredModel:
    """A model of the registry.

    Attributes
    ----------
    id : str
        Of a user's model a random id, of a shipped one its name.
    name : str
    owner : str
        "" for a shipped model.
    kind : str
        One of `KINDS`.
    shared : bool
        Whether everybody may use it; shipped models are everybody's.
    digest : str
        Hash of the checkpoint.
    parents : tuple of str
        Hashes of the checkpoints it was made from.
    created_at : datetime or None
        In UTC; None for a shipped model.
    n_bytes : int
    folder : Path
        The checkpoint.
    card : dict
    """

    id: str
    name: str
    owner: str
    kind: str
    shared: bool
    digest: str
    parents: tuple[str, ...]
    created_at: datetime | None
    n_bytes: int
    folder: Path
    card: dict[str, Any]

    @property
    def why_not_default(self) -> str:
        """Why it must not be anybody's default; "" when its card does not speak against it."""
        from xpert_core.tokens.dataset import LOG2_READOUT, READOUTS

        compared = self.card.get("comparison")
        if not isinstance(compared, Mapping) or compared.get("may_be_default") is not False:
            return ""
        readouts = {line.get("readout") for line in compared.get("scores", ())}
        if not readouts:
            return "it was not compared with the mean change of its cohort"
        if READOUTS[LOG2_READOUT] not in readouts:
            return "its scores are of z-scores, and predictions are read out as log2 changes"
        return "it was not better than the mean change of its cohort"

    @property
    def why_not_predict(self) -> str:
        """Why it cannot predict for a cohort; "" when nothing is known against it."""
        from xpert_core.model.checkpoint import read_config

        try:
            document = read_config(self.folder)
        except CheckpointError as error:
            return error.what
        return obstacle(document["bins"], document["featurizer"])

    @property
    def why_not_finetune(self) -> str:
        """Why it cannot be the base of a fine-tuning; "" when nothing is known against it."""
        from xpert_core.model.checkpoint import read_config

        try:
            return finetuning_obstacle(read_config(self.folder))
        except CheckpointError as error:
            return error.what


def shipped() -> tuple[RegisteredModel, ...]:
    """The models that come with this version, the default first."""
    names = sorted(shipped_models(), key=lambda name: name != shipped_default())
    return tuple(shipped_model(name) for name in names)


def shipped_model(name: str) -> RegisteredModel:
    from xpert_core.model.checkpoint import read_config

    folder = model_folder(name)
    document = read_config(folder)
    return RegisteredModel(
        id=name,
        name=name,
        owner="",
        kind=SHIPPED,
        shared=True,
        digest=document["sha256"],
        parents=(),
        created_at=None,
        n_bytes=sum(path.stat().st_size for path in folder.iterdir()),
        folder=folder,
        card=document["card"],
    )


def registered_model(folder: Path, row: RegisteredModelRow, model: ModelRow) -> RegisteredModel:
    return RegisteredModel(
        id=row.id,
        name=row.name,
        owner=row.owner,
        kind=row.kind,
        shared=row.shared,
        digest=model.digest,
        parents=tuple(row.parents),
        created_at=row.created_at,
        n_bytes=row.n_bytes,
        folder=folder / row.id,
        card=decode(model.card),
    )
