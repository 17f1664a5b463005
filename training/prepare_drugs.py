"""Build the drug library from the knowledge tables, openly licensed rows only.

Usage::

    python -m training.prepare_drugs KNOWLEDGE_FOLDER LINCS_COMPOUNDS.parquet

The folder holds ``drugs.parquet`` and ``dti.parquet``; the file is the LINCS2020 compound table
with its own mechanisms. Hand-written tables stand in ``assets/drugs`` already:
``name_structures.csv`` (which of several structures a name means; checked by molecular formula),
``research_codes.csv`` (its connectivity column is checked, and filled where empty),
``structure_corrections.csv`` and ``additional_compounds.csv`` (checked by InChIKey) and
``agents_without_structure.csv``. Written are ``library.parquet`` and the code table; the numbers
printed go into ``PROVENANCE.md``.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pandas as pd
from rdkit import Chem, rdBase
from rdkit.Chem.rdMolDescriptors import CalcMolFormula

from xpert_core.drugs.library import COLUMNS
from xpert_core.drugs.search import plain
from xpert_core.drugs.standardise import parent_structure
from xpert_core.errors import DrugError
from xpert_core.files import atomic_path, sha256_file, write_bytes_atomic
from xpert_core.graph.tables import OPEN_LICENCES

FOLDER = Path(__file__).resolve().parent.parent / "assets" / "drugs"
# Rows written by hand ("facts") are added from agents_without_structure.csv.
LIBRARY_LICENCES = tuple(licence for licence in OPEN_LICENCES if licence != "facts")
OPEN_ORIGINS = ("L1000", "DrugCentral")
OPEN_MOA_SOURCE = "signatureSearch/lincs_pert_info2"
CLOSED_SMILES_SOURCE = "CIGER"
AGENT_NOTE = "An antibody: it has no small-molecule structure, so only its target is used."
NO_STRUCTURE_NOTE = "No structure of this compound is published."


def open_compounds(drugs: pd.DataFrame) -> pd.DataFrame:
    """Compounds and columns of open origin; structures without a licence are left out."""
    kept = drugs[drugs["origin"].isin(OPEN_ORIGINS)].copy()
    kept.loc[kept["smiles_source"] == CLOSED_SMILES_SOURCE, "smiles"] = ""
    kept["source"] = kept["origin"].map(
        {"L1000": "LINCS2020 compound table", "DrugCentral": "DrugCentral 2023"}
    )
    wanted = ["drug_id", "pert_id", "name", "smiles", "chembl_id", "source"]
    ranking = ["is_touchstone", "n_sig_lincs2015"]
    return kept[wanted + ranking].fillna("").reset_index(drop=True)


def standard_structure(smiles: str) -> dict[str, Any]:
    """Fields of the parent structure; a note alone when there is none that can be used."""
    empty: dict[str, Any] = {"smiles": "", "inchikey": "", "molar_mass": float("nan")}
    if not smiles:
        return {**empty, "notes": [NO_STRUCTURE_NOTE]}
    try:
        return parent_structure(smiles)
    except DrugError as error:
        return {**empty, "notes": [f"Used without its structure. {error.what}"]}


def with_structures(compounds: pd.DataFrame) -> pd.DataFrame:
    """Replace `smiles` by the standard parent and add what follows from it."""
    with ProcessPoolExecutor(max_workers=2) as pool:
        fields = pool.map(standard_structure, compounds["smiles"], chunksize=500)
        structures = pd.DataFrame(list(fields), index=compounds.index)
    result = compounds.drop(columns="smiles").join(structures)
    result["connectivity"] = result["inchikey"].str[:14]
    return result


def add_compounds(compounds: pd.DataFrame, additional: pd.DataFrame) -> pd.DataFrame:
    """Append DrugCentral compounds that the knowledge table has from a closed source only."""
    for row in additional.to_dict("records"):
        check_key(row)
    extra = additional.drop(columns="inchikey").assign(
        pert_id="", chembl_id="", is_touchstone=False, n_sig_lincs2015=0
    )
    return pd.concat([compounds, extra[compounds.columns]], ignore_index=True)


def check_key(row: dict[Any, Any]) -> None:
    """Refuse a hand-written structure that does not have the InChIKey beside it."""
    if parent_structure(row["smiles"])["inchikey"] != row["inchikey"]:
        raise SystemExit(f"The structure of {row['name']} does not have its InChIKey.")


def correct_structures(compounds: pd.DataFrame, corrections: pd.DataFrame) -> pd.DataFrame:
    """Replace structures the source has wrong; the InChIKey of each correction is checked."""
    result = compounds.set_index("drug_id")
    for row in corrections.to_dict("records"):
        check_key(row)
        if result.loc[row["drug_id"], "name"] != row["name"]:
            raise SystemExit(f"{row['drug_id']} is not {row['name']}.")
        result.loc[row["drug_id"], "smiles"] = row["smiles"]
    return result.reset_index()


def settle_names(compounds: pd.DataFrame, meant: pd.DataFrame) -> pd.DataFrame:
    """Take a name away from the structures it does not mean.

    Those compounds are known by their id (or by another name of the same structure). The column
    `described` holds the connectivity that a row's name means: targets and mechanisms were listed
    under the name, so they belong there.
    """
    result = compounds.assign(described=compounds["connectivity"])
    keys = result["name"].map(plain)
    for row in meant.to_dict("records"):
        right = result[result["connectivity"] == row["connectivity"]]
        named = keys == plain(row["name"])
        wrong = named & ~result["connectivity"].isin(["", row["connectivity"]])
        if right.empty or not wrong.any():
            raise SystemExit(f"{row['name']} is not in the tables with several structures.")
        if CalcMolFormula(Chem.MolFromSmiles(right["smiles"].iloc[0])) != row["formula"]:
            raise SystemExit(f"The structure of {row['name']} is not {row['formula']}.")
        result.loc[wrong, "name"] = result.loc[wrong, "drug_id"]
        result.loc[wrong, "chembl_id"] = ""
        result.loc[wrong, "described"] = row["connectivity"]
    return result


def add_annotation(
    compounds: pd.DataFrame, dti: pd.DataFrame, lincs: pd.DataFrame, closed_smiles: Iterable[str]
) -> pd.DataFrame:
    """Add targets, mechanisms and the sources of both, shared among one connectivity."""
    rows = dti[(dti["tier"] == "mechanism") & dti["licence"].isin(LIBRARY_LICENCES)]
    rows = rows[~(rows["inferred_by_structure"] & rows["drug_id"].isin(set(closed_smiles)))]
    lincs = lincs[(lincs["source"] == OPEN_MOA_SOURCE) & lincs["moa"].fillna("").ne("")]
    labels = lincs.assign(moa=lincs["moa"].str.split(";")).explode("moa")
    labels["moa"] = labels["moa"].str.strip()

    result = compounds.copy()
    result["group"] = result["connectivity"].where(result["connectivity"] != "", result["drug_id"])
    described = result["described"].where(result["described"] != "", result["drug_id"])
    group_of = dict(zip(result["drug_id"], described, strict=True))
    for column, ids, values in (
        ("targets", rows["drug_id"], rows["gene"]),
        ("target_sources", rows["drug_id"], rows["source"].astype(str)),
        ("moa", labels["pert_id"], labels["moa"]),
    ):
        pairs = pd.DataFrame({"group": ids.map(group_of), "value": values}).dropna()
        united = pairs.groupby("group")["value"].agg(lambda found: "|".join(sorted(set(found))))
        result[column] = result["group"].map(united).fillna("")
    return result


def attach_codes(compounds: pd.DataFrame, codes: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Give every compound of the code table its common name and codes.

    Returns the compounds, with a column of further names, and the code table with its
    connectivity column filled; pairs whose compound is not in the library are left out.
    A compound whose name is the code takes the common name, and structureless rows of the same
    compound take the structure.
    """
    result = compounds.assign(extra="", key=compounds["name"].map(plain))
    kept = []
    for name, group in codes.groupby("name", sort=False):
        names = {plain(str(name)), *group["code"].map(plain)}
        named = result[result["key"].isin(names)]
        if named.empty:
            continue
        block = common_connectivity(str(name), named)
        pinned = set(group["connectivity"]) - {"", block}
        if pinned:
            raise SystemExit(f"{name} has connectivity {block}, the code table says {pinned}.")
        rows = named.index[named["connectivity"].isin(["", block])]
        structured = named.index[named["connectivity"] == block]
        extra = [*result.loc[rows, "name"], *group["code"]]
        result.loc[rows, "extra"] = "|".join(dict.fromkeys(extra))
        result.loc[rows, "name"] = name
        # Another structure under the code only is a mistake of the source: known by its id.
        other = named.index[~named.index.isin(rows) & (named["key"] != plain(str(name)))]
        result.loc[other, "name"] = result.loc[other, "drug_id"]
        bare = result.index.isin(rows) & (result["connectivity"] != block)
        for column in ("smiles", "inchikey", "molar_mass", "connectivity", "targets", "moa"):
            result[column] = result[column].mask(bare, result.loc[structured[0], column])
        kept.append(group.assign(connectivity=block))
    return result.drop(columns="key"), pd.concat(kept)


def common_connectivity(name: str, named: pd.DataFrame) -> str:
    """Connectivity all names of one compound share, the preferred one; "" when none has any."""
    blocks = [set(rows["connectivity"]) - {""} for _, rows in named.groupby("key")]
    blocks = [found for found in blocks if found]
    if not blocks:
        return ""
    common = set.intersection(*blocks)
    if not common:
        raise SystemExit(f"The names of {name} belong to different structures: {blocks}.")
    return next(block for block in named["connectivity"] if block in common)


def in_order_of_preference(compounds: pd.DataFrame) -> pd.DataFrame:
    """Rows sorted so that the first of several of one name or connectivity is the one to show."""
    keys = pd.DataFrame(
        {
            "structure": compounds["smiles"] == "",
            "annotated": (compounds["targets"] == "") & (compounds["moa"] == ""),
            "named": compounds["name"].str.startswith("BRD-"),
            "touchstone": ~compounds["is_touchstone"].astype(bool),
            "measured": -compounds["n_sig_lincs2015"].astype(int),
            "name": compounds["name"].str.lower(),
            "id": compounds["drug_id"],
        }
    )
    return compounds.loc[keys.sort_values(list(keys.columns)).index].reset_index(drop=True)


def merge_same(compounds: pd.DataFrame) -> pd.DataFrame:
    """One row per full InChIKey (per id without one); other names and ids become synonyms."""
    key = compounds["inchikey"].where(compounds["inchikey"] != "", compounds["drug_id"])
    merged = []
    for _, rows in compounds.groupby(key, sort=False):
        first = rows.iloc[0].to_dict()
        names = [*rows["name"], *"|".join(rows["extra"]).split("|"), *rows["pert_id"]]
        own = {plain(first["name"]), plain(first["pert_id"]), ""}
        others = {plain(n): n for n in reversed(names) if plain(n) not in own}
        first["synonyms"] = "|".join(sorted(others.values()))
        first["chembl_id"] = next((c for c in rows["chembl_id"] if c), "")
        sources = {*rows["source"], *"|".join(rows["target_sources"]).split("|")} - {""}
        first["sources"] = "|".join(sorted(sources))
        merged.append(first)
    return pd.DataFrame(merged)


def agents(table: pd.DataFrame) -> pd.DataFrame:
    """Rows of the library for agents without a structure."""
    return table.assign(
        drug_id="AGENT:" + table["name"],
        pert_id="",
        smiles="",
        inchikey="",
        connectivity="",
        molar_mass=float("nan"),
        chembl_id="",
        sources="drug label",
        notes=AGENT_NOTE,
    )


def read_facts(name: str) -> pd.DataFrame:
    """A hand-written table of ``assets/drugs``."""
    return pd.read_csv(FOLDER / f"{name}.csv", dtype=str, keep_default_na=False)


def build(knowledge: Path, lincs_path: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The library table and the checked code table."""
    drugs = pd.read_parquet(knowledge / "drugs.parquet")
    closed = drugs.loc[drugs["smiles_source"] == CLOSED_SMILES_SOURCE, "drug_id"]
    additional = read_facts("additional_compounds")
    compounds = correct_structures(open_compounds(drugs), read_facts("structure_corrections"))
    compounds = with_structures(add_compounds(compounds, additional))
    compounds = settle_names(compounds, read_facts("name_structures"))
    dti = pd.read_parquet(knowledge / "dti.parquet")
    ids = dti["drug"].map(additional.set_index("name")["drug_id"])
    dti["drug_id"] = ids.fillna(dti["drug_id"])
    compounds = add_annotation(compounds, dti, pd.read_parquet(lincs_path), closed)
    codes = read_facts("research_codes")
    compounds, codes = attach_codes(in_order_of_preference(compounds), codes)
    compounds = merge_same(in_order_of_preference(compounds))
    compounds["notes"] = compounds["notes"].map("|".join)
    unknown = (
        compounds["name"].str.startswith("BRD-")
        & (compounds["smiles"] == "")
        & (compounds["targets"] == "")
        & (compounds["moa"] == "")
    )
    antibodies = read_facts("agents_without_structure")
    taken = set(compounds["name"].map(plain))
    antibodies = antibodies[~antibodies["name"].map(plain).isin(taken)]
    library = pd.concat([compounds[~unknown], agents(antibodies)], ignore_index=True)
    return library[list(COLUMNS)], codes.sort_values("name", key=lambda s: s.str.lower())


def main() -> None:
    """Command line."""
    rdBase.DisableLog("rdApp.*")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("knowledge", type=Path, help="folder of drugs.parquet and dti.parquet")
    parser.add_argument("lincs", type=Path, help="lincs_compounds.parquet")
    arguments = parser.parse_args()
    library, codes = build(arguments.knowledge, arguments.lincs)
    target = FOLDER / "library.parquet"
    with atomic_path(target) as temporary:
        library.to_parquet(temporary, index=False, compression="zstd")
    target.chmod(0o644)
    content = codes[["name", "code", "connectivity"]].to_csv(index=False, lineterminator="\n")
    write_bytes_atomic(FOLDER / "research_codes.csv", content.encode())
    (FOLDER / "research_codes.csv").chmod(0o644)
    counts = {
        "compounds": len(library),
        "with a structure": int((library["smiles"] != "").sum()),
        "with a target": int((library["targets"] != "").sum()),
        "with a mechanism": int((library["moa"] != "").sum()),
        "code pairs": len(codes),
    }
    print(", ".join(f"{name}: {count}" for name, count in counts.items()))
    print(f"{target.name}: {target.stat().st_size} bytes, sha256 {sha256_file(target)}")


if __name__ == "__main__":
    main()
