"""Biological vectors for training, and the graph embeddings that ship, from one encoder.

Usage::

    python -m training.prepare_biology held-out CONFIG.yaml OUT.txt
    python -m training.prepare_biology vectors CONFIG.yaml ENCODER_FOLDER OUT.safetensors [--ship]

``held-out`` lists the validation and test drugs of a training configuration: hand it to
``training.pretrain_graph --mask-drugs``, so that the encoder never sees their target edges.
``vectors`` embeds the training drugs twice with that encoder: `strict`, with those edges removed,
and `informed`, with all that is known. ``--ship`` also writes the encoder and the informed
embeddings of the whole graph to assets/graph: users get every known target.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import numpy as np
import torch
from torch_geometric.data import HeteroData

from training.pretrain_graph import embed_all
from xpert_core.drugs import Drug
from xpert_core.files import atomic_path, sha256_file
from xpert_core.graph.build import load_shipped_graph
from xpert_core.graph.embed import EMBEDDINGS, ENCODER, GraphEmbedder, save_embeddings
from xpert_core.graph.encoder import load_encoder
from xpert_core.graph.split import pairs_of, rows_of, without_targets
from xpert_core.learning.config import TrainConfig
from xpert_core.learning.splits import held_out_keys, split_by_drug
from xpert_core.paths import assets_dir
from xpert_core.tokens.biology import MODES, Biology
from xpert_core.tokens.dataset import TrainingData


def load(config_path: Path) -> tuple[TrainingData, tuple[str, ...]]:
    """Training data of a configuration and the keys of its held-out drugs."""
    config = TrainConfig.load(config_path)
    data = TrainingData.load(config_path.parent / config.data)
    split = split_by_drug(data, valid=config.valid, test=config.test, seed=config.split_seed)
    return data, held_out_keys(data, split)


def write_embeddings(
    graph: HeteroData, source: Path, target: Path, masked: tuple[str, ...]
) -> None:
    """Encoder and embeddings of the whole graph, with the targets of `masked` withheld."""
    target.mkdir(parents=True, exist_ok=True)
    with atomic_path(target / ENCODER) as temporary:
        shutil.copyfile(source / ENCODER, temporary)
    encoder, meta = load_encoder(target / ENCODER)
    inside = [key for key in masked if key in set(graph["drug"].key)]
    pairs = without_targets(pairs_of(graph), rows_of(graph, inside))
    facts = {
        "seed": meta["seed"],
        "featurizer": meta["featurizer"],
        "masked": inside,
        "withheld_in_training": meta["masked"],
        "encoder": sha256_file(target / ENCODER),
    }
    save_embeddings(target / EMBEDDINGS, graph, embed_all(encoder, graph, pairs), facts)
    for name in (ENCODER, EMBEDDINGS):
        (target / name).chmod(0o644)


def vectors(data: TrainingData, embedder: GraphEmbedder, unstudied: tuple[str, ...]) -> np.ndarray:
    """Unit vectors of the training drugs, shape (D, width); zeros where nothing places one."""
    found = np.zeros((len(data.drug_keys), embedder.dim), dtype=np.float32)
    for i, key in enumerate(data.drug_keys):
        targets = () if key in unstudied else data.targets_of(i)
        # Drugs outside the library have no SMILES here: their molecule token and targets place
        # them. A structure in the graph is looked up by its key.
        drug = Drug(data.drug_names[i], "", "" if ":" in key else key, targets=targets)
        molecule = data.molecule[i] if data.has_molecule[i] else None
        vector = embedder.drug(key)
        if vector is None:
            vector = embedder.embed(drug, molecule).vector
        if vector is not None:
            found[i] = vector / np.linalg.norm(vector)
    return found


def biology_of(
    data: TrainingData,
    folder: Path,
    held_out: tuple[str, ...],
    namesakes: tuple[str, ...] = (),
) -> Biology:
    """Vectors of the training drugs by the encoder in `folder`, told nothing or all of `held_out`.

    Parameters
    ----------
    data : TrainingData
    folder : Path
        With the encoder; the embeddings of the whole graph go to ``strict/`` and ``informed/``.
    held_out : tuple of str
        Keys of the drugs whose target edges are removed in `strict`.
    namesakes : tuple of str
        Further drugs of the graph without their target edges in `strict`.

    Raises
    ------
    DataError
        When the encoder saw target edges of a held-out drug.
    """
    _, meta = load_encoder(folder / ENCODER)
    graph = load_shipped_graph()
    tables = {}
    for mode, masked in (("strict", (*held_out, *namesakes)), ("informed", ())):
        write_embeddings(graph, folder, folder / mode, masked)
        tables[mode] = vectors(data, GraphEmbedder.load(folder / mode), masked)
    # What is not in the graph has no target edge to see.
    absent = set(held_out) - set(graph["drug"].key)
    withheld = tuple(sorted({*meta["masked"], *absent}))
    digest = sha256_file(folder / ENCODER)
    biology = Biology(data.drug_keys, **tables, held_out=withheld, digest=digest)
    biology.check(data.drug_keys, held_out)
    return biology


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    listing = commands.add_parser("held-out")
    listing.add_argument("config", type=Path)
    listing.add_argument("out", type=Path)
    making = commands.add_parser("vectors")
    making.add_argument("config", type=Path)
    making.add_argument("encoder", type=Path)
    making.add_argument("out", type=Path)
    making.add_argument("--ship", action="store_true")
    chosen = parser.parse_args()
    data, held_out = load(chosen.config)
    if chosen.command == "held-out":
        chosen.out.write_text("\n".join(held_out) + "\n", encoding="utf-8")
        print(f"{len(held_out)} held-out drugs")
        return
    torch.set_num_threads(1)
    biology = biology_of(data, chosen.encoder, held_out)
    biology.save(chosen.out)
    for mode in MODES:
        table = getattr(biology, mode)
        print(f"{mode}: {int(table.any(axis=1).sum())} of {len(table)} drugs have a vector")
    if chosen.ship:
        write_embeddings(load_shipped_graph(), chosen.encoder, assets_dir() / "graph", ())


if __name__ == "__main__":
    main()
