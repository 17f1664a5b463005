"""Vectors of a fold: neither encoder nor strict vectors know the targets of held-out drugs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from graph_data import small_graph
from torch_geometric.data import HeteroData

from training.fold_graph import namesakes, places, pretrain_without, run
from xpert_core.benchmark.config import BenchmarkConfig
from xpert_core.errors import DataError
from xpert_core.graph.embed import ENCODER
from xpert_core.graph.encoder import load_encoder
from xpert_core.graph.pretrain import PretrainConfig
from xpert_core.graph.records import TARGETED_BY, TARGETS
from xpert_core.tokens.biology import Biology
from xpert_core.tokens.dataset import TrainingData

ROOT = Path(__file__).parents[2]
DATA = ROOT / "tests" / "data" / "l1000_small.safetensors"
TINY = {"epochs": 1, "evaluate_every": 1, "encoder": {"hidden": 8, "out": 8, "layers": 3}}


def benchmark(folder: Path, graph: str) -> Path:
    """A benchmark of one model with vectors of its fold."""
    model = {
        "name": "XPert, graph", "kind": "xpert", "settings": {"graph": graph},
        "recipe": str(ROOT / "training" / "configs" / "smoke-xpert.yaml"),
    }  # fmt: skip
    values = {
        "name": "tiny", "data": str(DATA), "n_folds": 3, "models": ["mean", model],
        "scenarios": [{"name": "cold-drug", "folds": [2]}],
    }  # fmt: skip
    path = folder / "bench.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def test_vectors_are_written_for_the_folds_that_ask_and_kept(tmp_path: Path) -> None:
    config = benchmark(tmp_path, str(tmp_path / "{scenario}-{fold}.safetensors"))
    tiny = tmp_path / "graph.yaml"
    tiny.write_text(yaml.safe_dump(TINY))
    (path,) = run(config, tiny, tmp_path, [])
    assert path == tmp_path / "cold-drug-2.safetensors"
    data, biology = TrainingData.load(DATA), Biology.load(path)
    assert biology.drug_keys == data.drug_keys and biology.strict.shape[1] == 8
    split = (tmp_path / "splits" / "cold-drug-both-3-folds-seed-0.csv").read_text().splitlines()
    parts = [line.rsplit(",", 2)[1] for line in split if not line.startswith(("#", "row"))]
    keys = np.array(data.drug_keys)[data.drug_index]
    trained = set(keys[[part == "train" for part in parts]])
    held_out = set(keys[[part in ("valid", "test") for part in parts]])
    assert held_out and held_out <= set(biology.held_out) and not trained & set(biology.held_out)
    (encoder,) = (tmp_path / "encoders").glob(f"*/{ENCODER}")
    masked = set(load_encoder(encoder)[1]["masked"])
    graph_keys = set(biology.held_out) & masked
    assert graph_keys and not trained & masked
    told = [
        key in held_out and bool(data.targets_of(i)) and bool(biology.strict[i].any())
        for i, key in enumerate(data.drug_keys)
    ]
    cosine = (biology.strict * biology.informed).sum(axis=1)
    assert any(told) and cosine[told].max() < 0.9999, "being told the targets moves a drug"
    before = path.read_bytes()
    encoder.unlink()
    assert run(config, tiny, tmp_path, []) == [path]
    assert path.read_bytes() == before and not encoder.exists(), "what is there stays"


def without_edges(graph: HeteroData, keys: tuple[str, ...]) -> HeteroData:
    """The graph as if nobody knew a target of some drugs."""
    changed = graph.clone()
    rows = torch.tensor([graph["drug"].key.index(key) for key in keys])
    for relation, side in ((TARGETS, 0), (TARGETED_BY, 1)):
        index = graph[relation].edge_index
        kept = ~torch.isin(index[side], rows)
        changed[relation].edge_index = index[:, kept]
        changed[relation].edge_weight = graph[relation].edge_weight[kept]
    return changed


def test_the_encoder_is_the_same_as_if_the_edges_had_never_been(tmp_path: Path) -> None:
    graph = small_graph()
    masked = tuple(sorted(graph["drug"].key[row] for row in (1, 5, 9)))
    tiny = PretrainConfig.from_dict({**TINY, "epochs": 2})
    folders = [
        pretrain_without(graph, tiny, masked, tmp_path / "a"),
        pretrain_without(without_edges(graph, masked), tiny, masked, tmp_path / "b"),
        pretrain_without(graph, tiny, (), tmp_path / "c"),
    ]
    one, other, informed = (load_encoder(folder / ENCODER)[0].state_dict() for folder in folders)
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert not all(torch.equal(one[name], informed[name]) for name in one)
    assert folders[0] == pretrain_without(graph, tiny, masked, tmp_path / "a")


def test_a_prodrug_of_the_same_name_is_withheld_too() -> None:
    data, graph = TrainingData.load(DATA), HeteroData()
    drug = next(i for i, text in enumerate(data.drug_aliases) if text)
    key, alias = data.drug_keys[drug], data.drug_aliases[drug].split("|")[-1]
    graph["drug"].key = [key, "PRODRUG", "SPELLED", "OTHER"]
    graph["drug"].name = ["x", alias, f"{alias[:2]}-{alias[2:]}".upper(), "nobody's name"]
    assert namesakes(data, graph, (key,)) == ("PRODRUG", "SPELLED")
    assert namesakes(data, graph, ()) == ()


def test_a_benchmark_that_looks_elsewhere_is_refused(tmp_path: Path) -> None:
    elsewhere = benchmark(tmp_path, str(tmp_path / "other" / "{scenario}-{fold}.safetensors"))
    with pytest.raises(DataError, match="looks for its graph vectors elsewhere"):
        places(BenchmarkConfig.load(elsewhere), tmp_path)
    fixed = benchmark(tmp_path, "one-file.safetensors")
    with pytest.raises(DataError, match="No model of the benchmark names graph vectors"):
        places(BenchmarkConfig.load(fixed), tmp_path)
