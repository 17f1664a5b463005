"""Paired cohorts in miniature: real melanoma profiles, cut to a few landmark genes."""

from __future__ import annotations

import csv
from functools import cache

import numpy as np
import pandas as pd

from xpert_core.cohorts import Cohort, PairedProfiles, read_cohort, to_pairs
from xpert_core.genes import load_panel
from xpert_core.genes.records import GenePanel
from xpert_core.paths import assets_dir

N_GENES = 60
METADATA = ("patient_id", "timepoint", "drug", "dose", "time", "response")


@cache
def small_panel() -> GenePanel:
    """The first 60 landmark genes as a panel of their own."""
    whole = load_panel()
    cut = slice(0, N_GENES)
    return GenePanel(
        "l1000", whole.symbols[cut], whole.entrez[cut], whole.ensembl[cut], whole.digest
    )


@cache
def _profiles(genes: tuple[str, ...]) -> pd.DataFrame:
    """The file has 22,000 columns, which pandas reads in seconds and the csv module at once."""
    file = assets_dir() / "examples" / "user_upload_pretreatment_melanoma_nivolumab.csv"
    with file.open(encoding="utf-8", newline="") as stream:
        lines = csv.reader(stream)
        place = {name: i for i, name in enumerate(next(lines))}
        columns = [gene for gene in genes if gene in place]
        values = [[float(line[place[gene]]) for gene in columns] for line in lines]
    return pd.DataFrame(values, columns=columns)


def paired_frame(
    n_patients: int = 10,
    *,
    seed: int = 0,
    drugs: tuple[str, ...] = ("nivolumab",),
    panel: GenePanel | None = None,
) -> pd.DataFrame:
    """Two rows a patient. The profile after treatment is the real one before it plus a change
    that most patients share and that differs between the drugs, so there is something to learn.
    """
    rng = np.random.default_rng(seed)
    before = _profiles((panel or small_panel()).symbols).iloc[:n_patients]
    shared = rng.normal(size=(len(drugs), before.shape[1]))
    rows = []
    for i, (_, profile) in enumerate(before.iterrows()):
        own = shared[i % len(drugs)] + rng.normal(scale=0.5, size=before.shape[1])
        common = {
            "patient_id": f"P{i + 1}",
            "drug": drugs[i % len(drugs)],
            "dose": "1 uM",
            "response": ("PD", "SD", "PR")[i % 3],
        }
        rows.append({**common, "timepoint": "pre", "time": "0 h", **profile})
        rows.append({**common, "timepoint": "post", "time": "24 h", **(profile + own)})
    return pd.DataFrame(rows, columns=[*METADATA, *before.columns])


def cohort_of(frame: pd.DataFrame, name: str = "cohort.csv", **options: object) -> Cohort:
    """The frame as an upload."""
    content = frame.to_csv(index=False).encode()
    options = {"scale": "log2", **options}
    return read_cohort(content, filename=name, panel=small_panel(), **options)  # type: ignore[arg-type]


def pairs_of(frame: pd.DataFrame, **options: object) -> PairedProfiles:
    """The frame's pairs on the small panel."""
    return to_pairs(cohort_of(frame, **options), small_panel())
