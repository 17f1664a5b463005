"""Pretrain the graph encoder and write the embeddings that ship.

Usage::

    python -m training.pretrain_graph training/configs/graph.yaml
        [--seed N] [--mask-drugs FILE] [--out DIR]

Writes ``encoder.safetensors``, ``embeddings.safetensors`` and ``report.json`` to DIR (default
``runs/graph``): held-out link prediction, agreement in mechanism, drugs embedded as new. The state
is kept there too, so that an interrupted run goes on. ``--mask-drugs`` names a text file of node
keys, one a line, whose targets nothing may know (strict mode). About ten minutes on one core.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import yaml
from torch_geometric.data import HeteroData

from xpert_core.errors import DataError
from xpert_core.files import sha256_file, write_bytes_atomic
from xpert_core.graph.agreement import (
    agreement,
    cold_similarity,
    cosine_matrix,
    inductive_check,
)
from xpert_core.graph.build import load_shipped_graph, shipped_fingerprints
from xpert_core.graph.embed import EMBEDDINGS, ENCODER, save_embeddings
from xpert_core.graph.encoder import (
    GraphEncoder,
    adjacencies,
    features_of,
    save_encoder,
    sizes_of,
)
from xpert_core.graph.links import evaluate_links
from xpert_core.graph.pretrain import (
    Epoch,
    PretrainConfig,
    Pretrained,
    Pretraining,
    pretrain,
)
from xpert_core.graph.similarity import tanimoto_to
from xpert_core.graph.split import PairSet
from xpert_core.graph.tables import read_arrays, read_table
from xpert_core.paths import assets_dir

INDUCTIVE = 200
"""Drugs removed and embedded as new."""
NAMED = ("vorinostat", "gefitinib", "letrozole", "imatinib")


@torch.no_grad()
def embed_all(encoder: GraphEncoder, data: HeteroData, pairs: PairSet) -> dict[str, torch.Tensor]:
    """Embeddings of all nodes with the edges `pairs`."""
    found: dict[str, torch.Tensor] = encoder(features_of(data), adjacencies(pairs, sizes_of(data)))
    return found


def labelled(data: HeteroData) -> tuple[torch.Tensor, list[frozenset[str]]]:
    """Positions and mechanisms of the drugs that have a molecule token and a mechanism."""
    library = read_table(assets_dir() / "drugs" / "library.parquet", [("moa",), ("connectivity",)])
    library = library[(library["moa"] != "") & (library["connectivity"] != "")]
    moa: dict[str, set[str]] = {}
    for key, text in zip(library["connectivity"], library["moa"], strict=True):
        moa.setdefault(key, set()).update(text.split("|"))
    has_x = data["drug"].has_x.tolist()
    rows = [row for row, key in enumerate(data["drug"].key) if key in moa and has_x[row]]
    return torch.tensor(rows), [frozenset(moa[data["drug"].key[row]]) for row in rows]


def chemical_spaces(data: HeteroData, rows: torch.Tensor) -> dict[str, np.ndarray]:
    """Similarity of some drugs by structure alone."""
    x = data["drug"].x[rows]
    standard = ((x - x.mean(0)) / x.std(0).clamp(min=1e-6)).numpy()
    keys, packed = shipped_fingerprints()
    row_of = {key: row for row, key in enumerate(keys)}
    packed = packed[[row_of[data["drug"].key[row]] for row in rows.tolist()]]
    return {
        "chemical, AIMNet2": cosine_matrix(standard),
        "chemical, Morgan": np.stack([tanimoto_to(packed, row) for row in packed]),
    }


def mechanisms(data: HeteroData, done: Pretrained, untrained: GraphEncoder) -> dict[str, Any]:
    """Agreement in mechanism of the ten nearest drugs, in each space and as differences.

    The untrained encoder is the null: what the edges and features give without any training.
    ``held-out drugs`` judges only the neighbours of drugs whose targets the encoder never saw.
    """
    rows, labels = labelled(data)
    pairs = done.split.known
    spaces = {}
    for name, encoder in (("biological", done.encoder), ("untrained", untrained)):
        spaces[name] = cosine_matrix(embed_all(encoder, data, pairs)["drug"][rows].numpy())
        spaces[f"{name}, targets withheld"] = cold_similarity(encoder, data, pairs, rows)
    spaces |= chemical_spaces(data, rows)
    found = compare(spaces, labels)
    random = np.random.default_rng(0).random((len(rows), len(rows)))
    found["chance"] = asdict(agreement(random, labels))
    masked = set(done.split.masked)
    queries = np.array([data["drug"].key[row] in masked for row in rows.tolist()])
    if queries.any():
        # Without target edges, withheld or not is the same.
        cold = {name: space for name, space in spaces.items() if "withheld" not in name}
        found["held-out drugs"] = compare({**cold, "chance": random}, labels, queries)
    return found


def compare(
    spaces: dict[str, np.ndarray],
    labels: list[frozenset[str]],
    queries: np.ndarray | None = None,
) -> dict[str, Any]:
    """Agreement in every space, and of the biological ones above the others."""
    found: dict[str, Any] = {
        name: asdict(agreement(space, labels, queries=queries)) for name, space in spaces.items()
    }
    biological = [name for name in spaces if name.startswith("biological")]
    for name in biological:
        kind = name.removeprefix("biological")
        for other in spaces:
            if other.startswith("chemical") or other == f"untrained{kind}":
                difference = agreement(spaces[name], labels, minus=spaces[other], queries=queries)
                found[f"{name} minus {other}"] = asdict(difference)
    return found


def inductive(
    encoder: GraphEncoder,
    data: HeteroData,
    pairs: PairSet,
    embedded: dict[str, torch.Tensor],
    seed: int,
) -> dict[str, Any]:
    """Drugs with a structure, half of them with known targets, removed and embedded as new."""
    generator = torch.Generator().manual_seed(seed)
    with_target = torch.zeros(len(data["drug"].key), dtype=torch.bool)
    with_target[pairs["drug", "targets", "gene"].source] = True
    found = {}
    for name, group in (("with targets", with_target), ("without targets", ~with_target)):
        rows = (group & data["drug"].has_x).nonzero()[:, 0]
        rows = rows[torch.randperm(len(rows), generator=generator)[: INDUCTIVE // 2]]
        found[name] = inductive_check(encoder, data, pairs, embedded, rows).summary()
    return found


def nearest(data: HeteroData, drugs: torch.Tensor, names: Sequence[str]) -> dict[str, list[str]]:
    """Ten nearest drugs of some drugs, by name."""
    unit = torch.nn.functional.normalize(drugs, dim=1)
    found = {}
    for name in names:
        row = data["drug"].name.index(name)
        best = (unit @ unit[row]).argsort(descending=True)[:11].tolist()
        found[name] = [data["drug"].name[other] for other in best if other != row][:10]
    return found


def judge(encoder: GraphEncoder, data: HeteroData, done: Pretrained, seed: int) -> dict[str, Any]:
    """Held-out links, and drugs embedded as new."""
    known = done.split.known
    links = evaluate_links(embed_all(encoder, data, done.split.train), done.split, seed=seed)
    return {
        "links": [asdict(score) for score in links],
        "inductive": inductive(encoder, data, known, embed_all(encoder, data, known), seed),
    }


def report(
    data: HeteroData, done: Pretrained, config: PretrainConfig, seconds: float
) -> dict[str, Any]:
    """All numbers of a run, each beside what the same network gives untrained."""
    untrained = Pretraining(data, config, done.split.masked).result().encoder
    judged = {
        name: judge(encoder, data, done, config.seed)
        for name, encoder in (("trained", done.encoder), ("untrained", untrained))
    }
    embedded = embed_all(done.encoder, data, done.split.known)
    return {
        "config": asdict(config),
        "graph": data.statistics,
        "masked": list(done.split.masked),
        "epochs": len(done.history),
        "best_epoch": done.best_epoch,
        "seconds": round(seconds, 1),
        "valid": {e.number: e.valid for e in done.history if e.valid},
        **judged["trained"],
        "untrained": judged["untrained"],
        "mechanism": mechanisms(data, done, untrained),
        "nearest": nearest(data, embedded["drug"], NAMED),
    }


def show(epoch: Epoch) -> None:
    """One line per evaluation."""
    if epoch.valid:
        parts = ", ".join(f"{name} {loss:.3f}" for name, loss in epoch.valid.items())
        print(f"epoch {epoch.number}: train {epoch.loss:.3f}, held out {parts}", flush=True)


def read_keys(path: Path | None) -> list[str]:
    """Node keys of a text file, one a line."""
    if path is None:
        return []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError("The list of drugs to mask cannot be read.", where=str(path)) from error
    return [line.strip() for line in lines if line.strip()]


def main() -> None:
    """Pretrain, judge, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("config", type=Path)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--mask-drugs", type=Path)
    parser.add_argument("--out", type=Path, default=Path("runs/graph"))
    parser.add_argument("--threads", type=int, default=1)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    config = PretrainConfig.from_dict(yaml.safe_load(chosen.config.read_text(encoding="utf-8")))
    if chosen.seed is not None:
        config = replace(config, seed=chosen.seed)
    masked = read_keys(chosen.mask_drugs)
    data = load_shipped_graph()
    started = time.perf_counter()
    state = chosen.out / "state.safetensors"
    done = pretrain(data, config, masked_drugs=masked, state=state, progress=show)
    found = report(data, done, config, time.perf_counter() - started)
    featurizer = read_arrays("drug_features.npz", ("featurizer",))["featurizer"].tolist()
    meta = {"seed": config.seed, "masked": list(done.split.masked), "featurizer": featurizer}
    save_encoder(chosen.out / ENCODER, done.encoder, meta)
    meta["encoder"] = sha256_file(chosen.out / ENCODER)
    embedded = embed_all(done.encoder, data, done.split.known)
    save_embeddings(chosen.out / EMBEDDINGS, data, embedded, meta)
    write_bytes_atomic(chosen.out / "report.json", (json.dumps(found, indent=1) + "\n").encode())
    print_report(found)


def print_report(found: dict[str, Any]) -> None:
    """The numbers as tables."""
    print(f"{found['epochs']} epochs, best {found['best_epoch']}, {found['seconds']} s")
    mechanism = dict(found["mechanism"])
    held_out = mechanism.pop("held-out drugs", {})
    for name, part in (("trained", found), ("untrained", found["untrained"])):
        print(name)
        print(pd.DataFrame(part["links"]).round(4).to_string(index=False))
        print(pd.DataFrame(part["inductive"]).T.round(3).to_string())
    print(pd.DataFrame(mechanism).T.round(3).to_string())
    if held_out:
        print("drugs whose targets the encoder never saw")
        print(pd.DataFrame(held_out).T.round(3).to_string())
    for name, others in found["nearest"].items():
        print(f"{name}: {', '.join(others)}")


if __name__ == "__main__":
    main()
