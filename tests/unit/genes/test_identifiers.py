"""One identifier at a time: every kind that a file may use."""

from __future__ import annotations

import pytest

from xpert_core.genes import resolve


@pytest.mark.parametrize(
    ("identifier", "symbol", "status", "kind"),
    [
        ("GNPDA1", "GNPDA1", "matched", "symbol"),
        ("gnpda1", "GNPDA1", "matched", "symbol"),
        (" CDH3 ", "CDH3", "matched", "symbol"),
        ('"HDAC6"', "HDAC6", "matched", "symbol"),
        ("'HDAC6", "HDAC6", "matched", "symbol"),
        ("\ufeffHDAC6", "HDAC6", "matched", "symbol"),
        ("HLA-DRA", "HLA-DRA", "matched", "symbol"),
        ("HLA.DRA", "HLA-DRA", "matched", "symbol"),
        ("AARS1", "AARS", "alias repaired", "alias"),  # current symbol
        ("aars1", "AARS", "alias repaired", "alias"),
        ("IKBKAP", "ELP1", "alias repaired", "alias"),  # L1000 symbol of 2017
        ("TMEM2", "CEMIP2", "alias repaired", "alias"),  # HGNC symbol of 2020
        ("AlaRS", "AARS", "alias repaired", "alias"),  # alias
        ("CK2alpha'", "CSNK2A2", "alias repaired", "alias"),  # the apostrophe belongs to it
        ("ENSG00000113552", "GNPDA1", "matched", "ensembl"),
        ("ENSG00000113552.15", "GNPDA1", "matched", "ensembl"),
        ("ensg00000113552.4", "GNPDA1", "matched", "ensembl"),
        ("10007", "GNPDA1", "matched", "entrez"),
        ("10007.0", "GNPDA1", "matched", "entrez"),
        ("GeneID:10007", "GNPDA1", "matched", "entrez"),
        ("X10007", "GNPDA1", "matched", "entrez"),  # R puts an X before a number
        ("HGNC:20", "AARS", "matched", "hgnc"),
        ("hgnc:20", "AARS", "matched", "hgnc"),
        ("201000_at", "AARS", "matched", "probe"),
        ("201000_AT", "AARS", "matched", "probe"),
        ("X201000_at", "AARS", "matched", "probe"),
        ("202332_at", "CSNK1E", "matched", "probe"),  # L1000's own, jetset has none
        ("GNPDA1|10007", "GNPDA1", "matched", "entrez"),
        ("?|10007", "GNPDA1", "matched", "entrez"),
        ("GNPDA1 (10007)", "GNPDA1", "matched", "entrez"),
        ("ENSG00000113552.15_GNPDA1", "GNPDA1", "matched", "ensembl"),
        ("GNPDA1_ENSG00000113552.15", "GNPDA1", "matched", "ensembl"),
        ("ENSG00000113552|GNPDA1", "GNPDA1", "matched", "ensembl"),
        ("AARS /// AARS1", "AARS", "matched", "symbol"),
    ],
)
def test_landmark_gene_by_any_of_its_names(row, identifier, symbol, status, kind):
    found = row(identifier)
    assert (found["symbol"], found["status"], found["kind"]) == (symbol, status, kind)
    assert found["identifier"] == identifier


@pytest.mark.parametrize(
    ("identifier", "entrez"),
    [
        ("A1BG", 1),
        ("SEPTIN2", 4735),
        ("SEPT2", 4735),
        ("MARCHF1", 55016),
        ("DELEC1", 50514),
        # Official for one gene, an alias of a landmark gene (BHLHE40, GMNN, PSMD2 would be wrong).
        ("DEC1", 50514),
        ("Gem", 2669),
        ("GEM", 2669),
        ("TPP1", 1200),
        ("UPK3B", 105375355),  # not the retired record 80761
    ],
)
def test_official_symbol_of_another_gene_never_leads_to_a_landmark(row, identifier, entrez):
    found = row(identifier)
    assert (found["status"], found["symbol"], found["entrez_id"]) == ("extra", "", entrez)


def test_rpn1_is_not_psmd2(row):
    """Sources list Rpn1 as an alias of PSMD2; RPN1 is a landmark gene of its own."""
    assert row("Rpn1")["symbol"] == "RPN1"


@pytest.mark.parametrize("identifier", ["OCT1", "EGFR /// EGFR-AS1", "ang1", "ENSG00000174640"])
def test_ambiguous_names_are_reported_and_not_used(panel, identifier):
    report = resolve([identifier], panel)
    found = report.table.iloc[0]
    assert (found["status"], found["symbol"]) == ("ambiguous", "")
    assert " or " in found["note"]
    assert report.n_found == 0


def test_aliases_that_differ_by_case_alone_count_as_spelled(row):
    assert row("Ang1")["entrez_id"] == 284
    assert row("ANG1")["entrez_id"] == 7108


def test_ambiguous_name_is_mentioned_at_the_missing_landmark(panel):
    table = resolve(["PROX"], panel).table  # an alias of PDHX is spelled proX; PROX is nobody's own
    assert table["status"][0] == "ambiguous"
    assert "'PROX'" in table.set_index("symbol").loc["PDHX", "note"]


@pytest.mark.parametrize(
    ("identifier", "words"),
    [
        ("XYZZY", "Not known as a human gene"),
        ("ENSG00000999999", "Not known as a human gene"),
        ("999999999", "Not known as a human gene"),
        ("ENSMUSG00000029580", "another species"),
        ("ENST00000233143", "transcript or protein"),
        ("", "no name"),
        ("  ", "no name"),
        ("=cmd|' /C calc'!A0", "Not known as a human gene"),
        ("<script>alert(1)</script>", "Not known as a human gene"),
        ("x" * 10_000, "Not known as a human gene"),
    ],
)
def test_unknown_identifiers_are_extra_and_say_why(row, identifier, words):
    found = row(identifier)
    assert (found["status"], found["symbol"]) == ("extra", "")
    assert found.isna()["entrez_id"]
    assert words in found["note"]


def test_blank_cells_of_a_table_do_not_become_genes(panel):
    report = resolve([None, float("nan"), "GNPDA1"], panel)
    assert report.table["identifier"].tolist()[:3] == ["", "", "GNPDA1"]
    assert report.column_of_gene[0] == 2


def test_names_with_a_sequence_number_are_not_repeats_of_an_alias(row):
    assert row("AC004840.1")["status"] == "extra"


@pytest.mark.parametrize("column", ["symbol", "ensembl", "entrez"])
def test_the_whole_panel_by_each_of_its_ids(panel, column):
    names = {"symbol": panel.symbols, "ensembl": panel.ensembl, "entrez": panel.entrez}[column]
    report = resolve([str(name) for name in names], panel)
    assert report.column_of_gene.tolist() == list(range(978))
    assert report.counts["matched"] == 978


def test_the_whole_panel_in_lower_case(panel):
    assert resolve([s.lower() for s in panel.symbols], panel).n_found == 978
