"""The most variable genes: how they change, measured beside predicted (paper, Fig. 2c)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from xpert_core.benchmark.figures import gene_chart
from xpert_core.benchmark.markdown import Figure, Section
from xpert_core.benchmark.predictions import Predictions
from xpert_core.benchmark.results import Results, scored_rows
from xpert_core.benchmark.runner import Finished
from xpert_core.errors import DataError
from xpert_core.files import sha256_bytes, write_bytes_atomic
from xpert_core.tokens.dataset import TrainingData

N_GENES = 10
FEWEST_ROWS = 10
MEASURED = "measured"
QUANTILES = {"q05": 0.05, "q25": 0.25, "median": 0.5, "q75": 0.75, "q95": 0.95}
_COLUMNS = (*QUANTILES, "mean", "sd")


def subset_of(data: TrainingData, name: str) -> np.ndarray:
    """Rows whose drug has `name` among its mechanisms or targets, shape (N,), bool."""
    wanted = name.casefold()
    hit = np.array(
        [
            wanted in (moa.casefold() + "|" + targets.casefold()).split("|")
            for moa, targets in zip(data.drug_moa, data.drug_targets, strict=True)
        ],
        dtype=bool,
    )
    found: np.ndarray = hit[data.drug_index] & bool(wanted)
    return found


def most_variable(x_deg: np.ndarray, count: int = N_GENES) -> np.ndarray:
    """Genes with the largest variance over rows, the largest first, shape (min(count, G),)."""
    variance = x_deg.var(axis=0, dtype=np.float64)
    return np.argsort(-variance, kind="stable")[:count]


def sources_of(finished: Sequence[Finished], scenario: str) -> dict[str, list[list[Finished]]]:
    """Tasks of a scenario by model and seed, the lowest seed first: all folds one after another.

    Seeds stay apart, because the mean of several varies less than a model's answer. Those that did
    not run on every fold are left out.
    """
    own = [f for f in finished if f.facts["scenario"] == scenario]
    folds = {f.facts["fold"] for f in own}
    by_seed: dict[tuple[str, int], list[Finished]] = {}
    for task in own:
        by_seed.setdefault((task.facts["model"], task.facts["seed"]), []).append(task)
    found: dict[str, list[list[Finished]]] = {}
    for model, seed in sorted(by_seed, key=lambda key: key[1]):
        if {f.facts["fold"] for f in by_seed[model, seed]} == folds:
            found.setdefault(model, []).append(by_seed[model, seed])
    models = dict.fromkeys(f.facts["model"] for f in own)
    return {model: found[model] for model in models if model in found}


def gene_table(results: Results) -> pd.DataFrame:
    """Spread of the most variable genes' x_deg over the scored rows, measured and predicted.

    What is said of a model is stored beside the benchmark's tasks, so that it outlives the
    predictions it was made from.

    Returns
    -------
    DataFrame
        Columns ``scenario``, ``readout``, ``subset`` ("all drugs" or the configured mechanism or
        target, given where it has `FEWEST_ROWS` rows), ``rows``, ``gene``, ``place`` (1 = most
        variable as measured), ``source`` (``measured`` or a model), ``q05``, ``q25``, ``median``,
        ``q75``, ``q95``, ``mean``, ``sd``: in units of the read-out. Empty where no model kept
        predictions.
    """
    data, parts = results.data, list[pd.DataFrame]()
    chosen = subset_of(data, results.config.subset)
    sources: dict[str, list[_Source]] = {}
    last = ""
    for scenario, readout, place in results.places():
        if scenario != last:
            tasks, last = sources_of(results.finished, scenario), scenario
            sources = {
                model: [_Source(own, results.out / "genes") for own in seeds]
                for model, seeds in tasks.items()
            }
        rows = scored_rows(place)
        for subset, own in (("all drugs", rows), (results.config.subset, rows[chosen[rows]])):
            if len(own) >= (FEWEST_ROWS if subset != "all drugs" else 2):
                found = _spreads(data, own, sources)
                head = {"scenario": scenario, "readout": readout, "subset": subset}
                if set(found["source"]) != {MEASURED}:
                    parts.append(found.assign(**head))
    columns = ["scenario", "readout", "subset", "rows", "gene", "place", "source",
               *_COLUMNS]  # fmt: skip
    return pd.concat(parts, ignore_index=True)[columns] if parts else pd.DataFrame(columns=columns)


class _Source:
    """What a model says of single genes: from its predictions, or as stored while they were there.

    Parameters
    ----------
    tasks : sequence of Finished
        Of one model, scenario and seed.
    folder : Path
        Where the spreads are stored.
    """

    def __init__(self, tasks: Sequence[Finished], folder: Path) -> None:
        self.identities = [str(f.facts["identity"]) for f in tasks]  # the order of folds matters
        self.folder = folder
        self._files = [f.predictions for f in tasks]

    @cached_property
    def predictions(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Rows, and their x_deg of shape (N, G); None where those of a fold were not kept."""
        if None in self._files:
            return None
        parts = [Predictions.load(file) for file in self._files]
        return (
            np.concatenate([part.rows for part in parts]),
            np.concatenate([part.x_deg for part in parts]),
        )

    def path(self, rows: np.ndarray, genes: np.ndarray) -> Path:
        """File of the spreads, named by what they depend on."""
        asked = sha256_bytes(np.concatenate([rows, genes]).astype("<i8").tobytes())
        name = sha256_bytes(" ".join([*self.identities, asked, *_COLUMNS]).encode())
        return self.folder / f"{name[:16]}.csv"

    def spreads(self, rows: np.ndarray, genes: np.ndarray) -> pd.DataFrame | None:
        """A line a gene, see `_spread`; None where neither predictions nor a file are there."""
        path = self.path(rows, genes)
        if self.predictions is None:
            return _stored(path, len(genes)) if path.is_file() else None
        known, x_deg = self.predictions
        # Where folds share rows (new doses and times), what the first of them says.
        seen, first = np.unique(known, return_index=True)
        if not np.isin(rows, seen).all():
            return None
        found = _spread(x_deg[first[np.searchsorted(seen, rows)]][:, genes])
        write_bytes_atomic(path, found.to_csv(index=False, float_format="%.6g").encode())
        return found


def _stored(path: Path, lines: int) -> pd.DataFrame:
    """What `_Source.spreads` wrote; damaged files are named."""
    try:
        found = pd.read_csv(path)
        if (
            list(found.columns) != list(_COLUMNS)
            or len(found) != lines
            or found.isna().any(axis=None)
        ):
            raise ValueError("it was changed")
    except (OSError, ValueError) as error:
        raise DataError(
            "Stored boxes of the benchmark's most variable genes cannot be read.",
            where=f"{path.name}: {str(error)[:200]}",
            fix="Delete this file: the model is left out until its tasks are run again.",
        ) from error
    return found


def _spread(values: np.ndarray) -> pd.DataFrame:
    """Quantiles, mean and s.d. of each column over rows of `values`."""
    columns = values.astype(np.float64)
    found = {name: np.quantile(columns, share, axis=0) for name, share in QUANTILES.items()}
    return pd.DataFrame(found | {"mean": columns.mean(axis=0), "sd": columns.std(axis=0)})


def _spreads(
    data: TrainingData, rows: np.ndarray, sources: dict[str, list[_Source]]
) -> pd.DataFrame:
    """What was measured and what each model says of the most variable genes, a gene at a time.

    A model speaks by the first of its seeds that can: that kept its predictions or what they said.
    """
    truth = data.x_deg[rows]
    genes = most_variable(truth)
    found = {MEASURED: _spread(truth[:, genes])}
    found |= {
        model: spreads
        for model, seeds in sources.items()
        if (spreads := _first(seeds, rows, genes)) is not None
    }
    symbols = [data.panel_symbols[gene] for gene in genes]
    parts = [
        part.assign(source=source, rows=len(rows), gene=symbols, place=range(1, len(genes) + 1))
        for source, part in found.items()
    ]
    return pd.concat(parts).sort_values("place", kind="stable")


def _first(seeds: Sequence[_Source], rows: np.ndarray, genes: np.ndarray) -> pd.DataFrame | None:
    said = (seed.spreads(rows, genes) for seed in seeds)
    return next((spreads for spreads in said if spreads is not None), None)


def section(results: Results) -> Section | None:
    """The section on variable genes; None where no model kept predictions."""
    genes = gene_table(results)
    if genes.empty:
        return None
    figures, said = list[Figure](), []
    for place, own in genes.groupby(["scenario", "readout", "subset"], sort=False):
        title = ", ".join(map(str, place))
        rows = int(own["rows"].iloc[0])
        figures.append(
            Figure(
                f"genes{len(figures)}",
                gene_chart(own, f"{title} ({rows} rows)"),
                f"x_deg of the {own['gene'].nunique()} most variable genes over {rows} scored "
                f"rows, measured beside predicted: {title}. Box: quartiles, line: median, "
                "whiskers: 5th to 95th percentile. The numbers are in genes.csv.",
            )
        )
        spread = own.groupby("source", sort=False)["sd"].mean()
        said.append(
            f"- {title}, {rows} rows: mean s.d. over rows "
            + ", ".join(f"{source} {value:.2f}" for source, value in spread.items())
        )
    return Section(
        "The most variable genes", "\n\n".join([_NOTE, "\n".join(said)]), tuple(figures),
        {"genes.csv": genes},
    )  # fmt: skip


_NOTE = """\
The ten genes whose measured change varies most over the scored rows: a model that only knows the
mean predicts narrow boxes. Of the models that kept their predictions, one seed, the lowest that
did on every fold. The box plots are in the HTML report, their numbers in genes.csv."""
