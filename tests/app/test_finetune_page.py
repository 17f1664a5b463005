"""The Fine-tune page: pairs, checks, the job, and what it came to."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice

import pytest
from pages import texts
from streamlit.testing.v1 import AppTest

from app import keys
from xpert_core.cohorts import paired_example_path, read_cohort, to_pairs
from xpert_core.finetuning.compare import (
    BASE,
    FINETUNED,
    LABELS,
    MEAN,
    MLP,
    SCRATCH,
    Comparison,
    Difference,
    Interval,
    ModelScore,
)
from xpert_core.genes import load_panel
from xpert_core.store import Store
from xpert_core.store.job_records import WorkerName
from xpert_core.store.models import LOCAL_OWNER

Open = Callable[..., AppTest]


def rows(patients: int) -> bytes:
    """The first patients of the example."""
    with paired_example_path().open("rb") as stream:
        return b"".join(islice(stream, 1 + 2 * patients))


def upload(page: AppTest, content: bytes, name: str = "pairs.csv") -> AppTest:
    page.file_uploader[0].upload(name, content, "text/csv").run()
    return page


def comparison(gain: float) -> Comparison:
    """Scores of a finished comparison whose fine-tuned model gains `gain` over the mean change."""
    values = {FINETUNED: 0.2 + gain, BASE: 0.05, SCRATCH: 0.1, MEAN: 0.2, MLP: 0.18}
    scores = tuple(
        ModelScore(m, LABELS[m].format(method="adapters"), Interval(v, v - 0.05, v + 0.05),
                   Interval(0.0, -0.1, 0.1))
        for m, v in values.items()
    )  # fmt: skip
    differences = tuple(
        Difference(m, Interval(values[FINETUNED] - v, values[FINETUNED] - v - 0.02,
                               values[FINETUNED] - v + 0.02))
        for m, v in values.items() if m != FINETUNED
    )  # fmt: skip
    better = gain > 0.02
    return Comparison("adapters", "log2 change (level 3)", 5, 0, 43, 43, {"nivolumab": 43}, scores,
                      differences, {}, (), "It is better." if better else "It is not better.",
                      better)  # fmt: skip


def finished(gain: float, model_id: str, owner: str = LOCAL_OWNER) -> str:
    """A job that is done; returns its id."""
    store, worker = Store(), WorkerName("here", 1, "e" * 16)
    job_id = store.jobs.submit("finetune", {}, title="Fine-tuning: nivolumab", owner=owner)
    claim = store.claims.claim(worker)
    assert claim is not None
    method = {"method": "adapters", "trained": 10, "parameters": 1000, "share": 0.01}
    result = {
        "model_id": model_id, "digest": "d", "best_epoch": 3, "method": method,
        "comparison": comparison(gain).to_dict(), "notes": ["nivolumab has no structure."],
        "transfer": {"transferred": ["978 genes"], "new": [], "dropped": ["1 class: A375"]},
        "minutes": 2.0, "peak_memory_mib": 900.0,
    }  # fmt: skip
    store.claims.finish(claim, result)
    return job_id


def test_pairs_are_checked_kept_and_submitted(open_page: Open) -> None:
    page = upload(open_page("finetune"), rows(9))
    assert not page.exception and not page.error
    assert "can be used for fine-tuning" in texts(page.success)
    assert [m.value for m in page.metric][:2] == ["9", "9"]
    page.button(key="save-pairs").click().run()
    assert not page.exception and not page.error
    # The file says neither dose nor a time that can be read: the page asks.
    assert page.text_input(key="finetune-dose").value
    page.text_input(key="finetune-name").set_value("mine").run()
    page.number_input(key="finetune-lr").set_value(0.002).run()
    page.button(key="start-finetune").click().run()
    assert not page.exception and not page.error
    (job,) = Store().jobs.find()
    assert job.kind == "finetune" and job.params["name"] == "mine" and job.params["folds"] == 5
    assert job.params["config"]["lr"] == 0.002
    assert len(Store().pairs.load(job.params["pairs_id"])) == 9
    assert page.query_params[keys.JOB] == job.id
    assert "Waiting for a worker" in texts(page.caption)


@pytest.mark.parametrize("patients", [1, 4])
def test_too_few_pairs_are_refused_with_the_numbers(open_page: Open, patients: int) -> None:
    page = upload(open_page("finetune"), rows(patients))
    assert not page.exception
    assert str(patients) in texts(page.error) and "8" in texts(page.error)
    assert page.button(key="save-pairs").disabled
    page.button(key="discard-pairs").click().run()
    assert not page.error and not page.metric


def test_a_file_without_pairs_is_explained(open_page: Open) -> None:
    lines = rows(9).splitlines(keepends=True)
    page = upload(open_page("finetune"), b"".join(lines[:1] + lines[1::2]))
    assert not page.exception
    assert "after" in texts(page.error) and "How to fix" in texts(page.error)


def test_the_outcome_says_what_the_model_is_worth(open_page: Open, tmp_path: object) -> None:
    from xpert_core.prediction.models import shipped_default

    job_id = finished(0.0, shipped_default())
    page = open_page("finetune", **{keys.JOB: job_id})
    assert not page.exception and not page.error
    assert "It is not better." in texts(page.warning)
    table = page.dataframe[0].value
    assert table["Model"].tolist()[0] == "fine-tuned (adapters)"
    assert (
        table.set_index("Model").loc["mean change of the drug in the cohort", "Fine-tuned minus it"]
        == 0
    )
    assert "1 class: A375" in texts(page.markdown)
    better = open_page("finetune", **{keys.JOB: finished(0.1, shipped_default())})
    assert "It is better." in texts(better.success)
    listed = open_page("finetune")
    assert not listed.exception and not listed.error


def test_a_shared_job_shows_scores_but_neither_names_nor_actions(open_page: Open) -> None:
    from xpert_core.prediction.models import shipped_default

    mine, theirs = (finished(0.1, shipped_default(), owner) for owner in (LOCAL_OWNER, "ana"))
    Store().for_owner("ana").jobs.share(theirs, True)
    page = open_page("finetune", **{keys.JOB: mine})
    assert "nivolumab has no structure" in texts(page.markdown)
    assert [b.key for b in page.button if b.key == "default-finetuned"]
    page = open_page("finetune", **{keys.JOB: theirs})
    assert not page.exception and not page.error
    assert "It is better." in texts(page.success)
    assert "nivolumab has no structure" not in texts(page.markdown)
    assert not [b.key for b in page.button if b.key == "default-finetuned"]


def test_stored_pairs_are_deleted_after_a_second_click(open_page: Open) -> None:
    cohort = read_cohort(rows(9), filename="nine.csv")
    Store().pairs.save(to_pairs(cohort, load_panel()))
    page = open_page("finetune")
    assert not page.exception and not page.error
    page.button(key="delete-pairs").click().run()
    page.button(key="confirm-delete-pairs").click().run()
    assert not page.exception
    assert Store().pairs.list().empty
