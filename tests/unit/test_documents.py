"""What the documents say is true: scores, links, licences, versions."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

import xpert_core
from xpert_core.prediction.models import model_folder

PROJECT = Path(__file__).resolve().parents[2]
PAGES = [PROJECT / "README.md", PROJECT / "CHANGELOG.md", *sorted((PROJECT / "docs").glob("*.md"))]


def scores_table() -> str:
    """The scores on test drugs of the default model's card, as the README shows them."""
    card = json.loads((model_folder() / "config.json").read_text(encoding="utf-8"))["card"]
    lines = [
        "| read-out | model | PCC | 95 % interval | rows | drugs |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for s in card["scores"]:
        if s["part"] == "test":
            interval = f"{s['low']:.3f} to {s['high']:.3f}"
            cells = (s["readout"], s["model"], f"{s['pcc']:.3f}", interval, s["rows"], s["drugs"])
            lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def test_readme_shows_the_scores_of_the_default_model() -> None:
    assert len(scores_table().splitlines()) > 4
    assert scores_table() in (PROJECT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_named_files_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", text):
        assert (page.parent / target).exists(), target
    for target in re.findall(r"`((?:docs|tests|training|assets|app|xpert_core)/[\w./-]+)`", text):
        assert (PROJECT / target).exists(), target


def test_one_version_everywhere() -> None:
    version = xpert_core.__version__
    citation = yaml.safe_load((PROJECT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == version
    assert f"## [{version}]" in (PROJECT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_every_shipped_folder_has_provenance_and_a_licence_line() -> None:
    licences = (PROJECT / "assets" / "DATA_LICENSES.md").read_text(encoding="utf-8")
    folders = [p for p in (PROJECT / "assets").iterdir() if p.is_dir() and p.name != "data"]
    folders += [p for p in (PROJECT / "assets" / "data").iterdir() if p.is_dir()]
    assert len(folders) >= 6
    for folder in folders:
        name = folder.relative_to(PROJECT / "assets").as_posix()
        assert f"`{name}/`" in licences, name
        if name != "models":  # each model carries a card instead
            assert (folder / "PROVENANCE.md").is_file(), name


def test_every_direct_requirement_is_pinned() -> None:
    import tomllib

    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *(r for k, v in extras.items() if k != "flash" for r in v)]
    pinned = {
        line.partition("==")[0].lower().replace("_", "-")
        for line in (PROJECT / "constraints.txt").read_text(encoding="utf-8").splitlines()
        if "==" in line
    }
    names = {re.split(r"[<>=!~\[; ]", r)[0].lower().replace("_", "-") for r in wanted}
    assert names <= pinned
