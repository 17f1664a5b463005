"""The job that explains a stored cohort and keeps tables, figures and words as files."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xpert_core.errors import DataError
from xpert_core.jobs.context import JobContext

if TYPE_CHECKING:
    from xpert_core.cohorts import Profiles
    from xpert_core.prediction import Predictor

#: Folder of the files, within that of the job.
RESULT = "result"


def explain(context: JobContext, params: dict[str, Any]) -> dict[str, Any]:
    """Explain by attention; the files stand in the job's folder and go with the job.

    Parameters
    ----------
    context : JobContext
    params : dict
        ``what``: ``"resistance"``, ``"atoms"`` or ``"genes"``; ``cohort_id``; optional ``model``
        (id or name of a registered model) and ``samples``. Resistance: ``column``, and ``a`` and
        ``b`` (lists of values) or ``threshold``; optional ``kind``, ``layer``, ``q``, ``lfc``.
        Atoms: ``drug``, ``dose``, ``time``; optional ``genes``.

    Returns
    -------
    dict
        ``what`` and ``files``, their names in the folder ``result`` of the job.

    Raises
    ------
    DataError
        There is no such explanation.
    """
    from xpert_core.prediction import Predictor

    what = str(params.get("what"))
    if what not in _WORK:
        raise DataError(f"There is no explanation '{what}'.", fix=f"Use one of {', '.join(_WORK)}.")
    context.progress(0, 0, "Loading the model")
    store = context.store
    profiles = store.load_cohort(params["cohort_id"])
    predictor = Predictor.load(context.model_folder(params.get("model")))
    context.check()
    folder = context.folder / RESULT
    shutil.rmtree(folder, ignore_errors=True)  # of an attempt that was killed while it wrote
    written = _WORK[what](context, predictor, profiles, params, folder)
    return {"what": what, "files": sorted(path.name for path in written)}


def _resistance(
    context: JobContext, predictor: Predictor, profiles: Profiles, params: dict[str, Any],
    folder: Path,
) -> list[Path]:  # fmt: skip
    from xpert_core.explanation.differential import Thresholds
    from xpert_core.explanation.groups import groups_by_threshold, groups_by_value
    from xpert_core.explanation.resistance import Options, collect, explain_resistance
    from xpert_core.explanation.resistance_files import save_resistance

    thresholds = Thresholds(float(params.get("q", 0.05)), float(params.get("lfc", 0.0)))
    options = Options(params.get("kind", "received"), params.get("layer"), thresholds)
    options.check(predictor)
    samples, column = profiles.samples, params["column"]
    groups = (
        groups_by_value(samples, column, params["a"], params["b"])
        if params.get("a")
        else groups_by_threshold(samples, column, params.get("threshold"))
    )
    context.log(groups.sentence)
    hooks: dict[str, Any] = {"progress": context.progress, "cancelled": context.cancelled}
    material = collect(predictor, profiles, groups, **hooks)
    return save_resistance(explain_resistance(material, groups, options, **hooks), folder)


def _atoms(
    context: JobContext, predictor: Predictor, profiles: Profiles, params: dict[str, Any],
    folder: Path,
) -> list[Path]:  # fmt: skip
    from xpert_core.explanation.atom_report import explain_atoms
    from xpert_core.explanation.files import save_atoms

    found = explain_atoms(
        predictor, profiles, params["drug"], params["dose"], params["time"],
        samples=params.get("samples"), genes=params.get("genes", ()),
        progress=context.progress, cancelled=context.cancelled,
    )  # fmt: skip
    return save_atoms(found, folder)


def _genes(
    context: JobContext, predictor: Predictor, profiles: Profiles, params: dict[str, Any],
    folder: Path,
) -> list[Path]:  # fmt: skip
    from xpert_core.explanation.files import save_genes
    from xpert_core.explanation.genes import gene_attention

    found = gene_attention(
        predictor, profiles, samples=params.get("samples"),
        progress=context.progress, cancelled=context.cancelled,
    )  # fmt: skip
    return save_genes(found, folder)


_Work = Callable[..., list[Path]]
_WORK: dict[str, _Work] = {"resistance": _resistance, "atoms": _atoms, "genes": _genes}
