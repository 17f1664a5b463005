"""The Models page: look, compare, choose, export, import, rename, delete."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
from model_data import not_better_card, tiny_checkpoint
from pages import texts
from streamlit.testing.v1 import AppTest

from app import keys, services
from xpert_core.model.bundle import export_bundle, opened_bundle
from xpert_core.prediction.models import shipped_default
from xpert_core.store import Store


@pytest.fixture
def tiny(tmp_path: Path) -> str:
    """Id of a registered model."""
    tiny_checkpoint(tmp_path / "tiny")
    return Store().registry.register(tmp_path / "tiny")


def upload(page: AppTest, name: str, content: bytes) -> AppTest:
    return page.file_uploader[0].upload(name, content, "application/octet-stream").run()


def test_the_shipped_model_shows_its_card(open_page: Callable[..., AppTest]) -> None:
    page = open_page("models")
    assert not page.exception and not page.error
    table = page.dataframe[0].value
    assert table["Model"].tolist() == [shipped_default()]
    assert table["Default"].tolist() == ["yes"]
    assert "Licence: mit" in texts(page.markdown).replace("**", "")
    assert "On new drugs" in texts(page.markdown)
    assert page.button(key="delete-model").disabled and page.button(key="set-default").disabled


def test_a_model_becomes_the_default_and_predicts(
    open_page: Callable[..., AppTest], tiny: str
) -> None:
    page = open_page("models")
    page.selectbox(key=keys.MODEL_SHOWN).set_value(tiny).run()
    page.button(key="set-default").click().run()
    assert not page.exception and not page.error
    assert page.dataframe[0].value.set_index("Model").loc["tiny", "Default"] == "yes"
    home = open_page("home")
    assert "**tiny**" in texts(home.markdown)
    page.button(key="delete-model").click().run()
    page.button(key="confirm-delete-model").click().run()
    assert not page.exception and not page.error
    assert page.dataframe[0].value["Model"].tolist() == [shipped_default()]
    assert Store().registry.default().id == shipped_default()


def test_a_model_no_better_than_the_mean_cannot_be_the_default(
    open_page: Callable[..., AppTest], tmp_path: Path
) -> None:
    tiny_checkpoint(tmp_path / "worse", name="worse", card=not_better_card())
    worse = Store().registry.register(tmp_path / "worse", kind="fine-tuned")
    page = open_page("models")
    page.selectbox(key=keys.MODEL_SHOWN).set_value(worse).run()
    assert page.button(key="set-default").disabled
    assert "mean change" in texts(page.warning)
    assert "without scores" in texts(page.warning)


def test_models_are_compared(open_page: Callable[..., AppTest], tiny: str) -> None:
    page = open_page("models")
    page.multiselect(key=keys.MODELS_COMPARED).set_value([tiny, shipped_default()]).run()
    assert not page.exception and not page.error
    table = page.dataframe[-1].value.set_index(["Tested on", "Read-out", "Model or baseline"])
    line = table.loc[("test drugs", "log2 change (level 3)", "ridge")]
    assert line["tiny"].startswith("0.300") and line[shipped_default()].startswith("0.264")
    assert "no sign of a better model" in texts(page.warning)


def test_a_file_is_imported_and_shown(open_page: Callable[..., AppTest], tmp_path: Path) -> None:
    digest = tiny_checkpoint(tmp_path / "made", name="imported model")
    export_bundle(tmp_path / "made", tmp_path / "made.xpert")
    page = upload(open_page("models"), "made.xpert", (tmp_path / "made.xpert").read_bytes())
    assert not page.exception and not page.error
    assert "imported model was checked" in texts(page.success)
    kept = Store().registry.get("imported model")
    assert (kept.digest, kept.kind) == (digest, "imported")
    assert page.selectbox(key=keys.MODEL_SHOWN).value == kept.id


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("model.pkl", pickle.dumps({"w": [1.0]}), "import-published"),
        ("table.csv", b"a,b\n1,2\n", "no XPert model file"),
    ],
    ids=["pickle", "table"],
)
def test_other_files_are_explained(
    open_page: Callable[..., AppTest], name: str, content: bytes, words: str
) -> None:
    page = upload(open_page("models"), name, content)
    assert not page.exception
    assert words in texts(page.error) and "error number" not in texts(page.error)
    assert [m.kind for m in Store().registry.list()] == ["shipped"]


def test_a_model_is_renamed(open_page: Callable[..., AppTest], tiny: str) -> None:
    page = open_page("models")
    page.selectbox(key=keys.MODEL_SHOWN).set_value(tiny).run()
    page.text_input(key=f"name-{tiny}").set_value("of the ward").run()
    page.button(key="save-name").click().run()
    assert not page.exception and not page.error
    assert Store().registry.get(tiny).name == "of the ward"
    page.text_input(key=f"name-{tiny}").set_value(shipped_default()).run()
    page.button(key="save-name").click().run()
    assert "Another model" in texts(page.error)


def test_the_download_is_what_the_import_takes(tiny: str, tmp_path: Path) -> None:
    from app.views import models

    content = models.bundle_bytes(Store().registry, tiny)
    (tmp_path / "x.xpert").write_bytes(content)
    with opened_bundle(tmp_path / "x.xpert") as (_, manifest):
        assert manifest.name == "tiny"


def test_a_card_from_elsewhere_fetches_no_pictures(
    open_page: Callable[..., AppTest], tmp_path: Path
) -> None:
    picture = "![x](http://192.0.2.1/a.png)"
    card = {"limits": [picture], "licence": picture, "comparison": {"why": picture}}
    tiny_checkpoint(tmp_path / "bad", name=picture, card=card)
    bad = Store().registry.register(tmp_path / "bad", kind="imported")
    page = open_page("models")
    page.selectbox(key=keys.MODEL_SHOWN).set_value(bad).run()
    assert not page.exception and not page.error
    written = [str(e.value) for e in (*page.markdown, *page.caption, *page.warning)]
    assert not any("![x](" in text for text in written)


def test_few_models_are_kept_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "_warm_up", lambda loaded: None)
    services.open_predictor.clear()
    folders = []
    for seed in range(services.MAX_MODELS + 1):
        digest = tiny_checkpoint(tmp_path / str(seed), seed=seed)
        folders.append((digest, tmp_path / str(seed)))
    loaded = [services.open_predictor(*folder) for folder in folders]
    assert services.open_predictor(*folders[-1]) is loaded[-1]
    assert services.open_predictor(*folders[0]) is not loaded[0]
    services.open_predictor.clear()
