"""``xpert drugs``: looks drugs up in the library."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer

commands = typer.Typer(help="Look drugs up in the library.", no_args_is_help=True)


@commands.callback()
def _group() -> None:
    """Look drugs up in the library."""


@commands.command("search")
def search(
    query: Annotated[
        str, typer.Argument(help="A name, synonym, LINCS id, InChIKey, mechanism or target gene.")
    ],
    limit: Annotated[int, typer.Option(min=1, max=500, help="Most rows to show.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
) -> None:
    """Search the drug library.

    Spelling mistakes are forgiven. Exit status 1 when nothing matches.
    """
    from xpert_core.drugs import DrugLibrary

    hits = DrugLibrary.load().search(query, limit=limit)
    if as_json:
        rows = [
            {**asdict(hit.drug), "score": hit.score, "matched_on": hit.matched_on} for hit in hits
        ]
        for row in rows:
            # NaN is not JSON; an agent without a structure has no molar mass.
            row["molar_mass"] = row["molar_mass"] if row["smiles"] else None
        print(json.dumps(rows, indent=2))
        return
    if not hits:
        print(f"No drug matches '{query}'. A SMILES can be used directly in xpert predict.")
        raise typer.Exit(1)
    from rich.table import Table

    from xpert_core.cli.console import output

    table = Table("drug", "matched on", "LINCS id", "mechanism", "targets", "InChIKey")
    for hit in hits:
        drug = hit.drug
        targets = ", ".join(drug.targets[:6]) + (" ..." if len(drug.targets) > 6 else "")
        table.add_row(
            drug.name, hit.matched_on, drug.pert_id, ", ".join(drug.moa), targets, drug.inchikey
        )
    output().print(table)
