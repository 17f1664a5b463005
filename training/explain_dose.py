"""Lay predicted dose responses beside the measured ones: docs/explanations/dose-time.md.

Usage: python -m training.explain_dose

Predicts every A375 dose series of the shipped L1000 wells (24 h) and compares it with the wells,
by the part of the model's split that each drug stood in.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import binomtest

from xpert_core.evaluation.metrics import bootstrap_mean, pearson_rows
from xpert_core.explanation.dose_time import dose_pca, grid_of, sign_reversals
from xpert_core.explanation.measured import Wells, compare, dose_series, drug_of, series
from xpert_core.explanation.training_conditions import TrainingConditions, conditions_of
from xpert_core.files import write_bytes_atomic
from xpert_core.prediction import Prediction, Predictor

OUT = Path(__file__).resolve().parents[1] / "docs" / "explanations" / "dose-time.md"
CELL, HOURS = "A375", 24.0
FEATURED = ("trametinib", "PD-0325901", "PD-184352", "AZD-8330", "dabrafenib", "torin-2",
            "GDC-0980", "NVP-BEZ235")  # fmt: skip
PARTS = {"train": "trained on", "valid": "stopped training", "test": "held out"}


def predict(predictor: Predictor, wells: dict[str, Wells]) -> dict[str, Prediction]:
    """Each series from the vehicle profile of its plate, at its own doses."""
    found = {}
    for number, (name, own) in enumerate(wells.items(), start=1):
        found[name] = predictor.predict(
            own.controls, [drug_of(own)], sorted(own.rows["dose_um"].unique()), [HOURS],
            samples=sorted(own.rows["control"].unique()),
        )  # fmt: skip
        print(f"{number} of {len(wells)}: {name}", file=sys.stderr)
    return found


def comparisons(
    wells: dict[str, Wells], predictions: dict[str, Prediction], conditions: TrainingConditions
) -> pd.DataFrame:
    """`compare` of every series, one row a drug and dose."""
    tables = [compare(predictions[n], own, conditions).assign(drug=n) for n, own in wells.items()]
    return pd.concat(tables, ignore_index=True)


def other_drugs(wells: dict[str, Wells], predictions: dict[str, Prediction]) -> pd.DataFrame:
    """Correlation of each measured well with the predictions of the other drugs at its dose."""
    records = []
    for name, own in wells.items():
        for dose, group in own.rows.groupby("dose_um"):
            at = own.rows.index.get_indexer(group.index)
            truth = own.x_deg[at].mean(axis=0, keepdims=True)
            others = [
                p.x_deg[np.isclose(p.rows["dose_um"], float(str(dose)))]
                for other, p in predictions.items()
                if other != name
            ]
            values = np.concatenate(others)
            found = pearson_rows(np.repeat(truth, len(values), axis=0), values).mean()
            records.append({"drug": name, "dose_um": float(str(dose)), "other": float(found)})
    return pd.DataFrame(records)


def reversals(wells: dict[str, Wells], predictions: dict[str, Prediction]) -> pd.DataFrame:
    """Predicted sign reversals over dose, and whether the wells move the same way."""
    tables = []
    for name, own in wells.items():
        grid = grid_of(predictions[name])
        if len(grid.doses) < 2:
            continue
        found = sign_reversals(grid)
        found = found[found["along"] == "dose"]
        dose = own.rows["dose_um"].to_numpy(dtype=float)
        moved = []
        for gene, high, low in zip(
            found["gene"].astype(str), found["highest_at"], found["lowest_at"], strict=True
        ):
            values = own.x_deg[:, grid.columns([gene])[0]]
            at = [values[np.isclose(dose, float(level))].mean() for level in (high, low)]
            moved.append(float(at[0] - at[1]))
        tables.append(found.assign(drug=name, measured_difference=moved))
    return pd.concat(tables, ignore_index=True)


def scored(values: pd.Series, drugs: pd.Series) -> str:
    """Mean with its interval over drugs."""
    score = bootstrap_mean(values.to_numpy(dtype=float), drugs.to_numpy())
    interval = "" if np.isnan(score.low) else f" ({score.low:.3f} to {score.high:.3f})"
    return f"{score.mean:.3f}{interval}"


def by_part(table: pd.DataFrame) -> str:
    """Summary over all series, as Markdown."""
    lines = [
        "| the drug | drugs | doses | prediction | mean of A375, other drugs | predictions of "
        "other drugs | prediction minus mean of A375 |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for part, words in PARTS.items():
        own = table[table["part"] == part]
        gain = own["pearson"] - own["pearson_line"]
        cells = (
            words,
            own["drug"].nunique(),
            len(own),
            scored(own["pearson"], own["drug"]),
            scored(own["pearson_line"], own["drug"]),
            scored(own["other"], own["drug"]),
            scored(gain, own["drug"]),
        )
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def verdict(table: pd.DataFrame) -> str:
    """What the held-out drugs say."""
    own = table[table["part"] == "test"]
    gain = (own["pearson"] - own["pearson_line"]).to_numpy()
    found = bootstrap_mean(gain, own["drug"].to_numpy())
    if found.low > 0:
        return "On held-out drugs the prediction is above the mean of the cell line."
    return (
        "**On held-out drugs the prediction is not measurably better than the mean of the cell "
        "line**, which knows no drug. The drugs that stopped training were not trained on either; "
        "their gain is inflated by that choice, by how much is not known."
    )


def featured(table: pd.DataFrame, moa: dict[str, str]) -> str:
    """Single drugs, as Markdown."""
    lines = [
        "| drug | mechanism in LINCS | part | doses | prediction | mean of A375 | size measured, "
        "lowest to highest dose | size predicted |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name in FEATURED:
        own = table[table["drug"] == name].sort_values("dose_um")
        sizes = [f"{own[c].iloc[0]:.2f} to {own[c].iloc[-1]:.2f}" for c in ("rms_measured",
                 "rms_predicted")]  # fmt: skip
        cells = (
            name, moa[name] or "not given", PARTS[own["part"].iloc[0]], len(own),
            f"{own['pearson'].mean():.3f}", f"{own['pearson_line'].mean():.3f}", *sizes,
        )  # fmt: skip
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def components(predictions: dict[str, Prediction]) -> tuple[str, int, int]:
    """First component of featured drugs as Markdown; how many drugs pass at p < 0.05, of all."""
    lines = [
        "| drug | share of variance of PC1 | Spearman with log dose | p | q over components |",
        "| --- | --- | --- | --- | --- |",
    ]
    passed = tested = 0
    for name, prediction in predictions.items():
        grid = grid_of(prediction)
        if len(grid.doses) < 5:
            continue
        first = dose_pca(grid, HOURS).components.iloc[0]
        tested += 1
        passed += bool(first["p"] < 0.05)
        if name in FEATURED:
            lines.append(
                f"| {name} | {first['share']:.2f} | {first['rho']:+.2f} | {first['p']:.3f} | "
                f"{first['q']:.3f} |"
            )
    return "\n".join(lines), passed, tested


def reversal_text(found: pd.DataFrame, table: pd.DataFrame) -> str:
    """How many predicted reversals the wells confirm, by part."""
    part = table.drop_duplicates("drug").set_index("drug")["part"]
    lines = [
        "| the drug | reversals predicted | drugs with one | wells move the same way | p against "
        "a half |",
        "| --- | --- | --- | --- | --- |",
    ]
    for key, words in PARTS.items():
        own = found[found["drug"].map(part) == key]
        right = int((own["measured_difference"] > 0).sum())
        p = binomtest(right, len(own)).pvalue if len(own) else float("nan")
        share = f"{right} ({right / len(own):.0%})" if len(own) else "none"
        lines.append(f"| {words} | {len(own)} | {own['drug'].nunique()} | {share} | {p:.2g} |")
    return "\n".join(lines)


def largest(found: pd.DataFrame) -> str:
    """The widest reversals of the featured drugs."""
    lines = [
        "| drug | gene | lowest (log2) at | highest (log2) at | sign changes at | measured "
        "difference of these doses |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name in FEATURED:
        lines += [
            f"| {name} | {row.gene} | {row.lowest:+.2f} at {row.lowest_at:g} uM | "
            f"{row.highest:+.2f} at {row.highest_at:g} uM | {row.crossing:.2g} uM | "
            f"{row.measured_difference:+.2f} |"
            for row in found[found["drug"] == name].head(3).itertuples()
        ]
    return "\n".join(lines)


def main() -> None:
    """Predict, compare, write."""
    predictor = Predictor.load()
    conditions = conditions_of(predictor.digest)
    assert conditions is not None, "the shipped model has its conditions"
    listed = series().query("cell == @CELL and time_h == @HOURS")
    wells = {name: dose_series(name, CELL, HOURS) for name in listed["drug"]}
    predictions = predict(predictor, wells)
    table = comparisons(wells, predictions, conditions)
    table = table.merge(other_drugs(wells, predictions), on=["drug", "dose_um"])
    pca, passed, tested = components(predictions)
    found = reversals(wells, predictions)
    seen = conditions.contrasts()
    every = conditions.contrasts(readout=None)
    text = TEXT.format(
        model=predictor.name, digest=predictor.digest[:12], series=len(wells),
        by_part=by_part(table), verdict=verdict(table),
        featured=featured(table, dict(zip(listed["drug"], listed["moa"], strict=True))),
        pca=pca, passed=passed, tested=tested, reversals=reversal_text(found, table),
        largest=largest(found), pairs=seen["pairs"], doses=seen["several_doses"],
        times=seen["several_times"], z_times=every["several_times"],
    )  # fmt: skip
    write_bytes_atomic(OUT, text.encode())
    table.to_csv(OUT.with_suffix(".csv"), index=False, float_format="%.4f")
    print(text)


TEXT = """# Dose and time: predicted and measured

Written by `python -m training.explain_dose` with {model} ({digest}). {series} drugs have a dose
series in the shipped L1000 level-3 wells (A375, 24 h, 4 to 6 doses, one well a dose as a rule).
Each was predicted from the vehicle profile of its plate, as users get it: told the drug's known
targets. `dose-time.csv` holds every drug and dose.

## What the model could learn

On the read-out of these predictions it was trained on {pairs} pairs of drug and cell line,
{doses} of them at several doses and {times} at several times ({z_times} pairs at several times on
the z-score read-out). All wells at 24 h are of few lines, most of them A375, and nearly all at 6
h of HT115. **No effect of time was learned from an experiment over time**: along the time axis of
a surface the model may repeat the difference between cell lines. The pages hatch what lies far
from every training condition and say this sentence.

## Correlation with the wells

Pearson over 978 genes with the measured change, mean over drugs and doses, 95 % interval over
drugs. The mean of A375 knows the cell line and not the drug (mean measured change over the
trained drugs, this one left out). Predictions of other drugs at the same dose are the null of a
shuffled drug.

{by_part}

{verdict}

## MEK, RAF and mTOR inhibitors

{featured}

Size: root mean square over genes. A single vehicle well scatters around its plate's mean by 0.64.

## Components and dose

{pca}

Of {tested} drugs with five doses or more, {passed} have a first component that follows the dose
at p < 0.05 (doses permuted; with one profile and six doses the smallest possible p is 0.003). A
network that is smooth in dose does this for any drug, so it is a statement on the model.

## Sign reversals over dose

Genes predicted below -0.1 log2 at one dose and above +0.1 at another. "Same way": the measured
change is higher at the dose with the higher prediction; a half would be chance. Genes of one drug
are not independent, so that these p-values are too small.

{reversals}

The widest of single drugs:

{largest}
"""


if __name__ == "__main__":
    main()
