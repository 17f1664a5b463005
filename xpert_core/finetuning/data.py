"""From pairs to training data: drugs, doses and times as the base model knows them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pandas as pd

from xpert_core.cohorts.paired import PairedProfiles
from xpert_core.conditions import DEFAULT_DOSE, DEFAULT_TIME, parse_dose, parse_time
from xpert_core.drugs.records import Drug
from xpert_core.errors import ConditionError
from xpert_core.finetuning.drugs import describe_drugs, resolve_drugs
from xpert_core.finetuning.hooks import Hooks
from xpert_core.finetuning.transfer import Names
from xpert_core.model.checkpoint import Checkpoint
from xpert_core.model.config import ModelConfig
from xpert_core.tokens.dataset import LOG2_READOUT, READOUTS, Z_READOUT, TrainingData

#: Columns that say what kind of cell or cancer a sample is (letters only, lower case).
_CLASS_COLUMNS = ("cancertype", "cancersubtype", "tumortype", "tumourtype", "cancer", "cellline",
                  "cellid", "celltype", "tissue")  # fmt: skip


@dataclass(frozen=True)
class Defaults:
    """What holds for pairs of which the file does not say it.

    Attributes
    ----------
    drug : str
        "" = none: a pair without a drug is an error.
    dose, time : str
        With unit. By default those the base model saw most often.
    """

    drug: str = ""
    dose: str = DEFAULT_DOSE
    time: str = DEFAULT_TIME


@dataclass(frozen=True)
class CohortData:
    """A cohort ready for training.

    Attributes
    ----------
    data : TrainingData
        One row a pair, one profile a sample before treatment; x_deg and profiles hold NaN where a
        gene was not measured. ``patients`` are those of the file.
    graph : ndarray of float32, shape (D, width)
        Biological vectors of the drugs; zeros where there is none.
    classes : tuple of str
        Classes of the auxiliary task; ``data.cell_index`` counts in them, -1 = none.
    pair_ids : tuple of str
        Of each row.
    notes : tuple of str
        What was assumed and left out.
    """

    data: TrainingData
    graph: np.ndarray
    classes: tuple[str, ...]
    pair_ids: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def names(self) -> Names:
        """What the rows of a network's tables stand for."""
        return Names(self.data.panel_symbols, self.classes, READOUTS)


def prepare_cohort(
    pairs: PairedProfiles,
    base: Checkpoint,
    defaults: Defaults | None = None,
    *,
    drop_unknown: bool = False,
    hooks: Hooks | None = None,
) -> CohortData:
    """Training data of a paired cohort for a base model.

    Parameters
    ----------
    pairs : PairedProfiles
    base : Checkpoint
    defaults : Defaults, optional
    drop_unknown : bool
        Leave pairs of unknown drugs out instead of refusing the cohort.
    hooks : Hooks, optional

    Raises
    ------
    DrugError
        Listing the drugs that cannot be resolved.
    CheckpointError
        If this installation lacks the base model's featurizer or graph.
    """
    defaults, hooks = defaults or Defaults(), hooks or Hooks()
    drugs, notes = resolve_drugs(pairs.pairs, defaults.drug, drop_unknown=drop_unknown)
    kept = np.array([i for i, drug in enumerate(drugs) if drug is not None], dtype=np.int64)
    table = pairs.pairs.iloc[kept]
    chosen = [drug for drug in drugs if drug is not None]
    distinct = _with_unique_names(chosen)
    drug_index = np.array([list(distinct).index(d.inchikey or d.key) for d in chosen])
    described = describe_drugs(list(distinct.values()), base.meta, hooks)
    doses = [partial(parse_dose, molar_mass=drug.molar_mass) for drug in chosen]
    dose = _conditions(list(table["dose"]), defaults.dose, "dose", notes, doses)
    time = _conditions(
        list(table["time"]), defaults.time, "time", notes, [parse_time] * len(chosen)
    )
    classes, cell_index, labels = _classes(table, base.meta.classes)
    profile_index, first = _distinct_rows(table["sample_before"])
    level = np.full(len(kept), Z_READOUT if pairs.unit == "z-score" else LOG2_READOUT)
    data = TrainingData(
        profiles=pairs.x_before[kept][first],
        profile_index=profile_index,
        drug_index=drug_index.astype(np.int64),
        dose_um=dose,
        time_h=time,
        readout=level.astype(np.int64),
        cell_index=cell_index,
        x_deg=pairs.x_deg[kept],
        has_x_pert=np.full(len(kept), pairs.unit == "log2"),
        cells=classes or ("cohort",),
        panel_symbols=pairs.panel.symbols,
        info={
            "panel_digest": pairs.panel.digest,
            "panel_name": pairs.panel.name,
            "entrez_id": list(pairs.panel.entrez),
            "featurizer": dict(base.meta.featurizer),
            "sources": [pairs.name],
            "input_sha256": pairs.input_sha256,
            "unit": pairs.unit,
        },
        patients=tuple(table["patient_id"]),
        cancers=labels,
        **described.fields(),
    )
    ids = tuple(str(i) for i in table.index)
    return CohortData(data, described.graph, classes, ids, (*notes, *described.notes))


def network_config(base: ModelConfig, cohort: CohortData) -> ModelConfig:
    """The base model's network, changed where the cohort asks for what it lacks."""
    data = cohort.data
    conditions = len(np.unique(data.dose_um)) * len(np.unique(data.time_h))
    unseen = bool(np.isnan(data.profiles).any())
    return base.with_(
        n_genes=data.x_deg.shape[1],
        n_classes=len(cohort.classes),
        n_readouts=len(READOUTS),
        missing_token=base.missing_token or unseen,
        conditions="continuous" if base.conditions == "none" and conditions > 1
        else base.conditions,
    )  # fmt: skip


def filled(data: TrainingData, train: np.ndarray) -> TrainingData:
    """The data without NaN, for models that cannot do with it.

    A gene that was not measured gets the mean of the training rows (0 where none has it), so that
    the mean change over the training rows stays what it is.
    """
    profiles, x_deg = data.profiles.copy(), data.x_deg.copy()
    for values, rows in ((profiles, np.unique(data.profile_index[train])), (x_deg, train)):
        known = ~np.isnan(values[rows])
        total = np.where(known, values[rows], 0.0).sum(axis=0)
        mean = total / np.maximum(known.sum(axis=0), 1)
        missing = np.isnan(values)
        values[missing] = np.broadcast_to(mean, values.shape)[missing]
    return replace(data, profiles=profiles, x_deg=x_deg)


def _with_unique_names(drugs: list[Drug]) -> dict[str, Drug]:
    """Distinct drugs by identity; drugs of one name are told apart by their structure."""
    found: dict[str, Drug] = {}
    for drug in drugs:
        found.setdefault(drug.inchikey or drug.key, drug)
    names = Counter(drug.name for drug in found.values())
    return {
        key: replace(d, name=f"{d.name} ({key})") if names[d.name] > 1 else d
        for key, d in found.items()
    }


def _conditions(
    texts: list[str],
    default: str,
    kind: str,
    notes: list[str],
    parsers: Sequence[Callable[[str], float]],
) -> np.ndarray:
    """Numbers of a column, the default where a cell is empty or cannot be read; float32, (n,)."""
    values, assumed = [], Counter[str]()
    for text, parse in zip(texts, parsers, strict=True):
        try:
            values.append(parse(text if text else default))
        except ConditionError:
            if not text:
                raise
            values.append(parse(default))
            assumed[text] += 1
        else:
            assumed[""] += not text
    for text, count in assumed.items():
        if count:
            why = f"gives '{text[:40]}', which is no number with a unit" if text else "is not given"
            notes.append(f"The {kind} of {count} pairs {why}: {default} is used.")
    return np.array(values, dtype=np.float32)


def _classes(
    table: pd.DataFrame, known: tuple[str, ...]
) -> tuple[tuple[str, ...], np.ndarray, tuple[str, ...]]:
    """Classes, class of each pair (-1 = none), and cancer of each pair (empty = not given).

    A cohort with several kinds of cell or cancer brings its own classes; one with a single kind
    has nothing to tell apart, so the base model's stay.
    """
    column = next((c for c in table.columns if _letters(c) in _CLASS_COLUMNS), None)
    labels = [] if column is None else [
        "" if cell is None or pd.isna(cell) else str(cell) for cell in table[column]
    ]  # fmt: skip
    own = tuple(sorted(set(labels) - {""}))
    classes = own if len(own) > 1 else known
    index = {name: i for i, name in enumerate(classes)}
    found = np.array([index.get(label, -1) for label in labels or [""] * len(table)])
    complete = tuple(labels) if labels and all(labels) else ()
    return classes, found.astype(np.int64), complete


def _letters(text: object) -> str:
    return "".join(c for c in str(text).lower() if c.isalpha())


def _distinct_rows(samples: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """Index of each row into the distinct samples, and the first row of each of these."""
    codes, _ = pd.factorize(samples)
    return codes.astype(np.int64), np.unique(codes, return_index=True)[1]
