"""Everything said about the atoms of one treatment, side by side: scores, baselines, agreement."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from xpert_core.cohorts.records import Cohort, Profiles
from xpert_core.drugs.records import Drug
from xpert_core.explanation.agreement import Nulls, agreement, draw_nulls, enrichment
from xpert_core.explanation.atom_baselines import (
    REFERENCE_DRUGS,
    ElementReference,
    element_reference,
    reference_drugs,
    shipped_reference,
    untrained_attention,
)
from xpert_core.explanation.atoms import (
    AtomAttention,
    DrugAtoms,
    atoms_of,
    attention_of,
    layer_index,
)
from xpert_core.explanation.attribution import gradient_x_input, leave_one_out
from xpert_core.explanation.pharmacophores import bonded, marked_atoms, pharmacophores_of
from xpert_core.explanation.progress import Steps
from xpert_core.prediction.predictor import Cancelled, Predictor, Progress

#: Untrained networks that attention is compared with, unless told otherwise.
UNTRAINED = 5
#: Samples over which a model's own element means are taken where none are shipped.
REFERENCE_SAMPLES = 3

#: Scores of an atom, each a share that sums to one over the molecule, and what they are.
SCORES = {
    "attention": "Attention",
    "gradient": "Gradient x input",
    "leave_one_out": "Leave one atom out",
    "element_alone": "Element alone",
    "untrained": "Untrained network",
}
#: The scores of the model itself; the others are baselines.
OWN_SCORES = ("attention", "gradient", "leave_one_out")


@dataclass(frozen=True)
class AtomExplanation:
    """Scores of the atoms of a drug in S samples.

    Attributes
    ----------
    attention : AtomAttention
    gradient : ndarray of float64, shape (S, n_atoms)
        As `gradient_x_input` returns: signed.
    leave_one_out : ndarray of float64, shape (S, n_atoms)
        As `xpert_core.explanation.attribution.leave_one_out` returns: units of x_deg, NaN where
        nothing can be left out.
    element : ndarray of float64, shape (n_layers, n_atoms)
        What attention would be by element alone, from other drugs, over all genes.
    untrained : ndarray of float64, shape (n_seeds, n_layers, n_atoms)
        Mean attention of untrained networks.
    """

    attention: AtomAttention
    gradient: np.ndarray
    leave_one_out: np.ndarray
    element: np.ndarray
    untrained: np.ndarray

    @property
    def atoms(self) -> DrugAtoms:
        """The atoms explained."""
        return self.attention.atoms

    def matrix(self, score: str, layer: str | None = None) -> pd.DataFrame:
        """One of `OWN_SCORES`, atoms x samples; each column sums to one."""
        frame = self.attention.matrix(layer)
        if score == "attention":
            return frame
        values = {"gradient": np.abs(self.gradient), "leave_one_out": self.leave_one_out}[score]
        return pd.DataFrame(_shares(values).T, index=frame.index, columns=frame.columns)

    def scores(self, layer: str | None = None) -> pd.DataFrame:
        """Atoms x `SCORES`: mean over samples, each column a share that sums to one, or NaN."""
        chosen = layer_index(self.attention.layers, layer)
        own = {score: self.matrix(score, layer).mean(axis=1) for score in OWN_SCORES}
        return pd.DataFrame(
            {
                **own,
                "element_alone": self.element[chosen].mean(axis=0),
                "untrained": self.untrained[:, chosen].mean(axis=(0, 1)),
            },
            index=self.atoms.table.index,
        )

    def table(self, layer: str | None = None) -> pd.DataFrame:
        """Atoms with all their scores, the raw ones too; highest attention first."""
        found = self.atoms.table.join(self.scores(layer))
        values = self.attention.of(layer)
        spread = values.std(axis=0, ddof=1) if len(values) > 1 else np.full(len(found), np.nan)
        found.insert(list(found.columns).index("attention") + 1, "attention_sd", spread)
        found["gradient_signed"] = self.gradient.mean(axis=0)
        found["leave_one_out_rms_x_deg"] = self.leave_one_out.mean(axis=0)
        for group in pharmacophores_of(self.atoms.drug):
            found[f"in {group.name}"] = marked_atoms(self.atoms, group)
        return found.sort_values("attention", ascending=False, kind="stable")

    def agreement(self, layer: str | None = None) -> pd.DataFrame:
        """As `xpert_core.explanation.agreement.agreement`, of every pair of scores."""
        return agreement(self.scores(layer))

    @cached_property
    def _groups(self) -> list[tuple[str, np.ndarray, Nulls]]:
        """Known pharmacophores: name, which atoms, and the nulls, drawn once."""
        elements, bonds = list(self.atoms.table["element"]), bonded(self.atoms)
        found = []
        for group in pharmacophores_of(self.atoms.drug):
            marked = marked_atoms(self.atoms, group)
            found.append((group.name, marked, draw_nulls(marked, elements, bonds)))
        return found

    def enrichment(self, layer: str | None = None) -> pd.DataFrame:
        """One row a known pharmacophore x own score; empty where none is known."""
        chosen, scores = layer_index(self.attention.layers, layer), self.scores(layer)
        nothing_learned = self.untrained[:, chosen].mean(axis=1)
        rows = []
        for name, marked, nulls in self._groups:
            for score in OWN_SCORES:
                other = nothing_learned if score == "attention" else None
                found = enrichment(scores[score].to_numpy(), marked, nulls, other)
                rows.append({"pharmacophore": name, "score": score, **asdict(found)})
        return pd.DataFrame(rows)


def explain_atoms(
    predictor: Predictor,
    cohort: Cohort | Profiles,
    drug: Drug | str,
    dose: float | str,
    time: float | str,
    *,
    samples: Sequence[str] | None = None,
    genes: Sequence[str] = (),
    reference: ElementReference | None = None,
    n_untrained: int = UNTRAINED,
    progress: Progress | None = None,
    cancelled: Cancelled | None = None,
) -> AtomExplanation:
    """Score the atoms of a drug by attention, gradients, omission, element and without training.

    Parameters
    ----------
    predictor, cohort, drug, dose, time, samples, genes
        As of `xpert_core.explanation.atoms.atom_attention`. The genes are also those whose x_deg
        the gradients and the omission of atoms are measured on.
    reference : ElementReference, optional
        Attention by element; the drug explained is left out of it. By default the shipped one, of
        all genes, 1 uM and 24 h in ten cell lines whatever is asked; for another model that of
        `REFERENCE_DRUGS` drugs in the first samples.
    n_untrained : int
        Untrained networks, at least one.
    progress, cancelled : callable, optional

    Returns
    -------
    AtomExplanation

    Raises
    ------
    CohortError, DrugError, ConditionError, GeneError, ExplanationError
        Saying what is wrong with the request.
    PredictionCancelled
        If `cancelled` said so.
    """
    inputs = predictor.inputs(
        cohort, [drug], [dose], [time], samples=samples, progress=progress, cancelled=cancelled
    )
    n_atoms = len(atoms_of(inputs.drugs[0], inputs.features[0], predictor.model.config))
    reference = reference or shipped_reference(predictor)
    others = [] if reference else reference_drugs(exclude=inputs.drugs, limit=REFERENCE_DRUGS)
    n_samples = len(inputs.batch.profiles)
    # Gradients cost about three times a forward pass.
    each = 1 + n_untrained + 3 + n_atoms + 1
    steps = Steps(n_samples * each + len(others), progress, cancelled)
    attention = attention_of(predictor, inputs, genes, steps)
    gradient = gradient_x_input(predictor, inputs, genes, steps)
    steps.end(2 * n_samples)
    omission = leave_one_out(predictor, inputs, genes, steps)
    untrained = untrained_attention(predictor, inputs, genes, range(n_untrained), steps)
    if reference is None:
        few = list(inputs.cells.samples.index[:REFERENCE_SAMPLES])
        reference = element_reference(
            predictor, cohort, others, dose, time, samples=few, steps=steps
        )
    steps.begin("Done")
    others_only = reference.without(inputs.drugs[0])
    element = others_only.scores(list(attention.atoms.table["element"]), attention.layers)
    return AtomExplanation(attention, gradient, omission, element, untrained)


def _shares(values: np.ndarray) -> np.ndarray:
    """Rows that sum to one; equal shares where a row is zero; NaN stays NaN."""
    total = values.sum(axis=1, keepdims=True)
    found: np.ndarray = np.where(
        total == 0, 1 / values.shape[1], values / np.where(total == 0, 1, total)
    )
    return found
