"""Uni-Mol atom vectors through ``unimol-tools``, with weights the user brings.

Zhou et al., "Uni-Mol: a universal 3D molecular representation learning framework", ICLR 2023.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import sys
import threading
import warnings
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from types import ModuleType
from typing import Any

import numpy as np

from xpert_core.drugs import conformers
from xpert_core.drugs.conformers import Conformer
from xpert_core.drugs.featurizers.registry import featurizer_digest, register
from xpert_core.drugs.featurizers.shape import ShapeFeaturizer
from xpert_core.errors import DrugError
from xpert_core.files import sha256_file

DIM = 512
SPECIALS = ("[PAD]", "[CLS]", "[SEP]", "[UNK]")
"""First four tokens of the published dictionary, in its order."""
DICTIONARY_NAMES = ("mol.dict.txt", "dict.txt")
UNTRAINED = "classification_head."
"""Parameters of the network that the published weights do not hold and vectors do not use."""

_GET = (
    "Download mol_pre_all_h_220816.pt and mol.dict.txt of Uni-Mol, put both into one folder and "
    "give the path of the .pt file."
)
_import_lock = threading.Lock()


@register("unimol")
class UniMolFeaturizer(ShapeFeaturizer):
    """512-d Uni-Mol vectors of the heavy atoms; the molecule token is that of ``[CLS]``.

    Parameters
    ----------
    weights : str or Path
        Checkpoint of the all-hydrogen molecule model (``mol_pre_all_h_220816.pt``).
    dictionary : str or Path, optional
        Its token list; default ``mol.dict.txt`` or ``dict.txt`` beside the weights.
    timeout_s : float
        Seconds the conformer of one drug may take.
    device : str
        Where the network runs.

    Raises
    ------
    DrugError
        When unimol-tools is not installed, a file is missing or the weights are not of this
        network.
    """

    name = "unimol"
    dim = DIM

    def __init__(
        self,
        *,
        weights: str | Path,
        dictionary: str | Path | None = None,
        timeout_s: float = conformers.TIME_LIMIT_S,
        device: str = "cpu",
    ) -> None:
        if importlib.util.find_spec("unimol_tools") is None:
            raise DrugError(
                "The Uni-Mol featurizer needs the package unimol-tools, which is not installed.",
                where="drug featurizer unimol",
                fix="Install it with: pip install 'xpert[unimol]'.",
            )
        path = _existing(Path(weights), "weights")
        words = _existing(_dictionary_path(path, dictionary), "dictionary")
        tokens = _read_tokens(words)
        state = _read_state(path)
        self.timeout_s = timeout_s
        self.device = device
        self.elements = _atomic_numbers(tokens)
        self._model = _network(words, tokens, state, path).to(device)
        settings = {
            "conformer": conformers.SETTINGS,
            "atoms": "heavy",
            "molecule": "cls",
            "dictionary": sha256_file(words),
        }
        self.digest = featurizer_digest(self.name, sha256_file(path), settings)

    def _vectors(self, conformer: Conformer) -> tuple[np.ndarray, np.ndarray]:
        """``[CLS]`` vector (512,) and one vector an atom (n, 512), hydrogens included."""
        import torch
        from unimol_tools.data.conformer import coords2unimol

        count = len(conformer.symbols)
        sample = coords2unimol(
            list(conformer.symbols),
            conformer.coordinates,
            self._model.dictionary,
            max_atoms=count,  # above its limit it would drop atoms at random
            remove_hs=False,
        )
        batch, _ = self._model.batch_collate_fn([(sample, 0)])
        with torch.inference_mode():
            output = self._model(
                **{key: value.to(self.device) for key, value in batch.items()},
                return_repr=True,
                return_atomic_reprs=True,
            )
        atoms: np.ndarray = output["atomic_reprs"][0].cpu().numpy()
        if len(atoms) != count or tuple(output["atomic_symbol"][0]) != conformer.symbols:
            raise DrugError(
                f"Uni-Mol returned {len(atoms)} atom vectors for {count} atoms.",
                where="drug featurizer unimol",
                fix="Use the version of unimol-tools named in the installation guide.",
            )
        return output["cls_repr"][0].cpu().numpy(), atoms


def _existing(path: Path, what: str) -> Path:
    if not path.is_file():
        raise DrugError(f"The Uni-Mol {what} file was not found.", where=str(path), fix=_GET)
    return path


def _dictionary_path(weights: Path, given: str | Path | None) -> Path:
    if given is not None:
        return Path(given)
    beside = [weights.parent / name for name in DICTIONARY_NAMES]
    return next((path for path in beside if path.is_file()), beside[0])


def _read_tokens(path: Path) -> list[str]:
    """Tokens of the dictionary file in their order."""
    lines = path.read_text(encoding="utf-8").splitlines()
    tokens = [line.split()[0] for line in lines if line.split()]
    if tuple(tokens[: len(SPECIALS)]) != SPECIALS or len(set(tokens)) != len(tokens):
        raise DrugError(
            f"This is not the Uni-Mol dictionary: it must begin with {', '.join(SPECIALS)}.",
            where=str(path),
            fix=_GET,
        )
    return tokens


def _atomic_numbers(tokens: list[str]) -> frozenset[int]:
    from rdkit import Chem

    table = Chem.GetPeriodicTable()
    return frozenset(table.GetAtomicNumber(token) for token in tokens[len(SPECIALS) :])


def _read_state(path: Path) -> dict[str, Any]:
    """Tensors of the checkpoint; only tensors are read, no code in the file can run."""
    import torch

    problem = DrugError(
        "This file holds no Uni-Mol weights, or is damaged.", where=str(path), fix=_GET
    )
    try:
        with torch.serialization.safe_globals([Namespace]):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, KeyError, ValueError, UnpicklingError, OSError) as error:
        raise problem from error
    state = content.get("model", content) if isinstance(content, dict) else None
    if not state or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise problem
    return dict(state)


@contextmanager
def _published_order(module: ModuleType) -> Iterator[None]:
    """Make ``Dictionary`` take its tokens from the file alone, in the order of the file.

    unimol-tools 0.1.5 and 0.1.6 put [CLS], [UNK], [PAD], [SEP] first; the weights were trained
    with [PAD], [CLS], [SEP], [UNK]. With the wrong order every molecule gets one atom too many
    and all vectors differ from the published ones.
    """
    original = module.Dictionary

    class PublishedDictionary(original):  # type: ignore[misc,valid-type]
        def __init__(self) -> None:
            super().__init__()
            for table in (self.symbols, self.count, self.indices):
                table.clear()

    module.Dictionary = PublishedDictionary  # type: ignore[attr-defined]
    try:
        yield
    finally:
        module.Dictionary = original  # type: ignore[attr-defined]


def _import_unimol() -> ModuleType:
    """``unimol_tools.models.unimol``, kept from the network and from writing log files.

    Its logging module makes a ``logs`` folder in the current directory and opens the root logger
    when imported, so a plain logger takes its place.
    """
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    name = "unimol_tools.utils.base_logger"
    if name not in sys.modules:
        quiet = ModuleType(name)
        quiet.logger = logging.getLogger("unimol_tools")  # type: ignore[attr-defined]
        sys.modules[name] = quiet
    with warnings.catch_warnings():
        return importlib.import_module("unimol_tools.models.unimol")


def _network(words: Path, tokens: list[str], state: dict[str, Any], path: Path) -> Any:
    """The network with the weights loaded; refused unless every one of them fits."""
    with _import_lock:
        module = _import_unimol()

        class Network(module.UniMolModel):  # type: ignore[name-defined]
            def load_pretrained_weights(self, path: str, strict: bool = False) -> None:
                """Nothing: unimol-tools would accept an empty or foreign checkpoint."""

        with _published_order(module):
            network: Any = Network(
                output_dim=1,
                data_type="molecule",
                remove_hs=False,
                pretrained_model_path=str(path),
                pretrained_dict_path=str(words),
            )
    if network.dictionary.symbols != [*tokens, "[MASK]"]:
        raise DrugError(
            "unimol-tools changed the order of the Uni-Mol tokens, so its vectors would be wrong.",
            where="drug featurizer unimol",
            fix="Use the version of unimol-tools named in the installation guide.",
        )
    expected = {k: v.shape for k, v in network.state_dict().items() if UNTRAINED not in k}
    wrong = [k for k, shape in expected.items() if k not in state or state[k].shape != shape]
    if wrong:
        raise DrugError(
            f"These are not the weights of the Uni-Mol molecule model: {len(wrong)} of "
            f"{len(expected)} parameters are missing or of another size.",
            where=f"{path}, for instance {wrong[0]}",
            fix=_GET,
        )
    network.load_state_dict({k: state[k] for k in expected}, strict=False)
    return network.requires_grad_(False).eval()
