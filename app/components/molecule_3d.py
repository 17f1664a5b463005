"""A molecule in space, coloured by a score: 3Dmol.js, served by this machine."""

from __future__ import annotations

from typing import Any

import numpy as np
import streamlit as st

from app.components.charts import DARK_INK, LIGHT_INK
from xpert_core.explanation.atoms import DrugAtoms
from xpert_core.explanation.drawing import GROUND, describe, hex_colours, mol_block

SCRIPT = "3Dmol-min.js"
HEIGHT, BUTTON = 464, 40

_JS = """
function library(address) {
  if (window.$3Dmol) return Promise.resolve(window.$3Dmol);
  if (!window.xpert3Dmol) {
    window.xpert3Dmol = new Promise((resolve, reject) => {
      const script = document.createElement("script");
      script.src = address;
      script.onload = () => resolve(window.$3Dmol);
      script.onerror = () => { window.xpert3Dmol = null; reject(new Error("not served")); };
      document.head.appendChild(script);
    });
  }
  return window.xpert3Dmol;
}

function draw($3Dmol, box, data, choose) {
  const viewer = $3Dmol.createViewer(box, { backgroundColor: data.ground, antialias: true });
  viewer.addModel(data.mol, "sdf");
  const paint = () => {
    viewer.removeAllLabels();
    data.colours.forEach((colour, i) => {
      const radius = i === data.chosen ? 0.52 : 0.38;
      viewer.setStyle({ index: i }, {
        stick: { radius: 0.1, color: data.stick },
        sphere: { radius: radius, color: colour },
      });
    });
    if (data.chosen !== null) {
      const atom = viewer.selectedAtoms({ index: data.chosen })[0];
      viewer.addLabel(data.labels[data.chosen], {
        position: atom, fontSize: 14, fontColor: "white",
        backgroundColor: "#0B1118", backgroundOpacity: 0.85, inFront: true,
      });
    }
    viewer.render();
  };
  viewer.setClickable({}, true, (atom) => {
    data.chosen = atom.index;
    paint();
    choose(atom.index);
  });
  viewer.setHoverable({}, true,
    (atom) => { box.style.cursor = "pointer"; box.title = data.labels[atom.index]; },
    () => { box.style.cursor = "grab"; box.title = ""; });
  const fit = () => {
    viewer.resize();
    viewer.zoomTo();
    viewer.zoom(0.9);
    viewer.render();
  };
  paint();
  fit();
  new ResizeObserver(fit).observe(box);
  return viewer;
}

export default function (component) {
  const { parentElement, data, setStateValue } = component;
  const box = parentElement.querySelector(".xpert-molecule");
  const said = parentElement.querySelector(".xpert-molecule-said");
  const save = parentElement.querySelector(".xpert-molecule-save");
  box.setAttribute("aria-label", data.words);
  const same = JSON.stringify([data.mol, data.colours, data.ground]);
  if (box.dataset.drawn === same) return;
  box.dataset.drawn = same;
  box.replaceChildren();
  save.hidden = true;
  library(data.script)
    .then(($3Dmol) => {
      const viewer = draw($3Dmol, box, data, (i) => setStateValue("atom", i));
      save.hidden = false;
      save.onclick = () => {
        viewer.render();
        const link = document.createElement("a");
        link.href = viewer.pngURI();
        link.download = data.file;
        link.click();
      };
    })
    .catch(() => {
      said.textContent = "This browser cannot draw in three dimensions. "
        + "The formula and the table hold the same numbers.";
    });
}
"""

_CSS = f"""
.xpert-molecule {{ position: relative; width: 100%; height: {HEIGHT}px; }}
.xpert-molecule-said:empty {{ display: none; }}
.xpert-molecule-save {{
  margin-top: 8px; height: {BUTTON}px; padding: 0 12px; cursor: pointer; font: inherit;
  color: var(--st-text-color); background: var(--st-background-color);
  border: 1px solid var(--st-border-color); border-radius: var(--st-button-radius);
}}
"""

_viewer = st.components.v2.component(
    "xpert_molecule",
    html='<div class="xpert-molecule" role="img"></div><p class="xpert-molecule-said"></p>'
    '<button type="button" class="xpert-molecule-save" hidden>Shape as PNG, as turned</button>',
    css=_CSS,
    js=_JS,
    isolate_styles=False,
)


def molecule_3d(
    atoms: DrugAtoms, scores: np.ndarray, *, title: str, theme: str, key: str, file: str
) -> int | None:
    """Draw the shape the network saw; click an atom to choose it.

    Parameters
    ----------
    atoms : DrugAtoms
    scores : ndarray of float, shape (n_atoms,)
        Shares; colours are those of the formula.
    title : str
    theme : {"light", "dark"}
    key : str
    file : str
        Name of the picture that the reader may keep, seen from the side to which it was turned.

    Returns
    -------
    int or None
        Position of the atom clicked last.

    Raises
    ------
    ExplanationError
        If the network saw no shape.
    """
    labels = [
        f"{label}: {score:.1%}" for label, score in zip(atoms.table["label"], scores, strict=True)
    ]
    state: dict[str, Any] = st.session_state.get(key) or {}
    data = {
        "mol": mol_block(atoms),
        "colours": hex_colours(scores, theme),
        "labels": labels,
        "chosen": state.get("atom"),
        "ground": GROUND[theme],
        "stick": DARK_INK if theme == "dark" else LIGHT_INK,
        "words": f"In space: {describe(atoms, scores, title)}",
        "script": _address(),
        "file": file,
    }
    result = _viewer(key=key, data=data, height=HEIGHT + BUTTON + 8, on_atom_change=lambda: None)
    chosen = result.atom
    return int(chosen) if chosen is not None and 0 <= int(chosen) < len(atoms) else None


def _address() -> str:
    """Where Streamlit serves app/static."""
    base = str(st.get_option("server.baseUrlPath") or "").strip("/")
    return f"/{base}/app/static/{SCRIPT}" if base else f"/app/static/{SCRIPT}"
