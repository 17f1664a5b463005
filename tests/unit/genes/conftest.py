"""The shipped panel and short ways to ask about single identifiers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pandas as pd
import pytest

from xpert_core.genes import GenePanel, load_panel, resolve


@pytest.fixture(scope="session")
def panel() -> GenePanel:
    return load_panel()


@pytest.fixture
def rows(panel: GenePanel) -> Callable[[Sequence[str]], pd.DataFrame]:
    """The report's rows of the given identifiers, without the missing genes."""

    def ask(identifiers: Sequence[str], of: GenePanel = panel) -> pd.DataFrame:
        return resolve(identifiers, of).table.iloc[: len(identifiers)]

    return ask


@pytest.fixture
def row(rows: Callable[[Sequence[str]], pd.DataFrame]) -> Callable[[str], pd.Series]:
    """The report's row of one identifier that stands alone in its file."""
    return lambda identifier: rows([identifier]).iloc[0]
