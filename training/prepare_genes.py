"""Build the gene tables of ``assets/genes`` from the knowledge tables.

Usage::

    python -m training.prepare_genes KNOWLEDGE_FOLDER LANDMARK_GENES.csv

The folder holds ``genes.csv``, ``genes_all.csv.gz``, ``aliases.csv``, ``aliases_all.csv.gz`` and
``probes_*.csv.gz``; the file gives the landmark genes in the published order. Written are the
panel ``l1000.csv``, ``genes.parquet``, ``names.parquet`` and ``probes.parquet``. Hashes for
``PROVENANCE.md`` are printed.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from xpert_core.errors import GeneError
from xpert_core.files import atomic_path, sha256_file
from xpert_core.genes.dates import days_of_text
from xpert_core.genes.tables import AMBIGUOUS, AS_SPELLED, OFFICIAL, SECOND
from xpert_core.paths import assets_dir

#: Official names of a gene, strongest claim first. On a spelling that two genes claim, the
#: earlier column wins: a gene's own symbol beats one that a withdrawn locus was merged into.
OFFICIAL_COLUMNS = (
    "symbol", "hgnc_symbol_2020", "lincs2020_symbol", "hgnc_symbol_current", "symbol_lincs2017",
)  # fmt: skip
#: Kinds of alias, strongest first; kinds that are official symbols come before all of these.
ALIAS_KINDS = ("prev_symbol", "alias_symbol", "hgnchelper", "ncbi_synonym")
INPUTS = (
    "genes.csv", "genes_all.csv.gz", "aliases.csv", "aliases_all.csv.gz",
    "probes_hgu133a.csv.gz", "probes_hgu133plus2.csv.gz", "probes_other.csv.gz",
)  # fmt: skip


def read(path: Path) -> pd.DataFrame:
    """A CSV file as text, with Entrez ids as whole numbers."""
    frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    key = "entrez_id" if "entrez_id" in frame else "gene_id"
    return frame.assign(entrez_id=frame[key].astype("int64"))


def landmark_panel(order: pd.DataFrame, landmarks: pd.DataFrame) -> pd.DataFrame:
    """The 978 landmark genes in the published order."""
    panel = landmarks.set_index("entrez_id").loc[order["entrez_id"]].reset_index()
    if not (panel["symbol"] == order["gene_symbol"]).all():
        raise GeneError("The two landmark tables give different symbols for one Entrez id.")
    return panel[["symbol", "entrez_id", "ensembl_id", "title"]]


def official_names(genes: pd.DataFrame, landmarks: pd.DataFrame) -> pd.DataFrame:
    """One gene for each official spelling: columns name (upper case), entrez_id, source."""
    old = landmarks[["entrez_id", "symbol_lincs2017"]]
    # Genes without an HGNC id are retired Entrez records: they give way to the living one.
    wide = genes.merge(old, on="entrez_id", how="left").fillna("")
    wide = wide.sort_values("hgnc_id", key=lambda ids: ids == "", kind="stable")
    parts = [_rows(wide[column], wide["entrez_id"], column) for column in OFFICIAL_COLUMNS]
    names = pd.concat(parts, ignore_index=True)
    names["name"] = names["name"].str.upper()
    return names[names["name"] != ""].drop_duplicates("name")


def alias_names(aliases: pd.DataFrame, official: pd.DataFrame) -> pd.DataFrame:
    """Every other name: preferred aliases, ambiguous names, second meanings of official names.

    A name that one gene owns in one spelling, and others may own in another (``Ang1``, ``ANG1``),
    is kept as spelled; every other spelling of it is ambiguous.
    """
    aliases = aliases[~aliases["alias"].map(_spreadsheet_damage)]
    aliases = aliases.assign(upper=aliases["alias"].str.upper())
    owner = aliases["upper"].map(official.set_index("name")["entrez_id"])
    second = aliases[owner.notna() & (owner != aliases["entrez_id"])]
    free = aliases[owner.isna()]
    preferred = free[free["preferred"] == "True"]
    unowned = free[~free["alias"].isin(preferred["alias"])]
    claims = pd.concat([preferred, unowned])
    claimants = claims.groupby("upper")["entrez_id"].nunique()
    shared = {*claimants.index[claimants > 1], *unowned["upper"]}
    clashing = preferred[preferred["upper"].isin(shared)]
    unsure = claims[claims["upper"].isin(shared)]
    single = preferred[~preferred["upper"].isin(shared)]
    single = single.sort_values("kind", key=lambda k: k.map(_strength), kind="stable")
    single = single.drop_duplicates("upper")
    parts = [
        _rows(single["upper"], single["entrez_id"], single["kind"]),
        _rows(clashing["alias"], clashing["entrez_id"], AS_SPELLED),
        _rows(unsure["upper"], unsure["entrez_id"], AMBIGUOUS),
        _rows(second["upper"], second["entrez_id"], SECOND),
    ]
    return pd.concat(parts, ignore_index=True).drop_duplicates()


def _strength(kind: str) -> int:
    return -1 if kind in OFFICIAL else ALIAS_KINDS.index(kind)


def _spreadsheet_damage(alias: str) -> bool:
    """Whether the source lists a spreadsheet's damage ("1-DEC", "12/1", "225") as a name."""
    return alias.isdecimal() or (alias[0].isdecimal() and bool(days_of_text(alias)))


def _rows(name: pd.Series, entrez: pd.Series, source: pd.Series | str) -> pd.DataFrame:
    return pd.DataFrame({"name": name, "entrez_id": entrez, "source": source})


def probe_table(folder: Path, landmarks: pd.DataFrame) -> pd.DataFrame:
    """Probe ids (upper case) with their gene and jetset score; score -1 where there is none."""
    scored = [read(folder / f"probes_{chip}.csv.gz") for chip in ("hgu133a", "hgu133plus2")]
    other = read(folder / "probes_other.csv.gz").assign(overall="-1")
    # A probe keeps its id, and its sequence, from chip to chip: the newest annotation counts.
    other = other.sort_values("platform", key=lambda p: p.map(_age), kind="stable")
    # A few landmark genes have no jetset probe set; L1000's own choice stands in.
    assigned = set(pd.concat(scored)["probe_id"])
    own = landmarks[~landmarks["l1000_probe_id"].isin(assigned)]
    own = own.rename(columns={"l1000_probe_id": "probe_id"}).assign(overall="-1")
    columns = ["probe_id", "entrez_id", "overall"]
    probes = pd.concat([frame[columns] for frame in (*scored, own, other)], ignore_index=True)
    probes["probe_id"] = probes["probe_id"].str.upper()
    probes["score"] = probes.pop("overall").astype("float32")
    return probes.drop_duplicates("probe_id").sort_values("probe_id").astype({"entrez_id": "int32"})


def _age(platform: str) -> int:
    newest_first = ("illumina_ht12_v4", "illumina_ht12_v3", "illumina_ref8_v3")
    return newest_first.index(platform) if platform in newest_first else len(newest_first)


def write_parquet(frame: pd.DataFrame, target: Path) -> None:
    """Compact Parquet without pandas metadata."""
    table = pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None)
    with atomic_path(target) as temporary:
        pq.write_table(table, temporary, compression="zstd", compression_level=19)
    print(f"{len(frame):,} rows -> {target.name}")


def main(folder: Path, order_file: Path) -> None:
    """Write every table and print the hashes."""
    out = assets_dir() / "genes"
    genes, landmarks = read(folder / "genes_all.csv.gz"), read(folder / "genes.csv")
    panel = landmark_panel(read(order_file), landmarks)
    with atomic_path(out / "l1000.csv") as temporary:
        panel.to_csv(temporary, index=False, lineterminator="\n")
    official = official_names(genes, landmarks)
    aliases = pd.concat([read(folder / "aliases.csv"), read(folder / "aliases_all.csv.gz")])
    names = pd.concat([official, alias_names(aliases, official)], ignore_index=True)
    names = names.sort_values(["name", "source", "entrez_id"])
    write_parquet(names.astype({"entrez_id": "int32", "source": "category"}), out / "names.parquet")
    known = genes[["entrez_id", "symbol", "ensembl_id"]].assign(
        current=genes["hgnc_symbol_current"].where(
            genes["hgnc_symbol_current"] != genes["symbol"], ""
        ),
        hgnc_id=genes["hgnc_id"].str.removeprefix("HGNC:").replace("", "0").astype("int32"),
    )
    write_parquet(
        known.astype({"entrez_id": "int32"}).sort_values("entrez_id"), out / "genes.parquet"
    )
    write_parquet(probe_table(folder, landmarks), out / "probes.parquet")
    for path in (*(folder / name for name in INPUTS), order_file, *sorted(out.glob("*.*"))):
        print(f"| `{path.name}` | {sha256_file(path)} |")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="folder of the knowledge tables")
    parser.add_argument("order_file", type=Path, help="landmark genes in the published order")
    arguments = parser.parse_args()
    main(arguments.folder, arguments.order_file)
