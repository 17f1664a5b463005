"""``xpert jobs`` and ``xpert worker``: submit, work, show, cancel, try again, delete."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import job_kinds
import pytest
from click.testing import Result
from typer.testing import CliRunner

from xpert_core.cli.application import application
from xpert_core.jobs import KINDS
from xpert_core.store import Store


@pytest.fixture
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    found = f"sqlite:///{tmp_path / 'own.db'}"
    monkeypatch.setenv("XPERT_DATABASE_URL", found)
    for name, path in job_kinds.KINDS.items():
        monkeypatch.setitem(KINDS, name, path)
    return found


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    opened = Store(url)
    yield opened
    opened.close()


def xpert(*arguments: str) -> Result:
    return CliRunner().invoke(application, list(arguments))


def test_a_job_from_submission_to_result(store: Store) -> None:
    put = xpert("jobs", "submit", "say", "text=[a, 2, 0.5]", "--title", "Three things")
    assert put.exit_code == 0, put.output
    job_id = put.output.strip()
    assert store.jobs.get(job_id).params == {"text": ["a", 2, 0.5]}
    listed = xpert("jobs", "list").output
    assert job_id in listed and "submitted" in listed and "start one with: xpert worker" in listed
    worked = xpert("worker", "--once")
    assert worked.exit_code == 0 and "Stopped after 1 job." in worked.output
    shown = xpert("jobs", "show", job_id).output
    assert "say: Three things" in shown and "Status: done" in shown
    assert 'Result: {"said": ["a", 2, 0.5]}' in shown and "attempt 1 for local" in shown


def test_a_file_is_named_by_its_full_path(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("recipe.yaml").write_text("name: x\n")
    job_id = xpert("jobs", "submit", "train", "config=recipe.yaml").output.strip()
    assert store.jobs.get(job_id).params == {"config": str(tmp_path / "recipe.yaml")}


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("unheard-of", "a=1"), "does not know"),
        (("say", "text"), "NAME=VALUE"),
        (("say", "text=[a"), "brackets around a list"),
    ],
)
def test_a_wrong_submission_is_explained(
    store: Store, arguments: tuple[str, ...], word: str
) -> None:
    refused = xpert("jobs", "submit", *arguments)
    assert refused.exit_code == 2
    assert word in refused.output and "How to fix" in refused.output
    assert store.jobs.find() == []


def test_cancel_retry_and_delete(store: Store) -> None:
    job_id = store.jobs.submit("fail", {}, owner="ana")
    assert f"Job {job_id}: cancelled" in xpert("jobs", "cancel", job_id).output
    assert "waits for a worker" in xpert("jobs", "retry", job_id).output
    again = xpert("jobs", "retry", job_id)
    assert again.exit_code == 2 and "is submitted" in again.output
    assert job_id in xpert("jobs", "list", "--owner", "ana").output
    assert job_id not in xpert("jobs", "list", "--owner", "ben").output
    assert xpert("jobs", "delete", job_id).exit_code == 0
    missing = xpert("jobs", "show", job_id)
    assert missing.exit_code == 2 and "no job with this id" in missing.output


def test_a_database_that_is_none_stops_the_worker(tmp_path: Path) -> None:
    (tmp_path / "bad.db").write_bytes(b"this is no database" * 300)
    refused = xpert("worker", "--once", "--database", f"sqlite:///{tmp_path / 'bad.db'}")
    assert refused.exit_code == 2 and "How to fix" in refused.output
