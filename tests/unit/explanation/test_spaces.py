"""What is mapped is what it says: raw values, the network's own embeddings, labels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from xpert_core.errors import CohortError, DataError, GeneError, PredictionCancelled
from xpert_core.explanation import spaces
from xpert_core.explanation.measured import cell_lines, drug_of, level3_wells
from xpert_core.prediction import Predictor
from xpert_core.tokens.batch import Batch, Treatments, collate_drugs
from xpert_core.tokens.expression import ExpressionBins


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return Predictor.load()


def few_lines(n: int = 8):  # type: ignore[no-untyped-def]
    lines = cell_lines()
    return replace(lines, samples=lines.samples.iloc[:n], x_ctl=lines.x_ctl[:n].copy())


def test_patients_and_lines_share_the_genes_measured_in_all() -> None:
    cohort = few_lines()
    cohort.x_ctl[2, 5] = np.nan
    found = spaces.against_cell_lines(cohort)
    assert found.vectors.shape == (8 + 165, 977) and "977" in found.notes[0]
    np.testing.assert_array_equal(found.vectors[0], np.delete(cohort.x_ctl[0], 5))
    assert found.labels["origin"].value_counts().to_dict() == {
        spaces.CELL_LINE: 165, spaces.PATIENT: 8,
    }  # fmt: skip
    assert found.labels.index.is_unique
    scaled = spaces.against_cell_lines(cohort, scaled=True).vectors
    assert np.abs(scaled.mean(axis=1)).max() < 1e-2
    np.testing.assert_array_equal(np.argsort(scaled[0])[-5:], np.argsort(found.vectors[0])[-5:])
    cohort.x_ctl[0, :600] = np.nan
    with pytest.raises(CohortError, match="Too few genes"):
        spaces.against_cell_lines(cohort)


def test_base_embeddings_are_the_networks_own(predictor: Predictor) -> None:
    cohort = few_lines(10)
    found = spaces.base_embeddings(predictor, [cohort])[0]
    bins = ExpressionBins.fit(
        cohort.x_ctl, predictor.meta.bins["kind"], predictor.meta.bins["n_tokens"]
    )
    tokens = torch.from_numpy(bins.transform(cohort.x_ctl))
    with torch.inference_mode():
        expected = predictor.model.encode_profiles(tokens).base[:, 0].numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5)
    with pytest.raises(PredictionCancelled):
        spaces.base_embeddings(predictor, [cohort], cancelled=lambda: True)


def test_perturbation_embeddings_are_those_of_a_whole_pass(predictor: Predictor) -> None:
    wells = level3_wells()
    keep = wells.rows["drug"].isin(["trametinib", "torin-2"]) & wells.rows["dose_um"].isin(
        [0.04, 10]
    )
    own = wells.take(keep.to_numpy())
    found = spaces.embedded_wells(predictor, own)
    assert len(found) == int(keep.sum()) >= 4
    drugs = [
        drug_of(own.take((own.rows["drug"] == n).to_numpy())) for n in own.rows["drug"].unique()
    ]
    order = {name: i for i, name in enumerate(own.rows["drug"].unique())}
    features = [predictor.features.get(drug) for drug in drugs]
    vectors = [predictor.place(drug).vector for drug in drugs]  # type: ignore[union-attr]
    config, controls = predictor.model.config, wells.controls
    bins = ExpressionBins.fit(
        controls.x_ctl, predictor.meta.bins["kind"], predictor.meta.bins["n_tokens"]
    )
    rows = len(own.rows)
    batch = Batch(
        torch.from_numpy(bins.transform(controls.x_ctl)),
        collate_drugs(
            [f.molecule for f in features],
            [f.atoms for f in features],
            [v / np.linalg.norm(v) for v in vectors],
            feature_dim=config.feature_dim, graph_dim=config.graph_dim,
            max_atoms=config.max_atoms,
        ),
        Treatments(
            torch.tensor([order[name] for name in own.rows["drug"]]),
            torch.tensor(own.rows["dose_um"].to_numpy(), dtype=torch.float32),
            torch.tensor(own.rows["time_h"].to_numpy(), dtype=torch.float32),
            torch.zeros(rows, dtype=torch.long),
        ),
        torch.from_numpy(controls.samples.index.get_indexer(own.rows["control"])),
        torch.arange(rows),
    )  # fmt: skip
    with torch.inference_mode():
        expected = predictor.model(batch).cls[:, 0].numpy()
    np.testing.assert_allclose(found.vectors, expected, atol=1e-4)
    assert set(found.labels["drug"]) == {"trametinib", "torin-2"}


def test_genes_of_several_sets_carry_no_pathway(predictor: Predictor) -> None:
    symbols = list(predictor.panel.symbols)
    sets = {"one": symbols[:10], "two": symbols[8:20], "small": symbols[30:33]}
    found = spaces.gene_tokens(predictor, sets)
    labels = found.labels["pathway"]
    assert labels.iloc[:8].tolist() == ["one"] * 8
    assert labels.iloc[8:10].tolist() == ["", ""] and labels.iloc[30] == ""
    assert labels.iloc[10:20].tolist() == ["two"] * 10
    assert found.vectors.shape == (978, predictor.model.config.d_model)
    with pytest.raises(GeneError, match="Fewer than two"):
        spaces.gene_tokens(predictor, {"one": symbols[:10]})


def test_wells_by_level_and_by_change() -> None:
    wells = level3_wells()
    own = wells.take((wells.rows["cell"] == "PC3").to_numpy())
    np.testing.assert_array_equal(spaces.treated_wells(own).vectors, own.x_pert)
    np.testing.assert_array_equal(spaces.treated_wells(own, "change").vectors, own.x_deg)
    assert list(spaces.treated_wells(own).labels["cell"].unique()) == ["PC3"]


def test_a_drug_is_the_mean_of_its_own_tokens(predictor: Predictor) -> None:
    wells = level3_wells()
    names = ["trametinib", "vorinostat"]
    few = wells.take(wells.rows["drug"].isin(names).to_numpy())
    few.rows.loc[few.rows.index[0], "moa"] = ""  # of one well: the drug still has others
    found = spaces.drug_tokens(predictor, few)
    assert sorted(found.labels.index) == names and (found.labels["mechanism"] != "").all()
    inputs = predictor.inputs(
        few_lines(1), [drug_of(few.take((few.rows["drug"] == names[0]).to_numpy()))], [1.0], [24.0]
    )
    with torch.inference_mode():
        tokens, mask = predictor.model.encode_drugs(inputs.batch.drugs)
    expected = tokens[0][mask[0]].mean(dim=0).numpy()
    place = list(found.labels.index).index(names[0])
    np.testing.assert_allclose(found.vectors[place], expected, atol=1e-5)
    blank = few.take(np.ones(len(few.rows), dtype=bool))
    blank.rows["moa"] = ""
    with pytest.raises(DataError, match="No drug"):
        spaces.drug_tokens(predictor, blank)
