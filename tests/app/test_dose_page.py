"""The Dose and time page on a measured series and on a cohort."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from model_data import tiny_checkpoint
from pages import texts
from streamlit.testing.v1 import AppTest

from app import keys
from xpert_core.cohorts import read_cohort, to_profiles
from xpert_core.genes import load_panel
from xpert_core.prediction.models import shipped_default
from xpert_core.store import Store

SECTIONS = ["Dose curves", "Heat map", "Components", "Dose × time", "Sign reversals", "Measured"]


def finish(page: AppTest, name: str, limit_s: float = 90.0) -> AppTest:
    """Redraw the page until its task is over."""
    end = time.monotonic() + limit_s
    while f"task-{name}" in page.session_state and time.monotonic() < end:
        time.sleep(0.3)
        page.run()
    return page


@pytest.fixture
def done(open_page: Callable[..., AppTest]) -> AppTest:
    """Trametinib in A375, predicted at few conditions."""
    page = open_page("dose_time")
    page.text_input(key=keys.DOSE_TIMES).set_value("6, 24 h").run()
    page.button(key="start-dose-time").click().run()
    return finish(page, "dose-time")


def test_every_section_of_a_measured_series(done: AppTest, tmp_path: Path) -> None:
    assert not done.exception and not done.error
    assert "This drug was in the training data" in texts(done.info)
    assert "0 at several times" in texts(done.info)
    said = {}
    for section in SECTIONS:
        page = done.segmented_control(key=keys.DOSE_SECTION).set_value(section).run()
        assert not page.exception and not page.error, section
        said[section] = texts(page.caption)
        assert page.dataframe, section
    assert "Hollow diamonds" in said["Dose curves"]
    assert "Hatched" in said["Dose × time"]
    measured = done.dataframe[0].value
    assert {"pearson", "pearson_line", "part"} <= set(measured.columns) and len(measured) == 6
    assert f"Model {shipped_default()}, checkpoint" in said["Measured"]
    assert "trained at 6 and 24 h only" in done.text_input(key=keys.DOSE_TIMES).help
    tiny_checkpoint(tmp_path / "tiny")
    done.session_state[keys.MODEL] = Store().registry.register(tmp_path / "tiny")
    page = done.run()
    assert "not of the choices above and the model in use" in texts(page.caption)
    assert "trained at" not in page.text_input(key=keys.DOSE_TIMES).help


def test_genes_and_sets_are_checked(done: AppTest) -> None:
    page = done.text_input(key=keys.DOSE_SET).set_value("CDK1, NOGENE").run()
    assert "'NOGENE' is not a landmark gene" in texts(page.error)
    page = page.text_input(key=keys.DOSE_SET).set_value("cdk1; CCNB2").run()
    assert not page.error
    assert "set of 2 genes" in set(page.dataframe[0].value["series"])


def test_choices_that_make_no_request_are_explained(open_page: Callable[..., AppTest]) -> None:
    page = open_page("dose_time")
    page.text_input(key=keys.DOSE_DOSES).set_value("ten uM").run()
    assert "not a number with a unit" in texts(page.error)
    assert page.button(key="start-dose-time").disabled
    page.radio(key=keys.DOSE_SOURCE).set_value("A stored cohort").run()
    assert "No cohort is stored yet" in texts(page.info)


def test_a_cohort_over_dose(three_patients: bytes, open_page: Callable[..., AppTest]) -> None:
    cohort = read_cohort(three_patients, filename="three.csv")
    Store().save_cohort(to_profiles(cohort, load_panel()))
    page = open_page("dose_time")
    page.radio(key=keys.DOSE_SOURCE).set_value("A stored cohort").run()
    page.text_input(key=keys.DOSE_DRUG).set_value("trametinib").run()
    page.text_input(key=keys.DOSE_DOSES).set_value("0.1, 1, 10 uM").run()
    page.text_input(key=keys.DOSE_TIMES).set_value("24 h").run()
    assert "9 predictions" in texts(page.markdown)
    page.button(key="start-dose-time").click().run()
    page = finish(page, "dose-time")
    assert not page.exception and not page.error
    assert "one standard deviation over samples" in texts(page.caption)
    page = page.segmented_control(key=keys.DOSE_SECTION).set_value("Dose × time").run()
    assert "at least two times" in texts(page.error)
    page = page.segmented_control(key=keys.DOSE_SECTION).set_value("Measured").run()
    assert "Nothing was measured" in texts(page.info)
