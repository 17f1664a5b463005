"""Pairs as training data: drugs, conditions, classes and genes that were not measured."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from finetuning_data import CLASSES
from pair_data import METADATA, paired_frame, pairs_of, small_panel

from xpert_core.errors import CheckpointError, DrugError
from xpert_core.finetuning.data import Defaults, filled, network_config, prepare_cohort
from xpert_core.graph.embed import GraphEmbedder
from xpert_core.tokens.dataset import LOG2_READOUT, Z_READOUT

GENES = list(small_panel().symbols)


def test_rows_are_pairs_and_missing_genes_stay_nan(pairs, cohort) -> None:
    data = cohort.data
    assert data.patients == pairs.patients
    assert np.isnan(data.x_deg).sum() == 1
    np.testing.assert_array_equal(data.x_deg, pairs.x_deg)
    np.testing.assert_array_equal(data.profiles[data.profile_index], pairs.x_before)
    assert set(data.readout) == {LOG2_READOUT}
    assert data.has_x_pert.all()
    assert set(data.dose_um) == {1.0}
    assert set(data.time_h) == {24.0}
    assert cohort.classes == CLASSES
    assert set(data.cell_index) == {-1}


def test_repeated_biopsies_share_their_profile_before_treatment(base) -> None:
    frame = paired_frame(8)
    again = frame[(frame["patient_id"] == "P1") & (frame["timepoint"] == "post")].copy()
    again[GENES] += 1
    frame = pd.concat([frame, again])
    frame.insert(0, "sample_id", [f"S{i}" for i in range(len(frame))])
    data = prepare_cohort(pairs_of(frame), base).data
    assert len(data) == 9
    assert len(data.profiles) == 8
    assert data.profile_index[0] == data.profile_index[8]


def test_an_antibody_is_placed_by_its_target(base) -> None:
    """Nivolumab has no structure; the graph knows it by PDCD1."""
    graph = GraphEmbedder.load()
    meta = replace(base.meta, graph={"digest": graph.digest, "dim": graph.dim})
    found = prepare_cohort(pairs_of(paired_frame(8)), replace(base, meta=meta))
    assert not found.data.has_molecule.any()
    assert found.data.drug_targets == ("PDCD1",)
    assert found.graph.shape == (1, graph.dim)
    assert np.linalg.norm(found.graph[0]) == pytest.approx(1, abs=1e-5)
    wrong = replace(base.meta, graph={"digest": "0" * 64, "dim": graph.dim})
    with pytest.raises(CheckpointError, match="The knowledge graph is not the one"):
        prepare_cohort(pairs_of(paired_frame(8)), replace(base, meta=wrong))


def test_several_drugs_doses_and_times(base) -> None:
    frame = paired_frame(9, drugs=("nivolumab", "letrozole", "doxorubicin"))
    after = frame["timepoint"] == "post"
    frame.loc[after, "dose"] = ["10 nM", "2 uM", "1 uM"] * 3
    frame.loc[after, "time"] = ["6 h", "2 days", "24 h"] * 3
    found = prepare_cohort(pairs_of(frame), base)
    data = found.data
    assert sorted(data.drug_names) == ["doxorubicin", "letrozole", "nivolumab"]
    assert [data.drug_names[i] for i in data.drug_index[:3]] == [
        *("nivolumab", "letrozole", "doxorubicin"),
    ]
    np.testing.assert_allclose(data.dose_um[:3], [0.01, 2, 1])
    np.testing.assert_allclose(data.time_h[:3], [6, 48, 24])
    letrozole = data.drug_names.index("letrozole")
    assert data.has_molecule[letrozole]
    assert data.fingerprint[letrozole].sum() > 5
    assert not data.has_molecule[data.drug_names.index("nivolumab")]


def test_unknown_drugs_are_listed_and_can_be_left_out(base) -> None:
    frame = paired_frame(10, drugs=("nivolumab", "chemotherapy of choice"))
    with pytest.raises(DrugError, match="1 drug of the cohort cannot be found") as refusal:
        prepare_cohort(pairs_of(frame), base)
    assert "'chemotherapy of choice' (5 pairs)" in refusal.value.where
    assert "5 would remain" in refusal.value.fix
    found = prepare_cohort(pairs_of(frame), base, drop_unknown=True)
    assert len(found.data) == 5
    assert set(found.data.patients) == {"P1", "P3", "P5", "P7", "P9"}
    np.testing.assert_array_equal(found.data.x_deg, pairs_of(frame).x_deg[::2])
    assert any("Left out" in note for note in found.notes)


def test_a_structure_in_the_file_stands_for_an_unknown_name(base) -> None:
    frame = paired_frame(8, drugs=("study drug 7",))
    frame.insert(1, "smiles", "CC(=O)Oc1ccccc1C(=O)O")
    data = prepare_cohort(pairs_of(frame), base).data
    assert data.drug_names == ("study drug 7",)
    assert data.drug_keys == ("BSYNRYMUTXBXSQ",)


def test_defaults_fill_what_the_file_does_not_say_and_are_noted(base) -> None:
    frame = paired_frame(8)
    frame[["drug", "dose"]] = None
    frame.loc[frame["timepoint"] == "post", "time"] = "on-treatment"
    with pytest.raises(DrugError, match="cannot be found"):
        prepare_cohort(pairs_of(frame), base)
    found = prepare_cohort(pairs_of(frame), base, Defaults("letrozole", "500 nM", "14 d"))
    assert found.data.drug_names == ("letrozole",)
    assert set(found.data.dose_um) == {0.5}
    assert set(found.data.time_h) == {336.0}
    notes = " ".join(found.notes)
    assert "The dose of 8 pairs is not given: 500 nM is used." in notes
    assert "The time of 8 pairs gives 'on-treatment', which is no number" in notes


def test_z_scores_and_log_ratios_give_x_deg_alone(base) -> None:
    frame = paired_frame(10)
    z = pairs_of(frame, scale="z-score")
    data = prepare_cohort(z, base).data
    assert set(data.readout) == {Z_READOUT}
    assert not data.has_x_pert.any()
    ratio = prepare_cohort(pairs_of(frame, scale="log-ratio"), base).data
    assert set(ratio.readout) == {LOG2_READOUT}
    assert not ratio.has_x_pert.any()


def test_classes_of_the_cohort_replace_those_of_the_base_model(base) -> None:
    frame = paired_frame(8)
    frame.insert(len(METADATA), "cancer_type", ["melanoma"] * 8 + ["kidney"] * 8)
    found = prepare_cohort(pairs_of(frame), base)
    assert found.classes == ("kidney", "melanoma")
    assert found.data.cell_index.tolist() == [1] * 4 + [0] * 4
    assert network_config(base.model.config, found).n_classes == 2
    frame["cancer_type"] = "HT29"
    found = prepare_cohort(pairs_of(frame), base)
    assert found.classes == CLASSES
    assert set(found.data.cell_index) == {1}


def test_a_model_without_dose_and_time_gets_them_where_the_cohort_has_several(base) -> None:
    frame = paired_frame(8)
    one = network_config(base.model.config.with_(conditions="none"),
                         prepare_cohort(pairs_of(frame), base))  # fmt: skip
    assert one.conditions == "none"
    frame.loc[frame["timepoint"] == "post", "time"] = ["6 h", "24 h"] * 4
    several = prepare_cohort(pairs_of(frame), base)
    found = network_config(base.model.config.with_(conditions="none", missing_token=False), several)
    assert found.conditions == "continuous"
    assert not found.missing_token


def test_filling_uses_training_rows_and_keeps_their_mean(cohort) -> None:
    train = np.arange(6)
    complete = filled(cohort.data, train)
    assert not np.isnan(complete.x_deg).any()
    np.testing.assert_allclose(
        complete.x_deg[train].mean(axis=0), np.nanmean(cohort.data.x_deg[train], axis=0), rtol=1e-5
    )
    known = ~np.isnan(cohort.data.x_deg)
    np.testing.assert_array_equal(complete.x_deg[known], cohort.data.x_deg[known])
