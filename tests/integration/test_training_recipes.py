"""The recipes in training/ fit together: from held-out drugs over the graph to the network."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from training import prepare_biology, pretrain_graph
from xpert_core.graph.build import load_shipped_graph
from xpert_core.graph.embed import ENCODER
from xpert_core.graph.encoder import save_encoder
from xpert_core.graph.pretrain import PretrainConfig, Pretraining
from xpert_core.learning.config import TrainConfig
from xpert_core.learning.trainer import build
from xpert_core.tokens.biology import Biology

DATA = Path(__file__).parents[1] / "data" / "l1000_small.safetensors"


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", ["prepare_biology", *map(str, arguments)])
    prepare_biology.main()


def test_held_out_drugs_stay_unstudied_from_the_graph_to_the_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "run.yaml"
    vectors = tmp_path / "biology.safetensors"
    values = {"name": "tiny", "data": str(DATA), "valid": 0.15, "test": 0.15}
    config.write_text(yaml.safe_dump({**values, "graph": str(vectors)}))

    run(monkeypatch, "held-out", config, tmp_path / "held_out.txt")
    held_out = pretrain_graph.read_keys(tmp_path / "held_out.txt")
    graph = load_shipped_graph()
    inside = sorted(set(held_out) & set(graph["drug"].key))
    assert len(inside) > 5
    # Not trained: that the encoder learns is tested elsewhere, here the files must fit together.
    encoder = Pretraining(graph, PretrainConfig(), inside).result().encoder
    meta = {"seed": 0, "masked": inside, "featurizer": ["aimnet2", "0" * 64]}
    (tmp_path / "graph").mkdir()
    save_encoder(tmp_path / "graph" / ENCODER, encoder, meta)
    run(monkeypatch, "vectors", config, tmp_path / "graph", vectors)

    biology = Biology.load(vectors)
    with_targets = [i for i, key in enumerate(biology.drug_keys) if key in inside]
    moved = np.abs(biology.strict - biology.informed).max(axis=1) > 1e-4
    targeted = {graph["drug"].key[i] for i in graph["drug", "targets", "gene"].edge_index[0]}
    studied = [i for i in with_targets if biology.drug_keys[i] in targeted]
    assert studied and moved[studied].all(), "their own targets are withheld in the strict table"
    setup = build(TrainConfig.load(config), tmp_path)
    assert setup.model.config.use_graph and setup.biology is not None
    assert setup.biology.digest == biology.digest
