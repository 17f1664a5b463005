"""A result over dose and time: figures, tables, what was trained on, what was measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pandas as pd
import streamlit as st

from app import keys
from app.components import dose_charts
from app.components.errors import guarded
from app.components.figures import figure
from app.components.provenance import made_with
from app.components.surface_chart import surface_chart
from app.components.text import count, plain, slug, without_formulas
from xpert_core.cohorts.records import Profiles
from xpert_core.conditions import format_dose
from xpert_core.drugs.records import Drug
from xpert_core.explanation.dose_time import (
    REVERSAL_THRESHOLD,
    SIZE,
    DoseTimeGrid,
    dose_curves,
    dose_heat,
    dose_pca,
    grid_of,
    pathways,
    sign_reversals,
)
from xpert_core.explanation.measured import Wells, compare, measured_curves, measured_heat
from xpert_core.explanation.surface import surface
from xpert_core.explanation.training_conditions import TrainingConditions, conditions_of
from xpert_core.graph.records import drug_key
from xpert_core.prediction import Prediction

GENES = ("DUSP6", "CDKN1A", "MYC", "CCND1")


@dataclass(frozen=True)
class Asked:
    """What is to be predicted by the model with hash `model`; `wells` are the measured
    counterparts, where there are any."""

    profiles: Profiles
    samples: tuple[str, ...]
    drug: Drug
    doses: tuple[float, ...]
    times: tuple[float, ...]
    wells: Wells | None
    model: str

    @property
    def size(self) -> int:
        """Number of predictions."""
        return len(self.samples) * len(self.doses) * len(self.times)

    @property
    def key(self) -> tuple[Any, ...]:
        """What makes two requests the same."""
        drug = self.drug.inchikey or self.drug.key
        cohort = self.profiles.input_sha256
        return (self.model, cohort, self.samples, drug, self.doses, self.times)


@dataclass(frozen=True)
class Shown:
    """What the sections draw.

    Attributes
    ----------
    asked : Asked
    prediction : Prediction
    grid : DoseTimeGrid
    conditions : TrainingConditions or None
    chosen : dict
        Name of each curve to its genes.
    time_h : float
        Time of the figures over dose.
    about : str
        Drug and cohort, for titles and file names.
    """

    asked: Asked
    prediction: Prediction
    grid: DoseTimeGrid
    conditions: TrainingConditions | None
    chosen: dict[str, list[str]]
    time_h: float
    about: str

    @property
    def title(self) -> str:
        """Title of a figure over dose."""
        return f"{self.about}, {self.time_h:g} h"

    @property
    def counterparts(self) -> Wells | None:
        """The measured wells, when they are of the time that is shown."""
        wells = self.asked.wells
        if wells is None or float(wells.rows["time_h"].iloc[0]) != self.time_h:
            return None
        return wells


def chosen_series(grid: DoseTimeGrid) -> dict[str, list[str]]:
    """Curves to draw: single genes, Hallmark sets, and one set the user types."""
    st.session_state.setdefault(keys.DOSE_GENES, list(GENES))
    sets = pathways(grid.genes)
    left, middle, right = st.columns(3)
    genes = left.multiselect(
        "Genes", list(grid.genes), key=keys.DOSE_GENES, persist_state="session", max_selections=8,
    )  # fmt: skip
    named = middle.multiselect(
        "Gene sets (Hallmark)", list(sets), key=keys.DOSE_SETS, persist_state="session",
        max_selections=4, help="The mean over the landmark genes of the set is one curve.",
    )  # fmt: skip
    text = right.text_input(
        "A gene set of your own", key=keys.DOSE_SET, persist_state="session",
        placeholder="CDK1, CCNB2, TOP2A, AURKA",
        help="Symbols of landmark genes with commas; their mean is one more curve.",
    )  # fmt: skip
    members = [word for word in text.replace(";", ",").replace(",", " ").upper().split() if word]
    found = {gene: [gene] for gene in genes}
    found |= {f"{name} ({len(sets[name])} genes)": sets[name] for name in named}
    if members:
        grid.columns(members)  # says which symbol is not a landmark gene
        found[f"set of {len(members)} genes"] = members
    return found


def training_note(conditions: TrainingConditions | None, asked: Asked) -> None:
    """What the model saw of this drug, and of doses and times at all."""
    if conditions is None:
        st.warning(
            "It is not known at which doses and times this model was trained, so nothing can be "
            "said about where its predictions are extrapolations."
        )
        return
    contrast = conditions.contrasts()
    part = conditions.part_of(drug_key(asked.drug.connectivity, asked.drug.name))
    words = {
        "train": "This drug was in the training data.",
        "valid": "This drug was not trained on; it helped to choose when training stopped.",
        "test": "This drug was held out: neither trained on nor used for any choice.",
        "dropped": "This drug was left out of training.",
        "": "This drug is not in the training data.",
    }
    st.info(
        f"{words[part]} On the scale of these predictions the model saw {contrast['pairs']} pairs "
        f"of drug and cell line; {contrast['several_doses']} of them at several doses, "
        f"{contrast['several_times']} at several times. "
        + (
            "So an effect of time is not learned from any experiment over time: it may be that of "
            "the cell lines which were measured at each time."
            if not contrast["several_times"]
            else ""
        )
    )


def dose_view(asked: Asked, prediction: Prediction) -> None:
    """Draw every figure of a result."""
    grid = grid_of(prediction)
    conditions = conditions_of(str(prediction.provenance["model_digest"]))
    who = "A375" if asked.wells is not None else asked.profiles.name
    about = f"{grid.drug}, {who}"
    st.subheader(f"{plain(grid.drug)} in {plain(who)}")
    made_with(prediction.provenance, f"xpert_{slug(about)}", "dose")
    training_note(conditions, asked)
    with guarded():
        chosen = chosen_series(grid)
        time_h = st.segmented_control(
            "Time", list(grid.times), default=float(grid.times[-1]), key="dose-time-h",
            format_func=lambda hours: f"{hours:g} h", required=True,
        )  # fmt: skip
        shown = Shown(asked, prediction, grid, conditions, chosen, float(time_h), about)
        # One figure at a time: all of them at each click would be slow.
        section = st.segmented_control(
            "Show", list(SECTIONS), default=next(iter(SECTIONS)), key=keys.DOSE_SECTION,
            required=True,
        )  # fmt: skip
        SECTIONS[section](shown)


def curves_section(shown: Shown) -> None:
    """Curves of genes and sets, with measured counterparts."""
    if not shown.chosen:
        st.info("Choose a gene or type a gene set.")
        return
    curves = dose_curves(shown.grid, shown.chosen, shown.time_h)
    wells = shown.counterparts
    measured = measured_curves(wells, shown.chosen) if wells is not None else None
    band = (
        "The band is one standard deviation over samples."
        if len(shown.grid.samples) > 1
        else "There is one sample, so there is no band."
    )
    own = (
        " Hollow diamonds: single measured wells, which scatter by about 0.6 log2."
        if measured is not None
        else ""
    )
    table = curves
    if measured is not None:
        renamed = measured.rename(columns={"mean": "measured"})
        table = curves.merge(renamed, on=["series", "dose_um"], how="left")
    figure(
        dose_charts.curve_chart(curves, shown.title, measured),
        table,
        f"Mean predicted change over {count(len(shown.grid.samples), 'sample')}. {band}{own} Not "
        "shown: the uncertainty of the model, which is larger than the spread over samples.",
        name="dose-curves",
        about=shown.about,
    )
    size = curves[curves["series"] == SIZE]
    words = ", ".join(
        f"{mean:.2f} at {format_dose(dose)}"
        for mean, dose in zip(size["mean"], size["dose_um"], strict=True)
    )
    st.caption(f"Size of the whole response, root mean square over genes: {plain(words)}.")


def heat_section(shown: Shown) -> None:
    """Most variable genes by dose, predicted and measured."""
    n_genes = st.slider("Number of genes", 10, 80, 40, step=5, key="dose-heat-genes")
    table = dose_heat(shown.grid, shown.time_h, n_genes)
    figure(
        dose_charts.dose_heat_chart(table, f"Predicted: {shown.title}"),
        table.reset_index(),
        "The genes whose predicted change varies most over dose, mean over samples. They were "
        "chosen by the prediction, so that the map looks orderly whether or not it is right.",
        name="dose-heat",
        about=shown.about,
    )
    wells = shown.counterparts
    if wells is not None:
        measured = measured_heat(wells, list(table.columns))
        figure(
            dose_charts.dose_heat_chart(measured, f"Measured: {shown.title}"),
            measured.reset_index(),
            "The same genes in the same order as measured, one well a dose as a rule. The colours "
            "have their own scale: measured changes are larger than predicted ones.",
            name="dose-heat-measured",
            about=shown.about,
        )


def pca_section(shown: Shown) -> None:
    """Components of the predicted changes and their correlation with dose."""
    found = dose_pca(shown.grid, shown.time_h)
    names = list(found.components["component"])
    left, right = st.columns(2)
    x = left.selectbox("Horizontal", names, key="pca-x")
    y = right.selectbox("Vertical", names, index=min(1, len(names) - 1), key="pca-y")
    figure(
        dose_charts.pca_chart(found, x, y, shown.title),
        found.scores,
        "Each point is a sample at a dose; a line joins the doses of a sample. A network that is "
        "smooth in dose orders doses along some component for any drug: this says how the model "
        "behaves, not that the drug does.",
        name="dose-pca",
        about=shown.about,
    )
    st.markdown("**Does a component follow the dose?** Null: doses permuted within each sample.")
    table = found.components.rename(
        columns={
            "component": "Component", "share": "Share of variance",
            "rho": "Spearman with log dose", "p": "p (permutation)", "q": "q (BH)",
            "null_high": "95 % of the null below",
        }
    )  # fmt: skip
    st.dataframe(
        table.round(3), hide_index=True, alt="Correlation of each component with dose, with p"
    )


def surface_section(shown: Shown) -> None:
    """Dose x time surface of one gene or set."""
    if not shown.chosen:
        st.info("Choose a gene or type a gene set.")
        return
    left, right = st.columns(2)
    name = left.selectbox("Gene or set", list(shown.chosen), key="surface-gene")
    turn = right.slider("Turn the surface (degrees)", 10, 80, 40, step=5, key="surface-turn")
    key = drug_key(shown.asked.drug.connectivity, shown.asked.drug.name)
    found = surface(shown.grid, name, shown.chosen[name], shown.conditions, key)
    title = f"{name}: {shown.about}"
    says = (
        "Interpolated between the predicted doses and times by radial basis functions (thin-plate "
        f"spline; error when a predicted point is left out: {found.error:.3f} log2). Hatched: no "
        "training measurement within a factor of 2 in dose and 1.5 in time. Circles: this drug was "
        "trained on here, crosses: other drugs only. Inside the unhatched part the surface may "
        "still be wrong."
        if found.known
        else "Interpolated between the predicted doses and times. Where the model has training "
        "data is not known, so nothing is hatched."
    )
    figure(
        dose_charts.contour_chart(found, title), found.table(), says,
        name="dose-time-contours", about=shown.about,
    )  # fmt: skip
    figure(
        surface_chart(found, title, turn),
        found.points,
        "The same surface in three dimensions; the table holds the predictions it goes through. "
        "Diagonals mark quads without training data near.",
        name="dose-time-surface",
        about=shown.about,
    )


def reversal_section(shown: Shown) -> None:
    """Genes that change sign over dose or time."""
    threshold = st.number_input(
        "Both sides must exceed (log2)", 0.01, 2.0, REVERSAL_THRESHOLD, 0.05, key="reversal-size"
    )
    found = sign_reversals(shown.grid, threshold)
    if found.empty:
        st.info("No gene is predicted to change its sign beyond this threshold.")
        return
    over_dose = found[(found["along"] == "dose") & (found["fixed"] == shown.time_h)]
    if not over_dose.empty:
        genes = list(over_dose["gene"].head(6))
        figure(
            dose_charts.reversal_chart(shown.grid, genes, shown.time_h, shown.title),
            over_dose,
            f"The widest of {count(len(over_dose), 'reversal')} over dose at {shown.time_h:g} h. "
            "Small predicted changes are the least certain ones: a reversal needs a measurement "
            "before it means anything.",
            name="reversals",
            about=shown.about,
        )
    st.markdown(f"**All {count(len(found), 'reversal')}, over dose and over time**")
    st.dataframe(
        without_formulas(_reversals_for_people(found)), hide_index=True,
        alt="Genes whose predicted change reverses its sign, with doses or times",
    )  # fmt: skip


def _reversals_for_people(found: pd.DataFrame) -> pd.DataFrame:
    dose = found["along"] == "dose"

    def shown(values: pd.Series, is_dose: pd.Series) -> list[str]:
        return [
            format_dose(float(f"{value:.3g}")) if flag else f"{value:.3g} h"
            for value, flag in zip(values, is_dose, strict=True)
        ]

    return pd.DataFrame(
        {
            "Gene": found["gene"],
            "Along": found["along"],
            "At": shown(found["fixed"], ~dose),
            "Lowest (log2)": found["lowest"].round(2),
            "Lowest at": shown(found["lowest_at"], dose),
            "Highest (log2)": found["highest"].round(2),
            "Highest at": shown(found["highest_at"], dose),
            "Sign changes at": shown(found["crossing"], dose),
            "Samples that reverse": [f"{share:.0%}" for share in found["samples_share"]],
        }
    )


def measured_section(shown: Shown) -> None:
    """Prediction against measurement, dose by dose."""
    if shown.asked.wells is None:
        st.info(
            "Nothing was measured for this cohort over dose. Choose the A375 cells above to see a "
            "drug whose doses were measured."
        )
        return
    table = compare(shown.prediction, shown.asked.wells, shown.conditions)
    figure(
        dose_charts.compare_chart(table, f"{shown.about}, 24 h"),
        table,
        "Correlation over all landmark genes with the measured change of single wells (which "
        "correlate with each other at about 0.3 between neighbouring doses). The grey line knows "
        "the cell line and not the drug: only what lies above it is knowledge of the drug. Part: "
        "whether the drug was trained on (train), helped to stop training (valid) or was held out "
        "(test).",
        name="dose-measured",
        about=shown.about,
    )


SECTIONS: dict[str, Callable[[Shown], None]] = {
    "Dose curves": curves_section,
    "Heat map": heat_section,
    "Components": pca_section,
    "Dose × time": surface_section,
    "Sign reversals": reversal_section,
    "Measured": measured_section,
}
