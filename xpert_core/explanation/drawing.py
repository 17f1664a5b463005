"""Structures coloured by a score of their atoms: SVG with a legend, drawn by RDKit."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np

from xpert_core.errors import ExplanationError
from xpert_core.explanation.atoms import DrugAtoms

#: Ends of the colour scale: paper to vermilion of the Okabe-Ito palette, and ground to it.
COLOURS = {
    "light": ((1.0, 1.0, 1.0), (0.835, 0.369, 0.0)),
    "dark": ((0.043, 0.063, 0.086), (0.902, 0.455, 0.075)),
}
INK = {"light": "#0B1118", "dark": "#E8EEF4"}
GROUND = {"light": "#FFFFFF", "dark": "#0B1016"}
#: Sky blue of the same palette, for bonds of marked atoms.
MARK = {"light": (0.337, 0.706, 0.914), "dark": (0.0, 0.447, 0.698)}
#: Height of the legend under the structure, in pixels.
LEGEND = 64
STEPS = 24
RADIUS = 0.42


def attention_svg(
    atoms: DrugAtoms,
    scores: np.ndarray,
    *,
    title: str,
    unit: str = "Attention, share of all atoms",
    theme: str = "light",
    width: int = 480,
    height: int = 380,
    numbers: bool = True,
    marked: np.ndarray | None = None,
    mark: str = "",
) -> str:
    """A structure with each atom on a disc coloured by its score, and a colour bar with numbers.

    Parameters
    ----------
    atoms : DrugAtoms
    scores : ndarray of float, shape (n_atoms,)
        Shares, zero or more.
    title : str
        Read by screen readers, with the highest atoms.
    unit : str
        Name of the score, above the colour bar.
    theme : {"light", "dark"}
    width, height : int
        Pixels of the structure; the legend comes below.
    numbers : bool
        Write the number of each atom beside it.
    marked : ndarray of bool, shape (n_atoms,), optional
        Atoms whose bonds to each other are drawn on a blue band.
    mark : str
        What these atoms are, for the legend.

    Returns
    -------
    str
        SVG.

    Raises
    ------
    ExplanationError
        If a score is not known.
    """
    if np.isnan(scores).any():
        raise ExplanationError(
            f"'{unit}' is not defined for this network, so it cannot be drawn.",
            fix="Look at another score.",
        )
    highest = float(scores.max()) or 1.0
    values = scores / highest
    structure = _structure(atoms, values, marked, theme, width, height, numbers=numbers)
    whole = height + LEGEND
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{whole}" '
        f'viewBox="0 0 {width} {whole}" role="img" aria-label="{escape(title)}">'
        f"<title>{escape(title)}</title><desc>{escape(describe(atoms, scores, title))}</desc>"
        f'<rect width="{width}" height="{whole}" fill="{GROUND[theme]}"/>'
        f"{structure}{_legend(scores, highest, unit, theme, width, height)}"
        f"{_mark_legend(mark if marked is not None else '', theme)}</svg>"
    )


def describe(atoms: DrugAtoms, scores: np.ndarray, title: str, n_named: int = 5) -> str:
    """The figure in words: the atoms with the highest scores."""
    order = np.argsort(-scores, kind="stable")[:n_named]
    labels = atoms.table["label"].to_numpy()
    named = ", ".join(f"{labels[i]} {scores[i]:.1%}" for i in order)
    return (
        f"Structural formula of {title}, {len(atoms)} atoms coloured by their score. Highest: "
        f"{named}. An equal share would be {1 / len(atoms):.1%}."
    )


def mol_block(atoms: DrugAtoms) -> str:
    """The shape the network saw, without hydrogens, as an MDL mol block in the order of tokens.

    Raises
    ------
    ExplanationError
        If the features of the drug have no coordinates.
    """
    from rdkit import Chem
    from rdkit.Geometry import Point3D

    if len(atoms.coordinates) != len(atoms):
        raise ExplanationError(
            f"No 3D shape of {atoms.drug.name} is known to the network.",
            where="its features are made from the formula alone",
            fix="Look at the formula instead.",
        )
    molecule = Chem.RWMol(Chem.MolFromSmiles(atoms.drug.smiles))
    Chem.Kekulize(molecule, clearAromaticFlags=True)
    for i in reversed(range(molecule.GetNumAtoms())):
        if molecule.GetAtomWithIdx(i).GetAtomicNum() == 1:
            molecule.RemoveAtom(i)
    shape = Chem.Conformer(len(atoms))
    for i, place in enumerate(atoms.coordinates):
        shape.SetAtomPosition(i, Point3D(*(float(x) for x in place)))
    molecule.AddConformer(shape)
    block: str = Chem.MolToMolBlock(molecule, includeStereo=False, kekulize=False)
    return block


def hex_colours(scores: np.ndarray, theme: str = "light") -> list[str]:
    """Colour of each score as the figure draws it, for other views of the same numbers."""
    top = float(scores.max()) or 1.0
    return [_hex(_colour(float(value / top), theme)) for value in scores]


def _colour(value: float, theme: str) -> tuple[float, float, float]:
    low, high = (np.array(end) for end in COLOURS[theme])
    red, green, blue = (float(part) for part in low + value * (high - low))
    return red, green, blue


def _hex(colour: Sequence[float]) -> str:
    return "#" + "".join(f"{round(255 * part):02X}" for part in colour)


def _structure(
    atoms: DrugAtoms,
    values: np.ndarray,
    marked: np.ndarray | None,
    theme: str,
    width: int,
    height: int,
    *,
    numbers: bool,
) -> str:
    """The drawing alone, without its own frame and XML header."""
    from rdkit import Chem
    from rdkit.Chem.Draw import rdMolDraw2D

    molecule = Chem.MolFromSmiles(atoms.drug.smiles)
    index = [int(number) - 1 for number in atoms.table.index]
    if numbers:
        for i in index:
            molecule.GetAtomWithIdx(i).SetProp("atomNote", str(i + 1))
    colours = {i: _colour(float(v), theme) for i, v in zip(index, values, strict=True)}
    inside = set() if marked is None else {i for i, m in zip(index, marked, strict=True) if m}
    bonds = [
        bond.GetIdx()
        for bond in molecule.GetBonds()
        if {bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()} <= inside
    ]
    drawer = rdMolDraw2D.MolDraw2DSVG(width, height)
    _style(rdMolDraw2D, drawer.drawOptions(), theme)
    rdMolDraw2D.PrepareAndDrawMolecule(
        drawer,
        molecule,
        highlightAtoms=index,
        highlightAtomColors=colours,
        highlightAtomRadii=dict.fromkeys(index, RADIUS),
        highlightBonds=bonds,
        highlightBondColors=dict.fromkeys(bonds, MARK[theme]),
    )
    drawer.FinishDrawing()
    text: str = drawer.GetDrawingText()
    return text[text.index("<svg") :].strip()


def _style(module: Any, options: Any, theme: str) -> None:
    options.useBWAtomPalette()
    if theme == "dark":
        module.SetDarkMode(options)
        light = tuple(int(INK["dark"][i : i + 2], 16) / 255 for i in (1, 3, 5))
        options.updateAtomPalette({-1: light})
        options.annotationColour = light
    options.clearBackground = False
    options.annotationFontScale = 0.6
    options.minFontSize = 9
    options.fillHighlights = True
    options.highlightBondWidthMultiplier = 10


def _legend(scores: np.ndarray, highest: float, unit: str, theme: str, width: int, top: int) -> str:
    """A colour bar from zero to the highest score; a tick marks the equal share."""
    left, bar, y = 40, width - 80, top + 22
    step = bar / STEPS
    boxes = "".join(
        f'<rect x="{left + i * step:.1f}" y="{y}" width="{step + 0.5:.1f}" height="12" '
        f'fill="{_hex(_colour((i + 0.5) / STEPS, theme))}"/>'
        for i in range(STEPS)
    )
    equal = 1 / len(scores)
    ink, middle = INK[theme], left + bar * min(equal / highest, 1)
    style = f'font-family="DejaVu Sans, Arial, sans-serif" font-size="12" fill="{ink}"'
    # Its label must not run into the numbers at the ends of the bar.
    place = (y + 27, "middle")
    if middle < left + 70:
        place = (y + 27, "start")
    elif middle > left + bar - 110:
        place = (y - 8, "end")
    texts = [
        (left, y - 8, "start", unit),
        (left, y + 27, "middle", "0"),
        (left + bar, y + 27, "middle", f"{highest:.1%}"),
        (max(middle, left + 12), *place, f"{equal:.1%} equal share"),
    ]
    words = "".join(
        f'<text x="{x:.1f}" y="{line}" text-anchor="{anchor}" {style}>{escape(text)}</text>'
        for x, line, anchor, text in texts
    )
    frame = (
        f'<rect x="{left}" y="{y}" width="{bar}" height="12" fill="none" stroke="{ink}"/>'
        f'<path d="M{middle:.1f} {y - 3}V{y + 15}" stroke="{ink}" stroke-width="1.5"/>'
    )
    return boxes + frame + words


def _mark_legend(mark: str, theme: str) -> str:
    if not mark:
        return ""
    style = f'font-family="DejaVu Sans, Arial, sans-serif" font-size="12" fill="{INK[theme]}"'
    return (
        f'<rect x="12" y="12" width="22" height="8" fill="{_hex(MARK[theme])}"/>'
        f'<text x="40" y="20" {style}>{escape(mark)}</text>'
    )
