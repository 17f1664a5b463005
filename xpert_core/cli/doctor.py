"""``xpert doctor``: says whether this installation can do its work, one line a part."""

from __future__ import annotations

import platform
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata

import typer

from xpert_core.errors import CheckpointError, XPertError

OK, WARN, FAIL = "ok", "warn", "fail"
LIBRARIES = (
    "torch", "torch-geometric", "numpy", "pandas", "scipy", "scikit-learn", "anndata", "rdkit",
    "sqlalchemy",
)  # fmt: skip
OPTIONAL = {"streamlit": "the dashboard", "lightning": "training", "unimol-tools": "Uni-Mol"}
LOW_DISK_BYTES, NO_DISK_BYTES = 2 * 1024**3, 200 * 1024**2
ETHANOL_INCHIKEY = "LFQSCWFLJHTTHZ-UHFFFAOYSA-N"


@dataclass(frozen=True)
class Finding:
    """Outcome of one check: ``ok``, ``warn`` or ``fail``, and what was seen."""

    status: str
    text: str


def doctor() -> None:
    """Check this installation.

    The database is created if there is none. Exit status 1 when a part fails.
    """
    failed = False
    for name, check in CHECKS.items():
        finding = _run(check)
        failed = failed or finding.status == FAIL
        first, *rest = finding.text.splitlines()
        print(f"{finding.status:4}  {name:17} {first}", flush=True)
        for line in rest:
            print(f"{'':24}{line}")
    if failed:
        raise typer.Exit(1)


def _run(check: Callable[[], Finding]) -> Finding:
    # A doctor that stops at the first broken part would hide the others.
    try:
        return check()
    except XPertError as error:
        return Finding(FAIL, str(error))
    except Exception as error:
        return Finding(FAIL, f"{type(error).__name__}: {error}")


def check_versions() -> Finding:
    """Python and the libraries every command needs."""
    found, missing = [f"python {platform.python_version()}"], []
    for library in LIBRARIES:
        try:
            found.append(f"{library} {metadata.version(library)}")
        except metadata.PackageNotFoundError:
            missing.append(library)
    if missing:
        return Finding(FAIL, f"not installed: {', '.join(missing)}")
    return Finding(OK, ", ".join(found))


def check_optional() -> Finding:
    """Libraries of the optional extras."""
    found = []
    for library, purpose in OPTIONAL.items():
        try:
            found.append(f"{library} {metadata.version(library)}")
        except metadata.PackageNotFoundError:
            found.append(f"{library} not installed ({purpose} needs it)")
    return Finding(OK, ", ".join(found))


def check_torch() -> Finding:
    """Device and threads of PyTorch."""
    import torch

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU, runs on CPU"
    return Finding(OK, f"{device}; {torch.get_num_threads()} threads")


def check_attention() -> Finding:
    """Attention backends: each is run once and they must agree."""
    import torch

    from xpert_core.model.attention import attention, available_backends

    device = "cuda" if torch.cuda.is_available() else "cpu"
    half = torch.float16 if device == "cuda" else torch.float32
    generator = torch.Generator().manual_seed(0)
    q, k, v = torch.randn(3, 1, 2, 8, 16, generator=generator).to(device, half)
    reference = attention(q, k, v, backend="math")
    backends = available_backends(device)
    for backend in backends:
        gap = (attention(q, k, v, backend=backend) - reference).abs().max().item()
        if gap > 1e-2:
            return Finding(FAIL, f"{backend} differs from math by {gap:.2g}")
    flash = "in use" if "flash_attn" in backends else "not used (optional; needs a CUDA GPU)"
    return Finding(OK, f"{', '.join(backends)} agree; flash-attn {flash}")


def check_genes() -> Finding:
    """The gene panel."""
    from xpert_core.genes import load_panel

    panel = load_panel()
    return Finding(OK, f"{panel.name}, {len(panel)} genes")


def check_model() -> Finding:
    """The shipped model: found, whole and loadable."""
    from xpert_core.prediction import Predictor

    predictor = Predictor.load()
    return Finding(OK, f"{predictor.name}, hash {predictor.digest[:12]} as recorded")


def check_graph() -> Finding:
    """The knowledge graph's embeddings: whole, and made by the encoder beside them."""
    from xpert_core.graph.embed import GraphEmbedder

    found = GraphEmbedder.load().embeddings
    return Finding(OK, f"embeddings of {len(found.keys)} drugs and {len(found.symbols)} genes")


def check_featurizers() -> Finding:
    """The default featurizer's weights, checked against their recorded hash."""
    from xpert_core.drugs import featurizers

    default = featurizers.create("aimnet2")
    return Finding(
        OK, f"{default.name} weights as recorded; known: {', '.join(featurizers.names())}"
    )


def check_library() -> Finding:
    """The drug library, by one look-up."""
    from xpert_core.drugs import DrugLibrary

    library = DrugLibrary.load()
    drug = library.resolve("trametinib")
    return Finding(OK, f"{len(library):,} drugs; trametinib is {drug.inchikey}")


def check_structures() -> Finding:
    """The child process that reads chemical structures."""
    from xpert_core.drugs import standardise

    inchikey = standardise("CCO").inchikey
    if inchikey != ETHANOL_INCHIKEY:
        return Finding(FAIL, f"ethanol was read as {inchikey}")
    return Finding(OK, "the helper process answers")


def check_database() -> Finding:
    """The results database: created or brought up to date, and written to."""
    from xpert_core.prediction import Predictor
    from xpert_core.store import Store

    store = Store()
    try:
        with tempfile.TemporaryFile(dir=store.arrays_folder):
            pass
        try:
            predictor = Predictor.load()
        except CheckpointError:
            return Finding(WARN, f"{store.location} opens; not written to, as no model was found")
        store.register_model(predictor.name, predictor.digest, predictor.card)
        return Finding(OK, f"{store.location} can be written")
    finally:
        store.close()


def check_disk() -> Finding:
    """Free space where results are kept."""
    from xpert_core.paths import data_dir

    folder = data_dir().resolve()
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    status = FAIL if free < NO_DISK_BYTES else WARN if free < LOW_DISK_BYTES else OK
    return Finding(status, f"{free / 1024**3:.1f} GiB free in {folder}")


CHECKS: dict[str, Callable[[], Finding]] = {
    "versions": check_versions,
    "optional parts": check_optional,
    "torch": check_torch,
    "attention": check_attention,
    "gene panel": check_genes,
    "model": check_model,
    "knowledge graph": check_graph,
    "featurizers": check_featurizers,
    "drug library": check_library,
    "structure reader": check_structures,
    "database": check_database,
    "disk space": check_disk,
}
