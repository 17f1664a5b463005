"""A small LINCS release written from the shipped level-3 wells: real values, real table headers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pandas as pd

from xpert_core.paths import assets_dir
from xpert_core.preparation.lincs import LincsFiles

INSTANCE_COLUMNS = (
    "bead_batch", "nearest_dose", "pert_dose", "pert_dose_unit", "pert_idose", "pert_time",
    "pert_itime", "pert_time_unit", "cell_mfc_name", "pert_mfc_id", "det_plate", "det_well",
    "rna_plate", "rna_well", "count_mean", "count_cv", "qc_f_logp", "qc_iqr", "qc_slope", "pert_id",
    "sample_id", "pert_type", "cell_iname", "qc_pass", "dyn_range", "inv_level_10", "build_name",
    "failure_mode", "project_code", "cmap_name",
)  # fmt: skip
"""Header of instinfo_beta.txt, LINCS 2020."""
#: Genes that are not landmarks: ACTB, ALB, TTN, KRAS.
OTHER_GENES = (60, 213, 7273, 3845)
NOMINAL = np.array([0.04, 0.12, 0.37, 1.11, 3.33, 10.0])


@dataclass(frozen=True)
class Release:
    """What was written."""

    files: LincsFiles
    instances: pd.DataFrame
    treated: ad.AnnData
    vehicle: ad.AnnData


def shipped(name: str, most: int | None = None) -> ad.AnnData:
    """Shipped wells of A375 and HT115 whose plate is told."""
    data = ad.read_h5ad(assets_dir() / "data" / "l1000" / f"l1000_level3_{name}.h5ad")
    data = data[data.obs["cell_id"].isin(["A375", "HT115"]).to_numpy()]
    return data[:most].copy() if most else data.copy()


def write_gctx(path: Path, ids: list[str], genes: list[str], values: np.ndarray) -> None:
    """A GCTX file as cmapPy writes it: samples in rows, chunked and packed."""
    with h5py.File(path, "w") as file:
        file.attrs["version"] = "GCTX1.0"
        file.create_dataset(
            "0/DATA/0/matrix", data=values.astype(np.float32), compression="gzip",
            chunks=(min(20, len(values)), values.shape[1]),
        )  # fmt: skip
        file["0/META/COL/id"] = np.array(ids, dtype="S")
        file["0/META/ROW/id"] = np.array(genes, dtype="S")


def instance_rows(data: ad.AnnData, pert_type: str) -> pd.DataFrame:
    """Rows of instinfo_beta.txt for wells."""
    obs = data.obs
    rows = pd.DataFrame("", index=range(len(obs)), columns=list(INSTANCE_COLUMNS))
    dose = obs["dose_um"].to_numpy() if pert_type == "trt_cp" else np.full(len(obs), np.nan)
    nominal = NOMINAL[np.abs(np.log(dose[:, None] / NOMINAL)).argmin(axis=1)]
    near = np.abs(dose / nominal - 1) < 0.2
    rows["nearest_dose"] = [f"{d:g}" if n else "" for d, n in zip(nominal, near, strict=True)]
    rows["pert_dose"] = ["" if np.isnan(d) else f"{d:.6g}" for d in dose]
    rows["pert_dose_unit"] = "uM" if pert_type == "trt_cp" else ""
    rows["pert_idose"] = [f"{d} uM" if d else "" for d in rows["pert_dose"]]
    rows["pert_time"] = [f"{t:.1f}" for t in obs["time_h"]]
    rows["pert_itime"] = [f"{t:g} h" for t in obs["time_h"]]
    rows["pert_time_unit"] = "h"
    plate = obs["plate"].astype(str).to_numpy()
    rows["bead_batch"] = [p.rsplit("_", 1)[-1].split("B")[-1] for p in plate]
    for name in ("cell_mfc_name", "cell_iname"):
        rows[name] = obs["cell_id"].astype(str).to_numpy()
    rows["det_plate"] = plate
    rows["det_well"] = obs["well"].astype(str).to_numpy()
    rows["rna_plate"] = [p.rsplit("_", 1)[0] for p in plate]
    rows["pert_id"] = obs["pert_id"].astype(str).to_numpy() if "pert_id" in obs else "DMSO"
    rows["cmap_name"] = obs["pert_name"].astype(str).to_numpy() if "pert_name" in obs else "DMSO"
    rows["sample_id"] = obs["inst_id"].astype(str).to_numpy()
    rows["pert_type"], rows["qc_pass"], rows["build_name"] = pert_type, "1.0", "gctx"
    return rows


def write_release(folder: Path, most: int | None = None) -> Release:
    """Matrices, instance, compound and gene tables under `folder`."""
    rng = np.random.default_rng(0)
    treated, vehicle = shipped("paired", most), shipped("vehicle")
    parts = {"trt": (treated, "trt_cp"), "ctl": (vehicle, "ctl_vehicle")}
    names = {
        "trt": "level3_beta_trt_cp_n1805898x12328.gctx",
        "ctl": "level3_beta_ctl_vehicle_n188708x12328.gctx",
    }
    tables = []
    for part, (data, kind) in parts.items():
        data.obs["inst_id"] = data.obs["inst_id"].astype(str)
        values = np.concatenate(
            [np.asarray(data.X), rng.uniform(2, 12, (len(data), len(OTHER_GENES)))], axis=1
        )
        genes = [*map(str, data.var["entrez_id"]), *map(str, OTHER_GENES)]
        order, samples = rng.permutation(len(genes)), rng.permutation(len(data))
        write_gctx(
            folder / names[part],
            [data.obs["inst_id"].iloc[i] for i in samples],
            [genes[i] for i in order],
            values[np.ix_(samples, order)],
        )
        tables.append(instance_rows(data, kind))
    instances = pd.concat(tables, ignore_index=True)
    instances = instances.iloc[rng.permutation(len(instances))].reset_index(drop=True)
    instances.to_csv(folder / "instinfo_beta.txt", sep="\t", index=False)
    write_compounds(folder / "compoundinfo_beta.txt", treated.obs)
    files = LincsFiles(
        folder / names["trt"], folder / names["ctl"], folder / "instinfo_beta.txt",
        folder / "compoundinfo_beta.txt",
    )  # fmt: skip
    return Release(files, instances, treated, vehicle)


def write_compounds(path: Path, obs: pd.DataFrame) -> None:
    """compoundinfo_beta.txt: a line for each target or mechanism of a compound."""
    one = obs.drop_duplicates("pert_id")
    table = pd.DataFrame(
        {
            "pert_id": one["pert_id"].astype(str),
            "cmap_name": one["pert_name"].astype(str),
            "target": "",
            "moa": one["moa"].astype(str).replace("nan", ""),
            "canonical_smiles": one["smiles"].astype(str).replace({"nan": "", "": "restricted"}),
            "inchi_key": "",
            "compound_aliases": "",
        }
    )
    twice = table.head(3).assign(target="EGFR", moa="EGFR inhibitor")
    pd.concat([table, twice]).to_csv(path, sep="\t", index=False)
