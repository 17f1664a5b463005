"""The Resistance page: groups, comparison, tabs, refusals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from model_data import tiny_checkpoint
from pages import texts
from resistance_data import write_pairs, write_responders

from app import keys
from xpert_core.cohorts import read_cohort, to_pairs, to_profiles
from xpert_core.explanation.genes import gene_summary
from xpert_core.genes import load_panel
from xpert_core.store import Store


def keep(folder: Path, n: int) -> None:
    path = write_responders(folder / "melanoma.csv", n)
    Store().save_cohort(to_profiles(read_cohort(path), load_panel()))


def wait(page: Any, key: str = "resistance_task") -> None:
    """Let the task of the page finish."""
    state = page.session_state
    task = state[key] if key in state else None  # noqa: SIM401
    if task is not None:
        assert task.wait(240)
        page.run()


def test_without_a_cohort_the_page_says_where_to_go(open_page) -> None:
    page = open_page("resistance")
    assert not page.exception
    assert "No cohort is stored yet" in texts(page.info)


def test_two_groups_are_compared(open_page, tmp_path: Path) -> None:
    keep(tmp_path, 4)
    page = open_page("resistance")
    assert page.selectbox[1].value == "response"
    assert page.button(key="compare").disabled
    assert "Still to choose: values of group A and B" in texts(page.info)
    page.multiselect[0].set_value(["PRCR"])
    page.multiselect[1].set_value(["PD"]).run()
    assert "4 patients in A (PRCR) and 4 in B (PD)" in texts(page.markdown)
    page.button(key="compare").click().run()
    wait(page)
    assert not page.exception and not page.error
    assert {m.label: m.value for m in page.metric}["Patients, A and B"] == "4 and 4"
    assert "is found with 80 % chance only" in texts(page.info)
    assert not page.warning  # 70 relabellings: p can be 0.014, under q 0.05
    table = page.dataframe[0].value
    assert len(table) == 978 and {"gene", "permutation_q", "hedges_g"} <= set(table.columns)
    assert "not what causes resistance" in texts(page.caption)
    cohort, rows, digest = page.session_state["resistance_material"][0]
    assert cohort == page.session_state["cohort_id"]
    assert len(rows) == 8 and len(digest) == 64
    model = page.session_state["resistance"].provenance["model_name"]
    assert f"Model {model}, checkpoint {digest[:12]}" in texts(page.caption)
    page.session_state["resistance-tabs"] = "Nulls"
    page.run()
    assert not page.exception and not page.error
    said = texts(page.caption)
    assert "not which genes do" in said and "best of many" in said and "in both networks" in said
    assert [len(frame.value) for frame in page.dataframe] == [70, 70, 978]
    page.session_state["resistance-tabs"] = "Gene attention"
    page.run()
    page.selectbox(key=keys.GENE_KIND).set_value("rollout").run()
    assert not page.exception and not page.error
    assert "rolled out over all base layers; mean over 8 samples" in texts(page.caption)
    shown = page.dataframe[0].value
    expected = gene_summary(page.session_state["resistance_material"][1].trained, "rollout")
    assert list(shown["gene"]) == list(expected.index)
    assert np.allclose(shown["cv (sd / mean)"], expected["cv"], atol=1e-5)
    tiny_checkpoint(tmp_path / "tiny")
    page.session_state["model"] = Store().registry.register(tmp_path / "tiny")
    page.run()
    assert not page.exception and not page.metric and not page.subheader


def test_groups_that_are_too_small_are_refused(open_page, tmp_path: Path) -> None:
    keep(tmp_path, 2)
    page = open_page("resistance")
    page.multiselect[0].set_value(["PRCR"])
    page.multiselect[1].set_value(["PD"]).run()
    assert "Group A (PRCR) has 2 patients: too few for a test" in texts(page.error)
    assert not page.exception


def under_treatment(open_page) -> Any:
    page = open_page("resistance")
    page.segmented_control(key="resistance_mode").set_value(
        "Under treatment (before and after)"
    ).run()
    return page


def test_without_pairs_the_page_says_where_to_go(open_page) -> None:
    page = under_treatment(open_page)
    assert not page.exception and not page.error
    assert "No paired cohort is stored yet" in texts(page.info)


def test_changes_under_treatment_are_compared(open_page, tmp_path: Path) -> None:
    pairs = to_pairs(read_cohort(write_pairs(tmp_path / "pairs.csv")), load_panel())
    Store().pairs.save(pairs)
    page = under_treatment(open_page)
    assert page.button(key="compare-changes").disabled
    page.multiselect[0].set_value(["PRCR"])
    page.multiselect[1].set_value(["SD"]).run()
    assert "Group B (SD) has 2 patients: too few for a test" in texts(page.error)
    page.multiselect[1].set_value(["SD", "PD"]).run()
    assert "3 patients in A (PRCR) and 4 in B (SD, PD)" in texts(page.markdown)
    page.button(key="compare-changes").click().run()
    wait(page, "changes_task")
    assert not page.exception and not page.error
    found = page.session_state["changes"]
    shown = {m.label: m.value for m in page.metric}
    assert shown["Patients, A and B"] == "3 and 4"
    by_test = {name.split("Differ, ")[1]: v for name, v in shown.items() if "Differ, " in name}
    decides = {name for name in by_test if name.endswith(" (decides)")}
    assert decides == {f"{found.difference.statistic} (decides)"}
    counts = {name.removesuffix(" (decides)"): int(value) for name, value in by_test.items()}
    assert counts == found.passing_by
    assert counts[found.difference.statistic] == len(found.difference.passing)
    said = texts(page.markdown)
    assert found.sentence in said and "with permuted labels it is" in said
    assert "Only the counts at equal numbers" in texts(page.caption)
    assert "does not show that a gene causes resistance" in texts(page.caption)
    table = page.dataframe[0].value
    assert len(table) == 978 and {"gene", "difference", "change_a"} <= set(table.columns)
    page.selectbox(key="changes_table").set_value("Change in B (SD, PD)").run()
    assert not page.exception
    assert page.dataframe[0].value["gene"].tolist() == found.in_b.index.tolist()
