"""``xpert search`` searches, its best recipe trains, and a stopped search goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from processes import hear_ctrl_c
from typer.testing import CliRunner

from xpert_core.cli.application import application

optuna = pytest.importorskip("optuna")
pytest.importorskip("lightning")
ROOT = Path(__file__).parents[2]
PROGRAM = "from xpert_core.cli import main; main()"
runner = CliRunner()


def write(folder: Path, epochs: int, **changes: Any) -> Path:
    """A search of XPert in the smoke size on one fold."""
    configs = ROOT / "training" / "configs"
    values = yaml.safe_load((configs / "search-smoke.yaml").read_text())
    values["data"] = str((configs / values["data"]).resolve())
    recipe = str(configs / "smoke-xpert.yaml")
    settings = {"max_epochs": epochs, "patience": epochs}
    values["model"] = {"kind": "xpert", "recipe": recipe, "settings": settings}
    values["scenarios"] = [{"name": "cold-drug", "folds": [1]}]
    path = folder / "search.yaml"
    path.write_text(yaml.safe_dump({**values, "workers": 1, **changes}))
    return path


def states(out: Path) -> list[str]:
    """State of every attempt in the study."""
    storage = f"sqlite:///{out / 'study.sqlite'}"
    study = optuna.load_study(study_name="search", storage=storage)
    return [t.state.name for t in study.get_trials(deepcopy=False)]


def alive(group: int) -> list[int]:
    """Processes of a group that have not ended; Linux."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, own = stat.read_text().rpartition(")")[2].split()[:3]
        except OSError:
            continue
        if int(own) == group and state != "Z":
            found.append(int(stat.parent.name))
    return found


def test_searches_quietly_and_the_best_recipe_trains(tmp_path: Path) -> None:
    config, out = write(tmp_path, 1, trials=2), tmp_path / "out"
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, "search", str(config), "--out", str(out)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "GPU" not in done.stderr and "Tip" not in done.stderr and "[I " not in done.stderr
    assert "base recipe" in done.stdout and str(out / "report.md") in done.stdout
    assert (out / "report.md").read_text().startswith("# Search: smoke\n\n**")
    assert states(out) == ["COMPLETE", "COMPLETE"]
    trained = runner.invoke(
        application, ["train", str(out / "best.yaml"), "--out", str(tmp_path / "run")]
    )
    assert trained.exit_code == 0, trained.output
    assert (tmp_path / "run" / "model").is_dir()
    refused = runner.invoke(
        application, ["search", str(write(tmp_path, 2, trials=2)), "--out", str(out)]
    )
    assert refused.exit_code == 2 and "model (max_epochs" in refused.stderr


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_stopped_search_loses_no_finished_trial(tmp_path: Path, how: signal.Signals) -> None:
    if how == signal.SIGKILL and not Path("/proc/self/stat").is_file():
        pytest.skip("needs /proc")
    config, out = write(tmp_path, 15, trials=200, pruner="none"), tmp_path / "out"
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, "search", str(config), "--out", str(out)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=hear_ctrl_c,
    )
    assert process.stderr is not None
    for line in process.stderr:
        if "trial 0: complete" in line:
            break
    while states(out)[-1] != "RUNNING":
        time.sleep(0.2)
    if how == signal.SIGINT:
        os.killpg(process.pid, how)
    else:
        process.kill()
    _, error = process.communicate(timeout=120)
    if how == signal.SIGINT:
        assert process.returncode == 130 and "Stopped" in error and "Traceback" not in error
    else:
        end = time.monotonic() + 60
        while alive(process.pid):
            assert time.monotonic() < end, "a worker outlives its parent"
            time.sleep(0.2)
    before = states(out)
    assert before[0] == "COMPLETE"
    assert before[-1] == ("FAIL" if how == signal.SIGINT else "RUNNING")
    whole = before.count("COMPLETE")
    again = runner.invoke(
        application, ["search", str(config), "--out", str(out), "--trials", str(whole + 1)]
    )
    assert again.exit_code == 0, again.output
    assert states(out) == [*["COMPLETE"] * whole, "FAIL", "COMPLETE"]
    assert "1 attempt(s) were cut off" in (out / "report.md").read_text()
