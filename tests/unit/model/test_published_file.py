"""The published authors' files: read as weights alone, and honest about what they do not say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from published_data import CASES, batch_of, load_case

from xpert_core.errors import CheckpointError
from xpert_core.model.bundle import export_bundle, opened_bundle
from xpert_core.model.checkpoint import load_checkpoint
from xpert_core.model.published_file import DOSE, import_published


def saved(tmp_path: Path, state: Any, name: str = "warm_fold_early_stop.pth", **more: Any) -> Path:
    """A file as the published training script saves it."""
    optimizer = torch.optim.Adam([torch.nn.Parameter(torch.zeros(2))]).state_dict()
    path = tmp_path / name
    document = {"epoch": 41, "model_state_dict": state, "optimizer_state_dict": optimizer}
    torch.save({**document, **more}, path)
    return path


@pytest.mark.parametrize("name", ["sdst_h32", "mdmt_h32"])
def test_an_imported_file_gives_the_published_outputs(tmp_path: Path, name: str) -> None:
    state, case, heads = load_case(name)
    digest = import_published(saved(tmp_path, state), tmp_path / "model", n_heads=heads)
    loaded = load_checkpoint(tmp_path / "model")
    assert loaded.digest == digest
    with torch.no_grad():
        out = loaded.model(batch_of(case))
    torch.testing.assert_close(out.x_deg, case["out_x_deg"], atol=1e-4, rtol=0)
    torch.testing.assert_close(out.x_pert, case["out_x_pert"], atol=1e-4, rtol=0)
    export_bundle(tmp_path / "model", tmp_path / "published.xpert")
    with opened_bundle(tmp_path / "published.xpert") as (_, manifest):
        assert manifest.digest == digest


def test_the_card_says_what_is_not_known(tmp_path: Path) -> None:
    state, _, heads = load_case("mdmt_h32")
    import_published(saved(tmp_path, state), tmp_path / "model", n_heads=heads)
    meta = load_checkpoint(tmp_path / "model").meta
    assert meta.name == "warm_fold_early_stop"
    assert meta.card["licence"] == "unknown"
    assert (meta.card["source"]["epoch"], meta.featurizer["dim"]) == (41, 512)
    said = (tmp_path / "model" / "README.md").read_text()
    for words in ("edges of the expression bins", "Uni-Mol, 512", "cannot predict", "unknown"):
        assert words in said
    import_published(
        saved(tmp_path, state), tmp_path / "named", name="x", n_heads=heads, licence="MIT"
    )
    assert load_checkpoint(tmp_path / "named").meta.card["licence"] == "MIT"


def test_a_bare_state_dict_and_one_of_data_parallel_are_read(tmp_path: Path) -> None:
    state, _, heads = load_case("sdst_h32")
    torch.save({f"module.{k}": v for k, v in state.items()}, tmp_path / "bare.pth")
    import_published(tmp_path / "bare.pth", tmp_path / "model", n_heads=heads)
    assert load_checkpoint(tmp_path / "model").model.config.style == "published"


class Bomb:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.mark,))


def test_a_file_with_a_program_is_refused_unrun(tmp_path: Path) -> None:
    state, _, _ = load_case("sdst_h32")
    path = saved(tmp_path, state, extra=Bomb(tmp_path / "ran"))
    with pytest.raises(CheckpointError, match="more than weights") as caught:
        import_published(path, tmp_path / "model")
    assert "touch" in caught.value.where or "getattr" in caught.value.where
    assert "weights_only" not in str(caught.value)
    assert not (tmp_path / "ran").exists()
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize("content", [b"", b"not weights", (CASES / "README.md").read_bytes()])
def test_other_files_are_explained(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.pth"
    path.write_bytes(content)
    with pytest.raises(CheckpointError) as caught:
        import_published(path, tmp_path / "model")
    assert "x.pth" in caught.value.where and "weights_only" not in str(caught.value)
    with pytest.raises(CheckpointError, match="no such file"):
        import_published(tmp_path / "absent.pth", tmp_path / "model")


def test_other_networks_are_refused(tmp_path: Path) -> None:
    state, _, heads = load_case("mdmt_h32")
    with pytest.raises(CheckpointError, match="published XPert"):
        import_published(saved(tmp_path, {"weight": torch.zeros(2)}), tmp_path / "model")
    with pytest.raises(CheckpointError, match="published XPert"):
        import_published(saved(tmp_path, [1, 2]), tmp_path / "model")
    cdsdb = {**state, DOSE: torch.zeros(11, 32)}
    with pytest.raises(CheckpointError, match="dose ranges"):
        import_published(saved(tmp_path, cdsdb), tmp_path / "model", n_heads=heads)
    with pytest.raises(CheckpointError, match="divided"):
        import_published(saved(tmp_path, state), tmp_path / "model", n_heads=5)
    assert not (tmp_path / "model").exists()
