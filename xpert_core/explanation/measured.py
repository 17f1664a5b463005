"""Shipped L1000 measurements to lay beside predictions: dose series, wells, cell lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd

from xpert_core.cohorts.records import Profiles, ScaleReport
from xpert_core.drugs import DrugLibrary
from xpert_core.drugs.records import Drug
from xpert_core.drugs.search import plain
from xpert_core.errors import DataError, DrugError, GeneError
from xpert_core.evaluation.metrics import pearson_rows
from xpert_core.explanation.training_conditions import TrainingConditions
from xpert_core.files import sha256_file
from xpert_core.genes import load_panel
from xpert_core.genes.records import GeneReport
from xpert_core.graph.records import drug_key
from xpert_core.paths import assets_dir
from xpert_core.prediction.records import Prediction

WELLS = "l1000_level3_paired.h5ad"
BASELINES = "l1000_cell_baselines.h5ad"
#: Fewer doses than this are no series.
SERIES_DOSES = 4
_LOG2 = ScaleReport("log2", "log2", "L1000 level 3, quantile-normalised log2.", "none")


@dataclass(frozen=True)
class Wells:
    """Treated wells of L1000 level 3, each with the mean vehicle profile of its plate.

    Attributes
    ----------
    rows : DataFrame
        Index ``well``. Columns ``plate``, ``cell``, ``drug``, ``smiles``, ``moa``, ``dose_um``,
        ``time_h``, ``n_ctl`` (vehicle wells of the plate), ``control`` (sample id of its profile
        in `controls`).
    x_pert, x_ctl : ndarray of float32, shape (n, n_genes)
        log2 on the L1000 assay, genes in panel order.
    controls : Profiles
        The distinct vehicle profiles, one sample a plate: what to predict from.
    """

    rows: pd.DataFrame
    x_pert: np.ndarray
    x_ctl: np.ndarray
    controls: Profiles

    @property
    def x_deg(self) -> np.ndarray:
        """Measured change, log2."""
        return self.x_pert - self.x_ctl

    def take(self, keep: np.ndarray) -> Wells:
        """Wells where `keep` is true; the control profiles stay whole."""
        return replace(self, rows=self.rows[keep], x_pert=self.x_pert[keep], x_ctl=self.x_ctl[keep])


def _read(name: str) -> Any:
    import anndata

    path = assets_dir() / "data" / "l1000" / name
    try:
        data = anndata.read_h5ad(path)
    except Exception as error:
        raise DataError(
            "The shipped L1000 measurements are missing or damaged.",
            where=f"{name} ({type(error).__name__})",
            fix="Install the program again.",
        ) from error
    panel = load_panel()
    if data.var["entrez_id"].astype(int).tolist() != list(panel.entrez):
        raise DataError(
            "The genes of the file are not those of the panel, in its order.",
            where=name,
            fix="Install the program again.",
        )
    return data


def _profiles(name: str, samples: pd.DataFrame, values: np.ndarray) -> Profiles:
    """Profiles on the whole panel, no gene missing."""
    panel = load_panel()
    genes = GeneReport(pd.DataFrame(), np.arange(len(panel), dtype=np.int64), len(panel))
    digest = sha256_file(assets_dir() / "data" / "l1000" / name)
    return Profiles(name, samples, values.astype(np.float32), panel, genes, _LOG2, digest)


def _samples(index: pd.Index, cells: np.ndarray) -> pd.DataFrame:
    """Sample table of cell lines: the line stands as the patient."""
    table = pd.DataFrame(
        {
            "patient_id": cells,
            "timepoint": "pre",
            "drug": "",
            "dose": "",
            "time": "",
            "response": "",
            "cell": cells,
        },
        index=index,
    )
    return table.rename_axis("sample_id")


@lru_cache(maxsize=1)
def level3_wells() -> Wells:
    """All treated wells that ship with XPert (public L1000 data, no patient among them).

    Raises
    ------
    DataError
        If the file is missing or damaged.
    """
    data = _read(WELLS)
    obs = data.obs
    x_ctl = np.asarray(data.obsm["X_ctl"], dtype=np.float32)
    text = {new: obs[old].astype(str).to_numpy() for new, old in _TEXT.items()}
    rows = pd.DataFrame(text, index=pd.Index(obs.index.astype(str), name="well"))
    rows = rows.replace("nan", "")
    for column in ("dose_um", "time_h", "n_ctl"):
        rows[column] = obs[column].to_numpy(dtype=float)
    distinct, first, index = np.unique(x_ctl, axis=0, return_index=True, return_inverse=True)
    names = rows["cell"].str.cat(rows["plate"], sep=", plate ").to_numpy()[first]
    rows["control"] = names[index.reshape(-1)]
    samples = _samples(pd.Index(names), rows["cell"].to_numpy()[first])
    samples["plate"] = rows["plate"].to_numpy()[first]
    controls = _profiles(WELLS, samples, distinct)
    return Wells(rows, np.asarray(data.X, dtype=np.float32), x_ctl, controls)


_TEXT = {
    "plate": "plate",
    "cell": "cell_id",
    "drug": "pert_name",
    "smiles": "smiles",
    "moa": "moa",
}


@lru_cache(maxsize=1)
def cell_lines() -> Profiles:
    """One untreated profile a cell line, 165 lines (L1000, log2)."""
    data = _read(BASELINES)
    cells = data.obs["cell_id"].astype(str).to_numpy()
    return _profiles(BASELINES, _samples(pd.Index(cells), cells), np.asarray(data.X))


def series() -> pd.DataFrame:
    """Drugs measured at `SERIES_DOSES` doses or more in one cell line and time.

    Returns
    -------
    DataFrame
        Columns ``drug``, ``moa``, ``cell``, ``time_h``, ``doses``, ``wells``, by name.
    """
    rows = level3_wells().rows
    grouped = rows.groupby(["drug", "cell", "time_h"], as_index=False).agg(
        moa=("moa", "first"),
        smiles=("smiles", "first"),
        doses=("dose_um", "nunique"),
        wells=("dose_um", "size"),
    )
    found = grouped[(grouped["doses"] >= SERIES_DOSES) & (grouped["smiles"] != "")]
    columns = ["drug", "moa", "cell", "time_h", "doses", "wells"]
    return found.sort_values("drug", key=lambda names: names.str.lower())[columns].reset_index(
        drop=True
    )


def dose_series(drug: str, cell: str = "A375", time_h: float = 24.0) -> Wells:
    """Wells of one drug in one cell line at one time, by dose.

    Parameters
    ----------
    drug : str
        Its name in the data; capitals and signs do not matter.
    cell : str
    time_h : float

    Raises
    ------
    DrugError
        If no such series was measured.
    """
    wells = level3_wells()
    rows = wells.rows
    place = (rows["cell"] == cell) & (rows["time_h"] == time_h) & (rows["smiles"] != "")
    named = rows["drug"].map(plain) == plain(drug)
    keep = (place & named).to_numpy()
    if rows.loc[keep, "dose_um"].nunique() < SERIES_DOSES:
        some = ", ".join(series().query("cell == @cell")["drug"].head(8))
        raise DrugError(
            f"No dose series of '{drug}' was measured.",
            where=f"{cell} at {time_h:g} h, L1000 level 3",
            fix=f"Choose a drug that has one, for example {some}.",
        )
    kept = wells.take(keep)
    order = np.argsort(kept.rows["dose_um"].to_numpy(), kind="stable")
    return replace(
        kept, rows=kept.rows.iloc[order], x_pert=kept.x_pert[order], x_ctl=kept.x_ctl[order]
    )


def drug_of(wells: Wells) -> Drug:
    """The drug of a series, with its targets where the library has it.

    Where the source draws a drug with a structure that its name does not mean, the name is
    believed, as when the training data were prepared.
    """
    first = wells.rows.iloc[0]
    library = DrugLibrary.load()
    drug = library.annotate(library.resolve(str(first["smiles"])))
    right = _meant_structures().get(plain(str(first["drug"])), drug.connectivity)
    if right != drug.connectivity:
        drug = library.resolve(right)
    return replace(drug, name=str(first["drug"]))


@lru_cache(maxsize=1)
def _meant_structures() -> dict[str, str]:
    table = pd.read_csv(assets_dir() / "drugs" / "name_structures.csv")
    return dict(zip(table["name"].map(plain), table["connectivity"], strict=True))


def measured_curves(wells: Wells, series: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    """Measured counterpart of `dose_time.dose_curves`.

    Returns
    -------
    DataFrame
        Columns ``series``, ``dose_um``, ``mean`` (over wells and the genes of the series, log2),
        ``wells``.

    Raises
    ------
    GeneError
        If a gene is not on the panel.
    """
    symbols = pd.Index(load_panel().symbols)
    dose = wells.rows["dose_um"].to_numpy()
    tables = []
    for name, genes in series.items():
        columns = symbols.get_indexer(pd.Index(list(dict.fromkeys(genes))))
        if (columns < 0).any() or not len(columns):
            raise GeneError(
                f"A gene of '{name}' is not a landmark gene.",
                where=", ".join(genes),
                fix="Give symbols of L1000 landmark genes.",
            )
        values = pd.Series(wells.x_deg[:, columns].mean(axis=1)).groupby(dose)
        found = pd.DataFrame({"mean": values.mean(), "wells": values.size()})
        tables.append(found.rename_axis("dose_um").reset_index().assign(series=name))
    return pd.concat(tables, ignore_index=True)[["series", "dose_um", "mean", "wells"]]


def measured_heat(wells: Wells, genes: Sequence[str]) -> pd.DataFrame:
    """Measured counterpart of `dose_time.dose_heat`: doses by genes, mean over wells."""
    columns = pd.Index(load_panel().symbols).get_indexer(pd.Index(genes))
    table = pd.DataFrame(wells.x_deg[:, columns], columns=pd.Index(genes, name="gene"))
    return table.groupby(wells.rows["dose_um"].to_numpy()).mean().rename_axis("dose_um")


def line_mean(wells: Wells, conditions: TrainingConditions | None, leave_out: str) -> np.ndarray:
    """Mean measured change in a cell line at a time over drugs trained on, shape (n_genes,).

    The null of a predicted response: what is known of the cell line without knowing the drug.

    Parameters
    ----------
    wells : Wells
        A series; its cell line and time are meant.
    conditions : TrainingConditions or None
        None = all drugs count as trained on.
    leave_out : str
        Name of the drug that is not averaged.
    """
    every = level3_wells()
    first = wells.rows.iloc[0]
    keep = (every.rows["cell"] == first["cell"]) & (every.rows["time_h"] == first["time_h"])
    keep &= every.rows["drug"] != leave_out
    if conditions is not None:
        table = conditions.table
        trained = set(table.loc[table["part"] == "train", "drug"].map(plain))
        keep &= every.rows["drug"].map(plain).isin(trained)
    mean: np.ndarray = every.x_deg[keep.to_numpy()].mean(axis=0)
    return mean


def compare(
    prediction: Prediction, wells: Wells, conditions: TrainingConditions | None = None
) -> pd.DataFrame:
    """Predicted beside measured change, dose by dose.

    Parameters
    ----------
    prediction : Prediction
        Of the series' control profiles (`Wells.controls`), at its doses and time.
    wells : Wells
        One drug's series, as `dose_series` gives it.
    conditions : TrainingConditions, optional
        Says which part of the model's split each condition stood in.

    Returns
    -------
    DataFrame
        A row a dose: ``dose_um``, ``wells``, ``part``, ``pearson`` (prediction against the mean
        of the wells, over genes), ``pearson_line`` (mean of the cell line over other training
        drugs against the same wells), ``rms_measured``, ``rms_predicted`` (root mean square
        over genes), ``direction`` (share of the 50 most changed genes whose sign is right).

    Raises
    ------
    DataError
        If a dose of the series was not predicted.
    """
    first = wells.rows.iloc[0]
    baseline = line_mean(wells, conditions, str(first["drug"]))
    drug = drug_of(wells)
    part = conditions.part_of(drug_key(drug.connectivity, drug.name)) if conditions else ""
    records = []
    for dose, group in wells.rows.groupby("dose_um"):
        position = wells.rows.index.get_indexer(group.index)
        truth = wells.x_deg[position].mean(axis=0, keepdims=True)
        predicted = _predicted(prediction, group, float(str(dose)))
        top = np.argsort(-np.abs(truth[0]), kind="stable")[:50]
        records.append(
            {
                "dose_um": float(str(dose)),
                "wells": len(group),
                "part": part or "not known",
                "pearson": float(pearson_rows(truth, predicted)[0]),
                "pearson_line": float(pearson_rows(truth, baseline[None])[0]),
                "rms_measured": float(np.sqrt((truth**2).mean())),
                "rms_predicted": float(np.sqrt((predicted**2).mean())),
                "direction": float(np.mean(np.sign(truth[0, top]) == np.sign(predicted[0, top]))),
            }
        )
    return pd.DataFrame(records)


def _predicted(prediction: Prediction, group: pd.DataFrame, dose: float) -> np.ndarray:
    """Mean prediction over the control profiles of a dose's wells, shape (1, n_genes)."""
    rows = prediction.rows
    time = float(group["time_h"].iloc[0])
    fits = np.isclose(rows["dose_um"], dose) & np.isclose(rows["time_h"], time)
    fits &= rows["sample_id"].isin(group["control"].unique()).to_numpy()
    if not fits.any():
        raise DataError(
            "The prediction does not hold a dose of the measured series.",
            where=f"{dose:g} uM, {time:g} h",
            fix="Predict the doses and the control profiles of the series.",
        )
    mean: np.ndarray = prediction.x_deg[fits].mean(axis=0, keepdims=True)
    return mean
