"""The Cohort page: uploads that work, are refused, or cannot be read."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
from pages import texts
from streamlit.testing.v1 import AppTest

from app import keys
from xpert_core.cohorts import read_cohort, to_profiles
from xpert_core.genes import load_panel
from xpert_core.paths import assets_dir
from xpert_core.store import Store


def upload(page: AppTest, name: str, content: bytes) -> AppTest:
    """Put a file into the upload box."""
    return page.file_uploader[0].upload(name, content, "application/octet-stream").run()


def test_empty_page_offers_the_example(open_page: Callable[..., AppTest]) -> None:
    page = open_page("cohort")
    assert not page.exception and not page.error
    assert "No cohort is stored yet" in texts(page.info)
    assert [button.label for button in page.download_button][:2] == [
        "Before treatment",
        "Before and after",
    ]


def test_upload_is_reported_and_stored(
    open_page: Callable[..., AppTest], three_patients: bytes
) -> None:
    page = upload(open_page("cohort"), "three.csv", three_patients)
    assert not page.exception and not page.error
    shown = {metric.label: metric.value for metric in page.metric}
    assert shown["Samples"] == "3"
    assert shown["Scale"] == "log2"
    assert int(shown["Matched"].replace(",", "")) > 900
    assert set(page.dataframe[0].value["status"]) <= {
        "alias repaired",
        "date repaired",
        "ambiguous",
        "duplicate",
        "missing",
    }
    page.button(key="save-cohort").click().run()
    assert not page.exception
    assert Store().cohorts()["n_profiles"].tolist() == [3]


def test_names_can_be_kept_out_of_the_database(
    open_page: Callable[..., AppTest], three_patients: bytes
) -> None:
    page = upload(open_page("cohort"), "three.csv", three_patients)
    page.checkbox(key=keys.PSEUDONYMS).check().run()
    assert "Download the key now" in texts(page.warning)
    assert "Download the key (CSV)" in [button.label for button in page.download_button]
    page.button(key="save-cohort").click().run()
    assert not page.exception
    store = Store()
    kept = store.load_cohort(store.cohorts().index[0]).samples
    assert list(kept.index) == ["S001", "S002", "S003"]
    assert list(kept["patient_id"]) == ["P001", "P002", "P003"]


def test_scale_can_be_overridden(open_page: Callable[..., AppTest], three_patients: bytes) -> None:
    page = upload(open_page("cohort"), "three.csv", three_patients)
    page.selectbox(key="scale").set_value("z-score").run()
    assert "You chose: z-score" in texts(page.info)
    assert "z-scores" in texts(page.error)
    assert page.button(key="save-cohort").disabled
    page.selectbox(key="scale").set_value("Detect").run()
    assert not page.error
    assert not page.button(key="save-cohort").disabled


@pytest.mark.parametrize("study", ["letrozole", "doxorubicin"])
def test_too_few_genes_are_refused_with_the_numbers(
    open_page: Callable[..., AppTest], study: str
) -> None:
    path = assets_dir() / "examples" / f"user_upload_paired_breast_{study}.csv"
    page = upload(open_page("cohort"), path.name, path.read_bytes())
    assert not page.exception
    assert "of the 978 landmark genes" in texts(page.error)
    assert page.button(key="save-cohort").disabled
    assert Store().cohorts().empty


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("empty.csv", b"", "empty"),
        ("header.csv", b"patient_id,TP53,EGFR\n", "How to fix"),
        ("nothing.csv", b"patient_id,abc1,abc2\nP1,1,2\nP2,3,4\n", "How to fix"),
        ("text.csv", b"patient_id,TP53,EGFR,MYC\nP1,1.5,high,2\nP2,3,4,5\n", "high"),
        ("data.csv", pickle.dumps({"a": 1}), "pickle"),
        ("cut.h5ad", b"\x89HDF\r\n\x1a\n" + bytes(200), "How to fix"),
    ],
)
def test_unreadable_files_are_explained(
    open_page: Callable[..., AppTest], name: str, content: bytes, said: str
) -> None:
    page = upload(open_page("cohort"), name, content)
    assert not page.exception
    shown = texts(page.error)
    assert said in shown
    assert "Traceback" not in shown and "error number" not in shown
    assert Store().cohorts().empty


def test_names_in_a_file_cannot_fetch_pictures(
    open_page: Callable[..., AppTest], three_patients: bytes
) -> None:
    hostile = three_patients.replace(b"\nPt1,", b"\n![x](http://192.0.2.1/a.png),", 1)
    page = upload(open_page("cohort"), "![x](http://192.0.2.1/b.png).csv", hostile)
    assert not page.exception
    written = [str(element.value) for element in (*page.markdown, *page.caption, *page.subheader)]
    assert not any("![x](" in text for text in written)


def test_tables_on_the_page_hold_no_formulas(
    open_page: Callable[..., AppTest], three_patients: bytes
) -> None:
    hostile = three_patients.replace(b"\nPt1,", b"\n=1+1,", 1)
    page = upload(open_page("cohort"), "three.csv", hostile)
    assert not page.exception and not page.error
    samples = next(f.value for f in page.dataframe if "patient_id" in f.value.columns)
    assert samples["patient_id"].iloc[0] == "'=1+1"


def test_a_stored_cohort_can_be_deleted(
    open_page: Callable[..., AppTest], three_patients: bytes
) -> None:
    page = upload(open_page("cohort"), "three.csv", three_patients)
    page.button(key="save-cohort").click().run()
    page = open_page("cohort")
    page.button(key="delete-cohort").click().run()
    assert len(Store().cohorts()) == 1
    page.button(key="confirm-delete-cohort").click().run()
    assert Store().cohorts().empty


def test_a_stored_cohort_can_be_reopened(
    open_page: Callable[..., AppTest], three_patients: bytes
) -> None:
    cohort = read_cohort(three_patients, filename="three.csv")
    cohort_id = Store().save_cohort(to_profiles(cohort, load_panel()))
    page = open_page("cohort")
    page.button(key="open-cohort").click().run()
    assert not page.exception and not page.error
    assert page.selectbox(key=keys.COHORT_ID).value == cohort_id


def test_deleting_what_is_gone_is_explained(
    open_page: Callable[..., AppTest], three_patients: bytes
) -> None:
    cohort = read_cohort(three_patients, filename="three.csv")
    cohort_id = Store().save_cohort(to_profiles(cohort, load_panel()))
    page = open_page("cohort")
    page.button(key="delete-cohort").click().run()
    Store().delete_cohort(cohort_id)
    page.button(key="confirm-delete-cohort").click().run()
    assert not page.exception
    assert "How to fix" in texts(page.error)


def test_a_database_that_cannot_be_opened_is_explained(
    open_page: Callable[..., AppTest], folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocker = folders / "a-file"
    blocker.write_text("not a folder")
    monkeypatch.setenv("XPERT_DATA_DIR", str(blocker))
    page = open_page("cohort")
    assert not page.exception
    assert "How to fix" in texts(page.error)
    assert "error number" not in texts(page.error)
