"""What attention would look like without chemistry: by element alone, and without training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from xpert_core.cohorts.records import Cohort, Profiles
from xpert_core.drugs.records import Drug
from xpert_core.errors import DrugError, ExplanationError
from xpert_core.explanation.assets import read_asset
from xpert_core.explanation.atoms import AtomAttention, attention_of
from xpert_core.explanation.networks import untrained
from xpert_core.explanation.progress import Steps
from xpert_core.prediction.inputs import Inputs
from xpert_core.prediction.predictor import Predictor

#: Reference drugs, and the attention of the shipped model to the elements of each.
DRUGS_FILE = "reference_drugs.csv"
REFERENCE_FILE = "element_attention.csv"
LEVELS = ["layer", "element", "drug"]
#: How many of them are used for a model of which no means are shipped.
REFERENCE_DRUGS = 20


@dataclass(frozen=True)
class ElementReference:
    """Attention of each element in a reference set of drugs, over all genes of the panel.

    Attributes
    ----------
    drugs : DataFrame
        Index ``layer``, ``element``, ``drug`` (`Drug.key`); columns ``total`` (sum over the
        drug's atoms of attention x number of atoms of the molecule), ``n_atoms``.
    model_digest : str
    """

    drugs: pd.DataFrame
    model_digest: str

    @cached_property
    def table(self) -> pd.DataFrame:
        """Means over all atoms of all drugs.

        Index ``layer``, ``element``; columns ``times_uniform`` (one is no preference),
        ``n_atoms``, ``n_drugs``.
        """
        grouped = self.drugs.groupby(["layer", "element"])
        sums = grouped[["total", "n_atoms"]].sum()
        return pd.DataFrame(
            {
                "times_uniform": sums["total"] / sums["n_atoms"],
                "n_atoms": sums["n_atoms"],
                "n_drugs": grouped.size(),
            }
        )

    def without(self, drug: Drug) -> ElementReference:
        """The same of the other drugs: a drug is not explained by its own attention."""
        other = self.drugs.index.get_level_values("drug") != drug.key
        return ElementReference(self.drugs[other], self.model_digest)

    def scores(self, elements: Sequence[str], layers: Sequence[str]) -> np.ndarray:
        """What attention would be by element alone, shape (n_layers, n_atoms), summing to one.

        An element that the reference drugs do not hold counts as one, no preference.
        """
        known = self.table["times_uniform"]
        raw = np.array([[float(known.get((layer, e), 1.0)) for e in elements] for layer in layers])
        total: np.ndarray = raw / raw.sum(axis=1, keepdims=True)
        return total


def element_reference(
    predictor: Predictor,
    cohort: Cohort | Profiles,
    drugs: Sequence[Drug],
    dose: float | str,
    time: float | str,
    *,
    samples: Sequence[str] | None = None,
    steps: Steps | None = None,
) -> ElementReference:
    """Mean attention of each element over reference drugs; those without atoms are left out.

    Parameters
    ----------
    predictor, cohort, dose, time, samples
        As of `xpert_core.explanation.atoms.atom_attention`.
    drugs : sequence of Drug
    steps : Steps, optional
        A step is a drug.

    Raises
    ------
    ExplanationError
        If none of the drugs has atoms.
    """
    steps = steps or Steps(len(drugs))
    rows = []
    for drug in drugs:
        steps.begin(f"Attention by element: {drug.name}")
        steps.end()
        try:
            inputs = predictor.inputs(cohort, [drug], [dose], [time], samples=samples)
            found = attention_of(predictor, inputs, (), Steps(1))
        except (ExplanationError, DrugError):
            continue
        n_atoms = len(found.atoms)
        for i, layer in enumerate(found.layers):
            mean = found.values[i].mean(axis=0) * n_atoms
            elements = found.atoms.table["element"]
            rows += [(layer, e, drug.key, v) for e, v in zip(elements, mean, strict=True)]
    if not rows:
        raise ExplanationError(
            "No reference drug has atoms, so nothing is known of attention by element.",
            fix="Give small molecules as reference drugs.",
        )
    frame = pd.DataFrame(rows, columns=["layer", "element", "drug", "value"])
    grouped = frame.groupby(LEVELS)["value"]
    table = pd.DataFrame({"total": grouped.sum(), "n_atoms": grouped.size()})
    return ElementReference(table, predictor.digest)


def reference_drugs(*, exclude: Sequence[Drug] = (), limit: int | None = None) -> list[Drug]:
    """The shipped reference drugs, without those of `exclude`.

    Raises
    ------
    DataError
        If their list is missing.
    """
    keys = {drug.connectivity for drug in exclude}
    table = read_asset(DRUGS_FILE)
    columns = table[["name", "smiles", "inchikey"]].astype(str).itertuples(index=False)
    drugs = [Drug(name, smiles, inchikey) for name, smiles, inchikey in columns]
    return [drug for drug in drugs if drug.connectivity not in keys][:limit]


def shipped_reference(predictor: Predictor) -> ElementReference | None:
    """The shipped attention by element, if it was made of this model; else None.

    It is that of all genes in ten cell lines at 1 uM for 24 h, whatever is asked.
    """
    table = read_asset(REFERENCE_FILE)
    mine = table[table["model_digest"] == predictor.digest]
    if mine.empty:
        return None
    return ElementReference(mine.set_index(LEVELS)[["total", "n_atoms"]], predictor.digest)


def untrained_attention(
    predictor: Predictor, inputs: Inputs, genes: Sequence[str], seeds: Sequence[int], steps: Steps
) -> np.ndarray:
    """Mean atom attention over the samples, of untrained networks; a step is a sample.

    Returns
    -------
    ndarray of float64, shape (n_seeds, n_layers, n_atoms)
    """
    means = []
    for seed in seeds:
        found: AtomAttention = attention_of(untrained(predictor, seed), inputs, genes, steps)
        means.append(found.values.mean(axis=1))
    return np.stack(means)
