"""Score domain shift, batches and mechanisms in raw and embedded spaces.

Usage: python -m training.explain_maps

Writes docs/explanations/maps.md: how patients of the example cohort lie among the L1000 cell lines,
how plates mix and mechanisms separate among treated wells, and gene tokens by pathway, before and
after the network, beside the same network untrained.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from xpert_core.cohorts import example_path, read_cohort, to_profiles
from xpert_core.explanation import spaces
from xpert_core.explanation.dose_time import pathways
from xpert_core.explanation.maps import CONSERVATION, MIXING, MapScores, Space, score
from xpert_core.explanation.measured import level3_wells
from xpert_core.explanation.networks import untrained
from xpert_core.files import write_bytes_atomic
from xpert_core.prediction import Predictor

OUT = Path(__file__).resolve().parents[1] / "docs" / "explanations" / "maps.md"
HEAD = "| space | points | groups | same label, 15 nearest | Simpson | silhouette | ARI | NMI |"
RULE = "| --- | --- | --- | --- | --- | --- | --- | --- |"


def scored(space: Space, label: str, kind: str, within: str = "", name: str = "") -> str:
    """One line of a table: each score with the mean of its null in brackets."""
    found: MapScores = score(space, label, kind, within=within)
    values = [f"{row.value:.3f} [{row.null:.3f}]" for row in found.table.itertuples()]
    cells = (name or space.name, found.points, found.groups, *values)
    print(cells, file=sys.stderr)
    return f"| {' | '.join(map(str, cells))} |"


def table(lines: list[str]) -> str:
    """A Markdown table."""
    return "\n".join([HEAD, RULE, *lines])


def domain_shift(predictor: Predictor) -> str:
    """Patients against cell lines."""
    cohort = to_profiles(read_cohort(example_path()), predictor.panel)
    found = [
        spaces.against_cell_lines(cohort),
        spaces.against_cell_lines(cohort, scaled=True),
        spaces.embedded_against_cell_lines(predictor, cohort),
        spaces.embedded_against_cell_lines(untrained(predictor), cohort),
    ]
    names = ["raw expression", "ranks of the genes", "cls, base branch", "cls, untrained network"]
    return table([scored(s, "origin", MIXING, name=n) for s, n in zip(found, names, strict=True)])


def treated(predictor: Predictor) -> tuple[str, str]:
    """Plates and mechanisms among A375 wells at 24 h."""
    wells = level3_wells()
    keep = (wells.rows["cell"] == "A375") & (wells.rows["time_h"] == 24)
    chosen = wells.take(keep.to_numpy())
    found = {
        "measured after treatment": spaces.treated_wells(chosen),
        "measured change": spaces.treated_wells(chosen, "change"),
        "cls, perturbation branch": spaces.embedded_wells(predictor, chosen),
        "cls, untrained network": spaces.embedded_wells(untrained(predictor), chosen),
    }
    plates = table([scored(s, "plate", MIXING, name=n) for n, s in found.items()])
    return plates, table([scored(s, "mechanism", CONSERVATION, name=n) for n, s in found.items()])


def replicates() -> str:
    """Two plates of HT115 cells with the same compounds: a batch effect and nothing else."""
    wells = level3_wells()
    chosen = wells.take((wells.rows["cell"] == "HT115").to_numpy())
    return table(
        [
            scored(spaces.treated_wells(chosen, v), "plate", MIXING, name=f"measured {n}")
            for v, n in (("after treatment", "after treatment"), ("change", "change"))
        ]
    )


def genes(predictor: Predictor) -> str:
    """Gene tokens by Hallmark pathway, beside what was given and what is untrained."""
    named = pathways(predictor.panel.symbols)
    trained = spaces.gene_tokens(predictor, named)
    given = predictor.model.cell_embedding.get_buffer("ppi").numpy()
    network = Space("network vectors given", given.astype(np.float64), trained.labels)
    make: dict[str, Callable[[], Space]] = {
        "gene tokens": lambda: trained,
        "network vectors given (NetMF)": lambda: network,
        "gene tokens, untrained": lambda: spaces.gene_tokens(untrained(predictor), named),
    }
    return table([scored(m(), "pathway", CONSERVATION, name=n) for n, m in make.items()])


def main() -> None:
    """Score and write."""
    predictor = Predictor.load()
    plates, mechanisms = treated(predictor)
    text = TEXT.format(
        model=predictor.name, digest=predictor.digest[:12], shift=domain_shift(predictor),
        plates=plates, mechanisms=mechanisms, replicates=replicates(), genes=genes(predictor),
    )  # fmt: skip
    write_bytes_atomic(OUT, text.encode())
    print(text)


TEXT = """# Maps: domain shift, batches, mechanisms, pathways

Written by `python -m training.explain_maps` with {model} ({digest}). Scores are computed on 40
principal components, before any projection; in brackets the mean of 200 permutations of the
labels. Forms of the scores: see docs/explanations.md.

## Patients against cell lines

51 melanoma biopsies (RNA-seq, log2 CPM) and 165 L1000 cell lines (bead assay), on the genes
measured in all. Low agreement of neighbours and a silhouette near 0 mean that the two mix.

{shift}

## Treated wells of A375 at 24 h: plates

Two plates. They hold different drugs but for a few, so that full mixing is not to be expected.

{plates}

## The same wells: mechanisms

First mechanism in LINCS, mechanisms with two wells or more. Doses of one drug share its mechanism,
so that much of the agreement is that of a drug with itself.

{mechanisms}

## Two plates with the same compounds (HT115, 6 h)

What separates them is the plate alone.

{replicates}

## Gene tokens and Hallmark pathways

Landmark genes of exactly one of the eight largest sets.

{genes}
"""


if __name__ == "__main__":
    main()
