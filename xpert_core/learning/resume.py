"""State of a running training, without pickles: safetensors for tensors, JSON for the rest."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from xpert_core.errors import DataError
from xpert_core.files import atomic_path, write_bytes_atomic
from xpert_core.model.xpert import XPert

STATE, PROGRESS = "last.safetensors", "progress.json"


@dataclass
class Progress:
    """Where a training stands.

    Attributes
    ----------
    config : dict
        The run's configuration; a resumed run must have the same.
    epochs_done, best_epoch : int
    best_score : float
        Best inner validation score so far.
    history : list of dict
        One entry an epoch.
    seconds : float
        Trained so far, in all parts of an interrupted training.
    """

    config: dict
    epochs_done: int = 0
    best_epoch: int = -1
    best_score: float = float("-inf")
    history: list[dict] = field(default_factory=list)
    seconds: float = 0.0


def save_state(
    folder: Path, model: XPert, best: dict[str, torch.Tensor], optimizer: torch.optim.Optimizer,
    progress: Progress,
) -> None:  # fmt: skip
    """Write weights, best weights, optimizer moments and progress.

    The tensors carry the epoch they belong to, so that a kill between the two files is noticed.
    """
    tensors = {f"model/{k}": v for k, v in model.state_dict().items()}
    tensors |= {f"best/{k}": v for k, v in best.items()}
    for index, moments in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer/{index}/{k}": torch.as_tensor(v) for k, v in moments.items()}
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_path(folder / STATE) as temporary:
        save_file(
            {k: v.detach().clone().contiguous() for k, v in tensors.items()},
            temporary,
            {"progress": json.dumps(asdict(progress))},
        )
    write_bytes_atomic(folder / PROGRESS, (json.dumps(asdict(progress), indent=1) + "\n").encode())


def load_state(
    folder: Path, model: XPert, optimizer: torch.optim.Optimizer, config: dict
) -> tuple[Progress, dict[str, torch.Tensor]]:
    """Put a saved state back; returns the progress and the best weights.

    Raises
    ------
    DataError
        If there is no state, it is damaged, or it belongs to another configuration.
    """
    from safetensors import safe_open

    try:
        with safe_open(folder / STATE, "pt") as stream:
            progress = Progress(**json.loads(stream.metadata()["progress"]))
        tensors = load_file(folder / STATE)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise DataError(
            "There is no training state to resume from.",
            where=f"{folder.name}/{STATE}",
            fix="Start the training without --resume.",
        ) from error
    if progress.config != json.loads(json.dumps(config)):
        changed = sorted(
            k for k in config if progress.config.get(k) != json.loads(json.dumps(config[k]))
        )
        raise DataError(
            "The training state belongs to another configuration.",
            where=f"different: {', '.join(changed)}",
            fix="Use the configuration it was started with, or start without --resume.",
        )
    model.load_state_dict(_part(tensors, "model/"))
    state: dict[int, dict[str, torch.Tensor]] = {}
    for name, value in _part(tensors, "optimizer/").items():
        index, key = name.split("/", 1)
        state.setdefault(int(index), {})[key] = value
    optimizer.load_state_dict(
        {"state": state, "param_groups": optimizer.state_dict()["param_groups"]}
    )
    return progress, _part(tensors, "best/")


def _part(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
