"""The report of a benchmark: Markdown to read in a repository, HTML with figures."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from xpert_core.baselines import registry
from xpert_core.benchmark import breakdown, ceiling, comparisons, genes, groups, ranks, x_pert
from xpert_core.benchmark.config import BenchmarkConfig, tasks
from xpert_core.benchmark.costs import cost_section, origins_section
from xpert_core.benchmark.figures import score_chart
from xpert_core.benchmark.markdown import Figure, Section, interval, p_value, page, table
from xpert_core.benchmark.results import SHOWN, Results
from xpert_core.benchmark.runner import Finished
from xpert_core.benchmark.tables import FEW_GROUPS, FEWEST_FOLDS, unit_words, with_interval
from xpert_core.benchmark.verdict import glance_section, score_words, verdict_of
from xpert_core.evaluation.metrics import METRICS
from xpert_core.files import atomic_path, write_bytes_atomic
from xpert_core.learning.folds import SCENARIOS


def write_report(config: BenchmarkConfig, finished: Sequence[Finished], out: Path) -> Path:
    """Write ``report.md``, ``report.html``, ``scores.parquet``, ``differences.json`` and the full
    tables of the sections (CSV) to `out`.

    Returns
    -------
    Path
        Of the Markdown file.
    """
    return report_of(Results.collect(config, finished, out))


def report_of(results: Results) -> Path:
    """Write the report of results to their folder; see `write_report`."""
    out = results.out
    out.mkdir(parents=True, exist_ok=True)
    with atomic_path(out / "scores.parquet") as temporary:
        results.scores.to_parquet(temporary, index=False)
    records = json.loads(results.differences.to_json(orient="records"))
    write_bytes_atomic(out / "differences.json", (json.dumps(records, indent=1) + "\n").encode())
    sections = _sections(results)
    for name, content in (pair for s in sections for pair in s.tables.items()):
        text = content.to_csv(index=False, lineterminator="\n", float_format="%.6g")
        write_bytes_atomic(out / name, text.encode())
    first = verdict_of(results)
    notes = "\n\n".join(filter(None, (missing_text(results), _NOTES)))
    text = f"# Benchmark: {results.config.name}\n\n{first}\n\n{notes}\n"
    text += "".join(f"\n## {s.title}\n\n{s.text}\n" for s in sections)
    write_bytes_atomic(out / "report.md", text.encode())
    html = page(results.config.name, first, notes, sections)
    write_bytes_atomic(out / "report.html", html.encode())
    return out / "report.md"


_NOTES = """\
PCC: Pearson correlation of predicted and measured change (x_deg) of each test row over genes.
Tables with ± give mean and standard deviation over folds of the mean over seeds; intervals in
brackets are 95 % bootstraps over drugs (over scaffolds, cell lines, patients or cancers where
these are new), which is the unit of the claim; one of them has no interval, and says nothing of
others. A model that ran on other folds than the main one is compared with it on the shared rows
alone, and not ranked. Other forms of XPert are set against XPert on the seeds that both have.
Epochs, penalties and neighbours were chosen on each fold's validation part alone, which holds
other drugs, cell lines or conditions by the same rule as the test part. Settings of a recipe are
taken as given: where they were chosen is for its author to say."""


_NO_CENTRE = f"""\
"{METRICS["pcc_centred"].label}" is not centred on the cell line here: no row of a new cell line is
trained on, so it has no mean of its own, and the mean of all training rows of the read-out is taken
from every row: one vector, which leaves in what is common to a cell line's drugs."""


def missing_text(results: Results) -> str:
    """What of the configuration has not been run; "" when all of it has."""
    keys = ("scenario", "fold", "model", "seed")
    done = {tuple(f.facts[k] for k in keys) for f in results.finished}
    planned = tasks(results.config)
    left = [t for t in planned if (t.scenario.name, t.fold, t.model.name, t.seed) not in done]
    if not left:
        return ""
    begun = {scenario for scenario, *_ in done}
    named: dict[str, list[str]] = {}
    for t in left:
        if t.scenario.name in begun:
            place = f"{t.model.name} in {t.scenario.name}"
            named.setdefault(place, []).append(f"{t.fold}/{t.seed}")
        else:
            named.setdefault(f"all of {t.scenario.name}", [])
    words = "; ".join(f"{place} ({', '.join(f)})" if f else place for place, f in named.items())
    return f"**{len(left)} of {len(planned)} tasks are not done** (fold/seed): {words}."


def _sections(results: Results) -> list[Section]:
    ceilings = ceiling.ceiling_table(results)
    found: list[Section | None] = [
        glance_section(results),
        *_scenario_sections(results, ceilings),
        x_pert.section(results),
        ranks.section(results),
        comparisons.drug_section(results),
        comparisons.ablation_section(results),
        ceiling.section(results, ceilings),
        groups.section(results),
        breakdown.section(results),
        genes.section(results),
        cost_section(results.config, results.finished),
        origins_section(results.config),
        Section("Metrics", "\n".join(f"- {METRICS[n].label}: {METRICS[n].formula}" for n in SHOWN)),
    ]
    return [section for section in found if section is not None]


def _scenario_sections(results: Results, ceilings: pd.DataFrame) -> list[Section]:
    whole, rows = (_on_all_folds(results, part) for part in (results.intervals, results.rows))
    figure = Figure(
        "figures",
        score_chart(whole, rows),
        "PCC of each model with its 95 % interval, and the spread of mean PCCs over drugs "
        "(scaffolds, cell lines, patients or cancers where these are new), best model first; "
        "models that ran on all folds. The numbers are in the tables, drugs.csv and cells.csv.",
    )
    found: list[Section] = []
    for scenario, readout, _ in results.places():
        title = f"{SCENARIOS[scenario].label.capitalize()} ({scenario}), {readout}"
        body = _interval_lines(results, scenario, readout, ceilings)
        place = results.at(results.folds, scenario, readout)
        body += f"\n\n{_score_lines(place, results.left_out(scenario, readout))}"
        if not registry.available()["mean-cell"].applies(scenario):
            body += f"\n\n{_NO_CENTRE}"
        found.append(Section(title, body, () if found else (figure,)))
    return found


def _on_all_folds(results: Results, part: pd.DataFrame) -> pd.DataFrame:
    """The lines of models that can be ranked."""
    lacking = {
        (scenario, readout, model)
        for scenario, readout, _ in results.places()
        for model in results.left_out(scenario, readout)
    }
    keys = zip(part["scenario"], part["readout"], part["model"], strict=True)
    return part[[key not in lacking for key in keys]]


def _interval_lines(results: Results, scenario: str, readout: str, ceilings: pd.DataFrame) -> str:
    intervals = results.at(results.intervals, scenario, readout)
    differences = results.differences
    if len(differences):
        differences = results.at(differences, scenario, readout).set_index("model")
    unit = str(intervals["unit"].iloc[0])
    left = results.left_out(scenario, readout)
    # Models on other folds stand at the end, whatever their scores: rows are not alike.
    order = intervals.assign(apart=intervals["model"].isin(list(left)))
    order = order.sort_values(["apart", "mean"], ascending=[True, False], kind="stable")
    alike = len(intervals[["groups", "rows", "folds"]].drop_duplicates()) == 1
    seeds = results.at(results.folds, scenario, readout).groupby("model")["seeds"].max()
    lines = []
    for _, score in order.iterrows():
        name, minus, p = score["model"], "", ""
        if name in differences.index:
            d: Any = differences.loc[name]
            minus = with_interval(
                d["difference"], d["low"], d["high"], unit, d["groups"], sign=True
            )
            p = f"{p_value(d['p'])} {d['stars']}" if d["p"] >= 0 else ""
            p += f" (Holm {d['p_holm']:.2g})" if d["p_holm"] >= 0 else ""
        lines.append([name, score_words(score), minus, p, str(seeds[name])])
        if not alike:
            lines[-1].append(
                f"{score['folds']}: {score['rows']} rows, {unit_words(unit, score['groups'])}"
            )
    c = results.at(ceilings, scenario, readout).iloc[0]
    if c["rows"]:
        label = f"{ceiling.LABEL}, {c['conditions']} of them"
        noise = [label, interval(c["mean"], c["low"], c["high"]), "", "", ""]
        lines.insert(0, noise if alike else [*noise, f"{c['rows']} rows"])
    few = int(intervals["groups"].min())
    over = unit_words(unit, few) if alike else unit_words(unit, 2).removeprefix("2 ")
    head = ["model", f"PCC [95 % over {over}]", f"{results.model} minus it", "paired t over folds",
            "seeds"]  # fmt: skip
    text = table(head if alike else [*head, "folds"], lines)
    main = results.at(results.folds, scenario, readout)
    if main.loc[main["model"] == results.model, "folds"].max() < FEWEST_FOLDS:
        text += "\n\nFewer than three folds: no paired t-test."
    if few < FEW_GROUPS:
        text += (
            f"\n\nScores of {unit_words(unit, few)}: too few to say much of others; a bootstrap of "
            f"fewer than {FEW_GROUPS} is too narrow, and one has no interval."
        )
    return text


def _score_lines(place: pd.DataFrame, left: dict[str, str]) -> str:
    shown = [name for name in SHOWN if name in set(place["metric"])]
    arrows = {"up": "↑", "down": "↓"}
    head = [f"{METRICS[n].label} {arrows[METRICS[n].direction]}" for n in shown]
    lines = []
    for model, own in place.groupby("model", sort=False):
        by_metric = own.set_index("metric")
        label = str(model)
        cells = [f"{label} (fold {left[label]})" if label in left else label]
        for name in shown:
            mean, sd = (float(by_metric[column][name]) for column in ("mean", "sd"))
            cells.append(f"{mean:.3f}" if pd.isna(sd) else f"{mean:.3f} ± {sd:.3f}")
        rank = by_metric.loc[shown, "rank"].mean()
        lines.append([*cells, "" if pd.isna(rank) else f"{rank:.1f}"])
    return table(["model", *head, "mean rank"], lines)
