"""The most variable genes: how they change, measured beside predicted (paper, Fig. 2c)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from xpert_core.benchmark.figures import gene_chart
from xpert_core.benchmark.markdown import Figure, Section
from xpert_core.benchmark.predictions import Predictions
from xpert_core.benchmark.results import Results, scored_rows
from xpert_core.benchmark.runner import Finished
from xpert_core.tokens.dataset import TrainingData

N_GENES = 10
FEWEST_ROWS = 10
MEASURED = "measured"
QUANTILES = {"q05": 0.05, "q25": 0.25, "median": 0.5, "q75": 0.75, "q95": 0.95}


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


def kept_predictions(
    finished: Sequence[Finished], scenario: str
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Predictions of a scenario by model: of its lowest seed, all folds one after another.

    One seed, because the mean of several varies less than a model's answer. Models that kept
    predictions of some folds alone are left out.
    """
    own = [f for f in finished if f.facts["scenario"] == scenario]
    folds = {f.facts["fold"] for f in own}
    found = {}
    for model in dict.fromkeys(f.facts["model"] for f in own):
        tasks = [f for f in own if f.facts["model"] == model and f.predictions is not None]
        seeds = sorted({f.facts["seed"] for f in tasks})
        tasks = [f for f in tasks if f.facts["seed"] == seeds[0]] if seeds else []
        if tasks and {f.facts["fold"] for f in tasks} == folds:
            parts = [Predictions.load(f.predictions) for f in tasks]
            found[model] = (
                np.concatenate([part.rows for part in parts]),
                np.concatenate([part.x_deg for part in parts]),
            )
    return found


def gene_table(results: Results) -> pd.DataFrame:
    """Spread of the most variable genes' x_deg over the scored rows, measured and predicted.

    Returns
    -------
    DataFrame
        Columns ``scenario``, ``readout``, ``subset`` ("all drugs" or the configured mechanism or
        target, given where it has `FEWEST_ROWS` rows), ``rows``, ``gene``, ``place`` (1 = most
        variable as measured), ``source`` (``measured`` or a model), ``q05``, ``q25``, ``median``,
        ``q75``, ``q95``, ``mean``, ``sd``: in units of the read-out. Empty where no model kept
        predictions.
    """
    data, lines = results.data, []
    chosen = subset_of(data, results.config.subset)
    predicted: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    last = ""
    for scenario, readout, place in results.places():
        if scenario != last:
            predicted, last = kept_predictions(results.finished, scenario), scenario
        rows = scored_rows(place)
        for subset, own in (("all drugs", rows), (results.config.subset, rows[chosen[rows]])):
            if predicted and len(own) >= (FEWEST_ROWS if subset != "all drugs" else 2):
                head = {"scenario": scenario, "readout": readout, "subset": subset}
                lines += [head | line for line in _spreads(data, own, predicted)]
    columns = ["scenario", "readout", "subset", "rows", "gene", "place", "source",
               *QUANTILES, "mean", "sd"]  # fmt: skip
    return pd.DataFrame(lines, columns=columns)


def _spreads(
    data: TrainingData, rows: np.ndarray, predicted: dict[str, tuple[np.ndarray, np.ndarray]]
) -> list[dict[str, object]]:
    truth = data.x_deg[rows]
    genes = most_variable(truth)
    sources = {MEASURED: truth[:, genes]}
    for model, (known, x_deg) in predicted.items():
        # Where folds share rows (new doses and times), what the first of them says.
        seen, first = np.unique(known, return_index=True)
        if np.isin(rows, seen).all():
            sources[model] = x_deg[first[np.searchsorted(seen, rows)]][:, genes]
    lines: list[dict[str, object]] = []
    for i, gene in enumerate(genes):
        for source, values in sources.items():
            column = values[:, i].astype(np.float64)
            quantiles = np.quantile(column, list(QUANTILES.values()))
            line = {"rows": len(rows), "gene": data.panel_symbols[gene], "place": i + 1}
            line |= {"source": source, **dict(zip(QUANTILES, quantiles, strict=True))}
            lines.append(line | {"mean": column.mean(), "sd": column.std()})
    return lines


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
mean predicts narrow boxes. Of the models that kept their predictions, one seed. The box plots are
in the HTML report, their numbers in genes.csv."""
