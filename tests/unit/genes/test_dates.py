"""Gene names that a spreadsheet turned into dates."""

from __future__ import annotations

import pytest

from xpert_core.genes import load_panel, resolve
from xpert_core.genes.dates import day_of_serial, days_of_text

SEPT2, MARCH3, MARCH1, MARC1, DELEC1 = 4735, 115123, 55016, 64757, 50514


@pytest.mark.parametrize(
    "text",
    [
        "2-Sep", "02-Sep", "Sep-02", "Sep-2", "SEP-02", "2-sep", "Sept-2", "2/Sep", "2 Sep",
        "2-Sep-23", "02-Sep-2023", "Sep 2, 2023", "2023-09-02", "2023-09-02 00:00:00",
        "2023-09-02T00:00:00", "02.09.2023", "02. Sep", "2. Sept.", "02-sept", "2-set",
    ],
)  # fmt: skip
def test_spellings_of_one_day(text):
    assert days_of_text(text) == ((9, 2),)


@pytest.mark.parametrize("text", ["1-mars", "01. Mrz", "1-Mär", "1-mrt", "01-MARCH"])
def test_spellings_of_march_in_other_languages(text):
    assert days_of_text(text) == ((3, 1),)


def test_digits_alone_leave_day_and_month_open():
    assert days_of_text("3/1/2023") == ((3, 1),)  # January has no gene family
    assert days_of_text("01/03/2023") == ((3, 1),)
    assert days_of_text("3/9/2023") == ((3, 9), (9, 3))
    assert days_of_text("12-1") == ((12, 1),)


@pytest.mark.parametrize(
    "text",
    ["TP53", "HLA-DRA", "MARCH1", "SEPT2", "NKX2-1", "3.9", "1.03", "2023", "0-Mar", "32-Mar",
     "1-Foo", "2023-01-05", "6/7/2023", "201000_at", "", "-", "CD3-4", "IL-12", "MIR-1"],
)  # fmt: skip
def test_what_is_no_date(text):
    assert days_of_text(text) == ()


def test_serial_numbers():
    assert day_of_serial(44621) == (3, 1)  # 1 March 2022
    assert day_of_serial(45171) == (9, 2)  # 2 September 2023
    assert day_of_serial(35400) == (12, 1)  # 1 December 1996
    assert day_of_serial(44682) is None  # 1 May 2022
    assert day_of_serial(7157) is None
    assert day_of_serial(10**9) is None


@pytest.mark.parametrize(
    ("text", "gene"), [("2-Sep", SEPT2), ("Sep-02", SEPT2), ("3-Mar", MARCH3), ("15-Sep", 9403)]
)
def test_genes_outside_the_panel_are_named(row, text, gene):
    found = row(text)
    assert (found["status"], found["symbol"], found["kind"]) == ("date repaired", "", "date")
    assert found["entrez_id"] == gene
    assert "Not in the panel" in found["note"]


def test_first_of_march_stays_open(row):
    found = row("1-Mar")
    assert (found["status"], found["symbol"]) == ("date repaired", "")
    assert found.isna()["entrez_id"]
    assert "MARCH1 (now MARCHF1) or MARC1 (now MTARC1)" in found["note"]


def test_first_of_march_is_the_gene_without_a_column_of_its_own(rows):
    found = rows(["MARCH1", "1-Mar"]).iloc[1]
    assert found["entrez_id"] == MARC1
    assert "column of its own" in found["note"]


def test_landmark_genes_at_risk(panel, rows):
    """Of the 978 only PRKCD (once MAY1) and BHLHE40 (once DEC1) have names that become dates."""
    dates = [f"{day}-{month}" for month in (
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"
    ) for day in range(1, 32)]  # fmt: skip
    report = resolve(dates, panel)
    table = report.table.iloc[: len(dates)]
    assert table.loc[table["symbol"].ne(""), "identifier"].tolist() == ["1-May"]
    assert table.loc[table["symbol"].ne(""), "symbol"].tolist() == ["PRKCD"]
    unsure = table.loc[table["status"].eq("ambiguous") & table["note"].str.contains("BHLHE40")]
    assert unsure["identifier"].tolist() == ["1-Dec"]


def test_first_of_may_fills_the_landmark_gene(row):
    found = row("1-May")
    assert (found["status"], found["symbol"], found["entrez_id"]) == (
        "date repaired",
        "PRKCD",
        5580,
    )
    assert "MAY1" in found["note"]


def test_date_gives_way_to_the_gene_itself(panel):
    report = resolve(["1-May", "PRKCD"], panel)
    assert report.table["status"].tolist()[:2] == ["duplicate", "matched"]
    assert report.column_of_gene[panel.symbols.index("PRKCD")] == 1


def test_first_of_december_is_not_guessed(panel):
    report = resolve(["1-Dec"], panel)
    assert report.table["status"][0] == "ambiguous"
    assert "DEC1 (now DELEC1)" in report.table["note"][0]
    assert "BHLHE40" in report.table["note"][0]
    assert report.n_found == 0
    missing = report.table.set_index("symbol").loc["BHLHE40"]
    assert (missing["status"], "'1-Dec'" in missing["note"]) == ("missing", True)


def test_first_of_december_beside_bhlhe40_is_delec1(panel):
    table = resolve(["BHLHE40", "1-Dec"], panel).table
    assert table["status"].tolist()[:2] == ["matched", "date repaired"]
    assert table["entrez_id"][1] == DELEC1


def test_day_and_month_in_open_order_stay_open(row):
    found = row("3/9/2023")
    assert found.isna()["entrez_id"]
    assert "MARCH9" in found["note"]
    assert "SEPT3" in found["note"]


def test_date_without_a_gene_is_extra(row):
    assert row("15-Jan")["status"] == "extra"
    assert "no gene's name" in row("15-Jan")["note"]


@pytest.mark.parametrize("identifier", ["44621", "44621.0"])
def test_serial_number_among_symbols_is_a_date(rows, identifier):
    found = rows(["GNPDA1", "CDH3", "TP53", identifier]).iloc[3]
    assert (found["status"], found["kind"]) == ("date repaired", "date")
    assert "44621 was read as a spreadsheet's serial number" in found["note"]


def test_serial_number_among_entrez_ids_is_an_entrez_id(rows, panel):
    found = rows([*map(str, panel.entrez[:5]), "44621"]).iloc[5]
    assert found["kind"] == "entrez"
    assert "not as a spreadsheet date" in found["note"]


def test_entrez_id_among_symbols_is_no_date(rows):
    found = rows(["CDH3", "TP53", "10007"]).iloc[2]
    assert (found["status"], found["symbol"]) == ("matched", "GNPDA1")


@pytest.fixture
def panel_with_march1(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text("symbol,entrez_id\nMARCHF1,55016\nSEPTIN2,4735\n", encoding="utf-8")
    return load_panel(path)


def test_of_two_meanings_the_one_in_the_panel_is_taken_and_said(panel_with_march1):
    report = resolve(["1-Mar", "2-Sep"], panel_with_march1)
    assert report.column_of_gene.tolist() == [0, 1]
    assert report.table["status"].tolist() == ["date repaired", "date repaired"]
    assert "MARC1" in report.table["note"][0]
    assert "please check" in report.table["note"][0]


def test_two_columns_of_one_day_with_two_meanings_are_ambiguous(panel_with_march1):
    report = resolve(["1-Mar", "Mar-01"], panel_with_march1)
    assert report.table["status"].tolist()[:2] == ["ambiguous", "ambiguous"]
    assert report.column_of_gene.tolist() == [-1, -1]
