"""Drug features kept on disk, so that a drug is embedded once."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from importlib.metadata import version
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from xpert_core.drugs.featurizers.registry import Featurizer
from xpert_core.drugs.records import Drug, DrugFeatures
from xpert_core.errors import XPertError
from xpert_core.files import sha256_bytes, write_bytes_atomic
from xpert_core.paths import cache_dir

_log = logging.getLogger(__name__)


class FeatureCache:
    """Features of drugs by one featurizer, one safetensors file a drug.

    A file is found by a hash of the full InChIKey (stereochemistry changes the 3D shape), the
    SMILES (it sets the order of the atoms), RDKit's version (it makes the shape) and the
    featurizer's digest; no structure is written in clear. A damaged file is made again; a folder
    that cannot be written is reported once in the log, and features are computed each time.
    Results without atom tokens are never kept: a time limit reached on a busy machine must not
    stand for the drug from then on.

    Parameters
    ----------
    featurizer : Featurizer
        Makes what is not there yet.
    folder : Path, optional
        Default: ``features`` in the cache folder.
    """

    def __init__(self, featurizer: Featurizer, folder: Path | None = None) -> None:
        self.featurizer = featurizer
        self.folder = Path(folder) if folder is not None else cache_dir() / "features"
        self._write_failed = False

    def path(self, drug: Drug) -> Path:
        """File of a drug's features; it need not exist."""
        folder = self.folder / f"{self.featurizer.name}-{self.featurizer.digest[:16]}"
        return folder / f"{self._identity(drug)[:40]}.safetensors"

    def get(self, drug: Drug) -> DrugFeatures:
        """Features of a drug, from disk or computed now.

        Raises
        ------
        DrugError
            As the featurizer's ``featurize``.
        """
        found = self._read(drug) if drug.smiles else None
        if found is not None:
            return found
        features = self.featurizer.featurize(drug)
        if len(features.atoms):
            self._write(drug, features)
        return features

    def get_all(
        self,
        drugs: Sequence[Drug],
        *,
        workers: int = 2,
        progress: Callable[[int, int], None] | None = None,
    ) -> list[DrugFeatures | XPertError]:
        """Features of many drugs, several at a time.

        Parameters
        ----------
        drugs : sequence of Drug
        workers : int
            Drugs worked on at the same time.
        progress : callable, optional
            Called in this thread as ``progress(done, total)``; an exception it raises stops the
            rest.

        Returns
        -------
        list
            In the order of `drugs`: the features, or the error of that drug.
        """
        executor = ThreadPoolExecutor(max_workers=max(1, workers))
        try:
            futures: list[Future[DrugFeatures | XPertError]] = [
                executor.submit(self._get_or_error, drug) for drug in drugs
            ]
            for done, future in enumerate(as_completed(futures), start=1):
                future.result()
                if progress is not None:
                    progress(done, len(drugs))
            return [future.result() for future in futures]
        finally:
            executor.shutdown(wait=True, cancel_futures=True)

    def _get_or_error(self, drug: Drug) -> DrugFeatures | XPertError:
        try:
            return self.get(drug)
        except XPertError as error:
            return error

    def _read(self, drug: Drug) -> DrugFeatures | None:
        path = self.path(drug)
        try:
            with safe_open(path, framework="numpy") as file:
                identity = json.loads(file.metadata()["identity"])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return self._checked(drug, identity, tensors)
        except FileNotFoundError:
            return None
        except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
            _log.warning("Cached drug features %s are damaged and made again: %s", path, error)
            return None

    def _checked(
        self, drug: Drug, identity: dict[str, object], tensors: dict[str, np.ndarray]
    ) -> DrugFeatures:
        elements, fallback = identity.pop("elements"), str(identity.pop("fallback"))
        if identity != {"drug": self._identity(drug)} or not isinstance(elements, list):
            raise ValueError("it belongs to another drug or featurizer")
        n, dim = len(elements), self.featurizer.dim
        shapes = {
            "molecule": (dim,),
            "atoms": (n, dim),
            "coordinates": tensors["coordinates"].shape,
        }
        for name, shape in shapes.items():
            if tensors[name].shape != shape or not np.isfinite(tensors[name]).all():
                raise ValueError(f"{name} is not what was written")
        return DrugFeatures(
            molecule=tensors["molecule"],
            atoms=tensors["atoms"],
            elements=tuple(elements),
            coordinates=tensors["coordinates"],
            featurizer=self.featurizer.name,
            digest=self.featurizer.digest,
            fallback=fallback,
        )

    def _identity(self, drug: Drug) -> str:
        made_from = [self.featurizer.digest, version("rdkit"), drug.inchikey, drug.smiles]
        return sha256_bytes(json.dumps(made_from).encode("utf-8"))

    def _write(self, drug: Drug, features: DrugFeatures) -> None:
        identity = {
            "drug": self._identity(drug),
            "elements": list(features.elements),
            "fallback": features.fallback,
        }
        tensors = {
            "molecule": np.ascontiguousarray(features.molecule),
            "atoms": np.ascontiguousarray(features.atoms),
            "coordinates": np.ascontiguousarray(features.coordinates),
        }
        try:
            content = save(tensors, metadata={"identity": json.dumps(identity)})
            # Others on this machine need not know which structures were looked at.
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_bytes_atomic(self.path(drug), content)
        except OSError as error:
            if not self._write_failed:
                _log.warning("Drug features cannot be kept in %s: %s", self.folder, error)
            self._write_failed = True
