"""Records to store, from the shipped melanoma cohort; also imported by child processes."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
from pandas.testing import assert_frame_equal

from xpert_core.cohorts.paired import PAIR_COLUMNS, PairedProfiles
from xpert_core.cohorts.records import Profiles, ScaleReport
from xpert_core.genes.records import GenePanel, GeneReport
from xpert_core.paths import assets_dir
from xpert_core.prediction.records import Prediction

MELANOMA = "user_upload_pretreatment_melanoma_nivolumab.csv"
SMILES = {
    "trametinib": "CC1=C2C(=C(N(C1=O)C)NC3=C(C=C(C=C3)I)F)C(=O)N(C(=O)N2C4=CC=CC(=C4)NC(=O)C)C5CC5",
    "vemurafenib": "CCCS(=O)(=O)Nc1ccc(F)c(c1F)C(=O)c1c[nH]c2ncc(cc12)-c1ccc(Cl)cc1",
}
INCHIKEYS = {
    "trametinib": "LIRYPHYGHXZJBZ-UHFFFAOYSA-N",
    "vemurafenib": "GPXBXXGIAQBQNI-UHFFFAOYSA-N",
}


@cache
def _melanoma() -> tuple[pd.DataFrame, str]:
    path = Path(assets_dir()) / "examples" / MELANOMA
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return pd.read_csv(path, usecols=range(4 + 1000)), digest


def melanoma_profiles(n_genes: int = 120, name: str = MELANOMA) -> Profiles:
    """All 51 patients on a panel of the file's first genes, some of them not measured."""
    table, digest = _melanoma()
    genes = table.columns[4 : 4 + n_genes]
    samples = table[["patient_id", "cancer_type", "drug", "response"]].copy()
    samples.index = pd.Index([f"sample {i}" for i in range(len(samples))], name="sample_id")
    samples.insert(1, "timepoint", pd.Series(["pre", None, "pre"] * 17, samples.index))
    samples["dose"] = np.nan
    samples["time"] = pd.Series([24.0, np.nan, 6.0] * 17, samples.index)
    samples["age"] = pd.Series([61, None, 47] * 17, samples.index, dtype="Int64")
    samples["stage"] = pd.Categorical(
        ["III", None, "IV"] * 17, categories=["IV", "III", "II"], ordered=True
    )
    samples["biopsy"] = pd.to_datetime(["2026-03-01", None, "2026-04-02"] * 17)
    samples["Bemerkung é"] = pd.Series(["ü", np.nan, 3.5] * 17, samples.index, dtype=object)
    x_ctl = table[genes].to_numpy(dtype=np.float32).copy()
    x_ctl[:, -3:] = np.nan
    x_ctl[5, 7] = np.nan
    symbols = tuple(genes)
    panel = GenePanel(
        name="first-genes",
        symbols=symbols,
        entrez=tuple(range(1, n_genes + 1)),
        ensembl=tuple("" if i % 9 == 0 else f"ENSG{i:011d}" for i in range(n_genes)),
        digest=hashlib.sha256("|".join(symbols).encode()).hexdigest(),
    )
    column_of_gene = np.arange(n_genes, dtype=np.int64)
    column_of_gene[-3:] = -1
    report = pd.DataFrame(
        {
            "identifier": [*symbols[:-3], "", "", ""],
            "status": ["matched"] * (n_genes - 3) + ["missing"] * 3,
            "symbol": symbols,
            "entrez_id": pd.array([*range(1, n_genes), None], dtype="Int64"),
            "kind": pd.Categorical(["symbol"] * n_genes),
            "note": ["exact symbol"] * (n_genes - 3) + ["not in the file"] * 3,
        }
    )
    return Profiles(
        name=name,
        samples=samples,
        x_ctl=x_ctl,
        panel=panel,
        genes=GeneReport(report, column_of_gene, n_genes, {"matched": n_genes - 3, "missing": 3}),
        scale=ScaleReport("tpm", "log2", "The largest value is 14.2.", "none"),
        input_sha256=digest,
        notes=("UTF-8, comma, samples in rows.", "Décimale: point."),
    )


def melanoma_pairs(n_pairs: int = 20) -> PairedProfiles:
    """Pairs of real profiles: each patient with the next one of the file."""
    profiles = melanoma_profiles()
    samples = profiles.samples.iloc[:n_pairs]
    table = samples.assign(
        sample_before=samples.index,
        sample_after=profiles.samples.index[1 : n_pairs + 1],
        dose="",
        time="24 h",
    ).rename_axis("pair_id")
    others = [name for name in table.columns if name not in PAIR_COLUMNS]
    return PairedProfiles(
        name="nivolumab é.csv",
        pairs=table[[*PAIR_COLUMNS, *others]],
        x_before=profiles.x_ctl[:n_pairs].copy(),
        x_after=profiles.x_ctl[1 : n_pairs + 1].copy(),
        unit="log2",
        panel=profiles.panel,
        genes=profiles.genes,
        scale_transform="log2(CPM + 1)",
        input_sha256=profiles.input_sha256,
        notes=("Two biopsies of Pt3 after treatment: the first is used.",),
    )


def melanoma_prediction(n_rows: int = 102, n_genes: int = 120) -> Prediction:
    """Rows patient x drug; the numbers are differences between real profiles."""
    profiles = melanoma_profiles(n_genes)
    drugs = list(SMILES)
    n = len(profiles)
    sample = np.arange(n_rows) % n
    drug = [drugs[(i // n) % 2] for i in range(n_rows)]
    rows = pd.DataFrame(
        {
            "sample_id": profiles.samples.index[sample],
            "patient_id": profiles.samples["patient_id"].to_numpy()[sample],
            "drug": drug,
            "smiles": [SMILES[name] for name in drug],
            "inchikey": [INCHIKEYS[name] for name in drug],
            "dose_um": 10.0 ** (np.arange(n_rows) % 7 - 3) / 3,
            "time_h": np.where(np.arange(n_rows) % 2, 24.0, 6.0),
            "n_missing_genes": profiles.n_missing[sample],
            "drug_fallback": "",
        },
        index=pd.Index([f"row {i}" for i in range(n_rows)], name="row_id"),
    )
    measured = profiles.genes.column_of_gene >= 0
    genes = pd.DataFrame(
        {
            "entrez_id": profiles.panel.entrez,
            "ensembl_id": profiles.panel.ensembl,
            "measured": measured,
        },
        index=pd.Index(profiles.panel.symbols, name="symbol"),
    )
    x_pert = np.nan_to_num(profiles.x_ctl[sample], nan=-0.0)
    x_deg = x_pert - x_pert[::-1] * np.float32(1 / 3)
    provenance = {
        "cohort": {"name": profiles.name, "input_sha256": profiles.input_sha256},
        "genes": profiles.genes.counts,
        "edges": {"kind": "quantile", "range": [0.0, float("inf")], "spread": float("nan")},
        "model_name": "l1000-cpu",
        "model_digest": "d" * 64,
        "notes": ["Research use only."],
        "seed": 7,
    }
    return Prediction(rows, genes, x_deg, x_pert, provenance)


def assert_bits_equal(one: np.ndarray, other: np.ndarray) -> None:
    """Same type, shape and bits: also of NaN and of minus zero."""
    assert (one.dtype, one.shape) == (other.dtype, other.shape)
    assert one.tobytes() == other.tobytes()


def assert_same_table(one: pd.DataFrame, other: pd.DataFrame) -> None:
    """Same labels, types, values, and kinds of missing values."""
    assert_frame_equal(one, other, check_exact=True)
    for name in one.columns:
        missing = one[name].isna()
        kinds = [[type(v) for v in frame[name][missing].tolist()] for frame in (one, other)]
        assert kinds[0] == kinds[1], name


def assert_same_profiles(one: Profiles, other: Profiles) -> None:
    """Everything of two `Profiles` is equal."""
    assert_same_table(one.samples, other.samples)
    assert_same_table(one.genes.table, other.genes.table)
    assert_bits_equal(one.x_ctl, other.x_ctl)
    assert_bits_equal(one.genes.column_of_gene, other.genes.column_of_gene)
    assert one.panel == other.panel
    assert one.genes.counts == other.genes.counts
    assert one.genes.panel_size == other.genes.panel_size
    assert (one.scale, one.name, one.notes) == (other.scale, other.name, other.notes)
    assert one.input_sha256 == other.input_sha256


def assert_same_prediction(one: Prediction, other: Prediction) -> None:
    """Everything of two `Prediction` is equal."""
    assert_same_table(one.rows, other.rows)
    assert_same_table(one.genes, other.genes)
    assert_bits_equal(one.x_deg, other.x_deg)
    assert_bits_equal(one.x_pert, other.x_pert)
    # NaN differs from itself, its text does not.
    assert repr(one.provenance) == repr(other.provenance)
