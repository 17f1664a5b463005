"""Cuts gene-set files to the genes of the panel and writes assets/genesets.

    python -m training.prepare_genesets FOLDER

FOLDER holds hallmark.gmt, reactome.gmt and go_bp_2021.gmt; see assets/genesets/PROVENANCE.md.
"""

from __future__ import annotations

import argparse
import gzip
from pathlib import Path

from xpert_core.explanation.genesets import MIN_SIZE, parse_gmt
from xpert_core.files import write_bytes_atomic
from xpert_core.genes import load_panel
from xpert_core.paths import assets_dir

SOURCES = {"hallmark": "hallmark.gmt", "reactome": "reactome.gmt", "go_bp": "go_bp_2021.gmt"}


def cut(text: str, panel: set[str]) -> tuple[str, int]:
    """Lines of the sets with at least `MIN_SIZE` panel genes, and their number."""
    lines = []
    for name, genes in sorted(parse_gmt(text).items()):
        kept = sorted(panel.intersection(genes))
        if len(kept) >= MIN_SIZE:
            # The size of the whole set stands where a GMT file has its description.
            lines.append("\t".join([_title(name), f"{len(set(genes))} genes in all", *kept]))
    return "\n".join(lines) + "\n", len(lines)


def _title(name: str) -> str:
    return name.removeprefix("HALLMARK_").replace("_", " ") if "_" in name else name


def main() -> None:
    """Write the files and print what they hold."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    panel = set(load_panel().symbols)
    for name, source in SOURCES.items():
        text, count = cut((folder / source).read_text(encoding="utf-8"), panel)
        content = gzip.compress(text.encode("utf-8"), mtime=0)
        write_bytes_atomic(assets_dir() / "genesets" / f"{name}.gmt.gz", content)
        covered = {g for genes in parse_gmt(text).values() for g in genes}
        print(f"{name}: {count} sets, {len(covered)} panel genes, {len(content)} bytes")


if __name__ == "__main__":
    main()
