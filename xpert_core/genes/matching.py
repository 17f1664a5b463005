"""Match the identifiers of a file to a gene panel, and report what became of each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from xpert_core.genes.dates import day_of_serial, names_of_day
from xpert_core.genes.identify import Meaning, Rank, Reader
from xpert_core.genes.records import STATUSES, GenePanel, GeneReport
from xpert_core.genes.tables import GeneTables, load_tables


def resolve(identifiers: Sequence[str], panel: GenePanel) -> GeneReport:
    """Match identifiers to the genes of a panel.

    HGNC symbols (current, previous, alias), Ensembl, Entrez and HGNC ids, Affymetrix and
    Illumina probes, pairs such as ``TP53|7157`` and names that a spreadsheet turned into dates
    are recognised in any letter case. Nothing ambiguous is mapped and nothing is averaged: of
    several columns of one gene the most direct is kept (the panel's symbol, then ids, then other
    symbols, aliases, the probe with the best jetset score, dates), among equals the first.

    Parameters
    ----------
    identifiers : sequence of str
        As in the file, one per column.
    panel : GenePanel

    Returns
    -------
    GeneReport

    Raises
    ------
    GeneError
        When the shipped gene tables are missing or damaged.
    """
    tables = load_tables()
    reader = Reader(panel, tables)
    position = {entrez: gene for gene, entrez in enumerate(panel.entrez)}
    texts = ["" if _is_blank(i) else str(i) for i in identifiers]
    meanings = _decide_numbers([reader.read(text) for text in texts], tables)
    meanings = _decide_dates(meanings, position, tables)
    file = _File(panel, position, texts, meanings, _choose(texts, meanings, position))
    rows = [(text, *_outcome(file, column)) for column, text in enumerate(texts)]
    rows += _missing(file)
    columns = ("identifier", "status", "symbol", "entrez_id", "kind", "note")
    table = pd.DataFrame(rows, columns=columns).astype({"entrez_id": "Int64"})
    counted = Counter(row[1] for row in rows)
    return GeneReport(table, file.column_of_gene, len(panel), {s: counted[s] for s in STATUSES})


@dataclass(frozen=True)
class _File:
    """A file's identifiers with their meanings, and the column kept for each panel gene."""

    panel: GenePanel
    position: dict[int, int]
    texts: list[str]
    meanings: list[Meaning]
    column_of_gene: np.ndarray


def _is_blank(identifier: object) -> bool:
    return identifier is None or identifier != identifier  # NaN is the value unequal to itself


def _decide_numbers(meanings: Sequence[Meaning], tables: GeneTables) -> list[Meaning]:
    """Whole numbers are Entrez ids, save spreadsheet dates in a file that names genes by symbol.

    44621 is 1 March 2022 where most identifiers are symbols, and an Entrez id where most are
    whole numbers.
    """
    numbers = sum(m.kind == "number" for m in meanings)
    symbols = sum(m.kind in ("symbol", "alias") and m.gene is not None for m in meanings)
    decided = []
    for meaning in meanings:
        day = day_of_serial(meaning.number) if meaning.kind == "number" else None
        if meaning.kind != "number":
            decided.append(meaning)
        elif day is None or not any(_genes_of_days([day], tables)):
            decided.append(meaning._replace(kind="entrez"))
        elif symbols > numbers:
            note = f"{meaning.number} was read as a spreadsheet's serial number of a day."
            decided.append(Meaning("date", days=(day,), note=note))
        else:
            note = f"{meaning.number} was read as an Entrez id, not as a spreadsheet date, "
            note += "because most identifiers are not symbols."
            decided.append(meaning._replace(kind="entrez", note=f"{note} {meaning.note}"))
    return decided


def _decide_dates(
    meanings: Sequence[Meaning], position: dict[int, int], tables: GeneTables
) -> list[Meaning]:
    """Give every date the gene it stood for, where the rest of the file leaves one answer."""
    taken = {m.gene for m in meanings if m.gene is not None}
    alike = Counter(m.days for m in meanings if m.kind == "date")
    return [
        _gene_of_date(meaning, alike[meaning.days], taken, position, tables)
        if meaning.kind == "date"
        else meaning
        for meaning in meanings
    ]


def _gene_of_date(
    meaning: Meaning,
    n_alike: int,
    taken: set[int],
    position: dict[int, int],
    tables: GeneTables,
) -> Meaning:
    strong, weak = _genes_of_days(meaning.days, tables)
    everything = strong or weak
    if not everything:
        note = f"{meaning.note} It looks like a date, but no gene's name turns into that date."
        return meaning._replace(note=note.strip())
    # A gene with a column under its own name is not the one that became a date.
    main = everything
    if n_alike == 1:
        main = [gene for gene in everything if gene not in taken] or everything
    inside = [gene for gene in main if gene in position]
    names = ", ".join(name for day in meaning.days for name in names_of_day(*day))
    named = " or ".join(tables.title(gene) for gene in everything)
    note = f"{meaning.note} A spreadsheet turned a gene name ({names}) into a date".strip()
    note += f"; it stood for {named}."
    others = [gene for gene in weak if gene in position and gene not in (*taken, *main)]
    if others and not inside:
        also = " or ".join(tables.title(gene) for gene in others)
        note += f" {also} has been called so too. Rename the column to the gene you mean."
        return meaning._replace(choices=(*main, *others), note=note)
    if len(main) == 1:
        if len(everything) > 1:
            note += f" It is {tables.title(main[0])}: the other has a column of its own."
        return meaning._replace(gene=main[0], note=note)
    if not inside:
        return meaning._replace(note=f"{note} Not in the panel.", restored=True)
    if len(inside) == 1 and n_alike == 1:
        note += f" Taken as {tables.title(inside[0])}, the one in the panel; please check."
        return meaning._replace(gene=inside[0], note=note)
    note += " Rename the column to the gene you mean."
    return meaning._replace(choices=tuple(main), note=note)


def _genes_of_days(
    days: Sequence[tuple[int, int]], tables: GeneTables
) -> tuple[list[int], list[int]]:
    """Genes officially called so, and genes that have an alias or a second meaning of the name."""
    strong: list[int] = []
    weak: list[int] = []
    for day in days:
        for name in names_of_day(*day):
            if name in tables.official:
                strong.append(tables.official[name])
            if name in tables.aliases:
                weak.append(tables.aliases[name])
            weak += tables.second.get(name, ())
            weak += tables.ambiguous.get(name, ())
    return list(dict.fromkeys(strong)), list(dict.fromkeys(weak))


def _choose(
    texts: Sequence[str], meanings: Sequence[Meaning], position: dict[int, int]
) -> np.ndarray:
    """Column kept for each panel gene, -1 where there is none."""
    best: dict[int, tuple[int, float, str, int]] = {}
    for column, (text, meaning) in enumerate(zip(texts, meanings, strict=True)):
        gene = -1 if meaning.gene is None else position.get(meaning.gene, -1)
        if gene < 0:
            continue
        # Probes without a score go by their id, so that the order of columns does not matter.
        probe = text.upper() if meaning.rank is Rank.PROBE else ""
        key = (int(meaning.rank), -meaning.score, probe, column)
        if gene not in best or key < best[gene]:
            best[gene] = key
    column_of_gene = np.full(len(position), -1, dtype=np.int64)
    for gene, key in best.items():
        column_of_gene[gene] = key[-1]
    return column_of_gene


def _outcome(file: _File, column: int) -> tuple[str, str, int | None, str, str]:
    """Status, panel symbol, Entrez id, kind and note of one identifier."""
    meaning = file.meanings[column]
    gene = -1 if meaning.gene is None else file.position.get(meaning.gene, -1)
    if gene < 0:
        return _outside(meaning)
    symbol, kept = file.panel.symbols[gene], int(file.column_of_gene[gene])
    if kept != column:
        return "duplicate", symbol, meaning.gene, meaning.kind, _why_not(file, column, kept)
    status, kind, note = "matched", meaning.kind, meaning.note
    if kind == "date":
        status = "date repaired"
    elif meaning.rank in (Rank.OFFICIAL, Rank.ALIAS):
        status, kind = "alias repaired", "alias"
        note = note or f"The HGNC symbol of the gene that the panel calls {symbol}."
    return status, symbol, meaning.gene, kind, note


def _outside(meaning: Meaning) -> tuple[str, str, int | None, str, str]:
    if meaning.gene is not None:
        status = "date repaired" if meaning.kind == "date" else "extra"
        note = f"{meaning.note} Not in the panel." if meaning.note else "Not in the panel."
        return status, "", meaning.gene, meaning.kind, note
    if meaning.choices:
        return "ambiguous", "", None, meaning.kind, meaning.note
    if meaning.kind == "date":
        return "date repaired" if meaning.restored else "extra", "", None, "date", meaning.note
    return "extra", "", None, meaning.kind, meaning.note


def _why_not(file: _File, column: int, kept: int) -> str:
    own, used = file.meanings[column], file.meanings[kept]
    where = f"column '{file.texts[kept]}' (number {kept + 1} among the genes)"
    if own.rank is not used.rank:
        return f"The same gene; {where} names it more directly and is used."
    if own.rank is not Rank.PROBE:
        return f"The same gene; {where} comes first and is used."
    if own.score != used.score:
        scores = f"{used.score:.2f} against {max(own.score, 0):.2f}"
        return f"The same gene; {where} has the higher jetset score ({scores}) and is used."
    reason = "the jetset scores are equal" if own.score >= 0 else "its platform has no probe score"
    return f"The same gene; {where} is used, the first by probe id, because {reason}."


def _missing(file: _File) -> list[tuple[str, str, str, int | None, str, str]]:
    """One row for each panel gene without a column."""
    unsure: dict[int, list[str]] = {}
    for text, meaning in zip(file.texts, file.meanings, strict=True):
        for gene in meaning.choices:
            unsure.setdefault(gene, []).append(f"'{text}'")
    rows: list[tuple[str, str, str, int | None, str, str]] = []
    for gene in np.flatnonzero(file.column_of_gene < 0):
        entrez = file.panel.entrez[gene]
        note = "No column of the file names this gene."
        if entrez in unsure:
            note = f"The ambiguous {', '.join(unsure[entrez][:3])} may be this gene."
        rows.append(("", "missing", file.panel.symbols[gene], entrez, "", note))
    return rows
