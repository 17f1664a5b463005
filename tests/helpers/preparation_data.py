"""Small files for preparation: real values of shipped L1000 wells, real drugs and gene ids."""

from __future__ import annotations

import gzip
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd

from xpert_core.genes import load_panel
from xpert_core.genes.tables import load_tables
from xpert_core.paths import assets_dir

#: Small molecules of oncology with their structures.
DRUGS = {
    "letrozole": "N#Cc1ccc(cc1)C(c2ccc(C#N)cc2)n3cncn3",
    "anastrozole": "CC(C)(C#N)c1cc(Cn2cncn2)cc(c1)C(C)(C)C#N",
    "exemestane": "CC12CCC3C(C1CCC2=O)CC(=C)C4=CC(=O)C=CC34C",
    "imatinib": "CN1CCN(CC1)Cc2ccc(cc2)C(=O)Nc3ccc(C)c(c3)Nc4nccc(n4)-c5cccnc5",
}


def wells(count: int) -> np.ndarray:
    """Profiles of real L1000 wells, log2, panel order; float32, shape (count, 978)."""
    data = ad.read_h5ad(assets_dir() / "data" / "l1000" / "l1000_level3_paired.h5ad")
    return np.asarray(data.X[:count], dtype=np.float32)


def patients_h5ad(path: Path, n_patients: int = 28, **columns: object) -> ad.AnnData:
    """Patients in the published layout: two time points each, seven cancers, four drugs."""
    n = 2 * n_patients
    values = wells(n_patients + n)
    patient = np.repeat(np.arange(n_patients), 2)
    names = list(DRUGS)
    drug = [names[p % 4] for p in patient]
    obs = pd.DataFrame(
        {
            "pert_id": drug,
            "pert_idx": [names.index(d) for d in drug],
            "canonical_smiles": [DRUGS[d] for d in drug],
            "pert_dose": "2.5 mg/day",
            "pert_time": ["14 days", "10-14 weeks"] * n_patients,
            "Patient ID": [f"P{p:02d}" for p in patient],
            "Cancer subtype": [f"subtype {p % 7}" for p in patient],
            "Response group": "unknown",
        },
        index=[f"GSM{i}" for i in range(n)],
    )
    for name, cells in columns.items():
        obs[name] = cells
    panel = load_panel()
    data = ad.AnnData(
        values[n_patients:],
        obs=obs,
        var=pd.DataFrame(
            {"gene_id": np.array(panel.entrez), "gene_symbol": list(panel.symbols)},
            index=[str(i) for i in range(len(panel))],
        ),
        obsm={"X_ctl": values[patient]},
    )
    data.write_h5ad(path)
    return data


def probes(most: int = 3) -> dict[str, str]:
    """Affymetrix HG-U133 probe id -> panel symbol: up to `most` probes a gene."""
    panel = load_panel()
    place = dict(zip(panel.entrez, panel.symbols, strict=True))
    rows, genes, _ = load_tables()._probes
    found: dict[str, str] = {}
    count: dict[str, int] = {}
    for probe, row in rows.items():
        symbol = place.get(genes[row], "")
        if symbol and probe.endswith("_AT") and count.get(symbol, 0) < most:
            count[symbol] = count.get(symbol, 0) + 1
            found[probe.lower()] = symbol
    return found


def series_matrix(
    path: Path, identifiers: list[str], values: np.ndarray, fields: dict[str, list[str]],
    characteristics: list[list[str]],
) -> Path:  # fmt: skip
    """A GEO series matrix: `values` has the shape (identifiers, samples)."""
    names = [f"GSM{100 + i}" for i in range(values.shape[1])]

    def line(key: str, cells: list[str]) -> str:
        return "\t".join([key, *(f'"{c}"' for c in cells)]) + "\n"

    text = '!Series_title\t"A series"\n!Series_geo_accession\t"GSE1"\n'
    text += '!Series_platform_id\t"GPL96"\n\n'
    text += line("!Sample_title", [f"sample {i}" for i in range(len(names))])
    text += line("!Sample_geo_accession", names)
    text += line("!Sample_status", ["Public on Jan 01 2010"] * len(names))
    for key, cells in fields.items():
        text += line(f"!Sample_{key}", cells)
    for cells in characteristics:
        text += line("!Sample_characteristics_ch1", cells)
    text += "!series_matrix_table_begin\n" + line('"ID_REF"'.strip('"'), names)
    for identifier, row in zip(identifiers, values, strict=True):
        cells = "\t".join("null" if np.isnan(v) else f"{v:.5f}" for v in row)
        text += f'"{identifier}"\t{cells}\n'
    text += "!series_matrix_table_end\n"
    content = text.encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path
