"""``xpert graph``: builds the knowledge graph and shows what is in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from xpert_core.drugs import Drug
    from xpert_core.graph.neighbours import Neighbours
    from xpert_core.graph.records import GraphStatistics

commands = typer.Typer(help="The knowledge graph of drugs and genes.", no_args_is_help=True)


@commands.callback()
def _group() -> None:
    """The knowledge graph of drugs and genes."""


@commands.command("build")
def build(
    targets: Annotated[
        Path | None, typer.Option(help="Your drug-target table instead of the shipped one.")
    ] = None,
    ppi: Annotated[
        Path | None, typer.Option(help="Your gene interaction table instead of the shipped one.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Graph file to write.")] = Path("graph.safetensors"),
    tiers: Annotated[
        str, typer.Option(help="Tiers of targets to keep, such as mechanism,target.")
    ] = "mechanism",
    include_restricted: Annotated[
        bool,
        typer.Option(
            "--include-restricted",
            help="Keep target rows under restricted licences, for those who may use them.",
        ),
    ] = False,
    threshold: Annotated[
        float, typer.Option(help="Tanimoto similarity above which drugs are connected.")
    ] = 0.5,
    force: Annotated[
        bool, typer.Option("--force", help="Overwrite the graph file if it exists.")
    ] = False,
) -> None:
    """Build the graph from tables and write it to one file.

    Prints which rows were left out and why, and the size of the graph. docs/graph.md lists the
    columns of the tables.
    """
    from xpert_core.cli.targets import refuse_overwrite
    from xpert_core.graph.build import assemble, build_graph, save_graph
    from xpert_core.graph.records import GraphStatistics

    refuse_overwrite(out, force=force)
    wanted = tuple(name.strip() for name in tiers.split(",") if name.strip())
    with _progress() as progress:
        tables = assemble(
            targets,
            ppi,
            tiers=wanted,
            include_restricted=include_restricted,
            threshold=threshold,
            progress=progress,
        )
    for dropped in tables.dropped:
        print(dropped)
    if added := tables.settings["drugs_outside_library"]:
        print(f"{added:,} drugs are not in the library: added, without a molecule token")
    save_graph(build_graph(tables), out)
    _print_statistics(GraphStatistics.of(tables))
    print(f"Graph written to {out}")


@contextmanager
def _progress() -> Iterator[Callable[[str, int, int], None]]:
    """One bar a step."""
    from xpert_core.cli.console import progress_bar

    with progress_bar() as bar:
        tasks = {}

        def show(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(what, total=total)
            bar.update(tasks[what], completed=done)

        yield show


def _print_statistics(statistics: GraphStatistics) -> None:
    for node, count in statistics.nodes.items():
        isolated, bare = statistics.isolated[node], statistics.without_features[node]
        print(f"{node} nodes: {count:,} ({isolated:,} without an edge, {bare:,} without features)")
    print(f"drugs with a target: {statistics.drugs_with_target:,}")
    for relation, count in statistics.edges.items():
        sparsity = statistics.relation_sparsity[relation]
        print(f"edges, {relation}: {count:,} (sparsity {100 * sparsity:.3f} %)")
    print(f"sparsity of the whole graph: {100 * statistics.sparsity:.3f} %")
    for note in statistics.notes:
        print(f"Note: {note}")


@commands.command("info")
def info(
    file: Annotated[
        Path | None, typer.Argument(help="A graph file; the shipped graph when left out.")
    ] = None,
) -> None:
    """Show the size of a graph."""
    from xpert_core.graph.build import read_description, shipped_tables
    from xpert_core.graph.records import GraphStatistics

    if file is None:
        tables = shipped_tables()
        statistics, settings = GraphStatistics.of(tables), tables.settings
    else:
        statistics, settings = read_description(file)
    print(f"Graph: {file or 'shipped'}")
    restricted = "all licences" if settings["include_restricted"] else "open licences only"
    print(f"Targets: {settings['targets']}, {' and '.join(settings['tiers'])}, {restricted}")
    print(f"Interactions: {settings['ppi']}. Similar: Tanimoto above {settings['threshold']}")
    _print_statistics(statistics)


@commands.command("neighbours")
def neighbours(
    drug: Annotated[str, typer.Argument(help="A drug name, LINCS id, InChIKey or SMILES.")],
    limit: Annotated[int, typer.Option(min=1, max=500, help="Most drugs of each list.")] = 10,
) -> None:
    """Show a drug's targets and the nearest drugs, by structure and by embedding."""
    from xpert_core.drugs import DrugLibrary
    from xpert_core.graph.build import shipped_tables
    from xpert_core.graph.neighbours import neighbours as find

    library, tables = DrugLibrary.load(), shipped_tables()
    chosen = library.resolve(drug)
    if chosen.origin != "library":
        chosen = library.annotate(chosen)  # a SMILES of a known compound has its targets
    found = find(chosen, limit, tables)
    _print_neighbours(chosen, found)
    _print_embedded(chosen, found.key, limit)


def _print_neighbours(drug: Drug, found: Neighbours) -> None:
    from rich.table import Table

    from xpert_core.cli.console import output

    place = "in the graph" if found.in_graph else "not in the graph"
    print(f"{drug.name} ({found.key}), {place}")
    for note in drug.notes:
        print(f"Note: {note}")
    if found.targets:
        table = Table("target", "drugs with it", "interaction partners")
        for gene in found.targets:
            counts = (
                (str(gene.drugs), str(gene.partners)) if gene.known else ("not in the graph", "")
            )
            table.add_row(gene.symbol, *counts)
        output().print(table)
    else:
        print("No target is known.")
    if found.similar:
        table = Table("most similar structure", "Tanimoto", "key")
        for other in found.similar:
            table.add_row(other.name, f"{other.tanimoto:.3f}", other.key)
        output().print(table)
    else:
        print("It has no structure to compare.")


def _print_embedded(drug: Drug, key: str, limit: int) -> None:
    """Nearest drugs by embedding, where the embeddings are installed."""
    from xpert_core.graph.tables import shipped

    if not shipped("embeddings.safetensors").is_file():
        print("Nearest by embedding: the embeddings are not installed.")
        return
    from rich.table import Table

    from xpert_core.cli.console import output
    from xpert_core.drugs.featurizers import create
    from xpert_core.graph.embed import GraphEmbedder

    embedder = GraphEmbedder.load()
    vector = embedder.drug(key)
    if vector is None:
        molecule = create("aimnet2").featurize(drug).molecule if drug.smiles else None
        place = embedder.embed(drug, molecule)
        vector = place.vector
        print(place.note)
    if vector is None:
        return
    table = Table("nearest by embedding", "cosine", "key")
    for near in embedder.nearest(vector, limit, exclude=key):
        table.add_row(near.name, f"{near.cosine:.3f}", near.key)
    output().print(table)
