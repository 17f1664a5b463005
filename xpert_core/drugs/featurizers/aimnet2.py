"""AIMNet2 atom vectors of one conformer: the default featurizer, works without a network."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from xpert_core.drugs import conformers
from xpert_core.drugs.conformers import Conformer
from xpert_core.drugs.featurizers.registry import featurizer_digest, register
from xpert_core.drugs.featurizers.shape import ShapeFeaturizer
from xpert_core.errors import DrugError
from xpert_core.files import sha256_file
from xpert_core.paths import assets_dir

if TYPE_CHECKING:
    from xpert_core.drugs.featurizers.aimnet2_module import AIMNet2

ELEMENTS = frozenset({1, 5, 6, 7, 8, 9, 14, 15, 16, 17, 33, 34, 35, 53})
"""Atomic numbers AIMNet2 was trained on; for others it returns finite nonsense."""
WEIGHTS_SHA256 = "25d475d66a5b249d5946bc61b6e1a72b2d64819b5f0d4571f2efec788999a812"
DIM = 256


@register("aimnet2")
class AIMNet2Featurizer(ShapeFeaturizer):
    """256-d AIMNet2 vectors of the heavy atoms; the molecule token is their mean.

    Parameters
    ----------
    timeout_s : float
        Seconds the conformer of one drug may take.
    device : str
        Where the network runs.

    Raises
    ------
    DrugError
        When the weights file is missing or damaged.
    """

    name = "aimnet2"
    dim = DIM
    elements = ELEMENTS

    def __init__(self, *, timeout_s: float = conformers.TIME_LIMIT_S, device: str = "cpu") -> None:
        self.timeout_s = timeout_s
        self.device = device
        self._weights = _checked_weights(assets_dir() / "featurizers" / "aimnet2.safetensors")
        self._model: AIMNet2 | None = None
        self._lock = threading.Lock()
        settings = {
            "conformer": conformers.SETTINGS,
            "atoms": "heavy",
            "molecule": "mean",
            "elements": sorted(ELEMENTS),
        }
        self.digest = featurizer_digest(self.name, WEIGHTS_SHA256, settings)

    def _vectors(self, conformer: Conformer) -> tuple[np.ndarray, np.ndarray]:
        import torch

        model = self._loaded()
        with torch.inference_mode():
            vectors = model(
                torch.from_numpy(conformer.coordinates)[None].to(self.device),
                torch.from_numpy(conformer.numbers)[None].to(self.device),
                torch.tensor([float(conformer.charge)], device=self.device),
            )
        atoms: np.ndarray = vectors[0].cpu().numpy()
        return atoms[conformer.heavy].mean(axis=0), atoms

    def _loaded(self) -> AIMNet2:
        from safetensors.torch import load_file

        from xpert_core.drugs.featurizers.aimnet2_module import AIMNet2

        with self._lock:
            if self._model is None:
                model = AIMNet2()
                model.load_state_dict(load_file(self._weights))
                self._model = model.requires_grad_(False).eval().to(self.device)
            return self._model


def _checked_weights(path: Path) -> Path:
    fix = "Reinstall the program, or run training/convert_aimnet2.py."
    if not path.is_file():
        raise DrugError("The AIMNet2 weights are missing.", where=str(path), fix=fix)
    if sha256_file(path) != WEIGHTS_SHA256:
        raise DrugError("The AIMNet2 weights file is damaged.", where=str(path), fix=fix)
    return path
