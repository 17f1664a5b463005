"""The Molecule page on the shipped model."""

from __future__ import annotations

import time
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from model_data import tiny_checkpoint
from pages import texts
from streamlit.testing.v1 import AppTest

from app import keys, services
from app.components.molecule_3d import SCRIPT
from xpert_core.cohorts import read_cohort, to_profiles
from xpert_core.drugs import standardise
from xpert_core.explanation.atom_report import AtomExplanation
from xpert_core.explanation.atoms import atom_stability, cell_stability
from xpert_core.files import sha256_file
from xpert_core.genes import load_panel
from xpert_core.store import Store

MAIN = Path(__file__).resolve().parents[2] / "app" / "main.py"


@pytest.fixture
def page(three_patients: bytes, open_page: Callable[..., AppTest]) -> AppTest:
    """The page with a stored cohort of three patients, one of them chosen."""
    cohort = read_cohort(three_patients, filename="three.csv")
    Store().save_cohort(to_profiles(cohort, load_panel()))
    opened = open_page("molecule")
    return opened.multiselect(key=keys.ATOM_SAMPLES).set_value(["Pt1"]).run()


def choose(page: AppTest, name: str) -> AppTest:
    """Click one of the drugs with a known pharmacophore."""
    return page.button_group(key=keys.ATOM_EXAMPLE).set_value(name).run()


def explain(page: AppTest, limit_s: float = 90.0) -> AppTest:
    """Press Explain and redraw the page until its task is over."""
    page.button(key="explain-atoms").click().run()
    end = time.monotonic() + limit_s
    while keys.ATOM_TASK in page.session_state and time.monotonic() < end:
        time.sleep(0.3)
        page.run()
    return page


def test_shows_the_scores_with_words_that_follow_from_them(page: AppTest, tmp_path: Path) -> None:
    assert "Still to choose: a drug" in texts(page.info)
    assert page.button(key="explain-atoms").disabled
    explain(choose(page, "vorinostat"))
    assert not page.exception and not page.error
    found: AtomExplanation = page.session_state[keys.ATOMS]
    assert list(found.attention.samples.index) == ["Pt1"]
    said = texts(page.markdown)
    assert f"{found.attention.on_atoms:.0%} of the attention goes to the 19 atoms" in said
    assert "hydroxamic acid" in said and "not which atoms bind the target" in said
    own = found.attention.provenance
    checkpoint = f"Model {own['model_name']}, checkpoint {own['model_digest'][:12]}"
    assert checkpoint in texts(page.caption)
    table = page.dataframe[0].value
    assert len(table) == 19 and table["Attention"].sum() == pytest.approx(1)
    page.button_group(key=keys.ATOM_SCORE).set_value("leave_one_out").run()
    assert "is masked" in texts(page.caption)
    # Another drug does not change what is shown until it is asked for.
    choose(page, "gefitinib")
    assert "vorinostat" in texts(page.subheader)
    # Another model does.
    tiny_checkpoint(tmp_path / "tiny")
    page.session_state[keys.MODEL] = Store().registry.register(tmp_path / "tiny")
    page.run()
    assert not page.exception and not page.error
    assert "vorinostat" not in texts(page.subheader) and checkpoint not in texts(page.caption)


def test_other_models_are_compared(page: AppTest, tmp_path: Path) -> None:
    assert not [box for box in page.multiselect if box.key == keys.ATOM_OTHERS]
    tiny_checkpoint(tmp_path / "tiny")
    other_id = Store().registry.register(tmp_path / "tiny")
    choose(page, "vorinostat")
    page.multiselect(key=keys.ATOM_OTHERS).set_value([other_id]).run()
    explain(page)
    page.session_state["atom-tabs"] = "Stability over models"
    page.run()
    assert not page.exception and not page.error
    own, other = page.session_state[keys.ATOM_RUNS]
    expected = atom_stability([own, other])
    assert other.provenance["model_name"] == "tiny"
    said = texts(page.caption)
    assert f"mean cosine {expected.mean_cosine:.3f}" in said
    assert f"mean CV over atoms {expected.mean_cv:.3f}" in said
    assert len(page.dataframe[0].value) == 19


def test_an_explanation_in_the_background_is_a_job(page: AppTest) -> None:
    assert page.button(key="explain-later").disabled
    choose(page, "vorinostat")
    page.button(key="explain-later").click().run()
    assert not page.exception and not page.error
    assert "Waiting in the queue: Atoms of vorinostat" in texts(page.success)
    job = Store().jobs.find()[0]
    assert job.kind == "explain"
    assert job.params["what"] == "atoms" and job.params["drug"] == "vorinostat"
    assert job.params["samples"] == ["Pt1"] and job.params["dose"] > 0


def test_says_how_far_samples_agree(page: AppTest) -> None:
    page.multiselect(key=keys.ATOM_SAMPLES).set_value(["Pt1", "Pt2"]).run()
    explain(choose(page, "vorinostat"))
    page.session_state["atom-tabs"] = "Samples"
    page.run()
    found = cell_stability(page.session_state[keys.ATOMS].attention)
    assert f"cosine {found.mean_cosine:.3f}" in texts(page.caption)


def test_the_script_that_draws_in_space_is_served_with_its_licence() -> None:
    config = tomllib.loads((MAIN.parents[1] / ".streamlit" / "config.toml").read_text())
    assert config["server"]["enableStaticServing"] is True
    static = MAIN.parent / "static"
    assert (
        sha256_file(static / SCRIPT) in (MAIN.parents[1] / "docs" / "explanations.md").read_text()
    )
    assert "BSD-3-Clause" in (static / "3Dmol-LICENSE.txt").read_text()


def test_agents_without_atoms_say_why_and_draw_no_scores(page: AppTest) -> None:
    page.text_input(key=keys.DRUG_QUERY).set_value("nivolumab").run()
    hits = page.button_group(key=keys.DRUG_HITS)
    hits.set_value(hits.options[0]).run()
    assert "has no chemical structure" in texts(page.info)
    assert page.button(key="explain-atoms").disabled
    impossible = standardise("C1#CC1", "cyclopropyne")
    page.session_state[keys.DRUG_CHOICES] = {"cyclopropyne": impossible}
    page.session_state[keys.DRUGS] = ["cyclopropyne"]
    explain(page.run())
    assert "saw no atoms of cyclopropyne" in texts(page.error)
    assert "No 3D shape could be found" in texts(page.error)
    assert "The formula alone" in texts(page.markdown) and keys.ATOMS not in page.session_state


def test_genes_that_are_none_and_a_cancel(page: AppTest) -> None:
    choose(page, "gefitinib")
    page.text_input(key=keys.ATOM_GENES).set_value("CDK4, NOGENE").run()
    assert "NOGENE" in texts(page.error)
    page.text_input(key=keys.ATOM_GENES).set_value("CDK4").run()
    assert not page.error
    page.multiselect(key=keys.ATOM_SAMPLES).set_value(["Pt1", "Pt2", "Pt3"]).run()
    with services.engine_lock():  # so that it cannot be over before it is cancelled
        page.button(key="explain-atoms").click().run()
        task = page.session_state[keys.ATOM_TASK]
        task.cancel()
        assert task.wait(30)
        page.run()
    assert "was cancelled" in texts(page.info) and keys.ATOMS not in page.session_state
