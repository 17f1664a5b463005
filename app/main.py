"""Entry of the dashboard: page frame and navigation."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from app.components.sign_in import admitted

STATIC = Path(__file__).parent / "static"

st.set_page_config(
    page_title="XPert",
    page_icon=str(STATIC / "icon.png"),
    layout="wide",
    menu_items={"About": "XPert predicts drug responses of gene expression. Research use only."},
)
st.logo(str(STATIC / "logo.png"), size="large", icon_image=str(STATIC / "icon.png"))
page = st.navigation(
    {
        "Predict": [
            st.Page("views/home.py", title="Home", url_path="home", default=True),
            st.Page("views/cohort.py", title="Cohort", url_path="cohort"),
            st.Page("views/predict.py", title="Predict", url_path="predict"),
            st.Page("views/results.py", title="Results", url_path="results"),
        ],
        "Understand": [
            st.Page("views/drugs.py", title="Drugs", url_path="drugs"),
            st.Page("views/molecule.py", title="Molecule", url_path="molecule"),
            st.Page("views/resistance.py", title="Resistance genes", url_path="resistance"),
            st.Page("views/dose_time.py", title="Dose and time", url_path="dose-time"),
            st.Page("views/maps.py", title="Maps", url_path="maps"),
        ],
        "Train": [
            st.Page("views/finetune.py", title="Fine-tune", url_path="finetune"),
            st.Page("views/models.py", title="Models", url_path="models"),
            st.Page("views/jobs.py", title="Jobs", url_path="jobs"),
        ],
    }
)
if admitted():
    page.run()
st.caption(
    "For research use only. Not for diagnosis or treatment. "
    "Nothing you upload leaves the machine that runs this page."
)
