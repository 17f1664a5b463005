"""The whole report of a small run: its sections, its files, and the same text twice."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from xpert_core.benchmark.config import BenchmarkConfig
from xpert_core.benchmark.genes import MEASURED, gene_table
from xpert_core.benchmark.predictions import Predictions
from xpert_core.benchmark.report import write_report
from xpert_core.benchmark.results import SHOWN, Results
from xpert_core.benchmark.runner import Finished, read_task, run
from xpert_core.errors import DataError
from xpert_core.evaluation.metrics import METRICS
from xpert_core.learning.fold_files import stored_digest
from xpert_core.tokens.dataset import TrainingData

DATA = Path(__file__).parents[2] / "data" / "l1000_small.safetensors"
VALUES = {
    "name": "tiny",
    "data": str(DATA),
    "n_folds": 3,
    "workers": 1,
    "subset": "PI3K inhibitor",
    "scenarios": [
        {"name": "cold-cell", "folds": [1, 2, 3]},
        {"name": "warm-start", "readout": "level 5", "folds": [1, 2, 3]},
    ],
    "models": [
        "mean", "ridge", {"name": "ridge blind", "kind": "ridge", "drug": "zeroed"},
        {"name": "transigen", "settings": {"max_epochs": 1}},
    ],
}  # fmt: skip
TABLES = ("cells", "drugs", "variance", "ranks", "similarity", "similarity_groups", "genes")


def made(folder: Path) -> tuple[BenchmarkConfig, list[Finished]]:
    """A finished run whose ridge kept its predictions: the truth, and a constant."""
    path = folder / "bench.yaml"
    path.write_text(yaml.safe_dump(VALUES))
    config = BenchmarkConfig.load(path)
    data = TrainingData.load(config.data)
    found = []
    for finished in run(config, folder / "out"):
        if finished.facts["model"] in ("ridge", "mean"):
            task = folder / "out" / "tasks" / finished.facts["identity"]
            rows = finished.rows["row"].to_numpy()[::-1]
            x_deg = data.x_deg[rows] * (finished.facts["model"] == "ridge")
            Predictions(rows, x_deg, rows[:1], x_deg[:1]).save(Predictions.path(task))
            finished = read_task(task)
            assert finished.predictions is not None
        found.append(finished)
    return config, found


@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("report")
    config, found = made(folder)
    return config, found, write_report(config, found, folder / "out")


def test_two_runs_tell_the_same(reported, tmp_path: Path) -> None:
    _, _, path = reported
    config, found = made(tmp_path)
    again = write_report(config, found, tmp_path / "out")
    texts = [
        re.sub(r"## What each model costs.*?(?=\n## )", "", p.read_text(), flags=re.DOTALL)
        for p in (path, again)
    ]
    assert texts[0] == texts[1] and "costs" not in texts[0]
    for name in TABLES:
        assert (
            path.with_name(f"{name}.csv").read_bytes()
            == again.with_name(f"{name}.csv").read_bytes()
        )
    for name in ("scores.parquet", "differences.json"):
        assert path.with_name(name).read_bytes() == again.with_name(name).read_bytes()


def test_every_section_is_there_and_its_tables_are_whole(reported) -> None:
    config, _, path = reported
    text = path.read_text()
    titles = re.findall(r"^## (.*)$", text, flags=re.MULTILINE)
    for title in (
        "Ranks", "Does the drug matter?", "What the noise allows", "The most variable genes",
        "Cell lines near to and far from the training set", "Cell lines and drugs, one by one",
    ):  # fmt: skip
        assert title in titles
    assert "What the parts of XPert bring" not in titles, "no XPert was run"
    assert "ridge minus ridge blind" in text
    gains = re.findall(r"over TranSiGen: .* over (\d+) of the paper's 10 metrics", text)
    assert len(gains) == 3 and set(gains) <= {"9", "10"}, "three places; R2 may not be defined"
    ranks = pd.read_csv(path.with_name("ranks.csv"))
    asked = {name for name, metric in METRICS.items() if "x_deg" in metric.targets}
    assert set(ranks["metric"]) == asked and {"mse", "mae", "overlap_50"} <= asked
    own = text.split("\n## Ranks\n")[1].split("\n## ")[0]
    assert f"show {len(SHOWN)} of {len(asked)} metrics" in own.replace("\n", " ")
    assert "| MSE |" not in own and "Overlap" not in own
    assert text.count("is not centred on the cell line here") == 2, "both read-outs of cold-cell"
    assert "one vector, is taken instead" in text.split("\n## Metrics\n")[1]
    first = text.split("\n\n")[1]
    assert "not run: nearest-drugs, mlp-no-drug" in first
    assert "mean-cell, mean-control cannot answer" in first
    near = pd.read_csv(path.with_name("similarity.csv"))
    assert sorted(near["cell"]) == sorted(TrainingData.load(DATA).cells)
    assert (near["nearest_cell"] != near["cell"]).all(), "a new cell line is not its own neighbour"
    cells = pd.read_csv(path.with_name("cells.csv"))
    assert set(cells["model"]) == {m.name for m in config.models}
    warm = cells[(cells["scenario"] == "warm-start") & (cells["model"] == "ridge")]
    assert warm["rows"].sum() == 80


def test_variable_genes_are_measured_beside_predicted(reported) -> None:
    _, _, path = reported
    genes = pd.read_csv(path.with_name("genes.csv"))
    assert set(genes["subset"]) == {"all drugs"}, "seven rows are too few for boxes of their own"
    assert set(genes["source"]) == {MEASURED, "ridge", "mean"}
    wide = genes.pivot_table(index=["scenario", "readout", "place"], columns="source", values="sd")
    assert (wide["mean"] == 0).all() and (wide[MEASURED] > 0).all()
    np.testing.assert_allclose(wide["ridge"], wide[MEASURED])
    data = TrainingData.load(DATA)
    truth = data.x_deg[data.readout == 1]
    best = truth.var(axis=0).argmax()
    line = genes[(genes["scenario"] == "warm-start") & (genes["place"] == 1)].iloc[0]
    assert line["gene"] == data.panel_symbols[best] and line["rows"] == 80
    assert line["q75"] == pytest.approx(np.quantile(truth[:, best], 0.75), rel=1e-4)


def test_boxes_outlive_the_predictions(reported) -> None:
    config, found, path = reported
    gone = [replace(task, predictions=None) for task in found]
    again = gene_table(Results.collect(config, gone, path.parent))
    stored = pd.read_csv(path.with_name("genes.csv"))
    pd.testing.assert_frame_equal(again, stored, rtol=1e-5, atol=1e-5)


def test_one_model_alone_has_a_report(tmp_path: Path) -> None:
    path = tmp_path / "bench.yaml"
    scenarios = [{"name": "cold-drug", "readout": "level 5", "folds": [2]}]
    path.write_text(yaml.safe_dump({**VALUES, "models": ["mean"], "scenarios": scenarios}))
    config = BenchmarkConfig.load(path)
    out = tmp_path / "out"
    report = write_report(config, run(config, out), out).read_text()
    first = report.split("\n\n")[1]
    assert first.count("not run: mean-cell, mean-control, nearest-drugs, ridge, mlp-no-drug") == 1
    assert "stands alone" in first and "beat" not in first
    assert "## Ranks" in report and "Does the drug matter" not in report
    split = next((out / "splits").glob("*.csv"))
    assert f"# sha256: {stored_digest(split)}" in split.read_text()
    split.write_text("row\n")
    with pytest.raises(DataError, match="split file cannot be read"):
        stored_digest(split)


def test_figures_are_described_and_need_no_network(reported) -> None:
    _, _, path = reported
    page = path.with_suffix(".html").read_text()
    labels = re.findall(r'<figure><div role="img" aria-label="([^"]+)"', page)
    assert len(labels) >= 6 and all(len(label) > 60 for label in labels)
    assert page.count("window.vegaEmbed=") == 1, "the scripts come once"
    assert 'src="http' not in page and "<link" not in page


def test_drugs_of_one_mechanism_get_their_own_boxes_from_ten_rows(reported, tmp_path: Path) -> None:
    config, found, _ = reported
    results = Results.collect(replace(config, subset="kinase inhibitor"), found, tmp_path)
    level3 = results.data.readout == 0
    drugs = pd.unique(results.data.drug_index[level3])
    for enough in (True, False):
        moa = [""] * len(results.data.drug_keys)
        rows = 0
        for drug in drugs:
            own = int((level3 & (results.data.drug_index == drug)).sum())
            if enough or rows + own < 10:
                moa[drug] = "other|Kinase inhibitor"
                rows += own
        genes = gene_table(replace(results, data=replace(results.data, drug_moa=tuple(moa))))
        own = genes[(genes["subset"] == "kinase inhibitor") & genes["readout"].str.contains("3")]
        if enough:
            assert set(own["rows"]) == {rows} and len(own) == 10 * 3
        else:
            assert 0 < rows < 10 and own.empty
