"""A figure as every page shows it: drawing, what it says and does not say, table, downloads."""

from __future__ import annotations

from datetime import date

import pandas as pd
import streamlit as st

from app.components.charts import Chart, draw
from app.components.exports import figure_bar
from app.components.text import plain, slug, without_formulas


def figure(
    chart: Chart, table: pd.DataFrame, says: str, *, name: str, about: str, digits: int = 3
) -> None:
    """Draw a chart with its sentence, its table and its downloads.

    Parameters
    ----------
    chart : Chart
        Its description is the alt text of the table too.
    table : DataFrame
        The numbers behind it, with units in the column names.
    says : str
        What the figure shows and what it does not.
    name : str
        Of the figure: part of file names and keys.
    about : str
        Drug, cohort or model: part of the file names.
    digits : int
        Digits after the point in the table on the page; files hold all.
    """
    draw(chart)
    st.caption(plain(says))
    with st.expander(f"Numbers behind the figure ({len(table):,} rows)"):
        st.dataframe(
            without_formulas(table.round(digits)),
            hide_index=True,
            alt=str(chart.to_dict().get("description", name)),
        )
    stem = f"xpert_{slug(name)}_{slug(about)}_{date.today().isoformat()}"
    figure_bar(chart, table, stem, f"fig-{name}")
