"""Milliseconds per profile of the plain, cached and screening paths, and peak memory.

Usage: python -m training.bench_predict [--rows 16]

plain      every row from scratch: base branch, drug tokens, decoder
cached     profiles and treatments encoded once, as `Predictor.predict` does
screening  one profile against many treatments: the base branch runs once
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable

import torch

from xpert_core.cohorts import example_path, read_cohort, to_profiles
from xpert_core.drugs import DrugLibrary
from xpert_core.prediction import Predictor

DRUGS = ("trametinib", "vemurafenib", "vorinostat", "gefitinib")
DOSES = (0.04, 0.12, 0.37, 1.11, 3.33, 10.0)


def peak_mib() -> float:
    """Peak resident memory of this process, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def timed(label: str, rows: int, run: Callable[[], object]) -> None:
    """Run once to warm up, once to measure, and print."""
    run()
    started = time.perf_counter()
    run()
    each = (time.perf_counter() - started) / rows * 1e3
    print(f"{label:<10} {each:8.1f} ms per profile ({rows} rows), peak memory {peak_mib():.0f} MiB")


def main() -> None:
    """Measure the three paths on the example cohort."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=16)
    count = parser.parse_args().rows
    started = time.perf_counter()
    predictor = Predictor.load()
    print(f"load       {time.perf_counter() - started:8.2f} s, {torch.get_num_threads()} threads")
    started = time.perf_counter()
    profiles = to_profiles(read_cohort(example_path()), predictor.panel)
    print(f"cohort     {time.perf_counter() - started:8.2f} s for {len(profiles)} profiles")
    drugs = [DrugLibrary.load().resolve(name) for name in DRUGS]
    samples = list(profiles.samples.index[: count // 2])
    started = time.perf_counter()
    predictor.predict(profiles, drugs[:1], [1.0], [24.0], samples=samples[:1])
    print(f"first      {(time.perf_counter() - started) * 1e3:8.0f} ms for one prediction")

    def cohort_run(*, reuse: bool) -> object:
        return predictor.predict(profiles, drugs[:2], [1.0], [24.0], samples=samples, reuse=reuse)

    timed("plain", 2 * len(samples), lambda: cohort_run(reuse=False))
    timed("cached", 2 * len(samples), lambda: cohort_run(reuse=True))
    timed(
        "screening",
        len(drugs) * len(DOSES),
        lambda: predictor.predict(profiles, drugs, DOSES, [24.0], samples=samples[:1]),
    )


if __name__ == "__main__":
    main()
