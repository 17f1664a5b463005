"""``xpert benchmark`` keeps its numbers in the database, and its report whatever happens to it."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from xpert_core.cli.application import application
from xpert_core.store import Store

DATA = Path(__file__).parents[1] / "data" / "l1000_small.safetensors"


@pytest.fixture
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    found = f"sqlite:///{tmp_path / 'base' / 'own.db'}"
    monkeypatch.setenv("XPERT_DATABASE_URL", found)
    return found


def run(folder: Path, *options: str, models: tuple[str, ...] = ("mean-cell", "control")):
    path = folder / "bench.yaml"
    values = {
        "name": "tiny",
        "data": str(DATA),
        "n_folds": 3,
        "scenarios": [{"name": "cold-drug", "readout": "level 3", "folds": [1]}],
        "models": list(models),
    }
    path.write_text(yaml.safe_dump(values))
    out = ["--out", str(folder / "out"), "--workers", "1"]
    return CliRunner().invoke(application, ["benchmark", str(path), *out, *options])


def test_the_same_run_is_kept_once_and_another_beside_it(tmp_path: Path, url: str) -> None:
    first = run(tmp_path)
    assert first.exit_code == 0, first.output
    assert "own.db, benchmark " in first.output
    again = run(tmp_path)
    assert again.output.split()[-1] == first.output.split()[-1], "the same id"
    store = Store(url)
    assert len(store.benchmarks()) == 1
    kept = store.load_benchmark(store.benchmarks().index[0])
    assert kept.verdict in " ".join(first.output.split())
    assert set(kept.scores["model"]) == {"mean-cell", "control"}
    assert kept.intervals["minus"].dropna().tolist() == ["control"]
    assert str(tmp_path) not in str(kept.config), "no path of this machine"
    assert kept.splits.keys() == {"cold-drug"} and len(kept.splits["cold-drug"]) == 64
    run(tmp_path, models=("mean-cell", "mean"))
    assert len(store.benchmarks()) == 2
    store.close()


def test_without_a_database_none_is_made(tmp_path: Path, url: str) -> None:
    done = run(tmp_path, "--no-database")
    assert done.exit_code == 0 and "Database" not in done.output
    assert not (tmp_path / "base").exists()


def test_a_damaged_database_is_an_error_after_the_report(tmp_path: Path, url: str) -> None:
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "own.db").write_bytes(b"this is no database" * 300)
    failed = run(tmp_path)
    assert failed.exit_code == 2
    assert "damaged or is not a database" in failed.output and "How to fix" in failed.output
    assert "beats control" in failed.output
    assert (tmp_path / "out" / "report.md").is_file()
    assert (tmp_path / "out" / "report.html").is_file()


def test_what_is_done_can_be_reported_before_all_is(tmp_path: Path, url: str) -> None:
    nothing = run(tmp_path, "--report-only")
    assert nothing.exit_code == 2 and "No task of this benchmark is done" in nothing.output
    assert run(tmp_path, "--no-database").exit_code == 0
    assert "are not done" not in (tmp_path / "out" / "report.md").read_text()
    some = run(tmp_path, "--report-only", models=("mean-cell", "control", "ridge"))
    assert some.exit_code == 0, some.output
    text = (tmp_path / "out" / "report.md").read_text()
    assert text.split("\n\n")[1].startswith("- **cold-drug"), "the verdict stays first"
    assert "**1 of 3 tasks are not done** (fold/seed): ridge in cold-drug (1/0)." in text
    assert len(list((tmp_path / "out" / "tasks").glob("*.json"))) == 2, "nothing was run"
    assert not (tmp_path / "base").exists(), "an unfinished benchmark is not kept"
