"""Feature cache: whole files only, never another drug's, and no failure without it."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from rdkit import Chem

from xpert_core.drugs import cache as cache_module
from xpert_core.drugs import featurizers
from xpert_core.drugs.cache import FeatureCache
from xpert_core.drugs.records import Drug, DrugFeatures
from xpert_core.errors import DrugError


def drug(smiles: str, name: str = "test drug") -> Drug:
    return Drug(name, smiles, Chem.MolToInchiKey(Chem.MolFromSmiles(smiles)))


class Counting:
    """The real featurizer, counting how often it works."""

    def __init__(self) -> None:
        self._inner = featurizers.create("aimnet2")
        self.name, self.dim, self.digest = self._inner.name, self._inner.dim, self._inner.digest
        self.calls = 0

    def featurize(self, drug: Drug) -> DrugFeatures:
        self.calls += 1
        return self._inner.featurize(drug)


@pytest.fixture
def counting() -> Counting:
    return Counting()


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def same(one: DrugFeatures, two: DrugFeatures) -> bool:
    arrays = ("molecule", "atoms", "coordinates")
    return (
        all(np.array_equal(getattr(one, a), getattr(two, a)) for a in arrays)
        and one.elements == two.elements
        and (one.featurizer, one.digest) == (two.featurizer, two.digest)
    )


def test_second_time_comes_from_disk(tmp_path, counting):
    first = FeatureCache(counting, tmp_path).get(drug("CCO"))
    second = FeatureCache(counting, tmp_path).get(drug("CCO"))
    assert counting.calls == 1 and same(first, second)
    assert second.atoms.dtype == np.float32 and len(files(tmp_path)) == 1


def test_no_structure_is_written_in_clear(tmp_path, counting):
    secret = drug("CCOCC(F)(F)CNC1CC1")
    folder = tmp_path / "features"
    FeatureCache(counting, folder).get(secret)
    assert folder.stat().st_mode & 0o077 == 0
    (file,) = files(folder)
    content = file.read_bytes()
    assert secret.smiles.encode() not in content and secret.connectivity.encode() not in content
    assert secret.connectivity not in str(file)


def test_another_rdkit_makes_its_own_shapes(tmp_path, counting, monkeypatch):
    FeatureCache(counting, tmp_path).get(drug("CCO"))
    monkeypatch.setattr(cache_module, "version", lambda package: "2099.03.1")
    FeatureCache(counting, tmp_path).get(drug("CCO"))
    assert counting.calls == 2 and len(files(tmp_path)) == 2


def test_default_folder_is_the_cache_folder(tmp_path, monkeypatch, counting):
    monkeypatch.setenv("XPERT_CACHE_DIR", str(tmp_path))
    FeatureCache(counting).get(drug("CCO"))
    assert len(files(tmp_path / "features")) == 1


def test_stereo_and_atom_order_are_told_apart(tmp_path, counting):
    cache = FeatureCache(counting, tmp_path)
    left, right = cache.get(drug("N[C@@H](C)C(=O)O")), cache.get(drug("N[C@H](C)C(=O)O"))
    turned = cache.get(drug("OC(=O)[C@@H](N)C"))
    assert counting.calls == 3 and left.elements[0] == "N" and turned.elements[0] == "O"
    assert not np.array_equal(left.coordinates, right.coordinates)


def test_another_digest_is_another_file(tmp_path, counting):
    FeatureCache(counting, tmp_path).get(drug("CCO"))
    counting.digest = "0" * 64
    FeatureCache(counting, tmp_path).get(drug("CCO"))
    assert counting.calls == 2 and len(files(tmp_path)) == 2


@pytest.mark.parametrize("damage", ["truncate", "garbage", "empty", "nan", "swapped"])
def test_damaged_file_is_made_again(tmp_path, counting, damage, caplog):
    cache = FeatureCache(counting, tmp_path)
    good = cache.get(drug("CCO"))
    path = cache.path(drug("CCO"))
    content = path.read_bytes()
    if damage == "swapped":
        cache.get(drug("CCN"))
        counting.calls -= 1
        path.write_bytes(cache.path(drug("CCN")).read_bytes())
    else:
        path.write_bytes(
            {
                "truncate": content[: len(content) // 2],
                "garbage": b"\xff" * len(content),
                "empty": b"",
                "nan": content[:-4] + np.array([np.nan], dtype=np.float32).tobytes(),
            }[damage]
        )
    with caplog.at_level(logging.WARNING):
        again = FeatureCache(counting, tmp_path).get(drug("CCO"))
    assert counting.calls == 2 and same(good, again) and "damaged" in caplog.text
    assert FeatureCache(counting, tmp_path).get(drug("CCO")) and counting.calls == 2


def test_unusable_folder_is_said_once_and_does_not_stop_the_work(tmp_path, counting, caplog):
    blocked = tmp_path / "a file"
    blocked.write_text("not a folder")
    cache = FeatureCache(counting, blocked)
    with caplog.at_level(logging.WARNING):
        assert cache.get(drug("CCO")).atoms.shape == (3, 256)
        assert cache.get(drug("CCN")).atoms.shape == (3, 256)
    assert len([r for r in caplog.records if "cannot be kept" in r.message]) == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_full_disk_leaves_no_half_file(tmp_path, counting, monkeypatch, caplog):
    original = Path.write_bytes

    def write_to_full_disk(path: Path, content: bytes) -> int:
        original(path, content[:100])
        return original(Path("/dev/full"), content)

    monkeypatch.setattr(Path, "write_bytes", write_to_full_disk)
    with caplog.at_level(logging.WARNING):
        features = FeatureCache(counting, tmp_path).get(drug("CCO"))
    assert features.atoms.shape == (3, 256) and "No space left" in caplog.text
    assert files(tmp_path) == []


def test_results_without_atoms_are_never_kept(tmp_path, counting):
    cache = FeatureCache(counting, tmp_path)
    for one in (drug("C[Pt]"), Drug("nivolumab", "", "")):
        assert cache.get(one).fallback and cache.get(one).fallback
    assert counting.calls == 4 and files(tmp_path) == []


def test_fallback_with_atoms_is_kept_with_its_sentence(tmp_path, counting):
    impossible = drug("CN1[C@@H]2CC[C@@H]1CC(OC(=O)[C@H](CO)c1ccccc1)C2", "hyoscyamine")
    first = FeatureCache(counting, tmp_path).get(impossible)
    second = FeatureCache(counting, tmp_path).get(impossible)
    assert counting.calls == 1 and same(first, second)
    assert "stereochemistry" in second.fallback and second.fallback == first.fallback


def test_many_drugs_keep_their_order_and_errors(tmp_path, counting):
    seen: list[tuple[int, int]] = []
    drugs = [drug("CCO"), Drug("bad", "C1CC", ""), drug("CCN"), Drug("nivolumab", "", "")]
    cache = FeatureCache(counting, tmp_path)
    results = cache.get_all(drugs, workers=2, progress=lambda *n: seen.append(n))
    assert isinstance(results[1], DrugError) and len(seen) == 4 and seen[-1] == (4, 4)
    assert results[0].elements == ("C", "C", "O") and results[2].elements == ("C", "C", "N")
    assert "no structure" in results[3].fallback and len(files(tmp_path)) == 2
