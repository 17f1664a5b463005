"""Tables of targets and interactions: what is kept, what is left out, what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from xpert_core.drugs import DrugLibrary
from xpert_core.errors import DataError
from xpert_core.graph.records import drug_key
from xpert_core.graph.tables import (
    OPEN_LICENCES,
    Catalogue,
    entrez_ids,
    gene_nodes,
    interaction_edges,
    read_interactions,
    read_table,
    read_targets,
    shipped,
    target_edges,
)

OPEN, CLOSED = "CC BY 4.0", "CC BY-NC 4.0"


@pytest.fixture
def catalogue() -> Catalogue:
    return Catalogue()


def written(tmp_path: Path, rows: list[dict[str, object]], name: str = "table.parquet") -> Path:
    path = tmp_path / name
    frame = pd.DataFrame(rows)
    if path.suffix == ".csv":
        frame.to_csv(path, index=False)
    else:
        frame.to_parquet(path)
    return path


def row(drug: str, gene: str, tier: str = "mechanism", licence: str = OPEN, **other: object):  # type: ignore[no-untyped-def]
    return {"drug": drug, "gene": gene, "tier": tier, "licence": licence, **other}


def key(name: str) -> str:
    drug = DrugLibrary.load().resolve(name)
    return drug_key(drug.connectivity, drug.name)


@pytest.mark.parametrize("name", ["table.parquet", "table.csv"])
def test_a_users_table_is_joined_to_the_library(
    tmp_path: Path, catalogue: Catalogue, name: str
) -> None:
    path = written(
        tmp_path,
        [
            row("Vorinostat", "HDAC1"),
            row("somebody's salt", "EGFR", smiles=DrugLibrary.load().resolve("gefitinib").smiles),
            row("anything", "CYP19A1", drug_id=DrugLibrary.load().resolve("letrozole").pert_id),
            row("nivolumab", "PDCD1"),
            row("mystery antibody 7", "ERBB2"),
        ],
        name,
    )
    frame, dropped = read_targets(path, catalogue)
    assert dropped == []
    assert frame["key"].tolist() == [
        key("vorinostat"), key("gefitinib"), key("letrozole"), "name:nivolumab",
        "name:mysteryantibody7",
    ]  # fmt: skip
    assert frame["entrez_id"].tolist() == [3065, 1956, 1588, 5133, 2064]
    assert catalogue.added == ["mystery antibody 7"]


def test_a_new_structure_becomes_a_node_of_its_parent(tmp_path: Path, catalogue: Catalogue) -> None:
    salt = "[Na+].O=C([O-])c1ccc(-c2ccc(OCCCCCCCCCl)cc2)cc1F"
    read_targets(written(tmp_path, [row("new acid", "EGFR", smiles=salt)]), catalogue)
    assert catalogue.name[-1] == "new acid"
    assert len(catalogue.key[-1]) == 14
    assert "." not in catalogue.smiles[-1] and catalogue.smiles[-1]


def test_restricted_rows_and_other_tiers_are_counted(tmp_path: Path, catalogue: Catalogue) -> None:
    path = written(
        tmp_path,
        [
            row("vorinostat", "HDAC1"),
            row("vorinostat", "HDAC2", licence=CLOSED),
            row("vorinostat", "HDAC3", tier="target"),
        ],
    )
    frame, dropped = read_targets(path, catalogue)
    assert frame["gene"].tolist() == ["HDAC1"]
    assert [d.rows for d in dropped] == [1, 1]
    assert CLOSED in str(dropped[0]) and "target" in str(dropped[1])
    frame, dropped = read_targets(path, catalogue, ("mechanism", "target"), include_restricted=True)
    assert frame["gene"].tolist() == ["HDAC1", "HDAC2", "HDAC3"]
    assert dropped == []


def test_the_strongest_tier_of_a_pair_counts(tmp_path: Path, catalogue: Catalogue) -> None:
    rows = [row("vorinostat", "HDAC1", tier="target"), row("vorinostat", "HDAC1"),
            row("vorinostat", "HDAC2", tier="target")]  # fmt: skip
    frame, _ = read_targets(written(tmp_path, rows), catalogue, ("mechanism", "target"))
    genes = gene_nodes([frame["entrez_id"].to_numpy()])
    edges = target_edges(frame, {key("vorinostat"): 5}, genes)
    assert edges.source.tolist() == [5, 5]
    assert [genes.symbol[i] for i in edges.target] == ["HDAC1", "HDAC2"]
    assert edges.weight.tolist() == [1.0, 0.5]


def test_unknown_genes_are_named_and_kept_out(tmp_path: Path, catalogue: Catalogue) -> None:
    rows = [row("vorinostat", "HDAC1"), row("vorinostat", "XYZ987"), row("imatinib", "XYZ987")]
    frame, dropped = read_targets(written(tmp_path, rows), catalogue)
    assert len(frame) == 1
    assert (dropped[0].rows, dropped[0].examples) == (2, ("XYZ987",))
    with pytest.raises(DataError, match="No drug-target row is left") as caught:
        read_targets(written(tmp_path, rows[1:]), catalogue)
    assert "XYZ987" in caught.value.where


def test_a_row_without_a_drug_is_left_out(tmp_path: Path, catalogue: Catalogue) -> None:
    rows = [row("vorinostat", "HDAC1"), row("", "HDAC2"), row("", "HDAC3", smiles="C1CC")]
    frame, dropped = read_targets(written(tmp_path, rows), catalogue)
    assert len(frame) == 1
    assert dropped[0].rows == 2 and "neither a name nor a structure" in str(dropped[0])


def test_genes_are_read_by_id_then_by_symbol() -> None:
    frame = pd.DataFrame(
        {
            "gene": ["EGFR", "whatever", "HER2", "AARS", "", "nonsense"],
            "entrez_id": [1956, 2064, None, "x", -3, 1e30],
        }
    )
    assert entrez_ids(frame, "gene", "entrez_id").tolist() == [1956, 2064, 2064, 16, 0, 0]
    assert entrez_ids(frame, "gene", "absent").tolist() == [1956, 0, 2064, 16, 0, 0]
    assert entrez_ids(frame, "absent", "entrez_id").tolist() == [1956, 2064, 0, 0, 0, 0]


@pytest.mark.parametrize("column", ["gene", "tier", "licence", "drug"])
def test_a_missing_column_is_named(tmp_path: Path, catalogue: Catalogue, column: str) -> None:
    rows = [{k: v for k, v in row("vorinostat", "HDAC1").items() if k != column}]
    with pytest.raises(DataError, match=column) as caught:
        read_targets(written(tmp_path, rows), catalogue)
    assert "docs/graph.md" in caught.value.fix


def test_missing_empty_and_cut_tables_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="missing"):
        read_table(tmp_path / "nowhere.parquet")
    with pytest.raises(DataError, match="no row"):
        read_table(written(tmp_path, [row("a", "EGFR")][:0] or [], "empty.parquet"))
    content = shipped("ppi.parquet").read_bytes()
    for name, part in {
        "cut.parquet": content[:5000],
        "empty.csv": b"",
        "text.parquet": b"a,b",
    }.items():
        (tmp_path / name).write_bytes(part)
        with pytest.raises(DataError, match="damaged") as caught:
            read_table(tmp_path / name)
        assert name in caught.value.where


def test_interactions_count_once_with_their_highest_score(tmp_path: Path) -> None:
    rows = [
        {"gene_a": "TP53", "gene_b": "MDM2", "score": 900},
        {"gene_a": "MDM2", "gene_b": "TP53", "score": 999},
        {"gene_a": "EGFR", "gene_b": "GRB2", "score": 701},
        {"gene_a": "EGFR", "gene_b": "TP53", "score": 700},
        {"gene_a": "EGFR", "gene_b": "ERBB1", "score": 800},
        {"gene_a": "EGFR", "gene_b": "XYZ987", "score": 800},
    ]
    frame, dropped = read_interactions(written(tmp_path, rows))
    genes = gene_nodes([frame["a"].to_numpy(), frame["b"].to_numpy()])
    edges = interaction_edges(frame, genes)
    found = {
        frozenset((genes.symbol[a], genes.symbol[b])): round(float(w), 3)
        for a, b, w in zip(edges.source, edges.target, edges.weight, strict=True)
    }
    assert found == {frozenset(("MDM2", "TP53")): 0.999, frozenset(("EGFR", "GRB2")): 0.701}
    assert (edges.source < edges.target).all()
    reasons = " ".join(map(str, dropped))
    assert "not above 700" in reasons and "XYZ987" in reasons and "with itself" in reasons


@pytest.mark.parametrize("score", [-1, 1001, float("nan"), "high"])
def test_a_score_outside_its_scale_is_refused(tmp_path: Path, score: object) -> None:
    good = {"entrez_a": "7157", "entrez_b": "4193", "score": "999"}
    path = written(tmp_path, [good, {**good, "score": str(score)}])
    with pytest.raises(DataError, match="0 to 1000") as caught:
        read_interactions(path)
    assert "row 2" in caught.value.where


def test_scores_of_another_scale_leave_no_interaction(tmp_path: Path) -> None:
    path = written(tmp_path, [{"entrez_a": 7157, "entrez_b": 4193, "score": 0.999}])
    with pytest.raises(DataError, match="No interaction") as caught:
        read_interactions(path)
    assert "700" in caught.value.fix


def test_the_shipped_targets_are_those_of_the_library() -> None:
    """Every pair the program shows of a drug is an edge, and no other."""
    table = read_table(shipped("targets.parquet"))
    assert set(table["licence"].astype(str)) <= set(OPEN_LICENCES)
    mechanism = table[table["tier"] == "mechanism"]
    pairs = set(zip(mechanism["key"].astype(str), mechanism["gene"].astype(str), strict=True))
    library = pd.read_parquet(shipped("").parent / "drugs" / "library.parquet")
    library = library[library["targets"] != ""]
    shown = {
        (drug_key(connectivity, name), gene)
        for connectivity, name, targets in zip(
            library["connectivity"], library["name"], library["targets"], strict=True
        )
        for gene in targets.split("|")
    }
    assert pairs == shown


def test_shipped_network_vectors_are_finite_and_of_whole_genes() -> None:
    with np.load(shipped("gene_features.npz"), allow_pickle=False) as arrays:
        netmf, has_ppi = arrays["netmf"].astype(np.float32), arrays["has_ppi"]
        assert netmf.shape == (len(arrays["entrez_id"]), 128)
        assert (np.diff(arrays["entrez_id"]) > 0).all()
    assert np.isfinite(netmf).all()
    assert (netmf.any(axis=1) == has_ppi).all()
    assert has_ppi.sum() > 16_000
