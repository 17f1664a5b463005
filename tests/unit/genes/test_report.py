"""Whole files: which column is kept, what is counted, what a person reads and downloads."""

from __future__ import annotations

import csv
import io
import shutil

import numpy as np
import pandas as pd
import pytest

from xpert_core.errors import GeneError
from xpert_core.genes import STATUSES, describe, report_csv, resolve
from xpert_core.genes.tables import load_tables
from xpert_core.paths import assets_dir

METADATA = {
    "patient_id", "timepoint", "cancer_type", "drug", "smiles", "dose", "time", "response",
}  # fmt: skip


def header(name: str) -> list[str]:
    path = assets_dir() / "examples" / f"user_upload_{name}.csv"
    with path.open(encoding="utf-8") as stream:
        return [cell for cell in next(csv.reader(stream)) if cell not in METADATA]


@pytest.mark.parametrize(
    ("name", "n_columns", "n_found", "n_renamed"),
    [
        ("pretreatment_melanoma_nivolumab", 22_069, 977, 13),
        ("paired_breast_letrozole", 106, 26, 0),
        ("paired_breast_doxorubicin", 1_201, 156, 2),
    ],
)
def test_real_files(panel, name, n_columns, n_found, n_renamed):
    identifiers = header(name)
    report = resolve(identifiers, panel)
    assert len(identifiers) == n_columns
    assert report.n_found == n_found
    assert report.counts["alias repaired"] == n_renamed
    assert report.counts["missing"] == 978 - n_found
    assert report.counts["ambiguous"] == report.counts["duplicate"] == 0
    assert len(report.table) == n_columns + 978 - n_found


def test_melanoma_file_lacks_mif_and_has_newer_symbols(panel):
    table = resolve(header("pretreatment_melanoma_nivolumab"), panel).table
    assert table.loc[table["status"].eq("missing"), "symbol"].tolist() == ["MIF"]
    renamed = table[table["status"].eq("alias repaired")].set_index("identifier")["symbol"]
    assert renamed["GFUS"] == "TSTA3"
    assert renamed["H2BC21"] == "HIST2H2BE"


def test_every_column_and_gene_is_accounted_for(panel):
    identifiers = ["GNPDA1", "gnpda1", "OCT1", "2-Sep", "AARS1", "TP53", "TP53", "", "1-May"]
    report = resolve(identifiers, panel)
    assert tuple(report.counts) == STATUSES
    assert sum(report.counts.values()) == len(report.table) == len(identifiers) + 978 - 4
    assert report.table["status"].isin(STATUSES).all()
    assert report.table["entrez_id"].dtype == "Int64"
    assert report.column_of_gene.dtype == np.int64
    assert report.column_of_gene.shape == (978,)
    kept = report.column_of_gene[report.column_of_gene >= 0]
    assert sorted(kept) == [0, 4, 5, 8]


@pytest.mark.parametrize(
    ("identifiers", "kept"),
    [
        (["GNPDA1", "GNPDA1"], 0),
        (["gnpda1", "GNPDA1"], 1),  # the panel's own spelling before another
        (["10007", "ENSG00000113552"], 0),  # ids are equals: the first
        (["218382_s_at", "10007", "GNPDA1"], 2),
        (["GNPDA1.1", "10007"], 1),  # a repeat made by R or pandas comes last
    ],
)
def test_one_column_of_a_gene_is_kept(panel, identifiers, kept):
    report = resolve(identifiers, panel)
    assert report.column_of_gene[panel.symbols.index("GNPDA1")] == kept
    table = report.table.iloc[: len(identifiers)]
    others = table[table["symbol"].eq("GNPDA1")].drop(index=kept)
    assert others["status"].eq("duplicate").all()
    assert others["note"].str.contains(f"column '{identifiers[kept]}'", regex=False).all()


def test_best_probe_by_jetset_score_whatever_the_order(panel):
    probes = ["1565483_at", "201983_s_at", "201984_s_at", "211550_at"]  # EGFR on HG-U133 Plus 2
    scores = [load_tables().probe(probe.upper())[1] for probe in probes]
    gene = panel.symbols.index("EGFR")
    best = probes[int(np.argmax(scores))]
    for order in (probes, probes[::-1]):
        report = resolve(order, panel)
        assert order[report.column_of_gene[gene]] == best
        assert report.counts["duplicate"] == len(probes) - 1
    assert report.table["note"].str.contains("higher jetset score").sum() == len(probes) - 1


def test_probes_without_score_go_by_id_and_say_so(panel):
    probes = ["ILMN_1696521", "ILMN_1728858", "ILMN_1755535", "ILMN_1798975"]  # EGFR on HT-12
    for order in (probes, probes[::-1]):
        report = resolve(order, panel)
        assert order[report.column_of_gene[panel.symbols.index("EGFR")]] == probes[0]
        notes = report.table.loc[report.table["status"].eq("duplicate"), "note"]
        assert len(notes) == 3
        assert notes.str.contains("no probe score").all()


@pytest.mark.parametrize(("chip", "n_found"), [("_AT", 976), ("ILMN_", 978)])
def test_whole_chips(panel, chip, n_found):
    table = pd.read_parquet(assets_dir() / "genes" / "probes.parquet")
    probes = [p for p in table["probe_id"] if chip in p]
    assert resolve(probes, panel).n_found >= n_found


def test_the_summary_is_readable(panel):
    text = describe(resolve([*panel.symbols[:700], "AARS1", "OCT1", "1-May", "2-Sep", "X"], panel))
    assert text.startswith("70")
    assert "of 978 panel genes were found" in text
    assert "1 column (OCT1) may mean several genes and is not used." in text
    assert "1 column with a date stood for genes outside the panel." in text
    assert "and 2" in text.split("Missing:")[1]


def test_the_summary_of_a_complete_file_is_short(panel):
    assert describe(resolve(panel.symbols, panel)) == "978 of 978 panel genes were found (100.0 %)."


def test_the_summary_warns_of_mouse_symbols(panel):
    mouse = [symbol.capitalize() for symbol in panel.symbols[:50]]
    assert "mouse" in describe(resolve(mouse, panel))
    assert "mouse" not in describe(resolve(panel.symbols[:50], panel))


def test_an_empty_file_finds_nothing(panel):
    report = resolve([], panel)
    assert (report.n_found, report.counts["missing"]) == (0, 978)
    assert "0 of 978" in describe(report)


def test_download_holds_the_table_without_formulas(panel):
    dangerous = ["=1+1", "+cmd", "-2", "@SUM(A1)", "\tTP53x", "TP53"]
    report = resolve(dangerous, panel)
    content = report_csv(report)
    read = list(csv.DictReader(io.StringIO(content.decode("utf-8-sig"))))
    assert [r["identifier"] for r in read[:6]] == [f"'{i}" for i in dangerous[:5]] + ["TP53"]
    assert len(read) == len(report.table)
    assert read[5]["entrez_id"] == "7157"
    assert not any(cell[:1] in tuple("=+-@\t") for r in read for cell in r.values() if cell)
    assert report.table["identifier"][0] == "=1+1"  # the report itself is left as it was


def test_report_survives_a_round_trip_through_csv(panel):
    report = resolve(["GNPDA1", "OCT1"], panel)
    table = pd.read_csv(io.BytesIO(report_csv(report)), keep_default_na=False)
    assert table["status"].tolist() == report.table["status"].tolist()


def test_damaged_tables_are_named(panel, tmp_path, monkeypatch):
    shutil.copytree(assets_dir() / "genes", tmp_path / "genes")
    (tmp_path / "genes" / "names.parquet").write_bytes(b"PAR1 but not Parquet")
    monkeypatch.setenv("XPERT_ASSETS", str(tmp_path))
    with pytest.raises(GeneError, match="missing or damaged") as caught:
        resolve(["TP53"], panel)
    assert caught.value.where.endswith("names.parquet")
