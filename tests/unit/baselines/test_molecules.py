"""Molecular graphs and the neural fingerprint on them."""

from __future__ import annotations

import numpy as np
import torch

from xpert_core.baselines.molecules import (
    ATOM_DIM,
    BOND_DIM,
    NeuralFingerprint,
    molecules,
    padded,
    pooled,
)

SMILES = ("CCO", "", "c1ccccc1", "[Na+]")


def fingerprint() -> NeuralFingerprint:
    torch.manual_seed(0)
    return NeuralFingerprint((16, 16), 8)


def test_graphs_hold_atoms_and_both_directions_of_bonds() -> None:
    graphs = molecules(SMILES)
    assert (ATOM_DIM, BOND_DIM) == (62, 6)
    assert graphs.atoms.shape == (3 + 6 + 1, 62) and graphs.bonds.shape == (2 * (2 + 6), 6)
    assert torch.bincount(graphs.owner, minlength=4).tolist() == [3, 0, 6, 1]
    pairs = set(zip(graphs.source.tolist(), graphs.target.tolist(), strict=True))
    assert pairs == {(b, a) for a, b in pairs}
    ring = graphs.bonds[4:]
    assert (ring[:, 3] == 1).all() and (ring[:, 5] == 1).all() and not graphs.bonds[:4, 3].any()


def test_a_drug_has_the_fingerprint_it_has_alone_and_in_any_atom_order() -> None:
    network, names = fingerprint(), ("OCC", *SMILES)
    graphs = molecules(names)
    together = pooled(network(graphs), graphs)
    torch.testing.assert_close(together[0], together[1])
    for drug, text in enumerate(names):
        alone = molecules((text,))
        torch.testing.assert_close(pooled(network(alone), alone)[0], together[drug])
        some = graphs.take(torch.tensor([3, drug]) if drug != 3 else torch.tensor([3]))
        torch.testing.assert_close(pooled(network(some), some)[-1], together[drug])
    assert not together[2].any(), "no structure"
    assert not torch.allclose(together[0], together[3])


def test_the_neighbourhood_matters_not_only_the_atoms() -> None:
    network = fingerprint()
    graphs = molecules(("CCCO", "CC(C)O"))
    first, second = pooled(network(graphs), graphs)
    assert not torch.allclose(first, second, atol=1e-5)


def test_padding_marks_what_is_filled() -> None:
    graphs = molecules(SMILES)
    atoms, filled = padded(torch.ones(10, 2), graphs)
    assert atoms.shape == (4, 6, 2)
    assert filled.sum(dim=1).tolist() == [3, 1, 6, 1], "one empty atom stands for no structure"
    assert atoms.sum(dim=(1, 2)).tolist() == [6, 0, 12, 2]
    empty = molecules(("", ""))
    atoms, filled = padded(fingerprint()(empty), empty)
    assert atoms.shape == (2, 1, 8) and np.all(filled.numpy())
