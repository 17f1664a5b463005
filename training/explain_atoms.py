"""Atom attention of six drugs with known pharmacophores, beside its nulls; and its references.

Usage: python -m training.explain_atoms reference
       python -m training.explain_atoms report [--untrained 20]
       python -m training.explain_atoms stability --models FOLDER FOLDER ... [--out FOLDER]

reference  draws the reference drugs from the library and measures attention by element over them
           with the shipped model: assets/explanation/reference_drugs.csv, element_attention.csv
report     writes docs/explanations/atoms.md and the figures beside it, whatever they say
stability  agreement of several checkpoints (seeds) on the atoms of the six drugs and the genes of
           the patients: docs/explanations/stability.md, its tables and the scatter figure
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from rdkit import Chem

from training.explain_atoms_text import page
from training.explain_stability import collect_runs, write_stability
from xpert_core.cohorts import example_path, read_cohort, to_profiles
from xpert_core.cohorts.records import Profiles
from xpert_core.drugs import DrugLibrary
from xpert_core.drugs.records import Drug
from xpert_core.errors import ExplanationError
from xpert_core.explanation.atom_baselines import (
    DRUGS_FILE,
    REFERENCE_FILE,
    element_reference,
    reference_drugs,
)
from xpert_core.explanation.atom_report import AtomExplanation, explain_atoms
from xpert_core.explanation.drawing import attention_svg
from xpert_core.explanation.pharmacophores import case_drugs, marked_atoms, pharmacophores_of
from xpert_core.files import write_bytes_atomic
from xpert_core.paths import assets_dir
from xpert_core.prediction import Predictor

PROJECT = Path(__file__).resolve().parents[1]
FOLDER = PROJECT / "docs" / "explanations"
DOSE, TIME = "1 uM", "24 h"
#: Core lines of LINCS, and a second melanoma.
CELL_LINES = (
    "A375", "A549", "HA1E", "HCC515", "HEPG2", "HT29", "MCF7", "PC3", "VCAP", "SKMEL5",
)  # fmt: skip
N_REFERENCE = 60
MOST_ATOMS = 60


def cell_lines(predictor: Predictor) -> Profiles:
    """Baseline profiles of `CELL_LINES`; bin edges are fitted on them."""
    path = assets_dir() / "data" / "l1000" / "l1000_cell_baselines.h5ad"
    profiles = to_profiles(read_cohort(path), predictor.panel)
    chosen = profiles.samples.index.get_indexer(pd.Index(CELL_LINES))
    assert (chosen >= 0).all(), "a cell line is missing"
    return replace(profiles, samples=profiles.samples.iloc[chosen], x_ctl=profiles.x_ctl[chosen])


def patients_of(predictor: Predictor) -> Profiles:
    """The patients of the melanoma example."""
    return to_profiles(read_cohort(example_path()), predictor.panel)


def draw_reference() -> list[Drug]:
    """Drugs of the library at random, none of the cases, of a size that is drawn quickly."""
    table = pd.read_parquet(assets_dir() / "drugs" / "library.parquet")
    library = DrugLibrary.load()
    cases = {library.resolve(name).connectivity for name in case_drugs()}
    names = sorted(table.loc[table["smiles"].astype(bool), "name"].astype(str))
    order = np.random.default_rng(0).permutation(len(names))
    found: dict[str, Drug] = {}
    for i in order:
        drug = library.resolve(names[i])
        size = Chem.MolFromSmiles(drug.smiles).GetNumHeavyAtoms()
        if drug.connectivity not in cases and size <= MOST_ATOMS:
            found.setdefault(drug.connectivity, drug)
        if len(found) == N_REFERENCE:
            break
    return list(found.values())


def write_reference() -> None:
    """Write the reference drugs, and the attention by element of the shipped model."""
    folder = assets_dir() / "explanation"
    rows = [(d.name, d.smiles, d.inchikey) for d in draw_reference()]
    names = pd.DataFrame(rows, columns=["name", "smiles", "inchikey"])
    write_bytes_atomic(folder / DRUGS_FILE, names.to_csv(index=False).encode())
    predictor = Predictor.load()
    found = element_reference(predictor, cell_lines(predictor), reference_drugs(), DOSE, TIME)
    table = found.drugs.reset_index().round({"total": 4})
    table.insert(0, "model_digest", predictor.digest)
    write_bytes_atomic(folder / REFERENCE_FILE, table.to_csv(index=False).encode())
    print(found.table.to_string())


def explain(predictor: Predictor, profiles: Profiles, drug: str, untrained: int) -> AtomExplanation:
    """One drug in all profiles, saying how long it took."""
    started = time.perf_counter()
    found = explain_atoms(predictor, profiles, drug, DOSE, TIME, n_untrained=untrained)
    print(
        f"{drug}: {len(found.atoms)} atoms x {len(profiles)} profiles, "
        f"{time.perf_counter() - started:.0f} s",
        file=sys.stderr,
    )
    return found


def write_report(untrained: int) -> None:
    """Explain the six drugs in cell lines and in patients; write the page and the figures."""
    predictor = Predictor.load()
    patients = patients_of(predictor)
    few = replace(patients, samples=patients.samples.iloc[:5], x_ctl=patients.x_ctl[:5])
    lines = cell_lines(predictor)
    in_lines = {drug: explain(predictor, lines, drug, untrained) for drug in case_drugs()}
    in_patients = {drug: explain(predictor, few, drug, untrained) for drug in case_drugs()}
    for drug, found in in_lines.items():
        groups = pharmacophores_of(found.atoms.drug)
        svg = attention_svg(
            found.atoms,
            found.scores()["attention"].to_numpy(),
            title=drug,
            marked=np.any([marked_atoms(found.atoms, group) for group in groups], axis=0),
            mark=", ".join(group.name for group in groups),
        )
        write_bytes_atomic(FOLDER / f"atoms-{drug}.svg", svg.encode())
    text = page(predictor, in_lines, in_patients, list(CELL_LINES), untrained)
    write_bytes_atomic(FOLDER / "atoms.md", text.encode())


def report_stability(models: Sequence[str], folder: Path) -> None:
    """Compare checkpoints; see `training.explain_stability`."""
    if len(models) < 2:
        raise ExplanationError(
            f"Stability needs two checkpoints at least; {len(models)} given.",
            fix="Name the folders of several seeds after --models.",
        )
    predictors = [Predictor.load(model) for model in models]
    lines, patients = cell_lines(predictors[0]), patients_of(predictors[0])
    runs = collect_runs(predictors, list(case_drugs()), DOSE, TIME, lines, patients)
    write_stability(folder, predictors, runs, DOSE, TIME)
    print(runs.table().to_string(index=False))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the part asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=["reference", "report", "stability"])
    parser.add_argument("--untrained", type=int, default=20)
    parser.add_argument("--models", nargs="+", default=[], help="checkpoint folders, for stability")
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder of stability")
    options = parser.parse_args(arguments)
    if options.part == "reference":
        write_reference()
    elif options.part == "stability":
        report_stability(options.models, options.out)
    else:
        write_report(options.untrained)


if __name__ == "__main__":
    main()
