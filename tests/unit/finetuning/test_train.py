"""Training on patients: the rate decays, a run can be interrupted, a failure leaves no harm."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from finetuning_data import QUICK, make_base
from safetensors import SafetensorError
from safetensors.torch import load_file

from xpert_core.errors import DataError, FinetuningCancelled
from xpert_core.evaluation.metrics import pearson_measured
from xpert_core.finetuning.config import FinetuneConfig
from xpert_core.finetuning.data import prepare_cohort
from xpert_core.finetuning.hooks import Hooks
from xpert_core.finetuning.split import assert_patients_apart, inner_split, outer_splits
from xpert_core.finetuning.train import choose_method, fit_patients, set_units, view_of
from xpert_core.learning import module
from xpert_core.learning.loop import predict_rows
from xpert_core.learning.resume import STATE
from xpert_core.learning.splits import Split
from xpert_core.tokens.dataset import READOUTS


@pytest.fixture
def split(cohort) -> Split:
    return inner_split(cohort.data, valid=0.25, seed=0)


@pytest.fixture
def fit(base, cohort, split, tmp_path):
    def run(config: FinetuneConfig = QUICK, *, method: str = "adapters", folder: str = "run",
            hooks: Hooks | None = None, data=cohort):  # fmt: skip
        return fit_patients(
            base, data, split, config, tmp_path / folder, hooks or Hooks(),
            method=method, label="test",
        )  # fmt: skip

    return run


def state_of(folder: Path) -> Path:
    (found,) = folder.glob(f"*/{STATE}")
    return found


def stop_after(batches: int) -> Hooks:
    asked = 0

    def cancelled() -> bool:
        nonlocal asked
        asked += 1
        return asked > batches

    return Hooks(cancelled=cancelled)


@pytest.mark.parametrize("method", ["adapters", "full"])
def test_it_learns_on_real_profiles(fit, split, cohort, method) -> None:
    config = QUICK.with_(max_epochs=10, patience=10, lr=1e-2)
    fitted = fit(config, method=method)
    start, end = (fitted.progress.history[i]["train_deg_pcc"] for i in (0, -1))
    assert end < start - 0.1
    assert fitted.progress.best_epoch > 0
    predicted, _ = predict_rows(fitted.model, fitted.view, split.valid)
    score = pearson_measured(cohort.data.x_deg[split.valid], predicted).mean()
    assert score == pytest.approx(fitted.progress.best_score, abs=1e-4)


def test_the_learning_rate_warms_up_and_decays_to_zero(fit, monkeypatch) -> None:
    rates = []
    original = module.XPertModule.on_train_batch_start

    def listen(self, batch, index):
        original(self, batch, index)
        rates.append(self.trainer.optimizers[0].param_groups[0]["lr"])

    monkeypatch.setattr(module.XPertModule, "on_train_batch_start", listen)
    fit(QUICK.with_(max_epochs=6, patience=6, lr=1e-2, warmup_epochs=1, batch_rows=3))
    assert len(rates) == 6 * 3
    top = int(np.argmax(rates))
    assert top <= 3
    assert rates[top] > 0.9e-2
    assert all(a > b for a, b in zip(rates[top:], rates[top + 1 :], strict=False))
    assert rates[-1] < 0.02 * rates[top]


def test_an_interrupted_run_ends_with_the_same_numbers(fit) -> None:
    config = QUICK.with_(max_epochs=4, patience=4, batch_rows=3)
    whole = fit(config, folder="whole")
    with pytest.raises(FinetuningCancelled):
        fit(config, folder="parts", hooks=stop_after(8))  # in the third epoch
    resumed = fit(config, folder="parts")
    assert resumed.progress.epochs_done == 4
    assert resumed.progress.best_score == pytest.approx(whole.progress.best_score, abs=1e-6)
    for one, two in zip(whole.progress.history, resumed.progress.history, strict=True):
        assert one["score"] == pytest.approx(two["score"], abs=1e-6)
    state = whole.model.state_dict()
    for name, value in resumed.model.state_dict().items():
        torch.testing.assert_close(value, state[name], atol=1e-6, rtol=0, msg=name)
    # A third call has nothing left to do.
    again = fit(config, folder="parts", hooks=stop_after(0))
    assert again.progress.best_score == resumed.progress.best_score


def test_other_data_or_settings_start_anew(fit, tmp_path) -> None:
    fit(QUICK.with_(max_epochs=1))
    fit(QUICK.with_(max_epochs=1, seed=1))
    assert len(list((tmp_path / "run").iterdir())) == 2


def test_no_epoch_better_than_the_base_model_leaves_the_base_model(fit, base) -> None:
    fitted = fit(QUICK.with_(lr=0.0))
    assert fitted.progress.best_epoch == 0
    scale = ("x_deg_scale", "x_pert_mean")
    for name, value in fitted.model.state_dict().items():
        if name not in scale:
            assert torch.equal(value, base.model.state_dict()[name]), name


def test_a_loss_that_is_no_number_names_the_batch_and_keeps_the_best_weights(
    fit, cohort, split, monkeypatch, tmp_path
) -> None:
    config = QUICK.with_(batch_rows=3)
    original = module.training_terms
    calls = 0

    def diverge(*arguments, **more):
        nonlocal calls
        calls += 1
        if calls == 5:  # the second batch of the second epoch
            raise FloatingPointError
        return original(*arguments, **more)

    monkeypatch.setattr(module, "training_terms", diverge)
    with pytest.raises(DataError, match="the loss is not a number") as failure:
        fit(config)
    assert "epoch 2, batch 2, patients P" in failure.value.where
    named = failure.value.where.rpartition("patients ")[2].split(", ")
    assert set(named) <= {cohort.data.patients[row] for row in split.train}
    kept = load_file(state_of(tmp_path / "run"))
    best = [v for k, v in kept.items() if k.startswith("best/")]
    assert best
    assert all(v.isfinite().all() for v in best)


def test_weights_that_blow_up_are_noticed(fit) -> None:
    with pytest.raises(DataError, match="the loss is not a number"):
        fit(QUICK.with_(lr=1e30, clip_norm=0.0, warmup_epochs=0, max_epochs=5), method="full")


@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device"), SafetensorError("No space left on device")]
)
def test_a_full_disk_leaves_the_last_state_whole(fit, monkeypatch, tmp_path, error) -> None:
    from xpert_core.learning import resume

    config = QUICK.with_(batch_rows=3)
    whole = fit(config, folder="whole")
    original, calls = resume.save_file, 0

    def fill_the_disk(tensors, path, header):
        nonlocal calls
        calls += 1
        if calls == 3:  # the start, the first epoch, the second epoch
            Path(path).write_bytes(b"half a file")
            raise error
        original(tensors, path, header)

    monkeypatch.setattr(resume, "save_file", fill_the_disk)
    with pytest.raises(DataError, match="could not be saved") as failure:
        fit(config)
    assert "No space left" in failure.value.where
    state = state_of(tmp_path / "run")
    assert all(v.isfinite().all() for v in load_file(state).values())
    assert not list(state.parent.glob(".*"))  # no half file is left
    resumed = fit(config)
    assert resumed.progress.best_score == pytest.approx(whole.progress.best_score, abs=1e-6)


def test_hooks_hear_of_every_epoch_and_stop_between_batches(fit) -> None:
    heard, metrics = [], []
    hooks = Hooks(lambda *said: heard.append(said), lambda **values: metrics.append(values))
    fit(hooks=hooks)
    assert [done for done, _, _ in heard] == [0, 1, 2, 3]
    assert heard[-1][1:] == (3, "test: epoch 3 of at most 3")
    assert [m["epoch"] for m in metrics] == [1, 2, 3]
    assert {"run", "score", "train_total"} <= metrics[0].keys()
    with pytest.raises(FinetuningCancelled, match="cancelled"):
        fit(QUICK.with_(seed=9), hooks=stop_after(1))


def test_targets_of_genes_not_measured_do_not_matter(cohort, base, tmp_path) -> None:
    """A cell that is missing after treatment is in no loss and no score, on either side."""
    row = int(np.flatnonzero(np.isnan(cohort.data.x_deg).any(axis=1))[0])
    for seed in range(4):
        split = inner_split(cohort.data, valid=0.25, seed=seed)
        found = fit_patients(
            base, cohort, split, QUICK, tmp_path / str(seed), Hooks(), method="full", label="gap"
        )
        history = found.progress.history
        assert all(np.isfinite(h["score"]) and np.isfinite(h["train_total"]) for h in history)
        if row in split.valid:
            predicted, _ = predict_rows(found.model, found.view, split.valid)
            truth = cohort.data.x_deg[split.valid]
            known = [~np.isnan(t) for t in truth]
            pcc = [np.corrcoef(p[k], t[k])[0, 1] for p, t, k in zip(predicted, truth, known,
                                                                   strict=True)]  # fmt: skip
            assert np.mean(pcc) == pytest.approx(found.progress.best_score, abs=1e-4)


def test_z_scores_train_the_z_readout_alone(base, pairs, tmp_path) -> None:
    cohort = prepare_cohort(replace(pairs, unit="z-score"), base)
    split = inner_split(cohort.data, valid=0.25, seed=0)
    fitted = fit_patients(
        base, cohort, split, QUICK, tmp_path / "z", Hooks(), method="adapters", label="z"
    )
    assert all(h["train_pert_mse"] == 0 for h in fitted.progress.history)
    assert all("pcc_level5" in h for h in fitted.progress.history)
    old, new = base.model.state_dict(), fitted.model.state_dict()
    assert torch.equal(old["pert_head.0.weight"], new["pert_head.0.weight"])
    assert torch.equal(old["x_pert_mean"], new["x_pert_mean"])
    assert old["x_deg_scale"][0] == new["x_deg_scale"][0]


def test_adapters_are_not_used_where_they_would_leave_parts_random(tmp_path, pairs) -> None:
    base = make_base(tmp_path / "bare", n_readouts=1)
    cohort = prepare_cohort(pairs, base)
    assert choose_method(QUICK, base, cohort) == "full"
    with pytest.raises(DataError, match="Adapters cannot train what the base model lacks") as told:
        choose_method(QUICK.with_(method="adapters"), base, cohort)
    assert READOUTS[1] in told.value.where
    whole = make_base(tmp_path / "whole")
    assert choose_method(QUICK, whole, cohort) == "adapters"


def test_units_are_measured_on_training_rows(cohort, base, tmp_path) -> None:
    model = make_base(tmp_path / "own").model
    rows = np.arange(4)
    set_units(model, cohort.data, rows)
    change = cohort.data.x_deg[rows]
    assert float(model.x_deg_scale[0]) == pytest.approx(
        float(np.sqrt(np.nanmean(change**2))), rel=1e-5
    )
    assert float(model.x_deg_scale[1]) == 1
    bins, _ = view_of(cohort, model, "quantile", rows)
    used = cohort.data.profiles[cohort.data.profile_index[rows]]
    assert np.nanmin(used) <= bins.edges[0]
    assert bins.edges[-1] <= np.nanmax(used)


def test_scratch_knows_nothing_of_the_base_model(fit, base) -> None:
    fitted = fit(QUICK.with_(lr=0.0, max_epochs=1), method="scratch")
    assert fitted.transfer.taken == 0
    name = "pert_layers.0.cross_attention.query.weight"
    other = fit(QUICK.with_(max_epochs=1, seed=5), method="scratch")
    assert not torch.equal(fitted.model.state_dict()[name], other.model.state_dict()[name])


def test_patients_stand_on_one_side(cohort) -> None:
    for seed in range(3):
        split = inner_split(cohort.data, valid=0.25, seed=seed)
        assert len(split.train) + len(split.valid) == len(cohort.data)
        outer = outer_splits(cohort.data, folds=4, valid=0.2, seed=seed)
        assert len(outer) == 4
        tested = np.sort(np.concatenate([s.test for s in outer]))
        assert tested.tolist() == list(range(len(cohort.data)))
    torn = Split(np.array([0, 1]), np.array([2]), np.array([3]), np.array([]))
    with pytest.raises(DataError, match="1 patient is in both train and test"):
        assert_patients_apart(("P1", "P2", "P3", "P1"), torn)
    with pytest.raises(DataError, match="no patient in the valid part"):
        assert_patients_apart(("P1",), Split(*map(np.array, ([0], [], [], []))))
