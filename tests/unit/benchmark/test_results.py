"""Results of tasks that ran on other folds, or hold out scaffolds or patients: what is compared."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from xpert_core.benchmark.comparisons import EXCHANGED, drug_section
from xpert_core.benchmark.config import BenchmarkConfig, ModelSpec
from xpert_core.benchmark.ranks import gain_table
from xpert_core.benchmark.ranks import section as rank_section
from xpert_core.benchmark.report import report_of
from xpert_core.benchmark.results import Results
from xpert_core.benchmark.runner import Finished
from xpert_core.benchmark.tables import holm, row_table
from xpert_core.benchmark.verdict import glance_section, verdict_of
from xpert_core.errors import DataError
from xpert_core.evaluation.metrics import bootstrap_mean
from xpert_core.learning.folds import labels_of
from xpert_core.tokens.dataset import TrainingData

ROOT = Path(__file__).parents[3]
DATA = ROOT / "tests" / "data" / "l1000_small.safetensors"
SMOKE = ROOT / "training" / "configs" / "smoke.yaml"


@pytest.fixture(scope="module")
def data() -> TrainingData:
    return TrainingData.load(DATA)


LABELS = {
    "mean-cell": ("mean-cell", 0.20), "ridge": ("ridge", 0.30), "XPert": ("xpert", 0.29),
    "XPert wide": ("xpert", 0.40), "XPert, mean of 2 seeds": ("xpert", 0.35),
    "shuffled ridge": ("ridge", 0.31), "easy": ("mlp-morgan", 0.24),
}  # fmt: skip


def stored(
    data: TrainingData, scenario: str, rows: dict[int, np.ndarray], units: bool = False
) -> list[Finished]:
    """Tasks whose scores differ by model; fold 3 is easy by 0.3, and "easy" ran on it alone."""
    found = []
    for fold, own in rows.items():
        for i, (model, (kind, base)) in enumerate(LABELS.items()):
            if model == "easy" and fold != 3:
                continue
            noise = np.random.default_rng([fold, i]).normal(scale=0.003, size=len(own))
            pcc = base + 0.3 * (fold == 3) + noise
            table = pd.DataFrame({"row": own, "readout": 1, "pcc": pcc, "pcc_centred": pcc})
            table["drug"] = np.array(data.drug_keys)[data.drug_index[own]]
            table["cell"] = np.array(data.cells)[data.cell_index[own]]
            if units:
                table["patient"] = np.array(data.patients)[own]
            values = {"z-score (level 5)": {"pcc": float(pcc.mean())}}
            facts = {"scenario": scenario, "model": model, "kind": kind, "fold": fold, "seed": 0,
                     "values": values, "seconds": {"fit": 1.0, "predict": 1.0}, "memory_mib": 1,
                     "epochs": 1, "identity": f"{model} {fold}"}  # fmt: skip
            found.append(Finished(table, facts))
    return found


def asked(scenario: str, folds: tuple[int, ...]) -> BenchmarkConfig:
    recipe, smoke = "smoke-xpert.yaml", BenchmarkConfig.load(SMOKE)
    return replace(
        smoke,
        data=DATA,
        scenarios=(replace(smoke.scenarios[0], name=scenario, readout="level 5", folds=folds),),
        models=(
            ModelSpec("XPert", "xpert", recipe=recipe, average_seeds=True),
            ModelSpec("mean-cell", "mean-cell"), ModelSpec("ridge", "ridge"),
            ModelSpec("shuffled ridge", "ridge", drug="shuffled"),
            ModelSpec("XPert wide", "xpert", recipe=recipe, settings={"lr": 1e-3}),
            ModelSpec("easy", "mlp-morgan"),
        ),
    )  # fmt: skip


@pytest.fixture(scope="module")
def uneven(data: TrainingData, tmp_path_factory: pytest.TempPathFactory) -> Results:
    level5 = np.flatnonzero(data.readout == 1)
    rows = {fold: level5[20 * fold - 20 : 20 * fold] for fold in (1, 2, 3)}
    config, out = asked("warm-start", (1, 2, 3)), tmp_path_factory.mktemp("uneven")
    return Results.collect(config, stored(data, "warm-start", rows), out)


def test_models_of_other_folds_are_not_ranked(uneven: Results) -> None:
    place = ("warm-start", "z-score (level 5)")
    assert uneven.left_out(*place) == {"easy": "3"}
    intervals = uneven.intervals.set_index("model")
    assert intervals.loc["easy", "mean"] > intervals.loc["ridge", "mean"], "on its easy fold"
    assert uneven.best_other(*place) == "shuffled ridge", "no other form of XPert, not the easy one"
    ranks = uneven.folds.set_index("model")["rank"]
    assert np.isnan(ranks["easy"]) and ranks["XPert wide"] == 1 and ranks["mean-cell"] == 6
    assert gain_table(uneven.folds, "XPert", "easy").empty
    text = rank_section(uneven).text
    assert "Not ranked, for want of a fold of XPert: easy (fold 3)." in text
    assert "| easy |" not in text and "best of the others, shuffled ridge" in text
    near = uneven.differences.set_index("model")
    assert near.loc["easy", "difference"] == pytest.approx(0.05, abs=0.005)
    assert near.loc["easy", "folds"] == "3"
    assert near.loc["easy", "rows"] == 20 and near.loc["ridge", "rows"] == 60


def test_other_forms_of_xpert_are_no_rivals(uneven: Results) -> None:
    assert uneven.own == {"XPert wide", "XPert, mean of 2 seeds"}
    near = uneven.differences.set_index("model")
    known = near["p_holm"].notna()
    assert set(near.index[known]) == {"mean-cell", "ridge", "shuffled ridge"}
    expected = holm(near.loc[known, "p"].to_numpy())
    np.testing.assert_allclose(near.loc[known, "p_holm"], expected)
    first, second = verdict_of(uneven).split(". XPert, mean of 2 seeds (PCC ")
    assert "XPert wide" not in first and "does NOT beat ridge, shuffled ridge" in first
    assert "beats mean-cell, easy (on fold 3 alone)" in first
    assert second.endswith("beats mean-cell, ridge."), "the references alone"


def glance(results: Results) -> list[str]:
    line = glance_section(results).text.splitlines()[2]
    return [cell.strip() for cell in line.split("|")[1:-1]]


def test_scores_at_a_glance_are_marked_by_what_can_be_told(uneven: Results) -> None:
    text = glance_section(uneven).text
    assert text.startswith("|  | XPert | mean-cell | ridge | best of the others |")
    assert "- mean-cell: mean of the cell line" in text and "- ridge" not in text
    place, own, mean_cell, ridge, best = glance(uneven)
    assert place == "warm-start, z-score (level 5)"
    scores = uneven.intervals.set_index("model")["mean"]
    assert own == f"{scores['XPert']:.3f}"
    assert mean_cell == f"{scores['mean-cell']:.3f} ▼" and ridge == f"{scores['ridge']:.3f} ▲"
    assert best == f"{scores['shuffled ridge']:.3f} ▲ (shuffled ridge)", "not the easy fold's"
    wide = uneven.differences.assign(low=-1.0, high=1.0)
    assert glance(replace(uneven, differences=wide))[2] == mean_cell.replace("▼", "≈")
    none = uneven.differences.assign(low=np.nan, high=np.nan)
    assert glance(replace(uneven, differences=none))[2] == mean_cell.removesuffix(" ▼")
    # A null beside its model, first in the file, is no reference; a name is not a kind.
    models = [m for m in uneven.config.models if m.name != "mean-cell"]
    odd = [models[2], models[0], replace(models[1], name="linear")]
    config = replace(uneven.config, models=tuple(odd))
    assert (
        "|  | XPert | linear | best of the others |"
        in glance_section(replace(uneven, config=config)).text
    )


def test_scores_at_a_glance_are_of_the_folds_that_the_main_model_has(
    uneven: Results, data: TrainingData
) -> None:
    kept = [f for f in uneven.finished if f.facts["model"] != "XPert" or f.facts["fold"] != 3]
    results = Results.collect(uneven.config, kept, uneven.out)
    _, own, _, ridge, _ = glance(results)
    assert ridge.endswith(" ▲") and 0.29 < float(ridge[:-2]) < 0.31, "without the easy fold"
    assert float(own) < float(ridge[:-2])
    # What has not run on all of them, and a main model that has not run at all.
    some = [f for f in kept if f.facts["model"] != "ridge" or f.facts["fold"] != 2]
    assert glance(Results.collect(uneven.config, some, uneven.out))[3] == "-"
    rest = [f for f in kept if f.facts["model"] != "XPert"]
    _, own, mean_cell, *_ = glance(Results.collect(uneven.config, rest, uneven.out))
    assert own == "-" and not set(mean_cell) & set("▲▼≈")


def test_a_benchmark_of_other_forms_alone_has_a_verdict(uneven: Results) -> None:
    forms = [f for f in uneven.finished if f.facts["kind"] == "xpert"]
    assert "XPert (PCC 0." in verdict_of(Results.collect(uneven.config, forms, uneven.out))


def test_tables_say_which_folds_and_rows_a_line_stands_on(uneven: Results) -> None:
    text = report_of(uneven).read_text()
    own = text.split("## New conditions of known drugs")[1].split("\n## ")[0]
    lines = [line for line in own.splitlines() if line.startswith("| ")]
    assert lines[0].endswith("| folds |") and "PCC [95 % over drugs]" in lines[0]
    tail = next(i for i, line in enumerate(lines) if line.startswith("| model | PCC ↑"))
    assert lines[tail - 1].startswith("| easy | 0.5"), "last, whatever its score"
    assert "| 3: 20 rows, " in lines[tail - 1] and any("1, 2, 3: 60 rows, " in x for x in lines)
    assert "| easy (fold 3) |" in own


def test_shuffled_drugs_that_are_known_are_called_what_they_are(
    uneven: Results, data: TrainingData
) -> None:
    text = drug_section(uneven).text
    assert f"| ridge minus shuffled ridge | {EXCHANGED} |" in text
    assert "LOWER with the true structures" in text and "true drug |" not in text
    finished = [
        Finished(f.rows, {**f.facts, "scenario": "cold-drug"}, None) for f in uneven.finished
    ]
    config = asked("cold-drug", (1, 2, 3))
    text = drug_section(Results.collect(config, finished, uneven.out)).text
    assert "| shuffled |" in text and EXCHANGED not in text


def test_patients_are_resampled_and_one_alone_says_nothing(
    data: TrainingData, tmp_path: Path
) -> None:
    level5 = np.flatnonzero(data.readout == 1)[:40]
    patients = [f"p{i % 4}" for i in range(len(data))]
    of = {i: level5[np.array(patients)[level5] == f"p{i}"] for i in range(4)}
    cohort = replace(data, patients=tuple(patients))
    folds = {1: of[0], 2: np.concatenate([of[1], of[2]])}
    finished = stored(cohort, "unseen-patient", folds, units=True)
    results = Results.collect(asked("unseen-patient", (1, 2)), finished, tmp_path)
    assert set(results.intervals["unit"]) == {"patient"}
    assert set(results.intervals["groups"]) == {3}
    assert set(row_table(finished)["patient"]) == {"p0", "p1", "p2"}
    assert glance(results)[0] == "unseen-patient, z-score (level 5) (only 3 patients)"
    text = verdict_of(results)
    assert "only 3 patients" in text and "beats mean-cell" in text
    alone = [f for f in finished if f.facts["fold"] == 1]
    results = Results.collect(asked("unseen-patient", (1,)), alone, tmp_path)
    assert results.differences[["low", "high"]].isna().all(axis=None)
    text = verdict_of(results)
    assert "cannot be said (one patient)" in text
    assert "beats mean-cell" not in text and "NOT" not in text and "[" not in text
    report = report_of(results).read_text()
    assert f"{results.intervals['mean'].iloc[0]:.3f} (one patient)" in report
    assert "Scores of one patient: too few to say much of others" in report
    old = stored(cohort, "unseen-patient", folds)
    with pytest.raises(DataError, match="do not name the patient"):
        row_table(old)


def test_scaffolds_are_resampled_where_they_are_new(data: TrainingData, tmp_path: Path) -> None:
    # Two drugs of one scaffold count once; tasks store the drug alone.
    rows = np.flatnonzero(data.readout == 1)
    drugs, first = np.unique(data.drug_index[rows], return_index=True)
    smiles = list(data.drug_smiles)
    for drug, tail in zip(drugs[:2], ("C", "CC"), strict=True):
        smiles[drug] = f"{tail}c1ccc2ncccc2c1"
    data = replace(data, drug_smiles=tuple(smiles))
    own = rows[np.sort(first[:12])]
    scaffold = labels_of(data).scaffold[own]
    assert len(set(scaffold)) < len(set(data.drug_index[own])) == 12
    finished = stored(data, "cold-scaffold", {1: own})
    assert not any("scaffold" in f.rows for f in finished)
    path = tmp_path / "data.safetensors"
    data.save(path)
    config = replace(asked("cold-scaffold", (1,)), data=path)
    results = Results.collect(config, finished, tmp_path)
    line = results.intervals.set_index("model").loc["ridge"]
    assert (line["unit"], line["groups"]) == ("scaffold", len(set(scaffold)))
    pcc = next(f.rows["pcc"].to_numpy() for f in finished if f.facts["model"] == "ridge")
    by_scaffold, by_drug = bootstrap_mean(pcc, scaffold), bootstrap_mean(pcc, own)
    assert (line["low"], line["high"]) == pytest.approx((by_scaffold.low, by_scaffold.high))
    assert (line["low"], line["high"]) != pytest.approx((by_drug.low, by_drug.high))
    apart = results.differences.set_index("model").loc["ridge"]
    assert (apart["unit"], apart["groups"]) == ("scaffold", len(set(scaffold)))
    assert f"PCC [95 % over {len(set(scaffold))} scaffolds]" in report_of(results).read_text()
