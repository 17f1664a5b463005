"""Bundles: one file out and in again, and every file that must not come in."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from model_data import tiny_checkpoint
from safetensors.torch import load_file, save_file

from xpert_core.errors import CheckpointError
from xpert_core.files import sha256_bytes
from xpert_core.model import checkpoint
from xpert_core.model.bundle import export_bundle, opened_bundle, verify_checkpoint
from xpert_core.model.checkpoint import load_checkpoint


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tiny_checkpoint(tmp_path / "tiny")
    return tmp_path / "tiny"


@pytest.fixture
def bundle(folder: Path, tmp_path: Path) -> Path:
    export_bundle(folder, tmp_path / "tiny.xpert", kind="trained", parents=("p" * 64,))
    return tmp_path / "tiny.xpert"


def refuse(source: Path, match: str) -> CheckpointError:
    with pytest.raises(CheckpointError, match=match) as caught, opened_bundle(source):
        pass
    assert caught.value.fix
    return caught.value


def rebuilt(bundle: Path, change: Callable[[dict[str, bytes]], Any], **options: Any) -> Path:
    """The bundle with other members, each with the hash that then belongs to it."""
    with zipfile.ZipFile(bundle) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    manifest = json.loads(members["manifest.json"])
    for name in manifest["files"]:
        if name in members:
            manifest["files"][name]["sha256"] = sha256_bytes(members[name])
    if "config.json" in members and members["config.json"].startswith(b'{"'):
        manifest["digest"] = json.loads(members["config.json"])["sha256"]
    members["manifest.json"] = json.dumps(manifest).encode()
    target = bundle.with_name("other.xpert")
    with zipfile.ZipFile(target, "w", **options) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return target


def signed(bundle: Path, folder: Path, **changes: Any) -> Path:
    """The bundle with another configuration, with all hashes right."""

    def change(members: dict[str, bytes]) -> None:
        document = {**json.loads(members["config.json"]), **changes}
        document.pop("sha256")
        digest = checkpoint._digest(folder / "model.safetensors", document)
        members["config.json"] = json.dumps({**document, "sha256": digest}).encode()
        members["model.safetensors"] = (folder / "model.safetensors").read_bytes()

    return rebuilt(bundle, change)


def test_a_model_comes_back_the_same(folder: Path, bundle: Path) -> None:
    with opened_bundle(bundle) as (unpacked, manifest):
        found = load_checkpoint(unpacked)
        assert (unpacked / "README.md").read_bytes() == (folder / "README.md").read_bytes()
    assert not unpacked.exists()
    expected = load_checkpoint(folder)
    assert (manifest.name, manifest.kind, manifest.parents) == ("tiny", "trained", ("p" * 64,))
    assert manifest.digest == found.digest == expected.digest
    for name, tensor in expected.model.state_dict().items():
        assert torch.equal(tensor, found.model.state_dict()[name])


def test_one_model_gives_one_file(folder: Path, bundle: Path) -> None:
    again = bundle.with_name("again.xpert")
    export_bundle(folder, again, kind="trained", parents=("p" * 64,))
    assert again.read_bytes() == bundle.read_bytes()


def test_it_is_read_from_a_stream_too(bundle: Path) -> None:
    with opened_bundle(io.BytesIO(bundle.read_bytes()), filename="x.xpert") as (_, manifest):
        assert manifest.name == "tiny"


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
def test_a_file_that_is_cut_off_is_refused(bundle: Path, share: float) -> None:
    content = bundle.read_bytes()
    bundle.write_bytes(content[: int(len(content) * share)])
    refuse(bundle, "no XPert model file|cut off")


def test_an_edited_file_is_refused(bundle: Path) -> None:
    content = bytearray(bundle.read_bytes())
    content[len(content) // 2] ^= 1
    bundle.write_bytes(content)
    refuse(bundle, "damaged")


def test_an_edited_card_is_refused(bundle: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(bundle) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members["README.md"] += b"PCC 0.99"
    with zipfile.ZipFile(tmp_path / "edited.xpert", "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    refuse(tmp_path / "edited.xpert", "edited")


def test_a_newer_schema_and_a_newer_format_are_refused(bundle: Path, folder: Path) -> None:
    refuse(signed(bundle, folder, schema=99), "newer XPert")

    def newer(members: dict[str, bytes]) -> None:
        manifest = {**json.loads(members["manifest.json"]), "version": 2}
        members["manifest.json"] = json.dumps(manifest).encode()

    refuse(rebuilt(bundle, newer), "newer XPert")


@pytest.mark.parametrize("name", ["other", "../../secret", "l1000"])
def test_another_gene_panel_is_refused(bundle: Path, folder: Path, name: str) -> None:
    symbols = [f"G{i}" for i in range(978)]
    panel = {"name": name, "digest": "0" * 64, "symbols": symbols}
    assert "secret" not in str(refuse(signed(bundle, folder, panel=panel), "gene panel"))


def test_the_panels_digest_with_other_genes_is_refused(bundle: Path, folder: Path) -> None:
    panel = json.loads((folder / "config.json").read_text())["panel"]
    panel["symbols"] = panel["symbols"][::-1]
    refuse(signed(bundle, folder, panel=panel), "gene panel")


def test_weights_that_are_not_numbers_are_refused(bundle: Path, folder: Path) -> None:
    path = folder / "model.safetensors"
    state = load_file(path)
    state["cell_embedding.cls"][0, 0, 0] = float("nan")
    save_file(state, path)
    refuse(signed(bundle, folder), "not numbers")


def test_weights_of_other_shapes_are_refused(bundle: Path, folder: Path) -> None:
    path = folder / "model.safetensors"
    state = load_file(path)
    state["cell_embedding.cls"] = torch.zeros(1, 1, 9)
    save_file(state, path)
    assert "cell_embedding.cls" in refuse(signed(bundle, folder), "do not fit").where
    path.write_bytes(pickle.dumps({"w": 1}))
    refuse(signed(bundle, folder), "weights cannot be read")


@pytest.mark.parametrize(
    "change",
    [
        {"d_model": 1 << 24, "n_heads": 2},  # would need terabytes
        {"base_layers": "+".join(["SA"] * 500)},
        {"n_heads": "2"},
        {"unheard_of": 1},
    ],
)
def test_sizes_are_compared_before_anything_is_allocated(
    bundle: Path, folder: Path, change: dict[str, Any]
) -> None:
    model = {**json.loads((folder / "config.json").read_text())["model"], **change}
    refuse(signed(bundle, folder, model=model), "do not fit|no network|Unknown model settings")


def test_unknown_repeated_and_missing_members_are_refused(bundle: Path) -> None:
    refuse(rebuilt(bundle, lambda m: m.update({"notes.txt": b"x"})), "unknown, repeated or missing")
    refuse(rebuilt(bundle, lambda m: m.pop("README.md")), "unknown, repeated or missing")
    with zipfile.ZipFile(bundle, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("README.md", b"another")
    refuse(bundle, "unknown, repeated or missing")


@pytest.mark.parametrize("name", ["../evil.json", "/evil.json", "a/../../evil", "..\\evil"])
def test_no_member_is_written_outside(bundle: Path, name: str, tmp_path: Path) -> None:
    before = set(tmp_path.rglob("*"))
    refuse(rebuilt(bundle, lambda m: m.update({name: b"{}"})), "unknown, repeated or missing")
    assert set(tmp_path.rglob("*")) - before == {tmp_path / "other.xpert"}


def test_a_zip_bomb_is_refused_unread(bundle: Path) -> None:
    bomb = rebuilt(
        bundle,
        lambda m: m.update({"model.safetensors": bytes(64 << 20)}),
        compression=zipfile.ZIP_DEFLATED,
    )
    assert bomb.stat().st_size < 1 << 20
    refuse(bomb, "compressed")


def test_a_card_of_megabytes_is_refused(bundle: Path) -> None:
    refuse(rebuilt(bundle, lambda m: m.update({"README.md": bytes(2 << 20)})), "too large")


def test_a_manifest_that_names_another_model_is_refused(bundle: Path) -> None:
    with zipfile.ZipFile(bundle) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    manifest = {**json.loads(members["manifest.json"]), "digest": "f" * 64}
    members["manifest.json"] = json.dumps(manifest).encode()
    with zipfile.ZipFile(bundle, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    refuse(bundle, "manifest names")


@pytest.mark.parametrize("manifest", [b"{", b"[]", b'{"format": "xpert-model"}', b"[" * 100000])
def test_a_broken_manifest_is_explained(bundle: Path, manifest: bytes) -> None:
    with zipfile.ZipFile(bundle) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members["manifest.json"] = manifest
    with zipfile.ZipFile(bundle, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    refuse(bundle, "manifest")


class Bomb:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.mark,))


@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_pickles_are_never_opened(tmp_path: Path, protocol: int) -> None:
    file = tmp_path / ("model.pkl" if protocol == 0 else "model.xpert")
    file.write_bytes(pickle.dumps(Bomb(tmp_path / "ran"), protocol=protocol))
    assert "import-published" in refuse(file, "pickle").fix
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("new_format", [True, False])
def test_torch_files_are_never_opened(tmp_path: Path, new_format: bool) -> None:
    file = tmp_path / "renamed.xpert"
    saved = {"w": torch.zeros(2), "x": Bomb(tmp_path / "ran")}
    torch.save(saved, file, _use_new_zipfile_serialization=new_format)
    refuse(file, "pickle")
    assert not (tmp_path / "ran").exists()


def test_a_model_without_a_card_is_refused(folder: Path) -> None:
    (folder / "README.md").unlink()
    with pytest.raises(CheckpointError, match="no card"):
        verify_checkpoint(folder)


def test_the_shipped_model_goes_through(tmp_path: Path) -> None:
    from xpert_core.prediction.models import model_folder

    manifest = export_bundle(model_folder(), tmp_path / "shipped.xpert")
    with opened_bundle(tmp_path / "shipped.xpert") as (_, found):
        assert found == manifest
