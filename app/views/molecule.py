"""Molecule: which atoms of a drug the network attends to, and how much that is worth."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import streamlit as st

from app import keys, services
from app.components.atom_view import atom_view
from app.components.background_run import queue
from app.components.cohort_store import choose_cohort, open_cohort
from app.components.drug_picker import choose_drugs, drug_picker
from app.components.errors import guarded, guarded_callback, show_error, show_notice
from app.components.molecule import draw_drug
from app.components.text import plain
from app.pace import in_words
from app.tasks import Task, launch, running, take, watch
from xpert_core.cohorts.records import Profiles
from xpert_core.conditions import DEFAULT_DOSE, DEFAULT_TIME, parse_dose, parse_time
from xpert_core.drugs.records import Drug
from xpert_core.explanation.atom_report import AtomExplanation, explain_atoms
from xpert_core.explanation.atoms import AtomAttention, atom_attention, gene_positions
from xpert_core.explanation.files import read_gene_set
from xpert_core.explanation.pharmacophores import case_drugs
from xpert_core.prediction.predictor import Cancelled, Predictor, Progress

#: Samples chosen at first: enough to see whether the sample matters.
FIRST_SAMPLES = 10
#: Passes of the network for each sample beside one for each atom, and atoms of a usual drug.
PASSES, USUAL_ATOMS = 10, 30
#: Seconds of a pass on two processor cores.
PASS_S = 0.02

Asked: TypeAlias = tuple[str, str, Drug]
"""Cohort, the hash of the model, and the drug."""


def take_example() -> None:
    """Select the example clicked; callable from a widget's callback."""
    name = st.session_state.get(keys.ATOM_EXAMPLE)
    with guarded_callback():
        if name:
            choose_drugs([services.library().resolve(name)])
            st.session_state[keys.ATOM_DRUG] = name
    st.session_state[keys.ATOM_EXAMPLE] = None


def choose_drug() -> Drug | None:
    """One of the drugs selected."""
    drugs = drug_picker()
    st.pills(
        "Drugs whose pharmacophore is known from crystal structures",
        case_drugs(),
        key=keys.ATOM_EXAMPLE,
        on_change=take_example,
    )
    if not drugs:
        return None
    names = [drug.name for drug in drugs]
    if st.session_state.get(keys.ATOM_DRUG) not in names:
        st.session_state[keys.ATOM_DRUG] = names[0]
    chosen = st.selectbox("Drug to look at", names, key=keys.ATOM_DRUG)
    return drugs[names.index(chosen)]


def choose_samples(profiles: Profiles) -> list[str]:
    """Some samples of the cohort, the first ones to begin with."""
    options = list(profiles.samples.index)
    kept = st.session_state.get(keys.ATOM_SAMPLES)
    if kept is None or not set(kept) <= set(options):
        st.session_state[keys.ATOM_SAMPLES] = options[:FIRST_SAMPLES]
    return st.multiselect(
        "Samples", options, key=keys.ATOM_SAMPLES, placeholder="Choose samples",
        help="Scores are averaged over them and shown for each.",
    )  # fmt: skip


def choose_conditions(drug: Drug | None) -> tuple[float, float, tuple[str, ...]]:
    """Dose, time and genes, checked as they are typed."""
    st.session_state.setdefault(keys.ATOM_DOSE, DEFAULT_DOSE)
    st.session_state.setdefault(keys.ATOM_TIME, DEFAULT_TIME)
    left, middle, right = st.columns([1, 1, 2])
    dose = left.text_input("Dose", key=keys.ATOM_DOSE, help="Units: nM, uM, mM, ng/mL.")
    time = middle.text_input("Time of exposure", key=keys.ATOM_TIME, help="Units: min, h, d.")
    genes = right.text_input(
        "Genes (optional)",
        key=keys.ATOM_GENES,
        placeholder="all landmark genes",
        help="Symbols with commas: whose attention is averaged, and whose predicted change the "
        "gradients and left-out atoms are measured on.",
    )
    chosen = read_gene_set(genes) if genes.strip() else ()
    gene_positions(chosen, services.panel().symbols)
    return parse_dose(dose, drug.molar_mass if drug else None), parse_time(time), chosen


def choose_others() -> list[tuple[str, Path]]:
    """Hash and folder of models to compare attention with; nothing is asked where there are none.

    Models trained alike but for the seed say how far the attention is one of the data.
    """
    own = services.predictor().digest
    models = {
        model.id: model
        for model in services.store().registry.list()
        if model.digest != own and not model.why_not_predict
    }
    if not models:
        return []
    kept = st.session_state.get(keys.ATOM_OTHERS, [])
    st.session_state[keys.ATOM_OTHERS] = [name for name in kept if name in models]
    chosen = st.multiselect(
        "Other models for stability over seeds", list(models), key=keys.ATOM_OTHERS,
        format_func=lambda name: plain(models[name].name), placeholder="None",
        max_selections=services.MAX_MODELS - 1,
        help="How far the attention of these models agrees with that of the model in use.",
    )  # fmt: skip
    return [(models[name].digest, models[name].folder) for name in chosen]


def order(cohort_id: str, profiles: Profiles, drug: Drug | None) -> None:
    """Say what will be computed; start it at the click."""
    samples = choose_samples(profiles)
    dose, time, genes = choose_conditions(drug)
    others = choose_others()
    missing = [what for what, there in (("a drug", drug), ("samples", samples)) if not there]
    if missing:
        st.info(f"Still to choose: {' and '.join(missing)}.")
    elif drug is not None and not drug.smiles:
        st.info(
            f"{plain(drug.name)} has no chemical structure, so there are no atoms to look at. "
            "Antibodies and proteins have none; choose a small molecule."
        )
    else:
        seconds = len(samples) * (PASSES + USUAL_ATOMS + len(others)) * PASS_S
        st.caption(f"Expected time: {in_words(seconds)}.")
    ready = bool(samples) and drug is not None and bool(drug.smiles)
    busy = running(keys.ATOM_TASK)
    if st.button("Explain", type="primary", disabled=busy or not ready, key="explain-atoms"):
        assert drug is not None
        # Whose model it is, a thread of its own could not say.
        models = [services.predictor(), *(services.open_predictor(*one) for one in others)]
        work = partial(_work, models, profiles, drug, dose, time, samples, genes)
        st.session_state.pop(keys.ATOMS, None)
        st.session_state[keys.ATOM_ASKED] = (cohort_id, services.predictor().digest, drug)
        launch(keys.ATOM_TASK, Task(work, services.engine_lock()))
    if st.button(
        "Explain in the background",
        disabled=not ready,
        key="explain-later",
        help="By the model in use alone. You may close the page; tables, figures and provenance "
        "are kept with the job.",
    ):
        assert drug is not None
        params = {
            "what": "atoms", "cohort_id": cohort_id,
            "drug": drug.name if drug.origin == "library" else drug.smiles,
            "dose": dose, "time": time, "samples": samples, "genes": list(genes),
        }  # fmt: skip
        queue("explain", params, f"Atoms of {drug.name[:60]}: {profiles.name}")


def _work(
    predictors: Sequence[Predictor],
    profiles: Profiles,
    drug: Drug,
    dose: float,
    time: float,
    samples: list[str],
    genes: tuple[str, ...],
    progress: Progress,
    cancelled: Cancelled,
) -> tuple[AtomExplanation, tuple[AtomAttention, ...]]:
    """Explanation by the first model; attention of all of them, if there are several."""
    own, *others = predictors
    asked = (profiles, drug, dose, time)
    hooks: dict[str, Any] = {"samples": samples, "genes": genes, "cancelled": cancelled}
    found = explain_atoms(own, *asked, progress=progress, **hooks)

    def report(done: int, total: int, text: str, name: str = "") -> None:
        progress(done, total, f"{text} ({name})")

    runs = [
        atom_attention(other, *asked, progress=partial(report, name=other.name), **hooks)
        for other in others
    ]
    return found, (found.attention, *runs) if runs else ()


def outcome(cohort_id: str) -> None:
    """The state of the last task: running, failed, cancelled or done."""
    if running(keys.ATOM_TASK):
        watch(keys.ATOM_TASK)
        return
    task = take(keys.ATOM_TASK)
    asked: Asked | None = st.session_state.get(keys.ATOM_ASKED)
    if task is not None and task.result is not None:
        st.session_state[keys.ATOMS], st.session_state[keys.ATOM_RUNS] = task.result
    elif task is not None and task.cancelled:
        st.info("The explanation was cancelled.")
    elif task is not None and task.error is not None:
        show_error(task.error)
        if asked is not None and asked[2].smiles:
            st.markdown("The formula alone, without scores:")
            draw_drug(asked[2])
    explanation: AtomExplanation | None = st.session_state.get(keys.ATOMS)
    # A result of another cohort or model would look like an answer to the choices above.
    now = (cohort_id, services.predictor().digest)
    if explanation is not None and asked is not None and asked[:2] == now:
        atom_view(explanation, st.session_state[keys.ATOM_RUNS])


def page() -> None:
    """Draw the page from top to bottom."""
    st.markdown(
        "Which atoms of a drug the network attends to in each sample, beside what its prediction "
        "depends on and what attention would look like without any learning."
    )
    cohort_id = choose_cohort()
    if cohort_id is None:
        return
    profiles = open_cohort(cohort_id)
    drug = choose_drug()
    if drug is not None:
        services.prepare([drug])
    with guarded():
        order(cohort_id, profiles, drug)
    outcome(cohort_id)


st.title("Molecule")
show_notice()
with guarded():
    services.predictor()
    page()
