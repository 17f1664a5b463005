"""AIMNet2 atom vectors of one conformer: the default featurizer, works without a network."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from xpert_core.drugs import conformers
from xpert_core.drugs.conformers import Conformer, ConformerError
from xpert_core.drugs.featurizers.registry import featurizer_digest, register
from xpert_core.drugs.records import Drug, DrugFeatures
from xpert_core.drugs.sandbox import LimitError
from xpert_core.errors import DrugError
from xpert_core.files import sha256_file
from xpert_core.paths import assets_dir

if TYPE_CHECKING:
    from xpert_core.drugs.featurizers.aimnet2_module import AIMNet2

ELEMENTS = frozenset({1, 5, 6, 7, 8, 9, 14, 15, 16, 17, 33, 34, 35, 53})
"""Atomic numbers AIMNet2 was trained on; for others it returns finite nonsense."""
WEIGHTS_SHA256 = "25d475d66a5b249d5946bc61b6e1a72b2d64819b5f0d4571f2efec788999a812"
DIM = 256
NO_STEREO = (
    "No 3D shape has the stereochemistry given for this drug, so its shape was made without it."
)


@register("aimnet2")
class AIMNet2Featurizer:
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

    def featurize(self, drug: Drug) -> DrugFeatures:
        """Tokens of one drug.

        Raises
        ------
        DrugError
            When the SMILES cannot be read or has more than 120 heavy atoms.
        """
        if not drug.smiles:
            return self._without_atoms("This drug has no structure (no SMILES is known).")
        try:
            conformer = conformers.embed(drug.smiles, elements=ELEMENTS, timeout_s=self.timeout_s)
        except (ConformerError, LimitError) as error:
            return self._without_atoms(error.what)
        atoms = self._atom_vectors(conformer)[conformer.heavy]
        symbols = zip(conformer.symbols, conformer.heavy, strict=True)
        return DrugFeatures(
            molecule=atoms.mean(axis=0),
            atoms=atoms,
            elements=tuple(symbol for symbol, heavy in symbols if heavy),
            coordinates=conformer.coordinates[conformer.heavy],
            featurizer=self.name,
            digest=self.digest,
            fallback="" if conformer.stereo else NO_STEREO,
        )

    def _without_atoms(self, reason: str) -> DrugFeatures:
        return DrugFeatures(
            molecule=np.zeros(DIM, dtype=np.float32),
            atoms=np.zeros((0, DIM), dtype=np.float32),
            elements=(),
            coordinates=np.zeros((0, 3), dtype=np.float32),
            featurizer=self.name,
            digest=self.digest,
            fallback=f"{reason} Its structure tokens are empty.",
        )

    def _atom_vectors(self, conformer: Conformer) -> np.ndarray:
        import torch

        model = self._loaded()
        with torch.inference_mode():
            vectors = model(
                torch.from_numpy(conformer.coordinates)[None].to(self.device),
                torch.from_numpy(conformer.numbers)[None].to(self.device),
                torch.tensor([float(conformer.charge)], device=self.device),
            )
        result: np.ndarray = vectors[0].cpu().numpy()
        return result

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
