"""Gene panels: ordered gene sets read from CSV and checked."""

from __future__ import annotations

import csv
from collections import Counter
from functools import lru_cache
from pathlib import Path

from xpert_core.errors import GeneError
from xpert_core.files import sha256_bytes
from xpert_core.genes.records import GenePanel
from xpert_core.paths import assets_dir

#: Columns of a panel file; the last may be absent, and further columns are ignored.
COLUMNS = ("symbol", "entrez_id", "ensembl_id")


def load_panel(name_or_path: str | Path = "l1000") -> GenePanel:
    """Load a shipped gene panel by name, or a user's panel from a CSV file.

    Parameters
    ----------
    name_or_path : str or Path
        Name of a panel under ``assets/genes`` (``"l1000"``: the 978 landmark genes in the
        published order), or the path of a CSV file with the columns ``symbol``, ``entrez_id``
        and, where known, ``ensembl_id``. The order of its rows is the panel's order.

    Returns
    -------
    GenePanel

    Raises
    ------
    GeneError
        No such panel; a file that cannot be read, is empty or lacks a column; a blank or
        repeated symbol; an Entrez id that is no positive whole number; a repeated id.
    """
    path = _panel_path(name_or_path)
    if not path.is_file():
        shipped = ", ".join(sorted(p.stem for p in (assets_dir() / "genes").glob("*.csv")))
        raise GeneError(
            f"There is no gene panel '{name_or_path}'.",
            where=str(path),
            fix=f"Use a shipped panel ({shipped or 'none found'}) or the path of a CSV file.",
        )
    # The time of change is part of the key: a user edits a panel file and loads it again.
    return _read_panel(path, path.stat().st_mtime_ns)


def _panel_path(name_or_path: str | Path) -> Path:
    path = Path(name_or_path)
    if isinstance(name_or_path, Path) or path.suffix or len(path.parts) > 1:
        return path.absolute()
    return assets_dir() / "genes" / f"{name_or_path}.csv"


@lru_cache(maxsize=8)
def _read_panel(path: Path, _changed: int) -> GenePanel:
    symbols: list[str] = []
    entrez: list[int] = []
    ensembl: list[str] = []
    for where, cells in _rows(path):
        symbols.append(_symbol(cells["symbol"], where))
        entrez.append(_entrez(cells["entrez_id"], where))
        ensembl.append((cells.get("ensembl_id") or "").strip().upper().partition(".")[0])
    if not symbols:
        raise GeneError(
            "The gene panel is empty.", where=path.name, fix="Give it one row for each gene."
        )
    _refuse_repeats("symbol", [s.upper() for s in symbols], path.name)
    _refuse_repeats("Entrez id", [str(e) for e in entrez], path.name)
    _refuse_repeats("Ensembl id", ensembl, path.name)
    identity = f"{path.stem}:{','.join(map(str, entrez))}"
    return GenePanel(
        name=path.stem,
        symbols=tuple(symbols),
        entrez=tuple(entrez),
        ensembl=tuple(ensembl),
        digest=sha256_bytes(identity.encode()),
    )


def _rows(path: Path) -> list[tuple[str, dict[str, str | None]]]:
    """Rows of the file with the place of each, blank lines left out."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream, strict=True)
            header = [name.strip().lower() for name in reader.fieldnames or ()]
            reader.fieldnames = header
            rows = [(f"{path.name}, row {reader.line_num}", cells) for cells in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise GeneError(
            "The gene panel cannot be read.",
            where=f"{path.name}: {error}",
            fix="Save it as a comma-separated text file (CSV UTF-8).",
        ) from error
    absent = [column for column in COLUMNS[:2] if column not in header]
    if absent:
        raise GeneError(
            f"The gene panel has no column {' and no column '.join(absent)}.",
            where=f"{path.name}; its columns are: {', '.join(header)[:200] or 'none'}",
            fix=f"Give it the columns {', '.join(COLUMNS)}, separated by commas.",
        )
    return rows


def _symbol(cell: str | None, where: str) -> str:
    symbol = (cell or "").strip()
    if not symbol:
        raise GeneError("A gene of the panel has no symbol.", where=where, fix="Fill it in.")
    return symbol


def _entrez(cell: str | None, where: str) -> int:
    text = (cell or "").strip()
    whole = text.removesuffix(".0")
    # Not a mere conversion: int() would also accept "1_000", "-5" and digits of other scripts.
    if not (whole.isascii() and whole.isdecimal() and len(whole) < 10 and int(whole)):
        raise GeneError(
            "An Entrez id of the panel is not a positive whole number.",
            where=f"{where}, column entrez_id, value '{text[:40]}'",
            fix="Look the gene up in NCBI Gene and enter its number.",
        )
    return int(whole)


def _refuse_repeats(what: str, values: list[str], name: str) -> None:
    repeated = [value for value, n in Counter(values).items() if value and n > 1]
    if repeated:
        raise GeneError(
            f"The gene panel holds the same {what} more than once.",
            where=f"{name}: {', '.join(repeated[:5])}",
            fix="Keep one row for each gene.",
        )
