"""Biological vectors of a benchmark's folds, each of an encoder that never saw its held-out drugs.

Usage::

    python -m training.fold_graph CONFIG.yaml OUT_FOLDER
        [--graph training/configs/fold-graph.yaml] [--only SCENARIO-FOLD ...]

For every scenario and fold that a model of the benchmark with a template under ``graph:`` runs on:
the encoder is pretrained without the target edges of the fold's validation and test drugs, nor of
drugs of the graph that share a name with one of them; all drugs of the data are embedded, in
`strict` as if nobody had studied these; OUT_FOLDER/SCENARIO-FOLD.safetensors is written. What is
there stays, and an interrupted pretraining goes on. Folds that hold out the same drugs share an
encoder (OUT_FOLDER/encoders).
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from torch_geometric.data import HeteroData

from training.prepare_biology import biology_of
from training.pretrain_graph import show
from xpert_core.benchmark.config import BenchmarkConfig, ScenarioSpec, tasks
from xpert_core.benchmark.models import of_fold, split_of
from xpert_core.benchmark.runner import split_path, write_split
from xpert_core.errors import DataError
from xpert_core.files import sha256_bytes
from xpert_core.graph.build import load_shipped_graph
from xpert_core.graph.embed import ENCODER
from xpert_core.graph.encoder import save_encoder
from xpert_core.graph.pretrain import PretrainConfig, pretrain
from xpert_core.graph.records import TARGETS
from xpert_core.graph.split import rows_of
from xpert_core.graph.tables import read_arrays
from xpert_core.learning.fold_files import load_folds
from xpert_core.learning.splits import held_out_keys
from xpert_core.tokens.biology import Biology
from xpert_core.tokens.dataset import TrainingData


def places(config: BenchmarkConfig, out: Path) -> list[tuple[ScenarioSpec, int]]:
    """Scenarios and folds of the models that name vectors by a template.

    Raises
    ------
    DataError
        When there is none, or a model looks for its vectors elsewhere than in `out`.
    """
    found = []
    for task in tasks(config):
        spec, place = task.model, (task.scenario, task.fold)
        if not spec.of_each_fold:
            continue
        graph = str(of_fold(spec, task.scenario.name, task.fold).settings["graph"])
        looked = (config.base / spec.recipe).parent / graph
        written = vectors_path(out, *place)
        if looked.resolve() != written.resolve():
            raise DataError(
                f"{spec.name} looks for its graph vectors elsewhere.",
                where=f"{looked}, not {written}",
                fix=f"Write to the folder of its template, {spec.settings['graph']}, or change it.",
            )
        found.append(place)
    if not found:
        raise DataError(
            "No model of the benchmark names graph vectors by a template.",
            fix='Give one settings: {graph: "folder/{scenario}-{fold}.safetensors"}.',
        )
    return list(dict.fromkeys(found))


def vectors_path(out: Path, scenario: ScenarioSpec, fold: int) -> Path:
    """File of a fold's vectors."""
    return out / f"{scenario.name}-{fold}.safetensors"


def held_out_of(config: BenchmarkConfig, data: TrainingData, out: Path,
                scenario: ScenarioSpec, fold: int) -> tuple[str, ...]:  # fmt: skip
    """Keys of the validation and test drugs of a fold, drawn as the benchmark draws them."""
    write_split(config, scenario, data, out / "splits")
    folds = load_folds(split_path(config, scenario, out / "splits"), data)
    split = folds.split(fold - 1)
    return held_out_keys(data, split_of(data, split.train, split.valid))


def namesakes(data: TrainingData, graph: HeteroData, held_out: tuple[str, ...]) -> tuple[str, ...]:
    """Further drugs of the graph with a name of a held-out drug: another form of it, or a prodrug.

    Their target edges would tell what the held-out drug does.
    """
    own = set(held_out)
    names = {
        name
        for drug, key in enumerate(data.drug_keys)
        if key in own
        for name in (*data.drug_aliases[drug].split("|"), _letters(data.drug_names[drug]))
        if name
    }
    pairs = zip(graph["drug"].key, graph["drug"].name, strict=True)
    return tuple(k for k, name in pairs if k not in own and {name, _letters(name)} & names)


def _letters(name: str) -> str:
    """A name as `TrainingData.drug_aliases` has it."""
    return "".join(c for c in name.lower() if c.isalnum())


def withhold(graph: HeteroData, keys: tuple[str, ...]) -> tuple[tuple[str, ...], int]:
    """Those of `keys` that the graph has, and the number of their target edges."""
    there = set(graph["drug"].key)
    inside = tuple(key for key in keys if key in there)
    sources = graph[TARGETS].edge_index[0]
    return inside, int(torch.isin(sources, rows_of(graph, inside)).sum())


def pretrain_without(
    graph: HeteroData, config: PretrainConfig, masked: tuple[str, ...], out: Path
) -> Path:
    """Folder with the encoder that never saw the target edges of `masked`; made if not there."""
    folder = out / "encoders" / sha256_bytes("\n".join(masked).encode())[:16]
    if not (folder / ENCODER).is_file():
        folder.mkdir(parents=True, exist_ok=True)
        state = folder / "state.safetensors"
        done = pretrain(graph, config, masked_drugs=masked, state=state, progress=show)
        assert done.split.masked == tuple(sorted(masked))
        featurizer = read_arrays("drug_features.npz", ("featurizer",))["featurizer"].tolist()
        meta: dict[str, Any] = {"seed": config.seed, "masked": masked, "featurizer": featurizer}
        save_encoder(folder / ENCODER, done.encoder, meta)
        print(f"{len(done.history)} epochs, best {done.best_epoch}", flush=True)
    return folder


def run(config_path: Path, graph_config: Path, out: Path, only: list[str]) -> list[Path]:
    """Write the vectors of every fold that has none; returns all files."""
    config = BenchmarkConfig.load(config_path)
    pretraining = PretrainConfig.from_dict(yaml.safe_load(graph_config.read_text("utf-8")))
    data, graph = TrainingData.load(config.data), load_shipped_graph()
    written = []
    for scenario, fold in places(config, out):
        path = vectors_path(out, scenario, fold)
        if only and path.stem not in only:
            continue
        held_out = held_out_of(config, data, out, scenario, fold)
        written.append(path)
        if path.is_file():
            Biology.load(path).check(data.drug_keys, held_out)
            print(f"{path.stem}: there", flush=True)
            continue
        others = namesakes(data, graph, held_out)
        masked, edges = withhold(graph, (*held_out, *others))
        print(
            f"{path.stem}: {len(held_out)} held-out drugs and {len(others)} of their names, "
            f"{edges} target edges withheld",
            flush=True,
        )
        folder = pretrain_without(graph, pretraining, masked, out)
        biology = biology_of(data, folder, held_out, others)
        _compare(biology, held_out)
        biology.save(path)
    return written


def _compare(biology: Biology, held_out: tuple[str, ...]) -> None:
    """One line: how far a held-out drug moves when its targets are told."""
    rows = np.flatnonzero(np.isin(biology.drug_keys, held_out))
    rows = rows[biology.strict[rows].any(axis=1)]
    if len(rows):
        cosine = (biology.strict[rows] * biology.informed[rows]).sum(axis=1)
        print(f"held-out drugs, strict with informed: median cosine {np.median(cosine):.3f}")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("config", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--graph", type=Path, default=Path("training/configs/fold-graph.yaml"))
    parser.add_argument("--only", nargs="*", default=[], help="folds such as cold-drug-1")
    parser.add_argument("--threads", type=int, default=1)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    for path in run(chosen.config, chosen.graph, chosen.out, chosen.only):
        print(path)


if __name__ == "__main__":
    main()
