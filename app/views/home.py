"""Home: what the program does and does not do, the example, the state of the model."""

from __future__ import annotations

import streamlit as st

from app import keys, services
from app.components.cohort_store import keep_cohort
from app.components.drug_picker import choose_drugs, forget_drugs
from app.components.errors import guarded
from app.components.model_state import model_state
from xpert_core.cohorts import example_path, read_cohort, to_profiles

EXAMPLE_DRUGS = ("trametinib", "vemurafenib")


def load_example() -> None:
    """Store the example cohort, choose its drugs and go on to Predict."""
    with st.spinner("Reading the example"):
        profiles = to_profiles(read_cohort(example_path()), services.panel())
        keep_cohort(profiles)
        library = services.library()
        forget_drugs()
        choose_drugs([library.resolve(name) for name in EXAMPLE_DRUGS])
    st.session_state[keys.DOSES] = "1 uM"
    st.session_state[keys.TIMES] = "24 h"
    st.switch_page("views/predict.py")


def introduction() -> None:
    """What the program is for."""
    st.title("Predict how genes respond to a drug")
    st.markdown(
        "XPert predicts how a drug changes the activity of the 978 L1000 landmark genes in each "
        "patient or cell line of your file, from the expression measured before treatment."
    )


def example() -> None:
    """The button that loads the example."""
    with st.container(border=True):
        st.markdown(
            "**Try it with an example:** 51 patients with melanoma, expression measured before "
            "treatment, with the drugs trametinib and vemurafenib already chosen."
        )
        if st.button("Load the example", type="primary", key="load-example"):
            load_example()


def steps() -> None:
    """The three steps."""
    texts = (
        ("cohort", "1. Cohort", "Upload expression before treatment and read the gene report."),
        ("predict", "2. Predict", "Choose patients, drugs, doses and times."),
        ("results", "3. Results", "Look at genes and patients, download, come back by address."),
    )
    for column, (page, title, text) in zip(st.columns(3, border=True), texts, strict=True):
        column.markdown(f"**{title}**\n\n{text}")
        column.page_link(
            f"views/{page}.py", label=f"Open {title[3:]}", icon=":material/arrow_forward:"
        )


def limits() -> None:
    """What the program does and does not do."""
    does, does_not = st.columns(2, border=True)
    does.markdown(
        "**What it does**\n\n"
        "- It predicts changes in expression per patient, drug, dose and time.\n"
        "- It takes drugs of its library, or any structure as a SMILES.\n"
        "- It shows by which targets and similar drugs each drug was placed.\n"
        "- It says which genes were not measured and where every number comes from.\n"
        "- It keeps patient data on the machine that runs this page."
    )
    does_not.markdown(
        "**What it does not do**\n\n"
        "- It is for research use only, not for diagnosis or treatment.\n"
        "- It does not predict whether a patient will benefit from a drug.\n"
        "- It learned from cell lines; tissue of a patient may respond otherwise.\n"
        "- It sends nothing to another machine."
    )


introduction()
with guarded():
    example()
steps()
limits()
st.subheader("The model in use")
with guarded():
    model_state()
