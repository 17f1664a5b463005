"""Gradients against finite differences, omission against one network pass an atom."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from tests.unit.model.conftest import SMALL, make_batch
from xpert_core.explanation.attribution import gradient_x_input, leave_one_out
from xpert_core.explanation.progress import Steps
from xpert_core.model.xpert import XPert
from xpert_core.tokens.batch import Batch

GENES = ["g3", "g7", "g8"]
POSITIONS = [3, 7, 8]


@pytest.fixture
def model() -> XPert:
    torch.manual_seed(0)
    return XPert(SMALL).eval().double()


@pytest.fixture
def batch() -> Batch:
    """Two profiles, one treatment with seven atoms, in double precision."""
    batch = make_batch(SMALL)
    drugs = batch.drugs.take(torch.tensor([0]))
    drugs = replace(
        drugs, molecule=drugs.molecule.double(), atoms=drugs.atoms.double(),
        graph=drugs.graph.double(),
    )  # fmt: skip
    first = {name: value[:1] for name, value in vars(batch.treatments).items()}
    rows = torch.tensor([0, 1])
    return Batch(
        batch.profiles, drugs, replace(batch.treatments, **first), rows, torch.zeros_like(rows)
    )


def as_request(model: XPert, batch: Batch) -> tuple[Any, Any]:
    panel = SimpleNamespace(symbols=[f"g{i}" for i in range(30)])
    return SimpleNamespace(model=model, panel=panel), SimpleNamespace(batch=batch)


def response(model: XPert, batch: Batch, **drug: torch.Tensor) -> np.ndarray:
    with torch.no_grad():
        changed = replace(batch, drugs=replace(batch.drugs, **drug))
        return model(changed).x_deg[:, POSITIONS].numpy()


def test_gradient_x_input_is_the_slope_of_fading_one_atom(model: XPert, batch: Batch) -> None:
    steps = Steps(2)
    found = gradient_x_input(*as_request(model, batch), GENES, steps)
    assert found.shape == (2, 7) and steps.done == 2
    h = 1e-5
    for atom in range(7):
        sides = []
        for factor in (1 + h, 1 - h):
            atoms = batch.drugs.atoms.clone()
            atoms[:, atom] *= factor
            sides.append((response(model, batch, atoms=atoms) ** 2).sum(axis=1))
        np.testing.assert_allclose(found[:, atom], (sides[0] - sides[1]) / (2 * h), rtol=1e-4)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_leave_one_out_is_a_pass_with_that_token_masked(model: XPert, batch: Batch) -> None:
    steps = Steps(16)
    found = leave_one_out(*as_request(model, batch), GENES, steps)
    assert found.shape == (2, 7) and steps.done == 16
    whole = response(model, batch)
    for atom in range(7):
        mask = batch.drugs.atom_mask.clone()
        mask[:, atom] = False
        difference = response(model, batch, atom_mask=mask) - whole
        np.testing.assert_allclose(found[:, atom], np.sqrt((difference**2).mean(axis=1)), rtol=1e-9)
    assert (found > 0).all()


def test_an_atom_that_the_network_ignores_scores_nothing(model: XPert, batch: Batch) -> None:
    torch.nn.init.zeros_(model.drug_embedding.structure.weight)
    assert not gradient_x_input(*as_request(model, batch), (), Steps(1)).any()


def test_without_a_mask_nothing_is_left_out_and_padding_has_no_gradient(batch: Batch) -> None:
    unmasked = XPert(SMALL.with_(mask_padding=False)).eval().double()
    drugs = batch.drugs
    width = SMALL.max_atoms - drugs.atoms.shape[1]
    padded = replace(
        batch, drugs=replace(
            drugs, atoms=torch.nn.functional.pad(drugs.atoms, (0, 0, 0, width)),
            atom_mask=torch.nn.functional.pad(drugs.atom_mask, (0, width)),
        ),
    )  # fmt: skip
    steps = Steps(16)
    found = leave_one_out(*as_request(unmasked, padded), (), steps)
    assert found.shape == (2, 7) and np.isnan(found).all() and steps.done == 16
    gradient = gradient_x_input(*as_request(unmasked, padded), (), Steps(2))
    assert gradient.shape == (2, 7) and (gradient != 0).all()
