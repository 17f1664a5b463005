"""From a cohort to a checkpoint with its card."""

from __future__ import annotations

import json

import pandas as pd
import pytest
import torch
from finetuning_data import QUICK
from pair_data import paired_frame, pairs_of

from xpert_core.errors import CohortError, FinetuningCancelled
from xpert_core.finetuning.config import FinetuneConfig
from xpert_core.finetuning.finetune import finetune
from xpert_core.finetuning.hooks import Hooks
from xpert_core.model.checkpoint import load_checkpoint


@pytest.fixture(scope="module")
def result(pairs, base, tmp_path_factory):
    out = tmp_path_factory.mktemp("run")
    return finetune(pairs, base, out, QUICK.with_(max_epochs=2), folds=2, licence="CC0-1.0")


def test_the_checkpoint_loads_and_says_where_it_comes_from(result, base, pairs) -> None:
    loaded = load_checkpoint(result.folder)
    assert loaded.digest == result.digest
    assert loaded.model.config == base.model.config
    card = loaded.meta.card
    assert card["parents"] == [base.digest]
    assert card["data"]["sha256"] == pairs.input_sha256
    assert (card["data"]["pairs"], card["data"]["patients"]) == (12, 12)
    assert card["data"]["drugs"] == {"nivolumab": 12}
    assert card["method"]["method"] == "adapters"
    assert card["method"]["share"] <= 0.04
    assert card["comparison"]["may_be_default"] is result.comparison.may_be_default
    assert card["licence"] == "CC0-1.0"
    assert card["peak_memory_mib"] > 50
    assert any("cannot be told apart" in limit for limit in card["limits"])
    text = (result.folder / "README.md").read_text(encoding="utf-8")
    for words in (result.comparison.verdict, "adapters of rank", "mean change of the drug in the",
                  "Not for diagnosis", base.meta.name):  # fmt: skip
        assert words in text
    assert not (result.folder.parent / "work" / "state").exists()


def test_the_files_of_the_model_name_no_patient_and_no_sample(base, tmp_path) -> None:
    frame = paired_frame(14)
    frame["patient_id"] = [f"{name}-Muster" for name in frame["patient_id"]]
    frame["sample_id"] = [f"biopsy{i}x" for i in range(len(frame))]
    again = frame.iloc[[1]].assign(sample_id="biopsy99x")  # a second sample after treatment
    lone = frame.iloc[[24, 27]]  # one before treatment, one after, of two patients
    constant = frame.iloc[[22, 23]].copy()
    constant[constant.columns[7:-1]] = 5.0
    found = pairs_of(pd.concat([frame.iloc[:22], again, lone, constant], ignore_index=True))
    ids = {*frame["patient_id"], *frame["sample_id"], "biopsy99x"}
    assert sum(any(name in note for name in ids) for note in found.notes) >= 3
    heard: list[tuple[int, int, str]] = []
    hooks = Hooks(progress=lambda *said: heard.append(said))
    out = finetune(found, base, tmp_path, QUICK.with_(max_epochs=1), folds=2, hooks=hooks)
    trained = [(done, total) for done, total, text in heard if "epoch" in text or "done" in text]
    assert trained == sorted(trained) and trained[-1] == (
        500,
        500,
    )  # two folds of two, and the last
    assert set(found.notes) <= set(out.notes)
    for file in ("config.json", "README.md"):
        text = (out.folder / file).read_text(encoding="utf-8")
        assert not [name for name in ids if name in text]
        assert "1 patient has no sample after treatment and is left out." in text
        assert "1 patient has several samples after treatment; each makes a pair." in text
    kept = out.comparison.without_ids()
    assert not [name for name in ids if name in json.dumps(kept.to_dict())]
    assert len({pair["patient"] for pair in kept.pairs}) == out.comparison.n_patients
    assert "Muster" in (tmp_path / "comparison.json").read_text(encoding="utf-8")


def test_full_parameters_without_a_comparison_may_not_be_the_default(pairs, base, tmp_path) -> None:
    found = finetune(
        pairs, base, tmp_path, QUICK.with_(method="full", max_epochs=1), folds=0, name="mine"
    )
    meta = load_checkpoint(found.folder).meta
    assert meta.name == "mine"
    assert meta.card["method"]["trained"] == meta.card["parameters"]
    assert meta.card["comparison"]["may_be_default"] is False
    assert "not compared" in (found.folder / "README.md").read_text(encoding="utf-8")


def test_cancelled_and_called_again_gives_the_same_model(pairs, base, tmp_path) -> None:
    config = QUICK.with_(max_epochs=3)
    whole = finetune(pairs, base, tmp_path / "whole", config, folds=0)
    count = 0

    def cancelled() -> bool:
        nonlocal count
        count += 1
        return count > 6

    with pytest.raises(FinetuningCancelled):
        finetune(pairs, base, tmp_path / "parts", config, folds=0, hooks=Hooks(cancelled=cancelled))
    assert not (tmp_path / "parts" / "model").exists()
    parts = finetune(pairs, base, tmp_path / "parts", config, folds=0)
    one, two = (load_checkpoint(r.folder).model.state_dict() for r in (whole, parts))
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, atol=1e-6, rtol=0, msg=name)


def test_what_the_checks_refuse_is_refused_before_any_work(base, tmp_path) -> None:
    with pytest.raises(CohortError, match="There are 7 pairs"):
        finetune(pairs_of(paired_frame(7)), base, tmp_path / "out")
    frame = paired_frame(12, drugs=("nivolumab", "no such drug"))
    with pytest.raises(CohortError, match="6 pairs are left"):
        finetune(pairs_of(frame), base, tmp_path / "out", drop_unknown=True)
    assert not (tmp_path / "out").exists()


def test_settings_travel_as_json() -> None:
    config = FinetuneConfig(lr=0.1, max_epochs=7)
    assert FinetuneConfig.from_dict(config.to_dict()) == config
    assert config.method_for(199) == "adapters"
    assert config.method_for(200) == "full"
    assert config.with_(method="full").method_for(8) == "full"
