"""Checkpoints of today's schema with what they predict, for the tests of later versions.

Usage: ``python -m training.release_test_checkpoint``, once for each new schema, before its release.
It writes ``tests/data/released/schema-N`` and refuses to overwrite: what was released stays.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from safetensors.torch import save_file

from xpert_core.cohorts import example_path, read_cohort, to_profiles
from xpert_core.drugs import DrugLibrary
from xpert_core.drugs.featurizers import create
from xpert_core.genes import load_panel
from xpert_core.graph.embed import GraphEmbedder
from xpert_core.graph.records import drug_key
from xpert_core.learning.trainer import train
from xpert_core.model.checkpoint import SCHEMA, ModelMeta, load_checkpoint, save_checkpoint
from xpert_core.model.config import ModelConfig
from xpert_core.model.xpert import XPert
from xpert_core.tokens.batch import Batch, DrugTokens, Treatments, collate_drugs
from xpert_core.tokens.expression import ExpressionBins

TESTS = Path(__file__).resolve().parents[1] / "tests" / "data"
DRUGS = ("trametinib", "nivolumab", "vorinostat")  # nivolumab has no structure
SIZES: dict[str, Any] = {"d_model": 16, "n_heads": 2, "d_ff": 32, "d_head": 8, "use_ppi": False}
RECIPE = {
    "name": "released-trained",
    "data": str(TESTS / "l1000_small.safetensors"),
    "model": {**SIZES, "base_layers": "SA", "pert_layers": "CA+SA"},
    "max_epochs": 4,
    "batch_rows": 32,
    "valid": 0.15,
    "test": 0.15,
    "threads": 1,
}


def trained(folder: Path) -> None:
    """A few epochs on the small test data, without a graph token."""
    with tempfile.TemporaryDirectory() as room:
        recipe = Path(room) / "run.yaml"
        recipe.write_text(yaml.safe_dump(RECIPE), encoding="utf-8")
        train(recipe, Path(room) / "run").folder.rename(folder)


def initialised(folder: Path, graph_digest: str, featurizer_digest: str) -> None:
    """The switches that the trained one does not use, initialised by a fixed seed."""
    torch.manual_seed(0)
    panel = load_panel()
    config = ModelConfig(
        **{**SIZES, "use_ppi": True, "ppi_dim": 4},
        base_layers="SA+SA",
        pert_layers="CA+SA+SA+CA",
        positional="type",
        n_classes=3,
        raw_values=True,
        direction_head=True,
    )
    meta = ModelMeta(
        name="released-initialised",
        panel={"name": panel.name, "digest": panel.digest, "symbols": list(panel.symbols)},
        bins={"kind": "quantile", "n_tokens": config.n_value_tokens},
        featurizer={"name": "aimnet2", "digest": featurizer_digest, "dim": config.feature_dim},
        graph={"digest": graph_digest, "dim": config.graph_dim},
        classes=("A", "B", "C"),
        readouts=("log2 change (level 3)", "z-score (level 5)"),
        card={"scores": [], "limits": ["Untrained, for tests."]},
    )
    save_checkpoint(folder, XPert(config), meta, f"# {meta.name}\n\nUntrained, for tests.\n")


def inputs() -> tuple[dict[str, torch.Tensor], str, str]:
    """Two patients of the example under three drugs; digests of graph and featurizer."""
    profiles = to_profiles(read_cohort(example_path()), load_panel())
    tokens = ExpressionBins.fit(profiles.x_ctl, "quantile", 128).transform(profiles.x_ctl[:2])
    library, reader, graph = DrugLibrary.load(), create("aimnet2"), GraphEmbedder.load()
    drugs = [library.resolve(name) for name in DRUGS]
    features = [reader.featurize(drug) if drug.smiles else None for drug in drugs]
    vectors = [graph.drug(drug_key(drug.connectivity, drug.name)) for drug in drugs]
    made = collate_drugs(
        [None if f is None else f.molecule for f in features],
        [np.zeros((0, reader.dim)) if f is None else f.atoms for f in features],
        [None if v is None else v / np.linalg.norm(v) for v in vectors],
        feature_dim=reader.dim,
        graph_dim=128,
        max_atoms=120,
    )
    found = {f"drugs.{name}": value.contiguous() for name, value in vars(made).items()}
    found |= {
        "profiles": torch.from_numpy(tokens).to(torch.int16),
        "drug": torch.tensor([0, 1, 2, 0]),
        "dose_um": torch.tensor([0.1, 1.0, 10.0, 3.3]),
        "time_h": torch.tensor([6.0, 24.0, 24.0, 48.0]),
        "readout": torch.tensor([0, 0, 1, 1]),
        "profile_index": torch.tensor([0, 1, 0, 1, 0]),
        "treatment_index": torch.tensor([0, 1, 2, 3, 3]),
    }
    return found, graph.digest, reader.digest


def batch_of(case: dict[str, torch.Tensor]) -> Batch:
    """The inputs as the network takes them."""
    fields = DrugTokens.__dataclass_fields__
    return Batch(
        case["profiles"].long(),
        DrugTokens(**{name: case[f"drugs.{name}"] for name in fields}),
        Treatments(case["drug"], case["dose_um"], case["time_h"], case["readout"]),
        case["profile_index"],
        case["treatment_index"],
    )


def main() -> None:
    """Write the checkpoints, their inputs and what they predict."""
    target = TESTS / "released" / f"schema-{SCHEMA}"
    target.mkdir(parents=True)
    case, graph_digest, featurizer_digest = inputs()
    trained(target / "trained")
    initialised(target / "initialised", graph_digest, featurizer_digest)
    for name in ("trained", "initialised"):
        with torch.no_grad():
            out = load_checkpoint(target / name).model(batch_of(case))
        case |= {f"{name}.x_deg": out.x_deg, f"{name}.x_pert": out.x_pert}
    save_file(case, target / "case.safetensors")


if __name__ == "__main__":
    main()
