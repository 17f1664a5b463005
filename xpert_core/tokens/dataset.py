"""Training data as plain arrays, so that training needs torch and numpy alone."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from xpert_core.errors import DataError
from xpert_core.files import atomic_path
from xpert_core.tokens.batch import Batch, DrugTokens, Targets, Treatments, collate_drugs
from xpert_core.tokens.expression import ExpressionBins

#: Assays of the target. Each has its own read-out token; prediction for patients uses the first.
READOUTS = ("log2 change (level 3)", "z-score (level 5)")
LOG2_READOUT, Z_READOUT = 0, 1

_ARRAYS = (
    "profiles",
    "profile_index",
    "drug_index",
    "dose_um",
    "time_h",
    "readout",
    "cell_index",
    "x_deg",
    "has_x_pert",
    "fingerprint",
    "molecule",
    "has_molecule",
    "atoms",
    "atom_offsets",
)
_LISTS = (
    "cells",
    "drug_keys",
    "drug_names",
    "drug_smiles",
    "drug_aliases",
    "drug_moa",
    "drug_targets",
    "panel_symbols",
)
#: Labels of each row that data of cell lines do not have; absent from their files.
_ROW_LABELS = ("patients", "cancers")


@dataclass(frozen=True)
class TrainingData:
    """Real profiles before and after treatment, with drug features.

    Attributes
    ----------
    profiles : ndarray of float32, shape (P, G)
        Distinct control profiles, log2.
    profile_index, drug_index, cell_index : ndarray of int64, shape (N,)
        Control profile, drug and cell line of each row.
    dose_um, time_h : ndarray of float32, shape (N,)
    readout : ndarray of int64, shape (N,)
        Index into `READOUTS`.
    x_deg : ndarray of float32, shape (N, G)
        Change, in units of the read-out; like the profiles NaN where a patient cohort did not
        measure a gene.
    has_x_pert : ndarray of bool, shape (N,)
        Where the profile after treatment was measured: x_pert = control + x_deg.
    fingerprint : ndarray of uint8, shape (D, 1024)
        Morgan bits, for the baselines; zeros without a structure.
    molecule : ndarray of float32, shape (D, F)
    has_molecule : ndarray of bool, shape (D,)
    atoms : ndarray of float32, shape (sum of atoms, F)
    atom_offsets : ndarray of int64, shape (D + 1,)
    cells, drug_keys, drug_names, drug_moa, drug_targets, panel_symbols : tuple of str
        Names; `drug_keys` are InChIKey connectivity blocks where the structure is known, else an
        identifier with a colon. `drug_moa` and `drug_targets` are ``|``-joined.
    drug_smiles : tuple of str
        Standardised structure; "" where none is known.
    drug_aliases : tuple of str
        Every name (letters and digits, lower case) and identifier that the sources give a drug,
        ``|``-joined: two drugs that share one may be the same.
    info : dict
        ``panel_digest``, ``panel_name``, ``entrez_id`` (of the genes, in order), ``featurizer``
        (name, digest, dim) and ``sources``.
    patients, cancers : tuple of str, length N or 0
        Patient and cancer of each row; empty where the data are of cell lines.
    """

    profiles: np.ndarray
    profile_index: np.ndarray
    drug_index: np.ndarray
    dose_um: np.ndarray
    time_h: np.ndarray
    readout: np.ndarray
    cell_index: np.ndarray
    x_deg: np.ndarray
    has_x_pert: np.ndarray
    fingerprint: np.ndarray
    molecule: np.ndarray
    has_molecule: np.ndarray
    atoms: np.ndarray
    atom_offsets: np.ndarray
    cells: tuple[str, ...]
    drug_keys: tuple[str, ...]
    drug_names: tuple[str, ...]
    drug_smiles: tuple[str, ...]
    drug_aliases: tuple[str, ...]
    drug_moa: tuple[str, ...]
    drug_targets: tuple[str, ...]
    panel_symbols: tuple[str, ...]
    info: dict
    patients: tuple[str, ...] = ()
    cancers: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in _ROW_LABELS:
            if getattr(self, name) and len(getattr(self, name)) != len(self.profile_index):
                raise DataError(
                    f"The {name} of the training data do not fit its rows.",
                    where=f"{len(getattr(self, name))} labels, {len(self.profile_index)} rows",
                    fix="Give one label a row, or none at all.",
                )

    def __len__(self) -> int:
        return len(self.profile_index)

    def save(self, path: Path, *, within: Path | None = None) -> None:
        """Write to one safetensors file, atomically.

        Parameters
        ----------
        path : Path
        within : Path, optional
            See `xpert_core.files.atomic_path`.

        Raises
        ------
        DataError
            When the disk does not take it.
        """
        present = [name for name in _ROW_LABELS if getattr(self, name)]
        header = {name: json.dumps(getattr(self, name)) for name in (*_LISTS, *present, "info")}
        arrays = {name: np.ascontiguousarray(getattr(self, name)) for name in _ARRAYS}
        with atomic_path(path, within=within) as temporary:
            try:
                save_file(arrays, temporary, header)
            except SafetensorError as error:
                size = sum(array.nbytes for array in arrays.values())
                raise DataError(
                    "The prepared training data could not be written.",
                    where=f"{path}, {size / 1e9:,.3g} GB: {error}",
                    fix="Make room on the disk, and run the same command again.",
                ) from error

    @classmethod
    def load(cls, path: Path) -> TrainingData:
        """Read what `save` wrote.

        Raises
        ------
        DataError
            If the file is missing or is not prepared training data.
        """
        try:
            with safe_open(path, "np") as stream:
                header = stream.metadata() or {}
                arrays = {name: stream.get_tensor(name) for name in _ARRAYS}
            present = [name for name in _ROW_LABELS if name in header]
            values: dict[str, Any] = {n: tuple(json.loads(header[n])) for n in (*_LISTS, *present)}
            return cls(**arrays, **values, info=json.loads(header["info"]))
        except Exception as error:
            raise DataError(
                "The prepared training data cannot be read.",
                where=f"{Path(path).name}: {error}",
                fix="Prepare it again with training/prepare_l1000.py or xpert data prepare.",
            ) from error

    @cached_property
    def digest(self) -> str:
        """SHA-256 of rows, profiles and drugs: split files name the data they belong to."""
        found = hashlib.sha256(
            json.dumps([self.cells, self.drug_keys, self.panel_symbols]).encode()
        )
        rows = ("profile_index", "drug_index", "cell_index", "dose_um", "time_h", "readout")
        for name in (*rows, "profiles", "x_deg"):
            found.update(_bytes_of(getattr(self, name)))
        for name in _ROW_LABELS:
            if getattr(self, name):  # the digest of data without such labels stays what it was
                found.update(json.dumps([name, getattr(self, name)]).encode())
        return found.hexdigest()

    @cached_property
    def features_digest(self) -> str:
        """SHA-256 of everything: of `digest`, and of what is known of the drugs.

        Split files hold for any features of the same rows; results of a model do not. Structure
        tokens enter by their featurizer's hash (in `info`), the structures and their shapes: their
        last digits depend on the machine that computed them.
        """
        known = [[name, getattr(self, name)] for name in _LISTS] + [["info", self.info]]
        found = hashlib.sha256((self.digest + json.dumps(known, sort_keys=True)).encode())
        for name in _ARRAYS:
            values = getattr(self, name)
            computed = name in ("molecule", "atoms")
            found.update(str(values.shape).encode() if computed else _bytes_of(values))
        return found.hexdigest()

    def targets_of(self, drug: int) -> tuple[str, ...]:
        """Known target genes of a drug."""
        text = self.drug_targets[drug]
        return tuple(text.split("|")) if text else ()


def _bytes_of(values: np.ndarray) -> memoryview:
    """The bytes of an array, without a copy where it lies in one piece."""
    return np.ascontiguousarray(values).reshape(-1).view(np.uint8).data


class TensorView:
    """Training data as batches: tokens fitted once, features indexed, nothing copied per row.

    Parameters
    ----------
    data : TrainingData
    bins : ExpressionBins
    max_atoms : int
    graph : ndarray of float32, shape (D, width), optional
        Biological vectors, zeros where there is none; None = no drug has one.
    prior : ndarray of float32, shape (N, G), optional
        See `Batch.prior`.
    """

    def __init__(
        self,
        data: TrainingData,
        bins: ExpressionBins,
        max_atoms: int,
        graph: np.ndarray | None = None,
        prior: np.ndarray | None = None,
    ) -> None:
        self.data = data
        self.prior = prior
        self.tokens = torch.from_numpy(bins.transform(data.profiles))
        self.missing_token = bins.n_tokens
        self.x_deg = torch.from_numpy(data.x_deg)
        self.profiles = torch.from_numpy(data.profiles)
        vectors = np.zeros((len(data.drug_keys), 0)) if graph is None else graph
        offsets = data.atom_offsets
        count = range(len(data.drug_keys))
        self.drugs: DrugTokens = collate_drugs(
            [data.molecule[i] if data.has_molecule[i] else None for i in count],
            [data.atoms[offsets[i] : offsets[i + 1]] for i in count],
            [vectors[i] if vectors[i].any() else None for i in count],
            feature_dim=data.molecule.shape[1],
            graph_dim=vectors.shape[1],
            max_atoms=max_atoms,
        )

    def batch(self, rows: np.ndarray) -> tuple[Batch, Targets]:
        """Batch and targets of some rows; profiles, drugs and treatments occur once each."""
        d = self.data
        profiles, profile_index = np.unique(d.profile_index[rows], return_inverse=True)
        drugs, drug_index = np.unique(d.drug_index[rows], return_inverse=True)
        condition = np.stack(
            [drug_index, d.dose_um[rows], d.time_h[rows], d.readout[rows]], axis=1
        ).astype(np.float64)
        distinct, treatment_index = np.unique(condition, axis=0, return_inverse=True)
        treatments = Treatments(
            torch.from_numpy(distinct[:, 0].astype(np.int64)),
            torch.from_numpy(distinct[:, 1].astype(np.float32)),
            torch.from_numpy(distinct[:, 2].astype(np.float32)),
            torch.from_numpy(distinct[:, 3].astype(np.int64)),
        )
        batch = Batch(
            self.tokens[profiles],
            self.drugs.take(torch.from_numpy(drugs)),
            treatments,
            torch.from_numpy(profile_index),
            torch.from_numpy(treatment_index.reshape(-1)),
            None if self.prior is None else torch.from_numpy(self.prior[rows]),
        )
        x_deg = self.x_deg[rows]
        targets = Targets(
            x_deg,
            self.profiles[d.profile_index[rows]] + x_deg,
            torch.from_numpy(d.has_x_pert[rows]),
            torch.from_numpy(d.cell_index[rows]),
        )
        return batch, targets
