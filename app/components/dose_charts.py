"""Charts of dose and time: curves, heat map, components, sign reversals, measured counterparts."""

from __future__ import annotations

import altair as alt
import numpy as np
import pandas as pd

from app.components.charts import DOWN, NEUTRAL, UP, Chart
from app.components.drug_maps import COLOURS, SHAPES
from xpert_core.conditions import format_dose
from xpert_core.explanation.dose_time import SIZE, DosePCA, DoseTimeGrid
from xpert_core.explanation.surface import Surface, contour_lines

DOSE_TITLE = "Dose (uM, log scale)"
CHANGE_TITLE = "Predicted change (log2)"
GREY = "#6B7280"
#: Of the training conditions: symbols that are seen on light and on dark paper.
TRAINED_LEGEND = alt.Legend(orient="bottom", symbolFillColor=GREY, symbolSize=90)


def dose_axis(doses: np.ndarray, title: str = DOSE_TITLE) -> alt.X:
    """Logarithmic dose axis with the predicted doses as ticks."""
    shown = [float(dose) for dose in doses]
    room = 1.15
    return alt.X(
        "dose_um:Q",
        title=title,
        scale=alt.Scale(type="log", domain=[shown[0] / room, shown[-1] * room], nice=False),
        axis=alt.Axis(values=shown, format="~g", grid=False),
    )


def curve_chart(curves: pd.DataFrame, title: str, measured: pd.DataFrame | None = None) -> Chart:
    """Mean change over dose, one line a gene or set, with bands of one standard deviation.

    Measured counterparts, where there are any, are hollow diamonds on a dashed line.
    """
    shown = curves[curves["series"] != SIZE]
    names = list(dict.fromkeys(shown["series"]))
    scale = alt.Scale(domain=names, range=[COLOURS[i % len(COLOURS)] for i in range(len(names))])
    shapes = alt.Scale(domain=names, range=[SHAPES[i % len(SHAPES)] for i in range(len(names))])
    base = alt.Chart(shown).encode(x=dose_axis(np.unique(shown["dose_um"])))
    # The legend would take the opacity of the band.
    legend = alt.Legend(symbolOpacity=1, symbolStrokeWidth=1)
    colour = alt.Color("series:N", scale=scale, title="Gene or set", sort=names, legend=legend)
    zero = alt.Chart(pd.DataFrame({"zero": [0.0]})).mark_rule(
        color=GREY, strokeDash=[4, 3]
    ).encode(y="zero:Q")  # fmt: skip
    band = (
        base.transform_filter("isValid(datum.low)")
        .mark_area(opacity=0.18)
        .encode(y=alt.Y("low:Q", title=CHANGE_TITLE), y2="high:Q", color=colour)
    )
    line = base.mark_line(strokeWidth=2).encode(y=alt.Y("mean:Q", title=CHANGE_TITLE), color=colour)
    points = base.mark_point(filled=True, size=60).encode(
        y="mean:Q",
        color=colour,
        shape=alt.Shape("series:N", scale=shapes, title="Gene or set", sort=names),
        tooltip=[
            alt.Tooltip("series:N", title="Gene or set"),
            alt.Tooltip("dose_um:Q", title="Dose, uM"),
            alt.Tooltip("mean:Q", title="Mean change, log2", format="+.3f"),
            alt.Tooltip("sd:Q", title="Standard deviation over samples", format=".3f"),
        ],
    )
    layers = [zero, band, line, points]
    if measured is not None:
        own = alt.Chart(measured).encode(
            x=dose_axis(np.unique(shown["dose_um"])), y="mean:Q", color=colour
        )
        layers += [
            own.mark_line(strokeDash=[3, 4], strokeWidth=1.4),
            own.mark_point(shape="diamond", size=90, strokeWidth=1.8, filled=False).encode(
                tooltip=[
                    alt.Tooltip("series:N", title="Measured"),
                    alt.Tooltip("dose_um:Q", title="Dose, uM"),
                    alt.Tooltip("mean:Q", title="Measured change, log2", format="+.3f"),
                    alt.Tooltip("wells:Q", title="Wells"),
                ]
            ),
        ]
    ends = shown.loc[shown["dose_um"] == shown["dose_um"].max()]
    words = ", ".join(f"{r.series} {r.mean_:+.2f}" for r in ends.rename(
        columns={"mean": "mean_"}).itertuples())  # fmt: skip
    description = (
        f"Line chart. {title}. Mean predicted change in log2 over dose for {len(names)} genes or "
        f"sets. At the highest dose: {words}. "
        f"{'Hollow diamonds are measured. ' if measured is not None else ''}"
        "The table below holds the numbers."
    )
    return alt.layer(*layers).properties(
        title=alt.Title(title, anchor="start"), description=description, height=340
    )


def dose_heat_chart(table: pd.DataFrame, title: str) -> Chart:
    """Doses by genes, colour from blue (down) through white to orange (up)."""
    cells = table.reset_index().melt(id_vars="dose_um", var_name="gene", value_name="x_deg")
    order = [format_dose(dose) for dose in table.index[::-1]]
    cells["dose"] = cells["dose_um"].map(format_dose)
    reach = float(np.abs(table.to_numpy()).max() or 1.0)
    chart = (
        alt.Chart(cells)
        .mark_rect()
        .encode(
            x=alt.X(
                "gene:N",
                sort=list(table.columns),
                title="Gene",
                axis=alt.Axis(labelAngle=-90, labelOverlap=False, labelFlush=False),
            ),
            y=alt.Y("dose:N", sort=order, title="Dose", axis=alt.Axis(labelOverlap=False)),
            color=alt.Color(
                "x_deg:Q",
                title=["Change", "(log2)"],
                scale=alt.Scale(domain=[-reach, 0, reach], range=[DOWN, NEUTRAL, UP]),
            ),
            tooltip=[
                alt.Tooltip("gene:N", title="Gene"),
                alt.Tooltip("dose:N", title="Dose"),
                alt.Tooltip("x_deg:Q", title="Mean change, log2", format="+.3f"),
            ],
        )
    )
    first, last = table.columns[0], table.columns[-1]
    description = (
        f"Heat map. {title}. {len(table)} doses by the {table.shape[1]} genes that vary most over "
        f"dose, from {first} (highest at the top dose) to {last} (lowest). The table below holds "
        "the numbers."
    )
    return alt.layer(chart).properties(
        title=alt.Title(title, anchor="start"), description=description, height=40 * len(table)
    )


def pca_chart(found: DosePCA, x: str, y: str, title: str) -> Chart:
    """Samples and doses on two components, coloured by dose."""
    scores = found.scores.assign(dose=found.scores["dose_um"].map(format_dose))
    doses = np.unique(scores["dose_um"])
    base = alt.Chart(scores).encode(
        x=alt.X(f"{x}:Q", title=_component_title(found, x)),
        y=alt.Y(f"{y}:Q", title=_component_title(found, y)),
    )
    lines = base.mark_line(color=GREY, opacity=0.35, strokeWidth=1).encode(
        detail="sample_id:N", order="dose_um:Q"
    )
    points = base.mark_point(filled=True, opacity=0.9, stroke=GREY, strokeWidth=0.4).encode(
        color=alt.Color(
            "dose_um:Q",
            title="Dose (uM)",
            scale=alt.Scale(type="log", scheme="viridis"),
            legend=alt.Legend(values=[float(dose) for dose in doses], format="~g"),
        ),
        size=alt.Size("dose_um:Q", scale=alt.Scale(type="log", range=[40, 180]), legend=None),
        tooltip=[
            alt.Tooltip("sample_id:N", title="Sample"),
            alt.Tooltip("dose:N", title="Dose"),
            alt.Tooltip(f"{x}:Q", format=".2f"),
            alt.Tooltip(f"{y}:Q", format=".2f"),
        ],
    )
    best = found.components.iloc[int(found.components["rho"].abs().argmax())]
    description = (
        f"Scatter plot. {title}. {scores['sample_id'].nunique()} samples at {len(doses)} doses on "
        f"{x} and {y}; larger and lighter points are higher doses. {best['component']} follows "
        f"dose most closely, Spearman {best['rho']:.2f}. The table below holds the numbers."
    )
    return alt.layer(lines, points).properties(
        title=alt.Title(title, anchor="start"), description=description, height=400
    )


def _component_title(found: DosePCA, name: str) -> str:
    row = found.components.set_index("component").loc[name]
    return f"{name} ({row['share']:.0%} of variance; Spearman with dose {row['rho']:+.2f})"


def contour_chart(found: Surface, title: str) -> Chart:
    """Filled surface with lines of equal change, training conditions, and hatching without any."""
    cells = _cells(found)
    reach = float(np.abs(found.values).max() or 1.0)
    x = alt.X(
        "dose_um:Q",
        title=DOSE_TITLE,
        scale=alt.Scale(type="log", domain=[found.doses[0], found.doses[-1]], nice=False),
        axis=alt.Axis(values=[float(d) for d in np.unique(found.points["dose_um"])], format="~g"),
    )
    y = alt.Y(
        "time_h:Q",
        title="Time (h, log scale)",
        scale=alt.Scale(type="log", domain=[found.times[0], found.times[-1]], nice=False),
        axis=alt.Axis(values=[float(t) for t in np.unique(found.points["time_h"])], format="~g"),
    )
    fill = (
        alt.Chart(cells)
        .mark_rect()
        .encode(
            x=x,
            x2="dose_um2",
            y=y,
            y2="time_h2",
            color=alt.Color(
                "x_deg:Q",
                title=["Change", "(log2)"],
                scale=alt.Scale(domain=[-reach, 0, reach], range=[DOWN, NEUTRAL, UP]),
            ),
            tooltip=[
                alt.Tooltip("dose_um:Q", title="Dose, uM", format=".3g"),
                alt.Tooltip("time_h:Q", title="Time, h", format=".3g"),
                alt.Tooltip("x_deg:Q", title="Change, log2", format="+.3f"),
                alt.Tooltip("near:N", title="Training data near"),
            ],
        )
    )
    layers = [fill]
    if found.known:
        hatch = cells[~cells["supported"]]
        layers.append(
            alt.Chart(hatch)
            .mark_rule(color="#111111", strokeWidth=0.7, opacity=0.75)
            .encode(x="dose_um:Q", y="time_h:Q", x2="dose_um2", y2="time_h2")
        )
    layers += _contours(found) + _marks(found)
    low, high = found.values.min(), found.values.max()
    share = f"{1 - found.supported.mean():.0%} of the area is hatched: no training data near. "
    description = (
        f"Contour map. {title}. Predicted change from {low:+.2f} to {high:+.2f} log2 over dose and "
        f"time. {share if found.known else ''}The table below holds the numbers."
    )
    return alt.layer(*layers).properties(
        title=alt.Title(title, anchor="start"), description=description, height=380
    )


def _cells(found: Surface) -> pd.DataFrame:
    """Cells of the grid with their corners, mean value and whether training data lie near."""
    corners = (found.values[:-1, :-1], found.values[1:, 1:], found.values[:-1, 1:],
               found.values[1:, :-1])  # fmt: skip
    mean = np.mean(corners, axis=0)
    supported = found.supported[:-1, :-1] & found.supported[1:, 1:]
    time, dose = np.meshgrid(np.arange(len(found.times) - 1), np.arange(len(found.doses) - 1),
                             indexing="ij")  # fmt: skip
    time, dose = time.ravel(), dose.ravel()
    near = np.where(supported.ravel(), "yes", "no") if found.known else "not known"
    return pd.DataFrame(
        {
            "row": time,
            "column": dose,
            "dose_um": found.doses[dose],
            "dose_um2": found.doses[dose + 1],
            "time_h": found.times[time],
            "time_h2": found.times[time + 1],
            "x_deg": mean.ravel(),
            "supported": supported.ravel(),
            "near": near,
        }
    )


def _levels(found: Surface) -> list[float]:
    """Round levels, five to nine of them."""
    span = float(np.ptp(found.values)) or 1.0
    step = 10 ** np.floor(np.log10(span / 6))
    step *= next(m for m in (1, 2, 5, 10) if span / (m * step) <= 9)
    first = np.ceil(found.values.min() / step)
    last = np.floor(found.values.max() / step)
    return [float(level) for level in np.round(np.arange(first, last + 1) * step, 10)]


def _contours(found: Surface) -> list[alt.Chart]:
    levels = _levels(found)
    lines = contour_lines(np.log(found.doses), np.log(found.times), found.values, levels)
    if lines.empty:
        return []
    lines[["x", "y", "x2", "y2"]] = np.exp(lines[["x", "y", "x2", "y2"]])
    lines = lines.rename(columns={"x": "dose_um", "y": "time_h"})
    middle = lines.loc[lines.groupby("level")["dose_um"].apply(_median_row)].assign(
        text=lambda table: table["level"].map(lambda v: f"{v:+g}" if v else "0")
    )
    rule = alt.Chart(lines).mark_rule(color="#111111", strokeWidth=1.4).encode(
        x="dose_um:Q", y="time_h:Q", x2="x2", y2="y2"
    )  # fmt: skip
    halo = alt.Chart(middle).encode(x="dose_um:Q", y="time_h:Q", text="text:N")
    return [
        rule,
        halo.mark_text(fontSize=11, stroke="white", strokeWidth=4, color="white"),
        halo.mark_text(fontSize=11, color="#111111", fill="#111111"),
    ]


def _median_row(values: pd.Series) -> int:
    return int(values.index[np.argsort(values.to_numpy(), kind="stable")[len(values) // 2]])


def _marks(found: Surface) -> list[alt.Chart]:
    """Training conditions: filled for this drug, open for others."""
    if found.trained.empty:
        return []
    words = {True: "this drug", False: "other drugs only"}
    marks = found.trained.assign(trained_on=found.trained["this_drug"].map(words))
    scale = alt.Scale(domain=list(words.values()), range=["circle", "cross"])
    return [
        alt.Chart(marks)
        .mark_point(size=90, strokeWidth=1.8, stroke="#111111", fill="white", fillOpacity=0.9)
        .encode(
            x="dose_um:Q",
            y="time_h:Q",
            shape=alt.Shape(
                "trained_on:N",
                scale=scale,
                title="Trained on here",
                legend=TRAINED_LEGEND,
            ),
            tooltip=[
                alt.Tooltip("trained_on:N", title="Trained on here"),
                alt.Tooltip("dose_um:Q", title="Dose, uM"),
                alt.Tooltip("time_h:Q", title="Time, h"),
                alt.Tooltip("rows:Q", title="Measurements"),
                alt.Tooltip("cells:Q", title="Cell lines"),
            ],
        )
    ]


def reversal_chart(grid: DoseTimeGrid, genes: list[str], time_h: float, title: str) -> Chart:
    """Mean change over dose of genes that reverse their sign."""
    mean = grid.at_time(time_h).mean(axis=0)[:, grid.columns(genes)]
    table = pd.DataFrame(mean, index=pd.Index(grid.doses, name="dose_um"), columns=genes)
    curves = table.reset_index().melt(id_vars="dose_um", var_name="series", value_name="mean")
    return curve_chart(curves.assign(sd=np.nan, low=np.nan, high=np.nan), title)


def compare_chart(table: pd.DataFrame, title: str) -> Chart:
    """Correlation of prediction and of the cell line's mean with the measurement, by dose."""
    names = {"pearson": "prediction", "pearson_line": "mean of the cell line, other drugs"}
    long = table.rename(columns=names).melt(
        id_vars="dose_um", value_vars=list(names.values()), var_name="source", value_name="pcc"
    )
    colours = alt.Scale(domain=list(names.values()), range=[UP, GREY])
    base = alt.Chart(long).encode(
        x=dose_axis(table["dose_um"].to_numpy()),
        y=alt.Y("pcc:Q", title="Pearson with the measurement"),
        color=alt.Color(
            "source:N",
            scale=colours,
            title=None,
            legend=alt.Legend(orient="bottom", labelLimit=300),
        ),
        tooltip=[
            alt.Tooltip("source:N", title="Source"),
            alt.Tooltip("dose_um:Q", title="Dose, uM"),
            alt.Tooltip("pcc:Q", title="Pearson", format=".3f"),
        ],
    )
    domain = list(names.values())
    dash = alt.Scale(domain=domain, range=[[1, 0], [5, 4]])
    shapes = alt.Scale(domain=domain, range=["circle", "square"])
    line = base.mark_line(strokeWidth=2).encode(
        strokeDash=alt.StrokeDash("source:N", title=None, scale=dash)
    )
    points = base.mark_point(filled=True, size=70).encode(
        shape=alt.Shape("source:N", title=None, scale=shapes)
    )
    mean = table[["pearson", "pearson_line"]].mean()
    description = (
        f"Line chart. {title}. Correlation with the measured change over doses: prediction "
        f"{mean['pearson']:.2f} on average, mean of the cell line over other drugs "
        f"{mean['pearson_line']:.2f}. The table below holds the numbers."
    )
    return alt.layer(line, points).properties(
        title=alt.Title(title, anchor="start"), description=description, height=300
    )
