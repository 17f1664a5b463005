"""The test that decides on changes under treatment, where nothing differs but the spread.

Usage: python -m training.calibrate_changes [data sets]. Prints the table of docs/explanations.md,
"Before and after treatment". A minute of one core for 400 data sets.
"""

from __future__ import annotations

import sys

import numpy as np

from xpert_core.explanation.changes import deciding_test
from xpert_core.explanation.differential import moderated_test, welch_test
from xpert_core.explanation.statistics import benjamini_hochberg

N_GENES, N_FACTORS = 300, 10
SIZES = ((29, 73), (9, 33))
SPREADS = (0.7, 1.0, 1.25, 1.5, 2.0)


def data_set(n_a: int, n_b: int, sd_a: float, rng: np.random.Generator) -> np.ndarray:
    """Correlated genes with equal means; patients of A have the standard deviation `sd_a`."""
    loading = rng.normal(0, 0.4, (N_FACTORS, N_GENES))
    n = n_a + n_b
    values = rng.normal(size=(n, N_FACTORS)) @ loading + rng.normal(size=(n, N_GENES))
    values[:n_a] *= sd_a
    return values


def main() -> None:
    """Print the table."""
    repeats = int(sys.argv[1]) if len(sys.argv) > 1 else 400
    rng = np.random.default_rng(0)
    print("| patients | spread of the smaller group | p < 0.05: moderated t | p < 0.05: the one "
          "that decides | Welch decides | any gene passes: moderated t | any gene passes: the one "
          "that decides |\n|" + " --- |" * 7)  # fmt: skip
    for n_a, n_b in SIZES:
        in_b = np.arange(n_a + n_b) >= n_a
        for sd_a in SPREADS:
            small, any_gene, welch = np.zeros(2), np.zeros(2), 0
            for _ in range(repeats):
                values = data_set(n_a, n_b, sd_a, rng)
                chosen = deciding_test(values, in_b)
                welch += chosen is welch_test
                for i, test in enumerate((moderated_test, chosen)):
                    p = test(values, in_b).p
                    small[i] += (p < 0.05).mean()
                    any_gene[i] += (benjamini_hochberg(p) <= 0.05).any()
            cells = [f"{value / repeats:.3f}" for value in (*small, welch, *any_gene)]
            print(f"| {n_a} and {n_b} | {sd_a:g} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
