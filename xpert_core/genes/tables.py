"""What is known about human genes: names, ids and probes, read from ``assets/genes``."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from xpert_core.errors import GeneError
from xpert_core.paths import assets_dir

#: Sources of names that are official symbols, with how a sentence calls them.
OFFICIAL = {
    "symbol": "the HGNC symbol",
    "hgnc_symbol_2020": "the HGNC symbol of 2020",
    "lincs2020_symbol": "the L1000 symbol of 2020",
    "hgnc_symbol_current": "the current HGNC symbol",
    "symbol_lincs2017": "the L1000 symbol of 2017",
    "approved": "the HGNC symbol of 2020",
    "approved_current": "the current HGNC symbol",
    "lincs2020": "the L1000 symbol of 2020",
    "lincs2017": "the L1000 symbol of 2017",
}
#: Sources of names that do not lead to one gene in every spelling.
AMBIGUOUS, SECOND, AS_SPELLED = "ambiguous", "second meaning", "as spelled"


@dataclass
class GeneTables:
    """Look-up tables of human genes. Entrez Gene ids are the key of every gene.

    Attributes
    ----------
    folder : Path
        Where the tables were read; the probes are read from it when first needed.
    symbols, current : dict
        Entrez id to the symbol used here (HGNC 2020, LINCS2020 for L1000), and to the newest
        symbol where that differs.
    official, aliases, sources : dict
        Official symbol, and preferred alias, in upper case to Entrez id; either to its source.
    spelled : dict
        Aliases that mean a gene in this very spelling only.
    ambiguous, second : dict
        Name in upper case to the genes it may mean: of names without a single best owner, and of
        names that are official for yet another gene.
    ensembl : dict
        Ensembl id without version to its Entrez ids.
    hgnc : dict
        Number of the HGNC id to Entrez id.
    """

    folder: Path
    symbols: dict[int, str]
    current: dict[int, str]
    official: dict[str, int]
    aliases: dict[str, int]
    sources: dict[str, str]
    spelled: dict[str, int]
    ambiguous: dict[str, tuple[int, ...]]
    second: dict[str, tuple[int, ...]]
    ensembl: dict[str, tuple[int, ...]]
    hgnc: dict[int, int]

    def probe(self, probe_id: str) -> tuple[int, float] | None:
        """Entrez id and jetset score (-1: platform without one) of a probe id in upper case."""
        rows, genes, scores = self._probes
        row = rows.get(probe_id)
        return None if row is None else (genes[row], scores[row])

    @cached_property
    def _probes(self) -> tuple[dict[str, int], list[int], list[float]]:
        table = _read(self.folder / "probes.parquet")
        rows = dict(zip(_values(table, "probe_id"), range(table.num_rows), strict=True))
        return rows, _values(table, "entrez_id"), _values(table, "score")

    def title(self, entrez: int) -> str:
        """Symbol of a gene, with its newest symbol where that differs."""
        symbol = self.symbols.get(entrez, f"Entrez {entrez}")
        return f"{symbol} (now {self.current[entrez]})" if entrez in self.current else symbol


def load_tables() -> GeneTables:
    """The gene tables under ``assets/genes``, read once.

    Raises
    ------
    GeneError
        When a table is missing or damaged.
    """
    return _load(assets_dir() / "genes")


@lru_cache(maxsize=2)
def _load(folder: Path) -> GeneTables:
    genes, names = _read(folder / "genes.parquet"), _read(folder / "names.parquet")
    entrez, current = _values(genes, "entrez_id"), _values(genes, "current")
    ensembl, hgnc = _values(genes, "ensembl_id"), _values(genes, "hgnc_id")
    source = names["source"].combine_chunks()
    kinds = np.array(source.dictionary.to_pylist(), dtype=object)
    kind_of = source.indices.to_numpy()
    name = names["name"].to_numpy()
    owner = names["entrez_id"].to_numpy()

    def rows(wanted: set[str]) -> np.ndarray:
        return np.isin(kind_of, [i for i, kind in enumerate(kinds) if kind in wanted])

    def chosen(*wanted: str) -> tuple[list[str], list[int]]:
        found = rows(set(wanted))
        return name[found].tolist(), owner[found].tolist()

    aliases = set(kinds) - {*OFFICIAL, AMBIGUOUS, SECOND, AS_SPELLED}
    single = rows(aliases | OFFICIAL.keys())
    return GeneTables(
        folder=folder,
        symbols=dict(zip(entrez, _values(genes, "symbol"), strict=True)),
        current={gene: newest for gene, newest in zip(entrez, current, strict=True) if newest},
        official=dict(zip(*chosen(*OFFICIAL), strict=True)),
        aliases=dict(zip(*chosen(*aliases), strict=True)),
        sources=dict(zip(name[single].tolist(), kinds[kind_of[single]].tolist(), strict=True)),
        spelled=dict(zip(*chosen(AS_SPELLED), strict=True)),
        ambiguous=_grouped(*chosen(AMBIGUOUS)),
        second=_grouped(*chosen(SECOND)),
        ensembl=_grouped(ensembl, entrez),
        hgnc={number: gene for number, gene in zip(hgnc, entrez, strict=True) if number},
    )


def _grouped(keys: list[str], genes: list[int]) -> dict[str, tuple[int, ...]]:
    """All genes of each key; blank keys are left out."""
    groups: dict[str, tuple[int, ...]] = dict(zip(keys, zip(genes), strict=True))
    repeated = {key for key, n in Counter(keys).items() if n > 1 and key}
    several: dict[str, list[int]] = {key: [] for key in repeated}
    for key, gene in zip(keys, genes, strict=True):
        if key in repeated:
            several[key].append(gene)
    groups.update({key: tuple(found) for key, found in several.items()})
    groups.pop("", None)
    return groups


def _values(table: pa.Table, column: str) -> list[Any]:
    return table[column].to_numpy().tolist()


def _read(path: Path) -> pa.Table:
    try:
        return pq.read_table(path)
    except (OSError, ValueError) as error:  # the errors of pyarrow derive from these
        raise GeneError(
            "A table of gene names is missing or damaged.",
            where=str(path),
            fix="Install the program again, or restore its folder assets/genes.",
        ) from error
