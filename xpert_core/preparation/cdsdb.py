"""CDS-DB style cohorts: patients before and after one chemical drug, several data sets at once."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from xpert_core.drugs.search import plain
from xpert_core.errors import DataError
from xpert_core.paths import assets_dir
from xpert_core.preparation.layout import write_prepared
from xpert_core.preparation.matrices import align
from xpert_core.preparation.pairing import pair_patients, stages_of
from xpert_core.preparation.panel import PanelReader
from xpert_core.preparation.records import Counts, Prepared, Report, digests, rows_of, silent
from xpert_core.preparation.sheets import is_vehicle, need_file, read_sheet, refuse_repeats
from xpert_core.preparation.staging import staged
from xpert_core.preparation.text_matrix import open_matrix

_NEEDED = {
    "sample": ("sample_id", "geo_accession", "sample accession"),
    "patient": ("patient id", "subject"),
    "timepoint": ("time point", "prepost", "pre/post", "sampling time"),
    "drug": ("drug name", "treatment", "therapy"),
}
_OPTIONAL: dict[str, tuple[str, ...]] = {
    "dose": ("pert_dose", "dosage"),
    "time": ("pert_time", "duration", "treatment time"),
    "cancer": ("cancer subtype", "cancer type", "disease"),
    "platform": (),
    "response": ("response group",),
    "dataset": ("source dataset", "series", "accession"),
    "therapy_type": ("therapy", "treatment type"),
    "drug_type": ("drug class", "drug category"),
    "smiles": ("canonical_smiles",),
}
_COMBINED = re.compile(r"\+|/|;|&|,\s| and | with | plus |combination", re.IGNORECASE)
_NO_CHEMICAL = re.compile(
    r"(mab|cept|leukin|ermin)\b|\b(vaccin|radi(o|ation)|surg|interferon|interleukin|antibod|"
    r"placebo|insulin|cell therapy|car-?t\b)",
    re.IGNORECASE,
)
_CHEMICAL_TYPE = re.compile(r"chem|small", re.IGNORECASE)


def is_combination(drug: str, therapy: str = "") -> bool:
    """Whether a drug's name, or the kind of therapy, names more than one drug."""
    return bool(_COMBINED.search(drug)) or "combin" in therapy.lower()


def is_chemical(drug: str, kind: str = "", others: frozenset[str] = frozenset()) -> bool:
    """Whether a drug is a small molecule.

    Parameters
    ----------
    drug : str
    kind : str
        The sheet's own column, which decides where it is filled: "chemical", "small molecule".
    others : frozenset of str
        Names (letters and digits, lower case) of what is no chemical.
    """
    if kind:
        return bool(_CHEMICAL_TYPE.search(kind))
    return plain(drug) not in others and not _NO_CHEMICAL.search(drug)


def agents_without_structure(extra: Path | None = None) -> frozenset[str]:
    """Names of antibodies and the like: those shipped, and those of a file, one a line."""
    table = pd.read_csv(assets_dir() / "drugs" / "agents_without_structure.csv", dtype=str)
    names = [*table["name"], *(s for t in table["synonyms"].fillna("") for s in t.split("|"))]
    if extra is not None:
        names += need_file(extra, "list of drugs").read_text(encoding="utf-8").splitlines()
    return frozenset(filter(None, map(plain, names)))


def prepare_cdsdb(
    matrices: Sequence[Path],
    sheet: Path,
    out: Path,
    *,
    non_chemical: Path | None = None,
    report: Report = silent,
) -> tuple[int, Counts]:
    """Pairs of patients under one chemical drug.

    Parameters
    ----------
    matrices : sequence of Path
        One matrix a platform or data set: scale and probes are read for each by itself.
    sheet : Path
        ``sample``, ``patient``, ``timepoint``, ``drug``; ``dose``, ``time``, ``cancer``,
        ``platform``, ``response``, ``dataset``, ``therapy_type``, ``drug_type``, ``smiles`` where
        known. Where ``dataset`` is blank, a matrix is a data set of its own, named by its file.
    out : Path
    non_chemical : Path, optional
        More names, one a line, of drugs that are no chemicals.
    report : callable, optional

    Returns
    -------
    (int, Counts)
        Rows written, and what was kept and left out.

    Raises
    ------
    DataError, CohortError
        When a file cannot be used, a patient's samples before and after treatment are in different
        matrices, or nothing is left.
    """
    counts = Counts()
    table = read_sheet(sheet, "sample sheet", _NEEDED, _OPTIONAL)
    refuse_repeats(table["sample"], "sample ids", f"{sheet.name}, column sample")
    others = agents_without_structure(non_chemical)
    for path in matrices:
        need_file(path, "expression matrix")
    inputs = digests([*matrices, sheet, non_chemical], report)
    with staged(out) as stage:
        readers = [
            PanelReader(partial(open_matrix, path, report), stage.entry(path.name, digest))
            for path, digest in zip(matrices, inputs.values(), strict=False)
        ]
        values, found, scales = _read_all(readers, _names(matrices), table, counts, sheet.name)
        rows = stages_of(found, counts)
        rows = _single_chemicals(rows, others, counts)
        counts.refuse_empty(len(rows), sheet.name)
        _refuse_across(rows, sheet.name)
        obs, x, x_ctl = pair_patients(rows, values, counts, sheet.name)
        data = Prepared(
            obs, rows_of(x), rows_of(x_ctl), "pairs", "log2; by matrix: " + "; ".join(scales),
            "cdsdb", inputs, {"non_chemical": non_chemical.name if non_chemical else ""}, counts,
        )  # fmt: skip
        return write_prepared(out, data, stage=stage, report=report), counts


def _read_all(
    readers: Sequence[PanelReader],
    names: Sequence[str],
    table: pd.DataFrame,
    counts: Counts,
    where: str,
) -> tuple[np.ndarray, pd.DataFrame, list[str]]:
    """Values of the samples of every matrix, their rows of the sheet, the scale of each matrix."""
    samples = [reader.samples for reader in readers]
    found = align(table, [name for own in samples for name in own], counts, where)
    last = np.cumsum([len(own) for own in samples])
    matrix = np.searchsorted(last, found["position"].to_numpy(), side="right")
    values, scales = [], []
    for number, (reader, end) in enumerate(zip(readers, last, strict=True)):
        own = found.loc[matrix == number, "position"].to_numpy() - (end - len(samples[number]))
        if len(own):
            read = reader.read()
            values.append(read.log2(own, counts))
            scales.append(f"{read.name} {read.scale.used}, {read.scale.transform}")
    # The samples of a matrix are in the order of the sheet, matrix by matrix.
    found = found.iloc[np.argsort(matrix, kind="stable")].reset_index(drop=True)
    found["matrix"] = np.array(names)[np.sort(matrix)]
    found["dataset"] = found["dataset"].where(found["dataset"] != "", found["matrix"])
    return np.concatenate(values), found.assign(row=np.arange(len(found))), scales


def _names(matrices: Sequence[Path]) -> list[str]:
    """A name for each matrix; files of one name in two folders are numbered."""
    names: list[str] = []
    for path in matrices:
        name, number = path.name, 2
        while name in names:
            name, number = f"{path.name} ({number})", number + 1
        names.append(name)
    return names


def _refuse_across(rows: pd.DataFrame, where: str) -> None:
    """Refuse a patient whose pair would be made of two matrices: their scales are two.

    Raises
    ------
    DataError
        Naming the first patient and the matrices.
    """
    for (dataset, patient), group in rows.groupby(["dataset", "patient"], sort=True):
        matrices = sorted(set(group["matrix"]))
        if len(matrices) > 1 and group["stage"].nunique() > 1:
            raise DataError(
                "Samples of one patient, before and after treatment, are in different matrices.",
                where=f"{where}: patient '{patient}' of data set '{dataset}' in "
                f"{', '.join(matrices)}",
                fix="If these are two patients, give them two names or two data sets; if it is "
                "one, give a matrix that holds all of the data set's samples.",
            )


def _single_chemicals(rows: pd.DataFrame, others: frozenset[str], counts: Counts) -> pd.DataFrame:
    """Patients under one chemical drug; the drug may stand with the later sample only."""
    post = rows["stage"] == "post"
    blank = rows["drug"].eq("") | rows["drug"].map(is_vehicle)
    rows = counts.keep(rows, ~(post & blank), "after treatment, but no drug")
    post = rows["stage"] == "post"
    pairs = list(zip(rows["drug"], rows["therapy_type"], strict=True))
    combined = np.array([is_combination(drug, therapy) for drug, therapy in pairs], dtype=bool)
    rows = counts.keep(rows, ~(post & combined), "combination therapy, samples after treatment")
    post = rows["stage"] == "post"
    kinds = zip(rows["drug"], rows["drug_type"], strict=True)
    chemical = np.array([is_chemical(drug, kind, others) for drug, kind in kinds], dtype=bool)
    return counts.keep(rows, ~post | chemical, "drug is no chemical, samples after treatment")
