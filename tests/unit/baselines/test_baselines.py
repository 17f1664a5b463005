"""Baselines on real rows: what they compute, that they can learn, and where they apply."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.unit.baselines.conftest import NOTHING, sized
from xpert_core.baselines.neighbours import NearestDrugs
from xpert_core.baselines.network import CONDITION_DIM, conditions
from xpert_core.baselines.registry import available, create
from xpert_core.baselines.simple import MeanOfCell, RidgeRegression
from xpert_core.errors import DataError
from xpert_core.evaluation.metrics import pearson_rows
from xpert_core.learning.folds import labels_of, make_folds
from xpert_core.learning.splits import split_by_drug
from xpert_core.tokens.dataset import TrainingData

# A GPU adds in no fixed order; what a network does there: test_on_gpu.py.
pytestmark = pytest.mark.usefixtures("on_processor")
NETWORKS = sorted(n for n, info in available().items() if info.seeded and not info.grouped)


def test_mean_of_cell_is_the_mean_of_its_training_rows(data: TrainingData) -> None:
    split = split_by_drug(data, valid=0.2, test=0.2)
    model = MeanOfCell()
    model.fit(data, split.train, split.valid)
    row = split.test[:1]
    same = (data.cell_index[split.train] == data.cell_index[row]) & (
        data.readout[split.train] == data.readout[row]
    )
    expected = data.x_deg[split.train[same]].mean(axis=0)
    np.testing.assert_allclose(model.predict(data, row)[0], expected, atol=1e-6)


@pytest.mark.parametrize("name", ["mean", "mean-cell", "mean-drug"])
def test_unseen_groups_get_the_mean_of_their_readout(data: TrainingData, name: str) -> None:
    cell = data.cell_index[0]
    seen, unseen = np.flatnonzero(data.cell_index != cell), np.flatnonzero(data.cell_index == cell)
    new = unseen[~np.isin(data.drug_index[unseen], data.drug_index[seen])][:1]
    model = create(name)
    model.fit(data, seen, NOTHING)
    same = seen[data.readout[seen] == data.readout[new[0]]]
    expected = data.x_deg[same].mean(axis=0)
    np.testing.assert_allclose(model.predict(data, new)[0], expected, atol=1e-6)


@pytest.mark.parametrize("name", ["mean-profile", "mean-profile-cell", "mean-profile-drug"])
def test_means_of_profiles_are_those_of_the_paper(data: TrainingData, name: str) -> None:
    rows = np.arange(0, len(data), 2)
    model = create(name)
    model.fit(data, rows, NOTHING)
    train = rows[data.has_x_pert[rows]]
    control = data.profiles[data.profile_index]
    after = control + data.x_deg
    label = {"mean-profile-cell": data.cell_index, "mean-profile-drug": data.drug_index}.get(name)
    asked = np.arange(1, len(data), 2)
    level3 = asked[data.has_x_pert[asked]]
    if label is None:
        # As many controls as treated samples: one a row.
        mean = np.concatenate([control[train], after[train]]).mean(axis=0)
        expected = mean - control[level3]
    else:
        level3 = level3[np.isin(label[level3], label[train])]
        expected = np.stack(
            [after[train[label[train] == label[row]]].mean(axis=0) - control[row] for row in level3]
        )
    assert len(level3)
    np.testing.assert_allclose(model.predict(data, level3), expected, atol=1e-4)
    # Without a profile after treatment: the mean change.
    level5 = asked[~data.has_x_pert[asked]]
    change = create(name.replace("-profile", ""))
    change.fit(data, rows, NOTHING)
    assert len(level5)
    np.testing.assert_array_equal(model.predict(data, level5), change.predict(data, level5))


def test_means_of_profiles_answer_for_the_unknown_and_without_any_profile(
    data: TrainingData,
) -> None:
    level5 = np.flatnonzero(~data.has_x_pert)
    model = create("mean-profile-drug")
    model.fit(data, level5, NOTHING)
    change = create("mean-drug")
    change.fit(data, level5, NOTHING)
    rows = np.arange(len(data))
    np.testing.assert_array_equal(model.predict(data, rows), change.predict(data, rows))
    level3 = np.flatnonzero(data.has_x_pert)
    drug = data.drug_index[level3[0]]
    train, new = level3[data.drug_index[level3] != drug], level3[:1]
    model.fit(data, train, NOTHING)
    control = data.profiles[data.profile_index]
    mean = (control + data.x_deg)[train].mean(axis=0)
    np.testing.assert_allclose(model.predict(data, new), mean - control[new], atol=1e-4)


def test_prnet_begins_with_the_mean_profile(data: TrainingData) -> None:
    rows = np.arange(0, len(data), 2)
    model = create("prnet", max_epochs=1)
    model.lr = 0.0
    model.fit(data, rows, NOTHING)
    # An untrained network adds noise to the mean; without it, it would predict no expression.
    control = data.profiles[data.profile_index[rows]]
    scale = model._scale[data.readout[rows]][:, None]
    after = control + model.predict(data, rows) / scale
    expected = (control + data.x_deg[rows] / scale).mean(axis=0)
    assert np.abs(after.mean(axis=0) - expected).mean() < 0.5 < 0.1 * expected.mean()


def test_mean_of_drug_is_the_mean_of_its_rows(data: TrainingData) -> None:
    drug = int(np.bincount(data.drug_index).argmax())
    rows = np.flatnonzero(data.drug_index == drug)
    own = rows[data.readout[rows] == data.readout[rows[0]]]
    assert len(own) > 1
    model = create("mean-drug")
    model.fit(data, np.arange(len(data)), NOTHING)
    expected = data.x_deg[own].mean(axis=0)
    np.testing.assert_allclose(model.predict(data, own[:1])[0], expected, atol=1e-6)


def test_mean_of_the_control_backs_off_to_the_cell_line(data: TrainingData) -> None:
    own = data.readout == 0
    cell = int(np.bincount(data.cell_index[own]).argmax())
    rows = np.flatnonzero(own & (data.cell_index == cell))
    # Two plates made of the rows of one cell line, and rows of another line.
    index = data.profile_index.copy()
    plates = (rows[:3], rows[3:7])
    profiles = np.vstack([data.profiles, data.profiles[:2] + 1])
    for plate, chosen in enumerate(plates):
        index[chosen] = len(data.profiles) + plate
    plated = replace(data, profile_index=index, profiles=profiles)
    train = np.setdiff1d(np.flatnonzero(own), [rows[0], *plates[1]])
    model = create("mean-control")
    model.fit(plated, train, NOTHING)
    seen, unseen = model.predict(plated, np.array([rows[0], plates[1][0]]))
    np.testing.assert_allclose(seen, data.x_deg[rows[1:3]].mean(axis=0), atol=1e-6)
    line = data.x_deg[np.intersect1d(train, rows)].mean(axis=0)
    np.testing.assert_allclose(unseen, line, atol=1e-6)
    assert not np.allclose(seen, line)


def test_control_copy_predicts_no_change(data: TrainingData) -> None:
    model = create("control")
    model.fit(data, np.arange(9), NOTHING)
    assert not model.predict(data, np.arange(4)).any()


def test_ridge_overfits_without_penalty_and_shrinks_with_it(data: TrainingData) -> None:
    rows = np.arange(0, len(data), 4)
    loose, tight = RidgeRegression(1e-2), RidgeRegression(1e9)
    loose.fit(data, rows, NOTHING)
    tight.fit(data, rows, NOTHING)
    assert pearson_rows(loose.predict(data, rows), data.x_deg[rows]).mean() > 0.7
    spread = [m.predict(data, rows).std(axis=0).mean() for m in (loose, tight)]
    assert spread[0] > 3 * spread[1]


def test_ridge_equals_scikit_learn_and_takes_the_penalty_of_the_validation_rows(
    data: TrainingData,
) -> None:
    from sklearn.linear_model import Ridge

    from xpert_core.baselines.simple import PENALTIES

    split = split_by_drug(data, valid=0.2, test=0.2)
    model = create("ridge")
    model.fit(data, split.train, split.valid)
    for readout in (0, 1):
        train, valid, test = (
            rows[data.readout[rows] == readout] for rows in (split.train, split.valid, split.test)
        )
        inputs = [model._inputs(data, rows) for rows in (train, valid, test)]
        fitted = [Ridge(alpha=p).fit(inputs[0], data.x_deg[train]) for p in PENALTIES]
        scores = [pearson_rows(r.predict(inputs[1]), data.x_deg[valid]).mean() for r in fitted]
        expected = fitted[int(np.argmax(scores))].predict(inputs[2])
        np.testing.assert_allclose(model.predict(data, test), expected, atol=1e-3)


def test_ridge_decomposes_with_denormal_numbers_in_a_worker_too(
    data: TrainingData, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Drugs zeroed: almost rank one. Without them it failed on these rows, with two threads."""
    folds = make_folds(labels_of(data), "warm-start", rows=data.readout == 1, n_folds=3)
    rows = folds.split(0).train
    blind = replace(data, fingerprint=np.zeros_like(data.fingerprint))
    decomposed, seen, found = np.linalg.svd, [], []

    def svd(x: np.ndarray, **options: bool):  # type: ignore[no-untyped-def]
        seen.append(flushed())
        return decomposed(x, **options)

    monkeypatch.setattr(np.linalg, "svd", svd)
    for mode in (False, True):
        torch.set_flush_denormal(mode)
        try:
            model = RidgeRegression(1e2)
            model.fit(blind, rows, NOTHING)
            assert flushed() == mode, "left as it was"
        finally:
            torch.set_flush_denormal(False)
        found.append(model.predict(blind, rows))
    assert seen == [False, False]
    np.testing.assert_allclose(found[0], found[1], atol=1e-6)


def flushed() -> bool:
    return sys.float_info.min / 4 == 0


def test_nearest_drugs_by_hand(data: TrainingData) -> None:
    cell, readout = data.cell_index[0], data.readout[0]
    here = np.flatnonzero((data.cell_index == cell) & (data.readout == readout))
    row, others = here[:1], here[1:]
    others = others[data.drug_index[others] != data.drug_index[row[0]]]
    model = NearestDrugs(k=2)
    model.fit(data, others, NOTHING)
    bits = data.fingerprint.astype(bool)
    own = bits[data.drug_index[row[0]]]
    drugs = np.unique(data.drug_index[others])
    likeness = np.array([(bits[d] & own).sum() / max((bits[d] | own).sum(), 1) for d in drugs])
    best = np.argsort(-likeness, kind="stable")[:2]
    means = [data.x_deg[others[data.drug_index[others] == drugs[b]]].mean(axis=0) for b in best]
    expected = np.average(means, axis=0, weights=likeness[best])
    np.testing.assert_allclose(model.predict(data, row)[0], expected, atol=1e-5)


def test_a_new_cell_line_asks_the_drug_in_the_others(data: TrainingData) -> None:
    rows = np.arange(7)
    changed = {"drug_index": [3, 3, 5, 5, 3, 3, 5], "cell_index": [0, 2, 0, 2, 1, 1, 1]}
    columns = {name: getattr(data, name).copy() for name in (*changed, "readout")}
    for name, values in changed.items():
        columns[name][rows] = values
    columns["readout"][rows] = [1, 1, 1, 1, 1, 1, 1]
    data = replace(data, **columns)
    assert (data.fingerprint[3] != data.fingerprint[5]).any()
    model = NearestDrugs(k=1)
    model.fit(data, rows[:4], NOTHING)
    own = [data.x_deg[pair].mean(axis=0) for pair in ([0, 1], [0, 1], [2, 3])]
    np.testing.assert_allclose(model.predict(data, rows[4:]), own, atol=1e-5)


def test_nearest_drugs_take_the_asked_dose_and_time_when_told_to(data: TrainingData) -> None:
    rows = np.arange(8)
    of = {
        "drug_index": [3, 3, 3, 3, 5, 5, 3, 5],
        "dose_um": [0.1, 10, 10, 10, 0.1, 0.1, 10, 10],
        "time_h": [24, 6, 24, 25, 6, 24, 24, 24],
    }
    changed = {name: getattr(data, name).copy() for name in (*of, "cell_index", "readout")}
    for name, values in of.items():
        changed[name][rows] = values
    changed["cell_index"][rows], changed["readout"][rows] = 0, 1
    data = replace(data, **changed)
    train, asked = rows[:6], rows[6:]
    means = [data.x_deg[own].mean(axis=0) for own in ([0, 1, 2, 3], [2, 3], [4, 5])]
    averaged, exact = NearestDrugs(k=1), NearestDrugs(k=1, same_condition=True)
    for model, expected in ((averaged, [means[0], means[2]]), (exact, [means[1], means[2]])):
        model.fit(data, train, NOTHING)
        np.testing.assert_allclose(model.predict(data, asked), expected, atol=1e-5)


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_overfit_a_handful_of_rows(data: TrainingData, name: str) -> None:
    data = sized(data, name)
    # One row a control profile: a network that does not see the drug can tell them apart too.
    _, rows = np.unique(data.profile_index, return_index=True)
    epochs = {"deepce": 150, "ciger": 150}.get(name, 400)
    model = create(name, max_epochs=epochs, patience=epochs)
    model.fit(data, rows, NOTHING)
    score = pearson_rows(model.predict(data, rows), data.x_deg[rows]).mean()
    assert score > 0.8, score


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_hear_dose_and_time_repeat_themselves_and_answer_for_the_unknown(
    data: TrainingData, name: str
) -> None:
    data = sized(data, name)
    rows = np.arange(0, len(data), 2)
    state = torch.get_rng_state()
    models = [create(name, seed=seed, max_epochs=2) for seed in (0, 0, 1)]
    for model in models:
        model.fit(data, rows, rows[:10])
    assert torch.equal(state, torch.get_rng_state()), "the global random state is left alone"
    test = np.arange(1, 20, 2)
    first, again, other = (model.predict(data, test) for model in models)
    # The order in which MKL adds can depend on where an array lies.
    np.testing.assert_allclose(first, again, atol=1e-5)
    assert np.abs(first - other).max() > 1e-4
    # Without structure and with another dose or time: an answer, and another one.
    blank = replace(
        data,
        fingerprint=data.fingerprint * 0,
        has_molecule=data.has_molecule & False,
        drug_smiles=("",) * len(data.drug_smiles),
    )
    assert np.isfinite(models[0].predict(blank, test)).all()
    for changed in (
        replace(data, dose_um=data.dose_um * 0 + 1e3),
        replace(data, time_h=data.time_h * 0 + 3),
    ):
        # Relative: a model of two epochs may predict little.
        moved = np.abs(models[0].predict(changed, test) - first).max()
        assert moved > 1e-4 * np.abs(first).max()


def test_conditions_are_the_bins_of_the_paper(data: TrainingData) -> None:
    rows = np.arange(3)
    odd = replace(
        data,
        dose_um=np.array([0.2, 10, 500], dtype=np.float32),
        time_h=np.array([3, 7, 48], dtype=np.float32),
    )
    found = conditions(odd, rows)
    assert found.shape == (3, CONDITION_DIM) and (found.sum(axis=1) == 3).all()
    assert found[:, :10].argmax(axis=1).tolist() == [0, 8, 9]
    assert found[:, 10:13].argmax(axis=1).tolist() == [0, 1, 2]


def test_rules_of_applicability_and_statements() -> None:
    known = available()
    allowed = {
        scenario: {name for name, info in known.items() if info.applies(scenario)}
        for scenario in ("warm-start", "cold-drug", "cold-cell")
    }
    assert set(known) == allowed["warm-start"]
    assert set(known) - allowed["cold-drug"] == {"mean-drug", "mean-profile-drug"}
    of_cells = {"mean-cell", "mean-profile-cell"}
    assert set(known) - allowed["cold-cell"] == {*of_cells, "mean-control"}
    patients = {name for name, info in known.items() if info.applies("unseen-patient")}
    assert set(known) - patients == {"mean-control"}, "a new patient has a control of their own"
    means = {f"mean{what}{of}" for what in ("", "-profile") for of in ("", "-cell", "-drug")}
    for name in (*means, "transigen", "prnet", "deepce", "ciger"):
        assert len(known[name].differs) > 40
    with pytest.raises(DataError, match="no baseline named 'gears'"):
        create("gears")
