"""Two users of one database: neither sees, opens, changes or deletes what is the other's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from model_data import tiny_checkpoint
from store_data import (
    assert_same_prediction,
    assert_same_profiles,
    melanoma_pairs,
    melanoma_prediction,
    melanoma_profiles,
)

from xpert_core.errors import JobError, StoreError
from xpert_core.store import Store
from xpert_core.store.job_records import WorkerName


@pytest.fixture
def anna(store: Store) -> Store:
    return store.for_owner("anna@clinic")


@pytest.fixture
def bert(store: Store) -> Store:
    return store.for_owner("bert@clinic")


@pytest.fixture
def ids(anna: Store, tmp_path: Path) -> dict[str, str]:
    """What Anna has stored."""
    cohort = anna.save_cohort(melanoma_profiles())
    tiny_checkpoint(tmp_path / "annas", name="annas")
    return {
        "cohort": cohort,
        "run": anna.save_prediction(melanoma_prediction(), cohort, title="Anna's"),
        "model": anna.registry.register(tmp_path / "annas"),
        "pairs": anna.pairs.save(melanoma_pairs()),
        "job": anna.jobs.submit("predict", {"cohort_id": cohort}, title="Anna's"),
    }


OPEN: dict[str, Callable[[Store, str], object]] = {
    "cohort": Store.load_cohort,
    "run": Store.load_prediction,
    "model": lambda store, key: store.registry.get(key),
    "pairs": lambda store, key: store.pairs.load(key),
    "job": lambda store, key: (store.jobs.get(key), store.jobs.log(key)),
}
CHANGE: dict[str, list[Callable[[Store, str], object]]] = {
    "cohort": [Store.delete_cohort, lambda s, key: s.share_cohort(key, True)],
    "run": [Store.delete_run, lambda s, key: s.share_run(key, True)],
    "model": [
        lambda s, key: s.registry.delete(key),
        lambda s, key: s.registry.share(key, True),
        lambda s, key: s.registry.rename(key, "mine"),
    ],
    "pairs": [lambda s, key: s.pairs.delete(key), lambda s, key: s.pairs.share(key, True)],
    "job": [
        lambda s, key: s.jobs.cancel(key),
        lambda s, key: s.jobs.retry(key),
        lambda s, key: s.jobs.delete(key),
        lambda s, key: s.jobs.share(key, True),
    ],
}
SHARE: dict[str, Callable[[Store, str, bool], None]] = {
    "cohort": Store.share_cohort,
    "run": Store.share_run,
    "model": lambda store, key, shared: store.registry.share(key, shared),
    "pairs": lambda store, key, shared: store.pairs.share(key, shared),
    "job": lambda store, key, shared: store.jobs.share(key, shared),
}


def listed(store: Store, kind: str) -> list[str]:
    if kind == "model":
        return [m.id for m in store.registry.list() if m.owner]
    if kind == "job":
        return [job.id for job in store.jobs.find()]
    tables = {"cohort": store.cohorts, "run": store.runs, "pairs": store.pairs.list}
    return list(tables[kind]().index)


@pytest.mark.parametrize("kind", OPEN)
def test_what_is_not_shared_is_not_there(
    anna: Store, bert: Store, ids: dict[str, str], kind: str
) -> None:
    assert listed(anna, kind) == [ids[kind]] and listed(bert, kind) == []
    OPEN[kind](anna, ids[kind])
    with pytest.raises(StoreError) as hidden:
        OPEN[kind](bert, ids[kind])
    with pytest.raises(StoreError) as absent:
        OPEN[kind](bert, "0" * 16)
    assert hidden.value.what == absent.value.what  # a private entry looks like none
    for change in CHANGE[kind]:
        with pytest.raises(StoreError):
            change(bert, ids[kind])
    OPEN[kind](anna, ids[kind])


@pytest.mark.parametrize("kind", OPEN)
def test_what_is_shared_can_be_read_and_not_changed(
    anna: Store, bert: Store, ids: dict[str, str], kind: str
) -> None:
    SHARE[kind](anna, ids[kind], True)
    assert listed(bert, kind) == [ids[kind]]
    OPEN[kind](bert, ids[kind])
    for change in CHANGE[kind]:
        with pytest.raises(StoreError, match="another user"):
            change(bert, ids[kind])
    SHARE[kind](anna, ids[kind], False)
    assert listed(bert, kind) == []
    with pytest.raises(StoreError):
        OPEN[kind](bert, ids[kind])


def test_sharing_one_thing_shares_no_other(anna: Store, bert: Store, ids: dict[str, str]) -> None:
    anna.share_cohort(ids["cohort"], True)
    assert bert.cohorts()["n_runs"].tolist() == [0]  # Anna's prediction is not counted for Bert
    assert anna.cohorts()["n_runs"].tolist() == [1]
    assert bert.runs().empty
    anna.share_cohort(ids["cohort"], False)
    anna.share_run(ids["run"], True)
    assert bert.cohorts().empty
    assert_same_prediction(bert.load_prediction(ids["run"]), melanoma_prediction())


def test_the_same_upload_is_kept_for_each(anna: Store, bert: Store, ids: dict[str, str]) -> None:
    own = bert.save_cohort(melanoma_profiles())
    assert own != ids["cohort"]
    bert.delete_cohort(own)
    assert_same_profiles(anna.load_cohort(ids["cohort"]), melanoma_profiles())


def test_no_result_can_be_hung_on_a_hidden_cohort(
    anna: Store, bert: Store, ids: dict[str, str]
) -> None:
    with pytest.raises(StoreError, match="no stored cohort"):
        bert.save_prediction(melanoma_prediction(), ids["cohort"])
    anna.share_cohort(ids["cohort"], True)
    run = bert.save_prediction(melanoma_prediction(), ids["cohort"])
    assert list(bert.runs().index) == [run]
    assert list(anna.runs().index) == [ids["run"]]


def test_models_of_others_are_not_listed_by_their_results(
    anna: Store, bert: Store, ids: dict[str, str]
) -> None:
    assert len(anna.models()) == 2  # the registered one, and that of the prediction
    assert bert.models().empty


def test_the_same_file_of_two_users_gives_nothing_away(
    anna: Store, bert: Store, ids: dict[str, str], tmp_path: Path
) -> None:
    anna.registry.rename(ids["model"], "Anna's secret")
    own = bert.registry.register(tmp_path / "annas")
    assert own != ids["model"]
    assert bert.registry.get(own).name == "annas"
    assert [m.id for m in bert.registry.list() if m.owner] == [own]
    bert.registry.delete(own)
    assert anna.registry.get(ids["model"]).folder.is_dir()


def test_two_models_of_one_name_are_told_apart_by_id(
    anna: Store, bert: Store, ids: dict[str, str], tmp_path: Path
) -> None:
    anna.registry.share(ids["model"], True)
    assert bert.registry.get("annas").id == ids["model"]
    carl = bert.for_owner("carl")
    tiny_checkpoint(tmp_path / "carls", name="annas", seed=1)
    other = carl.registry.register(tmp_path / "carls")
    assert carl.registry.get("annas").id == other  # own names first
    carl.registry.share(other, True)
    with pytest.raises(StoreError, match="Several models"):
        bert.registry.get("annas")


def test_the_administrator_sees_all(store: Store, ids: dict[str, str]) -> None:
    for kind, open_ in OPEN.items():
        assert listed(store, kind) == [ids[kind]]
        open_(store, ids[kind])
    store.delete_cohort(ids["cohort"])
    assert store.runs().empty


def test_a_shared_failed_job_does_not_say_where_it_failed(anna: Store, bert: Store) -> None:
    """The place may name patients, and their cohort is not shared."""
    job_id = anna.jobs.submit("predict", {}, title="Anna's")
    claim = anna.claims.claim(WorkerName("host", 1, "token"))
    assert claim is not None and claim.job.id == job_id
    failure = JobError("The loss is not a number.", where="patients P1, P2", fix="Lower the rate.")
    anna.claims.fail(claim, failure)
    anna.jobs.share(job_id, True)
    for seen in (bert.jobs.get(job_id), *bert.jobs.find()):
        assert seen.failure is not None
        assert (seen.failure.where, seen.failure.fix) == ("", "Lower the rate.")
        assert "P1" not in str(seen.failure)
    own = anna.jobs.get(job_id).failure
    assert own is not None and own.where == "patients P1, P2"
