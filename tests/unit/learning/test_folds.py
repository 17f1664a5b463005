"""Folds of every scenario: complete, repeatable, free of leaks; files that notice a change."""

from __future__ import annotations

import ast
import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from xpert_core.errors import DataError
from xpert_core.learning.fold_files import load_folds, save_folds
from xpert_core.learning.folds import (
    NONE,
    SCENARIOS,
    TEST,
    TRAIN,
    VALID,
    Folds,
    Labels,
    check_folds,
    labels_of,
    make_folds,
    withhold_unknown,
)
from xpert_core.learning.splits import resembles
from xpert_core.tokens.dataset import TrainingData

DATA = Path(__file__).parents[2] / "data" / "l1000_small.safetensors"


@pytest.fixture(scope="module")
def data() -> TrainingData:
    return TrainingData.load(DATA)


@pytest.fixture(scope="module")
def labels() -> Labels:
    """800 rows of 160 drugs with two to a scaffold, and 10 cell lines, each a patient too."""
    n = 800
    cell, drug = np.arange(n) % 10, np.arange(n) // 5
    text = {name: np.char.add(name[0], v.astype(str)) for name, v in (("c", cell), ("d", drug))}
    dose = np.arange(n) * 7 % 4
    condition = np.array([f"{c}|{d}|{x}" for c, d, x in zip(cell, drug, dose, strict=True)])
    return Labels(
        drug=text["d"],
        scaffold=np.char.add("s", (drug // 2).astype(str)),
        cell=text["c"],
        condition=condition,
        control=text["c"],
        patient=text["c"],
        cancer=np.char.add("k", (cell % 7).astype(str)),
        unknown=np.zeros(n, dtype=bool),
    )


def few_shot_labels() -> Labels:
    """Two cell lines, 6 drugs at 6 doses in two wells each, and 5 drugs at one dose."""
    rows = [(c, d, x, w) for c in "ab" for d in range(6) for x in range(6) for w in range(2)]
    rows += [("a", d, 0, 0) for d in range(6, 11)]
    cell, drug, dose, _ = (np.array(values).astype(str) for values in zip(*rows, strict=True))
    condition = np.array(["|".join(v) for v in zip(cell, drug, dose, strict=True)])
    blank = np.full(len(rows), "", dtype="<U1")
    return Labels(drug, drug, cell, condition, cell, blank, blank, np.zeros(len(rows), dtype=bool))


@pytest.mark.parametrize("name", [name for name, kind in SCENARIOS.items() if not kind.shots])
def test_every_group_is_tested_once_and_stands_on_one_side(labels: Labels, name: str) -> None:
    folds = make_folds(labels, name)
    assert len(folds) == 5 and ((folds.parts == TEST).sum(axis=0) == 1).all()
    groups = getattr(labels, SCENARIOS[name].grouping)
    for part in folds.parts:
        assert set(part) == {TRAIN, VALID, TEST}
        sides = [set(groups[part == side]) for side in (TRAIN, VALID, TEST)]
        assert not (sides[0] & sides[1] or sides[0] & sides[2] or sides[1] & sides[2])
    sizes = (folds.parts == TEST).sum(axis=1)
    assert sizes.max() <= 2 * sizes.min()
    again, other = make_folds(labels, name), make_folds(labels, name, seed=1)
    np.testing.assert_array_equal(again.parts, folds.parts)
    assert (other.parts != folds.parts).any()


def test_few_shots_share_their_test_points_and_train_on_more(labels: Labels) -> None:
    own = few_shot_labels()
    pair = np.char.add(own.cell, own.drug)
    shots = ("zero", "one", "0.2", "0.3", "0.5", "0.8")
    found = {s: make_folds(own, f"cold-dose-time-{s}", n_folds=3) for s in shots}
    for s in shots[1:]:
        np.testing.assert_array_equal(
            found[s].parts == TEST, found["zero"].parts == TEST, err_msg=s
        )
        assert ((found[s].parts == TRAIN) | (found["zero"].parts != TRAIN)).all()
    for fold in range(3):
        trained = [set(own.condition[found[s].parts[fold] == TRAIN]) for s in shots]
        for fewer, more in itertools.pairwise(trained):
            assert fewer <= more
        counts = [
            len(set(own.condition[(found[s].parts[fold] == TRAIN) & (pair == "a0")])) for s in shots
        ]
        assert counts == [0, 1, 1, 1, 2, 3]
    one_point = np.isin(own.drug, [str(d) for d in range(6, 11)])
    assert (found["zero"].parts[:, one_point] == TRAIN).all()
    assert (found["zero"].parts[0] != found["zero"].parts[1]).any(), "the repeats differ"


def test_scenarios_say_in_words_what_is_known() -> None:
    words = [s.label.split("times, ")[1] for s in SCENARIOS.values() if s.shots]
    many = [f"{share} %" for share in (20, 30, 50, 80)]
    assert words == [f"{x} of the pair's other conditions known" for x in ("none", "one", *many)]


def test_a_frequent_drug_and_unknown_compounds_are_never_held_out(data: TrainingData) -> None:
    labels = labels_of(data)
    many = labels.drug.copy()
    many[:20] = many[0]
    unknown = labels.unknown
    assert unknown.any()
    folds = withhold_unknown(make_folds(replace(labels, drug=many), "cold-drug"), data)
    held_out = np.isin(folds.parts, (VALID, TEST))
    assert not held_out[:, :20].any()
    assert not held_out[:, unknown].any()
    for part in folds.parts:
        drugs = np.unique(data.drug_index[np.isin(part, (VALID, TEST))])
        trained = np.unique(data.drug_index[(part == TRAIN) & unknown])
        assert not resembles(data, drugs)[trained].any()
    assert (folds.parts[:, unknown] == NONE).any()


def panel_labels(drug: np.ndarray, cell: np.ndarray) -> Labels:
    """Rows of one dose and time, each drug its own scaffold."""
    drug, cell = np.char.add("d", drug.astype(str)), np.char.add("c", cell.astype(str))
    blank = np.full(len(drug), "", dtype="<U1")
    condition = np.char.add(np.char.add(cell, "|"), drug)
    return Labels(drug, drug, cell, condition, cell, blank, blank, np.zeros(len(drug), dtype=bool))


#: Rows of 14 drugs, as uneven as those of patients are.
FEW_DRUGS = (118, 96, 90, 75, 60, 48, 37, 28, 20, 14, 10, 8, 6, 3)


@pytest.mark.parametrize("scenario", ["cold-drug", "cold-scaffold"])
@pytest.mark.parametrize("layout", ["11 cell lines by 32 drugs", "14 uneven drugs"])
def test_few_drugs_are_all_held_out(layout: str, scenario: str) -> None:
    """Each has more than 2 % of the rows, as in PANACEA and CDS-DB."""
    if layout == "14 uneven drugs":
        drug = np.repeat(np.arange(len(FEW_DRUGS)), FEW_DRUGS)
        least = 100
    else:
        drug, least = np.repeat(np.arange(32), 11), 60
    own = panel_labels(drug, np.arange(len(drug)) % 11)
    folds = make_folds(own, scenario)
    tested = (folds.parts == TEST).sum(axis=1)
    assert tested.min() >= least and tested.sum() == len(drug)
    assert ((folds.parts == VALID).sum(axis=1) >= 0.1 * len(drug)).all()


def test_a_drug_of_three_times_the_mean_stays_in_training() -> None:
    drug = np.repeat(np.arange(9), [80, *[8] * 8])
    own = panel_labels(drug, np.arange(len(drug)) % 7)
    folds = make_folds(own, "cold-drug")
    assert (folds.parts[:, drug == 0] == TRAIN).all()
    assert ((folds.parts == TEST).sum(axis=0)[drug != 0] == 1).all()


def test_too_few_drugs_say_which_stay_in_training_and_why() -> None:
    drug = np.repeat(np.arange(6), [80, 8, 8, 8, 8, 8])
    own = panel_labels(drug, np.arange(len(drug)) % 7)
    unknown = replace(own, unknown=drug == 5)
    with pytest.raises(DataError, match="at least 6 groups") as caught:
        make_folds(unknown, "cold-drug")
    # 120 rows of 5 drugs with a structure: three times the mean is 72.
    assert caught.value.where == (
        "4 of drug, of 6: 1 hold compounds without a published structure and 1 have more than "
        "72 rows, and stay in training"
    )
    assert caught.value.fix.startswith("Ask for 3 folds (n_folds), or give data with more of them")
    assert len(make_folds(unknown, "cold-drug", n_folds=3)) == 3


def test_rows_can_be_left_out(data: TrainingData) -> None:
    folds = make_folds(labels_of(data), "warm-start", rows=data.readout == 1)
    assert (folds.parts[:, data.readout == 0] == NONE).all()
    assert (folds.parts[:, data.readout == 1] != NONE).all()


@pytest.mark.parametrize(
    ("scenario", "label"),
    [
        ("warm-start", "condition"),
        ("cold-drug", "drug"),
        ("cold-scaffold", "scaffold"),
        ("cold-scaffold", "drug"),
        ("cold-cell", "cell"),
        ("cold-cell", "control"),
        ("unseen-patient", "patient"),
        ("unseen-patient", "control"),
        ("unseen-cancer", "cancer"),
    ],
)
def test_a_planted_leak_is_named(labels: Labels, scenario: str, label: str) -> None:
    folds = make_folds(labels, scenario)
    train = int(np.flatnonzero(folds.parts[2] == TRAIN)[0])
    test = int(np.flatnonzero(folds.parts[2] == TEST)[0])
    values = getattr(labels, label).copy()
    values[test] = values[train]
    with pytest.raises(DataError, match=f"leaks: 1 {label}") as caught:
        check_folds(folds, replace(labels, **{label: values}))
    assert f"first: {values[train]}" in caught.value.where


def test_rows_without_a_label_and_empty_parts_are_refused(labels: Labels) -> None:
    patient = labels.patient.copy()
    patient[7] = ""
    with pytest.raises(DataError, match="without a patient"):
        make_folds(replace(labels, patient=patient), "unseen-patient")
    parts = np.full((1, len(labels)), TRAIN, dtype=np.int8)
    with pytest.raises(DataError, match="valid part has no rows"):
        check_folds(Folds(SCENARIOS["cold-drug"], 0, parts), labels)
    with pytest.raises(DataError, match="at least 11 groups"):
        make_folds(labels, "cold-cell", n_folds=10)
    with pytest.raises(DataError, match="Unknown scenario warm"):
        make_folds(labels, "warm")


def test_files_come_back_and_are_readable(data: TrainingData, tmp_path: Path) -> None:
    folds = withhold_unknown(make_folds(labels_of(data), "cold-drug", seed=3), data)
    digest = save_folds(tmp_path / "cold-drug.csv", folds, data)
    lines = (tmp_path / "cold-drug.csv").read_text().splitlines()
    assert lines[:2] == ["# scenario: cold-drug", "# seed: 3"] and digest in lines[3]
    assert lines[4].startswith("row,cell,drug,dose_um,time_h,readout,group,fold_1")
    back = load_folds(tmp_path / "cold-drug.csv", data)
    np.testing.assert_array_equal(back.parts, folds.parts)
    assert (back.scenario, back.seed) == (folds.scenario, 3)


def test_changed_foreign_and_damaged_files_are_refused(data: TrainingData, tmp_path: Path) -> None:
    folds = withhold_unknown(make_folds(labels_of(data), "cold-drug"), data)
    path = tmp_path / "folds.csv"
    save_folds(path, folds, data)
    text = path.read_text()
    path.write_text(text.replace("train", "test", 1))
    with pytest.raises(DataError, match="changed after"):
        load_folds(path, data)
    path.write_text(text)
    with pytest.raises(DataError, match="other data"):
        load_folds(path, replace(data, x_deg=data.x_deg + 1))
    for content in (
        "",
        "# scenario: cold-drug\n",
        "# scenario: other\n# seed: 0\nrow\n",
        text[:300],
    ):
        path.write_text(content)
        with pytest.raises(DataError, match=r"cannot be read|changed after"):
            load_folds(path, data)
    with pytest.raises(DataError, match="cannot be read"):
        load_folds(tmp_path / "none.csv", data)


def test_a_leak_with_a_right_hash_is_refused(data: TrainingData, tmp_path: Path) -> None:
    """The same InChIKey block on both sides, written as if it were a proper file."""
    folds = withhold_unknown(make_folds(labels_of(data), "cold-drug"), data)
    keys = np.array(data.drug_keys)[data.drug_index]
    names, counts = np.unique(keys[folds.parts[0] == TEST], return_counts=True)
    if counts.max() < 2:
        names, counts = np.unique(keys[folds.parts[0] == TRAIN], return_counts=True)
    row = int(np.flatnonzero(keys == names[counts.argmax()])[0])
    parts = folds.parts.copy()
    parts[0, row] = TRAIN if parts[0, row] == TEST else TEST
    save_folds(tmp_path / "leak.csv", Folds(folds.scenario, 0, parts), data)
    with pytest.raises(DataError, match="leaks: 1 drug"):
        load_folds(tmp_path / "leak.csv", data)


def test_a_compound_that_could_be_a_held_out_drug_is_refused(
    data: TrainingData, tmp_path: Path
) -> None:
    """Folds as drawn train on every compound of unknown structure."""
    drawn = make_folds(labels_of(data), "cold-drug")
    withheld = withhold_unknown(drawn, data)
    assert (drawn.parts != withheld.parts).any()
    save_folds(tmp_path / "leak.csv", drawn, data)
    with pytest.raises(DataError, match="unknown structure that could be a held-out") as caught:
        load_folds(tmp_path / "leak.csv", data)
    assert "cold-drug, fold 1, first: " in caught.value.where and caught.value.fix
    save_folds(tmp_path / "folds.csv", withheld, data)
    assert (load_folds(tmp_path / "folds.csv", data).parts == withheld.parts).all()


@pytest.mark.parametrize("side", ["valid", "test"])
def test_without_shots_a_held_out_pair_is_not_trained_on(side: str) -> None:
    own = few_shot_labels()
    folds = make_folds(own, "cold-dose-time-zero")
    parts = folds.parts.copy()
    pair = np.char.add(own.cell, own.drug)
    left = int(np.flatnonzero((pair == "a0") & (parts[1] == NONE))[0])
    held = VALID if side == "valid" else TEST
    other = TEST if side == "valid" else VALID
    parts[1, left] = TRAIN
    parts[1, (pair == "a0") & (parts[1] == other)] = NONE
    planted = Folds(folds.scenario, 0, parts)
    with pytest.raises(DataError, match=rf"1 cell-drug pair\(s\) in both train and {side}") as e:
        check_folds(planted, own)
    assert e.value.where == "cold-dose-time-zero, fold 2, first: a | 0"
    assert (parts[1] == held).any()
    check_folds(Folds(SCENARIOS["cold-dose-time-one"], 0, parts), own)


def test_a_saved_split_without_shots_that_trains_on_a_tested_pair_is_refused(
    data: TrainingData, tmp_path: Path
) -> None:
    """One cell line, 20 drugs in series of doses and one with a single dose; the hash is right."""
    drugs = np.unique(data.drug_index)[:20]
    series = replace(
        data,
        cells=data.cells[:1],
        cell_index=np.zeros(len(data), dtype=np.int64),
        drug_index=np.resize(drugs, len(data)),
        dose_um=(np.arange(len(data)) // 20 + 1).astype(np.float32),
    )
    rows = series.drug_index != drugs[0]
    rows[0] = True
    folds = make_folds(labels_of(series), "cold-dose-time-zero", rows=rows)
    parts = folds.parts.copy()
    save_folds(tmp_path / "folds.csv", folds, series)
    assert (load_folds(tmp_path / "folds.csv", series).parts == parts).all()
    parts[0, np.flatnonzero(rows & (parts[0] == NONE))[0]] = TRAIN
    save_folds(tmp_path / "leak.csv", Folds(folds.scenario, 0, parts), series)
    with pytest.raises(DataError, match=r"leaks: 1 cell-drug pair\(s\) in both train"):
        load_folds(tmp_path / "leak.csv", series)


@pytest.mark.parametrize(
    ("scenario", "doses", "part", "words"),
    [
        ("cold-dose-time-zero", 4, "train", "or ask for cold-dose-time-one, "),
        ("cold-dose-time-one", 2, "valid", "data with dose or time series"),
    ],
)
def test_an_empty_part_says_what_to_do(scenario: str, doses: int, part: str, words: str) -> None:
    own = panel_labels(np.repeat(np.arange(6), doses), np.zeros(6 * doses, dtype=np.int64))
    dose = np.tile(np.arange(doses), 6).astype(str)
    own = replace(own, condition=np.char.add(np.char.add(own.condition, "|"), dose))
    with pytest.raises(DataError, match=f"The {part} part has no rows") as caught:
        make_folds(own, scenario)
    assert words in caught.value.fix


def test_scaffolds_hold_a_drug_s_structures_together(data: TrainingData) -> None:
    labels = labels_of(data)
    by_drug = pd.Series(labels.scaffold).groupby(labels.drug).nunique()
    assert (by_drug == 1).all()
    smiles = dict(zip(data.drug_keys, data.drug_smiles, strict=True))
    ringless = [k for k, s in smiles.items() if s and not any(c.isdigit() for c in s)]
    for key in ringless:
        rows = labels.drug == key
        assert (labels.scaffold[rows] == f"no ring: {key}").all()


@pytest.mark.parametrize("package", ["benchmark", "learning", "preparation"])
def test_every_error_says_how_to_fix_it(package: str) -> None:
    import xpert_core
    from xpert_core import errors

    kinds = {name for name, kind in vars(errors).items() if isinstance(kind, type)}
    silent = []
    for path in sorted((Path(xpert_core.__file__).parent / package).glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in kinds:
                given = {word.arg for word in node.keywords}
                silent += [f"{path.name}:{node.lineno}"] if "fix" not in given else []
    assert silent == []


def with_patients(data: TrainingData) -> TrainingData:
    """The small data as if every control profile were a patient, in one of seven cancers."""
    patient = [f"P{i}" for i in range(len(data))]
    # One control a patient, as a biopsy is.
    return replace(
        data,
        profiles=data.profiles[data.profile_index]
        + np.arange(len(data), dtype=np.float32)[:, None] / 1000,
        profile_index=np.arange(len(data)),
        patients=tuple(patient),
        cancers=tuple(f"K{i % 7}" for i in range(len(data))),
    )


def test_patient_labels_travel_with_the_data_and_change_its_digest(
    data: TrainingData, tmp_path: Path
) -> None:
    assert data.patients == () and data.cancers == ()
    labelled = with_patients(data)
    labelled.save(tmp_path / "patients.safetensors")
    again = TrainingData.load(tmp_path / "patients.safetensors")
    assert again.patients == labelled.patients and again.cancers == labelled.cancers
    assert again.digest == labelled.digest
    other = replace(labelled, patients=labelled.patients[::-1])
    bare = replace(labelled, patients=(), cancers=())
    assert len({labelled.digest, other.digest, bare.digest}) == 3
    with pytest.raises(DataError, match="do not fit its rows"):
        replace(labelled, patients=("P1",))


def test_digest_of_data_without_patients_is_what_split_files_name(data: TrainingData) -> None:
    assert data.digest == "f3a046c663a9cc4b5ef6d73062e9e604b2a53d6367e23c49d68c8d47195ef425"


@pytest.mark.parametrize("name", ["unseen-patient", "unseen-cancer"])
def test_patients_and_cancers_are_held_out_of_training_data(
    data: TrainingData, tmp_path: Path, name: str
) -> None:
    labelled = with_patients(data)
    labels = labels_of(labelled)
    assert all(c.endswith(f" | {p}") for c, p in zip(labels.condition, labels.patient, strict=True))
    folds = make_folds(labels, name)
    save_folds(tmp_path / "folds.csv", folds, labelled)
    assert (load_folds(tmp_path / "folds.csv", labelled).parts == folds.parts).all()
    with pytest.raises(DataError, match="without a"):
        check_folds(folds, labels_of(data))
