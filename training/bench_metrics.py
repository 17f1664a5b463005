"""Seconds of every metric on 15,000 x 978 values, and peak memory.

Usage: python -m training.bench_metrics [--rows 15000]
"""

from __future__ import annotations

import argparse
import resource
import time

import numpy as np

from xpert_core.evaluation.metrics import METRICS, Context, evaluate

GENES, DRUGS, PLACES = 978, 300, 40


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=15_000)
    rows = parser.parse_args().rows
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(rows, GENES)).astype(np.float32)
    predicted = (0.5 * truth + rng.normal(size=truth.shape)).astype(np.float32)
    context = Context(
        rng.integers(DRUGS, size=rows), rng.integers(PLACES, size=rows), np.zeros_like(truth)
    )
    total = 0.0
    for name in METRICS:
        started = time.perf_counter()
        value = evaluate(truth, predicted, context=context, names=[name])[name].value
        seconds = time.perf_counter() - started
        total += seconds
        print(f"{name:<32} {value:10.5f} {seconds:8.2f} s", flush=True)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{'together':<43} {total:8.2f} s, peak memory {peak:.0f} MiB")


if __name__ == "__main__":
    main()
