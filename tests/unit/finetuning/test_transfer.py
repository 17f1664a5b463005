"""What a network takes over from a base model of other genes, classes, read-outs, conditions."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from finetuning_data import CLASSES, make_base

from xpert_core.errors import CheckpointError
from xpert_core.finetuning.transfer import Names, transfer
from xpert_core.tokens.dataset import READOUTS


def names_of(base, **changes: tuple[str, ...]) -> Names:
    names = Names(tuple(base.meta.panel["symbols"]), base.meta.classes, base.meta.readouts)
    return replace(names, **changes)


def test_the_same_network_is_taken_over_whole(base) -> None:
    model, report = transfer(base, base.model.config, names_of(base))
    for name, value in base.model.state_dict().items():
        assert torch.equal(model.state_dict()[name], value), name
    assert report.taken == report.parameters
    assert not report.new
    assert not report.dropped
    assert "60 genes" in report.transferred


def test_genes_and_classes_are_found_by_name(base) -> None:
    genes = tuple(base.meta.panel["symbols"])
    names = names_of(base, genes=("NEWGENE", *genes[:1:-1]), classes=("melanoma", "HT29"))
    config = base.model.config.with_(n_genes=59, n_classes=2)
    model, report = transfer(base, config, names, seed=7)
    old, new = base.model.state_dict(), model.state_dict()
    assert torch.equal(new["cell_embedding.gene"][1:], old["cell_embedding.gene"].flip(0)[:58])
    assert not torch.equal(new["cell_embedding.gene"][0], old["cell_embedding.gene"][0])
    row = CLASSES.index("HT29")
    assert torch.equal(new["classifier.weight"][1], old["classifier.weight"][row])
    assert torch.equal(new["classifier.bias"][1], old["classifier.bias"][row])
    assert report.new == ("1 gene: NEWGENE", "1 class: melanoma")
    assert report.dropped == (f"2 genes: {genes[0]}, {genes[1]}", "2 classes: A375, MCF7")
    # 16 numbers of one gene, 16 + 1 of one class.
    assert report.parameters - report.taken == 16 + 17
    with pytest.raises(CheckpointError, match="no gene in common"):
        transfer(base, config, names_of(base, genes=tuple("abc")))


def test_a_model_of_one_readout_without_conditions_or_missing_token(tmp_path) -> None:
    base = make_base(tmp_path / "bare", conditions="none", missing_token=False, n_readouts=1)
    config = base.model.config.with_(conditions="continuous", missing_token=True, n_readouts=2)
    model, report = transfer(base, config, names_of(base, readouts=READOUTS))
    old, new = base.model.state_dict(), model.state_dict()
    assert torch.equal(new["cell_embedding.value.weight"][:128], old["cell_embedding.value.weight"])
    assert torch.equal(
        new["drug_embedding.readout.weight"][0], old["drug_embedding.readout.weight"][0]
    )
    # Tokens without conditions: readout, molecule, atoms; with: readout, dose, time, molecule, ...
    position, before = new["drug_embedding.position"], old["drug_embedding.position"]
    assert torch.equal(position[0], before[0])
    assert torch.equal(position[3:], before[1:])
    assert f"1 read-out: {READOUTS[1]}" in report.new
    assert "1 value token: not measured" in report.new
    assert "2 drug tokens: dose, time" in report.new
    assert "layer drug_embedding.conditions.dose.0" in report.new


def test_new_parts_depend_on_the_seed_alone(base) -> None:
    names = names_of(base, classes=("x", "y"))
    config = base.model.config.with_(n_classes=2)
    torch.manual_seed(5)
    one, _ = transfer(base, config, names, seed=3)
    two, _ = transfer(base, config, names, seed=3)
    other, _ = transfer(base, config, names, seed=4)
    weight = [m.state_dict()["classifier.weight"] for m in (one, two, other)]
    assert torch.equal(weight[0], weight[1])
    assert not torch.equal(weight[0], weight[2])


def test_a_model_that_adds_to_a_prior_is_refused(tmp_path) -> None:
    base = make_base(tmp_path / "prior", use_prior=True)
    with pytest.raises(CheckpointError, match="adds to the prediction of a simple model"):
        transfer(base, base.model.config, names_of(base))
