"""The Home page: limits, example, state of the model."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from pages import texts
from streamlit.testing.v1 import AppTest

from app import keys, services
from xpert_core.paths import assets_dir
from xpert_core.store import Store


def test_home_states_limits_and_scores(open_page: Callable[..., AppTest]) -> None:
    page = open_page()
    assert not page.exception and not page.error
    said = texts((*page.markdown, *page.caption))
    assert "not for diagnosis or treatment" in said
    scores = page.dataframe[0].value
    assert {"XPert"} < set(scores["Model"])
    assert scores["PCC"].between(-1, 1).all()


def test_one_click_loads_the_example(open_page: Callable[..., AppTest]) -> None:
    page = open_page()
    page.button(key="load-example").click().run()
    assert not page.exception and not page.error
    assert Store().cohorts()["n_profiles"].tolist() == [51]
    assert page.multiselect(key=keys.DRUGS).value == ["trametinib", "vemurafenib"]
    assert len(page.multiselect(key=keys.SAMPLES).value) == 51
    assert "102 predictions" in texts(page.markdown)


def test_a_missing_model_is_explained_and_the_rest_stands(
    open_page: Callable[..., AppTest], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assets = tmp_path / "assets"
    shutil.copytree(
        assets_dir(), assets, ignore=shutil.ignore_patterns("models", "data"), symlinks=True
    )
    monkeypatch.setenv("XPERT_ASSETS", str(assets))
    services.open_predictor.clear()
    try:
        page = open_page()
        assert not page.exception
        assert "How to fix" in texts(page.error)
        assert page.button(key="load-example")
    finally:
        services.open_predictor.clear()
