"""Two users of one server: pages show, open and change what is theirs or shared, nothing else."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import streamlit.runtime.context as context
from model_data import tiny_checkpoint
from pages import texts
from streamlit.testing.v1 import AppTest

from app import keys, users
from xpert_core.cohorts import example_path, read_cohort, to_profiles
from xpert_core.genes import load_panel
from xpert_core.prediction import Prediction, Predictor
from xpert_core.prediction.models import shipped_default
from xpert_core.store import Store

MAIN_SCRIPT = Path(__file__).resolve().parents[2] / "app" / "main.py"
HEADER = "X-Remote-User"
PAGES = ("cohort", "predict", "drugs", "results", "models", "jobs")


class Visitor:
    """Sends the header of the reverse proxy with every run of a page."""

    def __init__(self, open_page: Callable[..., AppTest]) -> None:
        self.headers: list[tuple[str, str]] = []
        self._open_page = open_page

    def be(self, *names: str) -> None:
        self.headers = [(HEADER, name) for name in names]

    def open(self, user: str, page: str = "home", **query: str) -> AppTest:
        self.be(user)
        return self._open_page(page, **query)


@pytest.fixture
def visitor(open_page: Callable[..., AppTest], monkeypatch: pytest.MonkeyPatch) -> Visitor:
    monkeypatch.setenv(users.HEADER_VARIABLE, HEADER)
    made = Visitor(open_page)
    # What a browser's connection carries; st.context.headers reads it.
    monkeypatch.setattr(
        context,
        "_get_client_context",
        lambda: SimpleNamespace(headers=made.headers, cookies={}, remote_ip="127.0.0.1"),
    )
    return made


@pytest.fixture
def annas(three_patients: bytes, prediction: Prediction, tmp_path: Path) -> dict[str, str]:
    """Ids of a cohort, a result and a model that Anna has stored."""
    store = Store().for_owner("anna")
    cohort = read_cohort(three_patients, filename="annas.csv")
    cohort_id = store.save_cohort(to_profiles(cohort, load_panel()))
    tiny_checkpoint(tmp_path / "made", name="annas model")
    return {
        "cohort": cohort_id,
        "run": store.save_prediction(prediction, cohort_id, title="annas result"),
        "model": store.registry.register(tmp_path / "made"),
        "job": store.jobs.submit("predict", {"cohort_id": cohort_id}, title="annas job"),
    }


@pytest.fixture(scope="module")
def prediction() -> Prediction:
    """A prediction for one patient."""
    cohort = read_cohort(example_path())
    one = [str(cohort.samples.index[0])]
    return Predictor.load().predict(cohort, ["trametinib"], ["1 uM"], ["24 h"], samples=one)


def said(page: AppTest) -> str:
    """Everything a page shows, tables and selectors too."""
    tables = [str(frame.value.to_dict()) for frame in page.dataframe]
    options = [str(box.options) for box in (*page.selectbox, *page.multiselect)]
    shown = (*page.markdown, *page.caption, *page.info, *page.error, *page.success, *page.title)
    return "\n".join([texts(shown), *tables, *options])


def test_no_page_shows_what_is_anothers(visitor: Visitor, annas: dict[str, str]) -> None:
    page = visitor.open("bert")
    for name in PAGES:
        page.switch_page(f"views/{name}.py").run()
        assert not page.exception and not page.error, name
        assert "annas" not in said(page), name
        assert not any(key in said(page) for key in annas.values()), name
    page = visitor.open("anna")
    for name in ("cohort", "results", "models", "jobs"):
        page.switch_page(f"views/{name}.py").run()
        assert "annas" in said(page), name
    # Another user's result looks like none at its address.
    hidden = visitor.open("bert", "results", run=annas["run"])
    absent = visitor.open("bert", "results", run="0" * 16)
    assert "no stored prediction" in texts(hidden.error)
    assert texts(hidden.error).replace(annas["run"], "") == texts(absent.error).replace(
        "0" * 16, ""
    )
    assert not hidden.metric
    assert visitor.open("anna", "results", run=annas["run"]).metric


def share(page: AppTest, kind: str, key: str, *, on: bool = True) -> None:
    page.toggle(key=f"share-{kind}-{key}").set_value(on).run()
    assert not page.exception and not page.error


def test_a_shared_result_can_be_read_and_not_deleted(
    visitor: Visitor, annas: dict[str, str]
) -> None:
    own = visitor.open("anna", "results")
    share(own, "result", annas["run"])
    assert Store().runs()["shared"].tolist() == [True]
    listed = visitor.open("bert", "results")
    assert listed.dataframe[0].value["sharing"].tolist() == ["by anna"]
    assert listed.button(key="delete-run").disabled and not listed.toggle
    opened = visitor.open("bert", "results", run=annas["run"])
    assert not opened.exception and not opened.error
    assert opened.button(key="delete-open-run").disabled
    visitor.be("anna")
    share(own, "result", annas["run"], on=False)
    assert visitor.open("bert", "results", run=annas["run"]).error


def test_a_shared_cohort_and_model_give_results_of_ones_own(
    visitor: Visitor, annas: dict[str, str]
) -> None:
    share(visitor.open("anna", "cohort"), "cohort", annas["cohort"])
    page = visitor.open("bert", "cohort")
    assert "shared by anna" in said(page)
    assert page.button(key="delete-cohort").disabled
    page.switch_page("views/predict.py").run()
    assert not [box for box in page.selectbox if box.key == keys.MODEL]  # one model: no choice
    models = visitor.open("anna", "models")
    models.selectbox(key=keys.MODEL_SHOWN).set_value(annas["model"]).run()
    share(models, "model", annas["model"])
    visitor.be("bert")
    page.run()
    assert page.selectbox(key=keys.MODEL).value == shipped_default()
    page.selectbox(key=keys.MODEL).set_value(annas["model"]).run()
    page.multiselect(key=keys.SAMPLES).set_value(["Pt1"]).run()
    page.text_input(key=keys.DRUG_QUERY).set_value("trametinib").run()
    hits = page.button_group(key=keys.DRUG_HITS)
    hits.set_value(hits.options[0]).run()
    page.button(key="predict").click().run()
    deadline = time.monotonic() + 60
    while keys.TASK in page.session_state and time.monotonic() < deadline:
        time.sleep(0.2)
        page.run()
    assert not page.exception and not page.error
    runs = Store().runs().set_index("owner")
    assert set(runs.index) == {"anna", "bert"}
    assert runs.loc["bert", "model"] == "annas model"
    page.switch_page("views/results.py").run()
    assert "annas result" not in said(page)
    page.switch_page("views/models.py").run()
    assert "by anna" in said(page)
    page.selectbox(key=keys.MODEL_SHOWN).set_value(annas["model"]).run()
    assert page.button(key="delete-model").disabled and not page.toggle


@pytest.mark.parametrize(
    ("names", "match"),
    [
        ((), "names none"),
        (("",), "names none"),
        (("local",), "cannot be used"),
        (("a" * 300,), "cannot be used"),
        (("anna", "bert"), "several users"),
    ],
)
def test_without_an_identity_nothing_is_shown(
    visitor: Visitor, names: tuple[str, ...], match: str
) -> None:
    visitor.be(*names)
    page = AppTest.from_file(str(MAIN_SCRIPT), default_timeout=120).run()
    assert not page.exception
    assert match in texts(page.error) and "How to fix" in texts(page.error)
    assert not page.title and not page.button and not page.dataframe


def test_a_login_counts_before_the_header(visitor: Visitor) -> None:
    visitor.be("anna")
    page = AppTest.from_file(str(MAIN_SCRIPT), default_timeout=120)
    page.user = {"is_logged_in": False}
    page.run()
    assert "not signed in" in texts(page.error)
    assert [button.key for button in page.button] == ["sign-in"]
    page.user = {"is_logged_in": True, "email": "Bert@Clinic.org", "email_verified": True}
    page.run()
    assert not page.error and page.title
    assert "bert@clinic.org" in texts(page.sidebar.caption)
    page.user = {"is_logged_in": True, "email": "anna", "email_verified": False}
    page.run()
    assert "not verified" in texts(page.error)
    page.user = {"is_logged_in": True, "sub": "1234"}
    page.run()
    assert "names none" in texts(page.error)


def test_the_claim_that_names_the_user_can_be_chosen(
    visitor: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(users.CLAIM_VARIABLE, "sub")
    page = AppTest.from_file(str(MAIN_SCRIPT), default_timeout=120)
    page.user = {"is_logged_in": True, "sub": "1234", "email": "x@y", "email_verified": False}
    page.run()
    assert "1234" in texts(page.sidebar.caption)


def test_a_single_user_sees_nothing_of_sharing(
    open_page: Callable[..., AppTest], three_patients: bytes
) -> None:
    cohort = read_cohort(three_patients, filename="three.csv")
    Store().save_cohort(to_profiles(cohort, load_panel()))
    for name in ("cohort", "models"):
        page = open_page(name)
        assert not page.exception and not page.error
        assert not page.toggle
        assert "shared by" not in said(page)


def test_outside_a_page_a_configured_server_names_nobody(visitor: Visitor) -> None:
    visitor.headers = []
    with pytest.raises(users.SignInError):
        users.current_owner()
