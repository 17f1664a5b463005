"""Gene attention of the example cohort by the shipped model."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from xpert_core.cohorts.records import Profiles
from xpert_core.errors import CohortError, ExplanationError, PredictionCancelled
from xpert_core.explanation.genes import gene_attention, gene_stability, gene_summary
from xpert_core.explanation.networks import untrained
from xpert_core.prediction import Predictor


def test_is_what_the_network_says_of_each_profile(predictor: Predictor, profiles: Profiles) -> None:
    seen: list[tuple[int, int]] = []
    found = gene_attention(
        predictor, profiles, progress=lambda done, total, _: seen.append((done, total))
    )
    assert seen == [(0, 10), (8, 10), (10, 10)]
    maps: dict[str, torch.Tensor] = {}
    tokens = predictor.tokens(profiles).tokens
    with torch.inference_mode():
        predictor.model.encode_profiles(torch.from_numpy(tokens), maps)
    for i, name in enumerate(found.layers["received"]):
        expected = maps[name].mean(dim=1).numpy()
        np.testing.assert_allclose(found.values["received"][i], expected[:, 1:], atol=1e-5)
        np.testing.assert_allclose(found.to_cls["received"][i], expected[:, 0], atol=1e-5)
    assert found.values["received"].shape == found.values["cls"].shape == (2, 10, 978)
    assert found.values["rollout"].shape == (1, 10, 978)
    for kind in found.kinds:
        total = found.values[kind].sum(-1) + found.to_cls[kind]
        np.testing.assert_allclose(total, 1, atol=1e-5)
    assert found.provenance["model_digest"] == predictor.digest
    assert json.loads(json.dumps(found.provenance)) == found.provenance
    assert list(found.samples.index) == list(profiles.samples.index)


def test_a_part_is_a_part_of_the_whole(predictor: Predictor, profiles: Profiles) -> None:
    whole = gene_attention(predictor, profiles)
    part = gene_attention(
        predictor, profiles, ["cls", "rollout"], ["base_SA_1"], samples=profiles.samples.index[7:9]
    )
    assert part.layers == {"cls": ("base_SA_1",), "rollout": ("all",)}
    np.testing.assert_allclose(part.values["cls"][0], whole.values["cls"][1, 7:9], atol=1e-6)
    np.testing.assert_allclose(
        part.values["rollout"][0], whole.values["rollout"][0, 7:9], atol=1e-6
    )
    frame = part.frame("cls", "base_SA_1")
    assert list(frame.index) == [str(s) for s in profiles.samples.index[7:9]]
    np.testing.assert_array_equal(frame["CDK4"], part.of("cls")[:, frame.columns == "CDK4"][:, 0])


def test_summary_by_hand(predictor: Predictor, profiles: Profiles) -> None:
    found = gene_attention(predictor, profiles, ["received"])
    table = gene_summary(found)
    values = found.values["received"].astype(float).mean(axis=0)
    gene = list(found.genes.index).index("CDK4")
    row = table.loc["CDK4"]
    assert row["mean"] == pytest.approx(values[:, gene].mean())
    assert row["cv"] == pytest.approx(values[:, gene].std(ddof=1) / values[:, gene].mean())
    assert row["times_uniform"] == pytest.approx(values[:, gene].mean() * 979)
    assert table["mean"].is_monotonic_decreasing
    one = gene_attention(predictor, profiles, ["received"], samples=["Pt1"])
    assert gene_summary(one)["sd"].isna().all()


def test_untrained_networks_are_other_networks_with_the_same_data(
    predictor: Predictor, profiles: Profiles
) -> None:
    before = torch.get_rng_state()
    first, again, second = (untrained(predictor, seed) for seed in (0, 0, 1))
    assert torch.equal(before, torch.get_rng_state())
    assert first.digest == again.digest != second.digest != predictor.digest
    ppi = predictor.model.cell_embedding.get_buffer("ppi")
    assert torch.equal(first.model.cell_embedding.get_buffer("ppi"), ppi)
    weight = "base_layers.0.attention.query.weight"
    states = [p.model.state_dict()[weight] for p in (predictor, first, again, second)]
    assert torch.equal(states[1], states[2])
    assert not any(torch.equal(states[1], other) for other in (states[0], states[3]))
    runs = [
        gene_attention(p, profiles, ["received"], samples=["Pt1"])
        for p in (predictor, first, second)
    ]
    found = gene_stability(runs)
    assert len(found.pairs) == 3 and found.mean_spearman < 0.9
    assert gene_stability([runs[0], runs[0]]).mean_spearman == pytest.approx(1)


def test_what_cannot_be_done_is_refused(predictor: Predictor, profiles: Profiles) -> None:
    with pytest.raises(ExplanationError, match="no layer 'base_SA_9'"):
        gene_attention(predictor, profiles, layers=["base_SA_9"])
    with pytest.raises(CohortError, match="no sample 'nobody'"):
        gene_attention(predictor, profiles, samples=["nobody"])
    with pytest.raises(PredictionCancelled, match="cancelled"):
        gene_attention(predictor, profiles, cancelled=lambda: True)
    one = gene_attention(predictor, profiles, ["received"], samples=["Pt1"])
    with pytest.raises(ExplanationError, match="no attention of kind 'cls'"):
        one.of("cls")
    with pytest.raises(ExplanationError, match="no layer 'all'"):
        one.of("received", "all")
    with pytest.raises(ExplanationError, match="two runs"):
        gene_stability([one])
    other = gene_attention(predictor, profiles, ["received"], samples=profiles.samples.index[1:2])
    with pytest.raises(ExplanationError, match="same samples"):
        gene_stability([one, other])
