"""``xpert doctor`` says what is whole and what is broken."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from xpert_core.cli.application import application
from xpert_core.cli.doctor import CHECKS
from xpert_core.paths import assets_dir

runner = CliRunner()


def doctor() -> tuple[int, dict[str, str]]:
    """Exit status, and the status of each check by name."""
    result = runner.invoke(application, ["doctor"])
    statuses = {
        line[6:23].strip(): line[:4].strip()
        for line in result.stdout.splitlines()
        if not line.startswith(" ")
    }
    return result.exit_code, statuses


def test_a_whole_installation_passes_and_has_a_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XPERT_DATA_DIR", str(tmp_path / "new"))
    code, statuses = doctor()
    assert set(statuses) == set(CHECKS)
    assert code == 0, statuses
    assert statuses["model"] == statuses["database"] == "ok"
    assert list((tmp_path / "new").glob("*.db"))


def test_damaged_weights_fail_and_the_other_checks_still_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assets = tmp_path / "assets"
    assets.mkdir()
    for part in assets_dir().iterdir():
        if part.name not in ("data", "featurizers"):
            (assets / part.name).symlink_to(part)
    shutil.copytree(assets_dir() / "featurizers", assets / "featurizers")
    weights = assets / "featurizers" / "aimnet2.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    monkeypatch.setenv("XPERT_ASSETS", str(assets))
    code, statuses = doctor()
    assert code == 1
    assert statuses["featurizers"] == "fail"
    assert statuses["gene panel"] == statuses["attention"] == "ok"
    assert set(statuses) == set(CHECKS)


def test_a_database_that_cannot_be_made_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("XPERT_DATA_DIR", str(tmp_path / "file"))
    code, statuses = doctor()
    assert code == 1
    assert statuses["database"] == "fail"
