"""Biological tokens: looked up for known drugs, computed for new ones, named reasons otherwise."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from graph_data import whole_graph

from xpert_core.drugs import Drug, DrugLibrary
from xpert_core.drugs.standardise import standardise
from xpert_core.errors import DataError, DrugError
from xpert_core.files import sha256_file
from xpert_core.graph.embed import (
    EMBEDDINGS,
    ENCODER,
    GraphEmbedder,
    load_embeddings,
    save_embeddings,
)
from xpert_core.graph.encoder import (
    EncoderConfig,
    GraphEncoder,
    adjacencies,
    features_of,
    save_encoder,
    sizes_of,
)
from xpert_core.graph.split import pairs_of, rows_of, without_targets

MASKED = "XGALLCVXEZPNRQ"  # gefitinib
NEW_SMILES = "COc1cc2ncnc(Nc3cccc(Br)c3)c2cc1OCCCN1CCOCC1"
"""Gefitinib with a bromine for its two halogens: not in the library."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """An untrained encoder over the real graph, gefitinib masked: the weights do not matter."""
    folder = tmp_path_factory.mktemp("graph")
    data = whole_graph()
    torch.manual_seed(0)
    encoder = GraphEncoder(EncoderConfig(hidden=32, out=24))
    encoder.fit_inputs(data)
    pairs = without_targets(pairs_of(data), rows_of(data, [MASKED]))
    with torch.no_grad():
        embedded = encoder.eval()(features_of(data), adjacencies(pairs, sizes_of(data)))
    meta = {"masked": [MASKED], "featurizer": ["aimnet2", ""]}
    save_encoder(folder / ENCODER, encoder, meta)
    meta["encoder"] = sha256_file(folder / ENCODER)
    save_embeddings(folder / EMBEDDINGS, data, embedded, meta)
    return folder


@pytest.fixture(scope="module")
def embedder(folder: Path) -> GraphEmbedder:
    return GraphEmbedder.load(folder)


def new_drug(**changes) -> Drug:
    return replace(standardise(NEW_SMILES), **changes)


def test_known_drugs_and_genes_are_looked_up(embedder: GraphEmbedder) -> None:
    drug = DrugLibrary.load().resolve("vorinostat")
    vector = embedder.drug(drug.connectivity)
    assert vector is not None and vector.shape == (embedder.dim,) and vector.dtype == np.float32
    place = embedder.embed(drug)
    assert np.array_equal(place.vector, vector)
    assert place.origin == "library"
    assert place.targets == ("HDAC1", "HDAC2", "HDAC3", "HDAC6", "HDAC8")
    assert all(s.tanimoto > 0.5 for s in place.similar)
    assert embedder.gene("EGFR") is not None
    assert embedder.gene("NOTAGENE") is None
    assert embedder.drug("NOSUCHDRUGXXXX") is None


def test_a_new_structure_is_placed_by_its_similar_drugs_in_less_than_half_a_second(
    embedder: GraphEmbedder,
) -> None:
    embedder.prepare()
    molecule = np.random.default_rng(0).normal(size=256).astype(np.float32)
    embedder.embed(new_drug(), molecule)
    started = time.perf_counter()
    place = embedder.embed(new_drug(), molecule)
    assert time.perf_counter() - started < 0.5
    assert place.origin == "new"
    assert place.vector is not None and np.isfinite(place.vector).all()
    assert "gefitinib" in [s.name for s in place.similar]
    assert [s.tanimoto for s in place.similar] == sorted(
        (s.tanimoto for s in place.similar), reverse=True
    )
    assert place.targets == ()
    assert "structure vector" in place.note and "similar library drugs" in place.note


def test_structure_targets_and_molecule_token_each_move_it(embedder: GraphEmbedder) -> None:
    molecule = np.random.default_rng(0).normal(size=256).astype(np.float32)
    bare = embedder.embed(new_drug())
    places = [
        embedder.embed(new_drug(), molecule),
        embedder.embed(new_drug(targets=("EGFR",))),
        embedder.embed(new_drug(targets=("HDAC1",))),
    ]
    assert places[1].targets == ("EGFR",)
    assert "its targets" in places[1].note
    for place in places:
        assert not np.allclose(place.vector, bare.vector, atol=1e-3)
    assert np.array_equal(embedder.embed(new_drug(), np.zeros(256)).vector, bare.vector)


def test_one_sided_means_the_library_does_not_move(embedder: GraphEmbedder) -> None:
    first = embedder.embed(new_drug(targets=("EGFR",))).vector
    embedder.embed(replace(new_drug(targets=("HDAC1",)), name="another"))
    assert np.array_equal(embedder.embed(new_drug(targets=("EGFR",))).vector, first)


def test_agents_without_a_structure_are_placed_by_their_targets(embedder: GraphEmbedder) -> None:
    known = embedder.embed(DrugLibrary.load().resolve("nivolumab"))
    assert known.origin == "library"
    assert known.targets == ("PDCD1",)
    new = embedder.embed(Drug(name="my antibody", smiles="", inchikey="", targets=("PDCD1",)))
    assert new.origin == "new" and new.similar == ()
    # A twin of nivolumab: same target, no structure. One sends messages, the other does not.
    cosine = new.vector @ known.vector
    cosine /= np.linalg.norm(new.vector) * np.linalg.norm(known.vector)
    assert cosine > 0.99


def test_unknown_targets_are_named_and_other_names_of_genes_are_read(
    embedder: GraphEmbedder,
) -> None:
    agent = Drug(name="x", smiles="", inchikey="", targets=("HER2", "NOTAGENE"))
    place = embedder.embed(agent)
    assert place.targets == ("ERBB2",)
    assert place.unknown_targets == ("NOTAGENE",)
    assert "NOTAGENE" in place.note


@pytest.mark.parametrize("targets", [(), ("NOTAGENE",)])
def test_neither_structure_nor_target_is_a_named_unknown(
    embedder: GraphEmbedder, targets: tuple[str, ...]
) -> None:
    place = embedder.embed(Drug(name="mystery", smiles="", inchikey="", targets=targets))
    assert place.vector is None
    assert place.origin == "unknown"
    assert place.unknown_targets == targets
    assert "no place in the graph" in place.note


def test_masked_drugs_are_placed_without_their_targets(embedder: GraphEmbedder) -> None:
    place = embedder.embed(DrugLibrary.load().resolve("gefitinib"))
    assert place.targets == ()
    assert "withheld" in place.note


def test_a_molecule_token_of_another_featurizer_is_refused(embedder: GraphEmbedder) -> None:
    with pytest.raises(DrugError, match="does not fit"):
        embedder.embed(new_drug(), np.ones(512))
    with pytest.raises(DrugError, match="does not fit"):
        embedder.embed(new_drug(), np.full(256, np.nan))


def test_nearest_starts_with_the_drug_itself(embedder: GraphEmbedder) -> None:
    key = DrugLibrary.load().resolve("letrozole").connectivity
    vector = embedder.drug(key)
    assert vector is not None
    near = embedder.nearest(vector, 5)
    assert near[0].key == key and near[0].cosine == pytest.approx(1, abs=1e-4)
    assert [n.cosine for n in near] == sorted((n.cosine for n in near), reverse=True)
    others = embedder.nearest(vector, 5, exclude=key)
    assert len(others) == 5 and key not in [n.key for n in others]


def test_files_that_do_not_belong_together_or_are_damaged_are_errors(
    folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match="missing"):
        GraphEmbedder.load(tmp_path)
    content = (folder / EMBEDDINGS).read_bytes()
    (tmp_path / EMBEDDINGS).write_bytes(content)
    with pytest.raises(DataError, match="encoder is missing"):
        GraphEmbedder.load(tmp_path)
    (tmp_path / ENCODER).write_bytes((folder / ENCODER).read_bytes()[:-1] + b"x")
    with pytest.raises(DataError, match="not made by the encoder"):
        GraphEmbedder.load(tmp_path)
    (tmp_path / EMBEDDINGS).write_bytes(content[:-10])
    with pytest.raises(DataError, match="damaged"):
        load_embeddings(tmp_path / EMBEDDINGS)
