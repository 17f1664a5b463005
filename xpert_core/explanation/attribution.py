"""What the prediction depends on, atom by atom: gradient x input and leave-one-atom-out.

Both ask about the atom's own token. The vectors of its neighbours and of the whole molecule know
of the atom too, so both say less than taking the atom out of the molecule would.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from xpert_core.explanation.atoms import PROFILE_CHUNK, gene_positions
from xpert_core.explanation.progress import Steps
from xpert_core.model.xpert import XPert
from xpert_core.prediction.inputs import Inputs
from xpert_core.prediction.predictor import Predictor
from xpert_core.tokens.batch import Batch, DrugTokens, Treatments

#: Rows decoded at a time.
ROW_CHUNK = 32


def gradient_x_input(
    predictor: Predictor, inputs: Inputs, genes: Sequence[str], steps: Steps
) -> np.ndarray:
    """Sum over the atom's features of feature x gradient of ``||x_deg||^2`` over the genes.

    The first-order change of the size of the predicted response when the atom's token fades
    (Shrikumar et al., arXiv 1605.01713).

    Parameters
    ----------
    predictor : Predictor
    inputs : Inputs
        Of one treatment.
    genes : sequence of str
        None named = all of the panel.
    steps : Steps
        A step is a sample.

    Returns
    -------
    ndarray of float64, shape (S, n_atoms)
        Signed; squared units of x_deg.
    """
    model, batch = predictor.model, inputs.batch
    chosen = torch.from_numpy(gene_positions(genes, predictor.panel.symbols))
    parts = []
    for first in range(0, len(batch.profiles), PROFILE_CHUNK):
        steps.begin(f"Gradients of sample {first + 1} of {len(batch.profiles)}")
        tokens = batch.profiles[first : first + PROFILE_CHUNK]
        parts.append(_gradients(model, batch, tokens, chosen))
        steps.end(len(tokens))
    return np.concatenate(parts).astype(np.float64)


@torch.inference_mode(False)
@torch.enable_grad()
def _gradients(model: XPert, batch: Batch, tokens: Tensor, genes: Tensor) -> np.ndarray:
    """Gradient x input of some profiles, each with a copy of the drug of its own."""
    count = len(tokens)
    drugs = _repeated(batch.drugs, count)
    atoms = drugs.atoms.clone().requires_grad_()
    with torch.no_grad():
        cells = model.encode_profiles(tokens)
    encoded = model.encode_drugs(replace(drugs, atoms=atoms))
    treatments = _treatments(batch, count)
    treated = model.encode_treatments(*encoded, treatments)
    x_deg = model.decode(cells, treated, treatments.readout).x_deg
    (gradient,) = torch.autograd.grad(x_deg[:, genes].square().sum(), atoms)
    product: np.ndarray = (gradient * atoms).sum(dim=-1).detach().numpy()
    return product[:, : _n_atoms(batch.drugs)]


def leave_one_out(
    predictor: Predictor, inputs: Inputs, genes: Sequence[str], steps: Steps
) -> np.ndarray:
    """Change of x_deg when the token of one atom is masked, root mean square over the genes.

    Parameters
    ----------
    predictor, inputs, genes
        As of `gradient_x_input`.
    steps : Steps
        A step is a sample with one atom left out.

    Returns
    -------
    ndarray of float64, shape (S, n_atoms)
        Zero or more; units of x_deg. NaN where the network does not mask padding: no token can
        be left out there, for a masked token is still attended to.
    """
    model, batch = predictor.model, inputs.batch
    chosen = torch.from_numpy(gene_positions(genes, predictor.panel.symbols))
    n_atoms = _n_atoms(batch.drugs)
    if not model.config.mask_padding:
        steps.end(len(batch.profiles) * (n_atoms + 1))
        return np.full((len(batch.profiles), n_atoms), np.nan)
    drugs = _repeated(batch.drugs, n_atoms + 1)
    mask = drugs.atom_mask.clone()
    mask[torch.arange(n_atoms), torch.arange(n_atoms)] = False  # the last keeps all its atoms
    treatments = _treatments(batch, n_atoms + 1)
    parts = []
    with torch.inference_mode():
        encoded = model.encode_drugs(replace(drugs, atom_mask=mask))
        treated = model.encode_treatments(*encoded, treatments)
        for i in range(len(batch.profiles)):
            cells = model.encode_profiles(batch.profiles[i : i + 1])
            rows = []
            for first in range(0, n_atoms + 1, ROW_CHUNK):
                steps.begin(f"Leaving out atoms, sample {i + 1} of {len(batch.profiles)}")
                index = torch.arange(first, min(first + ROW_CHUNK, n_atoms + 1))
                once = torch.zeros_like(index)
                out = model.decode(cells.take(once), treated.take(index), treatments.readout[index])
                rows.append(out.x_deg[:, chosen])
                steps.end(len(index))
            x_deg = torch.cat(rows)
            parts.append((x_deg[:-1] - x_deg[-1]).square().mean(dim=1).sqrt().numpy())
    return np.stack(parts).astype(np.float64)


def _repeated(drugs: DrugTokens, count: int) -> DrugTokens:
    return drugs.take(torch.zeros(count, dtype=torch.int64), cut=False)


def _n_atoms(drugs: DrugTokens) -> int:
    """Atoms of the one drug, without padding."""
    return int(drugs.atom_mask.sum())


def _treatments(batch: Batch, count: int) -> Treatments:
    """The batch's one treatment, for `count` copies of its drug."""
    once = torch.zeros(count, dtype=torch.int64)
    fields = {name: value[once] for name, value in vars(batch.treatments).items()}
    return replace(Treatments(**fields), drug=torch.arange(count))
