"""Tiny checkpoints that speak this installation's panel, featurizer and graph."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from xpert_core.learning.card import MODEL
from xpert_core.model.checkpoint import ModelMeta, save_checkpoint
from xpert_core.model.config import ModelConfig
from xpert_core.model.xpert import XPert
from xpert_core.prediction.models import model_folder

SIZES = {
    "d_model": 8,
    "n_heads": 2,
    "d_ff": 8,
    "d_head": 4,
    "base_layers": "SA",
    "pert_layers": "CA",
    "use_ppi": False,
}


def score(model: str, pcc: float, rows: int = 100) -> dict[str, Any]:
    """One line of a card's scores on test drugs."""
    return {
        "part": "test",
        "readout": "log2 change (level 3)",
        "model": model,
        "pcc": pcc,
        "low": pcc - 0.04,
        "high": pcc + 0.04,
        "rows": rows,
        "drugs": 38,
    }


def tiny_checkpoint(
    folder: Path, name: str = "tiny", *, seed: int = 0, card: dict[str, Any] | None = None
) -> str:
    """Write a network of a few thousand parameters, untrained; returns its hash."""
    torch.manual_seed(seed)
    model = XPert(ModelConfig(**SIZES)).eval()
    shipped = json.loads((model_folder() / "config.json").read_text(encoding="utf-8"))
    meta = ModelMeta(
        name=name,
        panel=shipped["panel"],
        bins=shipped["bins"],
        featurizer=shipped["featurizer"],
        graph=shipped["graph"],
        classes=(),
        readouts=tuple(shipped["readouts"]),
        card=card if card is not None else {"scores": [score(MODEL, 0.2), score("ridge", 0.3)]},
    )
    return save_checkpoint(folder, model, meta, f"# {name}\n\nAn untrained network for tests.\n")


def not_better_card() -> dict[str, Any]:
    """Card of a fine-tuned model that is not better than the mean change of its cohort."""
    return {
        "scores": [],
        "comparison": {"may_be_default": False, "why": "PCC 0.10, mean change 0.20"},
    }
