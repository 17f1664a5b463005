"""CMap text matrices, GCT 1.2 and 1.3: genes in rows, samples in columns."""

from __future__ import annotations

from dataclasses import dataclass

from xpert_core.cohorts.readers import reader
from xpert_core.cohorts.source import Source
from xpert_core.cohorts.table import LABEL, RawTable, assemble
from xpert_core.cohorts.text import detect_encoding, rows, text_stream
from xpert_core.errors import CohortError


@dataclass(frozen=True)
class _Sizes:
    """What the second line of a GCT file announces."""

    n_genes: int
    n_samples: int
    n_gene_fields: int
    n_sample_fields: int


@reader(".gct", content="text")
def read_gct(source: Source) -> RawTable:
    """Read GCT 1.2 or 1.3; descriptive rows and columns become metadata.

    Raises
    ------
    CohortError
        When the version line or the announced dimensions are wrong.
    """
    encoding = detect_encoding(source)
    with text_stream(source, encoding) as stream:
        version, dimensions = stream.readline().strip(), stream.readline().split()
    sizes = _sizes(version, dimensions, source.name)
    n_fields = 1 + sizes.n_gene_fields
    table = assemble(
        rows(source, encoding, "\t", skip=2),
        name=source.name,
        delimiter="\t",
        n_fields=n_fields,
        n_metadata_rows=sizes.n_sample_fields,
    )
    found = table.values.shape
    if found != (sizes.n_genes, sizes.n_samples):
        raise CohortError(
            f"The file announces {sizes.n_genes:,} genes and {sizes.n_samples:,} samples, but "
            f"holds {found[0]:,} and {found[1]:,}.",
            where=f"{source.name}, row 2",
            fix="The file may be cut off: download or export it again.",
        )
    own_label = next(iter(table.row_fields))
    table.row_fields = {LABEL: table.row_fields.pop(own_label), **table.row_fields}
    table.genes_in = "rows"
    table.notes.insert(0, f"Read as GCT {version[1:]}.")
    return table


def _sizes(version: str, dimensions: list[str], name: str) -> _Sizes:
    if version not in ("#1.2", "#1.3"):
        raise CohortError(
            "The file does not begin with '#1.2' or '#1.3', as a GCT file must.",
            where=f"{name}, row 1",
            fix="Save it as GCT 1.2 or 1.3, or as CSV.",
        )
    expected = 2 if version == "#1.2" else 4
    if len(dimensions) < expected or not all(d.isdigit() for d in dimensions[:expected]):
        raise CohortError(
            f"The second line of a GCT {version[1:]} file must hold {expected} whole numbers.",
            where=f"{name}, row 2",
            fix="The file may be damaged: download or export it again.",
        )
    numbers = [int(d) for d in dimensions[:expected]]
    # GCT 1.2 always has a Description column and never sample metadata.
    return _Sizes(*numbers) if version == "#1.3" else _Sizes(numbers[0], numbers[1], 1, 0)
