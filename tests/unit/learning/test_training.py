"""Training on real rows: it learns, resumes to the same numbers, and refuses what it must."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from xpert_core.errors import DataError
from xpert_core.learning.config import TrainConfig
from xpert_core.learning.loop import draw_genes, predict_rows, training_terms
from xpert_core.learning.splits import held_out_keys, split_by_drug
from xpert_core.learning.trainer import build, train
from xpert_core.model.checkpoint import load_checkpoint
from xpert_core.tokens.biology import Biology
from xpert_core.tokens.dataset import TrainingData

DATA = Path(__file__).parents[2] / "data" / "l1000_small.safetensors"
TINY = {
    "name": "tiny",
    "data": str(DATA),
    "model": {"d_model": 16, "n_heads": 2, "d_ff": 32, "base_layers": "SA", "pert_layers": "CA"},
    "max_epochs": 3,
    "batch_rows": 32,
    "valid": 0.15,
    "test": 0.15,
    "threads": 1,
}


def write(folder: Path, **changes: object) -> Path:
    path = folder / "run.yaml"
    path.write_text(yaml.safe_dump({**TINY, **changes}))
    return path


def test_overfits_a_handful_of_real_rows() -> None:
    config = TrainConfig.from_dict({**TINY, "model": {**TINY["model"], "dropout": 0.0}})
    setup = build(config, Path())
    one_profile = (
        setup.data.profile_index[setup.split.train]
        == setup.data.profile_index[setup.split.train[0]]
    )
    rows = setup.split.train[one_profile][:6]
    batch, targets = setup.view.batch(rows)
    optimizer = torch.optim.Adam(setup.model.parameters(), 1e-2)
    first = last = 0.0
    for step in range(50):
        terms = training_terms(setup.model, batch, targets, config)
        optimizer.zero_grad()
        terms["total"].backward()
        optimizer.step()
        last = float(terms["deg_pcc"].detach())
        first = last if step == 0 else first
    assert first > 0.8
    assert last < 0.35


def test_run_writes_a_checkpoint_with_its_card_and_resumes_to_the_same(tmp_path: Path) -> None:
    whole = train(write(tmp_path), tmp_path / "whole")
    loaded = load_checkpoint(whole.folder)
    assert loaded.digest == whole.digest
    scores = {(e["part"], e["model"]) for e in whole.card["scores"]}
    assert {("valid", "XPert"), ("test", "ridge"), ("test", "mean of the cell line")} <= scores
    assert "Not for diagnosis" in (whole.folder / "README.md").read_text()

    # Stopped after two epochs, then resumed: the same weights as in one go.
    def stop_after_two(done: int, most: int, entry: dict) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises((KeyboardInterrupt, SystemExit)):
        train(write(tmp_path), tmp_path / "parts", progress=stop_after_two)
    assert not (tmp_path / "parts" / "model").exists()
    resumed = train(write(tmp_path), tmp_path / "parts", resume=True)
    assert resumed.card["epochs"] == 3
    state = loaded.model.state_dict()
    for name, value in load_checkpoint(resumed.folder).model.state_dict().items():
        torch.testing.assert_close(value, state[name], atol=1e-6, rtol=0, msg=name)

    with pytest.raises(DataError, match="another configuration"):
        train(write(tmp_path, lr=0.5), tmp_path / "parts", resume=True)


def test_predictions_come_back_in_the_order_asked_for() -> None:
    setup = build(TrainConfig.from_dict(TINY), Path())
    rows = np.random.default_rng(0).permutation(setup.split.train)[:9]
    together, _ = predict_rows(setup.model, setup.view, rows)
    for i in (0, 4, 8):
        alone, _ = predict_rows(setup.model, setup.view, rows[i : i + 1])
        np.testing.assert_allclose(together[i], alone[0], atol=1e-4)


def test_units_come_from_training_rows() -> None:
    setup = build(TrainConfig.from_dict(TINY), Path())
    data, train_rows = setup.data, setup.split.train
    scale = setup.model.get_buffer("x_deg_scale")
    for readout in (0, 1):
        own = data.x_deg[train_rows[data.readout[train_rows] == readout]]
        assert float(scale[readout]) == pytest.approx(float(np.sqrt((own**2).mean())), rel=1e-4)


def biology(path: Path, **changes: object) -> Path:
    """Unit vectors that differ from drug to drug, as the graph's encoder would give them."""
    data = TrainingData.load(DATA)
    held_out = held_out_keys(data, split_by_drug(data, valid=0.15, test=0.15))
    vectors = np.random.default_rng(0).normal(size=(2, len(data.drug_keys), 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=2, keepdims=True)
    vectors[:, 3] = 0
    values = {"drug_keys": data.drug_keys, "held_out": held_out, "digest": "g" * 64, **changes}
    Biology(strict=vectors[0], informed=vectors[1], **values).save(path)
    return path


def test_biological_vectors_are_used_and_scored_in_both_modes(tmp_path: Path) -> None:
    graph = str(biology(tmp_path / "biology.safetensors"))
    result = train(write(tmp_path, graph=graph, max_epochs=1), tmp_path / "out")
    loaded = load_checkpoint(result.folder)
    assert loaded.meta.graph == {"digest": "g" * 64, "dim": 8}
    assert loaded.model.config.use_graph
    scores = {e["model"]: e["pcc"] for e in result.card["scores"] if e["part"] == "test"}
    assert scores["XPert"] != scores["XPert, told the drug's known targets"]
    without = train(write(tmp_path, max_epochs=1), tmp_path / "without")
    assert load_checkpoint(without.folder).meta.graph == {}


def test_the_split_says_whether_targets_of_held_out_drugs_are_known(tmp_path: Path) -> None:
    """Informed: the other table is trained on, the encoder may have seen the targets."""
    path = biology(tmp_path / "biology.safetensors", held_out=())
    values = {**TINY, "graph": str(path), "targets": "informed"}
    informed = build(TrainConfig.from_dict(values), Path())
    assert informed.split.targets == "informed"
    table = informed.biology.informed
    np.testing.assert_allclose(informed.view.drugs.graph.numpy(), table, atol=1e-6)
    path = biology(tmp_path / "biology.safetensors")
    strict = build(TrainConfig.from_dict({**values, "targets": "strict"}), Path())
    np.testing.assert_allclose(strict.view.drugs.graph.numpy(), strict.biology.strict, atol=1e-6)
    with pytest.raises(DataError, match="cannot be 'none'"):
        build(TrainConfig.from_dict({**values, "targets": "none"}), Path())
    card = train(write(tmp_path, **{k: values[k] for k in ("graph", "targets")}, max_epochs=1),
                 tmp_path / "out").card  # fmt: skip
    assert "XPert, told the drug's known targets" not in {e["model"] for e in card["scores"]}


def test_vectors_that_saw_held_out_targets_are_refused(tmp_path: Path) -> None:
    data = TrainingData.load(DATA)
    for changes, words in (
        ({"held_out": ()}, "saw the targets of"),
        ({"drug_keys": data.drug_keys[::-1]}, "other drugs"),
    ):
        graph = str(biology(tmp_path / "biology.safetensors", **changes))
        with pytest.raises(DataError, match=words):
            train(write(tmp_path, graph=graph), tmp_path / "out")
    (tmp_path / "biology.safetensors").write_bytes(b"nothing")
    with pytest.raises(DataError, match="cannot be read"):
        train(write(tmp_path, graph=graph), tmp_path / "out")


def test_damaged_network_vectors_are_named(tmp_path: Path) -> None:
    for content in (None, b"", b"PK nothing"):
        if content is not None:
            (tmp_path / "ppi.npz").write_bytes(content)
        with pytest.raises(DataError, match="network vectors cannot be read") as caught:
            train(write(tmp_path, ppi=str(tmp_path / "ppi.npz")), tmp_path / "out")
        assert "prepare_ppi" in caught.value.fix


def test_diverged_loss_is_named_and_leaves_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not a number") as caught:
        train(write(tmp_path, lr=1e30, clip_norm=0.0, warmup_epochs=0), tmp_path / "out")
    assert "batch" in caught.value.where
    assert not (tmp_path / "out" / "model").exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"epochs": 3}, "unknown keys: epochs"),
        ({"lr": "fast"}, "not what its key needs"),
        ({"loss": {"mse": 1}}, "not what its key needs"),
        ({"data": "nowhere.safetensors"}, "cannot be read"),
    ],
)
def test_bad_configurations(tmp_path: Path, change: dict, words: str) -> None:
    with pytest.raises(DataError, match=words):
        train(write(tmp_path, **change), tmp_path / "out")


def test_numbers_that_yaml_reads_as_text(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("name: a\ndata: b\nlr: 1e-3\nloss: {deg_mse: 5e-1}\n")
    config = TrainConfig.load(path)
    assert (config.lr, config.loss.deg_mse) == (0.001, 0.5)


def test_missing_and_broken_yaml(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        TrainConfig.load(tmp_path / "no.yaml")
    (tmp_path / "bad.yaml").write_text("a: [1")
    with pytest.raises(DataError, match="cannot be read"):
        TrainConfig.load(tmp_path / "bad.yaml")
    (tmp_path / "empty.yaml").write_text("")
    with pytest.raises(DataError, match="empty"):
        TrainConfig.load(tmp_path / "empty.yaml")
    with pytest.raises(DataError, match="no training state"):
        train(write(tmp_path), tmp_path / "none", resume=True)


def test_a_step_draws_its_share_of_the_genes_anew() -> None:
    config = TrainConfig.from_dict({**TINY, "gene_share": 0.25})
    generator = torch.Generator().manual_seed(0)
    first, second = (draw_genes(978, config, generator) for _ in range(2))
    assert first is not None and second is not None
    assert len(first) == len(set(first.tolist())) == round(0.25 * 978)
    assert set(first.tolist()) != set(second.tolist())
    assert draw_genes(978, TrainConfig.from_dict(TINY), generator) is None
    for share in (0, -0.5, 1.5):
        with pytest.raises(DataError, match="share of genes"):
            TrainConfig.from_dict({**TINY, "gene_share": share})


def test_training_on_a_part_of_the_genes_resumes_to_the_same_and_predicts_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("lightning")
    from xpert_core.learning import module

    seen: list[int] = []

    def watched(*arguments: object) -> dict[str, torch.Tensor]:
        genes = arguments[-1]
        seen.append(978 if genes is None else len(genes))
        return training_terms(*arguments)

    monkeypatch.setattr(module, "training_terms", watched)
    config = write(tmp_path, gene_share=0.25, full_epochs=1)
    whole = train(config, tmp_path / "whole")
    steps = len(seen) // 3
    assert seen == [round(0.25 * 978)] * 2 * steps + [978] * steps, "the last epoch sees all"

    def stop(done: int, most: int, scores: dict[str, float]) -> None:
        if done == 1:
            raise KeyboardInterrupt

    with pytest.raises((KeyboardInterrupt, SystemExit)):
        train(config, tmp_path / "cut", progress=stop)
    resumed = train(config, tmp_path / "cut", resume=True)
    a, b = (load_checkpoint(r.folder).model.state_dict() for r in (whole, resumed))
    for name, value in a.items():
        torch.testing.assert_close(b[name], value, atol=1e-6, rtol=0, msg=name)
    loaded = load_checkpoint(whole.folder).model
    assert loaded.config.n_genes == 978
