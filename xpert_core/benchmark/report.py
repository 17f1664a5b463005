"""The report of a benchmark: Markdown to read in a repository, HTML with figures."""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from xpert_core.baselines import registry
from xpert_core.benchmark.config import XPERT, BenchmarkConfig
from xpert_core.benchmark.runner import Finished
from xpert_core.benchmark.tables import (
    difference_table,
    fold_table,
    interval_table,
    row_table,
    score_table,
)
from xpert_core.evaluation.metrics import METRICS
from xpert_core.files import atomic_path, write_bytes_atomic
from xpert_core.learning.folds import SCENARIOS

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


def write_report(config: BenchmarkConfig, finished: Sequence[Finished], out: Path) -> Path:
    """Write ``report.md``, ``report.html``, ``scores.parquet`` and ``differences.json`` to `out`.

    Returns
    -------
    Path
        Of the Markdown file.
    """
    out.mkdir(parents=True, exist_ok=True)
    scores, rows = score_table(finished), row_table(finished)
    model = main_model(config)
    intervals, differences = interval_table(rows), difference_table(rows, model)
    with atomic_path(out / "scores.parquet") as temporary:
        scores.to_parquet(temporary, index=False)
    records = json.loads(differences.to_json(orient="records"))
    write_bytes_atomic(out / "differences.json", (json.dumps(records, indent=1) + "\n").encode())
    sections = _sections(config, finished, scores, intervals, differences)
    first = verdict(intervals, differences, model)
    text = f"# Benchmark: {config.name}\n\n{first}\n\n{_NOTES}\n"
    text += "".join(f"\n## {title}\n\n{body}\n" for title, body in sections)
    write_bytes_atomic(out / "report.md", text.encode())
    write_bytes_atomic(
        out / "report.html", _page(config, first, sections, intervals, rows).encode()
    )
    return out / "report.md"


_NOTES = """\
PCC: Pearson correlation of predicted and measured change (x_deg) of each test row over genes.
Tables with ± give mean and standard deviation over folds of the mean over seeds; intervals in
brackets are 95 % bootstraps over drugs (over cell lines where these are new), which is the unit of
the claim. Epochs, penalties and neighbours were chosen on each fold's validation part alone, which
holds other drugs, cell lines or conditions by the same rule as the test part. Settings of a recipe
are taken as given: where they were chosen is for its author to say."""


def main_model(config: BenchmarkConfig) -> str:
    """The model that the others are compared with: the first XPert, else the first model."""
    return next((m.name for m in config.models if m.kind == XPERT), config.models[0].name)


def verdict(intervals: pd.DataFrame, differences: pd.DataFrame, model: str) -> str:
    """What is beaten and what is not, in one paragraph."""
    parts = []
    for (scenario, readout), place in intervals.groupby(["scenario", "readout"], sort=False):
        own = place[place["model"] == model]
        if own.empty:
            continue
        near = differences[
            (differences["scenario"] == scenario) & (differences["readout"] == readout)
        ]
        better = near.loc[near["low"] > 0, "model"].tolist()
        worse = near.loc[near["high"] < 0, "model"].tolist()
        level = near.loc[(near["low"] <= 0) & (near["high"] >= 0), "model"].tolist()
        words = [
            f"{word} {', '.join(names)}"
            for word, names in (
                ("does NOT beat", worse),
                ("cannot be told from", level),
                ("beats", better),
            )
            if names
        ]
        score = own.iloc[0]
        parts.append(
            f"**{scenario}, {readout}**: {model} (PCC {score['mean']:.3f} "
            f"[{score['low']:.3f}, {score['high']:.3f}]) " + "; ".join(words or ["stands alone"])
        )
    return ". ".join(parts) + "."


def _sections(
    config: BenchmarkConfig,
    finished: Sequence[Finished],
    scores: pd.DataFrame,
    intervals: pd.DataFrame,
    differences: pd.DataFrame,
) -> list[tuple[str, str]]:
    folds = fold_table(scores)
    found = []
    for (scenario, readout), place in folds.groupby(["scenario", "readout"], sort=False):
        here = (intervals["scenario"] == scenario) & (intervals["readout"] == readout)
        there = (differences["scenario"] == scenario) & (differences["readout"] == readout)
        body = _interval_lines(intervals[here], differences[there], main_model(config))
        body += f"\n\n{_score_lines(place)}"
        found.append(
            (f"{SCENARIOS[str(scenario)].label.capitalize()} ({scenario}), {readout}", body)
        )
    found.append(("What each model costs", _costs(finished)))
    statements = [
        f"- {info.label}: {info.differs}"
        for name, info in registry.available().items()
        if info.differs and any(m.kind == name for m in config.models)
    ]
    if statements:
        found.append(("Where the baselines differ from the originals", "\n".join(statements)))
    formulas = [f"- {METRICS[name].label}: {METRICS[name].formula}" for name in SHOWN]
    return [*found, ("Metrics", "\n".join(formulas))]


def _interval_lines(intervals: pd.DataFrame, differences: pd.DataFrame, model: str) -> str:
    unit = f"{intervals['groups'].iloc[0]} {intervals['unit'].iloc[0]}s"
    header = f"| model | PCC [95 % over {unit}] | {model} minus it | paired t over folds |"
    lines = [header, "| --- | --- | --- | --- |"]
    apart = differences.set_index("model") if len(differences) else pd.DataFrame()
    for _, score in intervals.sort_values("mean", ascending=False).iterrows():
        name, minus, p = score["model"], "", ""
        if name in apart.index:
            d = apart.loc[name]
            minus = f"{d['difference']:+.3f} [{d['low']:+.3f}, {d['high']:+.3f}]"
            p = f"p = {d['p']:.2g} {d['stars']}" if pd.notna(d["p"]) else ""
        value = f"{score['mean']:.3f} [{score['low']:.3f}, {score['high']:.3f}]"
        lines.append(f"| {name} | {value} | {minus} | {p} |")
    return "\n".join(lines)


def _score_lines(place: pd.DataFrame) -> str:
    shown = [name for name in SHOWN if name in set(place["metric"])]
    header = " | ".join(
        f"{METRICS[n].label} {'↑' if METRICS[n].direction == 'up' else '↓'}" for n in shown
    )
    lines = [f"| model | {header} | mean rank |", "| --- " * (len(shown) + 2) + "|"]
    for model, own in place.groupby("model", sort=False):
        by_metric = own.set_index("metric")
        cells: list[str] = []
        for name in shown:
            mean, sd = (float(by_metric[column][name]) for column in ("mean", "sd"))
            cells.append(f"{mean:.3f}" if pd.isna(sd) else f"{mean:.3f} ± {sd:.3f}")
        rank = by_metric.loc[shown, "rank"].mean()
        lines.append(f"| {model} | {' | '.join(cells)} | {rank:.1f} |")
    return "\n".join(lines)


def _costs(finished: Sequence[Finished]) -> str:
    table = pd.DataFrame(
        {
            "model": [f.facts["model"] for f in finished],
            "fit": [f.facts["seconds"]["fit"] for f in finished],
            "predict": [1e3 * f.facts["seconds"]["predict"] / len(f.rows) for f in finished],
            "memory": [f.facts["memory_mib"] for f in finished],
            "epochs": [f.facts["epochs"] for f in finished],
        }
    )
    mean = table.groupby("model", sort=False).mean()
    lines = [
        "One thread each; memory is the most a worker had held by then.",
        "",
        "| model | fit (s) | predict (ms a row) | memory (MiB) | epochs |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, own in mean.iterrows():
        lines.append(
            f"| {name} | {own['fit']:.1f} | {own['predict']:.2f} | {own['memory']:.0f} | "
            f"{own['epochs']:.0f} |"
        )
    return "\n".join(lines)


def _page(
    config: BenchmarkConfig,
    first: str,
    sections: list[tuple[str, str]],
    intervals: pd.DataFrame,
    rows: pd.DataFrame,
) -> str:
    """One HTML file that needs no network: figures carry their own scripts."""
    from xpert_core.benchmark.figures import figures

    body = [f"<h1>Benchmark: {html.escape(config.name)}</h1>", f"<p>{_inline(first)}</p>"]
    body += [f"<p>{_inline(_NOTES)}</p>", figures(intervals, rows)]
    for title, text in sections:
        body += [f"<h2>{html.escape(title)}</h2>", _blocks(text)]
    return _FRAME.format(title=html.escape(config.name), body="\n".join(body))


def _inline(text: str) -> str:
    pieces = html.escape(text).split("**")
    return "".join(f"<b>{p}</b>" if i % 2 else p for i, p in enumerate(pieces))


def _blocks(text: str) -> str:
    """Tables, lists and paragraphs of the report's own Markdown."""
    found = []
    for block in text.split("\n\n"):
        lines = block.splitlines()
        if lines[0].startswith("|"):
            cells = [[_inline(c.strip()) for c in line.strip("|").split("|")] for line in lines]
            head = "".join(f"<th>{c}</th>" for c in cells[0])
            rest = "".join(
                "<tr>" + "".join(f"<td>{c}</td>" for c in row) + "</tr>" for row in cells[2:]
            )
            found.append(f"<table><tr>{head}</tr>{rest}</table>")
        elif lines[0].startswith("- "):
            found.append("<ul>" + "".join(f"<li>{_inline(x[2:])}</li>" for x in lines) + "</ul>")
        else:
            found.append(f"<p>{_inline(block)}</p>")
    return "\n".join(found)


_FRAME = """\
<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 1200px; margin: 2rem auto; }}
table {{ border-collapse: collapse; margin: 1rem 0; display: block; overflow-x: auto; }}
th, td {{ border: 1px solid #ccd; padding: .3rem .6rem; text-align: left; white-space: nowrap; }}
</style></head><body>
{body}
</body></html>
"""
