"""The network: shapes, masks, sharing, switches."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tests.unit.model.conftest import SMALL, make_batch
from xpert_core.conditions import DOSE_BIN_EDGES_UM
from xpert_core.errors import CheckpointError
from xpert_core.model.blocks import Dropout
from xpert_core.model.config import ModelConfig
from xpert_core.model.embedding import ConditionEmbedding
from xpert_core.model.xpert import XPert
from xpert_core.tokens.batch import Batch


def test_shapes(model: XPert, batch: Batch) -> None:
    out = model(batch)
    assert out.x_deg.shape == out.x_pert.shape == (5, 30)
    assert out.cls.shape == (5, 2, 16)
    assert out.class_logits is not None
    assert out.class_logits.shape == (5, 2, 3)
    assert out.x_ctl is None


@torch.no_grad()
def test_padding_never_changes_an_output(model: XPert, batch: Batch) -> None:
    drugs = batch.drugs
    wider = replace(
        drugs,
        atoms=torch.cat([drugs.atoms, torch.full((3, 20, 12), 50.0)], dim=1),
        atom_mask=torch.cat([drugs.atom_mask, torch.zeros(3, 20, dtype=torch.bool)], dim=1),
    )
    wider.atoms[2, 3:] = -50.0
    wider.molecule[1] = 99.0  # has_molecule is False there
    maps: dict[str, torch.Tensor] = {}
    expected, found = model(batch), model(replace(batch, drugs=wider), maps)
    torch.testing.assert_close(found.x_deg, expected.x_deg, atol=1e-5, rtol=0)
    torch.testing.assert_close(found.x_pert, expected.x_pert, atol=1e-5, rtol=0)
    # Tokens: readout, dose, time, graph, molecule, atoms. Padding receives no attention.
    assert (maps["CA_0"][:, :, 5 + 7 :] == 0).all()
    assert (maps["CA_3"][1, :, 4:] == 0).all()
    torch.testing.assert_close(maps["CA_0"].sum(-1), torch.ones(5, 2))


@torch.no_grad()
def test_shared_encoding_equals_row_by_row(model: XPert, batch: Batch) -> None:
    shared, plain = model(batch), model(batch.expanded())
    torch.testing.assert_close(shared.x_deg, plain.x_deg, atol=1e-5, rtol=0)
    torch.testing.assert_close(shared.x_pert, plain.x_pert, atol=1e-5, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("layers", ["CA+SA+SA+CA", "SA+CA", "SA+SA+CA+CA", "CA+CA", "SA"])
def test_layer_strings(layers: str, batch: Batch) -> None:
    torch.manual_seed(0)
    model = XPert(SMALL.with_(pert_layers=layers)).eval()
    torch.testing.assert_close(model(batch).x_deg, model(batch.expanded()).x_deg, atol=1e-5, rtol=0)


@torch.no_grad()
def test_base_branch_sees_no_drug(model: XPert, batch: Batch) -> None:
    other = replace(batch, treatments=make_batch(SMALL, seed=1).treatments)
    other = replace(other, drugs=make_batch(SMALL, seed=5).drugs)
    assert torch.equal(model(batch).cls[:, 1], model(other).cls[:, 1])
    assert not torch.equal(model(batch).cls[:, 0], model(other).cls[:, 0])


@torch.no_grad()
def test_dose_curve_is_smooth_and_open_above_the_last_bin(model: XPert, batch: Batch) -> None:
    def at(dose: float) -> torch.Tensor:
        doses = torch.full((4,), dose)
        return model(replace(batch, treatments=replace(batch.treatments, dose_um=doses))).x_deg

    steps = [at(d) for d in (20.0, 20.2, 40.0)]
    assert 0 < (steps[0] - steps[1]).abs().max() < 0.05
    assert (steps[0] - steps[2]).abs().max() > (steps[0] - steps[1]).abs().max()
    binned = XPert(SMALL.with_(conditions="bins")).eval()
    model = binned
    assert torch.equal(at(20.0), at(40.0))
    assert not torch.equal(at(1.0), at(40.0))


@torch.no_grad()
def test_bins_of_the_paper_are_closed_on_the_left() -> None:
    embedding = ConditionEmbedding(SMALL.with_(conditions="bins"))

    def token(dose: float, time: float) -> tuple[torch.Tensor, torch.Tensor]:
        tokens = embedding(torch.tensor([dose]), torch.tensor([time]))[0]
        return tokens[0], tokens[1]

    for i, edge in enumerate(DOSE_BIN_EDGES_UM):
        assert torch.equal(token(edge - 1e-5, 3)[0], embedding.dose.weight[i])
        assert torch.equal(token(edge + 1e-6, 3)[0], embedding.dose.weight[i + 1])
    for hours, i in ((3, 0), (6, 1), (24, 2), (4, 0), (48, 2)):
        assert torch.equal(token(1.0, hours)[1], embedding.time.weight[i])


@torch.no_grad()
@pytest.mark.parametrize(
    ("switch", "unused"),
    [
        ("use_atoms", "atoms"),
        ("use_molecule", "molecule"),
        ("use_graph", "graph"),
    ],
)
def test_ablation_switches_cut_an_input(switch: str, unused: str, batch: Batch) -> None:
    torch.manual_seed(0)
    changed = getattr(batch.drugs, unused) + 1
    other = replace(batch, drugs=replace(batch.drugs, **{unused: changed}))
    full, cut = XPert(SMALL).eval(), XPert(SMALL.with_(**{switch: False})).eval()
    assert not torch.equal(full(batch).x_deg, full(other).x_deg)
    assert torch.equal(cut(batch).x_deg, cut(other).x_deg)


@torch.no_grad()
@pytest.mark.parametrize(
    "change",
    [
        {"single_branch": True},
        {"use_ppi": False},
        {"use_readout": False},
        {"positional": "sinusoidal"},
        {"positional": "type"},
        {"norm": "sublayer"},
        {"conditions": "none"},
        {"n_classes": 0},
        {"output_projection": False},
        {"separate_cross_norm": False},
    ],
)
def test_every_switch_runs(change: dict, batch: Batch) -> None:
    out = XPert(SMALL.with_(**change)).eval()(batch)
    assert torch.isfinite(out.x_deg).all()


def test_every_parameter_gets_a_gradient(batch: Batch) -> None:
    torch.manual_seed(0)
    model = XPert(SMALL)
    model.cell_embedding.get_buffer("ppi").normal_()
    out = model(batch)
    assert out.class_logits is not None
    (out.x_deg.square().sum() + out.x_pert.square().sum() + out.class_logits.sum()).backward()
    dead = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert dead == []


@torch.no_grad()
def test_backends_give_the_same_prediction(model: XPert, batch: Batch) -> None:
    fused = model(batch).x_deg
    model.set_backend("math")
    torch.testing.assert_close(model(batch).x_deg, fused, atol=1e-5, rtol=0)


def test_bad_settings_are_refused() -> None:
    for bad in ({"norm": "post"}, {"d_model": 30, "n_heads": 4}, {"pert_layers": "CA+XA"}):
        with pytest.raises(CheckpointError):
            SMALL.with_(**bad)
    with pytest.raises(CheckpointError, match="Unknown"):
        ModelConfig.from_dict({"hidden": 3})
    assert ModelConfig.from_dict(SMALL.to_dict()) == SMALL


@torch.no_grad()
def test_a_part_of_the_genes_is_predicted_as_if_no_other_were_there(
    model: XPert, batch: Batch
) -> None:
    genes = torch.tensor([20, 3, 11, 7])
    found = model(batch, genes=genes)
    assert found.x_deg.shape == found.x_pert.shape == (5, 4)
    small = XPert(SMALL.with_(n_genes=4)).eval()
    state = dict(model.state_dict())
    for name in ("cell_embedding.gene", "cell_embedding.ppi", "x_pert_mean"):
        state[name] = state[name][genes]
    small.load_state_dict(state)
    alone = small(replace(batch, profiles=batch.profiles[:, genes]))
    torch.testing.assert_close(found.x_deg, alone.x_deg, atol=1e-5, rtol=0)
    torch.testing.assert_close(found.x_pert, alone.x_pert, atol=1e-5, rtol=0)
    everything = model(batch, genes=torch.arange(30))
    torch.testing.assert_close(everything.x_deg, model(batch).x_deg, atol=1e-5, rtol=0)


@torch.no_grad()
def test_raw_values_are_centred_on_each_gene_and_nothing_where_nothing_was_measured(
    batch: Batch,
) -> None:
    torch.manual_seed(0)
    model = XPert(SMALL.with_(raw_values=True)).eval()
    embedding = model.cell_embedding
    missing = SMALL.n_value_tokens
    tokens = torch.full((1, 30), 64)
    tokens[0, 5] = missing
    embedding.get_buffer("token_mean").fill_(64.0)
    at_mean = embedding(tokens)
    embedding.get_buffer("token_mean")[:5] = 0.0
    moved = embedding(tokens)
    same = (at_mean == moved).all(dim=2)[0]
    assert not same[1:6].any() and same[6:].all() and same[0]
    embedding.get_buffer("token_mean")[5] = 0.0
    assert torch.equal(embedding(tokens)[0, 6], moved[0, 6]), "no value, no line"
    assert model(batch).x_deg.isfinite().all()


def test_a_network_with_a_prior_starts_at_it_and_learns_what_to_add(batch: Batch) -> None:
    torch.manual_seed(0)
    model = XPert(SMALL.with_(use_prior=True)).eval()
    prior = torch.randn(5, 30)
    given = replace(batch, prior=prior)
    found = model(given)
    torch.testing.assert_close(found.x_deg, prior)
    genes = torch.tensor([4, 9])
    torch.testing.assert_close(model(given, genes=genes).x_deg, prior[:, genes])
    torch.testing.assert_close(model(given.expanded()).x_deg, prior)
    (found.x_deg - 1).square().mean().backward()
    assert model.deg_head[-1].weight.grad.abs().sum() > 0


@torch.no_grad()
def test_direction_head_is_one_logit_a_gene(batch: Batch) -> None:
    model = XPert(SMALL.with_(direction_head=True)).eval()
    found = model(batch).direction
    assert found is not None and found.shape == (5, 30)
    assert XPert(SMALL).eval()(batch).direction is None


def test_dropout_drops_the_share_it_says_and_keeps_the_mean() -> None:
    torch.manual_seed(0)
    layer = Dropout(0.1)
    x = torch.ones(37, 1001, requires_grad=True)
    found = layer(x)
    share = 26 / 256
    assert float((found == 0).float().mean()) == pytest.approx(share, abs=0.005)
    torch.testing.assert_close(found.max(), torch.tensor(1 / (1 - share)))
    assert float(found.mean().detach()) == pytest.approx(1, abs=0.01)
    rows, columns = (found == 0).float().mean(dim=1), (found == 0).float().mean(dim=0)
    assert rows.std() < 0.02 and columns.std() < 0.08, "no stripes"
    found.sum().backward()
    torch.testing.assert_close(x.grad, found.detach(), msg="a dropped element has no gradient")
    torch.manual_seed(0)
    torch.testing.assert_close(layer(x.detach()), found.detach())
    assert layer.eval()(x) is x or torch.equal(layer(x), x)
    assert Dropout(0.0)(x).equal(x) and not Dropout(1.0)(x).any()
