"""The published network's cases: weights, inputs and outputs."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file

from xpert_core.conditions import TIME_BINS_H
from xpert_core.model.published import published_drug_features
from xpert_core.tokens.batch import Batch, DrugTokens, Treatments

CASES = Path(__file__).parents[1] / "data" / "published"
#: A dose inside each of the paper's ten bins, micromolar.
DOSE_IN_BIN = (0.1, 0.3, 0.5, 0.9, 1.2, 2.0, 3.3, 5.0, 10.0, 20.0)


def load_case(name: str) -> tuple[dict, dict, int]:
    folder = CASES / name
    with safe_open(folder / "weights.safetensors", "pt") as stream:
        heads = int(stream.metadata()["n_heads"])
    return load_file(folder / "weights.safetensors"), load_file(folder / "case.safetensors"), heads


def batch_of(case: dict) -> Batch:
    rows = torch.arange(3)
    treatments = Treatments(
        rows,
        torch.tensor([DOSE_IN_BIN[i] for i in case["dose_idx"]]),
        torch.tensor([TIME_BINS_H[i] for i in case["time_idx"]]),
        torch.zeros(3, dtype=torch.int64),
    )
    drugs = DrugTokens(*published_drug_features(case["drug_features"], case["hg_embedding"]))
    return Batch(case["expression_bins"].long(), drugs, treatments, rows, rows)
