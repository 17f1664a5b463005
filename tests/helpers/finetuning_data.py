"""A small base model on 60 landmark genes, untrained, and quick settings."""

from __future__ import annotations

from pathlib import Path

import torch
from pair_data import small_panel

from xpert_core.drugs.featurizers import create
from xpert_core.finetuning.config import FinetuneConfig
from xpert_core.genes.records import GenePanel
from xpert_core.model.checkpoint import Checkpoint, ModelMeta, load_checkpoint, save_checkpoint
from xpert_core.model.config import ModelConfig
from xpert_core.model.xpert import XPert
from xpert_core.tokens.dataset import READOUTS

CLASSES = ("A375", "HT29", "MCF7")
#: Quick, on one thread, and to the same numbers each time.
QUICK = FinetuneConfig(max_epochs=3, patience=3, gene_share=1.0, threads=1, accelerator="cpu")


def make_base(folder: Path, *, panel: GenePanel | None = None, **changes: object) -> Checkpoint:
    """An untrained checkpoint without a graph, whose features are Morgan bits."""
    featurizer, panel = create("morgan"), panel or small_panel()
    sizes = {
        "n_genes": len(panel), "d_model": 16, "n_heads": 2, "d_ff": 32, "d_head": 8,
        "base_layers": "SA", "pert_layers": "CA", "feature_dim": featurizer.dim, "graph_dim": 0,
        "use_graph": False, "n_classes": len(CLASSES), "use_ppi": False,
    }  # fmt: skip
    torch.manual_seed(0)
    model = XPert(ModelConfig.from_dict({**sizes, **changes}))
    meta = ModelMeta(
        name="small",
        panel={"name": panel.name, "digest": panel.digest, "symbols": list(panel.symbols)},
        bins={"kind": "quantile", "n_tokens": model.config.n_value_tokens},
        featurizer={"name": "morgan", "digest": featurizer.digest, "dim": featurizer.dim},
        graph={},
        classes=CLASSES,
        readouts=READOUTS[: model.config.n_readouts],
        card={},
    )
    save_checkpoint(folder, model, meta, "# small\n")
    return load_checkpoint(folder)
