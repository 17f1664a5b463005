"""The tables a graph is built from, shipped or a user's own, checked and as node positions.

A row that cannot be used is left out and counted in a `Dropped` record with its reason; a table
that cannot be used at all is an error.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from xpert_core.drugs.search import plain
from xpert_core.errors import DataError, DrugError
from xpert_core.graph.records import Dropped, DrugNodes, Edges, GeneNodes, drug_key
from xpert_core.paths import assets_dir

OPEN_LICENCES = (
    "LINCS open release (citation required)",
    "CC BY 3.0",
    "CC BY 4.0",
    "CC BY-SA 3.0",
    "CC BY-SA 4.0",
    "facts",
)
"""Licences of target rows that anyone may use; "facts" marks rows written by hand from labels."""
MECHANISM = "mechanism"
OTHER_TIER_WEIGHT = 0.5
"""Weight of targets that are listed without being the mechanism; these have weight 1."""
MIN_SCORE, MAX_SCORE = 700, 1000
"""STRING scores above the first are kept; the second is the top of the scale."""

_TARGET_COLUMNS = (("gene", "entrez_id"), ("tier",), ("licence",), ("key", "drug_id", "drug"))
_PPI_COLUMNS = (("entrez_a", "gene_a"), ("entrez_b", "gene_b"), ("score",))
_REINSTALL = "Install the program again, or build the tables with training/prepare_graph.py."


def shipped(name: str) -> Path:
    """Path of a file of ``assets/graph``."""
    return assets_dir() / "graph" / name


def read_table(path: Path, alternatives: Sequence[tuple[str, ...]] = ()) -> pd.DataFrame:
    """A Parquet, CSV or TSV table.

    Parameters
    ----------
    path : Path
        ``.csv`` and ``.tsv`` are read as text, everything else as Parquet.
    alternatives : sequence of tuple of str
        The table needs one column of each tuple.

    Raises
    ------
    DataError
        When the file is missing, damaged, empty, or lacks a column.
    """
    path = Path(path)
    try:
        if path.suffix.lower() in (".csv", ".tsv"):
            frame = pd.read_csv(path, sep="\t" if path.suffix.lower() == ".tsv" else ",")
        else:
            frame = pd.read_parquet(path)
    except (OSError, ValueError) as error:  # the errors of pyarrow and pandas derive from these
        absent = isinstance(error, FileNotFoundError)
        raise DataError(
            f"A table of the graph is {'missing' if absent else 'damaged'}.",
            where=f"{path} ({type(error).__name__})",
            fix="Check the name." if absent else "Copy the file again, or save it as Parquet.",
        ) from error
    lacking = [" or ".join(names) for names in alternatives if not set(names) & set(frame.columns)]
    if lacking:
        raise DataError(
            f"A table of the graph has no column {', and no column '.join(lacking)}.",
            where=f"{path.name}; its columns are: {', '.join(map(str, frame.columns))[:200]}",
            fix="Name the columns as docs/graph.md lists them.",
        )
    if frame.empty:
        raise DataError("A table of the graph has no row.", where=str(path), fix="Fill it.")
    return frame


class Catalogue:
    """The compounds of the drug library as graph nodes, and which of them a table row means.

    Parameters
    ----------
    path : Path, optional
        The library table; the shipped one when left out.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._library = read_table(
            path or assets_dir() / "drugs" / "library.parquet",
            [("drug_id",), ("name",), ("synonyms",), ("smiles",), ("connectivity",)],
        )
        rows = self._library[self._library["connectivity"] != ""].drop_duplicates("connectivity")
        self.key: list[str] = rows["connectivity"].tolist()
        self.name: list[str] = rows["name"].tolist()
        self.smiles: list[str] = rows["smiles"].tolist()
        self.added: list[str] = []
        """Names of compounds that `keys_of` met and the library does not have."""
        self._known = dict.fromkeys(self.key, "")

    @cached_property
    def _keys(self) -> list[str]:
        """Key of every library row."""
        columns = (self._library["connectivity"], self._library["name"])
        return [drug_key(c, n) for c, n in zip(*columns, strict=True)]

    @cached_property
    def _by_id(self) -> dict[str, str]:
        """Key of every identifier: synonyms hold the LINCS ids of merged rows."""
        found: dict[str, str] = {}
        for column in ("drug_id", "synonyms"):
            for texts, key in zip(self._library[column], self._keys, strict=True):
                for text in texts.split("|"):
                    if column == "drug_id" or text.startswith("BRD-"):
                        found.setdefault(text, key)
        return found

    @cached_property
    def _by_name(self) -> dict[str, str]:
        """Key of every name; the library stands in order of preference."""
        found: dict[str, str] = {}
        for name, key in zip(self._library["name"], self._keys, strict=True):
            found.setdefault(plain(name), key)
        return found

    @cached_property
    def _names(self) -> dict[str, str]:
        """Name of every key: that of its first row."""
        rows = list(zip(self._keys, self._library["name"], strict=True))
        return dict(reversed(rows))

    def keys_of(self, frame: pd.DataFrame) -> list[str]:
        """Node key of every row of a target table; "" where the row names no drug.

        A column ``key`` is taken as it is. Else a row is looked up by its LINCS or library id, its
        structure (``smiles``, brought to the standard parent), and its name; compounds that the
        library does not have become nodes of their own.
        """
        if "key" in frame:
            keys = _text(frame["key"]).tolist()
            for key in dict.fromkeys(keys):
                self._admit(key, self._names.get(key, key.removeprefix("name:")) if key else "", "")
            return keys
        empty = pd.Series("", index=frame.index)
        columns = (_text(frame.get(name, empty)) for name in ("drug_id", "drug", "smiles"))
        identities = list(zip(*columns, strict=True))
        found = {identity: self._identify(*identity) for identity in dict.fromkeys(identities)}
        return [found[identity] for identity in identities]

    def _identify(self, drug_id: str, name: str, smiles: str) -> str:
        key = self._by_id.get(drug_id, "")
        if not key and smiles:
            key, smiles = _parent(smiles)
        if not key and (name or drug_id):
            key = self._by_name.get(plain(name)) or drug_key("", name or drug_id)
        self._admit(key, self._names.get(key, name or drug_id or key), smiles)
        return key

    def _admit(self, key: str, name: str, smiles: str) -> None:
        """Append a node that is not there yet."""
        if not key or key in self._known:
            return
        self._known[key] = ""
        if key not in self._names:
            self.added.append(name)
        has_structure = not key.startswith("name:")
        self.key.append(key)
        self.name.append(name)
        self.smiles.append(smiles if has_structure else "")

    def nodes(self) -> DrugNodes:
        """All compounds with a structure, then what `keys_of` added, with their molecule tokens.

        Raises
        ------
        DataError
            When the shipped molecule tokens are missing or damaged.
        """
        arrays = read_arrays("drug_features.npz", ("connectivity", "molecule"))
        row_of = {str(key): row for row, key in enumerate(arrays["connectivity"])}
        molecule = arrays["molecule"].astype(np.float32)
        features = np.zeros((len(self.key), molecule.shape[1]), dtype=np.float32)
        known = [i for i, key in enumerate(self.key) if key in row_of]
        features[known] = molecule[[row_of[self.key[i]] for i in known]]
        return DrugNodes(tuple(self.key), tuple(self.name), tuple(self.smiles), features)


def _parent(smiles: str) -> tuple[str, str]:
    """Connectivity and SMILES of the standard parent; ("", "") when it cannot be used."""
    from xpert_core.drugs.standardise import standardise

    try:
        drug = standardise(smiles)
    except DrugError:
        return "", ""
    return drug.connectivity, drug.smiles


def read_arrays(name: str, wanted: Collection[str]) -> dict[str, np.ndarray]:
    """Arrays of a shipped ``.npz`` file.

    Raises
    ------
    DataError
        When the file is missing or damaged, or lacks an array.
    """
    from zipfile import BadZipFile

    path = shipped(name)
    try:
        with np.load(path, allow_pickle=False) as source:
            return {array: source[array] for array in wanted}
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        raise DataError(
            "A file of the shipped graph is missing or damaged.",
            where=f"{path} ({type(error).__name__})",
            fix=_REINSTALL,
        ) from error


def read_targets(
    path: Path,
    catalogue: Catalogue,
    tiers: Collection[str] = (MECHANISM,),
    include_restricted: bool = False,
) -> tuple[pd.DataFrame, list[Dropped]]:
    """Drug-target rows that may be used, with drug keys and Entrez ids.

    Parameters
    ----------
    path : Path
        Table with the columns of ``assets/graph/targets.parquet``, or of the knowledge table
        ``dti.parquet`` (docs/graph.md).
    catalogue : Catalogue
        Takes up the drugs of the table.
    tiers : collection of str
        Tiers to keep.
    include_restricted : bool
        Keep rows whose licence is not in `OPEN_LICENCES`.

    Returns
    -------
    frame : DataFrame
        The kept rows with columns ``key`` and ``entrez_id`` (int64), and the table's others.
    dropped : list of Dropped

    Raises
    ------
    DataError
        When no row is left.
    """
    frame = read_table(path, _TARGET_COLUMNS)
    dropped: list[Dropped] = []
    licence = frame["licence"].astype(str)
    if not include_restricted:
        closed = ~licence.isin(OPEN_LICENCES)
        for name, rows in licence[closed].value_counts().items():
            dropped.append(Dropped(f"the licence is restricted: {name}", int(rows)))
        frame = frame[~closed]
    other = ~frame["tier"].isin(tuple(tiers))
    if other.any():
        names = tuple(sorted(set(frame.loc[other, "tier"].astype(str))))
        dropped.append(Dropped(f"the tier is not {' or '.join(tiers)}", int(other.sum()), names))
    frame = frame[~other]
    ids = entrez_ids(frame, "gene", "entrez_id")
    dropped += _unknown_genes(frame, ids, ["gene", "entrez_id"])
    frame = frame.assign(entrez_id=ids)[ids > 0]
    frame = frame.assign(key=catalogue.keys_of(frame))
    nameless = frame["key"] == ""
    if nameless.any():
        reason = "the drug has neither a name nor a structure that can be read"
        dropped.append(Dropped(reason, int(nameless.sum())))
    frame = frame[~nameless]
    if frame.empty:
        raise DataError(
            "No drug-target row is left, so drugs and genes would not be connected.",
            where="\n".join([str(path), *map(str, dropped)]),
            fix="Check gene symbols, tiers and licences; --include-restricted keeps every licence.",
        )
    return frame, dropped


def target_edges(frame: pd.DataFrame, drug_row: dict[str, int], genes: GeneNodes) -> Edges:
    """Edges from drugs to genes; of several rows of one pair the strongest tier counts.

    Parameters
    ----------
    frame : DataFrame
        From `read_targets`.
    drug_row : dict
        Position of every drug key.
    genes : GeneNodes
        Holds every gene of `frame`.
    """
    pairs = pd.DataFrame(
        {
            "source": frame["key"].map(drug_row).to_numpy(np.int64),
            "target": np.searchsorted(genes.entrez_id, frame["entrez_id"].to_numpy()),
            "weight": np.where(frame["tier"] == MECHANISM, 1.0, OTHER_TIER_WEIGHT),
        }
    )
    return _strongest(pairs)


def read_interactions(path: Path) -> tuple[pd.DataFrame, list[Dropped]]:
    """Gene-gene rows above `MIN_SCORE`: columns ``a``, ``b`` (Entrez ids, a < b) and ``score``.

    Raises
    ------
    DataError
        When a score is no number from 0 to 1000, or no row is left.
    """
    frame = read_table(path, _PPI_COLUMNS)
    dropped: list[Dropped] = []
    score: np.ndarray = pd.to_numeric(frame["score"], errors="coerce").to_numpy(np.float64)
    wrong = ~((score >= 0) & (score <= MAX_SCORE))
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise DataError(
            f"{wrong.sum():,} interaction scores are not from 0 to {MAX_SCORE}.",
            where=f"{path}, row {row + 1}, column score, value {frame['score'].iloc[row]!r}",
            fix="Give the combined STRING score, a number from 0 to 1000.",
        )
    low = score <= MIN_SCORE
    if low.any():
        dropped.append(Dropped(f"the score is not above {MIN_SCORE}", int(low.sum())))
    frame, score = frame[~low], score[~low]
    sides = [entrez_ids(frame, f"gene_{side}", f"entrez_{side}") for side in "ab"]
    for side, ids in zip("ab", sides, strict=True):
        dropped += _unknown_genes(frame, ids, [f"gene_{side}", f"entrez_{side}"])
    a, b = np.minimum(*sides), np.maximum(*sides)
    same = (a == b) & (a > 0)
    if same.any():
        dropped.append(Dropped("a gene interacts with itself", int(same.sum())))
    kept = (a > 0) & (a < b)
    if not kept.any():
        raise DataError(
            "No interaction between genes is left.",
            where="\n".join([str(path), *map(str, dropped)]),
            fix=f"Give known gene symbols and STRING scores above {MIN_SCORE} of {MAX_SCORE}.",
        )
    return pd.DataFrame({"a": a[kept], "b": b[kept], "score": score[kept]}), dropped


def interaction_edges(frame: pd.DataFrame, genes: GeneNodes) -> Edges:
    """Edges between genes, each pair once with its highest score / 1000."""
    pairs = pd.DataFrame(
        {
            "source": np.searchsorted(genes.entrez_id, frame["a"].to_numpy()),
            "target": np.searchsorted(genes.entrez_id, frame["b"].to_numpy()),
            "weight": frame["score"].to_numpy() / MAX_SCORE,
        }
    )
    return _strongest(pairs)


def _strongest(pairs: pd.DataFrame) -> Edges:
    """Each pair once, sorted, with its highest weight."""
    size = int(pairs["target"].max()) + 1
    code = pairs["source"].to_numpy() * size + pairs["target"].to_numpy()
    order = np.lexsort((-pairs["weight"].to_numpy(), code))
    first = order[np.diff(code[order], prepend=-1) > 0]
    columns = (pairs[name].to_numpy()[first] for name in ("source", "target"))
    source, target = (column.astype(np.int64) for column in columns)
    return Edges(source, target, pairs["weight"].to_numpy()[first].astype(np.float32))


def gene_nodes(used: Iterable[np.ndarray]) -> GeneNodes:
    """The genes of all edges by Entrez id, with their network vectors where one is shipped.

    Parameters
    ----------
    used : iterable of ndarray of int64
        Entrez ids, each known to the gene tables.
    """
    entrez = np.unique(np.concatenate(list(used)))
    arrays = read_arrays("gene_features.npz", ("symbol", "entrez_id", "netmf", "has_ppi"))
    row_of = {int(gene): row for row, gene in enumerate(arrays["entrez_id"])}
    rows = np.array([row_of.get(int(gene), -1) for gene in entrez])
    known = rows >= 0
    netmf = np.zeros((len(entrez), arrays["netmf"].shape[1]), dtype=np.float32)
    netmf[known] = arrays["netmf"][rows[known]].astype(np.float32)
    has_ppi = np.zeros(len(entrez), dtype=bool)
    has_ppi[known] = arrays["has_ppi"][rows[known]]
    symbols = arrays["symbol"][rows].astype(object)
    if not known.all():
        names = _gene_tables().symbols
        symbols[~known] = [names[int(gene)] for gene in entrez[~known]]
    return GeneNodes(entrez, tuple(map(str, symbols)), netmf, has_ppi)


def _text(column: pd.Series) -> pd.Series:
    """Values as text, "" where there is none; also of a categorical column."""
    return column.astype(object).where(column.notna(), "").astype(str)


def entrez_ids(frame: pd.DataFrame, symbol: str, entrez: str) -> np.ndarray:
    """Entrez id of every row, 0 where the gene is not known.

    The id column decides where it holds a human gene; else the symbol is read as everywhere in this
    program: official and earlier symbols, aliases with one meaning, identifiers.

    Parameters
    ----------
    frame : DataFrame
    symbol, entrez : str
        Column names; one of the two may be absent.

    Returns
    -------
    ndarray of int64, shape (rows,)
    """
    ids = np.zeros(len(frame), dtype=np.int64)
    if entrez in frame:
        numbers = pd.to_numeric(frame[entrez], errors="coerce").fillna(0)
        ids = numbers.clip(0, 2**31).to_numpy(np.int64, copy=True)
    ids[~np.isin(ids, list(_gene_tables().symbols))] = 0
    if symbol in frame:
        missing = ids == 0
        symbols = _text(frame[symbol]).to_numpy()[missing]
        meaning = {text: _gene_of(text) for text in dict.fromkeys(symbols)}
        ids[missing] = [meaning[text] for text in symbols]
    return ids


def _gene_tables() -> Any:
    from xpert_core.genes.tables import load_tables

    return load_tables()


def _gene_of(text: str) -> int:
    from xpert_core.genes import load_panel
    from xpert_core.genes.identify import Reader

    return Reader(load_panel(), _gene_tables()).read(text).gene or 0 if text else 0


def _unknown_genes(frame: pd.DataFrame, ids: np.ndarray, columns: list[str]) -> list[Dropped]:
    unknown = ids == 0
    if not unknown.any():
        return []
    column = next(name for name in columns if name in frame)
    values = tuple(dict.fromkeys(frame.loc[unknown, column].astype(str)))
    reason = f"{len(values):,} genes of column {column} are not known"
    return [Dropped(reason, int(unknown.sum()), values[:10])]
