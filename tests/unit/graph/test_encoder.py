"""The encoder: weights of edges count, layers are their own, new drugs fit in."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from graph_data import small_graph
from torch_geometric.nn import SAGEConv

from xpert_core.errors import CheckpointError, DataError
from xpert_core.graph.encoder import (
    EncoderConfig,
    GraphEncoder,
    WeightedSAGE,
    adjacencies,
    adjacency,
    features_of,
    load_encoder,
    save_encoder,
    sizes_of,
)
from xpert_core.graph.records import INTERACTS, RELATIONS, SIMILAR, TARGETED_BY
from xpert_core.graph.split import Directed, Pairs, directed, pairs_of


def encoder_of(data, **changes) -> GraphEncoder:
    torch.manual_seed(0)
    encoder = GraphEncoder(EncoderConfig(**{"hidden": 16, "out": 12, **changes}))
    encoder.fit_inputs(data)
    return encoder.eval()


def run(encoder, data, pairs=None):
    with torch.no_grad():
        return encoder(features_of(data), adjacencies(pairs or pairs_of(data), sizes_of(data)))


def test_convolution_is_the_weighted_mean_of_neighbours_plus_the_root() -> None:
    torch.manual_seed(0)
    conv = WeightedSAGE(3, 2)
    x, y = torch.randn(4, 3), torch.randn(2, 3)
    edges = Directed(
        torch.tensor([3, 0, 2]), torch.tensor([0, 0, 0]), torch.tensor([0.5, 0.9, 0.6])
    )
    found = conv((x, y), adjacency(edges, 4, 2))
    mean = (0.5 * x[3] + 0.9 * x[0] + 0.6 * x[2]) / 2.0
    assert torch.allclose(found[0], conv.neighbours(mean) + conv.root(y[0]), atol=1e-6)
    assert torch.allclose(found[1], conv.root(y[1]), atol=1e-6), "no neighbour, no message"


def test_with_equal_weights_it_is_the_sage_of_pytorch_geometric() -> None:
    data = small_graph()
    torch.manual_seed(0)
    ours, theirs = WeightedSAGE(128, 8), SAGEConv(128, 8)
    theirs.lin_l.weight, theirs.lin_r.weight = ours.neighbours.weight, ours.root.weight
    theirs.lin_l.bias = ours.root.bias
    source, target = data[INTERACTS].edge_index
    edges = Directed(source, target, torch.ones(len(source)))
    x = data["gene"].x
    found = ours(x, adjacency(edges, len(x), len(x)))
    assert torch.allclose(found, theirs(x, data[INTERACTS].edge_index), atol=1e-4)


@pytest.mark.parametrize("relation", [SIMILAR, INTERACTS])
def test_edge_weights_change_the_embeddings(relation) -> None:
    data = small_graph()
    encoder, pairs = encoder_of(data), pairs_of(data)
    before = run(encoder, data)
    p = pairs[relation]
    changed = {**pairs, relation: Pairs(p.source, p.target, p.weight.flip(0))}
    after = run(encoder, data, changed)
    moved = (before[relation[0]] - after[relation[0]]).abs().max()
    assert moved > 1e-3


def test_every_layer_and_relation_has_weights_of_its_own_and_all_learn() -> None:
    data = small_graph()
    encoder = encoder_of(data).train()
    convs = [layer.convs[relation] for layer in encoder.layers for relation in RELATIONS]
    assert len({id(conv) for conv in convs}) == 3 * 4
    pointers = [p.data_ptr() for p in encoder.parameters()]
    assert len(pointers) == len(set(pointers)), "no parameter is tied"
    features = {
        n: (x, has_x & (torch.rand(len(x)) < 0.9)) for n, (x, has_x) in features_of(data).items()
    }
    out = encoder(features, adjacencies(pairs_of(data), sizes_of(data)))
    (out["drug"].pow(2).sum() + out["gene"].pow(2).sum()).backward()
    for name, parameter in encoder.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


def test_the_output_has_both_signs() -> None:
    data = small_graph()
    for vectors in run(encoder_of(data), data).values():
        assert vectors.shape[1] == 12
        assert 0.2 < float((vectors < 0).float().mean()) < 0.8


def test_missing_features_are_a_learned_vector_and_not_zeros() -> None:
    data = small_graph()
    project = encoder_of(data).inputs["drug"]
    x = torch.randn(2, 256)
    with torch.no_grad():
        hidden = project(x, torch.tensor([False, False]))
        shown = project(x, torch.tensor([True, True]))
    assert torch.equal(hidden[0], hidden[1])
    assert hidden.abs().max() > 0
    assert not torch.allclose(hidden, shown)


def test_standardisation_is_fitted_on_nodes_with_features_alone() -> None:
    data = small_graph()
    x, has_x = data["drug"].x.clone(), data["drug"].has_x.clone()
    has_x[:5] = False
    x[:5] = 1e6
    encoder = encoder_of(data)
    encoder.inputs["drug"].fit(x, has_x)
    assert torch.allclose(encoder.inputs["drug"].mean, x[has_x].mean(0))
    assert encoder.inputs["drug"].scale.max() < 1e3


def test_a_drug_attached_with_its_own_edges_gets_its_own_vector() -> None:
    # A drug that nothing else depends on, attached anew, must land exactly where it was.
    data = small_graph()
    encoder, pairs = encoder_of(data), pairs_of(data)
    touched = torch.cat([pairs[SIMILAR].source, pairs[SIMILAR].target])
    alone = next(d for d in range(len(data["drug"].key)) if d not in set(touched.tolist()))
    with torch.no_grad():
        states = encoder.states(data)
        genes = directed(pairs)[TARGETED_BY]
        own = genes.target == alone
        here = torch.zeros(int(own.sum()), dtype=torch.long)
        nothing = Directed(here[:0], here[:0], torch.zeros(0))
        matrices = {
            TARGETED_BY: adjacency(
                Directed(genes.source[own], here, genes.weight[own]), len(data["gene"].x), 1
            ),
            SIMILAR: adjacency(nothing, len(data["drug"].x), 1),
        }
        x, has_x = features_of(data)["drug"]
        rows = torch.tensor([alone])
        vector = encoder.attach(states, (x[rows], has_x[rows]), matrices)
    assert torch.allclose(vector[0], states["drug"][-1][alone], atol=1e-5)


def test_saved_and_loaded_it_answers_the_same(tmp_path: Path) -> None:
    data = small_graph()
    encoder = encoder_of(data)
    path = tmp_path / "encoder.safetensors"
    save_encoder(path, encoder, {"masked": ["a"]})
    loaded, meta = load_encoder(path)
    assert meta == {"masked": ["a"]}
    for node, vectors in run(encoder, data).items():
        assert torch.equal(vectors, run(loaded, data)[node])


def test_damaged_files_are_clear_errors(tmp_path: Path) -> None:
    path = tmp_path / "encoder.safetensors"
    with pytest.raises(CheckpointError, match="missing"):
        load_encoder(path)
    encoder = encoder_of(small_graph())
    save_encoder(path, encoder, {})
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="damaged"):
        load_encoder(path)
    encoder.inputs["drug"].mean[0] = float("nan")
    save_encoder(path, encoder, {})
    with pytest.raises(CheckpointError, match="damaged"):
        load_encoder(path)


def test_settings_are_checked() -> None:
    with pytest.raises(DataError, match="no setting heads"):
        EncoderConfig.from_dict({"heads": 2})
    with pytest.raises(DataError, match="out of range"):
        EncoderConfig.from_dict({"layers": 0})
