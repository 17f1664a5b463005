"""What the columns beside the genes mean: patient, timepoint, drug, dose, time, response."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from xpert_core.cohorts.records import SAMPLE_COLUMNS
from xpert_core.errors import CohortError


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


#: Spellings of the standard columns, the most specific first (letters and digits only).
_NAMES: dict[str, tuple[str, ...]] = {
    "sample_id": (
        *("sampleid", "samplename", "samplecode", "sampleaccession", "geoaccession", "cid"),
        *("instid", "sigid", "barcode", "sample", "samples"),
    ),
    "patient_id": (
        *("patientid", "patient", "patients", "patientno", "patientnumber", "patientcode"),
        *("subjectid", "subject", "participantid", "participant", "individualid", "individual"),
        *("donorid", "donor", "caseid", "bcrpatientbarcode"),
    ),
    "timepoint": (
        *("timepoint", "prepost", "visit", "timing", "treatmentstatus", "treatmentstage"),
        *("samplingtime", "collectiontime", "biopsytime", "perttype"),
    ),
    "drug": (
        *("drug", "drugname", "pertiname", "pertname", "compound", "compoundname", "cmapname"),
        *("treatment", "therapy", "agent", "medication"),
    ),
    "dose": (
        *("dose", "pertidose", "pertdose", "doseum", "dosenm", "dosage", "concentration"),
        *("conc", "pertdosevalue"),
    ),
    "time": ("time", "pertitime", "perttime", "timeh", "exposuretime", "duration"),
    "response": (
        *("response", "responsestatus", "clinicalresponse", "bestresponse", "recist"),
        *("responder", "outcome"),
    ),
}
_UNITS = {"dose": ("pertdoseunit", "doseunit"), "time": ("perttimeunit", "timeunit")}
_UNIT_IN_NAME = {"doseum": "uM", "dosenm": "nM", "timeh": "h"}

#: Other columns of sample tables that are never genes, even when they hold numbers.
_OTHER = _words(
    """smiles pertid cancertype tumortype tumourtype diagnosis disease histology tissue sex gender
    age ageyears batch plate well platform cellid cellline celltype site cohort study
    responsebinary survival overallsurvival osmonths pfsmonths purity library libraryid libsize
    nreplicates nctl tasorss structid rin row strain ethnicity species organism"""
)

#: Headers of a column of labels, whichever axis it describes (IDS is a gene, hence not here).
LABEL_NAMES = _words(
    """index name names rownames unnamed0 id gene genes geneid genesymbol symbol symbols
    hgncsymbol hugosymbol genename ensembl ensemblid ensemblgeneid entrez entrezid entrezgeneid
    probe probeid probeset probesetid idref rid prgeneid prgenesymbol prgenetitle description
    featurename chr chrom chromosome start end strand length genebiotype genetype"""
) | {""}

_BY_SPELLING = {spelling: name for name, many in _NAMES.items() for spelling in many}
_METADATA = frozenset(_BY_SPELLING) | _OTHER | {unit for many in _UNITS.values() for unit in many}

_BEFORE = _words(
    """pre before baseline bl screening untreated pretreatment pretherapy predose pretx prerx ctl
    ctrl control vehicle dmso ctlvehicle ctluntrt naive treatmentnaive beforetreatment
    attimeofdiagnosis diagnosis initial"""
)
_AFTER = _words(
    """post after on ontreatment ontherapy ontx onrx during duringtreatment treated trt trtcp
    posttreatment posttherapy posttx postrx aftertreatment followup fu eot endoftreatment
    progression atprogression relapse recurrence surgery resection early late"""
)
_MOMENT = re.compile(
    r"(?:(?:d|days?|w|wks?|weeks?|m|mo|months?|h|hrs?|hours?|t|time|cycle|visit)?[\s_]*)"
    r"([-+−]?\d+(?:\.\d+)?)"
    r"[\s_]*(?:d|days?|w|wks?|weeks?|m|mo|months?|h|hrs?|hours?|min|minutes?)?"
)
_CYCLE_DAY = re.compile(r"c(\d+)[\s_]*d(\d+)")
_STAGED_ID = re.compile(
    r"(.+?)[\s_.\-]+(pre|post|before|after|baseline|on|ontreatment|pretreatment|posttreatment)",
    re.IGNORECASE,
)


def spelling(name: str) -> str:
    """A column name reduced to lower-case letters and digits."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def is_metadata(name: str) -> bool:
    """Whether a name is a known column of a sample table."""
    return spelling(name) in _METADATA


@dataclass(frozen=True)
class SampleTable:
    """Samples of a file and what was done to get them (see `Cohort.samples`)."""

    frame: pd.DataFrame
    notes: tuple[str, ...]


def sample_table(
    fields: dict[str, list[str]], row_numbers: Sequence[int], name: str, axis: str = "row"
) -> SampleTable:
    """Build the sample table from the labels of the sample axis.

    Parameters
    ----------
    fields : dict of list of str
        Labels by field name, "" where missing; the field "" is the axis' own label.
    row_numbers : sequence of int
        Row (or column) of the file behind each sample, for messages.
    name : str
        File name, for messages.
    axis : {"row", "column"}
        What `row_numbers` counts.

    Raises
    ------
    CohortError
        For a timepoint that is not understood and for samples that cannot be told apart.
    """
    size = len(row_numbers)
    notes: list[str] = []
    found = _recognise(fields)
    columns = {
        standard: _with_units(standard, key, fields)
        if (key := found.get(standard))
        else [""] * size
        for standard in SAMPLE_COLUMNS
    }
    renamed = [f"'{k}' as {s}" for s, k in found.items() if k != s]
    if renamed:
        notes.append(f"Columns recognised: {', '.join(renamed)}.")
    where = [f"{name}, {axis} {number}" for number in row_numbers]
    stages = _timepoints(columns["timepoint"], where)
    base = _base_ids(fields, found, columns["patient_id"], notes)
    if "patient_id" not in found:
        columns["patient_id"] = list(base)
        if not any(stages) and "timepoint" not in found:
            split = split_staged_ids(base)
            if split:
                columns["patient_id"], stages = split
                notes.append("Patient and timepoint were read from the ends of the sample names.")
    columns["patient_id"] = [p or b for p, b in zip(columns["patient_id"], base, strict=True)]
    index = _unique_ids(base, stages, row_numbers, name, axis)
    frame = pd.DataFrame(
        {c: _objects(stages if c == "timepoint" else columns[c]) for c in SAMPLE_COLUMNS},
        index=pd.Index(index, name="sample_id", dtype=object),
        dtype=object,
    )
    used = {*found.values(), *_unit_keys(fields)}
    for key, cells in fields.items():
        if key and key not in used:
            frame[_free_name(key, frame, notes)] = _objects(cells)
    return SampleTable(frame, tuple(notes))


def _recognise(fields: dict[str, list[str]]) -> dict[str, str]:
    """Standard column -> field of the file; an exact spelling wins over a looser one."""
    by_spelling: dict[str, str] = {}
    for key in fields:
        by_spelling.setdefault(spelling(key), key)
    found: dict[str, str] = {}
    for standard, spellings in _NAMES.items():
        for candidate in spellings:
            if candidate in by_spelling:
                found[standard] = by_spelling[candidate]
                break
    return found


def _unit_keys(fields: dict[str, list[str]]) -> set[str]:
    return {key for key in fields for units in _UNITS.values() if spelling(key) in units}


def _with_units(standard: str, key: str, fields: dict[str, list[str]]) -> list[str]:
    """Cells of a column; dose and time get the unit of the file when they are bare numbers."""
    cells = fields[key]
    units = [_UNIT_IN_NAME.get(spelling(key), "")] * len(cells)
    for other, values in fields.items():
        if spelling(other) in _UNITS.get(standard, ()):
            units = values
    return [
        f"{cell} {unit}" if unit and re.fullmatch(r"[\d.,eE+-]+", cell) else cell
        for cell, unit in zip(cells, units, strict=True)
    ]


def _objects(cells: Sequence[str | None]) -> list[str | None]:
    return [cell or None for cell in cells]


def _free_name(key: str, frame: pd.DataFrame, notes: list[str]) -> str:
    """A column name that collides neither with a standard column nor with AnnData's own."""
    name = key
    if key in ("_index", "sample_id") or key in frame.columns:
        name = f"original{'' if key.startswith('_') else '_'}{key}"
        notes.append(f"The column '{key}' is kept as '{name}', because that name is reserved.")
    return name


def _base_ids(
    fields: dict[str, list[str]], found: dict[str, str], patients: list[str], notes: list[str]
) -> list[str]:
    """The best available identifier of each sample, not yet unique."""
    if "sample_id" in found and all(fields[found["sample_id"]]):
        return fields[found["sample_id"]]
    for key, cells in fields.items():
        if (key and spelling(key) not in LABEL_NAMES) or not all(cells):
            continue
        # Beside patient ids, a spreadsheet's row numbers or a repeated "name" name no sample.
        useful = not _is_numbering(cells) and (not key or len(set(cells)) == len(cells))
        if useful or "patient_id" not in found:
            return cells
    if all(patients):
        return patients
    for key, cells in fields.items():
        if key and key not in found.values() and all(cells) and len(set(cells)) == len(cells):
            notes.append(f"The column '{key}' is used as the sample name.")
            return cells
    notes.append("No complete column of sample names was found, so samples are numbered.")
    return [f"sample_{i + 1}" for i in range(len(patients))]


def _is_numbering(cells: Sequence[str]) -> bool:
    return all(cell.isdigit() for cell in cells) and sorted(map(int, cells)) in (
        list(range(len(cells))),
        list(range(1, len(cells) + 1)),
    )


def split_staged_ids(ids: Sequence[str]) -> tuple[list[str], list[str]] | None:
    """Patient and timepoint from names such as ``P01_pre``, when every name has that form."""
    matches = [_STAGED_ID.fullmatch(i) for i in ids]
    if not all(matches):
        return None
    patients = [m.group(1) for m in matches if m]
    stages = [timepoint(m.group(2)) or "" for m in matches if m]
    return (patients, stages) if len(set(stages)) == 2 else None


def _unique_ids(
    base: list[str], stages: list[str], numbers: Sequence[int], name: str, axis: str
) -> list[str]:
    """Sample ids: the base, with the timepoint where patients have several samples."""
    if len(set(base)) == len(base):
        return list(base)
    ids = [f"{b}_{s}" if s else b for b, s in zip(base, stages, strict=True)]
    where: dict[str, list[int]] = {}
    for identifier, number in zip(ids, numbers, strict=True):
        where.setdefault(identifier, []).append(number)
    repeated = {i: rows for i, rows in where.items() if len(rows) > 1}
    if repeated:
        listed = "; ".join(
            f"'{identifier[:40]}' in {axis}s {', '.join(map(str, rows[:5]))}"
            for identifier, rows in list(repeated.items())[:5]
        )
        noun = "sample name occurs" if len(repeated) == 1 else "sample names occur"
        raise CohortError(
            f"{len(repeated):,} {noun} more than once, and nothing in the file tells the samples "
            "apart.",
            where=f"{name}: {listed}",
            fix="Add a column 'timepoint' (pre or post) if they are samples of one patient before "
            "and after treatment, or a column 'sample_id' with a different name in each row, or "
            "remove the copies.",
        )
    return ids


def timepoint(text: str) -> str | None:
    """Normalise one timepoint to "pre" or "post"; None when it is not understood.

    Understood are words (baseline, before, on-treatment, after...), LINCS types (ctl_vehicle,
    trt_cp), and moments counted from the first dose (day 0, week 4, 24 h, C1D1).
    """
    lowered = text.strip().lower()
    word = spelling(lowered)
    if word in _BEFORE or re.match(r"(pre|before)[\s_\-]", lowered):
        return "pre"
    if word in _AFTER or re.match(r"(post|after|on|during|trt)[\s_\-]", lowered):
        return "post"
    cycle = _CYCLE_DAY.fullmatch(lowered)
    if cycle:
        return "pre" if cycle.groups() == ("1", "1") else "post"
    moment = _MOMENT.fullmatch(lowered)
    # A bare number is a code, not a moment: `_timepoints` looks at all of them together.
    if moment and not re.fullmatch(r"[1-9]\d*", lowered) and not lowered.startswith("visit"):
        return "post" if float(moment.group(1).replace("−", "-")) > 0 else "pre"
    return None


def _timepoints(cells: Sequence[str], where: Sequence[str]) -> list[str]:
    """Every timepoint as "pre", "post" or "" (the file does not say)."""
    counted_from_zero = {"0", "0.0"} & set(cells)
    stages = []
    for cell, place in zip(cells, where, strict=True):
        stage = "" if not cell else timepoint(cell)
        if stage is None and counted_from_zero and re.fullmatch(r"\d+(\.\d+)?", cell.strip()):
            stage = "post"
        if stage is None:
            raise CohortError(
                f"The timepoint '{cell[:40]}' is not understood.",
                where=place,
                fix="Write 'pre' for samples before treatment and 'post' for samples during or "
                "after treatment.",
            )
        stages.append(stage)
    return stages
