"""The multi-objective loss of the paper (equations 11 to 16), mean-reduced throughout (D-08)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from xpert_core.model.xpert import Output
from xpert_core.tokens.batch import Targets


@dataclass(frozen=True)
class LossWeights:
    """Weights of the terms, with the paper's symbols and the published values as defaults.

    Attributes
    ----------
    pert_mse : float
        alpha, equation 11.
    deg_mse, deg_pcc : float
        beta and gamma, equation 14.
    cell_class : float
        delta, equation 15.
    direction : float
        Of the direction head, where the network has one; not in the paper.
    """

    pert_mse: float = 0.2
    deg_mse: float = 0.2
    deg_pcc: float = 1.0
    cell_class: float = 0.003
    direction: float = 0.2


def pearson(a: Tensor, b: Tensor, measured: Tensor | None = None) -> Tensor:
    """Pearson correlation of each row of `a` and `b` (R, G); 0 where a row is constant.

    With `measured` (bool, of the same shape) over these genes alone.
    """
    if measured is None:
        a = a - a.mean(dim=-1, keepdim=True)
        b = b - b.mean(dim=-1, keepdim=True)
    else:
        count = measured.sum(dim=-1, keepdim=True).clamp(min=1)
        a = (a - (a * measured).sum(dim=-1, keepdim=True) / count) * measured
        b = (b - (b * measured).sum(dim=-1, keepdim=True) / count) * measured
    norm = a.square().sum(-1) * b.square().sum(-1)
    return (a * b).sum(-1) / torch.sqrt(norm + 1e-6)


def xpert_loss(
    output: Output,
    targets: Targets,
    unit: Tensor,
    weights: LossWeights,
    measured: Tensor | None = None,
) -> dict[str, Tensor]:
    """Every term and their weighted sum.

    Parameters
    ----------
    output : Output
    targets : Targets
    unit : Tensor, shape (R,)
        Scale of x_deg of each row's read-out: errors are measured in it, so that assays of
        different units weigh alike.
    weights : LossWeights
    measured : Tensor of bool, shape (R, G), optional
        Genes that have a target; the others, whose targets may be NaN, are in no term. None = all.

    Returns
    -------
    dict
        ``pert_mse``, ``deg_mse``, ``deg_pcc`` (1 - PCC), ``cell_class``, ``direction`` and
        ``total``. The x_pert term counts only rows with a measured post-treatment profile, the
        direction term each gene by the size of its change: the sign of no change is noise.
    """
    if measured is not None:
        targets = replace(
            targets,
            x_deg=targets.x_deg.masked_fill(~measured, 0.0),
            x_pert=targets.x_pert.masked_fill(~measured, 0.0),
        )
    error = (output.x_deg - targets.x_deg) / unit[:, None]
    terms = {
        "deg_mse": _mean(error.square(), measured),
        "deg_pcc": (1 - pearson(output.x_deg, targets.x_deg, measured)).mean(),
        "pert_mse": output.x_pert.new_zeros(()),
        "cell_class": output.x_deg.new_zeros(()),
        "direction": output.x_deg.new_zeros(()),
    }
    if targets.has_x_pert.any():
        rows = targets.has_x_pert
        found, wanted = output.x_pert[rows], targets.x_pert[rows]
        terms["pert_mse"] = (
            F.mse_loss(found, wanted)
            if measured is None
            else _mean((found - wanted).square(), measured[rows])
        )
    if output.class_logits is not None and (targets.cell_class >= 0).any():
        labels = targets.cell_class[:, None].expand(-1, 2).flatten()
        # Summed over the two branches, as published.
        logits = output.class_logits.flatten(0, 1)
        terms["cell_class"] = 2 * F.cross_entropy(logits, labels, ignore_index=-1)
    if output.direction is not None:
        size = targets.x_deg.abs()
        # Genes without a target have size 0 and count neither here nor in the mean below.
        weight = size / size.mean(dim=1, keepdim=True).clamp(min=1e-6)
        terms["direction"] = F.binary_cross_entropy_with_logits(
            output.direction, (targets.x_deg > 0).to(size.dtype), weight
        )
    terms["total"] = sum(
        (getattr(weights, name) * value for name, value in terms.items()),
        start=output.x_deg.new_zeros(()),
    )
    return terms


def _mean(values: Tensor, measured: Tensor | None) -> Tensor:
    """Mean over the measured genes of all rows."""
    if measured is None:
        return values.mean()
    return (values * measured).sum() / measured.sum().clamp(min=1)
