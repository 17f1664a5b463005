"""The shipped embeddings hold pharmacology: known drugs stand next to drugs of their mechanism."""

from __future__ import annotations

import numpy as np
import pytest

from xpert_core.drugs import DrugLibrary
from xpert_core.drugs.featurizers import create
from xpert_core.drugs.standardise import standardise
from xpert_core.graph.embed import GraphEmbedder
from xpert_core.graph.tables import shipped


@pytest.fixture(scope="module")
def embedder() -> GraphEmbedder:
    return GraphEmbedder.load()


@pytest.mark.parametrize(
    ("name", "targets"),
    [
        ("vorinostat", {"HDAC1", "HDAC2", "HDAC3", "HDAC6", "HDAC8"}),
        ("gefitinib", {"EGFR"}),
        ("letrozole", {"CYP19A1"}),
        ("imatinib", {"ABL1", "KIT"}),
    ],
)
def test_the_nearest_drugs_share_the_target(
    embedder: GraphEmbedder, name: str, targets: set[str]
) -> None:
    library = DrugLibrary.load()
    drug = library.resolve(name)
    vector = embedder.drug(drug.connectivity)
    assert vector is not None
    near = embedder.nearest(vector, 10, exclude=drug.connectivity)
    sharing = [bool(targets & set(embedder.embed(_drug(n)).targets)) for n in near]
    # Among the ten of letrozole are five of the few aromatase inhibitors; inhibitors of the
    # neighbouring steps of steroid synthesis (orteronel, mitotane) follow.
    assert all(sharing[:3]) and sum(sharing) >= 5, [n.name for n in near]


def _drug(near):
    library = DrugLibrary.load()
    by_name = near.key.startswith("name:")
    return library.resolve(near.name if by_name else near.key)


def test_nivolumab_has_a_place_near_drugs_of_its_target(embedder: GraphEmbedder) -> None:
    place = embedder.embed(DrugLibrary.load().resolve("nivolumab"))
    gene = embedder.gene("PDCD1")
    assert place.vector is not None and gene is not None
    genes = embedder.embeddings.gene
    cosines = genes @ place.vector / np.linalg.norm(genes, axis=1)
    own = gene @ place.vector / np.linalg.norm(gene)
    assert (cosines > own).sum() < 20, "PDCD1 is among its nearest genes"


def test_a_new_relative_of_gefitinib_lands_among_egfr_inhibitors(embedder: GraphEmbedder) -> None:
    drug = standardise("COc1cc2ncnc(Nc3cccc(Br)c3)c2cc1OCCCN1CCOCC1")
    place = embedder.embed(drug, create("aimnet2").featurize(drug).molecule)
    assert place.origin == "new" and place.vector is not None
    near = embedder.nearest(place.vector, 10)
    assert sum("EGFR" in embedder.embed(_drug(n)).targets for n in near) >= 5


def test_the_embeddings_are_small_enough_to_ship() -> None:
    assert shipped("embeddings.safetensors").stat().st_size <= 25e6
    assert sum(path.stat().st_size for path in shipped("").iterdir()) < 45e6
