"""Pretraining: learns unseen edges, repeats itself, resumes, and masks what it is told to."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from graph_data import small_graph

from xpert_core.errors import DataError
from xpert_core.graph.encoder import EncoderConfig
from xpert_core.graph.pretrain import PretrainConfig, Pretraining, pretrain
from xpert_core.graph.records import SIMILAR, TARGETS
from xpert_core.graph.split import Hiding, rows_of

QUICK = PretrainConfig(
    epochs=30,
    evaluate_every=5,
    lr=0.01,
    valid=0.1,
    test=0.1,
    hiding=Hiding(supervised=300),
    encoder=EncoderConfig(hidden=32, out=32),
)


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def trained():
    return pretrain(small_graph(), QUICK)


def weights(done) -> dict[str, torch.Tensor]:
    return done.encoder.state_dict()


def test_the_loss_of_unseen_edges_falls_well_below_chance(trained) -> None:
    untrained = Pretraining(small_graph(), QUICK).evaluate()
    assert set(untrained) == {"targets", "targeted_by", "interacts", "similar"}
    best = next(e for e in trained.history if e.number == trained.best_epoch)
    assert best.valid_loss == min(e.valid_loss for e in trained.history if e.valid)
    assert best.valid["targets"] < untrained["targets"] - 0.5
    assert all(best.valid[relation] < untrained[relation] for relation in untrained)


def test_held_out_edges_and_their_reverses_carry_no_message_and_are_not_asked(trained) -> None:
    run = Pretraining(small_graph(), QUICK)
    source = run.split.test[TARGETS].source
    target = run.split.test[TARGETS].target
    forward = run._train_matrices[TARGETS].to_dense()
    backward = run._train_matrices["gene", "targeted_by", "drug"].to_dense()
    assert (forward[target, source] == 0).all()
    assert (backward[source, target] == 0).all()
    assert run.truth[TARGETS].contains(source, target).all(), "nor are they negatives"


def test_one_seed_gives_one_result_and_another_seed_another(trained) -> None:
    again = pretrain(small_graph(), QUICK)
    assert [e.loss for e in again.history] == [e.loss for e in trained.history]
    assert all(torch.equal(w, weights(again)[name]) for name, w in weights(trained).items())
    other = pretrain(small_graph(), replace(QUICK, seed=1, epochs=5))
    assert other.history[0].loss != trained.history[0].loss


def test_an_interrupted_run_ends_as_an_uninterrupted_one(trained, tmp_path: Path) -> None:
    state = tmp_path / "state.safetensors"

    class Stop(Exception):
        pass

    def interrupt(epoch) -> None:
        if epoch.number == 17:
            raise Stop

    with pytest.raises(Stop):
        pretrain(small_graph(), QUICK, state=state, progress=interrupt)
    numbers: list[int] = []
    resumed = pretrain(
        small_graph(), QUICK, state=state, progress=lambda epoch: numbers.append(epoch.number)
    )
    assert numbers[0] == 16, "from the last saved evaluation on"
    assert [e.loss for e in resumed.history] == [e.loss for e in trained.history]
    assert all(torch.equal(w, weights(resumed)[name]) for name, w in weights(trained).items())


def test_a_state_of_other_settings_or_a_damaged_one_is_refused(tmp_path: Path) -> None:
    state = tmp_path / "state.safetensors"
    short = replace(QUICK, epochs=5)
    pretrain(small_graph(), short, state=state)
    for config, masked in ((replace(short, temperature=0.2), ()), (short, _some_keys())):
        with pytest.raises(DataError, match="another graph, split or configuration"):
            pretrain(small_graph(), config, state=state, masked_drugs=masked)
    state.write_bytes(state.read_bytes()[:1000])
    with pytest.raises(DataError, match="cannot be used"):
        pretrain(small_graph(), short, state=state)


def _some_keys() -> list[str]:
    data = small_graph()
    return [data["drug"].key[row] for row in data[TARGETS].edge_index[0, :60].unique().tolist()]


def test_nothing_of_a_masked_drug_s_targets_reaches_the_result() -> None:
    # The strictest check: other targets of the masked drugs change nothing at all.
    data, keys = small_graph(), _some_keys()
    short = replace(QUICK, epochs=5)
    first = pretrain(data, short, masked_drugs=keys)
    changed = data.clone()
    rows = rows_of(data, keys)
    own = torch.isin(data[TARGETS].edge_index[0], rows)
    for relation, drug_side in ((TARGETS, 0), (("gene", "targeted_by", "drug"), 1)):
        index = changed[relation].edge_index.clone()
        own = torch.isin(index[drug_side], rows)
        assert own.any()
        index[1 - drug_side, own] = (index[1 - drug_side, own] + 17) % len(data["gene"].x)
        changed[relation].edge_index = index
    second = pretrain(changed, short, masked_drugs=keys)
    assert first.split.masked == tuple(sorted(keys))
    assert all(torch.equal(w, weights(second)[name]) for name, w in weights(first).items())
    unmasked = pretrain(changed, short)
    assert not all(torch.equal(w, weights(unmasked)[n]) for n, w in weights(first).items())


def test_training_stops_when_patience_is_used_up() -> None:
    # Weights that hardly move: the validation loss cannot fall for long.
    config = replace(QUICK, lr=1e-12, epochs=500, patience=2)
    done = pretrain(small_graph(), config)
    assert len(done.history) < 500
    assert len(done.history) == done.best_epoch + 2 * config.evaluate_every


def test_sampled_neighbours_train_as_well() -> None:
    config = replace(QUICK, sampling="neighbours", batch=100, epochs=6, evaluate_every=2)
    done = pretrain(small_graph(), config)
    losses = [e.valid_loss for e in done.history if e.valid]
    assert losses[-1] < losses[0]
    assert done.best_epoch > 0


def test_divergence_is_an_error_and_not_a_file() -> None:
    data = small_graph().clone()
    data["gene"].x = data["gene"].x.clone()
    data["gene"].x[0, 0] = float("nan")
    with pytest.raises(DataError, match="diverged"):
        pretrain(data, replace(QUICK, epochs=1))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"sampling": "random"}, "sampling 'random'"),
        ({"fan_outs": [5, 5]}, "2 fan-outs for 3 layers"),
        ({"temperature": 0}, "above 0"),
        ({"hiding": {"drugs": 1}}, "drugs"),
    ],
)
def test_wrong_settings_are_clear_errors(values: dict, message: str) -> None:
    with pytest.raises(DataError) as error:
        PretrainConfig.from_dict(values)
    assert message in str(error.value)


def test_unknown_settings_are_named_and_the_shipped_recipe_is_read() -> None:
    import yaml

    with pytest.raises(DataError, match="unknown keys: speed"):
        PretrainConfig.from_dict({"speed": 1})
    recipe = Path(__file__).parents[3] / "training" / "configs" / "graph.yaml"
    config = PretrainConfig.from_dict(yaml.safe_load(recipe.read_text(encoding="utf-8")))
    assert config.encoder.layers == 3
    assert config.negatives == 10


def test_similar_drugs_of_a_masked_drug_stay() -> None:
    run = Pretraining(small_graph(), QUICK, _some_keys())
    rows = rows_of(small_graph(), _some_keys())
    pairs = run.split.known[SIMILAR]
    assert torch.isin(pairs.source, rows).any()
