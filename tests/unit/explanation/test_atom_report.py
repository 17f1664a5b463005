"""The whole atom explanation by the shipped model, its baselines, files and words."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from rdkit import Chem

from xpert_core.cohorts.records import Profiles
from xpert_core.drugs import DrugLibrary, standardise
from xpert_core.errors import DataError, ExplanationError, PredictionCancelled
from xpert_core.explanation import atom_baselines
from xpert_core.explanation.atom_baselines import (
    ElementReference,
    element_reference,
    reference_drugs,
    shipped_reference,
)
from xpert_core.explanation.atom_report import OWN_SCORES, SCORES, AtomExplanation, explain_atoms
from xpert_core.explanation.atom_words import DOES_NOT_SHOW, _by_dependence, _enriched, reading
from xpert_core.explanation.atoms import atom_attention
from xpert_core.explanation.files import check_folder, read_gene_set, save_atoms
from xpert_core.explanation.networks import untrained
from xpert_core.explanation.pharmacophores import (
    Pharmacophore,
    bonded,
    case_drugs,
    marked_atoms,
    pharmacophores_of,
)
from xpert_core.model.checkpoint import load_checkpoint
from xpert_core.model.xpert import XPert
from xpert_core.prediction import Predictor
from xpert_core.prediction.models import model_folder

REQUEST = ("1 uM", "24 h")


@pytest.fixture(scope="module")
def explanation(predictor: Predictor, profiles: Profiles) -> AtomExplanation:
    seen: list[tuple[int, int]] = []
    found = explain_atoms(
        predictor, profiles, "vorinostat", *REQUEST,
        samples=list(profiles.samples.index[:2]), n_untrained=2,
        progress=lambda done, total, _: seen.append((done, total)),
    )  # fmt: skip
    assert seen[-1][0] == seen[-1][1]
    assert [done for done, total in seen if total > 2] == sorted(d for d, t in seen if t > 2)
    return found


def test_scores_are_shares_of_what_was_measured(
    predictor: Predictor, explanation: AtomExplanation
) -> None:
    scores = explanation.scores()
    assert list(scores) == list(SCORES) and len(scores) == 19
    np.testing.assert_allclose(scores.sum(), 1, atol=1e-6)
    for score in OWN_SCORES:
        matrix = explanation.matrix(score)
        np.testing.assert_allclose(matrix.sum(axis=0), 1, atol=1e-6)
        np.testing.assert_allclose(matrix.mean(axis=1), scores[score], atol=1e-12)
    size = np.abs(explanation.gradient)
    np.testing.assert_allclose(
        explanation.matrix("gradient").T, size / size.sum(axis=1, keepdims=True)
    )
    table = explanation.table()
    assert table["attention"].is_monotonic_decreasing
    assert (table["leave_one_out_rms_x_deg"] > 0).all()
    assert table["in hydroxamic acid"].sum() == 4
    assert scores.equals(explanation.scores("CA_1")), "the shipped model has one such layer"


def test_untrained_scores_are_those_of_untrained_networks(
    predictor: Predictor, profiles: Profiles, explanation: AtomExplanation
) -> None:
    ids = list(explanation.attention.samples.index)
    other = atom_attention(untrained(predictor, 1), profiles, "vorinostat", *REQUEST, samples=ids)
    np.testing.assert_allclose(explanation.untrained[1], other.values.mean(axis=1), atol=1e-6)


def test_element_scores_are_means_over_the_reference_drugs(
    predictor: Predictor, profiles: Profiles
) -> None:
    ids = list(profiles.samples.index[:2])
    library = DrugLibrary.load()
    drugs = [library.resolve(name) for name in ("vorinostat", "gefitinib", "nivolumab")]
    found = element_reference(predictor, profiles, drugs, *REQUEST, samples=ids)
    values: dict[str, list[float]] = {}
    for drug in drugs[:2]:
        one = atom_attention(predictor, profiles, drug, *REQUEST, samples=ids)
        mean = one.of().mean(axis=0) * len(one.atoms)
        for element, value in zip(one.atoms.table["element"], mean, strict=True):
            values.setdefault(element, []).append(value)
    assert found.table.loc["CA_1"].index.tolist() == sorted(values)
    for element, expected in values.items():
        row = found.table.loc[("CA_1", element)]
        assert row["times_uniform"] == pytest.approx(np.mean(expected))
        assert row["n_atoms"] == len(expected)
    scores = found.scores(["C", "N", "Xe"], ["CA_1"])[0]
    raw = np.array([np.mean(values["C"]), np.mean(values["N"]), 1.0])
    np.testing.assert_allclose(scores, raw / raw.sum())
    # A drug is not explained by its own attention.
    rest = found.without(drugs[0])
    alone = element_reference(predictor, profiles, drugs[1:2], *REQUEST, samples=ids)
    pd.testing.assert_frame_equal(rest.drugs, alone.drugs)
    with pytest.raises(ExplanationError, match="No reference drug has atoms"):
        element_reference(predictor, profiles, drugs[2:], *REQUEST, samples=ids)


def test_shipped_means_are_of_the_shipped_model(
    predictor: Predictor, profiles: Profiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    shipped = shipped_reference(predictor)
    assert shipped is not None and shipped.table["n_drugs"].max() == 60
    assert shipped.drugs["n_atoms"].sum() == sum(
        Chem.MolFromSmiles(drug.smiles).GetNumHeavyAtoms() for drug in reference_drugs()
    )
    other = untrained(predictor, 0)
    assert shipped_reference(other) is None
    # Another model takes its own means, over drugs other than the one asked for.
    asked = reference_drugs(limit=1)[0]
    assert asked.connectivity not in {d.connectivity for d in reference_drugs(exclude=[asked])}
    seen: list[str] = []

    def means(predictor: Predictor, cohort: Profiles, drugs: list, *_: object, **__: object):  # type: ignore[no-untyped-def]
        seen.extend(drug.name for drug in drugs)
        return ElementReference(shipped.drugs, other.digest)

    monkeypatch.setattr("xpert_core.explanation.atom_report.element_reference", means)
    explain_atoms(other, profiles, asked, *REQUEST, samples=["Pt1"], n_untrained=1)
    assert len(seen) == atom_baselines.REFERENCE_DRUGS and asked.name not in seen


def test_every_pharmacophore_is_found_in_its_drug(predictor: Predictor, profiles: Profiles) -> None:
    library = DrugLibrary.load()
    sizes = {}
    for name in case_drugs():
        drug = library.resolve(name)
        atoms = atom_attention(predictor, profiles, drug, *REQUEST, samples=["Pt1"]).atoms
        groups = pharmacophores_of(drug)
        assert groups, name
        for group in groups:
            sizes[(name, group.name)] = int(marked_atoms(atoms, group).sum())
            assert group.doi.startswith("10.") and group.source
        near = bonded(atoms)
        assert all(i in near[j] for i in range(len(near)) for j in near[i])
    assert len(case_drugs()) == 6
    assert sizes[("gefitinib", "quinazoline")] == sizes[("erlotinib", "quinazoline")] == 10
    assert sizes[("vorinostat", "hydroxamic acid")] == sizes[("belinostat", "hydroxamic acid")] == 4
    assert sizes[("vemurafenib", "7-azaindole")] == 9
    wrong = Pharmacophore("ferrocene", "", "[Fe]", "", "")
    with pytest.raises(DataError, match="not found in vemurafenib"):
        marked_atoms(atoms, wrong)
    assert pharmacophores_of(standardise("CCO", "ethanol")) == []


def test_words_follow_the_numbers(explanation: AtomExplanation) -> None:
    said = reading(explanation)
    assert said[0].startswith(f"{explanation.attention.on_atoms:.0%} of the attention")
    assert said[-1] == DOES_NOT_SHOW
    element = explanation.scores()["element_alone"].to_numpy()
    follows = replace(
        explanation, attention=replace(explanation.attention, values=np.tile(element, (1, 2, 1)))
    )
    assert "It follows the elements (Spearman +1.00, p < 0.001" in reading(follows)[1]
    test = {
        "pharmacophore": "acid", "fold": 2.0, "p_connected": 0.01, "p_elements": 0.04
    }  # fmt: skip
    assert "acid receives more (2.00 times the mean atom; p = 0.01" in _enriched(test)
    assert "no more than chance" in _enriched({**test, "p_elements": 0.2})
    assert "no more than chance" in _enriched({**test, "p_connected": 0.2})
    assert "not corrected for 3 pharmacophores)." in _enriched(test, 3)
    row = {"spearman": 0.5, "spearman_p": 0.01}
    assert _by_dependence(row, {"spearman": 0.4}) == (
        "Atoms attended to more tend to matter more to the prediction (Spearman +0.50, p = 0.01 "
        "within this molecule, against leaving one atom out); elements alone agree with leaving "
        "one atom out at Spearman +0.40."
    )
    assert "do not clearly tend" in _by_dependence({**row, "spearman": -0.5}, {"spearman": 0.4})


def test_a_network_without_a_padding_mask_keeps_what_is_defined(
    predictor: Predictor, profiles: Profiles, tmp_path: Path
) -> None:
    shipped = load_checkpoint(model_folder())
    torch.manual_seed(0)
    model = XPert(shipped.model.config.with_(mask_padding=False)).eval()
    unmasked = Predictor(replace(shipped, model=model, digest="none"))
    reference = shipped_reference(predictor)
    found = explain_atoms(
        unmasked, profiles, "vorinostat", *REQUEST, samples=["Pt1"], n_untrained=1,
        reference=reference,
    )  # fmt: skip
    assert found.leave_one_out.shape == (1, 19) and np.isnan(found.leave_one_out).all()
    scores = found.scores()
    assert scores["leave_one_out"].isna().all()
    np.testing.assert_allclose(scores.drop(columns="leave_one_out").sum(), 1, atol=1e-6)
    np.testing.assert_allclose(sum(found.attention.tokens.values()), 1, atol=1e-5)
    assert (found.attention.tokens["padding"] > 0.5).all(), "101 of 120 places are padding"
    pairs = found.agreement().set_index(["first", "second"])["spearman"]
    assert pairs.isna().sum() == 4 and np.isnan(pairs["attention", "leave_one_out"])
    enriched = found.enrichment().set_index("score")
    assert np.isnan(enriched.loc["leave_one_out", ["fold", "p_atoms"]].astype(float)).all()
    assert any("no atom can be left out" in sentence for sentence in reading(found))
    names = {path.name for path in save_atoms(found, tmp_path / "out")}
    assert "gradient.svg" in names and "leave_one_out.svg" not in names


def test_files_hold_the_numbers(explanation: AtomExplanation, tmp_path: Path) -> None:
    written = save_atoms(explanation, tmp_path / "out")
    assert {path.name for path in written} == {path.name for path in (tmp_path / "out").iterdir()}
    atoms = pd.read_csv(tmp_path / "out" / "atoms.csv")
    np.testing.assert_allclose(atoms["attention"], explanation.table()["attention"])
    by_sample = pd.read_csv(tmp_path / "out" / "attention_by_sample.csv", index_col="atom")
    np.testing.assert_allclose(by_sample, explanation.attention.matrix())
    note = json.loads((tmp_path / "out" / "provenance.json").read_text())
    assert note["model_digest"] == explanation.attention.provenance["model_digest"]
    assert (tmp_path / "out" / "leave_one_out.svg").read_text().startswith("<svg")
    with pytest.raises(ExplanationError, match="holds files"):
        check_folder(tmp_path / "out", force=False)
    check_folder(tmp_path / "out", force=True)
    with pytest.raises(ExplanationError, match="a file, not a folder"):
        check_folder(written[0], force=True)


def test_sample_names_run_no_formula(explanation: AtomExplanation, tmp_path: Path) -> None:
    samples = explanation.attention.samples.set_axis(["=1+1", "B"])
    evil = replace(explanation, attention=replace(explanation.attention, samples=samples))
    save_atoms(evil, tmp_path)
    head = (tmp_path / "attention_by_sample.csv").read_text().splitlines()[0]
    assert head == "atom,'=1+1,B"
    assert "'=1+1" in (tmp_path / "tokens_by_sample.csv").read_text()


def test_gene_sets_are_lists_or_files(tmp_path: Path) -> None:
    file = tmp_path / "set.txt"
    file.write_text("CDK4\nMYC\n\nCDK4\n", encoding="utf-8")
    assert read_gene_set(str(file)) == ("CDK4", "MYC")
    assert read_gene_set(" CDK4, MYC;EGFR ") == ("CDK4", "MYC", "EGFR")
    with pytest.raises(ExplanationError, match="empty"):
        read_gene_set(" , ")


def test_a_cancel_stops_it(predictor: Predictor, profiles: Profiles) -> None:
    asked: list[int] = []

    def stop() -> bool:
        asked.append(1)
        return len(asked) > 4

    with pytest.raises(PredictionCancelled):
        explain_atoms(predictor, profiles, "vorinostat", *REQUEST, cancelled=stop)
    assert len(asked) == 5
