"""Prediction on the shipped melanoma cohort with the shipped model."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from xpert_core.cohorts import example_path, read_cohort, to_profiles
from xpert_core.cohorts.records import Profiles
from xpert_core.drugs import Drug, DrugLibrary, standardise
from xpert_core.drugs.featurizers import create
from xpert_core.errors import (
    CheckpointError,
    CohortError,
    ConditionError,
    DrugError,
    PredictionCancelled,
    UnknownDrugError,
    XPertError,
)
from xpert_core.model.checkpoint import Checkpoint, load_checkpoint
from xpert_core.model.xpert import XPert
from xpert_core.prediction import Predictor, load_prediction
from xpert_core.prediction.models import model_folder, shipped_models

DRUGS = ("trametinib", "vemurafenib")


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return Predictor.load()


@pytest.fixture(scope="module")
def profiles(predictor: Predictor) -> Profiles:
    return to_profiles(read_cohort(example_path()), predictor.panel)


def first(profiles: Profiles, n: int = 2) -> list[str]:
    return list(profiles.samples.index[:n])


def test_shared_path_equals_row_by_row(predictor: Predictor, profiles: Profiles) -> None:
    request = (profiles, DRUGS, ["0.1 uM", 10.0], ["24 h"])
    shared = predictor.predict(*request, samples=first(profiles, 3))
    plain = predictor.predict(*request, samples=first(profiles, 3), reuse=False)
    np.testing.assert_allclose(shared.x_deg, plain.x_deg, atol=1e-5)
    np.testing.assert_allclose(shared.x_pert, plain.x_pert, atol=1e-5)
    assert len(shared) == 3 * 2 * 2


def test_a_subset_gets_the_numbers_of_the_whole(predictor: Predictor, profiles: Profiles) -> None:
    """Bin edges are the cohort's, so choosing patients must not change their predictions."""
    few = predictor.predict(profiles, DRUGS[:1], ["1 uM"], ["24 h"], samples=first(profiles, 1))
    more = predictor.predict(profiles, DRUGS[:1], ["1 uM"], ["24 h"], samples=first(profiles, 4))
    np.testing.assert_allclose(few.x_deg[0], more.x_deg[0], atol=1e-5)
    assert few.provenance["bins"] == more.provenance["bins"]


def test_every_input_matters(predictor: Predictor, profiles: Profiles) -> None:
    result = predictor.predict(
        profiles, DRUGS, ["0.04 uM", "10 uM"], ["6 h", "24 h"], samples=first(profiles)
    )
    assert len(result) == 16
    assert np.isfinite(result.x_deg).all()
    rounded = {tuple(row) for row in result.x_deg.round(4)}
    assert len(rounded) == 16
    for column in ("sample_id", "drug", "dose_um", "time_h"):
        assert result.rows[column].nunique() == 2


def test_rows_and_provenance_say_where_a_number_comes_from(
    predictor: Predictor, profiles: Profiles
) -> None:
    result = predictor.predict(
        profiles, ["SAHA"], ["1000 nM", "1 uM"], ["1 d"], samples=first(profiles, 1)
    )
    assert len(result) == 1  # the same dose written twice is one treatment
    row = result.rows.iloc[0]
    assert row["drug"].lower() == "vorinostat"
    assert (row["dose_um"], row["time_h"], row["n_missing_genes"]) == (1.0, 24.0, 1)
    assert list(result.genes.index[~result.genes["measured"]]) == ["MIF"]
    origin = json.loads(json.dumps(result.provenance))
    assert origin["input_sha256"] == profiles.input_sha256
    assert origin["model_digest"] == predictor.digest
    assert origin["featurizer_digest"] == predictor.features.featurizer.digest
    assert origin["genes"]["found"] == 977
    assert "log2" in origin["x_deg_unit"] and origin["versions"]["rdkit"]
    assert origin["bins"]["fitted_on_profiles"] == 51


def test_files_hold_the_same_numbers(
    predictor: Predictor, profiles: Profiles, tmp_path: Path
) -> None:
    result = predictor.predict(profiles, DRUGS, ["1 uM"], ["24 h"], samples=first(profiles))
    result.save(tmp_path / "r.h5ad")
    again = load_prediction(tmp_path / "r.h5ad")
    np.testing.assert_array_equal(again.x_deg, result.x_deg)
    np.testing.assert_array_equal(again.x_pert, result.x_pert)
    assert again.provenance == result.provenance
    pd.testing.assert_frame_equal(again.rows, result.rows)
    pd.testing.assert_frame_equal(again.genes, result.genes)
    result.save(tmp_path / "r.csv")
    result.save(tmp_path / "r.parquet")
    table = pd.read_csv(tmp_path / "r.csv", index_col="row_id")
    np.testing.assert_allclose(table[list(result.genes.index)], result.x_deg, atol=1e-6)
    note = json.loads((tmp_path / "r.provenance.json").read_text())
    assert note["model_digest"] == predictor.digest
    assert len(pd.read_parquet(tmp_path / "r.parquet")) == len(result) == 4
    with pytest.raises(XPertError, match="cannot be written"):
        result.save(tmp_path / "r.doc")
    (tmp_path / "bad.h5ad").write_bytes(b"nothing")
    with pytest.raises(XPertError, match="damaged"):
        load_prediction(tmp_path / "bad.h5ad")


def test_csv_runs_no_formula(predictor: Predictor, profiles: Profiles, tmp_path: Path) -> None:
    samples = profiles.samples.rename(index={first(profiles, 1)[0]: "=cmd()"})
    result = predictor.predict(
        replace(profiles, samples=samples), DRUGS[:1], ["1 uM"], ["24 h"], samples=["=cmd()"]
    )
    result.save(tmp_path / "r.csv")
    assert "\n'=cmd()" in (tmp_path / "r.csv").read_text()


def test_top_genes_are_the_largest_changes(predictor: Predictor, profiles: Profiles) -> None:
    result = predictor.predict(profiles, DRUGS[:1], ["1 uM"], ["24 h"], samples=first(profiles, 1))
    top = result.top_genes(0, 10)
    assert len(top) == 10
    size = top["x_deg"].abs().to_numpy()
    assert (np.diff(size) <= 0).all()
    assert size[0] == np.abs(result.x_deg[0]).max()


def test_drug_without_structure_is_predicted_from_its_target_and_says_so(
    predictor: Predictor, profiles: Profiles
) -> None:
    result = predictor.predict(
        profiles, ["nivolumab"], ["1 uM"], ["24 h"], samples=first(profiles, 1)
    )
    assert "structure" in result.rows["drug_fallback"].iloc[0]
    assert any("nivolumab" in note.lower() for note in result.provenance["notes"])
    assert np.isfinite(result.x_deg).all()


def test_drug_of_which_the_model_knows_nothing_says_so(
    predictor: Predictor, profiles: Profiles
) -> None:
    agents = [
        Drug(name="antibody A", smiles="", inchikey="", targets=("EGFR",)),
        Drug(name="antibody B", smiles="", inchikey="", targets=("NOT_A_GENE",)),
        Drug(name="antibody C", smiles="", inchikey=""),
    ]
    result = predictor.predict(profiles, agents, ["1 uM"], ["24 h"], samples=first(profiles, 1))
    unknown = ["unknown drug" in text for text in result.rows["drug_fallback"]]
    assert unknown == [False, True, True]
    np.testing.assert_allclose(result.x_deg[1], result.x_deg[2], atol=1e-5)
    assert np.abs(result.x_deg[0] - result.x_deg[1]).max() > 1e-3


def test_result_says_by_which_edges_each_drug_was_placed(
    predictor: Predictor, profiles: Profiles
) -> None:
    smiles = "CCOc1cc2ncnc(Nc3ccc(F)c(Cl)c3)c2cc1OCCCN1CCOCC1"  # gefitinib with an ethoxy group
    drugs = ["gefitinib", standardise(smiles, name="new one")]
    result = predictor.predict(profiles, drugs, ["1 uM"], ["24 h"], samples=first(profiles, 1))
    assert predictor.graph is not None
    assert result.provenance["graph_digest"] == predictor.graph.digest
    placed = result.provenance["placed_by"]
    assert placed["gefitinib"]["origin"] == "library"
    assert "EGFR" in placed["gefitinib"]["targets"]
    assert placed["new one"]["origin"] == "new"
    assert placed["new one"]["targets"] == []
    assert any("gefitinib" in text for text in placed["new one"]["similar"])
    assert any(
        note.startswith("new one, in the knowledge graph") and "similar library drugs" in note
        for note in result.provenance["notes"]
    )


def test_graph_of_another_encoder_is_refused(predictor: Predictor) -> None:
    checkpoint = load_checkpoint(model_folder(None))
    meta = replace(checkpoint.meta, graph={**checkpoint.meta.graph, "digest": "0" * 64})
    with pytest.raises(CheckpointError, match="knowledge graph"):
        Predictor(replace(checkpoint, meta=meta))


def untrained(**changes: object) -> Checkpoint:
    """The shipped checkpoint's sizes with other settings and untrained weights."""
    shipped = load_checkpoint(model_folder(None))
    torch.manual_seed(0)
    model = XPert(shipped.model.config.with_(**changes)).eval()
    return replace(shipped, model=model)


def test_model_without_a_graph_token_places_no_drug(profiles: Profiles) -> None:
    checkpoint = untrained(use_graph=False, graph_dim=0)
    checkpoint = replace(checkpoint, meta=replace(checkpoint.meta, graph={}))
    plain = Predictor(checkpoint)
    assert plain.graph is None
    result = plain.predict(profiles, DRUGS, ["1 uM"], ["24 h"], samples=first(profiles, 1))
    assert np.abs(result.x_deg[0] - result.x_deg[1]).max() > 0
    assert result.provenance["graph_digest"] == "" and result.provenance["placed_by"] == {}
    agent = Drug(name="antibody", smiles="", inchikey="", targets=("EGFR",))
    noted = plain.predict(profiles, [agent], ["1 uM"], ["24 h"], samples=first(profiles, 1))
    assert "unknown drug" in noted.rows["drug_fallback"].iloc[0]


def test_without_a_padding_mask_a_drug_does_not_depend_on_the_others(profiles: Profiles) -> None:
    """The published style attends to padding: every drug gets as much as in training."""
    unmasked = Predictor(untrained(mask_padding=False))
    request = (["1 uM"], ["24 h"])
    alone = unmasked.predict(profiles, DRUGS[:1], *request, samples=first(profiles, 1))
    for reuse in (True, False):
        beside = unmasked.predict(
            profiles, [*DRUGS, "paclitaxel"], *request, samples=first(profiles, 1), reuse=reuse
        )
        np.testing.assert_allclose(alone.x_deg[0], beside.x_deg[0], atol=1e-5)
    masked = Predictor(untrained())
    inputs = [p.inputs(profiles, DRUGS[:1], *request) for p in (unmasked, masked)]
    atoms = len(inputs[0].features[0].atoms)
    assert [i.batch.drugs.atoms.shape[1] for i in inputs] == [120, atoms]


def test_a_model_that_needs_a_prior_is_refused() -> None:
    with pytest.raises(CheckpointError, match="did not travel with it") as caught:
        Predictor(untrained(use_prior=True))
    assert caught.value.fix


def test_graph_keeps_its_own_featurizer_when_the_model_has_another(
    predictor: Predictor, profiles: Profiles
) -> None:
    """A model on fingerprints still places new drugs by the molecule token the graph knows."""
    checkpoint = untrained(feature_dim=create("morgan").dim, use_atoms=False)
    morgan = create("morgan")
    facts = {"name": "morgan", "digest": morgan.digest, "dim": morgan.dim}
    other = Predictor(replace(checkpoint, meta=replace(checkpoint.meta, featurizer=facts)))
    new = standardise("CCOc1cc2ncnc(Nc3ccc(F)c(Cl)c3)c2cc1OCCCN1CCOCC1", name="new one")
    request = (profiles, [new], ["1 uM"], ["24 h"])
    placed = [
        p.predict(*request, samples=first(profiles, 1)).provenance for p in (other, predictor)
    ]
    assert placed[0]["featurizer"] == "morgan" and placed[1]["featurizer"] == "aimnet2"
    assert placed[0]["placed_by"] == placed[1]["placed_by"]
    own, same = (p.place(new) for p in (other, predictor))
    assert own is not None and same is not None
    np.testing.assert_allclose(own.vector, same.vector, atol=1e-5)


def test_metal_complex_is_named_not_silent(predictor: Predictor, profiles: Profiles) -> None:
    cisplatin = standardise("[NH3][Pt]([NH3])(Cl)Cl", name="cisplatin")
    result = predictor.predict(
        profiles, [cisplatin], ["1 uM"], ["24 h"], samples=first(profiles, 1)
    )
    assert "Pt" in result.rows["drug_fallback"].iloc[0]


def test_stereoisomers_stay_two_drugs(predictor: Predictor, profiles: Profiles) -> None:
    pair = [standardise(s) for s in ("C[C@H](N)C(=O)O", "C[C@@H](N)C(=O)O")]
    result = predictor.predict(profiles, pair, ["1 uM"], ["24 h"], samples=first(profiles, 1))
    assert len(result) == 2


def test_drugs_of_one_name_get_names_that_differ(predictor: Predictor, profiles: Profiles) -> None:
    pair = [standardise(s, name="alanine") for s in ("C[C@H](N)C(=O)O", "C[C@@H](N)C(=O)O")]
    known = DrugLibrary.load().resolve("trametinib")
    other = standardise("CCO", name="trametinib")
    result = predictor.predict(
        profiles, [*pair, known, other], ["1 uM"], ["24 h"], samples=first(profiles, 1)
    )
    names = list(result.rows["drug"])
    assert len(set(names)) == 4
    assert names[0].startswith("alanine (QNAYBMKLOCPYGJ")
    assert known.pert_id in names[2] and other.connectivity in names[3]


def test_missing_genes_change_the_count_and_the_answer(
    predictor: Predictor, profiles: Profiles
) -> None:
    holes = profiles.x_ctl.copy()
    holes[:, :300] = np.nan
    result = predictor.predict(
        replace(profiles, x_ctl=holes), DRUGS[:1], ["1 uM"], ["24 h"], samples=first(profiles, 1)
    )
    assert result.rows["n_missing_genes"].iloc[0] == np.isnan(holes[0]).sum()
    assert np.isfinite(result.x_deg).all()


def test_progress_and_cancel(predictor: Predictor, profiles: Profiles) -> None:
    seen: list[tuple[int, int, str]] = []
    predictor.predict(
        profiles, DRUGS, ["1 uM"], ["24 h"], samples=first(profiles, 1),
        progress=lambda *step: seen.append(step),
    )  # fmt: skip
    assert seen[-1][0] == seen[-1][1]
    assert any("trametinib" in text for _, _, text in seen)
    asked: list[int] = []

    def cancelled() -> bool:
        asked.append(1)
        return len(asked) > 4

    with pytest.raises(PredictionCancelled):
        predictor.predict(profiles, DRUGS, ["1 uM"], ["24 h"], cancelled=cancelled)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"drugs": ["vemurafinib-x9"]}, UnknownDrugError, "vemurafenib"),
        ({"drugs": ["C" * 5000]}, DrugError, "5,?000|120|long|atoms"),
        ({"drugs": ["C1CC("]}, DrugError, "."),
        ({"drugs": []}, DrugError, "No drug"),
        ({"doses": ["-1"]}, ConditionError, "greater than zero"),
        ({"doses": ["abc"]}, ConditionError, "not a number"),
        ({"doses": []}, DrugError, "No dose"),
        ({"times": ["0"]}, ConditionError, "greater than zero"),
        ({"samples": ["nobody"]}, CohortError, "no sample 'nobody'"),
        ({"samples": []}, CohortError, "No sample"),
    ],
)
def test_bad_requests_say_what_and_how_to_fix(
    predictor: Predictor,
    profiles: Profiles,
    change: dict,
    error: type[XPertError],
    words: str,
) -> None:
    request: dict = {"drugs": ["trametinib"], "doses": ["1 uM"], "times": ["24 h"]} | change
    samples = request.pop("samples", first(profiles, 1))
    with pytest.raises(error, match=words) as caught:
        predictor.predict(profiles, **request, samples=samples)
    assert caught.value.fix


def test_models_by_name_and_what_does_not_fit(predictor: Predictor, tmp_path: Path) -> None:
    assert predictor.name in shipped_models()
    assert Predictor.load(predictor.name).digest == predictor.digest
    assert Predictor.load(model_folder()).digest == predictor.digest
    with pytest.raises(CheckpointError, match="no model"):
        Predictor.load("nowhere")
    checkpoint = load_checkpoint(model_folder())
    for field in ("panel", "featurizer"):
        changed = {**getattr(checkpoint.meta, field), "digest": "other"}
        meta = replace(checkpoint.meta, **{field: changed})
        with pytest.raises(CheckpointError, match="not the one"):
            Predictor(replace(checkpoint, meta=meta))


def test_no_default_model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XPERT_ASSETS", str(tmp_path))
    with pytest.raises(CheckpointError, match="No default model"):
        model_folder()


def test_library_drug_and_its_smiles_agree(predictor: Predictor, profiles: Profiles) -> None:
    drug = DrugLibrary.load().resolve("trametinib")
    typed = standardise(drug.smiles)
    both = [
        predictor.predict(profiles, [d], ["1 uM"], ["24 h"], samples=first(profiles, 1)).x_deg
        for d in (drug, typed)
    ]
    np.testing.assert_allclose(both[0], both[1], atol=1e-5)
