"""Two-dimensional structures, drawn on this machine as SVG."""

from __future__ import annotations

from functools import lru_cache

import streamlit as st

from app.components.text import plain
from xpert_core.drugs.records import Drug


@lru_cache(maxsize=256)
def structure_svg(smiles: str, width: int = 320, height: int = 220) -> str:
    """SVG of a standardised structure on a white ground.

    Parameters
    ----------
    smiles : str
        SMILES that went through `xpert_core.drugs.standardise`, which caps its size.
    """
    from rdkit import Chem
    from rdkit.Chem.Draw import rdMolDraw2D

    molecule = Chem.MolFromSmiles(smiles)
    drawer = rdMolDraw2D.MolDraw2DSVG(width, height)
    rdMolDraw2D.PrepareAndDrawMolecule(drawer, molecule)
    drawer.FinishDrawing()
    return drawer.GetDrawingText()


def draw_drug(drug: Drug) -> None:
    """Draw a drug's structure with what is known about it."""
    if drug.smiles:
        st.image(structure_svg(drug.smiles), alt=f"Structural formula of {drug.name}")
    else:
        st.info("No structure is known for this agent.")
    facts = [f"**{plain(drug.name[:80])}**"]
    if drug.moa:
        facts.append(f"Mechanism: {plain(', '.join(drug.moa))}")
    if drug.targets:
        facts.append(f"Targets: {plain(', '.join(drug.targets[:8]))}")
    if drug.inchikey:
        facts.append(f"InChIKey: {plain(drug.inchikey)}")
    facts += [plain(note) for note in drug.notes]
    st.caption("  \n".join(facts))
