"""What a trained network reads drugs with: its featurizer, and its knowledge graph."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from xpert_core.drugs.cache import FeatureCache
from xpert_core.drugs.featurizers import create
from xpert_core.drugs.records import Drug
from xpert_core.errors import CheckpointError
from xpert_core.graph.embed import GraphEmbedder, Placement
from xpert_core.graph.records import drug_key
from xpert_core.model.checkpoint import ModelMeta


@dataclass(frozen=True)
class DrugReader:
    """Reads drugs as a network was trained to.

    Attributes
    ----------
    features : FeatureCache
        Structure tokens.
    graph : GraphEmbedder or None
        None = the model has no graph token.
    graph_features : FeatureCache
        What the graph places new drugs by, whatever the model reads structures with.
    """

    features: FeatureCache
    graph: GraphEmbedder | None
    graph_features: FeatureCache

    @classmethod
    def of(cls, meta: ModelMeta, **featurizer_options: Any) -> DrugReader:
        """The reader of a checkpoint.

        Parameters
        ----------
        meta : ModelMeta
        **featurizer_options
            Passed to the featurizer, such as the path of Uni-Mol weights.

        Raises
        ------
        CheckpointError
            If the installed featurizer or graph is not the one the model was trained with.
        """
        featurizer = create(meta.featurizer["name"], **featurizer_options)
        check_same("featurizer", featurizer.digest, meta.featurizer["digest"], meta.name)
        features = FeatureCache(featurizer)
        if not meta.graph:
            return cls(features, None, features)
        graph = GraphEmbedder.load()
        check_same("knowledge graph", graph.digest, meta.graph["digest"], meta.name)
        name, digest = graph.embeddings.meta["featurizer"]
        same = digest == featurizer.digest
        return cls(features, graph, features if same else FeatureCache(create(name)))

    def place(self, drug: Drug) -> Placement | None:
        """Place of a drug in the knowledge graph; None when the model has no graph token."""
        if self.graph is None:
            return None
        known = self.graph.drug(drug_key(drug.connectivity, drug.name)) is not None
        molecule = None if known else self.graph_features.get(drug).molecule
        return self.graph.embed(drug, molecule)


def unit_vector(place: Placement | None) -> np.ndarray | None:
    """Biological token of a placed drug, of length one; None where the graph cannot place it."""
    if place is None or place.vector is None:
        return None
    unit: np.ndarray = place.vector / max(float(np.linalg.norm(place.vector)), 1e-12)
    return unit


def check_same(what: str, installed: str, expected: str, model: str) -> None:
    """Refuse an installation that differs from what the model was trained with.

    Raises
    ------
    CheckpointError
    """
    if installed != expected:
        raise CheckpointError(
            f"The {what} is not the one this model was trained with.",
            where=f"model '{model}': {expected[:12]}, here: {installed[:12]}",
            fix="Use the version of XPert that the model came with, or another model.",
        )
