"""Put the network vectors of the landmark genes into panel order: assets/ppi/netmf_128d.npz.

Usage: python -m training.prepare_ppi KNOWLEDGE_FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from xpert_core.genes import load_panel
from xpert_core.paths import assets_dir


def main(folder: Path) -> None:
    """Reorder by Entrez id and write."""
    with np.load(folder / "ppi_netmf_128d.npz", allow_pickle=False) as source:
        row = {int(e): i for i, e in enumerate(source["entrez_id"])}
        order = [row[e] for e in load_panel().entrez]
        embedding, has_ppi = source["embedding"][order], source["has_ppi"][order]
    target = assets_dir() / "ppi" / "netmf_128d.npz"
    target.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(target, embedding=embedding, has_ppi=has_ppi, entrez_id=load_panel().entrez)
    print(f"{embedding.shape} vectors, {int(has_ppi.sum())} genes with an edge -> {target.name}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
