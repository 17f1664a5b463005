"""Biological tokens: embeddings of known drugs and genes, and of drugs the graph has never seen."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from xpert_core.drugs.records import Drug
from xpert_core.errors import DataError, DrugError
from xpert_core.files import atomic_path, sha256_file
from xpert_core.graph.neighbours import SimilarDrug
from xpert_core.graph.records import SIMILAR, TARGETED_BY, GraphTables, drug_key
from xpert_core.paths import assets_dir

if TYPE_CHECKING:
    import torch
    from torch_geometric.data import HeteroData

    from xpert_core.graph.encoder import GraphEncoder

ENCODER, EMBEDDINGS = "encoder.safetensors", "embeddings.safetensors"
SCHEMA = 1
"""Raised when the meaning of an embeddings file changes."""
THRESHOLD = 0.5
"""Drugs more similar than this send messages to a new drug, as within the graph."""
LIBRARY, NEW, UNKNOWN = "library", "new", "unknown"

_REINSTALL = "Install the program again, or run training/pretrain_graph.py."


@dataclass(frozen=True)
class Placement:
    """Where a drug stands in the graph, and by which edges.

    Attributes
    ----------
    key : str
        Node key of the drug.
    vector : ndarray of float32, shape (out,), or None
        Its embedding; None when nothing places it.
    targets : tuple of str
        Target genes it was placed by.
    unknown_targets : tuple of str
        Given targets that are not genes of the graph.
    similar : tuple of SimilarDrug
        Library drugs it was placed by, most similar first.
    origin : str
        ``"library"`` (shipped embedding), ``"new"`` (embedded now) or ``"unknown"``.
    note : str
        What a reader should know; "" when there is nothing to say.
    """

    key: str
    vector: np.ndarray | None
    targets: tuple[str, ...]
    unknown_targets: tuple[str, ...]
    similar: tuple[SimilarDrug, ...]
    origin: str
    note: str = ""


@dataclass(frozen=True)
class Near:
    """A drug near a vector.

    Attributes
    ----------
    key, name : str
    cosine : float
        -1 to 1.
    """

    key: str
    name: str
    cosine: float


@dataclass(frozen=True)
class Embeddings:
    """Shipped embeddings.

    Attributes
    ----------
    drug : ndarray of float32, shape (D, out)
    gene : ndarray of float32, shape (G, out)
    keys, names : list of str, length D
    symbols : list of str, length G
    meta : dict
        ``encoder`` (SHA-256 of its file), ``masked`` (keys of drugs whose targets were not used),
        ``featurizer``.
    """

    drug: np.ndarray
    gene: np.ndarray
    keys: list[str]
    names: list[str]
    symbols: list[str]
    meta: dict[str, Any]


def save_embeddings(
    path: Path, data: HeteroData, embedded: Mapping[str, torch.Tensor], meta: Mapping[str, Any]
) -> None:
    """Write embeddings in half precision; names and `meta` are in the header.

    Raises
    ------
    DataError
        When a value does not fit half precision.
    """
    from safetensors.torch import save_file

    tensors = {node: embedded[node].detach().half().contiguous() for node in ("drug", "gene")}
    if not all(bool(t.isfinite().all()) for t in tensors.values()):
        raise DataError(
            "The embeddings are too large for half precision.", fix="Pretrain with a lower lr."
        )
    header = {
        "schema": SCHEMA,
        "drug.key": data["drug"].key,
        "drug.name": data["drug"].name,
        "gene.symbol": data["gene"].symbol,
        "meta": dict(meta),
    }
    with atomic_path(Path(path)) as temporary:
        save_file(tensors, temporary, metadata={k: json.dumps(v) for k, v in header.items()})


def load_embeddings(path: Path) -> Embeddings:
    """Read what `save_embeddings` wrote.

    Raises
    ------
    DataError
        When the file is missing, damaged or of another version.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as file:
            header = {k: json.loads(v) for k, v in (file.metadata() or {}).items()}
            drug, gene = (file.get_tensor(n).astype(np.float32) for n in ("drug", "gene"))
        found = Embeddings(
            drug,
            gene,
            header["drug.key"],
            header["drug.name"],
            header["gene.symbol"],
            header["meta"],
        )
        if header["schema"] != SCHEMA or not (len(drug) == len(found.keys) == len(found.names)):
            raise ValueError("its version or the number of its names is another")
        if len(gene) != len(found.symbols) or not np.isfinite(drug).all():
            raise ValueError("its numbers do not fit its names")
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        absent = isinstance(error, FileNotFoundError)
        raise DataError(
            f"The embeddings of drugs and genes are {'missing' if absent else 'damaged'}.",
            where=f"{path}: {str(error)[:200]}",
            fix=_REINSTALL,
        ) from error
    return found


@dataclass(frozen=True)
class _Place:
    """What a new drug is attached to."""

    encoder: GraphEncoder
    states: dict[str, list[torch.Tensor]]
    gene_row: dict[int, int]
    symbols: list[str]
    fingerprint_keys: list[str]
    packed: np.ndarray


class GraphEmbedder:
    """Biological tokens of drugs and genes. Use `load`.

    Known drugs and genes are looked up. The graph, which only new drugs need, is read at the first
    of them (`prepare` does it beforehand, a few seconds); after that a new drug takes milliseconds.
    May be shared between threads.

    Parameters
    ----------
    folder : Path
        Holds the encoder and the embeddings.
    embeddings : Embeddings
    """

    def __init__(self, folder: Path, embeddings: Embeddings) -> None:
        self._folder = folder
        self._embeddings = embeddings
        self._row = {key: row for row, key in enumerate(embeddings.keys)}
        self._gene_row = {symbol: row for row, symbol in enumerate(embeddings.symbols)}
        norms = np.linalg.norm(embeddings.drug, axis=1, keepdims=True)
        self._unit = embeddings.drug / np.maximum(norms, 1e-12)
        self._lock = threading.Lock()
        self._loaded: _Place | None = None

    @classmethod
    def load(cls, folder: Path | None = None) -> GraphEmbedder:
        """Read the embeddings.

        Parameters
        ----------
        folder : Path, optional
            ``assets/graph`` when left out.

        Raises
        ------
        DataError
            When the embeddings are missing or damaged, or were not made by the encoder beside them.
        """
        folder = Path(folder) if folder else assets_dir() / "graph"
        embeddings = load_embeddings(folder / EMBEDDINGS)
        if not (folder / ENCODER).is_file():
            raise DataError(
                "The graph encoder is missing.", where=str(folder / ENCODER), fix=_REINSTALL
            )
        if sha256_file(folder / ENCODER) != embeddings.meta.get("encoder"):
            raise DataError(
                "The embeddings were not made by the encoder beside them.",
                where=str(folder),
                fix=_REINSTALL,
            )
        return cls(folder, embeddings)

    @property
    def dim(self) -> int:
        """Length of the vectors."""
        return int(self._embeddings.drug.shape[1])

    @property
    def digest(self) -> str:
        """SHA-256 of the encoder: what a model trained on these vectors must agree with."""
        return str(self._embeddings.meta["encoder"])

    @property
    def embeddings(self) -> Embeddings:
        """All shipped vectors with their names."""
        return self._embeddings

    @cached_property
    def tables(self) -> GraphTables:
        """Nodes and edges of the graph, read at first use.

        Raises
        ------
        DataError
            When a file is missing or damaged, or was made for another drug library.
        """
        from xpert_core.graph.build import shipped_tables

        return shipped_tables()

    def drug(self, key: str) -> np.ndarray | None:
        """Embedding of a drug of the graph by its node key, float32 of shape (dim,); else None."""
        row = self._row.get(key)
        return None if row is None else self._embeddings.drug[row]

    def gene(self, symbol: str) -> np.ndarray | None:
        """Embedding of a gene by its symbol, float32 of shape (dim,); None for unknown genes."""
        row = self._gene_row.get(symbol)
        return None if row is None else self._embeddings.gene[row]

    def nearest(self, vector: np.ndarray, k: int = 10, *, exclude: str = "") -> list[Near]:
        """The `k` drugs of highest cosine with a vector, nearest first.

        Parameters
        ----------
        vector : ndarray, shape (dim,)
        k : int
        exclude : str
            Key of a drug to leave out: the one the vector belongs to.
        """
        cosines = self._unit @ (vector / max(float(np.linalg.norm(vector)), 1e-12))
        best = np.argsort(-cosines, kind="stable")[: k + 1]
        keys, names = self._embeddings.keys, self._embeddings.names
        near = [Near(keys[r], names[r], float(cosines[r])) for r in best if keys[r] != exclude]
        return near[:k]

    def prepare(self) -> None:
        """Read the graph and run the encoder over it once."""
        self._place()

    def embed(self, drug: Drug, molecule: np.ndarray | None = None) -> Placement:
        """Place a drug.

        Parameters
        ----------
        drug : Drug
            Of the library or new; known targets in `drug.targets`.
        molecule : ndarray, shape (256,), optional
            Molecule token of the featurizer named in the embeddings' ``meta``; a new drug without
            it is placed by its similar drugs and its targets alone.

        Returns
        -------
        Placement
            With the vector None for a drug with neither a structure nor a target of the graph.

        Raises
        ------
        DrugError
            When the molecule token has the wrong length or is not finite.
        DataError
            When files of the graph are missing, damaged, or do not belong together.
        """
        key = drug_key(drug.connectivity, drug.name)
        if key in self._row:
            return self._known(key, drug)
        rows, unknown = self._genes(drug.targets) if drug.targets else ({}, ())
        if not drug.smiles and not rows:
            return Placement(key, None, (), unknown, (), UNKNOWN, _nothing(unknown))
        similar = self._similar(drug.smiles) if drug.smiles else []
        vector = self._attach(list(rows.values()), similar, _checked(molecule, drug))
        keys, names = self._embeddings.keys, self._embeddings.names
        shown = tuple(SimilarDrug(keys[r], names[r], t) for r, t in similar)
        note = _note(bool(drug.smiles), bool(rows), bool(similar), molecule, unknown)
        return Placement(key, vector, tuple(rows), unknown, shown, NEW, note)

    def _known(self, key: str, drug: Drug) -> Placement:
        """A drug of the graph: its shipped vector, and the edges that the graph has.

        They are read from the tables: a known drug does not wait for the encoder.
        """
        tables, row = self.tables, self._row[key]
        targets: tuple[str, ...] = ()
        notes = []
        if key in self._embeddings.meta.get("masked", ()):
            notes.append("Its targets were withheld from the graph.")
        else:
            rows = tables.targets.target[tables.targets.source == row]
            targets = tuple(sorted(tables.genes.symbol[g] for g in rows))
        if extra := sorted(set(drug.targets) - set(targets)):
            notes.append(f"Not an edge of the graph, so not used: {', '.join(extra)}.")
        keys, names, pairs = self._embeddings.keys, self._embeddings.names, tables.similar
        one, two = pairs.source == row, pairs.target == row
        others = np.concatenate([pairs.target[one], pairs.source[two]])
        weights = np.concatenate([pairs.weight[one], pairs.weight[two]])
        similar = tuple(
            SimilarDrug(keys[others[i]], names[others[i]], float(weights[i]))
            for i in np.argsort(-weights, kind="stable")
        )
        vector = self._embeddings.drug[row]
        return Placement(key, vector, targets, (), similar, LIBRARY, " ".join(notes))

    def _genes(self, symbols: Sequence[str]) -> tuple[dict[str, int], tuple[str, ...]]:
        """Position of every target that is a gene of the graph, and the others."""
        found = {s: self._gene_row[s] for s in symbols if s in self._gene_row}
        missing = [s for s in symbols if s not in found]
        if not missing:
            return found, ()
        import pandas as pd

        from xpert_core.graph.tables import entrez_ids

        place = self._place()
        ids = entrez_ids(pd.DataFrame({"gene": missing}), "gene", "entrez_id")
        for gene in ids.tolist():
            row = place.gene_row.get(gene)
            if row is not None:
                found[place.symbols[row]] = row
        unknown = [s for s, gene in zip(missing, ids.tolist(), strict=True)
                   if gene not in place.gene_row]  # fmt: skip
        return found, tuple(sorted(unknown))

    def _similar(self, smiles: str) -> list[tuple[int, float]]:
        """Positions and Tanimoto similarity of the similar drugs, most similar first."""
        from xpert_core.graph.similarity import fingerprints, tanimoto_to

        place = self._place()
        scores = tanimoto_to(place.packed, fingerprints([smiles])[0])
        rows = np.flatnonzero(scores > THRESHOLD)
        rows = rows[np.argsort(-scores[rows], kind="stable")]
        return [(self._row[place.fingerprint_keys[r]], float(scores[r])) for r in rows]

    def _attach(
        self, genes: list[int], similar: list[tuple[int, float]], molecule: np.ndarray | None
    ) -> np.ndarray:
        import torch

        from xpert_core.graph.encoder import adjacency
        from xpert_core.graph.split import Directed

        place = self._place()

        def matrix(rows: list[int], weights: list[float], sources: int) -> torch.Tensor:
            here = torch.zeros(len(rows), dtype=torch.long)
            edges = Directed(torch.tensor(rows, dtype=torch.long), here, torch.tensor(weights))
            return adjacency(edges, sources, 1)

        matrices = {
            TARGETED_BY: matrix(genes, [1.0] * len(genes), len(self._embeddings.gene)),
            SIMILAR: matrix([r for r, _ in similar], [t for _, t in similar], len(self._row)),
        }
        x = torch.zeros(1, place.encoder.config.drug_dim)
        if molecule is not None:
            x[0] = torch.from_numpy(molecule)
        has_x = torch.tensor([molecule is not None])
        with torch.inference_mode():
            vector = place.encoder.attach(place.states, (x, has_x), matrices)[0]
        result: np.ndarray = vector.numpy().copy()
        return result

    def _place(self) -> _Place:
        with self._lock:
            if self._loaded is None:
                self._loaded = self._read()
            return self._loaded

    def _read(self) -> _Place:
        import torch

        from xpert_core.graph.build import build_graph, shipped_fingerprints
        from xpert_core.graph.encoder import adjacencies, features_of, load_encoder, sizes_of
        from xpert_core.graph.split import pairs_of, rows_of, without_targets

        encoder, _ = load_encoder(self._folder / ENCODER)
        data = build_graph(self.tables)
        if data["drug"].key != self._embeddings.keys or (
            data["gene"].symbol != self._embeddings.symbols
        ):
            raise DataError(
                "The embeddings were made for another graph.",
                where=str(self._folder),
                fix=_REINSTALL,
            )
        pairs = without_targets(pairs_of(data), rows_of(data, self._embeddings.meta["masked"]))
        with torch.inference_mode():
            states = encoder.layer_states(features_of(data), adjacencies(pairs, sizes_of(data)))
        keys, packed = shipped_fingerprints()
        gene_row = {gene: row for row, gene in enumerate(data["gene"].entrez_id.tolist())}
        return _Place(encoder, states, gene_row, data["gene"].symbol, keys, packed)


def _checked(molecule: np.ndarray | None, drug: Drug) -> np.ndarray | None:
    """The molecule token, or None when it is absent or empty."""
    if molecule is None or not np.any(molecule):
        return None
    if molecule.shape != (256,) or not np.isfinite(molecule).all():
        raise DrugError(
            "The molecule token does not fit the graph encoder.",
            where=f"{drug.name}: shape {molecule.shape}, needed are 256 finite numbers",
            fix="Use the featurizer that the embeddings were made with (AIMNet2).",
        )
    return molecule.astype(np.float32)


def _nothing(unknown: Sequence[str]) -> str:
    if unknown:
        return (
            "This drug has no structure, and none of its targets is a gene of the graph: "
            f"{', '.join(unknown)}. It has no place in the graph."
        )
    return "This drug has neither a structure nor a known target, so it has no place in the graph."


def _note(
    structure: bool,
    targets: bool,
    similar: bool,
    molecule: np.ndarray | None,
    unknown: Sequence[str],
) -> str:
    """By what a new drug was placed, in sentences."""
    by = []
    if structure and molecule is not None and np.any(molecule):
        by.append("its structure vector")
    if similar:
        by.append("similar library drugs")
    if targets:
        by.append("its targets")
    parts = [f"Placed by {', '.join(by) or 'nothing but being a drug'}."]
    if structure and not similar:
        parts.append(f"No library drug is similar (Tanimoto above {THRESHOLD}).")
    if unknown:
        parts.append(f"Not genes of the graph: {', '.join(unknown)}.")
    return " ".join(parts)
