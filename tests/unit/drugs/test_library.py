"""The drug library: real compounds found by everything people type."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from xpert_core.drugs import library as library_module
from xpert_core.drugs.library import COLUMNS, DrugLibrary
from xpert_core.drugs.search import plain
from xpert_core.drugs.standardise import parent_structure
from xpert_core.errors import DrugError, UnknownDrugError
from xpert_core.paths import assets_dir

VORINOSTAT = "WAEXFXRVDQXREF-UHFFFAOYSA-N"
IMATINIB = "KTUFNOKKBVMGRW-UHFFFAOYSA-N"


@pytest.fixture(scope="module")
def library() -> DrugLibrary:
    return DrugLibrary.load()


@pytest.fixture(scope="module")
def table():
    return pq.read_table(assets_dir() / "drugs" / "library.parquet").to_pandas()


def names(library: DrugLibrary, query: str, limit: int = 20) -> list[str]:
    return [hit.drug.name for hit in library.search(query, limit)]


# ---------------------------------------------------------------- the table


def test_table_is_large_whole_and_small_on_disk(library, table):
    assert tuple(table.columns) == COLUMNS
    assert len(library) == len(table) > 30_000
    assert (assets_dir() / "drugs" / "library.parquet").stat().st_size < 8_000_000
    assert table["drug_id"].is_unique and table["name"].str.len().min() > 0
    structured = table[table["inchikey"] != ""]
    assert structured["inchikey"].is_unique
    assert (structured["inchikey"].str[:14] == structured["connectivity"]).all()
    assert structured["molar_mass"].gt(0).all() and structured["smiles"].ne("").all()


def test_table_holds_open_sources_only(table):
    assert not table["drug_id"].str.startswith("HUB:").any()
    sources = {s for text in table["sources"] for s in text.split("|")}
    assert "LINCS2020 compound table" in sources and "DrugCentral 2018" in sources
    closed = re.compile(
        "Repurposing|CIGER|TTD|TEND|TALC|MyCancer|TdgClin|PDSP|PubChem|Patent|STITCH"
    )
    assert not [source for source in sources if closed.search(source)]


def test_structures_are_in_standard_form(table):
    sample = table[table["smiles"] != ""].iloc[::1500]
    for row in sample.itertuples():
        found = parent_structure(row.smiles)
        assert (found["smiles"], found["inchikey"]) == (row.smiles, row.inchikey), row.name


def test_research_codes_lead_to_their_drug(library):
    path = assets_dir() / "drugs" / "research_codes.csv"
    rows = list(csv.DictReader(path.open(encoding="utf-8")))
    assert len(rows) > 300
    for row in rows:
        drug = library.resolve(row["code"])
        assert drug.name == row["name"], row
        assert drug.connectivity == row["connectivity"], row


def test_agents_without_structure_have_their_targets(library):
    expected = {
        "nivolumab": "PDCD1",
        "pembrolizumab": "PDCD1",
        "ipilimumab": "CTLA4",
        "trastuzumab": "ERBB2",
        "cetuximab": "EGFR",
        "bevacizumab": "VEGFA",
        "rituximab": "MS4A1",
    }
    for name, target in expected.items():
        drug = library.resolve(name)
        assert drug.targets == (target,) and drug.smiles == "" and drug.connectivity == ""
        assert drug.key == f"name:{name}"
        assert any("antibody" in note for note in drug.notes)


@pytest.mark.parametrize(
    ("name", "target", "key"),
    [
        ("vorinostat", "HDAC1", VORINOSTAT),
        ("imatinib", "ABL1", IMATINIB),
        ("gefitinib", "EGFR", "XGALLCVXEZPNRQ-UHFFFAOYSA-N"),
        ("letrozole", "CYP19A1", "HPJKCIUCZWXJDR-UHFFFAOYSA-N"),
        ("trametinib", "MAP2K1", "LIRYPHYGHXZJBZ-UHFFFAOYSA-N"),
        ("vemurafenib", "BRAF", "GPXBXXGIAQBQNI-UHFFFAOYSA-N"),
        ("lapatinib", "ERBB2", "BCFGMOOMADDAQU-UHFFFAOYSA-N"),
        ("venetoclax", "", "LQBVNQSMGBZMKD-UHFFFAOYSA-N"),
        ("cisplatin", "", "LXZZYRPGZAFOLE-UHFFFAOYSA-L"),
        ("carmustine", "", "DLGOEMSEDOSKAD-UHFFFAOYSA-N"),
    ],
)
def test_well_known_drugs_are_right(library, name, target, key):
    drug = library.resolve(name)
    assert drug.name == name and drug.inchikey == key and drug.origin == "library"
    assert not target or target in drug.targets


KNOWN = Path(__file__).parents[2] / "data" / "known_structures.csv"


@pytest.mark.parametrize("row", list(csv.DictReader(KNOWN.open())), ids=lambda row: row["name"])
def test_names_lead_to_their_structure(library, row):
    """132 drugs with InChIKeys of the literature: the table was not made from the library."""
    drug = library.resolve(row["name"])
    assert drug.connectivity == row["connectivity"], drug.smiles
    assert not [note for note in drug.notes if "different structures" in note]


def test_a_name_of_several_structures_means_the_one_decided(library, table):
    rows = list(csv.DictReader((assets_dir() / "drugs" / "name_structures.csv").open()))
    assert len(rows) > 90
    for row in rows:
        assert library.resolve(row["name"]).connectivity == row["connectivity"], row
        named = table[table["name"].map(plain) == plain(row["name"])]
        assert set(named["connectivity"]) <= {row["connectivity"]}, row
    # What the name does not mean is still there, under its own id, without the drug's targets.
    wrong = library.resolve("BRD-K01976263")
    assert wrong.smiles == "N[C@@H](CCl)C(=O)O" and wrong.targets == ()


def test_names_left_undecided_say_so(library, table):
    structured = table[table["connectivity"] != ""]
    several = structured.groupby(structured["name"].map(plain))["connectivity"].nunique()
    undecided = set(several[several > 1].index)
    assert undecided <= {
        "antimycina", "cyanocobalamin", "garcinol", "penitrema", "picrotoxin", "sericetin",
        "tunicamycin",
    }  # fmt: skip
    assert any("different structures" in note for note in library.resolve("garcinol").notes)
    assert not any("different structures" in n for n in library.resolve("trametinib").notes)


# ---------------------------------------------------------------- search


@pytest.mark.parametrize(
    ("query", "name", "score", "matched_on"),
    [
        ("vorinostat", "vorinostat", 100, "name vorinostat"),
        ("VORINOSTAT", "vorinostat", 100, "name vorinostat"),
        ("saha", "vorinostat", 96, "synonym SAHA"),
        ("GDC-0199", "venetoclax", 96, "synonym GDC-0199"),
        ("gdc 0199", "venetoclax", 96, "synonym GDC-0199"),
        ("ABT199", "venetoclax", 96, "synonym ABT-199"),
        ("PLX–4032", "vemurafenib", 96, "synonym PLX-4032"),
        ("imatinib mesylate", "imatinib", 96, "name imatinib, another salt form"),
        ("BRD-K12343256", "trametinib", 95, "identifier BRD-K12343256"),
        ("brd-k12343256-001-03-2", "trametinib", 95, "identifier BRD-K12343256"),
        (VORINOSTAT, "vorinostat", 95, f"InChIKey {VORINOSTAT}"),
        (VORINOSTAT[:14].lower(), "vorinostat", 95, f"InChIKey {VORINOSTAT[:14]}"),
    ],
)
def test_exact_matches_come_first(library, query, name, score, matched_on):
    first = library.search(query)[0]
    assert (first.drug.name, first.score, first.matched_on) == (name, score, matched_on)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("letrozol", "letrozole"),
        ("lettrozole", "letrozole"),
        ("letorzole", "letrozole"),
        ("imatnib", "imatinib"),
        ("vemurafanib", "vemurafenib"),
        ("dexamethazone", "dexamethasone"),
    ],
)
def test_misspelled_names_are_found(library, typed, meant):
    hit = library.search(typed)[0]
    assert hit.drug.name == meant and hit.score < 90
    with pytest.raises(UnknownDrugError) as caught:
        library.resolve(typed)
    assert meant in caught.value.fix and typed in caught.value.where


def test_beginning_of_a_name(library):
    assert names(library, "trametin")[0] == "trametinib"
    assert names(library, "vemuraf")[0] == "vemurafenib"


def test_targets_find_their_drugs(library):
    hits = library.search("EGFR", limit=60)
    assert hits[0].matched_on == "target EGFR"
    assert all("EGFR" in hit.drug.targets for hit in hits if hit.matched_on == "target EGFR")
    assert {"gefitinib", "erlotinib", "lapatinib", "cetuximab"} <= set(names(library, "egfr", 200))


def test_a_gene_in_capitals_is_the_gene(library):
    assert library.search("MET")[0].matched_on == "target MET"
    assert "metformin" in names(library, "metf")


def test_mechanisms_find_their_drugs(library):
    hits = library.search("MEK inhibitor", limit=50)
    assert all("MEK inhibitor" in hit.drug.moa for hit in hits[:10])
    found = {hit.drug.name for hit in hits}
    assert {"trametinib", "selumetinib", "mirdametinib"} <= found
    plural = library.search("mek inhibitors", limit=50)
    assert hits[:10] == plural[:10]
    assert "vemurafenib" in names(library, "BRAF inhibitor")


def test_one_hit_a_compound_best_first(library):
    hits = library.search("dexa", limit=50)
    keys = [hit.drug.connectivity or hit.drug.name for hit in hits]
    assert len(keys) == len(set(keys)) > 5
    scores = [hit.score for hit in hits]
    assert scores == sorted(scores, reverse=True)


@pytest.mark.parametrize("limit", [0, 1, 7])
def test_limit_is_kept(library, limit):
    assert len(library.search("inhibitor", limit)) == limit


@pytest.mark.parametrize(
    "query", ["", "  ", "-", "'; DROP TABLE drugs; --", "x" * 14_000, "🧪", "\x00"]
)
def test_odd_queries_find_nothing_and_do_no_harm(library, query):
    assert library.search(query) == []


# ---------------------------------------------------------------- resolve


@pytest.mark.parametrize(
    "text",
    ["imatinib", " Imatinib ", "IMATINIB", "STI-571", "sti571", "imatinib mesylate", IMATINIB],
)
def test_resolve_by_any_spelling(library, text):
    assert library.resolve(text).inchikey == IMATINIB


def test_another_name_is_said(library):
    assert any("GDC-0199" in note for note in library.resolve("GDC-0199").notes)
    assert not library.resolve("venetoclax").notes


def test_another_salt_is_said(library):
    assert any("salt" in note for note in library.resolve("imatinib mesylate").notes)


def test_inchikey_of_another_stereoisomer_is_said(library):
    drug = library.resolve(IMATINIB[:14] + "-ZZZZZZZZSA-N")
    assert drug.name == "imatinib" and any("stereochemistry" in n for n in drug.notes)


def test_resolve_smiles(library):
    drug = library.resolve("O=C(CCCCCCC(=O)Nc1ccccc1)NO")
    assert drug.origin == "smiles" and drug.inchikey == VORINOSTAT
    assert "HDAC1" in drug.targets and any("vorinostat" in note for note in drug.notes)
    assert library.resolve("CCO").origin == "smiles"


@pytest.mark.parametrize("text", ["CCCP", "FCCP", "NPPB"])
def test_a_known_name_wins_over_a_smiles_of_the_same_letters(library, text):
    drug = library.resolve(text)
    assert drug.origin == "library" and drug.name == text


@pytest.mark.parametrize(
    "text", ["CO", "CN", "NO", "BOC", "I", "F", "CNO", "PCP", "SNP", "COP", "Cl", "CP-5", "N-O"]
)
def test_a_few_capitals_are_never_taken_for_a_structure(library, text):
    with pytest.raises(UnknownDrugError) as caught:
        library.resolve(text)
    assert "SMILES" in caught.value.fix


def test_a_short_structure_can_still_be_meant(library):
    assert library.resolve("[CH3]O").smiles == "CO"


@pytest.mark.parametrize("text", ["zzqqxyv", "not a drug at all", "x" * 14_000, "CC-50199", "C1CC"])
def test_unknown_names_are_refused_with_suggestions(library, text):
    with pytest.raises(UnknownDrugError) as caught:
        library.resolve(text)
    offered = re.search(r"Did you mean (.*?)\? ", caught.value.fix)
    assert offered and 3 <= len(offered[1].split(", ")) <= 5
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("CC(=O)Xc1", "cannot be read as SMILES"),
        ("CCN(CC", "cannot be read as SMILES"),
        ("C" * 5000, "5000"),
        ("C" * 130, "130 heavy atoms"),
        ("*CC", "undefined group"),
        ("CC>>CO", "reaction"),
        ("", "No drug was given"),
        ("\u200b ", "No drug was given"),
    ],
)
def test_structures_that_cannot_be_used_say_why(library, text, message):
    with pytest.raises(DrugError, match=message):
        library.resolve(text)


def test_every_name_in_the_table_resolves_to_itself(library, table):
    for row in table.iloc[::97].itertuples():
        assert library.resolve(row.name).name == row.name
        assert library.resolve(row.drug_id).name == row.name


# ---------------------------------------------------------------- faults


@pytest.mark.parametrize("content", [None, b"", b"no parquet at all"])
def test_missing_or_damaged_table_is_named(content, tmp_path):
    path = tmp_path / "library.parquet"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DrugError, match="library cannot be read") as caught:
        library_module._load(path)
    assert str(path) in caught.value.where


def test_table_of_another_version_is_refused(tmp_path, table):
    path = tmp_path / "library.parquet"
    table.drop(columns="moa").to_parquet(path)
    with pytest.raises(DrugError, match="library"):
        library_module._load(path)
