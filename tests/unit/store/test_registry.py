"""The registry keeps checkpoints whole, lists what an owner may use, and falls back safely."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from model_data import not_better_card, score, tiny_checkpoint
from published_data import load_case
from store_data import melanoma_prediction

from xpert_core.errors import CheckpointError, StoreError
from xpert_core.learning.card import MODEL
from xpert_core.model.checkpoint import load_checkpoint
from xpert_core.prediction.models import shipped_default
from xpert_core.store import Store
from xpert_core.store.comparison import same_test


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tiny_checkpoint(tmp_path / "made" / "tiny")
    return tmp_path / "made" / "tiny"


def names(store: Store) -> list[str]:
    return [model.name for model in store.registry.list()]


def kept(store: Store) -> list[str]:
    folder = store.registry.folder
    return sorted(p.name for p in folder.iterdir()) if folder.is_dir() else []


def test_a_new_store_has_the_shipped_models(store: Store) -> None:
    (first, *_) = store.registry.list()
    assert (first.id, first.owner, first.kind, first.shared) == (
        shipped_default(), "", "shipped", True,
    )  # fmt: skip
    assert store.registry.default() == first
    assert load_checkpoint(first.folder).digest == first.digest
    assert first.why_not_predict == first.why_not_default == ""


def test_a_checkpoint_is_kept_with_what_is_known_of_it(store: Store, folder: Path) -> None:
    parent = "a" * 64
    model_id = store.registry.register(folder, parents=(parent,), kind="fine-tuned")
    shutil.rmtree(folder.parent)  # the registry has a copy of its own
    model = store.registry.get(model_id)
    assert (model.name, model.owner, model.kind, model.parents) == (
        "tiny", "local", "fine-tuned", (parent,),
    )  # fmt: skip
    assert model.folder == store.registry.folder / model_id
    assert kept(store) == [model_id]
    loaded = load_checkpoint(model.folder)
    assert (loaded.digest, loaded.meta.card) == (model.digest, model.card)
    assert model.n_bytes == sum(p.stat().st_size for p in model.folder.iterdir())
    assert store.registry.get("tiny") == model


def test_one_checkpoint_is_kept_once_for_each_owner(store: Store, folder: Path) -> None:
    first = store.registry.register(folder)
    assert store.registry.register(folder, kind="imported") == first
    other = store.registry.register(folder, "clinic b")
    assert other != first
    assert len(store.models()) == 1  # one identity by hash
    assert kept(store) == sorted([first, other])


def test_registering_again_heals_a_damaged_copy(store: Store, folder: Path) -> None:
    model_id = store.registry.register(folder)
    weights = store.registry.folder / model_id / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    assert store.registry.register(folder) == model_id
    assert load_checkpoint(weights.parent).meta.name == "tiny"
    shutil.rmtree(weights.parent)
    assert store.registry.register(folder) == model_id
    assert kept(store) == [model_id]


def test_names_are_told_apart(store: Store, folder: Path, tmp_path: Path) -> None:
    tiny_checkpoint(tmp_path / "b", seed=1)
    tiny_checkpoint(tmp_path / "c", name=shipped_default(), seed=2)
    for made in (folder, tmp_path / "b", tmp_path / "c"):
        store.registry.register(made)
    assert names(store) == [shipped_default(), f"{shipped_default()} (2)", "tiny (2)", "tiny"]
    assert store.registry.get(shipped_default()).kind == "shipped"
    store.registry.rename("tiny (2)", "  my   model ")
    assert store.registry.get("my model").name == "my model"
    with pytest.raises(StoreError, match="Another model"):
        store.registry.rename("my model", "tiny")
    for bad in ("", "x" * 200, "a\x00b", "0123456789abcdef"):
        with pytest.raises(StoreError, match="cannot be the name"):
            store.registry.rename("my model", bad)


@pytest.mark.parametrize("damage", ["weights", "config", "card", "all"])
def test_a_damaged_checkpoint_is_not_kept(store: Store, folder: Path, damage: str) -> None:
    if damage == "weights":
        weights = folder / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    elif damage == "config":
        document = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**document, "name": "edited"}))
    elif damage == "card":
        (folder / "README.md").unlink()
    else:
        shutil.rmtree(folder)
    with pytest.raises(CheckpointError):
        store.registry.register(folder)
    assert kept(store) == []
    assert names(store) == [shipped_default()]


def test_export_and_import_through_another_store(
    store: Store, folder: Path, tmp_path: Path
) -> None:
    model_id = store.registry.register(folder, parents=("a" * 64,), kind="fine-tuned")
    file = store.registry.export(model_id, tmp_path / "tiny.xpert")
    other = Store(f"sqlite:///{tmp_path / 'other.db'}")
    imported = other.registry.get(other.registry.import_(file, name="from clinic a"))
    assert (imported.name, imported.kind, imported.parents) == (
        "from clinic a", "imported", ("a" * 64,),
    )  # fmt: skip
    assert imported.digest == store.registry.get(model_id).digest
    with file.open("rb") as stream:
        assert other.registry.import_(stream, filename="again.xpert") == imported.id
    other.close()


def test_a_bad_file_leaves_nothing(store: Store, folder: Path, tmp_path: Path) -> None:
    file = store.registry.export(store.registry.register(folder), tmp_path / "tiny.xpert")
    store.registry.delete("tiny")
    file.write_bytes(file.read_bytes()[:-2000])
    with pytest.raises(CheckpointError):
        store.registry.import_(file)
    assert kept(store) == []
    assert store.models().empty
    with pytest.raises(CheckpointError, match="no such file"):
        store.registry.import_(tmp_path / "absent.xpert")


def test_the_default_is_each_owners_own(store: Store, folder: Path) -> None:
    a, b = store.for_owner("a").registry, store.for_owner("b").registry
    model_id = a.register(folder)
    a.set_default("tiny")
    assert a.default().id == model_id
    assert b.default().id == shipped_default()
    with pytest.raises(StoreError, match="no such model"):
        b.set_default(model_id)
    a.share(model_id, True)
    b.set_default(model_id)
    assert b.default().id == model_id
    a.share(model_id, False)
    assert b.default().id == shipped_default()
    a.set_default(shipped_default())
    assert a.default().kind == "shipped"


def test_a_model_no_better_than_the_mean_is_never_the_default(store: Store, tmp_path: Path) -> None:
    tiny_checkpoint(tmp_path / "worse", name="worse", card=not_better_card())
    store.registry.register(tmp_path / "worse", kind="fine-tuned")
    with pytest.raises(StoreError, match="mean change") as caught:
        store.registry.set_default("worse")
    assert "0.20" in caught.value.where
    assert store.registry.default().kind == "shipped"


def test_a_published_model_is_kept_but_is_no_default(store: Store, tmp_path: Path) -> None:
    import torch

    from xpert_core.model.published_file import import_published

    state, _, heads = load_case("sdst_h32")
    torch.save({"model_state_dict": state}, tmp_path / "warm.pth")
    import_published(tmp_path / "warm.pth", tmp_path / "warm", n_heads=heads)
    model = store.registry.get(store.registry.register(tmp_path / "warm", kind="imported"))
    assert "not known" in model.why_not_predict
    with pytest.raises(CheckpointError, match="cannot predict"):
        store.registry.set_default(model.id)


def test_deleting_a_model_keeps_its_predictions(store: Store, folder: Path) -> None:
    model_id = store.registry.register(folder)
    digest = store.registry.get(model_id).digest
    store.registry.set_default(model_id)
    prediction = melanoma_prediction()
    prediction.provenance["model_digest"] = digest
    run_id = store.save_prediction(prediction, None)
    store.registry.delete(model_id)
    assert kept(store) == []
    assert store.registry.default().id == shipped_default()
    assert store.runs().loc[run_id, "model"] == "tiny"
    assert store.models()["digest"].tolist() == [digest]
    assert store.load_prediction(run_id).provenance["model_digest"] == digest
    with pytest.raises(StoreError, match="no such model"):
        store.registry.get(model_id)


def test_shipped_models_cannot_be_changed(store: Store) -> None:
    for change in (
        store.registry.delete,
        lambda model: store.registry.share(model, False),
        lambda model: store.registry.rename(model, "mine"),
    ):
        with pytest.raises(StoreError, match="ships with XPert"):
            change(shipped_default())


def test_scores_stand_side_by_side(store: Store, tmp_path: Path) -> None:
    card = {"scores": [score(MODEL, 0.25), score("mean of the cell line", 0.2)]}
    tiny_checkpoint(tmp_path / "a", name="a", card=card)
    fine_tuned = {"comparison": {"may_be_default": True, "scores": [score(MODEL, 0.4, rows=20)]}}
    tiny_checkpoint(tmp_path / "b", name="b", card=fine_tuned, seed=1)
    tiny_checkpoint(tmp_path / "c", name="c", card={}, seed=2)
    for made in "abc":
        store.registry.register(tmp_path / made)
    table = store.registry.compare(["a", "b", "c"])
    own = ("test", "log2 change (level 3)", MODEL)
    assert table.loc[own, ("a", "pcc")] == 0.25
    assert table.loc[own, ("b", "pcc")] == 0.4
    assert table.loc[own, ("b", "rows")] == 20
    mean = table.loc[("test", "log2 change (level 3)", "mean of the cell line")]
    assert mean["a", "pcc"] == 0.2 and np.isnan(mean["b", "pcc"])
    assert table["c"].isna().all(axis=None)
    assert not same_test([store.registry.get(name) for name in "ab"])
    both = [store.registry.get(shipped_default())] * 2
    assert same_test(both)


def test_two_cohorts_of_one_name_are_not_one_test(store: Store, tmp_path: Path) -> None:
    def made(name: str, seed: int, rows: str, folds: int) -> str:
        card = {
            "sources": ["cohort.csv"], "data": {"rows_sha256": rows}, "rows": {"valid": 3},
            "config": {"split_seed": 0, "valid": 0.2},
            "comparison": {"may_be_default": True, "folds": folds, "scores": [score(MODEL, 0.4)]},
        }  # fmt: skip
        tiny_checkpoint(tmp_path / name, name=name, card=card, seed=seed)
        return store.registry.register(tmp_path / name)

    one, again = made("one", 0, "a" * 64, 5), made("again", 1, "a" * 64, 5)
    other, folds = made("other", 2, "b" * 64, 5), made("folds", 3, "a" * 64, 3)
    get = store.registry.get
    assert same_test([get(one), get(again)])
    assert not same_test([get(one), get(other)])
    assert not same_test([get(one), get(folds)])


def test_what_a_killed_process_leaves_is_swept(store: Store, folder: Path) -> None:
    model_id = store.registry.register(folder)
    left = ["0" * 16, ".new-abc", ".import-abc", ".gone-abc"]
    for name in left:
        (store.registry.folder / name).mkdir()
    (store.registry.folder / "notes").mkdir()
    assert store.sweep_orphans() == 0
    assert store.sweep_orphans(grace_s=0) == len(left)
    assert kept(store) == [model_id, "notes"] or kept(store) == ["notes", model_id]


def test_a_full_disk_leaves_nothing(
    store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import os

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match="disk is full"):
        store.registry.register(folder)
    assert kept(store) == []
    assert names(store) == [shipped_default()]


def test_a_backup_holds_the_models(store: Store, folder: Path, tmp_path: Path) -> None:
    model_id = store.registry.register(folder)
    copy = Store(f"sqlite:///{store.backup(tmp_path / 'backups' / 'monday.db')}")
    store.registry.delete(model_id)
    assert load_checkpoint(copy.registry.get(model_id).folder).meta.name == "tiny"
    copy.close()
