"""Fine-tuning as a job: goes on after a stop to the same model, and registers it once."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest
from job_attempts import attempt, stop_at
from model_data import tiny_checkpoint

from xpert_core.cohorts import PairedProfiles, paired_example_path, read_cohort, to_pairs
from xpert_core.errors import StoreError
from xpert_core.genes import load_panel
from xpert_core.jobs import submit
from xpert_core.jobs.finetuning import FINISHED
from xpert_core.model.checkpoint import load_checkpoint
from xpert_core.store import Store
from xpert_core.store.claims import Claims
from xpert_core.store.job_records import Claim
from xpert_core.store.registered import FINE_TUNED

pytest.importorskip("lightning")

PATIENTS = 8
CONFIG = {"method": "full", "max_epochs": 2, "threads": 1, "accelerator": "cpu"}


@pytest.fixture(scope="module")
def pairs() -> PairedProfiles:
    with paired_example_path().open("rb") as stream:
        content = b"".join(islice(stream, 1 + 2 * PATIENTS))
    return to_pairs(read_cohort(content, filename="eight.csv"), load_panel())


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(f"sqlite:///{tmp_path / 'xpert.db'}")
    yield opened
    opened.close()


def test_a_stopped_job_goes_on_to_the_same_model(
    store: Store, pairs: PairedProfiles, tmp_path: Path
) -> None:
    tiny_checkpoint(tmp_path / "tiny")
    ana = store.for_owner("ana")
    base = ana.registry.register(tmp_path / "tiny")
    params = {"pairs_id": ana.pairs.save(pairs), "base": base, "name": "mine", "config": CONFIG,
              "folds": 2}  # fmt: skip
    submit(ana, "finetune", params)
    stopped = attempt(store, stop_at(150))  # within the second training of the comparison
    assert stopped.status == "submitted" and stopped.result is None
    first = attempt(store)
    assert first.status == "done", first.failure
    submit(ana, "finetune", params)
    second = attempt(store)
    assert first.result and second.result
    assert first.result["comparison"] == second.result["comparison"]
    histories = [
        load_checkpoint(ana.registry.get(job.result["model_id"]).folder).meta.card["validation_pcc"]
        for job in (first, second)
        if job.result
    ]
    assert histories[0] == pytest.approx(histories[1], abs=1e-4)
    model = ana.registry.get(first.result["model_id"])
    assert model.kind == "fine-tuned" and model.owner == "ana" and model.name == "mine"
    assert model.parents == (ana.registry.get(base).digest,)
    with pytest.raises(StoreError, match="no such model"):
        store.for_owner("ben").registry.get(model.id)
    runs = {values["run"] for values in ana.jobs.metrics(first.id)}
    assert "final model" in runs and len(runs) == 5  # two folds of two, and the final one


def test_pairs_of_another_user_are_not_there(store: Store, pairs: PairedProfiles) -> None:
    pairs_id = store.for_owner("ana").pairs.save(pairs)
    submit(store.for_owner("ben"), "finetune", {"pairs_id": pairs_id})
    failed = attempt(store)
    assert failed.status == "failed"
    assert failed.failure is not None and "no paired cohort" in failed.failure.what


def test_a_kill_at_the_end_leaves_one_model(
    store: Store, pairs: PairedProfiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_checkpoint(tmp_path / "tiny")
    ana = store.for_owner("ana")
    base = ana.registry.register(tmp_path / "tiny")
    submit(ana, "finetune", {"pairs_id": ana.pairs.save(pairs), "base": base, "config": CONFIG,
                             "folds": 0})  # fmt: skip

    class Killed(BaseException):
        """Stands for the end of the process between registering and writing the result."""

    held: list[Claim] = []

    def die(_: Claims, claim: Claim, __: object) -> bool:
        held.append(claim)
        raise Killed

    with monkeypatch.context() as broken, pytest.raises(Killed):
        broken.setattr(Claims, "finish", die)
        attempt(store)
    (left,) = [model for model in ana.registry.list() if model.kind == FINE_TUNED]
    (job,) = ana.jobs.find()
    folder = store.jobs.folder(job.id)
    assert job.status == "running" and (folder / FINISHED).is_file()
    assert not (folder / "finetuning" / "work").exists()
    assert store.claims.release(held[0])
    done = attempt(store)
    assert done.status == "done", done.failure
    (only,) = [model for model in ana.registry.list() if model.kind == FINE_TUNED]
    assert done.result and done.result["model_id"] == only.id == left.id
    assert done.result["digest"] == only.digest
