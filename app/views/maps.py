"""Maps: which profiles, embeddings, genes and drugs are neighbours, and how labels mix in them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import streamlit as st

from app import keys, services
from app.components.cohort_store import choose_cohort, open_cohort
from app.components.drug_maps import agreement_table, drug_map, map_points
from app.components.errors import guarded, show_notice
from app.components.figures import figure
from app.components.map_charts import METHOD_NAMES, map_chart, score_chart
from app.components.text import count, plain
from app.components.working import finished, start_button
from xpert_core.errors import DataError
from xpert_core.explanation import spaces
from xpert_core.explanation.dose_time import pathways
from xpert_core.explanation.maps import (
    CONSERVATION,
    MIXING,
    EmbeddingMap,
    MapScores,
    Space,
    project,
    score,
    umap_installed,
)
from xpert_core.explanation.measured import Wells, level3_wells
from xpert_core.explanation.training_conditions import conditions_of
from xpert_core.prediction import Predictor

NAME = "maps"
PERMUTATIONS = 100
#: Labels that should not matter; every other one should.
NUISANCE = {"plate", "origin"}
#: Labels within which another is permuted, where both are there.
WITHIN = {"plate": "cell and time"}

Build = Callable[[Any, Any], Space]


@dataclass(frozen=True)
class Choice:
    """What is to be mapped.

    Attributes
    ----------
    key : tuple
        Equal for equal spaces.
    build : callable
        (progress, cancelled) to the space.
    labels : list of str
        What it can be coloured by, the most telling first.
    says : str
        What the map shows and what it does not.
    """

    key: tuple[Any, ...]
    build: Build
    labels: list[str]
    says: str


@dataclass(frozen=True)
class Drawn:
    """A space, its map, and the scores of one label."""

    key: tuple[Any, ...]
    space: Space
    map: EmbeddingMap
    scores: MapScores | None
    problem: str = ""


def patients(values: str) -> Choice | None:
    """A stored cohort among the cell lines."""
    cohort_id = choose_cohort()
    if cohort_id is None:
        return None
    profiles = open_cohort(cohort_id)
    known = [
        column
        for column in profiles.samples.columns
        if profiles.samples[column].fillna("").astype(str).str.strip().nunique() > 1
        and column != "patient_id"
    ]
    says = {
        "raw": "Expression as measured: platform, tissue and normalisation separate patients from "
        "cell lines whatever the model does.",
        "ranks": "Each profile as normal scores of its ranks, which is what the model's tokens "
        "keep: what still separates patients from cell lines is the shift the model must bridge.",
        "cls": "The network's own summary of each profile before any drug. Patients that lie "
        "among cell lines are not thereby predicted well; patients far from all of them are "
        "outside what the model has seen.",
    }[values]
    predictor = services.predictor()
    model = predictor.digest if values == "cls" else ""

    def build(progress: Any, cancelled: Any) -> Space:
        if values == "cls":
            return spaces.embedded_against_cell_lines(
                predictor, profiles, progress=progress, cancelled=cancelled
            )
        return spaces.against_cell_lines(profiles, scaled=values == "ranks")

    return Choice((values, cohort_id, model), build, ["origin", *known], says)


def known_drugs(predictor: Predictor, chosen: Wells) -> str:
    """How many drugs of these wells the model was trained on, by their names."""
    conditions = conditions_of(predictor.digest)
    if conditions is None:
        return "It is not known which of these drugs this model was trained on."
    rows = conditions.table
    trained = set(rows.loc[rows["part"] == "train", "drug"].str.casefold())
    names = set(chosen.rows["drug"].str.casefold())
    return f"This model was trained on {len(names & trained)} of these {count(len(names), 'drug')}."


def wells(values: str) -> Choice:
    """Treated wells of L1000."""
    every = level3_wells()
    counts = every.rows["cell"].value_counts()
    options = [cell for cell in counts.index if counts[cell] >= 50]
    cell = st.selectbox(
        "Cell lines", ["all", *options], index=1, key=keys.MAP_CELL, persist_state="session"
    )
    chosen = every if cell == "all" else every.take((every.rows["cell"] == cell).to_numpy())
    labels = ["mechanism", "plate", "drug", "dose", "time"]
    labels = ["cell", *labels] if cell == "all" else labels
    says = {
        "after treatment": "Single wells as measured after treatment. Plates differ in their "
        "drugs too, so that not all separation of plates is a batch effect.",
        "change": "Single wells minus the vehicle wells of their plate, which removes much of the "
        "plate and most of the cell line.",
        "cls": "The network's summary of the same conditions: from the vehicle profile, the drug, "
        "its dose and time. Nothing measured after treatment enters. Separation by mechanism is "
        "what the drug tokens bring.",
    }[values]
    predictor = services.predictor()
    if values == "cls":
        says += f" {known_drugs(predictor, chosen)}"
    model = predictor.digest if values == "cls" else ""

    def build(progress: Any, cancelled: Any) -> Space:
        if values == "cls":
            return spaces.embedded_wells(predictor, chosen, progress=progress, cancelled=cancelled)
        return spaces.treated_wells(chosen, values)

    return Choice((values, cell, model), build, labels, says)


def result() -> Choice | None:
    """Predictions of a stored result."""
    runs = services.store().runs()
    if runs.empty:
        st.info("No result is stored yet.")
        st.page_link("views/predict.py", label="Make a prediction", icon=":material/arrow_forward:")
        return None
    names = {str(key): f"{row['title']} ({row['n_rows']} predictions)"
             for key, row in runs.iterrows()}  # fmt: skip
    run_id = st.selectbox("Result", list(names), format_func=names.__getitem__, key=keys.MAP_RUN)
    store = services.store()
    cohort_id = runs.loc[run_id, "cohort_id"]

    def build(progress: Any, cancelled: Any) -> Space:
        prediction = store.load_prediction(run_id)
        space = spaces.predicted(prediction)
        if not cohort_id:
            return space
        response = store.load_cohort(str(cohort_id)).samples["response"].fillna("").astype(str)
        values = prediction.rows["sample_id"].map(response.to_dict()).fillna("")
        return replace(space, labels=space.labels.assign(response=values.to_numpy()))

    labels = ["drug", "sample", "dose", "time", *(["response"] if cohort_id else [])]
    return Choice(
        ("result", run_id), build, labels,
        "Predicted changes of each sample, drug and condition. Predictions of one model are "
        "smoother than measurements: clusters here are not evidence of clusters in patients.",
    )  # fmt: skip


def genes() -> Choice:
    """Gene tokens by pathway."""
    predictor = services.predictor()

    def build(progress: Any, cancelled: Any) -> Space:
        return spaces.gene_tokens(predictor, pathways(predictor.panel.symbols))

    return Choice(
        ("genes", predictor.digest), build, ["pathway"],
        "The trained vector of each landmark gene, with the largest Hallmark pathways. Part of it "
        "comes from the protein network the model was given, so that agreement with pathways is "
        "not all learned from expression.",
    )  # fmt: skip


def drugs() -> Choice:
    """Drug tokens by mechanism."""
    predictor = services.predictor()

    def build(progress: Any, cancelled: Any) -> Space:
        wells = level3_wells()
        return spaces.drug_tokens(predictor, wells, progress=progress, cancelled=cancelled)

    return Choice(
        ("drugs", predictor.digest), build, ["mechanism"],
        "Each drug of the shipped L1000 wells as the model in use embeds it, before any profile, "
        "dose or time: the mean of its tokens. Part of it is its place in the knowledge graph "
        "where the model has one, which was told the targets of known drugs: that mechanisms "
        "separate is not all learned from expression.",
    )  # fmt: skip


SPACES: dict[str, Callable[[], Choice | None]] = {
    "Patients and cell lines: raw expression": lambda: patients("raw"),
    "Patients and cell lines: ranks of the genes": lambda: patients("ranks"),
    "Patients and cell lines: cls embedding": lambda: patients("cls"),
    "A stored result: predicted changes": result,
    "L1000 wells: measured after treatment": lambda: wells("after treatment"),
    "L1000 wells: measured change": lambda: wells("change"),
    "L1000 wells: cls embedding": lambda: wells("cls"),
    "Genes: tokens of the network, by pathway": genes,
    "Drugs: tokens of the network, by mechanism": drugs,
}
DRUGS = "Drugs: structure and knowledge graph, by mechanism"


def draw_job(choice: Choice, label: str, method: str, seed: int, last: Drawn | None) -> Any:
    """The work behind the button; a space and a map made before are used again."""
    key = (choice.key, method, seed)

    def work(progress: Any, cancelled: Any) -> Drawn:
        if last is not None and last.key == key:
            space, found = last.space, last.map
        else:
            space = choice.build(progress, cancelled)
            progress(0, 1, f"Drawing {len(space)} points")
            found = project(space, method, seed)
        if label not in space.labels:
            return Drawn(key, space, found, None, f"There is no label '{label}'.")
        kind = MIXING if label in NUISANCE else CONSERVATION
        within = WITHIN.get(label, "")
        within = within if within in space.labels else ""
        try:
            scores = score(
                space, label, kind, within=within, permutations=PERMUTATIONS, seed=seed,
                progress=progress, cancelled=cancelled,
            )  # fmt: skip
        except DataError as error:  # the map stands without scores
            return Drawn(key, space, found, None, str(error))
        return Drawn(key, space, found, scores)

    return work


def show(drawn: Drawn, label: str, says: str) -> None:
    """Map, scores and settings."""
    found = drawn.map
    title = f"{found.name}, by {label}"
    details = (
        f"{METHOD_NAMES[found.method]} of {found.components} principal components "
        f"({found.share:.0%} of the variance), {found.neighbours} neighbours, seed {found.seed}; "
        f"trustworthiness {found.trust:.2f}. Distances and sizes of clusters on the map mean "
        "nothing; the scores are computed before it."
    )
    table = found.points.rename_axis("id").reset_index()
    figure(map_chart(found, label, title), table, f"{says} {details}", name="map", about=found.name)
    for note in found.notes:
        st.caption(plain(note))
    if drawn.scores is None:
        st.info(f"No scores for this label: {plain(drawn.problem)}")
        return
    scores = drawn.scores
    st.subheader(
        f"Do the groups of {plain(label)} {'mix' if scores.kind == MIXING else 'separate'}?"
    )
    null = f"within {scores.within}" if scores.within else "freely"
    figure(
        score_chart(scores),
        scores.table,
        f"{count(scores.points, 'point')} in {count(scores.groups, 'group')}; labels permuted "
        f"{null}, {PERMUTATIONS} times. The table says for each score which direction is better. "
        "Scores of few or unequal groups depend on their sizes: compare with the null, not with 0 "
        "or 1.",
        name="map-scores",
        about=found.name,
    )


def shipped_drugs() -> None:
    """The maps of the Drugs page."""
    st.caption(
        "Drugs with a known mechanism, by structure and by their place in the knowledge graph "
        "(UMAP). These are maps of the shipped structures and the shipped graph: the model in use "
        "has no part in them. The place of one drug is on the Drugs page."
    )
    points = map_points()
    spaces_said = {
        "chemical": (
            "By structure",
            "Drugs of like structure lie together. Neighbours mean something, distances do not; "
            "alike structures need not share a target, and the map does not show that they do.",
        ),
        "biological": (
            "By biology",
            "Drugs of like targets and uses lie together, partly because the graph was told their "
            "targets: that mechanisms cluster here is not evidence for a new drug. Neighbours mean "
            "something, distances do not.",
        ),
    }
    for column, (space, (title, says)) in zip(st.columns(2), spaces_said.items(), strict=True):
        with column:
            figure(
                drug_map(points, space, title),
                points[["name", "moa", f"{space}_x", f"{space}_y"]],
                says,
                name=f"drugs-{space}",
                about="shipped",
            )
    agreement_table()


def page() -> None:
    """Draw the page from top to bottom."""
    name = st.selectbox(
        "What to map", [*SPACES, DRUGS], key=keys.MAP_SPACE, persist_state="session"
    )
    if name == DRUGS:
        shipped_drugs()
        return
    choice = SPACES[name]()
    if choice is None:
        return
    columns = st.columns(3)
    label = columns[0].selectbox(
        "Colour and score by", choice.labels, key=f"{keys.MAP_LABEL}-{name}"
    )
    methods = ["umap", "t-sne"] if umap_installed() else ["t-sne"]
    method = columns[1].selectbox(
        "Projection", methods, format_func=METHOD_NAMES.__getitem__, key=keys.MAP_METHOD,
        persist_state="session",
        help=None if umap_installed() else "UMAP comes with the extra named maps.",
    )  # fmt: skip
    seed = columns[2].number_input("Seed", 0, 9999, 0, key=keys.MAP_SEED, persist_state="session")
    kept = st.session_state.get(f"result-{NAME}")
    last = kept[1] if kept is not None else None
    asked = (choice.key, label, method, int(seed))
    start_button("Draw the map", NAME, draw_job(choice, label, method, int(seed), last), asked)
    found = finished(NAME)
    if found is not None and found[0] == asked:
        show(found[1], label, choice.says)
    elif found is not None:
        st.info("The choices have changed. Draw the map again.")


st.title("Maps")
st.markdown(
    "Which profiles, predictions, genes and drugs are neighbours; whether patients lie among the "
    "cell lines the model learned from; whether batches mix and biology separates."
)
show_notice()
with guarded():
    page()
