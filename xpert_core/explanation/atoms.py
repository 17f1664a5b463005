"""Atom attention: what each cross-attention layer attends to in a drug (paper, Fig. 3d)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from xpert_core.cohorts.records import Cohort, Profiles
from xpert_core.drugs.records import Drug, DrugFeatures
from xpert_core.errors import ExplanationError, GeneError
from xpert_core.explanation.progress import Steps
from xpert_core.explanation.stability import Stability, stability
from xpert_core.model.config import ModelConfig
from xpert_core.model.embedding import token_kinds
from xpert_core.model.xpert import XPert
from xpert_core.prediction.inputs import Inputs
from xpert_core.prediction.predictor import Cancelled, Predictor, Progress

#: Profiles at a time.
PROFILE_CHUNK = 8


@dataclass(frozen=True)
class DrugAtoms:
    """Atoms of a drug that are tokens of the network.

    Attributes
    ----------
    drug : Drug
    table : DataFrame, n_atoms rows
        Index ``atom``: number of the atom in the standardised SMILES, from 1; RDKit's own index
        is one less. Columns ``element``, ``label`` (such as ``"N3"``), ``aromatic`` (bool).
    coordinates : ndarray of float32, shape (n_atoms, 3) or (0, 3)
        Positions in Angstrom of the conformer the network saw.
    """

    drug: Drug
    table: pd.DataFrame
    coordinates: np.ndarray

    def __len__(self) -> int:
        return len(self.table)


def atoms_of(drug: Drug, features: DrugFeatures, config: ModelConfig) -> DrugAtoms:
    """Which atom each token stands for.

    Tokens are the atoms other than hydrogen in the order of the standardised SMILES.

    Raises
    ------
    ExplanationError
        If the drug has no structure, no atom tokens could be made of it, or the network takes
        none.
    """
    from rdkit import Chem

    if not config.use_atoms:
        raise ExplanationError(
            "This model takes no atoms, so it has no atom attention.", fix="Choose another model."
        )
    if not drug.smiles:
        raise ExplanationError(
            f"{drug.name} has no chemical structure, so there are no atoms to look at.",
            where="antibodies, proteins and mixtures have no single structure",
            fix="Choose a small molecule, or give its structure as a SMILES.",
        )
    if not len(features.atoms):
        raise ExplanationError(
            f"The network saw no atoms of {drug.name}, so it has no atom attention.",
            where=features.fallback or f"the features '{features.featurizer}' have no atoms",
            fix="Choose a drug whose 3D shape can be made.",
        )
    molecule = Chem.MolFromSmiles(drug.smiles)
    heavy = [atom for atom in molecule.GetAtoms() if atom.GetAtomicNum() > 1]
    elements = [atom.GetSymbol() for atom in heavy]
    if tuple(elements) != tuple(features.elements):
        raise ExplanationError(
            f"The atoms of {drug.name} are not those its features were made of.",
            where=drug.smiles,
            fix="Delete the cached drug features and try again.",
        )
    number = pd.Index([atom.GetIdx() + 1 for atom in heavy], name="atom")
    table = pd.DataFrame(
        {
            "element": elements,
            "label": [f"{e}{n}" for e, n in zip(elements, number, strict=True)],
            "aromatic": [atom.GetIsAromatic() for atom in heavy],
        },
        index=number,
    )
    return DrugAtoms(drug, table, features.coordinates)


@dataclass(frozen=True)
class AtomAttention:
    """Cell-to-drug attention of a treatment in S samples, averaged over heads and genes.

    Attributes
    ----------
    atoms : DrugAtoms
    dose_um, time_h : float
    samples : DataFrame, S rows
        As `Profiles.samples`.
    genes : tuple of str
        Genes whose queries were averaged; () = all genes of the panel.
    layers : tuple of str
        Cross-attention layers, named by their place in the branch: ``"CA_0"``.
    values : ndarray of float64, shape (n_layers, S, n_atoms)
        Attention to each atom as a share of the attention to all atoms: sums to one.
    tokens : dict of str to ndarray of float64, each (n_layers, S)
        Share of the whole attention by kind of token: ``"atoms"`` and what the network has of
        ``"readout"``, ``"dose"``, ``"time"``, ``"graph"``, ``"molecule"``, and ``"padding"``
        where it is not masked; sums to one.
    provenance : dict
    """

    atoms: DrugAtoms
    dose_um: float
    time_h: float
    samples: pd.DataFrame
    genes: tuple[str, ...]
    layers: tuple[str, ...]
    values: np.ndarray
    tokens: dict[str, np.ndarray]
    provenance: dict[str, Any]

    def of(self, layer: str | None = None) -> np.ndarray:
        """Attention of one layer, else mean over layers; shape (S, n_atoms).

        Raises
        ------
        ExplanationError
            If there is no such layer.
        """
        return self.values[layer_index(self.layers, layer)].mean(axis=0)

    def matrix(self, layer: str | None = None) -> pd.DataFrame:
        """Atoms x samples; index as `DrugAtoms.table`, columns sample ids."""
        names = pd.Index(self.samples.index.astype(str), name="sample_id")
        return pd.DataFrame(self.of(layer).T, index=self.atoms.table.index, columns=names)

    @cached_property
    def on_atoms(self) -> float:
        """Share of the attention that goes to atoms, mean over layers and samples."""
        return float(self.tokens["atoms"].mean())


def layer_index(layers: Sequence[str], layer: str | None) -> list[int]:
    """Positions of the layer named, of all layers for None.

    Raises
    ------
    ExplanationError
        If there is no such layer.
    """
    if layer is not None and layer not in layers:
        raise ExplanationError(
            f"There is no cross-attention layer '{layer}'.", fix=f"Use one of {', '.join(layers)}."
        )
    return [i for i, name in enumerate(layers) if layer is None or name == layer]


def gene_positions(symbols: Sequence[str], panel: Sequence[str]) -> np.ndarray:
    """Positions in the panel of the genes named; all of them when none is named.

    Raises
    ------
    GeneError
        If a gene is not in the panel.
    """
    if not len(symbols):
        return np.arange(len(panel))
    place = {symbol: i for i, symbol in enumerate(panel)}
    unknown = [symbol for symbol in symbols if symbol not in place]
    if unknown:
        raise GeneError(
            f"{len(unknown)} of {len(symbols)} genes are not among the landmark genes.",
            where=", ".join(unknown[:8]) + (", ..." if len(unknown) > 8 else ""),
            fix="Leave them out, or use the current symbols of landmark genes.",
        )
    return np.array(sorted({place[symbol] for symbol in symbols}))


def atom_attention(
    predictor: Predictor,
    cohort: Cohort | Profiles,
    drug: Drug | str,
    dose: float | str,
    time: float | str,
    *,
    samples: Sequence[str] | None = None,
    genes: Sequence[str] = (),
    progress: Progress | None = None,
    cancelled: Cancelled | None = None,
) -> AtomAttention:
    """Attention of each sample to each atom of a drug.

    Parameters
    ----------
    predictor : Predictor
    cohort : Cohort or Profiles
        Bin edges are fitted on all its profiles.
    drug, dose, time
        As of `Predictor.predict`, one of each.
    samples : sequence of str, optional
        Sample ids; None = all.
    genes : sequence of str
        Symbols of the genes whose attention is averaged; none = all of the panel.
    progress, cancelled : callable, optional

    Returns
    -------
    AtomAttention

    Raises
    ------
    CohortError, DrugError, ConditionError, GeneError, ExplanationError
        Saying what is wrong with the request; a drug without atoms is refused.
    PredictionCancelled
        If `cancelled` said so.
    """
    inputs = predictor.inputs(cohort, [drug], [dose], [time], samples=samples)
    steps = Steps(len(inputs.batch), progress, cancelled)
    found = attention_of(predictor, inputs, genes, steps)
    steps.begin("Done")
    return found


def attention_of(
    predictor: Predictor, inputs: Inputs, genes: Sequence[str], steps: Steps
) -> AtomAttention:
    """As `atom_attention`, of inputs of one treatment; a step is a sample."""
    config = predictor.model.config
    atoms = atoms_of(inputs.drugs[0], inputs.features[0], config)
    queries = gene_positions(genes, predictor.panel.symbols) + 1
    names, weights = _cross_attention(predictor.model, inputs, torch.from_numpy(queries), steps)
    kinds = token_kinds(config)
    rest = weights[..., len(kinds) :]
    on_atoms = rest[..., : len(atoms)]
    share = on_atoms.sum(axis=-1)
    tokens = {kind: weights[..., i] for i, kind in enumerate(kinds)}
    if not config.mask_padding:
        tokens["padding"] = rest[..., len(atoms) :].sum(axis=-1)
    treatment = inputs.treatments[0]
    provenance = predictor.provenance(inputs)
    provenance["attention"] = (
        "cell-to-drug attention, mean over heads and genes, over atoms only, summing to one"
    )
    return AtomAttention(
        atoms,
        treatment.dose_um,
        treatment.time_h,
        inputs.cells.samples,
        tuple(genes),
        names,
        on_atoms / share[..., None],
        {**tokens, "atoms": share},
        provenance,
    )


@torch.inference_mode()
def _cross_attention(
    model: XPert, inputs: Inputs, queries: Tensor, steps: Steps
) -> tuple[tuple[str, ...], np.ndarray]:
    """Names of the cross-attention layers, and their weights (n_layers, S, n_tokens)."""
    batch = inputs.batch
    treated = model.encode_treatments(*model.encode_drugs(batch.drugs), batch.treatments)
    parts: list[dict[str, Tensor]] = []
    for first in range(0, len(batch.profiles), PROFILE_CHUNK):
        steps.begin(f"Atom attention of sample {first + 1} of {len(batch.profiles)}")
        tokens = batch.profiles[first : first + PROFILE_CHUNK]
        once = torch.zeros(len(tokens), dtype=torch.int64)
        maps: dict[str, Tensor] = {}
        model.decode(
            model.encode_profiles(tokens, base_branch=False),
            treated.take(once),
            batch.treatments.readout[once],
            maps,
            queries=queries,
        )
        parts.append({name: weights.mean(dim=1) for name, weights in maps.items()})
        steps.end(len(tokens))
    names = tuple(parts[0])
    if not names:
        raise ExplanationError(
            "This model has no cross-attention layer.", fix="Choose another model."
        )
    weights = torch.stack([torch.cat([part[name] for part in parts]) for name in names])
    return names, weights.double().numpy()


def atom_stability(runs: Sequence[AtomAttention], layer: str | None = None) -> Stability:
    """Agreement of the mean attention of several models (seeds or folds) on one treatment.

    Raises
    ------
    ExplanationError
        If there are fewer than two runs, or they are of different drugs or samples.
    """
    for other in runs[1:]:
        same = other.samples.index.equals(runs[0].samples.index)
        if not same or other.atoms.drug.smiles != runs[0].atoms.drug.smiles:
            raise ExplanationError(
                "Stability compares models on the same drug and samples.",
                fix="Explain the same treatment and cohort with each model.",
            )
    names = [f"{run.provenance['model_name']} {run.provenance['model_digest'][:8]}" for run in runs]
    items = list(runs[0].atoms.table["label"]) if runs else []
    return stability([run.of(layer).mean(axis=0) for run in runs], names, items)


def cell_stability(attention: AtomAttention, layer: str | None = None) -> Stability:
    """Agreement of the attention of the samples of one model.

    Raises
    ------
    ExplanationError
        If there are fewer than two samples.
    """
    samples = [str(name) for name in attention.samples.index]
    return stability(attention.of(layer), samples, list(attention.atoms.table["label"]))
