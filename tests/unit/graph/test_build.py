"""The graph itself: its form, its file, and the shipped one."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from xpert_core.drugs import Drug, DrugLibrary
from xpert_core.errors import DataError, DrugError
from xpert_core.graph.build import (
    assemble,
    build_graph,
    load_graph,
    load_shipped_graph,
    read_description,
    save_graph,
    shipped_fingerprints,
    shipped_tables,
)
from xpert_core.graph.neighbours import neighbours
from xpert_core.graph.records import (
    INTERACTS,
    RELATIONS,
    SIMILAR,
    TARGETED_BY,
    TARGETS,
    Edges,
    GraphStatistics,
    GraphTables,
)

torch_geometric = pytest.importorskip("torch_geometric")


@pytest.fixture(scope="module")
def tables() -> GraphTables:
    return shipped_tables()


@pytest.fixture(scope="module")
def small(tables: GraphTables) -> GraphTables:
    """The first 300 drugs and all genes."""
    size = 300
    drugs, targets, similar = tables.drugs, tables.targets, tables.similar
    own, near = targets.source < size, (similar.source < size) & (similar.target < size)
    return replace(
        tables,
        drugs=type(drugs)(
            drugs.key[:size], drugs.name[:size], drugs.smiles[:size], drugs.molecule[:size]
        ),
        targets=Edges(targets.source[own], targets.target[own], targets.weight[own]),
        similar=Edges(similar.source[near], similar.target[near], similar.weight[near]),
    )


def without(edges: Edges) -> Edges:
    return Edges(edges.source[:0], edges.target[:0], edges.weight[:0])


def targets_of(tables: GraphTables, name: str) -> set[str]:
    row = tables.drugs.name.index(name)
    return {tables.genes.symbol[g] for g in tables.targets.target[tables.targets.source == row]}


def test_the_shipped_graph_has_the_form_the_encoder_reads() -> None:
    data = load_shipped_graph()
    data.validate(raise_on_error=True)
    drug, gene = data["drug"], data["gene"]
    assert drug.x.shape == (len(drug.key), 256) and drug.x.dtype == torch.float32
    assert gene.x.shape == (len(gene.symbol), 128) and gene.x.dtype == torch.float32
    assert len(set(drug.key)) == len(drug.key) == len(drug.name)
    assert torch.equal(drug.has_x, drug.x.any(dim=1))
    assert gene.entrez_id.dtype == torch.int64 and (gene.entrez_id.diff() > 0).all()
    for relation in RELATIONS:
        index, weight = data[relation].edge_index, data[relation].edge_weight
        assert index.dtype == torch.int64 and weight.dtype == torch.float32
        assert weight.min() > 0 and weight.max() <= 1
    for relation in (INTERACTS, SIMILAR):
        a, b = data[relation].edge_index
        assert (a != b).all()
        forth = {*zip(a.tolist(), b.tolist(), strict=True)}
        assert len(forth) == len(a) and {(y, x) for x, y in forth} == forth
    a, b = data[TARGETS].edge_index
    c, d = data[TARGETED_BY].edge_index
    assert {*zip(a.tolist(), b.tolist(), strict=True)} == {
        *zip(d.tolist(), c.tolist(), strict=True)
    }
    assert data[INTERACTS].edge_weight.min() > 0.7
    assert data[SIMILAR].edge_weight.min() > 0.5


def test_known_drugs_have_their_targets(tables: GraphTables) -> None:
    assert {"HDAC1", "HDAC2"} <= targets_of(tables, "vorinostat")
    assert "EGFR" in targets_of(tables, "gefitinib")
    assert "CYP19A1" in targets_of(tables, "letrozole")
    assert targets_of(tables, "nivolumab") == {"PDCD1"}
    row = tables.drugs.key.index("name:nivolumab")
    assert not tables.drugs.smiles[row] and not tables.drugs.molecule[row].any()
    assert row not in tables.similar.source and row not in tables.similar.target


def test_shipped_similar_drugs_are_those_computed_anew(tables: GraphTables) -> None:
    steps: list[tuple[str, int, int]] = []
    fresh = assemble(progress=lambda *step: steps.append(step))
    for name in ("source", "target", "weight"):
        np.testing.assert_array_equal(getattr(fresh.similar, name), getattr(tables.similar, name))
    assert fresh.drugs.key == tables.drugs.key
    assert steps[-1][1] == steps[-1][2]
    keys, packed = shipped_fingerprints()
    assert packed.shape == (len(keys), 256) and list(tables.drugs.key[: len(keys)]) == keys


def test_statistics_count_pairs_once(small: GraphTables) -> None:
    statistics = GraphStatistics.of(small)
    data = build_graph(small)
    assert statistics.nodes == {"drug": 300, "gene": len(small.genes.symbol)}
    assert statistics.edges["targets"] == data[TARGETS].num_edges
    assert statistics.edges["similar"] * 2 == data[SIMILAR].num_edges
    assert statistics.drugs_with_target == data[TARGETS].edge_index[0].unique().numel()
    linked = torch.cat([data[TARGETS].edge_index[0], data[SIMILAR].edge_index[0]]).unique()
    assert statistics.isolated["drug"] == 300 - linked.numel()
    assert 0.99 < statistics.sparsity < 1
    empty = GraphStatistics.of(replace(small, similar=without(small.similar)))
    assert empty.notes == ("The relation 'similar' has no edge.",)


def test_a_graph_without_similar_drugs_is_built_with_an_empty_relation(small: GraphTables) -> None:
    data = build_graph(replace(small, similar=without(small.similar)))
    assert data[SIMILAR].edge_index.shape == (2, 0)
    assert data.validate()


def test_a_drug_with_neither_structure_nor_target_is_refused(small: GraphTables) -> None:
    bare = replace(small.drugs, smiles=("", *small.drugs.smiles[1:]))
    with pytest.raises(DataError, match="neither a structure nor a target") as caught:
        build_graph(replace(small, drugs=bare, targets=without(small.targets)))
    assert caught.value.where == small.drugs.name[0]
    with pytest.raises(DrugError, match="neither a structure nor a known target"):
        neighbours(Drug(name="nothing known", smiles="", inchikey=""))


def test_edges_to_nodes_that_are_not_there_are_refused(small: GraphTables) -> None:
    wrong = replace(small.targets, target=small.targets.target + len(small.genes.symbol))
    with pytest.raises(DataError, match="not there"):
        build_graph(replace(small, targets=wrong))
    with pytest.raises(DataError, match="threshold"):
        assemble(threshold=1.0)


def test_a_file_gives_back_the_same_graph(small: GraphTables, tmp_path: Path) -> None:
    data, path = build_graph(small), tmp_path / "graph.safetensors"
    save_graph(data, path)
    again = load_graph(path)
    for node in ("drug", "gene"):
        assert torch.equal(again[node].x, data[node].x)
        assert torch.equal(again[node].has_x, data[node].has_x)
    assert again["drug"].key == data["drug"].key and again["gene"].symbol == data["gene"].symbol
    for relation in RELATIONS:
        assert torch.equal(again[relation].edge_index, data[relation].edge_index)
        assert torch.equal(again[relation].edge_weight, data[relation].edge_weight)
    statistics, settings = read_description(path)
    assert statistics == GraphStatistics.of(small) and settings == small.settings


def test_damaged_graph_files_are_refused(small: GraphTables, tmp_path: Path) -> None:
    path = tmp_path / "graph.safetensors"
    with pytest.raises(DataError, match="missing"):
        load_graph(path)
    save_graph(build_graph(small), path)
    content = path.read_bytes()
    for size in (0, 7, 100, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:size])
        for read in (load_graph, read_description):
            with pytest.raises(DataError, match="damaged"):
                read(path)
    from safetensors.torch import save_file

    save_file({"drug.x": torch.zeros(2, 2)}, path)
    with pytest.raises(DataError, match="no graph of this version"):
        load_graph(path)
    described = {"schema": "1", "statistics": "{}", "settings": "{}"}
    save_file({"drug.x": torch.zeros(2, 2)}, path, metadata=described)
    for read in (load_graph, read_description):
        with pytest.raises(DataError, match="damaged"):
            read(path)


def test_a_file_whose_edges_leave_the_nodes_is_refused(small: GraphTables, tmp_path: Path) -> None:
    from safetensors import safe_open
    from safetensors.torch import save_file

    path = tmp_path / "graph.safetensors"
    save_graph(build_graph(small), path)
    with safe_open(path, framework="pt") as file:
        names = list(file.keys())
        tensors, header = {n: file.get_tensor(n) for n in names}, file.metadata()
    broken = {
        "drug.targets.gene.edge_index": lambda t: t + 10**6,
        "drug.similar.drug.edge_weight": lambda t: t[:-1],
        "gene.x": lambda t: t * float("nan"),
    }
    for name, change in broken.items():
        save_file({**tensors, name: change(tensors[name]).contiguous()}, path, metadata=header)
        with pytest.raises(DataError, match="damaged"):
            load_graph(path)


def test_neighbours_of_known_and_new_drugs(tables: GraphTables) -> None:
    library = DrugLibrary.load()
    found = neighbours(library.resolve("gefitinib"), 5, tables)
    assert found.in_graph and "EGFR" in {gene.symbol for gene in found.targets}
    egfr = next(gene for gene in found.targets if gene.symbol == "EGFR")
    assert egfr.known and egfr.drugs > 10 and egfr.partners > 100
    scores = [other.tanimoto for other in found.similar]
    assert len(scores) == 5 and scores == sorted(scores, reverse=True)
    assert found.key not in {other.key for other in found.similar}
    new = library.resolve("COc1cc2ncnc(Nc3ccc(F)c(Cl)c3)c2cc1OCCCCCCN1CCOCC1")
    placed = neighbours(new, 3, tables)
    assert not placed.in_graph and placed.similar[0].name == "gefitinib"
    agent = neighbours(library.resolve("nivolumab"), 3, tables)
    assert agent.in_graph and agent.similar == () and agent.targets[0].symbol == "PDCD1"
    odd = replace(library.resolve("nivolumab"), targets=("XYZ987",))
    assert not neighbours(odd, 3, tables).targets[0].known


def test_statistics_and_neighbours_need_no_graph_library() -> None:
    program = (
        "import sys; sys.modules['torch_geometric'] = None; "
        "from xpert_core.graph.build import shipped_tables; "
        "from xpert_core.graph.records import GraphStatistics; import json; "
        "print(json.dumps(GraphStatistics.of(shipped_tables()).nodes)); "
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout)["drug"] > 10_000
