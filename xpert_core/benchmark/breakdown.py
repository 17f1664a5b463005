"""Scores of single cell lines and drugs, and how much a model's score varies among them."""

from __future__ import annotations

import numpy as np
import pandas as pd

from xpert_core.benchmark.markdown import Section, interval, p_value, table
from xpert_core.benchmark.results import Results
from xpert_core.benchmark.tables import ORDER
from xpert_core.evaluation.metrics import bootstrap_means

SHOWN_CELLS, SHOWN_DRUGS = 24, 10
"""Most cell lines in a table (beyond that half of them at each end); drugs at each end."""
FEWEST_ROWS = 3
"""Of a drug in the report's table; the file has all."""


def breakdown(rows: pd.DataFrame, by: str, over: str) -> pd.DataFrame:
    """PCC of every model in each cell line, or of each drug.

    Parameters
    ----------
    rows : DataFrame
        From `row_table`.
    by, over : str
        ``"cell"`` and ``"drug"``, or the other way round: `over` is resampled within `by`.

    Returns
    -------
    DataFrame
        Columns `ORDER`, `by`, ``mean``, ``low``, ``high`` (95 % bootstrap over `over`; NaN with
        one of them), ``rows``, and the number of `over` (``drugs`` or ``cells``).
    """
    lines = []
    for (scenario, readout), place in rows.groupby(["scenario", "readout"], sort=False):
        keys = [by, over, "fold", "row"]
        wide = place.pivot_table(index=keys, columns="model", values="value", sort=False)
        wide = wide[place["model"].drop_duplicates().tolist()].sort_index()
        for name, own in wide.groupby(level=by, sort=True):
            groups = own.index.get_level_values(over).to_numpy()
            scores = bootstrap_means(own.to_numpy(), groups)
            counts = own.notna().sum().to_numpy()
            for i, model in enumerate(wide.columns):
                if counts[i]:
                    mean, low, high = (float(s[i]) for s in scores)
                    units = len(set(groups[own.iloc[:, i].notna()]))
                    lines.append(
                        (scenario, readout, model, name, mean, low, high, counts[i], units)
                    )
    columns = [*ORDER, by, "mean", "low", "high", "rows", f"{over}s"]
    return pd.DataFrame(lines, columns=columns)


def variance_table(rows: pd.DataFrame) -> pd.DataFrame:
    """How much a model's PCC differs between cell lines, and between drugs.

    Returns
    -------
    DataFrame
        Columns `ORDER`; ``cells``, ``drugs``: how many; ``var_cells``, ``var_drugs``: variance
        (n - 1) of their mean PCCs; ``f``, ``p``, ``df_between``, ``df_within``: one-way analysis
        of variance of the rows' PCC over cell lines, as in the paper; NaN where not defined.
    """
    lines = []
    for place, own in rows.groupby(list(ORDER), sort=False):
        line = dict(zip(ORDER, place, strict=True))
        for unit in ("cell", "drug"):
            means = own.groupby(unit)["value"].mean()
            line |= {f"{unit}s": len(means), f"var_{unit}s": float(means.var())}
        parts = [part.to_numpy() for _, part in own.groupby("cell")["value"]]
        lines.append(line | _anova(parts))
    return pd.DataFrame(lines)


def _anova(parts: list[np.ndarray]) -> dict[str, float]:
    """F and p of one-way ANOVA; a model that scores all rows alike has none."""
    from scipy.stats import f_oneway

    within = sum(map(len, parts)) - len(parts)
    found = {"f": np.nan, "p": np.nan, "df_between": len(parts) - 1, "df_within": within}
    if len(parts) > 1 and within > 0 and any(np.ptp(part) > 0 for part in parts):
        result = f_oneway(*parts)
        found |= {"f": float(result.statistic), "p": float(result.pvalue)}
    return found


def section(results: Results) -> Section:
    """The section on single cell lines and drugs."""
    cells = breakdown(results.rows, "cell", "drug")
    drugs = breakdown(results.rows, "drug", "cell")
    names = dict(zip(results.data.drug_keys, results.data.drug_names, strict=True))
    drugs.insert(4, "name", drugs["drug"].map(names))
    spread = variance_table(results.rows)
    text = [_NOTE]
    for scenario, readout, _ in results.places():
        text += [
            f"**{scenario}, {readout}**",
            _variance_lines(results.at(spread, scenario, readout)),
            *_unit_lines(results, results.at(cells, scenario, readout), "cell", "cell line"),
            *_unit_lines(results, results.at(drugs, scenario, readout), "name", "drug"),
        ]
    tables = {"cells.csv": cells, "drugs.csv": drugs, "variance.csv": spread}
    return Section("Cell lines and drugs, one by one", "\n\n".join(text), tables=tables)


def _variance_lines(spread: pd.DataFrame) -> str:
    counts = [spread[c] for c in ("cells", "drugs")]
    alike = all(count.nunique() == 1 for count in counts)
    over = [f"{count.iloc[0]} " if alike else "" for count in counts]
    head = ["model", f"variance over {over[0]}cell lines", f"over {over[1]}drugs",
            "ANOVA over cell lines"]  # fmt: skip
    lines = []
    for _, own in spread.iterrows():
        anova = ""
        if pd.notna(own["f"]):
            degrees = f"{own['df_between']:.0f}, {own['df_within']:.0f}"
            anova = f"F({degrees}) = {own['f']:.1f}, {p_value(own['p'])}"
        variances = [
            (f"{own[f'var_{c}']:.2g}" if pd.notna(own[f"var_{c}"]) else "")
            + ("" if alike else f" ({own[c]})")
            for c in ("cells", "drugs")
        ]
        lines.append([str(own["model"]), *variances, anova])
    return table(head, lines)


def _unit_lines(results: Results, scores: pd.DataFrame, by: str, word: str) -> list[str]:
    """A table of cell lines, or of the best and worst drugs, by the PCC of the main model."""
    key, over = ("drug", "cells") if by == "name" else ("cell", "drugs")
    own = scores[scores["model"] == results.model]
    if own.empty:
        return []
    place = str(own["scenario"].iloc[0]), str(own["readout"].iloc[0])
    best = results.best_other(*place)
    # On the folds of the main model, which the file's lines of another model need not be.
    shared = results.shared(*place)
    other = shared[shared["model"] == best].groupby(key)["value"].mean()
    own = own.sort_values(["mean", key], ascending=[False, True])
    note = ""
    if key == "drug":
        enough = own[own["rows"] >= FEWEST_ROWS]
        note = f"drugs with {FEWEST_ROWS} or more rows: {len(enough)} of {len(own)}"
        own = enough
    shown = SHOWN_DRUGS if key == "drug" else SHOWN_CELLS // 2
    cut = len(own) > 2 * shown
    chosen = pd.concat([own[:shown], own[-shown:]]) if cut else own
    if chosen.empty:
        return [f"No table by drug ({note})."]
    head = [word, "rows", over, f"PCC of {results.model}", best or "-"]
    lines = [
        [str(line[by]), f"{line['rows']}", f"{line[over]}",
         interval(line["mean"], line["low"], line["high"]),
         interval(other.get(line[key], np.nan), np.nan, np.nan)]
        for _, line in chosen.iterrows()
    ]  # fmt: skip
    extra = f"the best {shown} and the worst {shown}" if cut else ""
    about = "; ".join(filter(None, [note, extra]))
    return [f"By {word}" + (f" ({about})" if about else "") + ":", table(head, lines)]


_NOTE = """\
Mean PCC of the rows of one cell line, with a 95 % bootstrap over its drugs; of one drug, over its
cell lines (no interval with one of them). Beside it stands the best other model on the same rows.
cells.csv and drugs.csv hold every model, on the folds it ran on. The analysis
of variance takes rows as independent, as the paper's, which rows of one drug are not: read its F,
not its p."""
