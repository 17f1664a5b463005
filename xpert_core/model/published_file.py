"""The published authors' ``.pth`` files as checkpoints of the ``published`` style.

What such a file does not say is written into the card, not guessed: the edges of the expression
bins, the drug features and the vectors of the knowledge graph, which the published code keeps
outside the file (audit, sections 2 and 8, D-16 and D-20).
"""

from __future__ import annotations

import pickle
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from xpert_core.conditions import DOSE_BIN_EDGES_UM, TIME_BINS_H
from xpert_core.errors import CheckpointError
from xpert_core.files import sha256_file
from xpert_core.genes import load_panel
from xpert_core.model.checkpoint import ModelMeta, save_checkpoint
from xpert_core.model.published import load_published

#: The published files hold 5.6 million parameters, three times with their optimizer: 67 MB.
MAX_BYTES = 2 << 30
UNKNOWN = "unknown"
#: What a damaged file makes torch raise.
_UNREADABLE = (OSError, RuntimeError, EOFError, ValueError, KeyError, zipfile.BadZipFile)
#: A function or class that a file asks for, in torch's message.
_PROGRAM = re.compile(r"GLOBAL (\S+)")
DOSE, TIME = "drug_emb.pert_dose_emb.weight", "drug_emb.pert_time_emb.weight"


def import_published(
    file: Path, folder: Path, *, name: str = "", n_heads: int = 8, licence: str = UNKNOWN
) -> str:
    """Write the network of a published ``.pth`` file as a checkpoint folder.

    Parameters
    ----------
    file : Path
        What the published training script saves: a dictionary with ``model_state_dict``, or the
        state dict itself. Read with ``weights_only=True``: no program in it can run.
    folder : Path
        Checkpoint folder to write.
    name : str
        Of the model; the file's name by default.
    n_heads : int
        Attention heads. The file does not say; 8 in the published runs.
    licence : str
        Terms of the weights, where they are known.

    Returns
    -------
    str
        Hash of the checkpoint.

    Raises
    ------
    CheckpointError
        The file cannot be read, holds more than weights, or is of another network.
    """
    file = Path(file)
    saved = _read(file)
    state = _state(saved, file)
    _check_conditions(state, file)
    model = load_published(state, n_heads)
    panel = load_panel()
    config = model.config
    if config.n_genes != len(panel):
        raise CheckpointError(
            f"The network has {config.n_genes} genes; the published ones have {len(panel)}.",
            where=file.name,
            fix="Give a file trained on the 978 landmark genes.",
        )
    card = {
        "scores": [],
        "licence": licence,
        "parents": [],
        "parameters": sum(p.numel() for p in model.parameters()),
        "source": {
            "file": file.name,
            "sha256": sha256_file(file),
            "epoch": _epoch(saved),
            "style": "published",
            "conditions": "10 dose ranges, 3 times" if DOSE in state else "none",
        },
        "unknown": [
            "the data set and the split it was trained on",
            "the edges of the expression bins (a fixed range of each data set, not in the file)",
            f"the drug features (the published ones are Uni-Mol, {config.feature_dim} numbers an "
            "atom, of a version that is not named)",
            "the vectors of the knowledge graph, which the published code keeps in another file",
            "the order of the genes (taken to be the published order of the 978 landmark genes)",
            f"the number of attention heads (taken to be {n_heads})",
            "the names of the cell classes",
        ],
        "limits": [
            "It cannot predict for a cohort here: bins, drug features and graph vectors are "
            "missing. From Python it takes prepared tensors (Batch).",
            "Padding of the drug tokens is not masked, as in the published code: its predictions "
            "depend on it.",
            "It came without scores. Nothing is known here of how well it predicts.",
        ],
    }
    meta = ModelMeta(
        name=name or file.stem,
        panel={"name": panel.name, "digest": panel.digest, "symbols": list(panel.symbols)},
        bins={"kind": UNKNOWN, "n_tokens": config.n_value_tokens},
        featurizer={"name": UNKNOWN, "digest": "", "dim": config.feature_dim},
        graph={},
        classes=tuple(f"class {i}" for i in range(config.n_classes)),
        readouts=("log2 change (level 3)",),
        card=card,
    )
    return save_checkpoint(folder, model, meta, _card_text(meta))


def _read(file: Path) -> Mapping[str, Any]:
    try:
        size = file.stat().st_size
        if zipfile.is_zipfile(file):
            with zipfile.ZipFile(file) as archive:
                size = max(size, sum(info.file_size for info in archive.infolist()))
        if size > MAX_BYTES:
            raise CheckpointError(
                "The file is larger than any published network.",
                where=f"{file.name}: {size:,} bytes",
                fix="Check that it is the file you mean.",
            )
        saved = torch.load(file, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise CheckpointError(
            "There is no such file.", where=str(file), fix="Check the path."
        ) from error
    except (*_UNREADABLE, pickle.UnpicklingError) as error:
        # Not torch's own words: they advise to load it without the protection.
        program = _PROGRAM.search(str(error))
        if program:
            raise CheckpointError(
                "The file holds more than weights, and nothing else of it is ever opened.",
                where=f"{file.name}: {program[1]}",
                fix="Save its state dict alone, where you trust the file.",
            ) from error
        raise CheckpointError(
            "The file cannot be read as saved weights.",
            where=file.name,
            fix="Give the .pth file that the published training script saved, unchanged.",
        ) from error
    if not isinstance(saved, Mapping):
        raise _not_published(file, f"it holds a {type(saved).__name__}")
    return saved


def _state(saved: Mapping[str, Any], file: Path) -> dict[str, Tensor]:
    state = saved.get("model_state_dict", saved)
    if not isinstance(state, Mapping) or not all(
        isinstance(k, str) and isinstance(v, Tensor) for k, v in state.items()
    ):
        raise _not_published(file, "no dictionary of tensors")
    # The prefix is that of torch's DataParallel.
    return {k.removeprefix("module."): v.float() for k, v in state.items()}


def _check_conditions(state: Mapping[str, Tensor], file: Path) -> None:
    """The condition tables of the CDS-DB networks have other rows, whose meaning is not known."""
    wanted = {DOSE: len(DOSE_BIN_EDGES_UM) + 1, TIME: len(TIME_BINS_H)}
    for name, rows in wanted.items():
        if name in state and len(state[name]) != rows:
            raise CheckpointError(
                f"The network knows {len(state[name])} dose ranges or times; what they stand for "
                "is not in the file.",
                where=f"{file.name}: {name}, {len(state[name])} rows, {rows} in the L1000 networks",
                fix="Give a network trained on L1000 or PANACEA.",
            )


def _epoch(saved: Mapping[str, Any]) -> int | None:
    epoch = saved.get("epoch")
    return epoch if isinstance(epoch, int) else None


def _not_published(file: Path, why: str) -> CheckpointError:
    return CheckpointError(
        "The file does not hold a published XPert network.",
        where=f"{file.name}: {why}",
        fix="Give the .pth file that the published training script saved, unchanged.",
    )


def _card_text(meta: ModelMeta) -> str:
    card = meta.card
    source = card["source"]
    listed = {key: "\n".join(f"- {line}" for line in card[key]) for key in ("unknown", "limits")}
    return _TEMPLATE.format(
        name=meta.name, epoch=source["epoch"] or UNKNOWN, source=source, card=card, **listed
    )


_TEMPLATE = """\
---
license: {card[licence]}
tags: [transcriptomics, L1000, drug-response]
---

# {name}

A network of the published XPert code, imported from `{source[file]}` (SHA-256 {source[sha256]},
epoch {epoch}; dose and time tokens: {source[conditions]}). It came without scores.

Research use only. Not for diagnosis or treatment decisions.

## Not known

{unknown}

## Limits

{limits}

Licence of the weights: {card[licence]}. {card[parameters]:,} parameters.
"""
