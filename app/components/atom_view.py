"""An atom explanation on a page: formula, shape, heat map, tables, downloads, and what it says."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from functools import partial

import numpy as np
import pandas as pd
import streamlit as st
import vl_convert

from app import keys
from app.components.atom_charts import atom_heat_map, stability_chart
from app.components.charts import draw
from app.components.errors import guarded
from app.components.exports import csv_bytes, download, figure_bar
from app.components.figures import figure
from app.components.molecule_3d import molecule_3d
from app.components.provenance import made_with
from app.components.text import count, plain, slug, without_formulas
from xpert_core.conditions import format_dose
from xpert_core.explanation.atom_report import OWN_SCORES, SCORES, AtomExplanation
from xpert_core.explanation.atom_words import reading
from xpert_core.explanation.atoms import AtomAttention, atom_stability, cell_stability
from xpert_core.explanation.drawing import attention_svg, describe
from xpert_core.explanation.files import token_table
from xpert_core.explanation.pharmacophores import marked_atoms, pharmacophores_of

WHAT = {
    "attention": "How much of the attention of the cell's genes to the atoms each atom receives, "
    "mean over heads and genes.",
    "gradient": "How much the size of the predicted response changes at first as the atom's token "
    "fades, without its sign.",
    "leave_one_out": "How much the predicted response changes when the atom's token is masked.",
    "element_alone": "A baseline: what attention would be if only the element counted, measured on "
    "other drugs.",
    "untrained": "A baseline: attention of networks of this shape that learned nothing.",
}
MEAN_OF_LAYERS = "mean of all layers"


@st.fragment
def atom_view(explanation: AtomExplanation, runs: Sequence[AtomAttention] = ()) -> None:
    """Draw an explanation; its selectors redraw this part of the page only.

    Parameters
    ----------
    explanation : AtomExplanation
    runs : sequence of AtomAttention
        Of the same treatment and samples by several models, this one first; empty = of no other.
    """
    attention = explanation.attention
    name = explanation.atoms.drug.name
    st.subheader(plain(name[:80]))
    st.markdown(
        f"{format_dose(attention.dose_um)} for {attention.time_h:g} h, "
        f"{count(len(attention.samples), 'sample')}, "
        f"{count(len(attention.genes), 'gene') if attention.genes else 'all landmark genes'}."
    )
    made_with(attention.provenance, f"xpert_{slug(name)}_atoms", "atoms")
    score, layer = _choices(explanation)
    stem = f"xpert_{slug(name)}_{slug(score)}_{date.today().isoformat()}"
    with guarded():
        _figures(explanation, score, layer, stem)
    _words(explanation, layer)
    parts = {
        "Every atom": partial(_atom_table, explanation, layer, stem),
        "Samples": partial(_heat_map, explanation, score, layer, stem),
        "Agreement of the scores": partial(_agreement, explanation, layer, stem),
        "Where the attention goes": partial(_tokens, explanation, stem),
    }
    if runs:
        parts["Stability over models"] = partial(_stability, runs)
    # Only the open tab is computed.
    tabs = st.tabs(list(parts), key="atom-tabs", on_change="rerun")
    for tab, show in zip(tabs, parts.values(), strict=True):
        if tab.open:
            with tab, guarded():
                show()


def _choices(explanation: AtomExplanation) -> tuple[str, str | None]:
    left, right = st.columns([3, 1])
    score = left.segmented_control(
        "Score",
        list(SCORES),
        format_func=SCORES.__getitem__,
        default="attention",
        required=True,
        key=keys.ATOM_SCORE,
    )
    layers = explanation.attention.layers
    options = [MEAN_OF_LAYERS, *layers] if len(layers) > 1 else list(layers)
    layer = right.selectbox(
        "Cross-attention layer",
        options,
        key=keys.ATOM_LAYER,
        help="The network has this many layers in which genes attend to the drug.",
    )
    score = score or "attention"
    st.caption(WHAT[score])
    return score, None if layer == MEAN_OF_LAYERS else layer


def _figures(explanation: AtomExplanation, score: str, layer: str | None, stem: str) -> None:
    """Formula beside shape, and the atom clicked."""
    atoms, theme = explanation.atoms, st.context.theme.type or "light"
    values = explanation.scores(layer)[score].to_numpy()
    name, unit = atoms.drug.name[:80], f"{SCORES[score]}, share of all atoms"
    groups = pharmacophores_of(atoms.drug)
    marked, mark = None, ""
    if groups and st.toggle("Mark the known pharmacophore", value=True, key="atom-mark"):
        marked = np.any([marked_atoms(atoms, group) for group in groups], axis=0)
        mark = ", ".join(group.name for group in groups)
    picture = partial(attention_svg, atoms, values, title=name, unit=unit, marked=marked, mark=mark)
    left, right = st.columns(2)
    with left:
        st.image(picture(theme=theme), alt=describe(atoms, values, name), width="stretch")
    with right, guarded():
        chosen = molecule_3d(
            atoms, values, title=name, theme=theme, key="atom-3d", file=f"{stem}_3d.png"
        )
        if chosen is None:
            st.caption("Turn it with the mouse; click an atom to see its number and value.")
        else:
            row = atoms.table.iloc[chosen]
            st.markdown(
                f"Atom {atoms.table.index[chosen]}, element {row['element']}: "
                f"**{values[chosen]:.2%}** ({SCORES[score].lower()}); an equal share is "
                f"{1 / len(atoms):.2%}."
            )
    first, second, _ = st.columns([1, 1, 2])
    with first:
        download("Formula as SVG", lambda: picture().encode(), f"{stem}.svg", "atom-svg")
    with second:
        download(
            "Formula as PNG",
            lambda: vl_convert.svg_to_png(picture(), scale=2),
            f"{stem}.png",
            "atom-png",
        )


def _words(explanation: AtomExplanation, layer: str | None) -> None:
    with st.container(border=True):
        st.markdown("**What this shows and does not show**")
        st.markdown("\n".join(f"- {plain(sentence)}" for sentence in reading(explanation, layer)))
        for group in pharmacophores_of(explanation.atoms.drug):
            st.caption(plain(f"{group.name}: {group.role}. {group.source}, doi {group.doi}."))


def _atom_table(explanation: AtomExplanation, layer: str | None, stem: str) -> None:
    table = explanation.table(layer).reset_index()
    shown = table.drop(columns=["label"]).rename(columns={"attention_sd": "SD over samples"})
    shown = shown.rename(columns=SCORES)
    st.dataframe(
        without_formulas(shown),
        hide_index=True,
        alt="Every atom with its element and all its scores, highest attention first",
        column_config={
            name: st.column_config.NumberColumn(format="percent")
            for name in (*SCORES.values(), "SD over samples")
        },
    )
    download(
        "Table as CSV", partial(csv_bytes, table), f"{stem}_atoms.csv", "atom-table", wide=False
    )


def _heat_map(explanation: AtomExplanation, score: str, layer: str | None, stem: str) -> None:
    if score not in OWN_SCORES:
        st.info("Baselines are the same for every sample. Choose a score of the model above.")
        return
    matrix = explanation.matrix(score, layer)
    title = f"{SCORES[score]} of {explanation.atoms.drug.name[:60]} in each sample"
    chart = atom_heat_map(matrix, explanation.atoms, SCORES[score], title)
    draw(chart)
    st.caption(
        "Rows that look alike say that the score hardly depends on the sample."
        + (_sample_agreement(explanation, layer) if score == "attention" else "")
    )
    labelled = matrix.set_axis(pd.Index(explanation.atoms.table["label"], name="atom"), axis=0)
    figure_bar(chart, labelled.reset_index(), f"{stem}_samples", "atom-heat")


def _sample_agreement(explanation: AtomExplanation, layer: str | None) -> str:
    if len(explanation.attention.samples) < 2 or len(explanation.atoms) < 2:
        return ""
    found = cell_stability(explanation.attention, layer)
    return (
        f" Mean over pairs of samples: cosine {found.mean_cosine:.3f}, rank correlation "
        f"{found.mean_spearman:.2f}; mean CV over atoms {found.mean_cv:.3f}. The cosine is near "
        "one for any scores that are nearly equal."
    )


def _agreement(explanation: AtomExplanation, layer: str | None, stem: str) -> None:
    table = explanation.agreement(layer)
    names = table.assign(
        first=table["first"].map(SCORES), second=table["second"].map(SCORES)
    ).rename(
        columns={
            "first": "Score",
            "second": "Compared with",
            "spearman": "Spearman",
            "spearman_p": "p (Spearman)",
            "top_k": "Top atoms",
            "overlap": "Shared",
            "overlap_expected": "Shared by chance",
            "overlap_p": "p (shared)",
        }
    )
    _numbers(names, "Agreement of each pair of scores over the atoms")
    st.caption(
        "p: how often scores dealt to the atoms of this molecule at random agree as well. "
        "Nothing is corrected for the number of pairs."
    )
    download(
        "Table as CSV", partial(csv_bytes, table), f"{stem}_agreement.csv", "agree", wide=False
    )
    tests = explanation.enrichment(layer)
    if tests.empty:
        return
    st.markdown("**Known pharmacophore against the rest of the molecule**")
    shown = tests.assign(score=tests["score"].map(SCORES)).rename(
        columns={
            "pharmacophore": "Pharmacophore",
            "score": "Score",
            "n_marked": "Atoms",
            "n_atoms": "of",
            "fold": "Times the mean atom",
            "p_atoms": "p, random atoms",
            "p_connected": "p, connected pieces",
            "p_elements": "p, same elements",
            "p_untrained": "p, untrained",
            "fold_untrained": "Times the mean, untrained",
        }
    )
    _numbers(shown, "Enrichment of the scores on known pharmacophores")
    download("Table as CSV", partial(csv_bytes, tests), f"{stem}_groups.csv", "enrich", wide=False)


def _tokens(explanation: AtomExplanation, stem: str) -> None:
    table = token_table(explanation)
    kinds = list(explanation.attention.tokens)
    st.dataframe(
        without_formulas(table),
        hide_index=True,
        alt="Share of the attention by kind of token, one row a sample",
        column_config={kind: st.column_config.NumberColumn(format="percent") for kind in kinds},
    )
    st.caption(
        "Kinds of token: the assay read out, dose, time, the drug's place in the knowledge graph, "
        "the whole molecule, and its atoms. The scores above are shares of the atoms' part alone."
    )
    download("Table as CSV", partial(csv_bytes, table), f"{stem}_tokens.csv", "tokens", wide=False)


def _stability(runs: Sequence[AtomAttention]) -> None:
    found = atom_stability(runs)
    names = [f"{run.provenance['model_name']}" for run in runs]
    figure(
        stability_chart(found.items, f"Mean attention over {count(len(runs), 'model')}"),
        found.items.rename_axis("atom").reset_index(),
        f"Mean and SD over {', '.join(names)}; all layers and samples. Over pairs of models: "
        f"mean cosine {found.mean_cosine:.3f}, mean rank correlation {found.mean_spearman:.2f}; "
        f"mean CV over atoms {found.mean_cv:.3f}. Only models trained alike but for the seed show "
        "what chance in training does. The cosine is near one for any scores that are nearly "
        "equal, and models that agree may still agree on a habit: see the untrained networks.",
        name="atom-stability",
        about=runs[0].atoms.drug.name,
        digits=4,
    )
    pairs = without_formulas(found.pairs)
    st.dataframe(pairs.round(3), hide_index=True, alt="Agreement of each pair of models")


def _numbers(table: pd.DataFrame, alt: str) -> None:
    decimals = table.select_dtypes("float").columns
    st.dataframe(
        without_formulas(table),
        hide_index=True,
        alt=alt,
        column_config={
            name: st.column_config.NumberColumn(format="%.4f" if name.startswith("p") else "%.2f")
            for name in decimals
        },
    )
