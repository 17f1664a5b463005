"""Seconds and peak memory of gene attention and atom attention: all layers, all kinds.

Usage: python -m training.bench_explanation [--profiles 100] [--model NAME]

The example cohort, repeated to the number of profiles asked for: every profile is computed, so
repeating changes neither the time nor the memory.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace

import numpy as np
import pandas as pd
import torch

from training.bench_predict import peak_mib
from xpert_core.cohorts import example_path, read_cohort, to_profiles
from xpert_core.cohorts.records import Profiles
from xpert_core.explanation.atoms import atom_attention
from xpert_core.explanation.attention import base_layer_names
from xpert_core.explanation.genes import gene_attention
from xpert_core.prediction import Predictor

#: What the atoms are asked of.
TREATMENT = ("gefitinib", "1 uM", "24 h")


def repeated(profiles: Profiles, count: int) -> Profiles:
    """The profiles again and again until there are `count`, with ids of their own."""
    index = np.arange(count) % len(profiles)
    samples = profiles.samples.iloc[index]
    samples = samples.set_axis(pd.Index([f"P{i}" for i in range(count)], name="sample_id"))
    return replace(profiles, samples=samples, x_ctl=profiles.x_ctl[index])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--profiles", type=int, default=100)
    parser.add_argument("--model", default=None)
    options = parser.parse_args()
    predictor = Predictor.load(options.model)
    profiles = repeated(to_profiles(read_cohort(example_path()), predictor.panel), options.profiles)
    before = peak_mib()
    started = time.perf_counter()
    genes = gene_attention(predictor, profiles)
    between = time.perf_counter()
    atoms = atom_attention(predictor, profiles, *TREATMENT)
    ended = time.perf_counter()
    held = sum(array.nbytes for array in genes.values.values()) / 2**20
    layers = [*base_layer_names(predictor.model), *atoms.layers]
    print(
        f"{len(genes)} profiles x {len(layers)} layers ({', '.join(layers)}), genes by "
        f"{', '.join(genes.kinds)} and {len(atoms.atoms)} atoms of {TREATMENT[0]}: "
        f"{between - started:.1f} s genes + {ended - between:.1f} s atoms = "
        f"{ended - started:.1f} s on {torch.get_num_threads()} threads, peak memory "
        f"{peak_mib():.0f} MiB ({before:.0f} MiB before), gene result {held:.1f} MiB"
    )


if __name__ == "__main__":
    main()
