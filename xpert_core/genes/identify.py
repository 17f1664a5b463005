"""What one identifier of a file says by itself, before the rest of the file is considered."""

from __future__ import annotations

import re
from enum import IntEnum
from typing import NamedTuple

from xpert_core.genes.dates import days_of_text
from xpert_core.genes.records import GenePanel
from xpert_core.genes.tables import OFFICIAL, GeneTables


class Rank(IntEnum):
    """How directly an identifier names a gene: of two columns of a gene the lower is kept."""

    SYMBOL = 0
    RESPELLED = 1
    STABLE_ID = 2
    OFFICIAL = 3
    ALIAS = 4
    PROBE = 5
    COPY = 6
    DATE = 7


class Meaning(NamedTuple):
    """Reading of one identifier.

    Attributes
    ----------
    kind : str
        "symbol", "alias", "ensembl", "entrez", "hgnc", "probe", "date", "number" (an Entrez id
        or a spreadsheet's serial number, to be decided) or "" when nothing is known.
    gene : int or None
        Entrez id, when there is one meaning only.
    rank : Rank
        Preference among columns of one gene.
    note : str
        A sentence for the report; "" when there is nothing to explain.
    choices : tuple of int
        Entrez ids that an ambiguous identifier may mean.
    score : float
        jetset score of a probe; -1 where there is none.
    days : tuple of (int, int)
        Month and day of a date.
    number : int
        The whole number, when `kind` is "number".
    restored : bool
        The day stands for a gene's name, yet the gene stays open and none is in the panel.
    """

    kind: str = ""
    gene: int | None = None
    rank: Rank = Rank.DATE
    note: str = ""
    choices: tuple[int, ...] = ()
    score: float = -1.0
    days: tuple[tuple[int, int], ...] = ()
    number: int = -1
    restored: bool = False


_QUOTES = "\"'`\u2018\u2019\u201c\u201d"
_UNSEEN = " \t\r\n\f\v\xa0\ufeff\u200b\u200e\u200f"
_ENSEMBL = re.compile(r"(ENSG\d{11})(?:\.\d+)?(_PAR_Y)?(?:_\d+)?")
_ENSEMBL_OTHER = re.compile(r"ENS([A-Z]*)([GTPE])\d{11}(?:\.\d+)?")
_NUMBER = re.compile(r"(\d{1,10})(?:\.0+)?")
_HGNC = re.compile(r"HGNC[:_](\d{1,6})")
_PREFIXED_NUMBER = re.compile(r"(?:ENTREZ|ENTREZID|GENEID|NCBI|LOC)[:_ ]?(\d{1,10})")
_ENSEMBL_PAIR = re.compile(
    r"(ENSG\d{11}(?:\.\d+)?)[_:|;, -]+.+|.+[_:|;, (-](ENSG\d{11}(?:\.\d+)?)\)?", re.IGNORECASE
)
_PAIR = re.compile(
    r"(?P<first>[^|;,()\[\]\s/]+)(?P<mark>\s*(?:\||;|,|/+|\(|\[)\s*)(?P<second>[^|;,()\[\]\s/]+)[)\]]?"
)
#: In "TP53|7157" and "TP53 (7157)" the number is an Entrez id; in "chr1;7157" it is not.
_MARKS_BEFORE_NUMBERS = ("|", "(", "[")
_COPY = re.compile(r"(.+)[._](\d{1,2})")
#: Every probe id of the tables ends or begins so; the table is read only for a file with one.
_PROBE = re.compile(r".+_AT|ILMN_\d+")
_NOT_KNOWN = "Not known as a human gene."


def _unwrapped(identifier: str) -> str:
    """Identifier without spaces and marks that do not show, and without quotation marks."""
    text = identifier.strip(_UNSEEN)
    inner = text.lstrip(_QUOTES)
    # A name may end in an apostrophe (CK2alpha'): only what was opened is closed.
    return text if inner == text else inner.rstrip(_QUOTES).strip(_UNSEEN)


class Reader:
    """Reads identifiers against a panel and the gene tables.

    Parameters
    ----------
    panel : GenePanel
        Its own symbols and ids come before the tables, so that a panel may hold genes the
        tables do not know.
    tables : GeneTables
    """

    def __init__(self, panel: GenePanel, tables: GeneTables) -> None:
        self.tables = tables
        self.panel_symbols = dict(zip(panel.symbols, panel.entrez, strict=True))
        self.panel_upper = {s.upper(): e for s, e in self.panel_symbols.items()}
        self.panel_ensembl = dict(zip(panel.ensembl, panel.entrez, strict=True))
        self.panel_ensembl.pop("", None)
        self.known = set(panel.entrez) | tables.symbols.keys()

    def read(self, identifier: str) -> Meaning:
        """Meaning of an identifier as it stands in the file."""
        gene = self.panel_symbols.get(identifier)
        if gene is not None:
            return Meaning("symbol", gene, Rank.SYMBOL)
        # Most identifiers of a whole transcriptome end here, hence before any other work.
        gene = self.tables.official.get(identifier)
        own = gene is not None and self.tables.symbols[gene] == identifier
        if own and identifier not in self.panel_upper:
            return Meaning("symbol", gene, Rank.OFFICIAL)
        text = _unwrapped(identifier)
        return (
            self._panel_symbol(text, identifier)
            or self._name(text)
            or self._stable_id(text)
            or self._number(text)
            or self._date(text)
            or self._probe(text)
            or self._pair(text)
            or self._changed_by_program(text)
            or self._unknown(text)
        )

    def choice(self, text: str, genes: tuple[int, ...]) -> str:
        """Sentence on a name without a single meaning."""
        titles = " or ".join(self.tables.title(gene) for gene in genes[:4])
        more = f" or {len(genes) - 4} more" if len(genes) > 4 else ""
        if len(genes) == 1:
            return f"{text} has been used for {titles} and for other genes; use an official symbol."
        return f"{text} may mean {titles}{more}; use the official symbol of the gene you mean."

    def entrez(self, number: int) -> Meaning:
        """Meaning of an Entrez id."""
        return self._by_id("entrez", (number,) if number in self.known else (), number=number)

    def _panel_symbol(self, text: str, identifier: str = "") -> Meaning | None:
        gene = self.panel_upper.get(text.upper())
        if gene is None:
            return None
        note = "The letter case differs from the symbol."
        if text in self.panel_symbols:
            note = "Spaces or quotation marks around the symbol were ignored." if identifier else ""
        return Meaning("symbol", gene, Rank.RESPELLED, note)

    def _name(self, text: str) -> Meaning | None:
        tables, upper = self.tables, text.upper()
        gene = tables.official.get(upper)
        if gene is not None:
            symbol, note = tables.symbols[gene], ""
            if symbol.upper() != upper:
                note = f"{text} is {OFFICIAL[tables.sources[upper]]} of {symbol}."
            return Meaning("symbol", gene, Rank.OFFICIAL, note)
        gene = tables.spelled.get(text) or tables.aliases.get(upper)
        if gene is not None:
            earlier = tables.sources.get(upper) == "prev_symbol"
            what = "an earlier symbol" if earlier else "an alias"
            note = f"{text} is {what} of {tables.title(gene)}."
            return Meaning("alias", gene, Rank.ALIAS, note)
        if upper in tables.ambiguous:
            genes = tables.ambiguous[upper]
            return Meaning("alias", None, Rank.ALIAS, self.choice(text, genes), genes)
        return None

    def _stable_id(self, text: str) -> Meaning | None:
        upper = text.upper()
        if match := _ENSEMBL.fullmatch(upper):
            own = self.panel_ensembl.get(match[1])
            genes = self.tables.ensembl.get(match[1], ()) if own is None else (own,)
            if len(genes) > 1:
                note = self.choice(text, genes)
                return Meaning("ensembl", None, Rank.STABLE_ID, note, genes)
            found = self._by_id("ensembl", genes)
            if match[2] and genes:
                note = f"{found.note} The copy on chromosome Y."
                return found._replace(rank=Rank.COPY, note=note)
            return found
        if match := _HGNC.fullmatch(upper):
            gene = self.tables.hgnc.get(int(match[1]))
            return self._by_id("hgnc", () if gene is None else (gene,))
        if match := _PREFIXED_NUMBER.fullmatch(upper):
            return self.entrez(int(match[1]))
        return None

    def _by_id(self, kind: str, genes: tuple[int, ...], number: int = -1) -> Meaning:
        if not genes:
            return Meaning(kind, note=_NOT_KNOWN, number=number)
        note = f"The id of {self.tables.title(genes[0])}."
        return Meaning(kind, genes[0], Rank.STABLE_ID, note, number=number)

    def _number(self, text: str) -> Meaning | None:
        match = _NUMBER.fullmatch(text)
        return self.entrez(int(match[1]))._replace(kind="number") if match else None

    @staticmethod
    def _date(text: str) -> Meaning | None:
        days = days_of_text(text)
        return Meaning("date", days=days) if days else None

    def _probe(self, text: str) -> Meaning | None:
        upper = text.upper()
        found = self.tables.probe(upper) if _PROBE.fullmatch(upper) else None
        if found is None:
            return None
        note = f"A probe of {self.tables.title(found[0])}."
        return Meaning("probe", found[0], Rank.PROBE, note, score=found[1])

    def _pair(self, text: str) -> Meaning | None:
        """Two identifiers in one: TP53|7157, ENSG00000141510.17_TP53, TP53 (7157), A /// B."""
        if match := _ENSEMBL_PAIR.fullmatch(text):
            return self._stable_id(match[1] or match[2])
        match = _PAIR.fullmatch(text)
        if match is None:
            return None
        names = (match["first"], match["second"])
        for name in names:
            # The id decides: the symbol beside it may be older than the id.
            stable = self._stable_id(name)
            if stable is None and match["mark"].strip() in _MARKS_BEFORE_NUMBERS:
                number = self._number(name)
                stable = number and number._replace(kind="entrez")
            if stable and stable.gene is not None:
                return stable
        first, second = (self._panel_symbol(name) or self._name(name) for name in names)
        if first is None or second is None or first.gene is None or second.gene is None:
            return None
        if first.gene == second.gene:
            return min(first, second, key=lambda meaning: meaning.rank)
        genes = (first.gene, second.gene)
        return Meaning("alias", None, Rank.ALIAS, self.choice(text, genes), genes)

    def _changed_by_program(self, text: str) -> Meaning | None:
        """Names changed by R or pandas: X780, HLA.DRA, and TP53.1 for a repeated column."""
        if text[:1] in "Xx" and text[1:2].isdigit():
            whole = text[1:]
            found = self._number(whole) or self._date(whole) or self._probe(whole)
            if found:
                return found._replace(note=f"Read as {whole}. {found.note}".strip())
        if "." in text:
            hyphens = text.replace(".", "-")
            found = self._panel_symbol(hyphens) or self._name(hyphens) or self._date(hyphens)
            if found:
                return found._replace(note=f"Read as {hyphens}. {found.note}".strip())
        match = _COPY.fullmatch(text)
        if match is None:
            return None
        whole = match[1]
        found = (
            self._panel_symbol(whole)
            or self._name(whole)
            or self._date(whole)
            or self._probe(whole)
        )
        if found is None or found.kind == "alias":
            return None  # AB123.1 is a sequence, not a second column of an alias AB123
        return found._replace(rank=Rank.COPY, note=f"A repeat of {whole}. {found.note}".strip())

    @staticmethod
    def _unknown(text: str) -> Meaning:
        if not text:
            return Meaning(note="The column has no name.")
        match = _ENSEMBL_OTHER.fullmatch(text.upper())
        if match and match[1]:
            return Meaning(note="An Ensembl id of another species; human genes are needed.")
        if match:
            return Meaning(note="An Ensembl id of a transcript or protein; gene ids are needed.")
        return Meaning(note=_NOT_KNOWN)
