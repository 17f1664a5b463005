"""The dose x time surface in three dimensions, projected here and drawn as plain polygons.

Altair has no third dimension. The quads of the surface are painted from the farthest to the
nearest, so that what lies behind is covered, and the picture exports like any other.
"""

from __future__ import annotations

import altair as alt
import numpy as np
import pandas as pd

from app.components.charts import DOWN, NEUTRAL, UP, Chart
from app.components.dose_charts import TRAINED_LEGEND
from xpert_core.explanation.surface import Surface

ELEVATION = np.deg2rad(30)
#: Height of the value axis against the width of the floor.
HEIGHT = 0.75
#: Quads along each side.
QUADS = 26
ACROSS = alt.X("x:Q", axis=None, scale=alt.Scale(domain=[-0.98, 0.98], nice=False))
UP_PAGE = alt.Y("y:Q", axis=None, scale=alt.Scale(domain=[-0.22, 1.5], nice=False))
HATCHED, PLAIN = "no training data near", "training data near"


def surface_chart(found: Surface, title: str, azimuth: float = 40.0) -> Chart:
    """The surface seen from `azimuth` degrees, 10 to 80: from the dose side to the time side."""
    view = _View(found, np.deg2rad(azimuth))
    reach = float(np.abs(found.values).max() or 1.0)
    quads = _quads(found, view)
    surface = (
        alt.Chart(quads)
        .mark_line(filled=True, interpolate="linear-closed", strokeWidth=0.6)
        .encode(
            x=ACROSS,
            y=UP_PAGE,
            detail="piece:N",
            order="corner:Q",
            fill=alt.Fill(
                "x_deg:Q",
                title=["Change", "(log2)"],
                scale=alt.Scale(domain=[-reach, 0, reach], range=[DOWN, NEUTRAL, UP]),
            ),
            stroke=alt.Stroke(
                "edge:N",
                title="Diagonals",
                scale=alt.Scale(domain=[PLAIN, HATCHED], range=["#9AA0A6", "#111111"]),
                legend=None,
            ),
            tooltip=[
                alt.Tooltip("x_deg:Q", title="Change, log2", format="+.3f"),
                alt.Tooltip("near:N", title="Training data near"),
            ],
        )
    )
    description = (
        f"Surface in three dimensions. {title}. Predicted change over dose and time, from "
        f"{found.values.min():+.2f} to {found.values.max():+.2f} log2. The contour map beside it "
        "holds the same numbers."
    )
    return alt.layer(*_frame(found, view), surface, *_pins(found, view)).properties(
        title=alt.Title(title, anchor="start"),
        description=description,
        height=420,
        view=alt.ViewBackground(stroke=None),
    )


class _View:
    """Isometric projection of (dose, time, change), each scaled to 0..1, as seen from an angle."""

    def __init__(self, found: Surface, azimuth: float) -> None:
        self.found = found
        self.turn = azimuth
        self.low = min(0.0, float(found.values.min()))
        self.high = max(0.0, float(found.values.max()))
        if self.high - self.low < 1e-9:
            self.high = self.low + 1.0

    def unit(
        self, dose: np.ndarray, time: np.ndarray, change: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Data to the unit cube: dose and time on their log scales."""
        doses, times = np.log(self.found.doses), np.log(self.found.times)
        u = (np.log(dose) - doses[0]) / (doses[-1] - doses[0])
        v = (np.log(time) - times[0]) / (times[-1] - times[0])
        return u, v, (change - self.low) / (self.high - self.low)

    def flat(
        self, u: np.ndarray, v: np.ndarray, w: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Unit cube to the page, and how far away each point is."""
        across = (u - 0.5) * np.cos(self.turn) - (v - 0.5) * np.sin(self.turn)
        away = u * np.sin(self.turn) + v * np.cos(self.turn)
        return across, away * np.sin(ELEVATION) + w * HEIGHT * np.cos(ELEVATION), away


def _quads(found: Surface, view: _View) -> pd.DataFrame:
    """Corners of the quads, farthest first; a hatched quad is followed by its diagonal."""
    rows = np.unique(np.linspace(0, len(found.times) - 1, QUADS + 1).round().astype(int))
    columns = np.unique(np.linspace(0, len(found.doses) - 1, QUADS + 1).round().astype(int))
    time, dose = np.meshgrid(found.times[rows], found.doses[columns], indexing="ij")
    values = found.values[np.ix_(rows, columns)]
    x, y, away = view.flat(*view.unit(dose, time, values))
    supported = found.supported[np.ix_(rows, columns)]
    corner = [(0, 0), (0, 1), (1, 1), (1, 0)]
    pieces = []
    shape = (len(rows) - 1, len(columns) - 1)
    for i, j in np.ndindex(*shape):
        at = [(i + a, j + b) for a, b in corner]
        near = bool(supported[i, j] and supported[i + 1, j + 1])
        pieces.append((float(np.mean([away[p] for p in at])), at, near, False))
        if found.known and not near:
            pieces.append((pieces[-1][0] - 1e-9, [at[0], at[2]], near, True))
    pieces.sort(key=lambda piece: -piece[0])
    records = []
    for number, (_, at, near, diagonal) in enumerate(pieces):
        mean = float(np.mean([values[p] for p in at]))
        for place, p in enumerate(at):
            records.append(
                {
                    "piece": number,
                    "corner": place,
                    "x": float(x[p]),
                    "y": float(y[p]),
                    "x_deg": mean,
                    "edge": HATCHED if diagonal else PLAIN,
                    "near": ("yes" if near else "no") if found.known else "not known",
                }
            )
    return pd.DataFrame(records)


def _frame(found: Surface, view: _View) -> list[alt.Chart]:
    """Floor, zero plane, value axis, ticks and titles."""
    zero = (0 - view.low) / (view.high - view.low)
    lines = [((0, 0, 0), (1, 0, 0)), ((0, 0, 0), (0, 1, 0)), ((1, 0, 0), (1, 1, 0)),
             ((0, 1, 0), (1, 1, 0)), ((0, 1, 0), (0, 1, 1))]  # fmt: skip
    plane = [((0, 0, zero), (1, 0, zero)), ((0, 0, zero), (0, 1, zero)),
             ((1, 0, zero), (1, 1, zero)), ((0, 1, zero), (1, 1, zero))]  # fmt: skip
    labels = []
    for dose in np.unique(found.points["dose_um"]):
        u, _, _ = view.unit(dose, found.times[:1], np.zeros(1))
        labels.append((float(u), -0.07, 0, f"{dose:g}"))
    for time in np.unique(found.points["time_h"]):
        _, v, _ = view.unit(found.doses[:1], time, np.zeros(1))
        labels.append((-0.07, float(v), 0, f"{time:g}"))
    heights = [
        (0, 1, (value - view.low) / (view.high - view.low), f"{value:+.2f}" if value else "0")
        for value in dict.fromkeys((view.low, 0.0, view.high))
    ]
    titles = [(0.5, -0.24, 0, "Dose (uM)"), (-0.24, 0.5, 0, "Time (h)"),
              (0.0, 1.0, 1.12, "Change (log2)")]  # fmt: skip
    edges = _segments(lines, view).assign(dash="solid")
    level = _segments(plane, view).assign(dash="zero")
    both = pd.concat([edges, level], ignore_index=True)
    rule = alt.Chart(both).mark_rule(color="#6B7280").encode(
        x=ACROSS, y=UP_PAGE, x2="x2", y2="y2",
        strokeDash=alt.StrokeDash(
            "dash:N", scale=alt.Scale(domain=["solid", "zero"], range=[[1, 0], [3, 3]]),
            legend=None,
        ),
    )  # fmt: skip
    return [
        rule,
        alt.Chart(_texts(labels, view)).mark_text(fontSize=11).encode(
            x=ACROSS, y=UP_PAGE, text="text:N"
        ),
        alt.Chart(_texts(heights, view))
        .mark_text(fontSize=11, align="right", dx=-5, dy=-7)
        .encode(x=ACROSS, y=UP_PAGE, text="text:N"),
        alt.Chart(_texts(titles, view)).mark_text(fontSize=12, fontWeight="bold").encode(
            x=ACROSS, y=UP_PAGE, text="text:N"
        ),
    ]  # fmt: skip


def _segments(lines: list, view: _View) -> pd.DataFrame:
    ends = np.array(lines, dtype=float)
    x, y, _ = view.flat(ends[:, :, 0], ends[:, :, 1], ends[:, :, 2])
    return pd.DataFrame({"x": x[:, 0], "y": y[:, 0], "x2": x[:, 1], "y2": y[:, 1]})


def _texts(labels: list, view: _View) -> pd.DataFrame:
    place = np.array([label[:3] for label in labels], dtype=float)
    x, y, _ = view.flat(place[:, 0], place[:, 1], place[:, 2])
    return pd.DataFrame({"x": x, "y": y, "text": [label[3] for label in labels]})


def _pins(found: Surface, view: _View) -> list[alt.Chart]:
    """Training conditions on the surface: circles for this drug, crosses for others."""
    if found.trained.empty:
        return []
    marks = found.trained
    column = np.abs(np.log(marks["dose_um"].to_numpy(float))[:, None] - np.log(found.doses)).argmin(
        1
    )
    row = np.abs(np.log(marks["time_h"].to_numpy(float))[:, None] - np.log(found.times)).argmin(1)
    x, y, _ = view.flat(
        *view.unit(found.doses[column], found.times[row], found.values[row, column])
    )
    words = {True: "this drug", False: "other drugs only"}
    table = pd.DataFrame({"x": x, "y": y, "trained_on": marks["this_drug"].map(words).to_numpy()})
    scale = alt.Scale(domain=list(words.values()), range=["circle", "cross"])
    return [
        alt.Chart(table)
        .mark_point(size=70, strokeWidth=1.6, stroke="#111111", fill="white", fillOpacity=0.9)
        .encode(
            x=ACROSS,
            y=UP_PAGE,
            shape=alt.Shape(
                "trained_on:N",
                scale=scale,
                title="Trained on here",
                legend=TRAINED_LEGEND,
            ),
        )
    ]


def _nearest(levels: np.ndarray, values: pd.Series) -> np.ndarray:
    """Position of the level nearest to each value on the log scale."""
    apart = np.abs(np.log(values.to_numpy(dtype=float))[:, None] - np.log(levels))
    found: np.ndarray = apart.argmin(axis=1)
    return found
