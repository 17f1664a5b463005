"""Scenarios of a benchmark: which rows are trained on, chosen on and tested on, in each fold.

Every scenario names the labels that must not stand on two sides, and every set of folds is checked
for that when it is made and when it is read from a file.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields

import numpy as np
import pandas as pd

from xpert_core.errors import DataError
from xpert_core.learning.splits import Split, drug_groups, largest_group, resembles
from xpert_core.tokens.dataset import TrainingData

NONE, TRAIN, VALID, TEST = range(4)
PART_NAMES = ("none", "train", "valid", "test")
FEWEST_CONDITIONS = 3
"""Of a cell-drug pair, so that one is tested, one chosen on and one can be trained on."""


@dataclass(frozen=True)
class Labels:
    """What each row belongs to; all arrays have shape (N,).

    Attributes
    ----------
    drug : ndarray of str
        Drug, whatever names and structures its sources give it.
    scaffold : ndarray of str
        Bemis-Murcko scaffold; a drug without a ring, or without a known structure, is its own.
    cell, condition, control : ndarray of str
        Cell line; cell, drug, dose, time and read-out; control profile.
    patient, cancer : ndarray of str
        "" where there is none.
    unknown : ndarray of bool
        Compounds without a published structure: they are never held out.
    """

    drug: np.ndarray
    scaffold: np.ndarray
    cell: np.ndarray
    condition: np.ndarray
    control: np.ndarray
    patient: np.ndarray
    cancer: np.ndarray
    unknown: np.ndarray

    def __len__(self) -> int:
        return len(self.drug)


@dataclass(frozen=True)
class Scenario:
    """One question a benchmark asks.

    Attributes
    ----------
    name, label : str
    grouping : str
        Label of `Labels` whose groups are held out as a whole.
    apart : tuple of str
        Labels that must not stand on two sides.
    shots : str
        Of the cold-dose-time scenarios: ``"zero"``, ``"one"`` or the share of the remaining points
        that is trained on; "" for the others.
    """

    name: str
    label: str
    grouping: str
    apart: tuple[str, ...]
    shots: str = ""


def _known(shots: str) -> str:
    """How many of the other conditions of a cell-drug pair are trained on, in words."""
    words = {"zero": "none", "one": "one"}
    return words[shots] if shots in words else f"{float(shots):.0%}".replace("%", " %")


SHOTS = ("zero", "one", "0.2", "0.3", "0.5", "0.8")
SCENARIOS: dict[str, Scenario] = {
    s.name: s
    for s in (
        Scenario("warm-start", "new conditions of known drugs", "condition", ("condition",)),
        Scenario("cold-drug", "new drugs", "drug", ("drug",)),
        Scenario("cold-scaffold", "new scaffolds", "scaffold", ("scaffold", "drug")),
        Scenario("cold-cell", "new cell lines", "cell", ("cell", "control")),
        Scenario("unseen-patient", "new patients", "patient", ("patient", "control")),
        Scenario("unseen-cancer", "new cancers", "cancer", ("cancer", "patient", "control")),
        *(
            Scenario(
                f"cold-dose-time-{shots}",
                f"new doses and times, {_known(shots)} of the pair's other conditions known",
                "condition",
                ("condition",),
                shots,
            )
            for shots in SHOTS
        ),
    )
}


@dataclass(frozen=True)
class Folds:
    """The folds of one scenario.

    Attributes
    ----------
    scenario : Scenario
    seed : int
    parts : ndarray of int8, shape (folds, N)
        `NONE`, `TRAIN`, `VALID` or `TEST` of each row.
    """

    scenario: Scenario
    seed: int
    parts: np.ndarray

    def __len__(self) -> int:
        return len(self.parts)

    def split(self, fold: int) -> Split:
        """Row numbers of one fold."""
        part = self.parts[fold]
        train, valid, test, none = (np.flatnonzero(part == p) for p in (TRAIN, VALID, TEST, NONE))
        return Split(train, valid, test, none)

    def splits(self) -> Iterator[Split]:
        """Every fold in turn."""
        return (self.split(fold) for fold in range(len(self)))


def labels_of(data: TrainingData) -> Labels:
    """Labels of training data; patient and cancer are "" where the data do not give them.

    Where there are patients, the condition names the patient too.
    """
    groups = drug_groups(data)
    first = {group: data.drug_keys[i] for i, group in reversed(list(enumerate(groups)))}
    drug = np.array([first[g] for g in groups])
    frame = pd.DataFrame(
        {
            "cell": np.array(data.cells)[data.cell_index],
            "drug": drug[data.drug_index],
            "dose": data.dose_um,
            "time": data.time_h,
            "readout": data.readout,
        }
    ).astype(str)
    own = frame["drug"].to_numpy(dtype=str)
    nobody = np.full(len(data), "", dtype="<U1")
    patient = np.array(data.patients) if data.patients else nobody
    if data.patients:
        frame["patient"] = patient
    return Labels(
        drug=own,
        scaffold=np.array(_scaffolds(data.drug_smiles, drug))[data.drug_index],
        cell=frame["cell"].to_numpy(dtype=str),
        condition=frame.agg(" | ".join, axis=1).to_numpy(dtype=str),
        control=data.profile_index.astype(str),
        patient=patient,
        cancer=np.array(data.cancers) if data.cancers else nobody,
        unknown=np.array([":" in key for key in data.drug_keys])[data.drug_index],
    )


def _scaffolds(smiles: tuple[str, ...], drug: np.ndarray) -> list[str]:
    """Scaffold of each drug; all structures of one drug, and their scaffolds, are one group."""
    from rdkit.Chem.Scaffolds.MurckoScaffold import MurckoScaffoldSmiles
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    own = [MurckoScaffoldSmiles(text) if text else "" for text in smiles]
    named = [s or f"no ring: {key}" for s, key in zip(own, drug, strict=True)]
    nodes = {name: i for i, name in enumerate(dict.fromkeys([*named, *map(str, drug)]))}
    pairs = ([nodes[s] for s in named], [nodes[str(key)] for key in drug])
    links = coo_array((np.ones(len(named)), pairs), shape=(len(nodes), len(nodes)))
    group = connected_components(links, directed=False)[1]
    first: dict[int, str] = {}
    for name in sorted(named):
        first.setdefault(int(group[nodes[name]]), name)
    return [first[int(group[nodes[name]])] for name in named]


def make_folds(
    labels: Labels,
    scenario: str,
    *,
    rows: np.ndarray | None = None,
    n_folds: int = 5,
    seed: int = 0,
    valid: float = 0.1,
    testable: np.ndarray | None = None,
) -> Folds:
    """Draw the folds of a scenario.

    Groups are dealt out, the largest first, to the fold with the fewest rows, so that each is
    tested once; the validation part is drawn from the other groups. Cold-dose-time draws `n_folds`
    random repeats: of each cell-drug pair with enough conditions one is tested, one chosen on, and
    a share of the others trained on; pairs with fewer are trained on.

    Parameters
    ----------
    labels : Labels
    scenario : str
        Name in `SCENARIOS`.
    rows : ndarray of bool, shape (N,), optional
        Rows that take part; the others are in no part. Default: all.
    n_folds, seed : int
    valid : float
        Share of the rows that take part, for validation.
    testable : ndarray of bool, shape (N,), optional
        Of cold-dose-time: rows of the cell-drug pairs that may be tested; all other pairs are
        trained on. Default: all.

    Raises
    ------
    DataError
        On an unknown scenario, a row without the label, too few groups, or a leak.
    """
    if scenario not in SCENARIOS:
        raise DataError(f"Unknown scenario {scenario}.", fix=f"Known: {', '.join(SCENARIOS)}.")
    kind = SCENARIOS[scenario]
    taking = np.ones(len(labels), dtype=bool) if rows is None else rows
    rng = np.random.default_rng([seed, list(SCENARIOS).index(scenario)])
    if kind.shots:
        # All shots test the same points.
        repeats = np.random.default_rng([seed, len(SCENARIOS)]).integers(2**62, size=n_folds)
        tested = taking if testable is None else taking & testable
        parts = np.stack([_few_shots(labels, taking, tested, kind.shots, int(r)) for r in repeats])
    else:
        parts = _grouped(labels, kind, taking, n_folds, valid, rng)
    folds = Folds(kind, seed, parts)
    check_folds(folds, labels)
    return folds


def _grouped(
    labels: Labels,
    kind: Scenario,
    taking: np.ndarray,
    n_folds: int,
    valid: float,
    rng: np.random.Generator,
) -> np.ndarray:
    names, group = np.unique(getattr(labels, kind.grouping), return_inverse=True)
    size = np.bincount(group[taking], minlength=len(names))
    chosen = rng.permutation(_eligible(labels, kind, group, size, n_folds))
    fold_of = np.full(len(names), -1)
    load = np.zeros(n_folds)
    for g in chosen[np.argsort(-size[chosen], kind="stable")]:
        fold_of[g] = load.argmin()
        load[fold_of[g]] += size[g]
    parts = np.full((n_folds, len(labels)), NONE, dtype=np.int8)
    for fold in range(n_folds):
        part = np.full(len(names), TRAIN, dtype=np.int8)
        part[fold_of == fold] = TEST
        others = rng.permutation(chosen[fold_of[chosen] != fold])
        reached = np.cumsum(size[others]) - size[others] < valid * taking.sum()
        reached[-1] &= len(others) < 2  # somebody is left to train on
        part[others[reached]] = VALID
        parts[fold, taking] = part[group[taking]]
    return parts


def _eligible(
    labels: Labels, kind: Scenario, group: np.ndarray, size: np.ndarray, n_folds: int
) -> np.ndarray:
    """Numbers of the groups that may be held out, increasing; refused where they are too few."""
    there = size > 0
    unknown, large, most = np.zeros_like(there), np.zeros_like(there), 0.0
    if kind.grouping in ("drug", "scaffold"):
        unknown[group[labels.unknown]] = True
        most = largest_group(int(size.sum()), int((there & ~unknown).sum()))
        large = size > most
    found = np.flatnonzero(there & ~unknown & ~large)
    if len(found) < n_folds + 1:
        n_unknown, n_large = int((there & unknown).sum()), int((there & ~unknown & large).sum())
        kept = [f"{n_unknown} hold compounds without a published structure"] if n_unknown else []
        kept += [f"{n_large} have more than {most:.0f} rows"] if n_large else []
        why = f", of {there.sum()}: {' and '.join(kept)}, and stay in training" if kept else ""
        fewer = f"Ask for {len(found) - 1} folds (n_folds), or give" if len(found) > 2 else "Give"
        raise DataError(
            f"{kind.name} needs at least {n_folds + 1} groups to hold out.",
            where=f"{len(found)} of {kind.grouping}{why}",
            fix=f"{fewer} data with more of them"
            + (", or with their rows spread more evenly." if n_large else "."),
        )
    return found


def _few_shots(
    labels: Labels, taking: np.ndarray, tested: np.ndarray, shots: str, seed: int
) -> np.ndarray:
    """Parts of one repeat; the points of a pair stand in one order for all numbers of shots."""
    frame = pd.DataFrame({"cell": labels.cell, "drug": labels.drug, "condition": labels.condition})[
        tested
    ]
    part = np.full(len(labels), NONE, dtype=np.int8)
    part[taking] = TRAIN
    rng = np.random.default_rng(seed)
    for _, pair in frame.groupby(["cell", "drug"], sort=True):
        points = rng.permutation(np.unique(pair["condition"]))
        if len(points) < FEWEST_CONDITIONS:
            continue
        left = len(points) - 2
        share = {"zero": 0, "one": 1}
        count = share[shots] if shots in share else max(1, round(float(shots) * left))
        of = dict.fromkeys(points[2:], NONE) | {points[0]: TEST, points[1]: VALID}
        of |= dict.fromkeys(points[2 : 2 + count], TRAIN)
        part[pair.index.to_numpy()] = [of[c] for c in pair["condition"]]
    return part


def withhold_unknown(folds: Folds, data: TrainingData) -> Folds:
    """Leave out training compounds without a structure that could be a held-out drug.

    For scenarios that hold out drugs; others are returned as they are.
    """
    if folds.scenario.grouping not in ("drug", "scaffold"):
        return folds
    unknown = np.array([":" in key for key in data.drug_keys])
    parts = folds.parts.copy()
    for part in parts:
        held_out = np.unique(data.drug_index[np.isin(part, (VALID, TEST))])
        hidden = unknown & resembles(data, held_out)
        part[hidden[data.drug_index] & (part == TRAIN)] = NONE
    return Folds(folds.scenario, folds.seed, parts)


def check_folds(folds: Folds, labels: Labels) -> None:
    """Refuse folds with an empty part, a row without a label, or a leak.

    Raises
    ------
    DataError
        Naming the fold and the first group that stands on two sides. Without shots
        (``cold-dose-time-zero``) a cell-drug pair is on one side too, tested and chosen on, or
        trained on.
    """
    known = {f.name for f in fields(labels)}
    for number, split in enumerate(folds.splits(), start=1):
        where = f"{folds.scenario.name}, fold {number}"
        sides = {"train": split.train, "valid": split.valid, "test": split.test}
        for side, rows in sides.items():
            if not len(rows):
                raise DataError(
                    f"The {side} part has no rows.", where=where, fix=_no_rows(folds.scenario, side)
                )
        for name in folds.scenario.apart:
            assert name in known
            values = getattr(labels, name)
            found = {side: set(values[rows].tolist()) for side, rows in sides.items()}
            if "" in set().union(*found.values()):
                raise DataError(
                    f"Rows without a {name} cannot be told apart.",
                    where=where,
                    fix=f"Fill in the {name} of every row, or leave these rows out.",
                )
            for a, b in (("train", "valid"), ("train", "test"), ("valid", "test")):
                shared = sorted(found[a] & found[b])
                if shared:
                    raise DataError(
                        f"The split leaks: {len(shared)} {name} label(s) in both {a} and {b}.",
                        where=f"{where}, first: {shared[0]}",
                        fix=f"Hold out every {name} as a whole.",
                    )
        if folds.scenario.shots == "zero":
            _check_pairs(labels, split, where)


def _check_pairs(labels: Labels, split: Split, where: str) -> None:
    """Refuse a training row of a cell-drug pair that is tested or chosen on without shots."""
    pair = np.char.add(np.char.add(labels.cell, " | "), labels.drug)
    for side, rows in (("valid", split.valid), ("test", split.test)):
        shared = np.intersect1d(pair[split.train], pair[rows])
        if len(shared):
            raise DataError(
                f"The split leaks: {len(shared)} cell-drug pair(s) in both train and {side}.",
                where=f"{where}, first: {shared[0]}",
                fix="Without shots, train on no condition of a pair that is held out.",
            )


def _no_rows(scenario: Scenario, side: str) -> str:
    """What to do about a part without rows."""
    if scenario.shots == "zero" and side == "train":
        return (
            f"Every cell-drug pair has {FEWEST_CONDITIONS} or more conditions, and is tested. Give "
            "data with other pairs too, to train on (docs/benchmark.md, Scenarios), or ask for "
            f"{', '.join(f'cold-dose-time-{s}' for s in SHOTS[1:])}."
        )
    if scenario.shots and side != "train":
        return (
            f"No cell-drug pair has {FEWEST_CONDITIONS} conditions. Give data with dose or time "
            "series, or leave the scenario out."
        )
    return f"Give data with more of {scenario.grouping}, or a split with rows in each part."
