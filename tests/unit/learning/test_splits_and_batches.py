"""Splits never leak; batches hold every row once and share what they can."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from xpert_core.errors import DataError
from xpert_core.learning.sampler import ProfileGroupedBatches
from xpert_core.learning.splits import assert_no_leak, drug_groups, split_by_drug
from xpert_core.tokens.dataset import TensorView, TrainingData
from xpert_core.tokens.expression import ExpressionBins

DATA = Path(__file__).parents[2] / "data" / "l1000_small.safetensors"


@pytest.fixture(scope="module")
def data() -> TrainingData:
    return TrainingData.load(DATA)


def test_structures_stand_on_one_side(data: TrainingData) -> None:
    split = split_by_drug(data, valid=0.2, test=0.2, seed=1)
    parts = [split.train, split.valid, split.test, split.dropped]
    assert sorted(np.concatenate(parts)) == list(range(len(data)))
    keys = [{data.drug_keys[i] for i in data.drug_index[rows]} for rows in parts[:3]]
    assert not (keys[0] & keys[1] or keys[0] & keys[2] or keys[1] & keys[2])
    again = split_by_drug(data, valid=0.2, test=0.2, seed=1)
    assert all(np.array_equal(getattr(split, n), getattr(again, n)) for n in ("train", "test"))
    other = split_by_drug(data, valid=0.2, test=0.2, seed=2)
    assert not np.array_equal(split.test, other.test)


def test_compounds_that_could_be_a_held_out_drug_are_dropped(data: TrainingData) -> None:
    split = split_by_drug(data, valid=0.2, test=0.2, seed=1)
    held_out = set(data.drug_index[np.concatenate([split.valid, split.test])])
    moa = {m.lower() for i in held_out for m in data.drug_moa[i].split("|") if m}
    for i in set(data.drug_index[split.train]):
        if ":" in data.drug_keys[i]:
            assert data.drug_moa[i] or data.drug_targets[i]
            assert not moa & {m.lower() for m in data.drug_moa[i].split("|")}


def test_a_drug_drawn_in_two_ways_stands_on_one_side(data: TrainingData) -> None:
    structures = [i for i, key in enumerate(data.drug_keys) if ":" not in key]
    pairs = list(zip(structures[::2], structures[1::2], strict=False))
    aliases = list(data.drug_aliases)
    for number, (a, b) in enumerate(pairs):
        aliases[a] += f"|two drawings {number}"
        aliases[b] += f"|two drawings {number}"
    twins = replace(data, drug_aliases=tuple(aliases))
    groups = drug_groups(twins)
    assert all(groups[a] == groups[b] for a, b in pairs)
    for seed in range(5):
        split = split_by_drug(twins, valid=0.2, test=0.2, seed=seed)
        for part in (split.train, split.valid, split.test):
            drugs = set(data.drug_index[part])
            assert all((a in drugs) == (b in drugs) for a, b in pairs)
    by_structure_alone = split_by_drug(data, valid=0.2, test=0.2, seed=0)
    with pytest.raises(DataError, match="leaks"):
        assert_no_leak(twins, by_structure_alone)


def test_planted_leak_is_refused(data: TrainingData) -> None:
    split = split_by_drug(data, valid=0.2, test=0.2, seed=1)
    leaky = replace(split, train=np.append(split.train, split.test[0]))
    with pytest.raises(DataError, match="leaks"):
        assert_no_leak(data, leaky)
    with pytest.raises(DataError, match="no rows"):
        assert_no_leak(data, replace(split, valid=split.valid[:0]))


def test_every_row_once_an_epoch_in_an_order_that_can_be_repeated(data: TrainingData) -> None:
    rows = np.arange(len(data))
    sampler = ProfileGroupedBatches(data.profile_index, rows, batch_rows=16, chunk_rows=4, seed=0)
    first = list(sampler.epoch(0))
    assert sorted(np.concatenate(first)) == list(rows)
    assert len(first) == sampler.n_batches()
    assert all(map(np.array_equal, first, sampler.epoch(0)))
    assert not all(map(np.array_equal, first, sampler.epoch(1)))


def test_a_batch_joins_each_row_with_its_own_profile_drug_and_targets(data: TrainingData) -> None:
    bins = ExpressionBins.fit(data.profiles)
    view = TensorView(data, bins, max_atoms=120)
    rows = np.array([5, 3, 5, len(data) - 1])
    batch, targets = view.batch(rows)
    single = batch.expanded()
    np.testing.assert_array_equal(
        single.profiles.numpy(), bins.transform(data.profiles[data.profile_index[rows]])
    )
    np.testing.assert_array_equal(
        single.drugs.molecule.numpy(), data.molecule[data.drug_index[rows]]
    )
    np.testing.assert_array_equal(single.treatments.dose_um.numpy(), data.dose_um[rows])
    np.testing.assert_array_equal(single.treatments.time_h.numpy(), data.time_h[rows])
    np.testing.assert_array_equal(single.treatments.readout.numpy(), data.readout[rows])
    np.testing.assert_array_equal(targets.x_deg.numpy(), data.x_deg[rows])
    assert len(batch.profiles) == len(set(data.profile_index[rows]))


def test_damaged_training_data(tmp_path: Path) -> None:
    path = tmp_path / "data.safetensors"
    path.write_bytes(DATA.read_bytes()[:5000])
    with pytest.raises(DataError, match="cannot be read"):
        TrainingData.load(path)


def test_few_drugs_are_held_out_up_to_three_times_their_mean(data: TrainingData) -> None:
    """Each of 32 drugs has more than 2 % of the rows, as in PANACEA."""
    structured = np.flatnonzero([":" not in key for key in data.drug_keys])
    n = len(data)
    few = replace(data, drug_index=structured[np.arange(n) % 32])
    split = split_by_drug(few)
    assert len(split.valid) >= 0.05 * n and len(split.test) >= 0.05 * n
    often = np.where(np.arange(n) % 2, structured[np.arange(n) % 16], structured[16])
    held = split_by_drug(replace(data, drug_index=often), valid=0.4, test=0.4)
    assert (often[held.train] == structured[16]).sum() == n // 2
