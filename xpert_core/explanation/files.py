"""Files of an explanation: tables as CSV, the figure as SVG, the provenance as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from xpert_core.errors import ExplanationError
from xpert_core.explanation.atom_report import SCORES, AtomExplanation
from xpert_core.explanation.drawing import attention_svg
from xpert_core.explanation.genes import GeneAttention, gene_summary
from xpert_core.explanation.stability import Stability
from xpert_core.files import write_bytes_atomic
from xpert_core.prediction.files import quote_formula


def read_gene_set(text: str) -> tuple[str, ...]:
    """Gene symbols from a list with commas, or from a text file with one symbol a line.

    Raises
    ------
    ExplanationError
        If there is none.
    """
    path = Path(text)
    if text and len(text) < 4096 and path.is_file():
        text = path.read_text(encoding="utf-8-sig", errors="replace")
    found = tuple(dict.fromkeys(text.replace(",", " ").replace(";", " ").split()))
    if not found:
        raise ExplanationError(
            "The gene set is empty.", fix="Give symbols with commas, or a file with one a line."
        )
    return found


def atom_tables(explanation: AtomExplanation, layer: str | None = None) -> dict[str, pd.DataFrame]:
    """Tables of an atom explanation by file name without suffix."""
    tables = {
        "atoms": explanation.table(layer).reset_index(),
        "attention_by_sample": explanation.attention.matrix(layer).reset_index(),
        "gradient_by_sample": explanation.matrix("gradient", layer).reset_index(),
        "leave_one_out_by_sample": explanation.matrix("leave_one_out", layer).reset_index(),
        "tokens_by_sample": token_table(explanation),
    }
    if len(explanation.atoms) > 2:
        tables["agreement"] = explanation.agreement(layer)
    enriched = explanation.enrichment(layer)
    if len(enriched):
        tables["pharmacophores"] = enriched
    return tables


def token_table(explanation: AtomExplanation) -> pd.DataFrame:
    """Share of the attention by kind of token: one row a layer and sample."""
    attention = explanation.attention
    parts = []
    for i, layer in enumerate(attention.layers):
        part = pd.DataFrame({kind: share[i] for kind, share in attention.tokens.items()})
        part.insert(0, "sample_id", attention.samples.index.astype(str))
        part.insert(0, "layer", layer)
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


def gene_tables(attention: GeneAttention) -> dict[str, pd.DataFrame]:
    """Tables of gene attention by file name without suffix: a summary, and samples x genes."""
    parts = [gene_summary(attention, kind).assign(kind=kind) for kind in attention.kinds]
    tables = {"genes": pd.concat(parts).reset_index()}
    for kind in attention.kinds:
        for layer in attention.layers[kind]:
            name = kind if layer == "all" else f"{kind}_{layer}"
            tables[name] = attention.frame(kind, layer).reset_index()
    return tables


def stability_tables(found: Stability) -> dict[str, pd.DataFrame]:
    """Tables of an agreement of runs."""
    return {"stability_items": found.items.reset_index(), "stability_pairs": found.pairs}


def save_atoms(explanation: AtomExplanation, folder: Path, layer: str | None = None) -> list[Path]:
    """Write the tables, a figure for each score on light ground and the provenance.

    Returns
    -------
    list of Path
        The files written.
    """
    scores = explanation.scores(layer)
    name = explanation.atoms.drug.name
    figures = {
        f"{score}.svg": attention_svg(
            explanation.atoms,
            scores[score].to_numpy(),
            title=name,
            unit=f"{label}, share of all atoms",
        )
        for score, label in SCORES.items()
        if scores[score].notna().all()
    }
    return save_tables(
        folder, atom_tables(explanation, layer), explanation.attention.provenance, figures
    )


def save_genes(attention: GeneAttention, folder: Path) -> list[Path]:
    """Write the tables of gene attention and the provenance.

    Returns
    -------
    list of Path
        The files written.
    """
    return save_tables(folder, gene_tables(attention), attention.provenance)


def save_tables(
    folder: Path,
    tables: Mapping[str, pd.DataFrame],
    provenance: Mapping[str, Any] | None = None,
    texts: Mapping[str, str] | None = None,
) -> list[Path]:
    """Write tables as CSV without formulas, other texts under their names, and the provenance.

    Returns
    -------
    list of Path
        The files written; each is whole or absent.
    """
    content = {f"{name}.csv": _csv(table) for name, table in tables.items()}
    content |= {name: text.encode() for name, text in (texts or {}).items()}
    if provenance is not None:
        content["provenance.json"] = json.dumps(provenance, indent=1).encode()
    for name, data in content.items():
        write_bytes_atomic(folder / name, data)
    return [folder / name for name in content]


def file_word(text: str) -> str:
    """A label as part of a file name."""
    return "".join(c if c.isalnum() else "_" for c in text).strip("_") or "label"


def check_folder(folder: Path, *, force: bool) -> None:
    """Refuse a folder that holds files, unless forced, before any work is done.

    Raises
    ------
    ExplanationError
        If `folder` is a file, or holds files and `force` is not set.
    """
    if folder.exists() and not folder.is_dir():
        raise ExplanationError(
            "The output is a file, not a folder.", where=str(folder), fix="Name a folder."
        )
    if folder.is_dir() and any(folder.iterdir()) and not force:
        raise ExplanationError(
            "The output folder holds files that might be overwritten.",
            where=str(folder),
            fix="Name another folder, or add --force.",
        )


def _csv(table: pd.DataFrame) -> bytes:
    safe = table.copy()
    safe.columns = pd.Index([quote_formula(str(name)) for name in table.columns])
    for position, dtype in enumerate(table.dtypes):
        if not (pd.api.types.is_numeric_dtype(dtype) or pd.api.types.is_bool_dtype(dtype)):
            column = table.iloc[:, position].astype(object).map(quote_formula)
            safe.isetitem(position, column.to_numpy())
    content: bytes = safe.to_csv(index=False).encode("utf-8")
    return content
