"""``xpert predict``: predicts responses for a cohort file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from xpert_core.conditions import DEFAULT_DOSE, DEFAULT_TIME
from xpert_core.errors import XPertError

if TYPE_CHECKING:
    from xpert_core.cohorts.records import Profiles
    from xpert_core.prediction import Predictor
    from xpert_core.prediction.records import Prediction

TOP_GENES = 5
MAX_SUMMARY_ROWS = 10


def predict(
    cohort: Annotated[Path, typer.Option(help="Expression file with pretreatment profiles.")],
    drug: Annotated[
        list[str], typer.Option(help="Drug name, LINCS id, InChIKey or SMILES; may be repeated.")
    ],
    out: Annotated[Path, typer.Option(help="Result file: .h5ad, .csv or .parquet.")],
    dose: Annotated[
        list[str], typer.Option(help="Dose with unit, such as 1uM; may be repeated.")
    ] = [DEFAULT_DOSE],  # noqa: B006 - Typer reads the default and does not change it
    time: Annotated[
        list[str], typer.Option(help="Time with unit, such as 24h; may be repeated.")
    ] = [DEFAULT_TIME],  # noqa: B006
    sample: Annotated[
        list[str] | None, typer.Option(help="Only this sample of the file; may be repeated.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help="Name, id or folder of a model; your default without it."),
    ] = None,
    scale: Annotated[
        str | None, typer.Option(help="Scale of the values, where the detection is wrong.")
    ] = None,
    store: Annotated[
        bool, typer.Option(help="Also keep the result for the dashboard's Results page.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Overwrite the result file if it exists.")
    ] = False,
) -> None:
    """Predict expression changes.

    Every sample of the file is predicted under every drug, dose and time given.
    """
    _check_target(out, force=force)

    from xpert_core.cli.model import chosen_folder
    from xpert_core.cohorts import read_cohort, to_profiles
    from xpert_core.prediction import Predictor

    predictor = Predictor.load(chosen_folder(model))
    profiles = to_profiles(read_cohort(cohort, scale=scale), predictor.panel)
    prediction = _predict_with_progress(predictor, profiles, drug, dose, time, sample)
    prediction.save(out)
    _print_summary(prediction)
    print(f"Result written to {out}")
    if store:
        print(f"Stored as run {_store(predictor, profiles, prediction)}")


def _check_target(out: Path, *, force: bool) -> None:
    """Refuse a result file that cannot be written, before any work is done."""
    from xpert_core.cli.targets import refuse_overwrite
    from xpert_core.prediction.files import SUFFIXES, written_files

    if out.suffix not in SUFFIXES:
        raise XPertError(
            f"A result cannot be written as '{out.suffix or out.name}'.",
            where=f"--out {out}",
            fix=f"Give a file name that ends in one of {', '.join(SUFFIXES)}.",
        )
    for file in written_files(out):
        refuse_overwrite(file, force=force)


def _predict_with_progress(
    predictor: Predictor,
    profiles: Profiles,
    drugs: list[str],
    doses: list[str],
    times: list[str],
    samples: list[str] | None,
) -> Prediction:
    from xpert_core.cli.console import progress_bar

    with progress_bar() as display:
        task = display.add_task("Preparing", total=None)

        def progress(done: int, total: int, text: str) -> None:
            display.update(task, completed=done, total=total, description=text)

        return predictor.predict(
            profiles, drugs, doses, times, samples=samples or None, progress=progress
        )


def _store(predictor: Predictor, profiles: Profiles, prediction: Prediction) -> str:
    from xpert_core.store import Store

    database = Store()
    database.register_model(predictor.name, predictor.digest, predictor.card)
    return database.save_prediction(
        prediction, database.save_cohort(profiles), title=f"{profiles.name} (command line)"
    )


def _print_summary(prediction: Prediction) -> None:
    from rich.table import Table

    from xpert_core.cli.console import output
    from xpert_core.prediction.records import X_DEG_UNIT

    rows = prediction.rows
    print(
        f"{len(rows)} predictions: {rows['sample_id'].nunique()} samples, "
        f"{rows['drug'].nunique()} drugs, {rows['dose_um'].nunique()} doses, "
        f"{rows['time_h'].nunique()} times"
    )
    missing = int(rows["n_missing_genes"].max())
    print(f"Panel genes not measured: at most {missing} of {len(prediction.genes)} a sample")
    for drug, fallback in sorted(set(zip(rows["drug"], rows["drug_fallback"], strict=True))):
        if fallback:
            print(f"Note on {drug}: {fallback}")
    for note in prediction.provenance.get("notes", ()):
        print(f"Note: {note}")
    table = Table(
        "sample", "drug", "dose (uM)", "time (h)", "largest predicted changes", title=X_DEG_UNIT
    )
    for position in range(min(len(rows), MAX_SUMMARY_ROWS)):
        row = rows.iloc[position]
        table.add_row(
            str(row["sample_id"]),
            str(row["drug"]),
            f"{row['dose_um']:g}",
            f"{row['time_h']:g}",
            _top_genes(prediction, position),
        )
    output().print(table)
    if len(rows) > MAX_SUMMARY_ROWS:
        print(f"The first {MAX_SUMMARY_ROWS} of {len(rows)} predictions are shown.")
    print("For research use only: no number here may decide on a treatment.")


def _top_genes(prediction: Prediction, position: int) -> str:
    changes = prediction.top_genes(position, TOP_GENES)["x_deg"]
    return ", ".join(f"{symbol} {change:+.2f}" for symbol, change in changes.items())
