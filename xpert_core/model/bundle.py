"""A checkpoint as one file, to hand on: four named members, stored as they are, each with its hash.

Nothing in it is unpickled or unpacked by name. Members are not compressed, so none can grow beyond
the size of the file.
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, NoReturn

import torch
from safetensors import SafetensorError, safe_open

from xpert_core import __version__
from xpert_core.errors import CheckpointError, GeneError
from xpert_core.files import atomic_path, sha256_file
from xpert_core.genes import load_panel
from xpert_core.model.checkpoint import (
    CARD,
    CONFIG,
    WEIGHTS,
    Checkpoint,
    load_checkpoint,
    read_config,
)
from xpert_core.model.config import ModelConfig
from xpert_core.model.xpert import XPert
from xpert_core.paths import assets_dir

SUFFIX = ".xpert"
FORMAT, VERSION = "xpert-model", 1
MANIFEST = "manifest.json"
#: Members and the most bytes each may have.
MEMBERS = {MANIFEST: 1 << 20, CONFIG: 8 << 20, CARD: 1 << 20, WEIGHTS: 4 << 30}
#: More layers than any network of this kind has; a configuration is read before its weights.
MAX_LAYERS = 64
PICKLES = (".pth", ".pt", ".pkl", ".pickle", ".ckpt")

_NO_PICKLE = (
    "Export it with `xpert model export` where it was trained, or use "
    "`xpert model import-published` for the published authors' files."
)
_COPY_AGAIN = "Ask for the file again, or export it again where the model is."
#: Of every member, so that one model gives one file, byte by byte.
_MOMENT = (1980, 1, 1, 0, 0, 0)


def bundle_name(model: str) -> str:
    """File name for a model, of letters that every file system takes."""
    return (re.sub(r"[^A-Za-z0-9._-]+", "-", model).strip("-.")[:60] or "model") + SUFFIX


@dataclass(frozen=True)
class Manifest:
    """What a bundle says about itself.

    Attributes
    ----------
    name : str
    digest : str
        Hash of the checkpoint, as `load_checkpoint` gives it.
    kind : str
        How the model came about, such as ``"trained"`` or ``"fine-tuned"``.
    parents : tuple of str
        Hashes of the checkpoints it was made from.
    """

    name: str
    digest: str
    kind: str = ""
    parents: tuple[str, ...] = ()


def export_bundle(
    folder: Path, target: Path, *, kind: str = "", parents: Sequence[str] = ()
) -> Manifest:
    """Write the checkpoint in `folder` to one file; it appears complete or not at all.

    Raises
    ------
    CheckpointError
        The checkpoint is damaged, does not fit this installation, or has no card.
    """
    folder = Path(folder)
    checkpoint = verify_checkpoint(folder)
    manifest = Manifest(checkpoint.meta.name, checkpoint.digest, kind, tuple(parents))
    names = [name for name in MEMBERS if name != MANIFEST]
    listed = {
        name: {"sha256": sha256_file(folder / name), "bytes": (folder / name).stat().st_size}
        for name in names
    }
    document = {
        "format": FORMAT,
        "version": VERSION,
        "written_by": __version__,
        **asdict(manifest),
        "files": listed,
    }
    with atomic_path(Path(target)) as part, zipfile.ZipFile(part, "w") as archive:
        archive.writestr(_entry(MANIFEST), json.dumps(document, indent=1))
        for name in names:
            with (
                (folder / name).open("rb") as source,
                archive.open(_entry(name), "w", force_zip64=True) as member,
            ):
                shutil.copyfileobj(source, member, 1 << 20)
    return manifest


def _entry(name: str) -> zipfile.ZipInfo:
    return zipfile.ZipInfo(name, _MOMENT)


@contextmanager
def opened_bundle(
    source: Path | IO[bytes], *, filename: str = "", room: Path | None = None
) -> Iterator[tuple[Path, Manifest]]:
    """Verify a bundle and yield a temporary folder that holds its checkpoint.

    Parameters
    ----------
    source : Path or binary file
    filename : str
        Name to show, where `source` is no path.
    room : Path, optional
        Folder to unpack in; the system's own by default.

    Yields
    ------
    (Path, Manifest)
        The folder is gone after the block.

    Raises
    ------
    CheckpointError
        It is no bundle, is cut off or edited, is of a newer version, holds a pickle, or its model
        does not fit: says which.
    """
    name = filename or (source.name if isinstance(source, Path) else "the file")
    with tempfile.TemporaryDirectory(prefix=".import-", dir=room) as unpacked:
        folder = Path(unpacked) / "imported model"  # named in messages
        folder.mkdir()
        try:
            manifest = _unpack(source, folder, name)
        except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as error:
            raise CheckpointError(
                "The model file is cut off or damaged.", where=f"{name}: {error}", fix=_COPY_AGAIN
            ) from error
        if verify_checkpoint(folder).digest != manifest.digest:
            _refuse("The model is not the one its manifest names.", name)
        yield folder, manifest


def _unpack(source: Path | IO[bytes], folder: Path, name: str) -> Manifest:
    if isinstance(source, Path) and not source.is_file():
        _refuse("There is no such file.", str(source), "Check the path.")
    refuse_pickle(source, name)
    if not zipfile.is_zipfile(source):
        _refuse(
            "This is no XPert model file.",
            name,
            f"Give a file that `xpert model export` wrote (*{SUFFIX}).",
        )
    with zipfile.ZipFile(source) as archive:
        infos = {info.filename: info for info in archive.infolist()}
        _check_members(archive.infolist(), name)
        document = _manifest(archive.read(infos[MANIFEST]), name)
        for member, promised in document["files"].items():
            _extract(archive, infos[member], folder / member, promised, name)
    return Manifest(
        name=str(document["name"]),
        digest=str(document["digest"]),
        kind=str(document["kind"]),
        parents=tuple(str(parent) for parent in document["parents"]),
    )


def refuse_pickle(source: Path | IO[bytes], name: str) -> None:
    """Refuse what is a pickle by its content, or by its name where the content says nothing.

    Raises
    ------
    CheckpointError
        It is one. It was not opened as such.
    """
    stream = source.open("rb") if isinstance(source, Path) else source
    try:
        stream.seek(0)
        start = stream.read(2)
        stream.seek(0)
    finally:
        if isinstance(source, Path):
            stream.close()
    pickled = len(start) == 2 and start[0] == 0x80 and start[1] <= 5
    if not pickled and start == b"PK" and zipfile.is_zipfile(source):
        with zipfile.ZipFile(source) as archive:
            pickled = any(Path(n).suffix in PICKLES for n in archive.namelist())
    if pickled or Path(name).suffix.lower() in PICKLES:
        raise CheckpointError(
            "This file is a Python pickle, which could run any program: it was not opened.",
            where=name,
            fix=_NO_PICKLE,
        )


def _check_members(infos: list[zipfile.ZipInfo], name: str) -> None:
    found = [info.filename for info in infos]
    if sorted(found) != sorted(MEMBERS):
        strange = sorted(set(found) - set(MEMBERS)) or sorted(set(MEMBERS) - set(found)) or found
        shown = ", ".join(repr(member)[:80] for member in strange[:3])
        _refuse("The model file has unknown, repeated or missing parts.", f"{name}: {shown}")
    for info in infos:
        if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
            _refuse(
                "The model file is compressed, which XPert never writes.",
                f"{name}: {info.filename}",
            )
        if info.file_size > MEMBERS[info.filename]:
            size = f"{info.file_size:,} of at most {MEMBERS[info.filename]:,} bytes"
            _refuse("A part of the model file is too large.", f"{name}: {info.filename}, {size}")


def _manifest(content: bytes, name: str) -> dict[str, Any]:
    try:
        document = json.loads(content)
        if document["format"] != FORMAT or not isinstance(document["version"], int):
            raise ValueError("another format")
        if document["version"] > VERSION:
            _refuse("The model file was written by a newer XPert.", name, "Update XPert.")
        wanted = set(MEMBERS) - {MANIFEST}
        complete = {"name", "digest", "kind", "parents", "files"} <= set(document)
        if not complete or set(document["files"]) != wanted:
            raise ValueError("incomplete")
        if not isinstance(document["parents"], list):
            raise ValueError("parents")
        for promised in document["files"].values():
            str(promised["sha256"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(
            "The manifest of the model file cannot be read.", where=name, fix=_COPY_AGAIN
        ) from error
    return dict(document)


def _extract(
    archive: zipfile.ZipFile, info: zipfile.ZipInfo, target: Path, promised: Any, name: str
) -> None:
    with archive.open(info) as member, target.open("wb") as out:
        shutil.copyfileobj(member, out, 1 << 20)
    if sha256_file(target) != promised["sha256"]:
        _refuse(
            "The model file was edited or damaged: a part has not the recorded hash.",
            f"{name}: {info.filename}",
        )


def verify_checkpoint(folder: Path) -> Checkpoint:
    """Load a checkpoint from somewhere else, after looking whether it may be loaded at all.

    Shapes are compared before anything of the configured size is allocated; the gene panel must be
    one of this installation, gene by gene.

    Raises
    ------
    CheckpointError
        As `load_checkpoint`; also when it has no card, or speaks an unknown gene panel.
    """
    folder = Path(folder)
    document = read_config(folder)
    if not (folder / CARD).is_file():
        raise CheckpointError(
            "The model has no card.", where=f"{folder.name}/{CARD}", fix=_COPY_AGAIN
        )
    _check_panel(document, folder.name)
    if (folder / WEIGHTS).is_file():
        _check_shapes(document, folder)
    return load_checkpoint(folder)


def shipped_panels() -> dict[str, str]:
    """Name of each installed gene panel by its digest."""
    found = {}
    for path in sorted((assets_dir() / "genes").glob("*.csv")):
        panel = load_panel(path.stem)
        found[panel.digest] = panel.name
    return found


def _check_panel(document: dict[str, Any], where: str) -> None:
    try:
        told = document["panel"]
        # Looked up among the installed ones: the name could be a path to anything.
        name = shipped_panels().get(told["digest"], "")
        same = told["name"] == name and tuple(told["symbols"]) == load_panel(name).symbols
    except (KeyError, TypeError, GeneError):
        same = False
    if not same:
        raise CheckpointError(
            "The model was made for a gene panel that is not installed here.",
            where=where,
            fix=f"Use a model for one of these panels: {', '.join(shipped_panels().values())}.",
        )


def _check_shapes(document: dict[str, Any], folder: Path) -> None:
    try:
        config = ModelConfig.from_dict(document["model"])
        layers = config.base_layers.count("A") + config.pert_layers.count("A")
        if layers > MAX_LAYERS:
            raise ValueError(f"{layers} layers")
        with torch.device("meta"):
            wanted = {k: tuple(v.shape) for k, v in XPert(config).state_dict().items()}
        with safe_open(folder / WEIGHTS, "pt") as stream:
            found = {k: tuple(stream.get_slice(k).get_shape()) for k in stream.keys()}  # noqa: SIM118
    except (TypeError, ValueError, KeyError, AttributeError, RuntimeError) as error:
        raise CheckpointError(
            "The model's configuration holds values that make no network.",
            where=f"{folder.name}/{CONFIG}: {str(error)[:200]}",
            fix=_COPY_AGAIN,
        ) from error
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            "The model's weights cannot be read.",
            where=f"{folder.name}/{WEIGHTS}: {str(error)[:200]}",
            fix=_COPY_AGAIN,
        ) from error
    wrong = sorted(k for k in wanted.keys() | found.keys() if wanted.get(k) != found.get(k))
    if wrong:
        raise CheckpointError(
            "The model's weights do not fit its configuration.",
            where=f"{folder.name}: {wrong[0]} has shape {found.get(wrong[0])}, "
            f"not {wanted.get(wrong[0])}",
            fix=_COPY_AGAIN,
        )


def _refuse(what: str, where: str, fix: str = _COPY_AGAIN) -> NoReturn:
    raise CheckpointError(what, where=where, fix=fix)
