"""Sections of a report: Markdown to read in a repository, and the same as HTML."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd


@dataclass(frozen=True)
class Figure:
    """A figure of the HTML report.

    Attributes
    ----------
    name : str
        Identifier within the page.
    chart : altair chart
    caption : str
        What it shows, for the eye and for a screen reader.
    """

    name: str
    chart: Any
    caption: str


@dataclass(frozen=True)
class Section:
    """A part of the report.

    Attributes
    ----------
    title, text : str
        Text in Markdown: paragraphs, lists and tables.
    figures : tuple of Figure
        In the HTML report alone.
    tables : dict of str to DataFrame
        What is written in full beside the report, by file name.
    """

    title: str
    text: str
    figures: tuple[Figure, ...] = ()
    tables: Mapping[str, pd.DataFrame] = field(default_factory=dict)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; a bar within a cell would end it, so it becomes a slash."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(str(c).replace('|', '/') for c in line)} |" for line in lines)


def interval(mean: float, low: float, high: float, *, sign: bool = False) -> str:
    """``0.123 [0.100, 0.150]``; without the brackets where there is no interval."""
    form = "+.3f" if sign else ".3f"
    if math.isnan(mean):
        return ""
    if math.isnan(low):
        return f"{mean:{form}}"
    return f"{mean:{form}} [{low:{form}}, {high:{form}}]"


def p_value(p: float) -> str:
    """``p = 0.012``; "" for NaN."""
    if math.isnan(p):
        return ""
    return f"p = {p:.2g}" if p >= 1e-300 else "p < 1e-300"


def place_of(scenario: str, readout: str) -> str:
    """How headings name a scenario and read-out."""
    return f"**{scenario}, {readout}**"


def page(name: str, first: str, notes: str, sections: Sequence[Section]) -> str:
    """The report as one HTML file that needs no network: figures carry their own scripts."""
    body = [f"<h1>Benchmark: {html.escape(name)}</h1>", _blocks(first), _blocks(notes)]
    links = (
        f'<li><a href="#section-{number}">{html.escape(section.title)}</a></li>'
        for number, section in enumerate(sections, 1)
    )
    body.append(f"<nav><h2>Contents</h2><ul>{''.join(links)}</ul></nav>")
    scripts = True
    for number, section in enumerate(sections, 1):
        body.append(f'<h2 id="section-{number}">{html.escape(section.title)}</h2>')
        for figure in section.figures:
            body.append(_embedded(figure, scripts))
            scripts = False
        body.append(_blocks(section.text))
    return _FRAME.format(title=html.escape(name), body="\n".join(body))


def _embedded(figure: Figure, scripts: bool) -> str:
    import json

    caption = html.escape(figure.caption)
    chart = figure.chart.properties(description=figure.caption)
    if scripts:
        drawn = chart.to_html(inline=True, fullhtml=False, output_div=figure.name)
    else:
        # The first figure brought the scripts. "</" would end this one.
        spec = json.dumps(chart.to_dict()).replace("</", "<\\/")
        drawn = (
            f'<div id="{figure.name}"></div><script>vegaEmbed("#{figure.name}", {spec}, '
            '{"mode": "vega-lite"}).catch(console.error);</script>'
        )
    return (
        f'<figure><div role="img" aria-label="{caption}">{drawn}</div>'
        f"<figcaption>{caption}</figcaption></figure>"
    )


def _inline(text: str) -> str:
    # Stars of a p-value stand after a space: they open nothing.
    return re.sub(r"\*\*(?=\S)(.+?)(?<=\S)\*\*", r"<b>\1</b>", html.escape(text))


def _blocks(text: str) -> str:
    """Tables, lists and paragraphs of the report's own Markdown."""
    found = []
    for block in text.split("\n\n"):
        lines = block.splitlines()
        if lines[0].startswith("|"):
            cells = [[_inline(c.strip()) for c in line[1:-1].split("|")] for line in lines]
            head = "".join(f"<th>{c}</th>" for c in cells[0])
            rest = "".join(
                "<tr>" + "".join(f"<td>{c}</td>" for c in row) + "</tr>" for row in cells[2:]
            )
            found.append(f"<table><tr>{head}</tr>{rest}</table>")
        elif lines[0].startswith("- "):
            found.append("<ul>" + "".join(f"<li>{_inline(x[2:])}</li>" for x in lines) + "</ul>")
        else:
            found.append(f"<p>{_inline(block)}</p>")
    return "\n".join(found)


_FRAME = """\
<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<style>
:root {{ --ink: #222; --paper: #fff; --line: #ccd; --faint: #555; --link: #0059a8; }}
@media (prefers-color-scheme: dark) {{
  :root {{ --ink: #e4e4e7; --paper: #16181d; --line: #454a57; --faint: #a5a9b4; --link: #7cb8ff; }}
}}
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 1200px; margin: 2rem auto;
  padding: 0 1rem; color: var(--ink); background: var(--paper); }}
a {{ color: var(--link); }}
table {{ border-collapse: collapse; margin: 1rem 0; display: block; overflow-x: auto; }}
th, td {{ border: 1px solid var(--line); padding: .3rem .6rem; text-align: left;
  white-space: nowrap; }}
figure {{ margin: 1rem 0; }}
/* Figures are drawn for white paper, whatever the page is. */
figure > div {{ background: #fff; color: #222; overflow-x: auto; border-radius: 4px; }}
figcaption {{ color: var(--faint); }}
</style></head><body>
{body}
</body></html>
"""
