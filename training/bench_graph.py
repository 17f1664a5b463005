"""Seconds of one epoch over the real graph, sampled and whole, and peak memory.

Usage: python -m training.bench_graph [--threads 1] [--batch 512]

Also printed: a forward pass over all nodes, and the time to load the embedder and to place a new
drug, where embeddings are installed.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from xpert_core.drugs.standardise import standardise
from xpert_core.graph.build import load_shipped_graph
from xpert_core.graph.embed import EMBEDDINGS, GraphEmbedder
from xpert_core.graph.pretrain import PretrainConfig, Pretraining
from xpert_core.graph.split import Hiding
from xpert_core.graph.tables import shipped

SMILES = "COc1cc2ncnc(Nc3cccc(Br)c3)c2cc1OCCCN1CCOCC1"


def timed(label: str, run: Callable[[], Any]) -> Any:
    """Run, print seconds and the peak memory of the process so far."""
    started = time.perf_counter()
    result = run()
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{label:<44} {seconds:8.2f} s, peak memory {peak:6.0f} MiB", flush=True)
    return result


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch", type=int, default=512)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    data = timed("graph from its tables", load_shipped_graph)
    config = PretrainConfig(evaluate_every=1000)
    whole = timed("set up (split, sparse matrices)", lambda: Pretraining(data, config))
    timed("first epoch, whole graph", whole.run_epoch)
    timed("second epoch, whole graph", whole.run_epoch)
    timed("validation (one forward pass)", whole.evaluate)
    sampled_config = replace(
        config, sampling="neighbours", batch=chosen.batch, hiding=Hiding(supervised=5000)
    )
    sampled = Pretraining(data, sampled_config)
    timed(f"one epoch, neighbours 25/10/5, batch {chosen.batch}", sampled.run_epoch)
    if not shipped(EMBEDDINGS).is_file():
        return
    embedder = timed("load the embeddings", GraphEmbedder.load)
    timed("load the graph and its states", embedder.prepare)
    drug = standardise(SMILES)
    timed("place a new drug, first", lambda: embedder.embed(drug))
    timed("place a new drug, again", lambda: embedder.embed(drug))


if __name__ == "__main__":
    main()
