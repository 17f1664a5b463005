"""The plan of the house holds: who imports whom, and what the engine needs to be imported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]

#: What a GPU machine without the full environment does not have.
ABSENT_ON_A_GPU_MACHINE = (
    "pandas", "scipy", "sklearn", "rdkit", "anndata", "h5py", "pyarrow", "lightning",
    "pytorch_lightning", "streamlit", "sqlalchemy", "alembic", "torch_geometric", "typer", "rich",
)  # fmt: skip
HEAVY = (*ABSENT_ON_A_GPU_MACHINE[:-2], "torch", "numpy")

WITHOUT = """
import importlib, sys
blocked = set(sys.argv[2].split(","))
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in blocked:
            raise ModuleNotFoundError(f"No module named {name!r} (blocked)", name=name)
sys.meta_path.insert(0, Blocker())
importlib.import_module(sys.argv[1])
"""


def import_without(module: str, blocked: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
    """Import `module` in a fresh interpreter in which `blocked` packages do not exist."""
    return subprocess.run(
        [sys.executable, "-c", WITHOUT, module, ",".join(blocked)],
        capture_output=True,
        text=True,
        cwd=PROJECT,
        check=False,
    )


def test_the_blocker_blocks() -> None:
    result = import_without("xpert_core.cohorts.records", ("pandas",))
    assert result.returncode != 0
    assert "No module named 'pandas' (blocked)" in result.stderr


@pytest.mark.parametrize(
    "module", ["xpert_core.model.xpert", "xpert_core.tokens.batch", "xpert_core.learning.trainer"]
)
def test_training_modules_import_with_torch_numpy_and_torchmetrics_alone(module: str) -> None:
    result = import_without(module, ABSENT_ON_A_GPU_MACHINE)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize(
    "module", ["xpert_core", "xpert_core.errors", "xpert_core.cli.application"]
)
def test_entry_modules_import_nothing_heavy(module: str) -> None:
    result = import_without(module, HEAVY)
    assert result.returncode == 0, result.stderr


def test_import_contract_is_kept() -> None:
    lint = Path(sys.executable).with_name("lint-imports")
    result = subprocess.run(
        [str(lint), "--no-cache"], capture_output=True, text=True, cwd=PROJECT, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr


def test_no_file_of_the_project_names_a_machine_path() -> None:
    suffixes = {".py", ".md", ".toml", ".yaml", ".yml", ".cff", ".txt", ".json", ".cfg", ".ini"}
    roots = [
        PROJECT / name for name in ("xpert_core", "app", "training", "docs", "assets", "tests")
    ]
    files = [p for root in roots for p in root.rglob("*") if p.suffix in suffixes]
    files += [p for p in PROJECT.iterdir() if p.suffix in suffixes or p.name == "Makefile"]
    assert len(files) > 50
    # Spelled apart, so that this file does not find itself.
    needles = ["/" + name + "/" for name in ("work", "root")] + ["/tmp/" + "dev"]
    found = [
        f"{p.relative_to(PROJECT)}: {needle}"
        for p in files
        for needle in needles
        if needle in p.read_text(encoding="utf-8", errors="replace")
    ]
    assert not found
