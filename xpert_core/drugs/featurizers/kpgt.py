"""KPGT vectors from a table the user brings: one 2,304-d vector a drug.

Li et al., "A knowledge-guided pre-training framework for improving molecular representation
learning", Nat. Commun. 2023, 14, 7568. The pretrained model is not shipped; its vectors are made
elsewhere and looked up here.
"""

from __future__ import annotations

import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from xpert_core.drugs.featurizers.registry import featurizer_digest, register
from xpert_core.drugs.records import Drug, DrugFeatures
from xpert_core.drugs.sandbox import run_limited
from xpert_core.drugs.standardise import parent_structure, short
from xpert_core.errors import DrugError
from xpert_core.files import sha256_file

DIM = 2304
SECONDS_PER_STRUCTURE = 0.1
FORMATS = (
    "Give a .csv or .parquet file whose first column holds the InChIKey, its first block or the "
    f"SMILES and whose other {DIM} columns hold the vector, or an .npz file with the arrays "
    f"'keys' (text) and 'vectors' (n x {DIM})."
)
_KEY = re.compile(r"[A-Z]{14}(-[A-Z]{10}-[A-Z])?")


@register("kpgt")
class KPGTFeaturizer:
    """Molecule tokens looked up in a table; no atom tokens.

    Parameters
    ----------
    table : str or Path
        CSV, Parquet or NPZ file, see `FORMATS`. A drug is found by its InChIKey, else by the
        first block of it. SMILES keys are standardised like every other structure.

    Raises
    ------
    DrugError
        When the file is missing, of another format or width, or holds a value that is not a
        finite number, an unreadable key, or different vectors for one key.
    """

    name = "kpgt"
    dim = DIM

    def __init__(self, *, table: str | Path) -> None:
        path = Path(table)
        if not path.is_file():
            raise DrugError("The KPGT table was not found.", where=str(path), fix=FORMATS)
        keys, self._vectors = _read(path)
        _check_vectors(self._vectors, keys, path)
        self._path = path
        self._rows = _index(_structure_keys(keys, path), self._vectors, path)
        self.digest = featurizer_digest(self.name, sha256_file(path), {"dim": DIM})

    def featurize(self, drug: Drug) -> DrugFeatures:
        """Token of one drug.

        Raises
        ------
        DrugError
            When the table has no vector for this drug.
        """
        row = self._rows.get(drug.inchikey, self._rows.get(drug.connectivity))
        if row is None or not drug.inchikey:
            raise DrugError(
                f"The KPGT table has no vector for {short(drug.name)}.",
                where=f"{self._path}, key {drug.connectivity or 'unknown: no structure'}",
                fix=f"Make its {DIM} numbers with KPGT and add them as a row with this key, or use "
                "a model with another drug featurizer.",
            )
        return DrugFeatures(
            molecule=self._vectors[row].copy(),
            atoms=np.zeros((0, DIM), dtype=np.float32),
            elements=(),
            coordinates=np.zeros((0, 3), dtype=np.float32),
            featurizer=self.name,
            digest=self.digest,
        )


def _read(path: Path) -> tuple[list[str], np.ndarray]:
    """Keys and vectors, float32, as the file has them."""
    reader = {".csv": _read_frame, ".parquet": _read_frame, ".npz": _read_npz}.get(path.suffix)
    if reader is None:
        raise DrugError(
            f"A KPGT table cannot be a {path.suffix or 'nameless'} file.",
            where=str(path),
            fix=FORMATS,
        )
    try:
        keys, vectors = reader(path)
    except (ValueError, KeyError, OSError, UnicodeError, zipfile.BadZipFile) as error:
        raise DrugError(
            "The KPGT table cannot be read.", where=f"{path} ({short(str(error))})", fix=FORMATS
        ) from error
    return [str(key).strip() for key in keys], vectors


def _read_frame(path: Path) -> tuple[list[Any], np.ndarray]:
    import pandas as pd

    frame = pd.read_csv(path) if path.suffix == ".csv" else pd.read_parquet(path)
    return frame.iloc[:, 0].tolist(), frame.iloc[:, 1:].to_numpy(dtype=np.float32)


def _read_npz(path: Path) -> tuple[list[Any], np.ndarray]:
    with np.load(path, allow_pickle=False) as arrays:
        keys, vectors = arrays["keys"], arrays["vectors"].astype(np.float32)
    if keys.ndim != 1 or keys.dtype.kind != "U" or len(keys) != len(vectors):
        raise ValueError("'keys' must be one text for every row of 'vectors'")
    return keys.tolist(), vectors


def _check_vectors(vectors: np.ndarray, keys: list[str], path: Path) -> None:
    width = vectors.shape[1] if vectors.ndim == 2 else 0
    if width != DIM or not keys:
        raise DrugError(
            f"A KPGT table has {DIM} numbers a drug; this one has {width} for {len(keys)} drugs.",
            where=str(path),
            fix=FORMATS,
        )
    bad = np.argwhere(~np.isfinite(vectors))
    if len(bad):
        row, column = (int(i) for i in bad[0])
        raise DrugError(
            "The KPGT table holds a value that is not a finite number.",
            where=f"{path}, row {row + 1} ({short(keys[row])}), number {column + 1}",
            fix="Make the vector of this drug again.",
        )


def _structure_keys(keys: list[str], path: Path) -> list[str]:
    """InChIKeys or first blocks; SMILES are turned into InChIKeys."""
    smiles = [key for key in keys if not _KEY.fullmatch(key)]
    limit = 10.0 + SECONDS_PER_STRUCTURE * len(smiles)
    found: dict[str, str] = dict(
        zip(smiles, run_limited(inchikeys, smiles, timeout_s=limit), strict=True) if smiles else ()
    )
    for row, key in enumerate(keys):
        if found.get(key) == "":
            raise DrugError(
                "A key of the KPGT table is neither an InChIKey nor a readable SMILES.",
                where=f"{path}, row {row + 1}, value {short(key)!r}",
                fix=FORMATS,
            )
    return [found.get(key, key) for key in keys]


def inchikeys(smiles: list[str]) -> list[str]:
    """InChIKey of each parent structure, "" for what cannot be read: runs in the sandbox."""
    result = []
    for text in smiles:
        try:
            result.append(str(parent_structure(text)["inchikey"]))
        except DrugError:
            result.append("")
    return result


def _index(keys: list[str], vectors: np.ndarray, path: Path) -> dict[str, int]:
    """Row of every key; first blocks of full InChIKeys are added after all exact keys."""
    rows: dict[str, int] = {}
    for row, key in enumerate(keys):
        other = rows.setdefault(key, row)
        if not np.array_equal(vectors[other], vectors[row]):
            raise DrugError(
                "The KPGT table has two different vectors for one drug.",
                where=f"{path}, rows {other + 1} and {row + 1}, key {key}",
                fix="Keep one of the two rows.",
            )
    for row, key in enumerate(keys):
        rows.setdefault(key[:14], row)
    return rows
