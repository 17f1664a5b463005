"""The gene report for people: a few sentences, and a table to download."""

from __future__ import annotations

import re

from xpert_core.genes.records import GeneReport

_SHOWN = 8
#: Status of columns that are not used, with what to say of one and of many.
_NOT_USED = (
    (
        "ambiguous",
        "may mean several genes and is not used",
        "may mean several genes and are not used",
    ),
    (
        "duplicate",
        "repeats a gene that has a column already and is not used",
        "repeat genes that have a column already and are not used",
    ),
    (
        "extra",
        "is not in the panel and is not needed",
        "are not in the panel and are not needed",
    ),
)
_MOUSE_LIKE = re.compile(r"[A-Z][a-z]+[a-z0-9]*")
#: Beginnings that make a spreadsheet run a cell as a formula.
_FORMULA = re.compile(r"[=+\-@\t\r\n]")


def describe(report: GeneReport) -> str:
    """What became of the identifiers, in plain sentences.

    Parameters
    ----------
    report : GeneReport

    Returns
    -------
    str
    """
    table, counts = report.table, report.counts
    share = 100 * report.fraction_found
    sentences = [
        f"{report.n_found:,} of {report.panel_size:,} panel genes were found ({share:.1f} %)."
    ]
    used = table["symbol"].ne("")
    repaired = [
        (int((used & table["status"].eq(status)).sum()), words)
        for status, words in (
            ("alias repaired", "under another name"),
            ("date repaired", "in a name that a spreadsheet had turned into a date"),
        )
    ]
    through = " and ".join(f"{n:,} {words}" for n, words in repaired if n)
    if through:
        sentences.append(f"Of these, {through}.")
    elsewhere = int((~used & table["status"].eq("date repaired")).sum())
    if elsewhere:
        sentences.append(f"{_columns(elsewhere)} with a date stood for genes outside the panel.")
    for status, one, many in _NOT_USED:
        if n := counts.get(status, 0):
            names = table.loc[table["status"].eq(status), "identifier"].tolist()
            listed = f" ({_listed(names)})" if status != "extra" else ""
            sentences.append(f"{_columns(n)}{listed} {one if n == 1 else many}.")
    if missing := table.loc[table["status"].eq("missing"), "symbol"].tolist():
        sentences.append(f"Missing: {_listed(missing)}.")
    if _looks_like_mouse(report):
        sentences.append(
            "The symbols are written as for the mouse; the model is for human samples."
        )
    return " ".join(sentences)


def report_csv(report: GeneReport) -> bytes:
    """The report's table as CSV, safe to open in a spreadsheet.

    Text that a spreadsheet would run as a formula gets a leading quote. The bytes begin with the
    mark by which Excel recognises UTF-8.

    Parameters
    ----------
    report : GeneReport

    Returns
    -------
    bytes
    """
    safe = report.table.copy()
    for column in safe.columns.drop("entrez_id"):
        safe[column] = [f"'{cell}" if _FORMULA.match(cell) else cell for cell in safe[column]]
    return safe.to_csv(index=False).encode("utf-8-sig")


def _columns(n: int) -> str:
    return "1 column" if n == 1 else f"{n:,} columns"


def _listed(names: list[str]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more:,} more" if more > 0 else "")


def _looks_like_mouse(report: GeneReport) -> bool:
    named = report.table.loc[report.table["kind"].eq("symbol"), "identifier"]
    return len(named) >= 10 and bool(named.str.fullmatch(_MOUSE_LIKE).mean() > 0.5)
