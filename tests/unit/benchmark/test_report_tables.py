"""The tables behind the report, by hand: ceilings, groups, breakdowns, ranks, pairs, genes."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import altair as alt
import numpy as np
import pandas as pd
import pytest
from scipy.stats import f_oneway, spearmanr

from xpert_core.benchmark.breakdown import breakdown, variance_table
from xpert_core.benchmark.ceiling import agreement_rows, conditions_of
from xpert_core.benchmark.comparisons import (
    ablations,
    changed,
    drug_pairs,
    settings_of,
)
from xpert_core.benchmark.config import BenchmarkConfig, ModelSpec
from xpert_core.benchmark.figures import score_chart
from xpert_core.benchmark.genes import (
    MEASURED,
    _Source,
    _spreads,
    most_variable,
    sources_of,
    subset_of,
)
from xpert_core.benchmark.groups import (
    group_table,
    mean_profiles,
    similarity_of,
    terciles,
    trend_table,
)
from xpert_core.benchmark.markdown import Figure, Section, page, table
from xpert_core.benchmark.predictions import Predictions
from xpert_core.benchmark.ranks import gain_table, rank_table
from xpert_core.benchmark.runner import Finished
from xpert_core.benchmark.tables import difference_table, fold_table, holm
from xpert_core.benchmark.verdict import verdict
from xpert_core.errors import DataError
from xpert_core.evaluation.metrics import bootstrap_mean, bootstrap_means
from xpert_core.tokens.dataset import TrainingData

ROOT = Path(__file__).parents[3]
DATA = ROOT / "tests" / "data" / "l1000_small.safetensors"
PLACE = {"scenario": "cold-cell", "readout": "level 5"}


@pytest.fixture(scope="module")
def data() -> TrainingData:
    return TrainingData.load(DATA)


@pytest.fixture
def rows() -> pd.DataFrame:
    """Two models on six cell lines (two a fold) and four drugs."""
    rng = np.random.default_rng(0)
    lines = [
        {**PLACE, "model": model, "fold": 1 + c // 2, "row": 10 * c + d, "drug": f"d{d}",
         "cell": f"c{c}", "value": c / 10 + rng.normal(scale=0.05) * (model == "good")}
        for model in ("good", "plain")
        for c in range(6)
        for d in range(4)
    ]  # fmt: skip
    return pd.DataFrame(lines)


def test_intervals_of_many_columns_are_those_of_each() -> None:
    rng = np.random.default_rng(1)
    values, groups = rng.normal(size=(50, 3)), rng.integers(7, size=50)
    mean, low, high = bootstrap_means(values, groups)
    for i in range(3):
        one = bootstrap_mean(values[:, i], groups)
        assert (mean[i], low[i], high[i]) == pytest.approx((one.mean, one.low, one.high))
    values[groups == 2, 1] = np.nan
    values[:, 2] = np.where(groups == 3, values[:, 2], np.nan)
    mean, low, high = bootstrap_means(values, groups)
    assert mean[1] == pytest.approx(np.nanmean(values[:, 1])) and low[1] < mean[1] < high[1]
    assert np.isnan([low[2], high[2]]).all() and np.isfinite(mean[2]), "one group, no interval"
    alone = bootstrap_mean(np.array([0.1, 0.3]), np.array(["d", "d"]))
    assert alone.mean == pytest.approx(0.2) and np.isnan([alone.low, alone.high]).all()
    assert (alone.n_rows, alone.n_groups) == (2, 1) and str(alone) == "0.200 [no interval]"


def test_holm_by_hand() -> None:
    np.testing.assert_allclose(
        holm(np.array([0.04, 0.01, np.nan, 0.03])), [0.06, 0.03, np.nan, 0.06]
    )
    np.testing.assert_allclose(holm(np.array([0.9, 0.8])), [1, 1])


def test_replicates_agree_with_the_others_of_their_condition(data: TrainingData) -> None:
    rows = np.flatnonzero(data.readout == 1)[:3]
    same = {
        name: np.concatenate([getattr(data, name), getattr(data, name)[rows[[0, 0, 1]]]])
        for name in ("profile_index", "drug_index", "cell_index", "dose_um", "time_h", "readout")
    }
    rng = np.random.default_rng(0)
    noisy = data.x_deg[rows[[0, 0, 1]]] + rng.normal(size=(3, 978)).astype(np.float32)
    more = replace(data, **same, x_deg=np.concatenate([data.x_deg, noisy]))
    n, condition = len(data), conditions_of(more)
    assert condition[rows[0]] == condition[n] == condition[n + 1] != condition[n + 2]
    found = agreement_rows(more, condition)
    own = [rows[0], n, n + 1]
    for i in own:
        others = more.x_deg[[k for k in own if k != i]].mean(axis=0)
        assert found[i] == pytest.approx(np.corrcoef(more.x_deg[i], others)[0, 1], abs=1e-5)
    assert found[rows[1]] == pytest.approx(found[n + 2]) and np.isnan(found[rows[2]])
    other_dose = replace(more, dose_um=more.dose_um + np.arange(len(more.dose_um)))
    assert np.isnan(agreement_rows(other_dose, conditions_of(other_dose))).all()


def test_similarity_is_the_correlation_of_centred_control_profiles(data: TrainingData) -> None:
    every = mean_profiles(data, np.arange(len(data)))
    assert set(every) == set(data.cells)
    own = np.unique(data.profile_index[data.cell_index == 0])
    np.testing.assert_allclose(every[data.cells[0]], data.profiles[own].mean(axis=0), rtol=1e-6)
    rng = np.random.default_rng(0)
    training = {name: rng.normal(size=40) + 5 for name in "abc"}
    centre = np.mean(list(training.values()), axis=0)
    twin = centre + 2 * (training["b"] - centre)
    found = similarity_of({"twin": twin, "far": rng.normal(size=40)}, training).set_index("cell")
    assert found.loc["twin", "nearest"] == pytest.approx(1)
    assert found.loc["twin", "nearest_cell"] == "b"
    expected = [np.corrcoef(twin - centre, training[k] - centre)[0, 1] for k in "abc"]
    assert found.loc["twin", "mean"] == pytest.approx(np.mean(expected))
    alone = similarity_of({"twin": twin}, {"b": training["b"]})
    assert alone[["nearest", "mean"]].isna().all(axis=None), "one line is its own centre"


def similarity() -> pd.DataFrame:
    values = [0.9, 0.1, 0.2, 0.5, 0.4, 0.8]
    found = pd.DataFrame(
        {"scenario": "cold-cell", "fold": [1 + c // 2 for c in range(6)],
         "cell": [f"c{c}" for c in range(6)], "nearest": values, "nearest_cell": "x",
         "mean": values[::-1]}
    ).sort_values("nearest")  # fmt: skip
    return found.assign(group=terciles(found["nearest"]))


def test_cell_lines_count_once_in_their_group(rows: pd.DataFrame) -> None:
    near = similarity()
    assert near.set_index("cell")["group"].to_dict() == {
        "c1": "low", "c2": "low", "c4": "middle", "c3": "middle", "c5": "high", "c0": "high",
    }  # fmt: skip
    # A cell line with many rows weighs no more.
    many = pd.concat([rows, *[rows[rows["cell"] == "c2"].assign(row=900 + i) for i in range(9)]])
    found = group_table(many, near)
    low = found[(found["model"] == "plain") & (found["group"] == "low")].iloc[0]
    assert low["mean"] == pytest.approx((0.1 + 0.2) / 2) and low["cells"] == 2
    assert low["low"] == pytest.approx(0.1) and low["high"] == pytest.approx(0.2)
    trend = trend_table(rows, near).set_index("model").loc["plain"]
    expected = spearmanr(near.sort_values("cell")["nearest"], np.arange(6))
    assert (trend["nearest"], trend["p_nearest"]) == pytest.approx(tuple(expected))
    assert terciles(pd.Series([0.1, 0.2])) == ["", ""]
    assert terciles(pd.Series([0.1, 0.2, 0.3, np.nan])) == ["low", "middle", "high", ""]
    flat = trend_table(rows.assign(value=0.0), near)
    assert flat[["nearest", "mean"]].isna().all(axis=None)


def test_breakdown_resamples_within_a_cell_line_and_a_drug(rows: pd.DataFrame) -> None:
    cells = breakdown(rows, "cell", "drug")
    assert len(cells) == 12 and set(cells["drugs"]) == {4} and set(cells["rows"]) == {4}
    own = rows[(rows["model"] == "good") & (rows["cell"] == "c3")]
    score = bootstrap_mean(own["value"].to_numpy(), own["drug"].to_numpy())
    line = cells[(cells["model"] == "good") & (cells["cell"] == "c3")].iloc[0]
    assert tuple(line[["mean", "low", "high"]]) == pytest.approx(
        (score.mean, score.low, score.high)
    )
    drugs = breakdown(rows[~rows["drug"].eq("d0") | rows["cell"].eq("c1")], "drug", "cell")
    alone = drugs[drugs["drug"] == "d0"]
    assert set(alone["cells"]) == {1} and alone[["low", "high"]].isna().all(axis=None)
    assert alone["mean"].notna().all()


def test_variance_and_anova_over_cell_lines(rows: pd.DataFrame) -> None:
    found = variance_table(rows).set_index("model")
    good = rows[rows["model"] == "good"]
    parts = [part["value"] for _, part in good.groupby("cell")]
    expected = f_oneway(*parts)
    assert found.loc["good", "f"] == pytest.approx(expected.statistic)
    assert found.loc["good", "p"] == pytest.approx(expected.pvalue)
    assert found.loc["good", ["df_between", "df_within"]].tolist() == [5, 18]
    means = [part.mean() for part in parts]
    assert found.loc["good", "var_cells"] == pytest.approx(np.var(means, ddof=1))
    assert np.isnan(found.loc["plain", "f"]), "no spread within a cell line: not defined"


def score_lines() -> pd.DataFrame:
    values = {
        "pcc": {"XPert": 0.3, "TranSiGen": 0.2, "ridge": 0.3},
        "rmse": {"XPert": 1.5, "TranSiGen": 1.0, "ridge": 0.5},
        "r2": {"XPert": 0.1, "TranSiGen": -0.1, "ridge": np.nan},
        "mae": {"XPert": 0.1, "TranSiGen": 0.0, "ridge": 0.2},
        "direction": {"XPert": 0.9, "TranSiGen": 0.1, "ridge": 0.2},
        "overlap_20": {"XPert": 0.1, "TranSiGen": 0.4, "ridge": 0.2},
        "positive_precision_20": {"XPert": 0.3, "TranSiGen": 0.1, "ridge": 0.2},
        "positive_precision_20_of_100": {"XPert": 0.9, "TranSiGen": 0.1, "ridge": 0.2},
    }
    return pd.DataFrame(
        [
            {**PLACE, "model": model, "seed": 0, "fold": 1, "metric": metric, "value": value}
            for metric, own in values.items()
            for model, value in own.items()
        ]
    )


def test_ranks_and_gain_by_hand() -> None:
    folds = fold_table(score_lines())
    ranks = rank_table(folds).set_index(["metric", "model"])["rank"]
    assert ranks["pcc"].to_dict() == {"XPert": 1, "TranSiGen": 3, "ridge": 1}
    assert ranks["rmse"].to_dict() == {"XPert": 3, "TranSiGen": 2, "ridge": 1}
    assert np.isnan(ranks["r2"]["ridge"]), "not defined"
    assert ranks["overlap_20"].to_dict() == {"XPert": 3, "TranSiGen": 1, "ridge": 2}
    assert set(ranks.index.unique("metric")) == set(folds["metric"]), "not those of the table alone"
    assert list(ranks.index.unique("metric"))[:3] == ["pcc", "rmse", "r2"]
    gains = gain_table(folds, "XPert", "TranSiGen").set_index("metric")["gain"]
    assert gains["pcc"] == pytest.approx(0.5) and gains["rmse"] == pytest.approx(-0.5)
    assert gains["r2"] == pytest.approx(2.0), "against a negative score, up is still better"
    assert np.isnan(gains["mae"]), "no ratio to zero"
    assert gains["positive_precision_20"] == pytest.approx(2.0)
    assert set(gains.index) == {"pcc", "rmse", "r2", "mae", "positive_precision_20"}, "the paper's"
    assert gain_table(folds, "XPert", "absent").empty


def smoke() -> BenchmarkConfig:
    return BenchmarkConfig.load(ROOT / "training" / "configs" / "smoke.yaml")


def test_pairs_for_the_drug_input_differ_in_nothing_else() -> None:
    config = smoke()
    names = [(a.name, b.name) for a, b in drug_pairs(config)]
    assert names == [
        ("XPert", "XPert without the drug's structure"),
        ("ridge", "ridge with shuffled drugs"),
    ]
    other = ModelSpec("other ridge", "ridge", settings={"penalties": [3.0]}, drug="zeroed")
    assert len(drug_pairs(replace(config, models=(*config.models, other)))) == 2
    graph = replace(config.models[0], name="XPert, graph", settings={"graph": "vectors"})
    both = replace(config, models=(graph, *config.models))
    assert drug_pairs(both)[0][0].name == "XPert", "like with like: neither has a graph"
    alone = replace(config, models=(graph, config.models[1]))
    assert drug_pairs(alone)[0][0].name == "XPert, graph"


def test_ablations_name_what_differs() -> None:
    config = smoke()
    assert ablations(config, "XPert") == [
        ("XPert of a single branch", "XPert", "single branch: off to on")
    ]
    assert ablations(config, "ridge") == []
    base = settings_of(config.models[0], config)
    spec = replace(
        config.models[0], name="v", settings={"bins": "equidistant", "loss": {"deg_pcc": 0.25}}
    )
    differs = changed(base, settings_of(spec, config))
    assert "loss.deg_pcc" in differs and differs["loss.deg_pcc"][1] == 0.25
    found = ablations(replace(config, models=(*config.models, spec)), "XPert")
    assert any(name == "v" and "loss.deg_pcc" in words for name, _, words in found)
    same = replace(config.models[0], name="twin")
    assert all(
        name != "twin"
        for name, *_ in ablations(replace(config, models=(*config.models, same)), "XPert")
    )
    short = replace(config.models[0], name="short", settings={"max_epochs": 1})
    both = {"max_epochs": 1, "bins": "equidistant"}
    part = replace(config.models[0], name="part", settings=both, against="short")
    found = ablations(replace(config, models=(*config.models, short, part)), "XPert")
    assert [(name, base) for name, base, _ in found[-2:]] == [("short", "XPert"), ("part", "short")]
    assert found[-1][2].startswith("value encoding:") and "epochs" not in found[-1][2]


def task(tmp_path: Path, model: str, fold: int, seed: int, rows: list[int], kept: bool = True):
    facts = {
        "scenario": "cold-drug",
        "model": model,
        "fold": fold,
        "seed": seed,
        "identity": f"{model}{fold}{seed}",
    }
    path = None
    if kept:
        path = tmp_path / f"{model}{fold}{seed}.predictions.npz"
        x_deg = np.full((len(rows), 4), 10 * fold + seed, dtype=np.float32)
        Predictions(np.array(rows), x_deg, np.array(rows), x_deg).save(path)
    return Finished(pd.DataFrame({"row": rows}), facts, path)


def test_boxes_are_of_one_seed_and_all_folds(tmp_path: Path) -> None:
    finished = [
        task(tmp_path, "a", 1, 1, [4, 5]), task(tmp_path, "a", 1, 0, [4, 5]),
        task(tmp_path, "a", 2, 0, [6]), task(tmp_path, "a", 2, 1, [6]),
        task(tmp_path, "half", 1, 0, [4, 5]), task(tmp_path, "half", 2, 0, [6], kept=False),
        task(tmp_path, "one fold", 1, 0, [4, 5]),
    ]  # fmt: skip
    found = sources_of(finished, "cold-drug")
    first, second = [finished[1], finished[2]], [finished[0], finished[3]]
    assert list(found) == ["a", "half"] and found["a"] == [first, second]
    rows, x_deg = _Source(first, tmp_path).predictions
    assert rows.tolist() == [4, 5, 6] and x_deg[:, 0].tolist() == [10, 10, 20]
    assert _Source(found["half"][0], tmp_path).predictions is None
    finished[1].predictions.write_bytes(b"PK cut")
    with pytest.raises(DataError, match="Stored predictions"):
        _ = _Source(first, tmp_path).predictions


def source(folder: Path, rows: np.ndarray, x_deg: np.ndarray) -> _Source:
    path = folder / f"{len(rows)}.npz"
    Predictions(rows, x_deg, rows[:1], x_deg[:1]).save(path)
    facts = {"identity": path.stem, "fold": 1, "seed": 0}
    return _Source([Finished(pd.DataFrame({"row": rows}), facts, path)], folder / "genes")


def test_spreads_of_rows_that_folds_share_are_of_each_row_once(
    data: TrainingData, tmp_path: Path
) -> None:
    rows = np.arange(20)
    known = np.concatenate([rows[10:], rows[:12]])  # two of them in both folds
    x_deg = data.x_deg[known] * 2
    x_deg[-2:] = 1e6  # what the second fold says of those
    few, whole = source(tmp_path, known[:5], x_deg[:5]), source(tmp_path, known, x_deg)
    lost = Finished(pd.DataFrame({"row": known}), {"identity": "lost", "fold": 1, "seed": 0}, None)
    none = _Source([lost], tmp_path / "genes")
    genes = _spreads(data, rows, {"m": [none, few, whole], "few": [few], "none": [none]})
    assert set(genes["source"]) == {MEASURED, "m"} and set(genes["rows"]) == {20}
    by = genes.set_index(["gene", "source"])["sd"].unstack()
    np.testing.assert_allclose(by["m"], 2 * by[MEASURED], rtol=1e-6)


def test_stored_spreads_are_of_these_tasks_rows_and_genes(
    data: TrainingData, tmp_path: Path
) -> None:
    rows, genes = np.arange(20), np.array([3, 1])
    kept = source(tmp_path, rows, data.x_deg[rows])
    said = kept.spreads(rows, genes)
    (tmp_path / "20.npz").unlink()
    facts = {"identity": "20", "fold": 1, "seed": 0}
    gone = Finished(pd.DataFrame({"row": rows}), facts, None)
    stored = _Source([gone], tmp_path / "genes")
    pd.testing.assert_frame_equal(stored.spreads(rows, genes), said, rtol=1e-5)
    assert stored.spreads(rows[1:], genes) is None and stored.spreads(rows, genes[::-1]) is None
    path = stored.path(rows, genes)
    whole = path.read_text()
    for damage in ("", whole.splitlines()[0], whole[: len(whole) // 2], whole.replace("sd", "s")):
        path.write_text(damage)
        with pytest.raises(DataError, match="Delete this file"):
            stored.spreads(rows, genes)
    other = Finished(gone.rows, facts | {"identity": "trained again"}, None)
    assert _Source([other], tmp_path / "genes").spreads(rows, genes) is None


def test_variable_genes_and_subsets(data: TrainingData) -> None:
    values = np.zeros((5, 4))
    values[:, 2], values[:, 1] = [0, 9, 0, 9, 0], [0, 1, 0, 1, 0]
    assert most_variable(values, 2).tolist() == [2, 1]
    chosen = subset_of(data, "egfr INHIBITOR")
    moa = np.array(data.drug_moa)[data.drug_index]
    assert chosen.any() and (chosen == [("EGFR inhibitor" in m.split("|")) for m in moa]).all()
    by_target = subset_of(data, "EGFR")
    assert by_target.any() and not subset_of(data, "EGF").any() and not subset_of(data, "").any()


def test_the_verdict_puts_references_first_and_names_those_without_a_score() -> None:
    config = replace(
        smoke(),
        models=(
            ModelSpec("XPert", "xpert", recipe="smoke-xpert.yaml"),
            ModelSpec("net", "mlp-morgan"),
            ModelSpec("blind ridge", "ridge", drug="zeroed"),
            ModelSpec("near", "nearest-drugs"),
        ),
    )
    place = {"scenario": "cold-cell", "readout": "level 5"}
    own = pd.DataFrame(
        [{**place, "model": m, "mean": 0.2, "low": 0.1, "high": 0.3}
         for m in ("XPert", "net", "near", "blind ridge")]
    )  # fmt: skip
    apart = pd.DataFrame(
        [{**place, "model": m, "low": 0.1, "high": 0.3} for m in ("net", "blind ridge", "near")]
    )
    text = verdict(own, apart, "XPert", config)
    assert "beats near, net, blind ridge" in text
    assert "not run: ridge, mlp-no-drug" in text, "a blind ridge is no ridge"
    assert "mean-cell, mean-control cannot answer here" in text


def test_stars_of_a_p_value_are_not_bold_and_bars_do_not_end_a_cell() -> None:
    lines = table(["model", "p"], [["a|b", "p = 0.004 ** (Holm 0.01)"], ["**c**", "** ns"]])
    html = page("n", "**first**", "notes", [Section("t", lines)])
    assert "<b>first</b>" in html and "<b>c</b>" in html
    assert "<td>a/b</td><td>p = 0.004 ** (Holm 0.01)</td>" in html


def test_contents_lead_to_every_section_and_no_figure_takes_its_name() -> None:
    figure = Figure("ranks", alt.Chart(pd.DataFrame({"x": [1]})).mark_point(), "a point")
    sections = [Section("Ranks", "a", (figure,)), Section("New drugs & <cells>", "b")]
    html = re.sub(r"<script.*?</script>", "", page("n", "first", "notes", sections), flags=re.S)
    names = re.findall(r'id="([^"]+)"', html)
    assert len(names) == len(set(names)) == 3, names
    links = re.findall(r'href="#([^"]+)">([^<]+)', html)
    assert [title for _, title in links] == ["Ranks", "New drugs &amp; &lt;cells&gt;"]
    assert {name for name, _ in links} < set(names)
    assert "prefers-color-scheme: dark" in html


FORGETTING = """
import numpy as np
from xpert_core.benchmark.memory import peak_mib, reset_peak

if not reset_peak():
    raise SystemExit("one peak")
before = peak_mib()
held = np.ones(60 * 2**17)
print(peak_mib() - before)
del held
print(peak_mib() - before)
reset_peak()
print(peak_mib() - before)
"""


def test_the_peak_of_memory_can_be_forgotten() -> None:
    # A process of its own: in one that ran other tests, 60 MiB may come from what they freed.
    ran = subprocess.run([sys.executable, "-c", FORGETTING], capture_output=True, text=True)
    if "one peak" in ran.stderr:
        pytest.skip("This system keeps one peak for the whole process.")
    held, freed, forgotten = map(float, ran.stdout.split())
    assert held > 50 and freed > 50 > forgotten


def test_ranks_are_of_the_main_models_folds_alone() -> None:
    lines = [
        {**PLACE, "model": model, "seed": 0, "fold": fold, "metric": "pcc", "value": value}
        for model, values in {"main": {1: 0.3}, "other": {1: 0.2, 2: 0.9}}.items()
        for fold, value in values.items()
    ]
    found = fold_table(pd.DataFrame(lines), "main").set_index("model")
    assert found.loc["other", "mean"] == pytest.approx(0.55)
    assert found.loc["other", "compared"] == pytest.approx(0.2)
    assert found["rank"].to_dict() == {"main": 1, "other": 2}
    away = fold_table(pd.DataFrame(lines), "absent").set_index("model")
    assert np.isnan(away.loc["main", "rank"]) and away.loc["other", "rank"] == 1


def test_a_difference_of_one_drug_has_no_interval(rows: pd.DataFrame) -> None:
    one = rows.assign(scenario="cold-drug", drug="d0")
    line = difference_table(one, "good").iloc[0]
    assert np.isnan([line["low"], line["high"]]).all() and line["groups"] == 1
    assert line["unit"] == "drug" and line["folds"] == "1, 2, 3" and line["rows"] == 24


def test_a_chart_carries_a_benchmark_of_many_drugs() -> None:
    place = {"scenario": "cold-drug", "readout": "level 3"}
    rng = np.random.default_rng(0)
    rows = pd.DataFrame(
        {
            "model": np.repeat(["a", "b"], 9000),
            "drug": np.tile(np.arange(9000).astype(str), 2),
            "value": rng.normal(size=18000),
        }
    ).assign(**place)
    intervals = pd.DataFrame(
        [{**place, "model": m, "mean": 0.1, "low": 0.0, "high": 0.2} for m in "ab"]
    )
    chart = score_chart(intervals, rows).to_dict()
    boxes = [v for v in chart["datasets"].values() if "q25" in v[0]]
    assert len(boxes) == 1 and [b["model"] for b in boxes[0]] == ["a", "b"]
    own = rows[rows["model"] == "a"]["value"]
    assert boxes[0][0]["q95"] == pytest.approx(own.quantile(0.95))
