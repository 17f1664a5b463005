"""The commands of ``xpert graph``."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from xpert_core.cli.application import application
from xpert_core.graph.build import read_description

pytest.importorskip("torch_geometric")
runner = CliRunner()


def xpert(*arguments: str | Path):  # type: ignore[no-untyped-def]
    return runner.invoke(application, [str(a) for a in arguments])


@pytest.fixture(scope="module")
def own_tables(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("tables")
    targets = pd.DataFrame(
        [
            ("vorinostat", "HDAC1", "mechanism", "CC BY 4.0"),
            ("gefitinib", "EGFR", "mechanism", "CC BY-NC 4.0"),
            ("nivolumab", "PDCD1", "target", "CC BY 4.0"),
            ("vorinostat", "XYZ987", "mechanism", "CC BY 4.0"),
        ],
        columns=["drug", "gene", "tier", "licence"],
    )
    ppi = pd.DataFrame([("HDAC1", "EGFR", 900)], columns=["gene_a", "gene_b", "score"])
    targets.to_csv(folder / "targets.csv", index=False)
    ppi.to_csv(folder / "ppi.csv", index=False)
    return folder / "targets.csv", folder / "ppi.csv"


def test_build_and_info_of_a_users_tables(own_tables: tuple[Path, Path], tmp_path: Path) -> None:
    targets, ppi = own_tables
    out = tmp_path / "own.safetensors"
    result = xpert("graph", "build", "--targets", targets, "--ppi", ppi, "--out", out,
                   "--threshold", "0.9")  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "1 rows left out: the licence is restricted: CC BY-NC 4.0" in result.stdout
    assert "XYZ987" in result.stdout
    assert "edges, targets: 1 " in result.stdout
    statistics, settings = read_description(out)
    assert statistics.edges["targets"] == 1 and statistics.edges["interacts"] == 1
    assert settings["threshold"] == 0.9 and settings["targets"] == "targets.csv"
    shown = xpert("graph", "info", out)
    assert shown.exit_code == 0
    assert "edges, targets: 1 " in shown.stdout and "open licences only" in shown.stdout
    again = xpert("graph", "build", "--targets", targets, "--out", out)
    assert again.exit_code == 2 and "--force" in again.stderr
    everything = ("--tiers", "mechanism,target", "--include-restricted", "--threshold", "0.9")
    result = xpert("graph", "build", "--targets", targets, "--ppi", ppi, "--out", out, "--force",
                   *everything)  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "edges, targets: 3 " in result.stdout and "restricted" not in result.stdout


def test_bad_tables_and_settings_give_a_message(
    own_tables: tuple[Path, Path], tmp_path: Path
) -> None:
    targets, ppi = own_tables
    out = tmp_path / "graph.safetensors"
    for arguments, word in (
        (("--tiers", "folklore"), "folklore"),
        (("--threshold", "1.5"), "threshold"),
        (("--targets", ppi), "tier"),
        (("--ppi", tmp_path / "nowhere.parquet"), "nowhere.parquet"),
    ):
        result = xpert(
            "graph", "build", "--targets", targets, "--ppi", ppi, "--out", out, *arguments
        )
        assert result.exit_code == 2, result.output
        assert word in result.stderr and "How to fix:" in result.stderr
        assert not out.exists()
    (tmp_path / "cut.safetensors").write_bytes(b"\x00" * 20)
    result = xpert("graph", "info", tmp_path / "cut.safetensors")
    assert result.exit_code == 2 and "damaged" in result.stderr


def test_info_of_the_shipped_graph() -> None:
    result = xpert("graph", "info")
    assert result.exit_code == 0, result.output
    assert "Graph: shipped" in result.stdout
    for relation in ("targets", "interacts", "similar"):
        assert f"edges, {relation}: " in result.stdout
    assert "sparsity of the whole graph" in result.stdout


def test_neighbours_by_name_by_structure_and_of_an_antibody() -> None:
    result = xpert("graph", "neighbours", "trametinib", "--limit", "3")
    assert result.exit_code == 0, result.output
    assert "in the graph" in result.stdout and "MAP2K1" in result.stdout
    assert "Tanimoto" in result.stdout and "embedding" in result.stdout
    result = xpert("graph", "neighbours", "nivolumab", "--limit", "3")
    assert result.exit_code == 0, result.output
    assert "PDCD1" in result.stdout and "no structure to compare" in result.stdout
    result = xpert("graph", "neighbours", "CC(=O)Oc1ccccc1C(=O)OCCCCCCCC", "--limit", "2")
    assert result.exit_code == 0, result.output
    assert "not in the graph" in result.stdout and "No target is known" in result.stdout
    assert xpert("graph", "neighbours", "qqqqqqqqzzzz").exit_code == 2
