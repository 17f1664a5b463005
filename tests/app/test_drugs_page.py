"""The Drugs page: the place of a known, a new and an unknown drug."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from streamlit.testing.v1 import AppTest

from app import keys


def text_of(page: AppTest) -> str:
    parts = [*page.markdown, *page.info, *page.error, *page.caption, *page.subheader]
    return "\n".join(str(part.value) for part in parts)


def look_up(page: AppTest, drug: str) -> AppTest:
    return page.text_input(key=keys.PLACE_QUERY).set_value(drug).run()


def test_empty_page_shows_the_maps_and_their_agreement(open_page: Callable[..., AppTest]) -> None:
    page = open_page("drugs")
    assert not page.exception and not page.error
    every, unseen = (frame.value.set_index("Space")["Agreement"] for frame in page.dataframe[-2:])
    for table in (every, unseen):
        assert table.index[0] == "Knowledge graph"
        assert table.between(0, 1).all()
        # The null stands beside the score.
        assert table["Knowledge graph"] > table["Knowledge graph, untrained encoder"]
        assert table["Chance"] == table.min()
    assert every["Knowledge graph"] > unseen["Knowledge graph"]


def test_library_drug(open_page: Callable[..., AppTest]) -> None:
    page = look_up(open_page("drugs"), "gefitinib")
    assert not page.exception and not page.error
    targets, by_structure, by_biology = (frame.value for frame in page.dataframe[:3])
    assert "EGFR" in set(targets["Target gene"])
    assert len(by_structure) == len(by_biology) == 10
    assert "gefitinib" not in set(by_structure["Drug"]) | set(by_biology["Drug"])
    assert by_biology["Mechanism or targets"].str.contains("EGFR").sum() >= 3


def test_new_structure(open_page: Callable[..., AppTest]) -> None:
    page = look_up(open_page("drugs"), "CCOc1cc2ncnc(Nc3ccc(F)c(Cl)c3)c2cc1OCCCN1CCOCC1")
    assert not page.exception and not page.error
    assert "Not in the graph: embedded now" in text_of(page)
    assert "gefitinib" in set(page.dataframe[0].value["Drug"])


def test_agent_without_a_structure(open_page: Callable[..., AppTest]) -> None:
    page = look_up(open_page("drugs"), "nivolumab")
    assert not page.exception and not page.error
    assert "PDCD1" in set(page.dataframe[0].value["Target gene"])
    assert "This agent has no structure." in text_of(page)


@pytest.mark.parametrize("typed", ["no such drug", "C1CC"])
def test_what_cannot_be_read_is_explained(open_page: Callable[..., AppTest], typed: str) -> None:
    page = look_up(open_page("drugs"), typed)
    assert not page.exception
    assert page.error
    assert page.dataframe  # the maps below stand
