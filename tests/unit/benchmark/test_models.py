"""Models of a benchmark: what each is given of the data, of the graph and of its own settings."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from xpert_core.baselines.stack import Stack
from xpert_core.benchmark.config import BenchmarkConfig, ModelSpec
from xpert_core.benchmark.models import held_out, make_model, recipe_of, with_drug_input
from xpert_core.errors import DataError
from xpert_core.learning.folds import labels_of, make_folds
from xpert_core.tokens.biology import Biology
from xpert_core.tokens.dataset import TrainingData

ROOT = Path(__file__).parents[3]
DATA = ROOT / "tests" / "data" / "l1000_small.safetensors"


def test_drug_inputs_are_taken_away_or_exchanged() -> None:
    data = TrainingData.load(DATA)
    zeroed = with_drug_input(data, "zeroed", 0)
    assert not (zeroed.fingerprint.any() or zeroed.molecule.any() or zeroed.has_molecule.any())
    shuffled = with_drug_input(data, "shuffled", 0)
    moved = [s != t for s, t in zip(data.drug_smiles, shuffled.drug_smiles, strict=True) if s]
    assert np.mean(moved) > 0.9
    assert sorted(shuffled.drug_smiles) == sorted(data.drug_smiles)
    i = next(i for i, s in enumerate(shuffled.drug_smiles) if s)
    j = data.drug_smiles.index(shuffled.drug_smiles[i])
    np.testing.assert_array_equal(shuffled.fingerprint[i], data.fingerprint[j])
    own, other = (d.atoms[slice(*d.atom_offsets[k : k + 2])] for d, k in ((shuffled, i), (data, j)))
    np.testing.assert_array_equal(own, other)
    assert with_drug_input(data, "true", 0) is data


def test_xpert_is_trained_by_its_recipe_and_never_shown_the_test_rows() -> None:
    pytest.importorskip("lightning")
    config = BenchmarkConfig.load(ROOT / "training" / "configs" / "smoke.yaml")
    spec = next(m for m in config.models if m.name == "XPert of a single branch")
    assert recipe_of(spec, config.base)["model"]["single_branch"] is True
    assert recipe_of(spec, config.base)["model"]["d_model"] == 16
    data = TrainingData.load(config.data)
    rows = np.arange(len(data))
    train, valid, test = rows[::3], rows[1::3], rows[2::3]
    hidden = replace(data, x_deg=data.x_deg.copy())
    hidden.x_deg[test] = 1e6
    predictions = []
    for given in (data, hidden):
        model = make_model(spec, config.base, 0)
        model.fit(given, train, valid)
        predictions.append(model.predict(given, test))
    np.testing.assert_allclose(predictions[0], predictions[1], atol=1e-5)


def graph_model(tmp_path: Path, withheld: tuple[str, ...], **settings: object) -> ModelSpec:
    """XPert with graph vectors of an encoder that never saw the targets of some drugs."""
    data = TrainingData.load(DATA)
    vectors = np.ones((len(data.drug_keys), 4), dtype=np.float32) / 2
    path = tmp_path / "biology.safetensors"
    Biology(data.drug_keys, vectors, vectors, withheld, "g" * 64).save(path)
    recipe = str(ROOT / "training" / "configs" / "smoke-xpert.yaml")
    values = {"graph": str(path), "max_epochs": 1, **settings}
    return ModelSpec("XPert", "xpert", settings=values, recipe=recipe)


def test_graph_vectors_that_know_test_drugs_are_refused_in_a_strict_split(tmp_path: Path) -> None:
    pytest.importorskip("lightning")
    data = TrainingData.load(DATA)
    split = make_folds(labels_of(data), "cold-drug", n_folds=3).split(0)
    keys = np.array(data.drug_keys)[data.drug_index]
    hidden = {part: tuple(sorted(set(keys[getattr(split, part)]))) for part in ("valid", "test")}
    # Only the validation drugs are withheld: the test drugs' targets are known to the encoder.
    leaking = make_model(graph_model(tmp_path, hidden["valid"]), tmp_path, 0)
    with pytest.raises(DataError, match="saw the targets"):
        leaking.fit(data, split.train, split.valid)
    told = make_model(graph_model(tmp_path, (), targets="informed"), tmp_path, 0)
    told.fit(data, split.train, split.valid)
    both = tuple(sorted({*hidden["valid"], *hidden["test"]}))
    strict = make_model(graph_model(tmp_path, both), tmp_path, 0)
    strict.fit(data, split.train, split.valid)
    assert np.isfinite(strict.predict(data, split.test)).all()


def test_without_its_drug_input_the_place_in_the_graph_goes_too(tmp_path: Path) -> None:
    spec = graph_model(tmp_path, ())
    assert recipe_of(spec, tmp_path)["graph"]
    for drug in ("zeroed", "shuffled"):
        assert recipe_of(replace(spec, drug=drug), tmp_path)["graph"] == ""


def test_a_stack_holds_out_what_the_scenario_holds_out() -> None:
    data = TrainingData.load(DATA)
    for scenario, label in (
        ("cold-drug", "drug"),
        ("warm-start", "condition"),
        ("cold-cell", "cell"),
    ):
        own = held_out(data, scenario)
        np.testing.assert_array_equal(own, getattr(labels_of(data), label))
        spec = ModelSpec("stack", "stack")
        assert make_model(spec, Path(), 0, own).groups is own
    assert ModelSpec("stack", "stack").splits_again and not ModelSpec("r", "ridge").splits_again
    assert ModelSpec("x", "xpert", settings={"residual": True}).splits_again


def test_snapshots_and_residuals_of_xpert() -> None:
    pytest.importorskip("lightning")
    config = BenchmarkConfig.load(ROOT / "training" / "configs" / "smoke.yaml")
    data = TrainingData.load(config.data)
    rows = np.arange(len(data))
    train, valid, test = rows[::3], rows[1::3], rows[2::3]
    base = next(m for m in config.models if m.name == "XPert")
    groups = held_out(data, "cold-drug")

    def fitted(**settings: object) -> np.ndarray:
        model = make_model(replace(base, settings=settings), config.base, 0, groups)
        model.fit(data, train, valid)
        return model.predict(data, test)

    one, both, last = fitted(), fitted(snapshots=2), fitted(snapshots=9)
    assert np.abs(one - both).max() > 1e-4, "two epochs, two weights"
    np.testing.assert_allclose(both, last, atol=1e-5)
    stack = Stack(0, groups)
    stack.fit(data, train, valid)
    added = fitted(residual=True, max_epochs=1, lr=1e-9)
    np.testing.assert_allclose(added, stack.predict(data, test), atol=1e-3)
    assert np.abs(fitted(residual=True) - stack.predict(data, test)).max() > 1e-2
