"""The one place that builds what all sessions share: store, model and drug library.

Nothing of a patient may enter these caches, because every user of the server shares them.
"""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Sequence
from contextlib import suppress

import streamlit as st

from app.pace import Pace
from xpert_core.drugs import Drug, DrugLibrary
from xpert_core.drugs.sandbox import warm_up
from xpert_core.errors import XPertError
from xpert_core.genes import load_panel
from xpert_core.genes.records import GenePanel
from xpert_core.paths import data_dir
from xpert_core.prediction import Predictor
from xpert_core.store import Store


def store() -> Store:
    """The database of cohorts and results, opened once per address."""
    return _store(os.environ.get("XPERT_DATABASE_URL"), str(data_dir()))


@st.cache_resource(show_spinner="Opening the database")
def _store(url: str | None, folder: str) -> Store:
    opened = Store(url)
    opened.sweep_orphans()
    return opened


@st.cache_resource(show_spinner="Loading the model")
def predictor() -> Predictor:
    """The shipped default model, loaded once; what its first use would wait for follows."""
    loaded = Predictor.load()
    threading.Thread(target=_warm_up, args=(loaded,), name="xpert-warm-up", daemon=True).start()
    return loaded


def _warm_up(loaded: Predictor) -> None:
    """Read what pages need, ahead of them; what fails here is explained when it is needed."""
    with suppress(XPertError):
        warm_up()
        if loaded.graph is not None:
            loaded.graph.prepare()
        DrugLibrary.load()
    # Streamlit collects garbage after every run of a page. What was loaded here stays for good;
    # walking it each time would stop all threads for a third of a second.
    gc.collect()
    gc.freeze()


@st.cache_resource(show_spinner="Loading the drug library")
def library() -> DrugLibrary:
    """The drug library, loaded once."""
    return DrugLibrary.load()


def prepare(drugs: Sequence[Drug]) -> None:
    """Compute structure tokens of chosen drugs ahead of the click, in the background.

    What fails here fails again, and is explained, when the prediction asks for it.
    """
    fresh = [drug for drug in drugs if (drug.inchikey, drug.smiles) not in _prepared()]
    _prepared().update((drug.inchikey, drug.smiles) for drug in fresh)
    if fresh:
        features = predictor().features
        threading.Thread(
            target=lambda: features.get_all(fresh), name="xpert-structures", daemon=True
        ).start()


@st.cache_resource(show_spinner=False)
def _prepared() -> set[tuple[str, str]]:
    return set()


@st.cache_resource(show_spinner=False)
def panel() -> GenePanel:
    """The landmark genes, loaded once."""
    return load_panel()


@st.cache_resource(show_spinner=False)
def engine_lock() -> threading.Lock:
    """Held while the model computes: two predictions at once would only slow each other."""
    return threading.Lock()


@st.cache_resource(show_spinner=False)
def pace() -> Pace:
    """What is known about the speed of this machine."""
    return Pace()
