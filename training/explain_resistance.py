"""Resistance genes of the nivolumab melanoma cohort, with the shipped model and all nulls.

Usage: python -m training.explain_resistance [--untrained 3] [--changes-only]

writes docs/explanations/resistance.md and the figures beside it, whatever they say. Its part on
changes under treatment needs no model: --changes-only writes that part anew.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
import vl_convert

from training.explain_changes import CHANGES_HEADING, changes_part, markdown
from xpert_core.cohorts import example_path, read_cohort, to_profiles
from xpert_core.explanation import resistance_figures as figures
from xpert_core.explanation.attention import base_layer_names
from xpert_core.explanation.differential import Differential
from xpert_core.explanation.groups import groups_by_value
from xpert_core.explanation.resistance import (
    Options,
    Resistance,
    collect,
    explain_resistance,
    measure_name,
)
from xpert_core.explanation.resistance_words import LIMITS, balanced_sentence, overlap_sentence
from xpert_core.files import write_bytes_atomic
from xpert_core.prediction import Predictor

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "explanations"
N_GENES, N_SETS = 10, 6


def summary(results: list[Resistance]) -> pd.DataFrame:
    """One row a measure: counts beside their nulls."""
    rows = []
    measures: list[tuple[str, Differential, Resistance | None]]
    measures = [(measure_name(r.options), r.attention, r) for r in results]
    measures.append(("expression before treatment", results[0].expression, None))
    for name, one, whole in measures:
        low, middle, high = np.quantile(one.null.counts_nominal, [0.05, 0.5, 0.95])
        rows.append(
            {
                "measure": name,
                "genes passing": len(one.passing),
                "smallest q": f"{one.deciding_q.min():.3f}",
                "smallest p against the maximum": f"{one.table['p_max'].min():.3f}",
                "genes p < 0.05": one.null.observed_nominal,
                "with permuted labels": f"{middle:.0f} ({low:.0f} to {high:.0f})",
                "chance of as many": f"{one.null.p_nominal:.2f}",
                "passing in untrained networks": (
                    ", ".join(str(len(o.passing)) for o in whole.untrained) if whole else "-"
                ),
                "correlation with untrained": f"{whole.habit.correlation:.2f}" if whole else "-",
            }
        )
    return pd.DataFrame(rows)


def top_genes(found: Resistance, measure: str) -> pd.DataFrame:
    """The genes of smallest p of one measure."""
    one = found.attention if measure == "attention" else found.expression
    top = one.table.head(N_GENES)
    q = one.deciding_q.loc[top.index]
    shown = pd.DataFrame(
        {
            "gene": top.index,
            "log2 ratio": top["log2_ratio"].map("{:+.2f}".format),
            "g (95 %)": [
                f"{g:+.2f} ({low:+.2f} to {high:+.2f})"
                for g, low, high in zip(top["hedges_g"], top["g_low"], top["g_high"], strict=True)
            ],
            "p of the test": top["p"].map("{:.2g}".format),
            "permutation p": top["permutation_p"].map("{:.2g}".format),
            "q": q.map("{:.2g}".format),
            "p against the maximum": top["p_max"].map("{:.2f}".format),
        }
    )
    if measure == "attention":
        untrained = found.genes["untrained_q"].loc[top.index].map("{:.2f}".format)
        shown["untrained q"] = untrained.to_numpy()
    return shown


def top_sets(found: Resistance, measure: str) -> pd.DataFrame:
    """The gene sets of smallest p of one measure."""
    top = found.ranked[found.ranked["measure"] == measure].head(N_SETS)
    return pd.DataFrame(
        {
            "collection": top["collection"],
            "set": top["set"],
            "genes tested": top["size"],
            "NES": top["nes"].map("{:+.2f}".format),
            "p": top["p"].map("{:.2g}".format),
            "q": top["q"].map("{:.2f}".format),
            "leading edge": top["leading_edge"],
        }
    )


def verdict(results: list[Resistance]) -> str:
    """What came out, from the numbers alone."""
    attention = {g for r in results for g in r.attention.passing}
    expression = set(results[0].expression.passing)
    n_sets = sum(
        int((r.ranked.query("measure == 'attention'")["q"] <= 0.05).sum()) for r in results
    )
    tested = sum(len(r.ranked) // 2 for r in results)
    text = (
        f"**{len(attention)} genes pass in any of the {len(results)} kinds of attention, and "
        f"{len(expression)} in expression.** "
    )
    if not attention and not expression:
        text += (
            "With these patients neither attention nor expression before treatment separates "
            "responders from non-responders, gene by gene. "
        )
    else:
        text += f"In attention: {', '.join(sorted(attention)) or 'none'}. "
        text += f"In expression: {', '.join(sorted(expression)) or 'none'}. "
    return text + (
        f"{n_sets} of {tested} tests of gene sets have q at most 0.05 within their measure and "
        f"collection; that q does not count that {len(results)} measures and three collections "
        "were looked at."
    )


def page(results: list[Resistance]) -> str:
    """The whole document."""
    first = results[0]
    about = first.provenance
    parts = [
        "# Resistance genes: nivolumab in melanoma",
        "Written by `training/explain_resistance.py`; every number comes from that run.",
        f"Cohort {about['cohort']} (GSE91061, Riaz et al. 2017), 51 patients before treatment. "
        f"Model {about['model_name']} ({about['model_digest'][:12]}), "
        f"{about['permutations']:,} relabellings of the patients, up to 1,000,000 in the far tail. "
        f"{first.groups.sentence} log2 ratios are B over A: positive means higher in "
        "non-responders. The network was trained on cell lines and never saw a response.",
        "## What came out",
        verdict(results),
        markdown(summary(results)),
        "A gene passes with q at most 0.05: Benjamini-Hochberg over the permutation p for "
        "attention, which is skewed also on the log scale, and over the moderated t for "
        "expression. Counts of small p-values are wide under permuted labels because genes are "
        "correlated: a count far above 5 % of 977 genes is common without any difference.",
        "![Volcano of attention](resistance-attention.png)",
        "![Volcano of expression](resistance-expression.png)",
        "## What could have been seen",
        first.power.sentence,
        balanced_sentence(first),
        "## Genes of smallest p",
        f"Attention ({measure_name(first.options)}):",
        markdown(top_genes(first, "attention")),
        "Expression before treatment:",
        markdown(top_genes(first, "expression")),
        "## Attention beside expression",
        overlap_sentence(first),
        "![Attention beside expression](resistance-both.png)",
        "## Nulls",
        "![Genes with p < 0.05 under permuted labels](resistance-null.png)",
        "![Trained beside untrained network](resistance-untrained.png)",
        "## Gene sets of smallest p",
        "Ranked enrichment with permuted patients as the null, the measured panel genes as "
        "background. The panel holds few genes of most sets: a set of five to ten genes is decided "
        "by two or three of them.",
        f"Attention ({measure_name(first.options)}):",
        markdown(top_sets(first, "attention")),
        "Expression:",
        markdown(top_sets(first, "expression")),
        "## What this does not show",
        LIMITS,
    ]
    return "\n\n".join(parts) + "\n"


def draw(first: Resistance) -> None:
    """Write the figures beside the document."""
    a, b = first.groups.label_a, first.groups.label_b
    charts = {
        "attention": figures.volcano(first.attention, a, b, first.attention.measure),
        "expression": figures.volcano(first.expression, a, b, first.expression.measure),
        "both": figures.beside_expression(first),
        "null": figures.count_histogram(first.attention, "Attention"),
        "untrained": figures.beside_untrained(first),
    }
    for name, chart in charts.items():
        spec = chart.properties(width=560).configure(background="white").to_dict()
        picture = vl_convert.vegalite_to_png(spec, scale=1.5)
        write_bytes_atomic(FOLDER / f"resistance-{name}.png", picture)


def main() -> None:
    """Compare, draw and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--untrained", type=int, default=3)
    parser.add_argument("--changes-only", action="store_true")
    chosen = parser.parse_args()
    file = FOLDER / "resistance.md"
    if chosen.changes_only:
        first, _ = file.read_text(encoding="utf-8").split(CHANGES_HEADING)
        write_bytes_atomic(file, (first + changes_part(FOLDER)).encode())
        return
    seeds = range(chosen.untrained)
    predictor = Predictor.load()
    profiles = to_profiles(read_cohort(example_path()), predictor.panel)
    groups = groups_by_value(profiles.samples, "response", ["PRCR"], ["SD", "PD"])
    material = collect(predictor, profiles, groups, seeds=seeds)
    last = base_layer_names(predictor.model)[-1]
    choices = [("received", None), ("received", last), ("cls", None), ("cls", last)]
    results = []
    for kind, layer in [*choices, ("rollout", None)]:
        results.append(explain_resistance(material, groups, Options(kind, layer)))
        print(measure_name(results[-1].options), len(results[-1].attention.passing), flush=True)
    draw(results[0])
    write_bytes_atomic(file, f"{page(results)}\n{changes_part(FOLDER)}".encode())


if __name__ == "__main__":
    main()
