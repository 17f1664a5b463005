"""Panels: the published order, a user's own, and files that must be refused."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from xpert_core.errors import GeneError
from xpert_core.genes import load_panel, resolve

THREE = "symbol,entrez_id,ensembl_id\nTP53,7157,ENSG00000141510\nEGFR,1956.0,\nMARCHF1,55016,\n"


def write(folder: Path, content: str | bytes, name: str = "mine.csv") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_l1000_is_in_the_published_order(panel):
    assert len(panel) == len(set(panel.entrez)) == 978
    assert panel.symbols[:4] == ("GNPDA1", "CDH3", "HDAC6", "PARP2")
    assert panel.symbols[-3:] == ("MVP", "CDC42", "DMTF1")
    assert panel.entrez[:2] == (10007, 1001)
    assert all(len(e) == 15 and e.startswith("ENSG") for e in panel.ensembl)


def test_digest_is_of_name_and_entrez_ids_in_order(panel):
    content = "l1000:" + ",".join(str(e) for e in panel.entrez)
    assert panel.digest == hashlib.sha256(content.encode()).hexdigest()
    # Trained models carry this value: a change makes every one of them unusable.
    assert panel.digest == "2bc104de6738750ccbfc146fc2e5210793358e1540888080f496669f4f2f0e40"


def test_own_panel_keeps_its_order_and_name(tmp_path):
    panel = load_panel(write(tmp_path, "\ufeff" + THREE))
    assert (panel.name, panel.symbols) == ("mine", ("TP53", "EGFR", "MARCHF1"))
    assert panel.entrez == (7157, 1956, 55016)
    assert panel.ensembl == ("ENSG00000141510", "", "")
    assert load_panel(str(tmp_path / "mine.csv")) == panel


def test_ensembl_column_may_be_absent_and_others_may_follow(tmp_path):
    path = write(tmp_path, "Symbol, entrez_id ,group\nTP53,7157,a\n\nEGFR,1956,b\n")
    assert load_panel(path).entrez == (7157, 1956)


def test_edited_panel_is_read_again(tmp_path):
    path = write(tmp_path, THREE)
    before = load_panel(path)
    path.write_text(THREE.replace("EGFR,1956.0", "KRAS,3845"), encoding="utf-8")
    after = load_panel(path)
    assert after.symbols[1] == "KRAS"
    assert after.digest != before.digest


def test_own_panel_resolves_names_of_its_genes(tmp_path):
    panel = load_panel(write(tmp_path, THREE))
    report = resolve(["MARCH1", "ENSG00000141510.17", "ERBB1", "GNPDA1"], panel)
    assert report.column_of_gene.tolist() == [1, 2, 0]
    assert report.table["status"].tolist() == [
        "alias repaired", "matched", "alias repaired", "extra"
    ]  # fmt: skip


def test_panel_may_hold_genes_the_tables_do_not_know(tmp_path):
    panel = load_panel(
        write(tmp_path, "symbol,entrez_id,ensembl_id\nMYGENE9,900000001,ENSG99999999999\n")
    )
    for identifier in ("mygene9", "900000001", "ensg99999999999.2"):
        assert resolve([identifier], panel).n_found == 1


@pytest.mark.parametrize(
    ("content", "what", "where"),
    [
        ("symbol,ensembl_id\nTP53,\n", "no column entrez_id", "symbol, ensembl_id"),
        ("", "no column symbol and no column entrez_id", "none"),
        ("symbol;entrez_id\nTP53;7157\n", "no column symbol", "symbol;entrez_id"),
        ("symbol,entrez_id\n", "empty", "mine.csv"),
        ("symbol,entrez_id\nTP53,7157\n ,1956\n", "no symbol", "row 3"),
        ("symbol,entrez_id\nA,1\nB,x1\n", "Entrez id", "row 3, column entrez_id, value 'x1'"),
        ("symbol,entrez_id\nTP53,-5\n", "Entrez id", "'-5'"),
        ("symbol,entrez_id\nTP53,0\n", "Entrez id", "'0'"),
        ("symbol,entrez_id\nTP53\n", "Entrez id", "row 2"),
        ("symbol,entrez_id\nTP53,7157\ntp53,1956\n", "same symbol", "TP53"),
        ("symbol,entrez_id\nTP53,7157\nEGFR,7157\n", "same Entrez id", "7157"),
        (
            "symbol,entrez_id,ensembl_id\nA,1,ENSG00000141510\nB,2,ENSG00000141510.4\n",
            "same Ensembl id",
            "ENSG00000141510",
        ),
        (b"symbol,entrez_id\nTP\xff53,7157\n", "cannot be read", "mine.csv"),
        ('symbol,entrez_id\n"TP53,7157\n', "cannot be read", "mine.csv"),
    ],
)  # fmt: skip
def test_bad_panels_are_refused(tmp_path, content, what, where):
    with pytest.raises(GeneError) as caught:
        load_panel(write(tmp_path, content))
    assert what in caught.value.what
    assert where in caught.value.where
    assert caught.value.fix


@pytest.mark.parametrize("name", ["l2000", "no/such/panel.csv", "../l1000"])
def test_unknown_panel_names_the_shipped_ones(name):
    with pytest.raises(GeneError, match="There is no gene panel") as caught:
        load_panel(name)
    assert "l1000" in caught.value.fix
