"""The Maps page, and responders on the Results page."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from model_data import tiny_checkpoint
from pages import texts
from prediction_data import prediction_of
from streamlit.testing.v1 import AppTest

from app import keys
from xpert_core.cohorts import example_path, read_cohort, to_profiles
from xpert_core.cohorts.paired import PairedProfiles
from xpert_core.genes import load_panel
from xpert_core.genes.records import GeneReport
from xpert_core.store import Store


def finish(page: AppTest, limit_s: float = 120.0) -> AppTest:
    """Redraw the page until its task is over."""
    end = time.monotonic() + limit_s
    while "task-maps" in page.session_state and time.monotonic() < end:
        time.sleep(0.3)
        page.run()
    return page


def test_patients_among_the_cell_lines(
    three_patients: bytes, open_page: Callable[..., AppTest], tmp_path: Path
) -> None:
    page = open_page("maps")
    assert "No cohort is stored yet" in texts(page.info)
    cohort = read_cohort(three_patients, filename="three.csv")
    Store().save_cohort(to_profiles(cohort, load_panel()))
    models = []
    for seed in (0, 1):
        tiny_checkpoint(tmp_path / f"tiny{seed}", name=f"tiny {seed}", seed=seed)
        models.append(Store().registry.register(tmp_path / f"tiny{seed}"))
    page = open_page("maps")
    page.session_state[keys.MODEL] = models[0]
    name = next(n for n in page.selectbox(key=keys.MAP_SPACE).options if "cls embedding" in n)
    page.selectbox(key=keys.MAP_SPACE).set_value(name).run()
    page.button(key="start-maps").click().run()
    page = finish(page)
    assert not page.exception and not page.error and not page.info
    assert "Do the groups of origin mix?" in texts(page.subheader)
    points, scores = page.dataframe[0].value, page.dataframe[1].value
    assert len(points) == 168 and {"x", "y", "origin"} <= set(points.columns)
    assert scores["null"].notna().all() and len(scores) == 5
    page.number_input(key=keys.MAP_SEED).set_value(1).run()
    assert "Draw the map again" in texts(page.info)
    page.number_input(key=keys.MAP_SEED).set_value(0).run()
    assert not page.info and page.dataframe
    page.session_state[keys.MODEL] = models[1]
    page.run()
    assert "The choices have changed" in texts(page.info) and not page.dataframe


def test_drug_maps_are_those_of_the_drugs_page(open_page: Callable[..., AppTest]) -> None:
    page = open_page("maps")
    options = page.selectbox(key=keys.MAP_SPACE).options
    page.selectbox(key=keys.MAP_SPACE).set_value(options[-1]).run()
    assert not page.exception and not page.error
    chemical, biological, agreement = (frame.value for frame in page.dataframe[:3])
    assert list(chemical["name"]) == list(biological["name"]) and len(chemical) > 100
    assert {"chemical_x", "chemical_y"} <= set(chemical.columns)
    assert "Chance" in set(agreement["Space"])
    said = texts(page.caption)
    assert "the model in use has no part in them" in said and "alike structures" in said


def store_example(with_pairs: bool) -> str:
    """The example cohort with a prediction for it; returns the run's id."""
    database = Store()
    profiles = to_profiles(read_cohort(example_path()), load_panel())
    cohort_id = database.save_cohort(profiles)
    rng = np.random.default_rng(0)
    names, patients = list(profiles.samples.index), list(profiles.samples["patient_id"])
    values = {name: rng.normal(size=978) for name in names}
    prediction = prediction_of(
        lambda s, d, t: values[s], names, (1.0,), drug="trametinib", patients=patients
    )
    if with_pairs:
        before = np.zeros((len(patients), 978), dtype=np.float32)
        after = np.stack([2 * values[name] for name in names]).astype(np.float32)
        columns = dict.fromkeys(
            ("sample_before", "sample_after", "drug", "dose", "time", "response"), ""
        )
        pairs = pd.DataFrame(
            {"patient_id": patients, **columns}, index=pd.Index(names, name="pair_id")
        )
        report = GeneReport(profiles.genes.table, profiles.genes.column_of_gene, 978)
        database.pairs.save(
            PairedProfiles("measured", pairs, before, after, "log2", load_panel(), report, "none",
                           "0" * 64)
        )  # fmt: skip
    return database.save_prediction(prediction, cohort_id, title="test")


def responders(page: AppTest, run_id: str) -> AppTest:
    """Open the tab of the responders."""
    page.session_state[f"view-{run_id}"] = "Responders"
    return page.run()


def test_responders_beside_measured_changes(open_page: Callable[..., AppTest]) -> None:
    run_id = store_example(with_pairs=True)
    page = responders(open_page("results", run=run_id), run_id)
    assert not page.exception and not page.error
    assert "10 responders, 39 non-responders" in texts(page.caption)
    box = page.selectbox(key=f"response-measured-{run_id}")
    page = box.set_value(box.options[1]).run() if not box.value else page
    assert not page.exception and not page.error
    frames = [frame.value for frame in page.dataframe]
    errors = next(f for f in frames if "mae" in f.columns)
    largest = errors[errors["stratum"] == 5].set_index("source")["mae"]
    # The prediction is half of what was measured: better than no change at all.
    assert largest.filter(like="model").iloc[0] < 0.6 * largest["no change (0)"]


def test_a_result_without_response_says_what_is_missing(
    three_patients: bytes, open_page: Callable[..., AppTest]
) -> None:
    cohort = read_cohort(three_patients.replace(b"response", b"colour"), filename="three.csv")
    profiles = to_profiles(cohort, load_panel())
    database = Store()
    prediction = prediction_of(lambda s, d, t: np.zeros(978), list(profiles.samples.index), (1.0,))
    run_id = database.save_prediction(prediction, database.save_cohort(profiles), title="test")
    page = responders(open_page("results", run=run_id), run_id)
    assert not page.exception and not page.error
    assert "says nothing of the patients" in texts(page.info)
