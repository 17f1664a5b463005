"""Choosing drugs: a search that forgives typing errors, and any structure as SMILES."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain, count

import streamlit as st

from app import keys, services
from app.components.carried import carry
from app.components.errors import guarded
from app.components.molecule import draw_drug
from app.components.text import plain
from xpert_core.drugs import DrugHit, standardise
from xpert_core.drugs.records import Drug

MAX_HITS = 12


def choose_drugs(drugs: list[Drug]) -> None:
    """Select `drugs` in addition to what is selected; callable from a widget's callback."""
    choices: dict[str, Drug] = st.session_state.setdefault(keys.DRUG_CHOICES, {})
    selected: list[str] = list(st.session_state.get(keys.DRUGS, []))
    for drug in drugs:
        name = _name_among(choices, drug)
        choices.setdefault(name, drug if name == drug.name else replace(drug, name=name))
        if name not in selected:
            selected.append(name)
    st.session_state[keys.DRUGS] = selected


def _name_among(choices: dict[str, Drug], drug: Drug) -> str:
    """The name under which `drug` is listed: its own, numbered if another drug has it."""
    for name, other in choices.items():
        if _identity(other) == _identity(drug):
            return name
    numbered = (f"{drug.name} ({number})" for number in count(2))
    return next(name for name in chain([drug.name], numbered) if name not in choices)


def _identity(drug: Drug) -> str:
    return drug.inchikey or drug.key


def forget_drugs() -> None:
    """Clear the selection."""
    st.session_state[keys.DRUGS] = []


def chosen_drugs() -> list[Drug]:
    """The selected drugs, in the order of selection."""
    choices: dict[str, Drug] = st.session_state.get(keys.DRUG_CHOICES, {})
    return [choices[name] for name in st.session_state.get(keys.DRUGS, []) if name in choices]


def drug_picker() -> list[Drug]:
    """Draw search box, structure box and the selection; return the selected drugs."""
    st.subheader("Drugs")
    search, structure = st.tabs(["Search the library", "Give a structure (SMILES)"])
    with search, guarded():
        _search_tab()
    with structure, guarded():
        _structure_tab()
    choices = st.session_state.setdefault(keys.DRUG_CHOICES, {})
    carry(keys.DRUGS)
    st.multiselect(
        "Drugs to predict",
        list(choices),
        key=keys.DRUGS,
        persist_state="session",
        placeholder="Search above and add drugs",
    )
    drugs = chosen_drugs()
    if drugs:
        with st.expander("Structures and mechanisms of the chosen drugs"):
            columns = st.columns(3)
            for position, drug in enumerate(drugs):
                with columns[position % 3]:
                    draw_drug(drug)
    return drugs


def _search_tab() -> None:
    carry(keys.DRUG_QUERY)
    query = st.text_input(
        "Name, synonym, mechanism or target",
        key=keys.DRUG_QUERY,
        persist_state="session",
        placeholder="for example trametinib, venetoclax, MEK inhibitor, EGFR",
        help="Small typing errors are forgiven.",
    ).strip()
    if not query:
        st.caption("The library holds drugs of the L1000 experiments with an open licence.")
        return
    hits = services.library().search(query, limit=MAX_HITS)
    if not hits:
        st.info(
            "No drug of the library resembles this. Check the spelling, or give the structure "
            "as a SMILES in the other tab."
        )
        return
    by_label = {_hit_label(hit): hit.drug for hit in hits}
    st.pills(
        "Click a drug to add it",
        list(by_label),
        selection_mode="single",
        key=keys.DRUG_HITS,
        on_change=_add_hit,
        args=(by_label,),
    )


def _hit_label(hit: DrugHit) -> str:
    parts = [hit.drug.moa[0] if hit.drug.moa else ", ".join(hit.drug.targets[:3])]
    parts += [hit.matched_on] if hit.matched_on.startswith("synonym") else []
    about = "; ".join(part for part in parts if part)
    return plain(f"{hit.drug.name} ({about})" if about else hit.drug.name)


def _add_hit(by_label: dict[str, Drug]) -> None:
    drug = by_label.get(st.session_state.get(keys.DRUG_HITS) or "")
    if drug is not None:
        choose_drugs([drug])
    st.session_state[keys.DRUG_HITS] = None


def _structure_tab() -> None:
    carry(keys.SMILES, keys.SMILES_NAME)
    left, right = st.columns([3, 1])
    smiles = left.text_input(
        "Structure as SMILES",
        key=keys.SMILES,
        persist_state="session",
        placeholder="CC(=O)Oc1ccccc1C(=O)O",
        help="Salts are removed and charges neutralised. At most 120 heavy atoms.",
    ).strip()
    name = right.text_input("Name to show", key=keys.SMILES_NAME, persist_state="session").strip()
    if not smiles:
        st.caption("Any compound can be predicted, also one that is not in the library.")
        return
    drug = _standardised(smiles, name)
    picture, action = st.columns([1, 2])
    with picture:
        draw_drug(drug)
    action.button("Add this structure", on_click=choose_drugs, args=([drug],), key="add-smiles")


def _standardised(smiles: str, name: str) -> Drug:
    """The structure read once, not at each rerun: reading starts a child process."""
    asked = (smiles, name)
    kept: tuple[tuple[str, str], Drug] | None = st.session_state.get(keys.STRUCTURE)
    if kept is None or kept[0] != asked:
        with st.spinner("Reading the structure"):
            kept = (asked, standardise(smiles, name))
        st.session_state[keys.STRUCTURE] = kept
    return kept[1]
