"""Convert the AIMNet2 TorchScript of Auto3D 2.3.0 to safetensors, once.

Usage::

    python training/convert_aimnet2.py Auto3D-2.3.0-py3-none-any.whl

The argument is the wheel (``pip download --no-deps Auto3D==2.3.0``) or the extracted
``aimnet2_wb97m-d3_0.jpt``. Written are the tensors the atom vectors need
(``assets/featurizers/aimnet2.safetensors``) and the original's output for a few varied drugs
(``tests/data/aimnet2_reference.safetensors``), which the native module is tested against.
"""

from __future__ import annotations

import argparse
import io
import zipfile
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor

from xpert_core.drugs.conformers import Conformer, embed
from xpert_core.drugs.featurizers.aimnet2 import ELEMENTS
from xpert_core.drugs.featurizers.aimnet2_module import AIMNet2
from xpert_core.files import sha256_bytes, write_bytes_atomic

ROOT = Path(__file__).resolve().parent.parent
MEMBER = "Auto3D/models/aimnet2_wb97m-d3_0.jpt"
SOURCE_SHA256 = "a6d366b05c5997668f24a834584b4033d0cab67d13d2f8caf143b965018d3735"

REFERENCE = {
    "bortezomib": "B(C(CC(C)C)NC(=O)C(CC1=CC=CC=C1)NC(=O)C2=NC=CN=C2)(O)O",
    "amiodarone": "CCCCC1=C(C2=CC=CC=C2O1)C(=O)C3=CC(=C(C(=C3)I)OCCN(CC)CC)I",
    "cyclophosphamide": "C1CNP(=O)(OC1)N(CCCl)CCCl",
    "ebselen": "C1=CC=C(C=C1)N2C(=O)C3=CC=CC=C3[Se]2",
    "neostigmine": "CN(C)C(=O)OC1=CC=CC(=C1)[N+](C)(C)C",
    "acetylsalicylate": "CC(=O)OC1=CC=CC=C1C(=O)[O-]",
    "dabrafenib": "CC(C)(C)C1=NC(=C(S1)C2=NC(=NC=C2)N)C3=C(C(=CC=C3)NS(=O)(=O)C4=C(C=CC=C4F)F)F",
    "bromocriptine": (
        "CC(C)CC1C(=O)N2CCCC2C3(N1C(=O)C(O3)(C(C)C)NC(=O)C4CN(C5CC6=C(NC7=CC=CC(=C67)C5=C4)Br)C)O"
    ),
}


def read_source(path: Path) -> bytes:
    """The TorchScript file's content, from the wheel or by itself; refused when it differs."""
    if path.suffix == ".whl":
        with zipfile.ZipFile(path) as wheel:
            content = wheel.read(MEMBER)
    else:
        content = path.read_bytes()
    found = sha256_bytes(content)
    if found != SOURCE_SHA256:
        raise SystemExit(f"{path}: sha256 is {found}, expected {SOURCE_SHA256}.")
    return content


def needed_tensors(original: torch.jit.ScriptModule) -> dict[str, Tensor]:
    """The tensors of the native module, float32, under the original's names."""
    if original.aev._dual_basis:
        raise SystemExit("This file has separate radial bases for vectors, which is not supported.")
    state = original.state_dict()
    return {name: state[name].float().contiguous() for name in AIMNet2().state_dict()}


def reference_outputs(original: torch.jit.ScriptModule) -> dict[str, Tensor]:
    """Inputs and the original's atom vectors of every reference drug, each run by itself."""
    tensors: dict[str, Tensor] = {}
    for name, smiles in REFERENCE.items():
        conformer: Conformer = embed(smiles, elements=ELEMENTS, timeout_s=120.0)
        data = {
            "coord": torch.from_numpy(conformer.coordinates)[None],
            "numbers": torch.from_numpy(conformer.numbers)[None],
            "charge": torch.tensor([float(conformer.charge)]),
        }
        with torch.no_grad():
            result = original(dict(data))
        for key, value in data.items():
            tensors[f"{name}.{key}"] = value[0].clone()
        tensors[f"{name}.aim"] = result["aim"][0].float().contiguous()
    return tensors


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path, help="Auto3D 2.3.0 wheel or the .jpt file")
    content = read_source(parser.parse_args().source)
    original = torch.jit.load(io.BytesIO(content), map_location="cpu").eval()
    outputs = {
        ROOT / "assets/featurizers/aimnet2.safetensors": needed_tensors(original),
        ROOT / "tests/data/aimnet2_reference.safetensors": reference_outputs(original),
    }
    for path, tensors in outputs.items():
        blob = save(tensors)
        write_bytes_atomic(path, blob)
        path.chmod(0o644)
        print(f"{path.name}: {len(tensors)} tensors, {len(blob)} bytes, {sha256_bytes(blob)}")


if __name__ == "__main__":
    main()
