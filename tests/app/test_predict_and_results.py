"""The Predict and Results pages on the shipped model."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pytest
from pages import texts
from streamlit.testing.v1 import AppTest

from app import keys
from xpert_core.cohorts import read_cohort, to_profiles
from xpert_core.drugs import DrugLibrary, standardise
from xpert_core.genes import load_panel
from xpert_core.jobs.work import _drug
from xpert_core.prediction import Predictor
from xpert_core.store import Store


@pytest.fixture
def stored_cohort(three_patients: bytes) -> str:
    """Id of a stored cohort of three patients."""
    cohort = read_cohort(three_patients, filename="three.csv")
    return Store().save_cohort(to_profiles(cohort, load_panel()))


@pytest.fixture
def ready(stored_cohort: str, open_page: Callable[..., AppTest]) -> AppTest:
    """The Predict page with one patient and trametinib chosen."""
    page = open_page("predict")
    page.multiselect(key=keys.SAMPLES).set_value(["Pt1"]).run()
    page.text_input(key=keys.DRUG_QUERY).set_value("trametinb").run()
    hits = page.button_group(key=keys.DRUG_HITS)
    hits.set_value(hits.options[0]).run()
    return page


def predict(page: AppTest, limit_s: float = 60.0) -> AppTest:
    """Press Predict and wait until the task is over."""
    page.button(key="predict").click().run()
    return finish(page, limit_s)


def finish(page: AppTest, limit_s: float = 60.0) -> AppTest:
    """Redraw the page until its task is over."""
    end = time.monotonic() + limit_s
    while keys.TASK in page.session_state and time.monotonic() < end:
        time.sleep(0.3)
        page.run()
    return page


def test_without_a_cohort_the_page_says_what_is_missing(open_page: Callable[..., AppTest]) -> None:
    page = open_page("predict")
    assert not page.exception and not page.error
    assert "No cohort is stored yet" in texts(page.info)


def test_choices_are_counted_before_the_button(
    stored_cohort: str, open_page: Callable[..., AppTest]
) -> None:
    page = open_page("predict")
    assert "3 of 3 samples chosen" in texts(page.caption)
    assert "Still to choose: drugs" in texts(page.info)
    assert page.button(key="predict").disabled


def test_a_typing_error_still_finds_the_drug(ready: AppTest) -> None:
    assert ready.multiselect(key=keys.DRUGS).value == ["trametinib"]
    said = texts(ready.markdown)
    assert "1 prediction" in said and "1 dose (1 uM)" in said and "1 time (24 h)" in said
    assert not ready.button(key="predict").disabled


def test_a_result_is_shown_with_what_was_asked_and_only_for_its_cohort(
    ready: AppTest, three_patients: bytes
) -> None:
    page = predict(ready)
    assert "Result of the last prediction" in texts(page.subheader)
    assert "1 drug (trametinib)" in texts(page.markdown) and "1 dose (1 uM)" in texts(page.markdown)
    shown = "For 1 sample: 1 drug (trametinib); 1 dose (1 uM); 1 time (24 h)."
    page.text_input(key=keys.DOSES).set_value("10 uM").run()
    assert shown in texts(page.markdown)  # the result is still that of 1 uM, and says so
    cohort = read_cohort(three_patients.replace(b"Pt", b"Q"), filename="other.csv")
    other = Store().save_cohort(to_profiles(cohort, load_panel()))
    page.run()
    page.selectbox(key=keys.COHORT_ID).set_value(other).run()
    assert not page.exception and not page.error
    assert "Result of the last prediction" not in texts(page.subheader)


def test_page_and_library_give_the_same_numbers(ready: AppTest, three_patients: bytes) -> None:
    page = predict(ready)
    assert not page.exception and not page.error
    runs = Store().runs()
    assert runs["n_rows"].tolist() == [1]
    shown = Store().load_prediction(runs.index[0])
    cohort = read_cohort(three_patients, filename="three.csv")
    expected = Predictor.load().predict(
        cohort, ["trametinib"], ["1 uM"], ["24 h"], samples=[shown.rows["sample_id"].iloc[0]]
    )
    np.testing.assert_allclose(shown.x_deg, expected.x_deg, atol=1e-5)
    table = next(f.value for f in page.dataframe if "x_deg" in f.value.columns)
    order = np.argsort(-np.abs(expected.x_deg[0]), kind="stable")
    assert table["gene"].tolist()[:5] == expected.genes.index[order[:5]].tolist()


def test_a_request_can_wait_in_the_queue_with_the_very_drug_that_was_chosen(
    ready: AppTest, stored_cohort: str
) -> None:
    ready.text_input(key=keys.SMILES).set_value("CC(=O)Oc1ccccc1C(=O)O.[Na]").run()
    ready.text_input(key=keys.SMILES_NAME).set_value("my compound").run()
    ready.button(key="add-smiles").click().run()
    page = ready.button(key="predict-later").click().run()
    assert not page.exception and not page.error
    assert "my compound" in texts(page.success)
    (job,) = Store().jobs.find()
    assert (job.kind, job.status) == ("predict", "submitted")
    assert job.params["cohort_id"] == stored_cohort and job.params["samples"] == ["Pt1"]
    assert [_drug(entry) for entry in job.params["drugs"]] == [
        DrugLibrary.load().resolve("trametinib"),
        standardise("CC(=O)Oc1ccccc1C(=O)O.[Na]", "my compound"),
    ]


def test_a_structure_can_be_given_as_smiles(ready: AppTest) -> None:
    ready.text_input(key=keys.SMILES).set_value("CC(=O)Oc1ccccc1C(=O)O.[Na]").run()
    ready.text_input(key=keys.SMILES_NAME).set_value("my compound").run()
    assert not ready.error
    ready.button(key="add-smiles").click().run()
    assert ready.multiselect(key=keys.DRUGS).value == ["trametinib", "my compound"]


@pytest.mark.parametrize("smiles", ["not a structure", "C1CC", "C" * 5000])
def test_a_bad_structure_is_explained(ready: AppTest, smiles: str) -> None:
    ready.text_input(key=keys.SMILES).set_value(smiles).run()
    assert not ready.exception
    shown = texts(ready.error)
    assert "How to fix" in shown and "error number" not in shown


@pytest.mark.parametrize(
    ("key", "text"),
    [(keys.DOSES, "-1"), (keys.DOSES, "abc"), (keys.TIMES, "0"), (keys.DOSES, "5 parsec")],
)
def test_a_bad_condition_is_explained(ready: AppTest, key: str, text: str) -> None:
    ready.text_input(key=key).set_value(text).run()
    assert not ready.exception
    assert text.split()[0] in texts(ready.error)
    assert not [button for button in ready.button if button.key == "predict"]


def test_an_unknown_name_offers_a_way_on(ready: AppTest) -> None:
    ready.text_input(key=keys.DRUG_QUERY).set_value("zzqqxxyy123").run()
    assert not ready.exception
    assert "SMILES" in texts(ready.info)


def test_a_request_that_is_too_large_is_refused(ready: AppTest) -> None:
    doses = ", ".join(f"{dose} uM" for dose in range(1, 200))
    times = ", ".join(f"{time} h" for time in range(1, 200))
    ready.text_input(key=keys.DOSES).set_value(doses).run()
    ready.text_input(key=keys.TIMES).set_value(times).run()
    assert "39,601" in texts(ready.error)
    assert ready.button(key="predict").disabled


def test_the_map_shows_every_sample(ready: AppTest) -> None:
    samples = ready.multiselect(key=keys.SAMPLES)
    samples.set_value(samples.options).run()
    page = predict(ready)
    run_id = str(Store().runs().index[0])
    page.session_state[f"view-{run_id}"] = "All samples"
    page.run()
    page.radio(key=f"map-order-{run_id}").set_value("Most different between samples").run()
    assert not page.exception and not page.error
    table = page.dataframe[0].value
    prediction = Store().load_prediction(run_id)
    assert table.index.tolist() == prediction.rows["sample_id"].tolist()
    spread = prediction.x_deg.std(axis=0)
    top = prediction.genes.index[np.argsort(-spread)[:40]]
    assert set(table.columns) == set(top)


def test_a_running_prediction_can_be_cancelled(
    stored_cohort: str, open_page: Callable[..., AppTest]
) -> None:
    page = open_page("predict")
    page.text_input(key=keys.DRUG_QUERY).set_value("trametinib").run()
    hits = page.button_group(key=keys.DRUG_HITS)
    hits.set_value(hits.options[0]).run()
    doses = ", ".join(f"{dose} uM" for dose in range(1, 400))
    page.text_input(key=keys.DOSES).set_value(doses).run()
    page.button(key="predict").click().run()
    assert not [button for button in page.button if button.key == "predict" and not button.disabled]
    page.button(key="cancel").click().run()
    finish(page)
    assert not page.exception and not page.error
    assert "cancelled" in texts(page.info)
    assert Store().runs().empty


def test_results_are_empty_at_first(open_page: Callable[..., AppTest]) -> None:
    page = open_page("results")
    assert not page.exception and not page.error
    assert "No result is stored yet" in texts(page.info)


def test_an_unknown_address_is_explained(open_page: Callable[..., AppTest]) -> None:
    page = open_page("results", run="../../etc/passwd")
    assert not page.exception
    assert "How to fix" in texts(page.error)
    assert "error number" not in texts(page.error)


def test_a_result_reopens_by_its_address_and_is_deleted(
    ready: AppTest, open_page: Callable[..., AppTest]
) -> None:
    predict(ready)
    run_id = str(Store().runs().index[0])
    listed = open_page("results")
    assert listed.dataframe[0].value["address"].tolist() == [run_id]
    assert listed.dataframe[0].value["conditions"].tolist() == ["1 uM, 24 h"]
    page = open_page("results", run=run_id)
    assert not page.exception and not page.error
    assert {metric.label: metric.value for metric in page.metric}["Predictions"] == "1"
    assert run_id in texts(page.caption)
    page.session_state[f"view-{run_id}"] = "Where it comes from"
    page.run()
    assert "trametinib" in page.code[0].value
    facts = dict(page.dataframe[0].value.to_numpy())
    assert facts["model digest"] == Predictor.load().digest
    page.button(key="delete-open-run").click().run()
    page.button(key="confirm-delete-run").click().run()
    assert Store().runs().empty
