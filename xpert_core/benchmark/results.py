"""What a report is made of: the tasks of a benchmark, read once and put into tables."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from xpert_core.benchmark.config import XPERT, BenchmarkConfig, ScenarioSpec
from xpert_core.benchmark.runner import Finished, split_path, write_split
from xpert_core.benchmark.tables import (
    difference_table,
    fold_table,
    interval_table,
    row_table,
    scaffolds_of,
    score_table,
    shared_folds,
    stated,
)
from xpert_core.learning.fold_files import load_folds
from xpert_core.learning.folds import Folds
from xpert_core.tokens.dataset import TrainingData

SHOWN = (
    "pcc",
    "pcc_per_drug",
    "pcc_centred",
    "spearman",
    "rmse",
    "r2",
    "direction",
    "discrimination",
    "positive_precision_20",
    "negative_precision_20",
    "mmd",
    "wasserstein",
)
"""Metrics of the tables in the report; the Parquet file has all."""


@dataclass(frozen=True)
class Results:
    """A finished benchmark.

    Attributes
    ----------
    config : BenchmarkConfig
    finished : sequence of Finished
    data : TrainingData
    model : str
        The model that the others are compared with.
    own : frozenset of str
        Other forms of XPert (variants, means over seeds, of any model): no rivals of the main one.
    scores, folds, rows, intervals, differences : DataFrame
        From the functions of `xpert_core.benchmark.tables`; rows hold the PCC.
    of_means : DataFrame
        Differences of the main model's mean over seeds to the others; ``mean`` names it.
    out : Path
        Folder of the benchmark: ``splits/``, ``genes/``.
    scaffold : ndarray of str or None
        Of each row of the data, from `tables.scaffolds_of`.
    """

    config: BenchmarkConfig
    finished: Sequence[Finished]
    data: TrainingData
    model: str
    own: frozenset[str]
    scores: pd.DataFrame
    folds: pd.DataFrame
    rows: pd.DataFrame
    intervals: pd.DataFrame
    differences: pd.DataFrame
    of_means: pd.DataFrame
    out: Path
    scaffold: np.ndarray | None = None

    @classmethod
    def collect(cls, config: BenchmarkConfig, finished: Sequence[Finished], out: Path) -> Results:
        """Read the data and make the tables."""
        data = TrainingData.load(config.data)
        scaffold = scaffolds_of(finished, data)
        scores, model = score_table(finished), main_model(config)
        rows = row_table(finished, scaffold=scaffold)
        own = own_models(config, finished) - {model}
        forms = forms_of(config, own)
        means = [form for form in forms if form.startswith(f"{model}, mean of ")]
        parts = [difference_table(rows, name, own | {model}).assign(mean=name) for name in means]
        matched = {form: matched_rows(finished, model, form, scaffold) for form in forms}
        return cls(
            config=config,
            finished=finished,
            data=data,
            model=model,
            own=own,
            scores=scores,
            folds=fold_table(scores, model),
            rows=rows,
            intervals=interval_table(rows),
            differences=seed_by_seed(difference_table(rows, model, own), model, matched),
            of_means=pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(),
            out=out,
            scaffold=scaffold,
        )

    def places(self) -> Iterator[tuple[str, str, pd.DataFrame]]:
        """Scenario, read-out and its part of `rows`, in the order of the configuration."""
        for (scenario, readout), place in self.rows.groupby(["scenario", "readout"], sort=False):
            yield str(scenario), str(readout), place

    def at(self, table: pd.DataFrame, scenario: str, readout: str) -> pd.DataFrame:
        """The lines of a table of one scenario and read-out."""
        return table[(table["scenario"] == scenario) & (table["readout"] == readout)]

    def folds_of(self, scenario: ScenarioSpec) -> Folds:
        """The split of a scenario, checked."""
        folder = self.out / "splits"
        write_split(self.config, scenario, self.data, folder)
        return load_folds(split_path(self.config, scenario, folder), self.data)

    def shared(self, scenario: str, readout: str) -> pd.DataFrame:
        """Rows of a place on the folds of the main model, of the models that ran on all of them."""
        place = self.at(self.rows, scenario, readout)
        left, folds = self.left_out(scenario, readout), shared_folds(place, self.model)
        return place[place["fold"].isin(folds) & ~place["model"].isin(list(left))]

    def left_out(self, scenario: str, readout: str) -> dict[str, str]:
        """Models that lack a fold of the main model, and the folds they have: not to be ranked."""
        place = self.at(self.rows, scenario, readout)
        folds = shared_folds(place, self.model)
        return {
            str(model): stated(own["fold"].unique())
            for model, own in place.groupby("model", sort=False)
            if not folds <= set(own["fold"])
        }

    def best_other(self, scenario: str, readout: str) -> str:
        """The model with the highest PCC beside XPert on the main model's folds; "" without one."""
        place = self.shared(scenario, readout)
        others = place[~place["model"].isin([self.model, *self.own])]
        means = others.groupby("model", sort=False)["value"].mean()
        return "" if means.empty else str(means.idxmax())


def main_model(config: BenchmarkConfig) -> str:
    """The model that the others are compared with: the first XPert, else the first model."""
    return next((m.name for m in config.models if m.kind == XPERT), config.models[0].name)


def own_models(config: BenchmarkConfig, finished: Sequence[Finished]) -> frozenset[str]:
    """Names of all forms of XPert, and of the means over seeds of any model."""
    asked = {m.name for m in config.models}
    return frozenset(
        str(f.facts["model"])
        for f in finished
        if f.facts["kind"] == XPERT or f.facts["model"] not in asked
    )


def forms_of(config: BenchmarkConfig, own: Collection[str]) -> list[str]:
    """Names among `own_models` that are compared with the main model seed by seed.

    Its variants and its mean over seeds; not the means over seeds of other models.
    """
    variants = {m.name for m in config.models}
    mean = f"{main_model(config)}, mean of "
    return sorted(name for name in own if name in variants or name.startswith(mean))


def seed_by_seed(
    differences: pd.DataFrame, model: str, matched: Mapping[str, pd.DataFrame]
) -> pd.DataFrame:
    """Differences in which the other forms of a model are compared on the seeds that both have.

    One seed against the mean of three would take the luck of a seed for the variant's.

    Parameters
    ----------
    differences : DataFrame
        From `difference_table`.
    model : str
    matched : mapping of str to DataFrame
        Rows of `model` and of each other form, from `matched_rows`.
    """
    others = differences[~differences["model"].isin(list(matched))]
    forms = [difference_table(rows, model, {form}) for form, rows in matched.items()]
    return pd.concat([others, *forms], ignore_index=True)


def matched_rows(
    finished: Sequence[Finished],
    one: str,
    other: str,
    scaffold: np.ndarray | None = None,
    metric: str = "pcc",
) -> pd.DataFrame:
    """Rows of two models, as `row_table`, of the seeds that both have where they share any."""
    return row_table(matched_tasks(finished, one, other), metric, scaffold)


def matched_tasks(finished: Sequence[Finished], one: str, other: str) -> list[Finished]:
    """Tasks of two models, in each scenario of the seeds that both have where they share any.

    A mean over seeds has those that it is the mean of.
    """
    found = []
    for scenario in dict.fromkeys(f.facts["scenario"] for f in finished):
        here = [f for f in finished if f.facts["scenario"] == scenario]
        seeds = [
            set().union(*(_seeds(f) for f in here if f.facts["model"] == m)) for m in (one, other)
        ]
        kept = seeds[0] & seeds[1] or seeds[0] | seeds[1]
        found += [f for f in here if f.facts["model"] in (one, other) and _seeds(f) <= kept]
    return found


def _seeds(task: Finished) -> set[int]:
    return set(task.facts.get("seeds", [task.facts["seed"]]))


def scored_rows(rows: pd.DataFrame) -> np.ndarray:
    """Numbers of the rows of the data that were scored, each once, in order."""
    found: np.ndarray = np.unique(rows["row"].to_numpy(dtype=np.int64))
    return found
