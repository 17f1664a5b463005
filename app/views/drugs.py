"""Drugs: the place of a drug in the knowledge graph, and the maps of all drugs."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from app import keys, services
from app.components.charts import draw
from app.components.drug_maps import agreement_table, drug_map, map_points
from app.components.errors import guarded, show_notice
from app.components.molecule import draw_drug
from app.components.text import plain, without_formulas
from xpert_core.drugs.records import Drug
from xpert_core.graph.embed import Placement
from xpert_core.graph.neighbours import Neighbours, neighbours
from xpert_core.graph.records import drug_key

LIMIT = 10
EXAMPLES = ("trametinib", "vorinostat", "gefitinib", "nivolumab")


def ask() -> Drug | None:
    """The drug to look at: typed, or one of the examples."""

    def take_example() -> None:
        st.session_state[keys.PLACE_QUERY] = st.session_state[keys.PLACE_EXAMPLE]
        st.session_state[keys.PLACE_EXAMPLE] = None

    text = st.text_input(
        "Drug name, identifier, InChIKey or SMILES",
        key=keys.PLACE_QUERY,
        persist_state="session",
        placeholder="for example trametinib",
    ).strip()
    st.pills(
        "Examples", EXAMPLES, key=keys.PLACE_EXAMPLE, on_change=take_example,
        label_visibility="collapsed",
    )  # fmt: skip
    if not text:
        st.caption("Any structure has a place, also one that is not in the library.")
        return None
    with st.spinner("Looking the drug up"):
        drug = services.library().resolve(text)
        return services.library().annotate(drug) if drug.origin != "library" else drug


def place_of(drug: Drug) -> Placement | None:
    """The drug's embedding and the edges it rests on; None when the model has no graph token."""
    with st.spinner("Placing the drug in the graph"):
        return services.predictor().place(drug)


def facts(drug: Drug, place: Placement | None, found: Neighbours) -> None:
    """What the drug is and by which edges it was placed."""
    left, right = st.columns([1, 2])
    with left:
        draw_drug(drug)
    with right:
        st.markdown(f"**{plain(drug.name)}** in the knowledge graph")
        origin = {
            "library": "A drug of the graph.",
            "new": "Not in the graph: embedded now, from what is known of it.",
            "unknown": "Nothing places this drug.",
        }
        if place is not None:
            st.write(origin[place.origin])
            if place.note:
                st.info(plain(place.note))
        if not found.targets:
            st.write("No target gene is known for it: structure alone places it.")
            return
        table = pd.DataFrame(
            [
                (t.symbol, t.drugs if t.known else None, t.partners if t.known else None)
                for t in found.targets
            ],
            columns=["Target gene", "Drugs with this target", "Interaction partners"],
        )
        st.dataframe(without_formulas(table), hide_index=True, alt="Target genes of the drug")


def nearest(drug: Drug, place: Placement | None, found: Neighbours) -> None:
    """Nearest drugs by structure beside nearest drugs by embedding."""
    by_structure, by_embedding = st.columns(2)
    with by_structure:
        st.subheader("Nearest by structure")
        if found.similar:
            rows = [(s.name, s.tanimoto, _about(s.key)) for s in found.similar]
            _table(rows, "Tanimoto", "Drugs of the most similar structure")
        else:
            st.write("This agent has no structure.")
    with by_embedding:
        st.subheader("Nearest by biology")
        graph = services.predictor().graph
        if graph is None or place is None or place.vector is None:
            st.write("It has no embedding.")
            return
        near = graph.nearest(place.vector, LIMIT, exclude=place.key)
        _table([(n.name, n.cosine, _about(n.key)) for n in near], "Cosine", "Nearest embeddings")


def _about(key: str) -> str:
    """Mechanism of a drug of the library, else its first targets."""
    drug = services.library().by_key(key)
    if drug is None:
        return ""
    return ", ".join(drug.moa[:2] or drug.targets[:3])


def _table(rows: list[tuple[str, float, str]], score: str, alt: str) -> None:
    table = pd.DataFrame(rows, columns=["Drug", score, "Mechanism or targets"])
    st.dataframe(
        without_formulas(table),
        hide_index=True,
        alt=alt,
        column_config={score: st.column_config.NumberColumn(score, format="%.2f")},
    )


def maps(drug: Drug | None) -> None:
    """Chemical space beside biological space, coloured by mechanism."""
    st.subheader("All drugs with a known mechanism")
    chosen = drug_key(drug.connectivity, drug.name) if drug is not None else ""
    points = map_points(chosen)
    left, right = st.columns(2)
    with left:
        draw(drug_map(points, "chemical", "Chemical space (structure encoder)"))
    with right:
        draw(drug_map(points, "biological", "Biological space (knowledge graph)"))
    st.caption(
        "UMAP of 40 principal components, 15 neighbours. Distances between far groups mean "
        "nothing; the numbers below are measured in the full space."
    )
    agreement_table()


st.title("Drugs")
show_notice()
drug = None
with guarded():
    drug = ask()
    if drug is not None:
        place = place_of(drug)
        graph = services.predictor().graph
        found = neighbours(drug, LIMIT, graph.tables if graph is not None else None)
        facts(drug, place, found)
        nearest(drug, place, found)
with guarded():
    maps(drug)
