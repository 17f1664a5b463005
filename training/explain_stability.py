"""Agreement of explanations over models of several seeds (paper, Extended Data Fig. 2)."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from xpert_core.cohorts.records import Profiles
from xpert_core.explanation.atoms import AtomAttention, atom_attention, atom_stability
from xpert_core.explanation.figures import svg
from xpert_core.explanation.genes import GeneAttention, gene_attention, gene_stability
from xpert_core.explanation.stability import Stability
from xpert_core.files import write_bytes_atomic
from xpert_core.prediction import Predictor

GENES = "genes, patients"


@dataclass(frozen=True)
class Runs:
    """Mean attention of each model, by what was explained.

    Attributes
    ----------
    agreement : dict of str to Stability
        By drug, and `GENES`.
    means : dict of str to DataFrame
        The same keys; index items, a column a model: mean share over samples.
    """

    agreement: dict[str, Stability]
    means: dict[str, pd.DataFrame]

    def table(self) -> pd.DataFrame:
        """One row a drug, and one for genes: the mean over all pairs of models."""
        rows = [
            (name, len(self.means[name]), one.mean_cosine, one.mean_cv, one.mean_spearman)
            for name, one in self.agreement.items()
        ]
        columns = ["explained", "items", "mean_cosine", "mean_cv", "mean_spearman"]
        return pd.DataFrame(rows, columns=columns)


def collect_runs(
    predictors: Sequence[Predictor],
    drugs: Sequence[str],
    dose: str,
    time: str,
    lines: Profiles,
    patients: Profiles,
    said: Callable[[str], None] = print,
) -> Runs:
    """Explain the drugs in cell lines, and genes in patients, with each model.

    Attention to atoms is the mean over cross-attention layers; attention to genes is what they
    receive, the mean over base layers.
    """
    atoms: dict[str, list[AtomAttention]] = {drug: [] for drug in drugs}
    genes: list[GeneAttention] = []
    for predictor in predictors:
        said(f"{predictor.name} ({predictor.digest[:8]})")
        for drug in drugs:
            atoms[drug].append(atom_attention(predictor, lines, drug, dose, time))
        genes.append(gene_attention(predictor, patients, ["received"]))
    names = [f"model {i}" for i in range(1, len(predictors) + 1)]
    found = {drug: atom_stability(runs) for drug, runs in atoms.items()}
    means = {
        drug: pd.DataFrame(
            {name: run.of().mean(axis=0) for name, run in zip(names, runs, strict=True)},
            index=pd.Index(runs[0].atoms.table["label"], name="item"),
        )
        for drug, runs in atoms.items()
    }
    found[GENES] = gene_stability(genes)
    means[GENES] = pd.DataFrame(
        {n: run.of("received").mean(axis=0) for n, run in zip(names, genes, strict=True)},
        index=pd.Index(genes[0].genes.index, name="item"),
    )
    return Runs(found, means)


def scatter_figure(means: dict[str, pd.DataFrame]) -> str:
    """Attention of the first model against each other one, a panel a drug; SVG."""
    import altair as alt

    parts = []
    for name, table in means.items():
        first = table.iloc[:, 0]
        for other in table.columns[1:]:
            values = pd.DataFrame({"first": first * len(table), "other": table[other] * len(table)})
            parts.append(values.assign(explained=name, model=other))
    points = pd.concat(parts, ignore_index=True)
    chart = (
        alt.Chart(points)
        .mark_point(filled=True, opacity=0.6, size=18)
        .encode(
            x=alt.X("first:Q", title="Model 1, times an equal share"),
            y=alt.Y("other:Q", title="Other model, times an equal share"),
            color=alt.Color("model:N", title="Model"),
            shape=alt.Shape("model:N", title="Model"),
        )
        .properties(width=170, height=170)
        .facet(facet=alt.Facet("explained:N", sort=None, title=None), columns=4)
        .resolve_scale(x="independent", y="independent")
        .properties(
            title="Attention of models of several seeds",
            description="Scatter plots: mean attention to each atom or gene by one model against "
            "that by others.",
        )
    )
    return svg(chart)


def write_stability(
    folder: Path, predictors: Sequence[Predictor], runs: Runs, dose: str, time: str
) -> list[Path]:
    """Write stability.md, its tables, the figure and what they rest on."""
    table = runs.table()
    pairs = pd.concat(
        [one.pairs.assign(explained=name) for name, one in runs.agreement.items()],
        ignore_index=True,
    )
    items = pd.concat(
        [one.assign(explained=name).reset_index() for name, one in runs.means.items()],
        ignore_index=True,
    )
    models = [{"name": p.name, "digest": p.digest} for p in predictors]
    about = {"models": models, "dose": dose, "time": time}
    content = {
        "stability.md": _page(table, predictors, dose, time),
        "stability.csv": table.round(6).to_csv(index=False),
        "stability-pairs.csv": pairs.to_csv(index=False),
        "stability-items.csv": items.to_csv(index=False),
        "stability.svg": scatter_figure(runs.means),
        "stability.json": json.dumps(about, indent=1) + "\n",
    }
    for name, text in content.items():
        write_bytes_atomic(folder / name, text.encode())
    return [folder / name for name in content]


def _page(table: pd.DataFrame, predictors: Sequence[Predictor], dose: str, time: str) -> str:
    lines = [
        "# Stability of attention over models",
        "",
        "Written by `python -m training.explain_atoms stability`; do not edit. Models: "
        + ", ".join(f"`{p.name}` ({p.digest[:12]})" for p in predictors)
        + f". Atoms: {dose} for {time}, ten cell lines, mean over cross-attention layers. Genes: "
        "attention received, mean over base layers, patients of the melanoma example. Means over "
        "all pairs of models. The cosine is near one for any scores that are nearly equal; the "
        "rank correlation is not.",
        "",
        "| explained | items | mean cosine | mean CV | mean Spearman |",
        "| --- | --- | --- | --- | --- |",
    ]
    for row in table.itertuples():
        mean = float(row.mean_spearman)  # type: ignore[arg-type]
        spearman = "-" if np.isnan(mean) else f"{mean:+.2f}"
        lines.append(
            f"| {row.explained} | {row.items} | {row.mean_cosine:.4f} | {row.mean_cv:.3f} | "
            f"{spearman} |"
        )
    lines += ["", "![Attention of the first model against the others](stability.svg)", ""]
    return "\n".join(lines)
