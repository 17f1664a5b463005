"""What a training step, an epoch's score and augmentation are; torch and numpy alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from xpert_core.evaluation.metrics import pearson_measured
from xpert_core.learning.config import TrainConfig
from xpert_core.model.losses import xpert_loss
from xpert_core.model.xpert import XPert
from xpert_core.tokens.batch import Batch, Targets
from xpert_core.tokens.dataset import LOG2_READOUT, TensorView, TrainingData


def augment(
    batch: Batch, config: TrainConfig, missing_token: int, generator: torch.Generator
) -> Batch:
    """Hide some genes, structures and places in the graph, so that their tokens are trained.

    Parameters
    ----------
    batch : Batch
    config : TrainConfig
    missing_token : int
        Token of a gene that was not measured.
    generator : torch.Generator
        On the CPU, so that every device draws the same.
    """
    tokens, device = batch.profiles, batch.profiles.device
    if config.value_noise:
        noise = torch.randn(tokens.shape, generator=generator) * config.value_noise
        tokens = (tokens + noise.round().long().to(device)).clamp(0, missing_token - 1)
    chosen = torch.rand(len(tokens), 1, generator=generator) < config.gene_dropout
    share = torch.rand(len(tokens), 1, generator=generator) * 0.5
    hidden = (chosen & (torch.rand(tokens.shape, generator=generator) < share)).to(device)
    drugs = batch.drugs
    kept = (torch.rand(len(drugs), generator=generator) >= config.structure_dropout).to(device)
    placed = (torch.rand(len(drugs), generator=generator) >= config.graph_dropout).to(device)
    drugs = replace(
        drugs,
        has_molecule=drugs.has_molecule & kept,
        atom_mask=drugs.atom_mask & kept[:, None],
        has_graph=drugs.has_graph & placed,
    )
    return replace(batch, profiles=tokens.masked_fill(hidden, missing_token), drugs=drugs)


def draw_genes(n_genes: int, config: TrainConfig, generator: torch.Generator) -> Tensor | None:
    """Genes of one training step in random order, shape (g,); None = all of them.

    A step on a part of the genes costs a part of the time (attention: the square of it), and
    teaches the network to do with incomplete panels.
    """
    if config.gene_share >= 1:
        return None
    count = max(2, round(config.gene_share * n_genes))
    return torch.randperm(n_genes, generator=generator)[:count]


def training_terms(
    model: XPert,
    batch: Batch,
    targets: Targets,
    config: TrainConfig,
    genes: Tensor | None = None,
) -> dict[str, Tensor]:
    """Loss terms of a batch, over `genes` (from `draw_genes`) where they are given.

    A target of NaN is a gene that was not measured, and is in no term.

    Raises
    ------
    FloatingPointError
        If the loss is not a number.
    """
    if genes is not None:
        genes = genes.to(batch.profiles.device)
        targets = targets.of_genes(genes)
    output = model(batch, genes=genes)
    readout = batch.treatments.readout[batch.treatment_index]
    known = ~torch.isnan(targets.x_deg)
    measured = None if bool(known.all()) else known
    unit = model.get_buffer("x_deg_scale")[readout]
    terms = xpert_loss(output, targets, unit, config.loss, measured)
    if not torch.isfinite(terms["total"]):
        raise FloatingPointError("the loss is not a number")
    return terms


@torch.no_grad()
def predict_rows(
    model: XPert, view: TensorView, rows: np.ndarray, *, batch_rows: int = 128
) -> tuple[np.ndarray, np.ndarray]:
    """x_deg and x_pert of rows, in the order given; rows are sorted by profile for speed."""
    was_training, device = model.training, next(model.parameters()).device
    model.eval()
    x_deg = np.zeros((len(rows), view.data.x_deg.shape[1]), dtype=np.float32)
    x_pert = np.zeros_like(x_deg)
    order = np.argsort(view.data.profile_index[rows], kind="stable")
    for start in range(0, len(order), batch_rows):
        chosen = order[start : start + batch_rows]
        output = model(view.batch(rows[chosen])[0].to(device))
        x_deg[chosen] = output.x_deg.cpu().numpy()
        x_pert[chosen] = output.x_pert.cpu().numpy()
    model.train(was_training)
    return x_deg, x_pert


def validation_scores(data: TrainingData, rows: np.ndarray, x_deg: np.ndarray) -> dict[str, float]:
    """Mean x_deg PCC per read-out and their mean, the number that training is stopped on."""
    pcc = pearson_measured(data.x_deg[rows], x_deg)
    log2 = data.readout[rows] == LOG2_READOUT
    scores = {
        name: float(pcc[chosen].mean())
        for name, chosen in (("pcc_level3", log2), ("pcc_level5", ~log2))
        if chosen.any()
    }
    scores["score"] = float(np.mean(list(scores.values())))
    return scores


def fit_units(model: XPert, data: TrainingData, rows: np.ndarray) -> None:
    """Measure the units of the targets on training rows and write them into the model."""
    scale = model.get_buffer("x_deg_scale")
    for readout in range(len(scale)):
        chosen = rows[data.readout[rows] == readout]
        if len(chosen):
            scale[readout] = float(np.sqrt(np.mean(np.square(data.x_deg[chosen]))))
    measured = rows[data.has_x_pert[rows]]
    if len(measured):
        controls = data.profiles[np.unique(data.profile_index[measured])]
        model.get_buffer("x_pert_mean").copy_(torch.from_numpy(controls.mean(axis=0)))


def fit_token_means(model: XPert, view: TensorView, rows: np.ndarray) -> None:
    """Mean value token of each gene over the training profiles, for networks that centre on it."""
    if model.config.raw_values:
        tokens = view.tokens[np.unique(view.data.profile_index[rows])].double()
        measured = tokens < view.missing_token
        mean = (tokens * measured).sum(dim=0) / measured.sum(dim=0).clamp(min=1)
        model.cell_embedding.get_buffer("token_mean").copy_(mean)
