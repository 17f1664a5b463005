"""``xpert explain dose``, ``maps`` and ``response``: figures' numbers as tables."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xpert_core.cli.explain import Force, Out, Samples, Scale, with_progress
from xpert_core.errors import CohortError, XPertError

if TYPE_CHECKING:
    import pandas as pd

    from xpert_core.cohorts.records import Profiles
    from xpert_core.explanation.maps import MapScores, Space
    from xpert_core.explanation.measured import Wells
    from xpert_core.explanation.response import Changes
    from xpert_core.explanation.training_conditions import TrainingConditions
    from xpert_core.prediction import Prediction, Predictor

DOSES = ("0.04 uM", "0.12 uM", "0.37 uM", "1.11 uM", "3.33 uM", "10 uM")
TIMES = ("6 h", "24 h")
SPACES = ("raw", "ranks", "cls", "wells", "genes")
"""What ``xpert explain maps`` can map."""

Model = Annotated[
    str | None, typer.Option(help="Model name or folder; the shipped model by default.")
]


def dose(
    out: Out,
    drug: Annotated[str, typer.Option(help="Drug name, LINCS id, InChIKey or SMILES.")],
    cohort: Annotated[
        Path | None,
        typer.Option(help="Expression file; without it, A375 cells and their measured doses."),
    ] = None,
    dose: Annotated[list[str], typer.Option(help="Dose with unit; may be repeated.")] = list(DOSES),  # noqa: B006 - Typer reads the default and does not change it
    time: Annotated[list[str], typer.Option(help="Time with unit; may be repeated.")] = list(TIMES),  # noqa: B006
    genes: Annotated[
        str | None,
        typer.Option(help="Genes to follow: symbols with commas, or a file with one a line."),
    ] = None,
    gene_set: Annotated[
        list[str] | None,
        typer.Option(help="Hallmark set to average, such as 'e2f targets'; may be repeated."),
    ] = None,
    sample: Samples = None,
    model: Model = None,
    scale: Scale = None,
    threshold: Annotated[
        float, typer.Option(min=0.001, help="Both sides of a sign reversal must exceed it, log2.")
    ] = 0.1,
    force: Force = False,
) -> None:
    """Follow predicted changes over dose and time.

    Writes dose curves, the most variable genes by dose, principal components with their
    correlation with dose and its null, surfaces over dose and time, and sign reversals. Without
    a cohort the drug must have a measured dose series; prediction and measurement are compared.
    """
    from xpert_core.explanation.dose_time import grid_of
    from xpert_core.explanation.files import check_folder, read_gene_set, save_tables
    from xpert_core.explanation.training_conditions import conditions_of

    check_folder(out, force=force)
    chosen = read_gene_set(genes) if genes is not None else ()
    predictor = _predictor(model)
    prediction, wells = _predict(predictor, cohort, scale, drug, list(dose), list(time), sample)
    conditions = conditions_of(predictor.digest)
    grid = grid_of(prediction)
    followed = {gene: [gene] for gene in chosen} | _named_sets(grid.genes, gene_set or [])
    tables = _dose_tables(prediction, followed, threshold, conditions, wells)
    written = save_tables(out, tables, prediction.provenance)
    _print_dose(grid.drug, tables, conditions)
    print(f"{len(written)} files written to {out}")


def _named_sets(genes: tuple[str, ...], names: list[str]) -> dict[str, list[str]]:
    """Hallmark sets by name; capitals and underscores do not matter."""
    if not names:
        return {}
    from xpert_core.explanation.dose_time import pathways

    known = pathways(genes)
    wanted = [name.lower().removeprefix("hallmark_").replace("_", " ") for name in names]
    for name in wanted:
        if name not in known:
            raise XPertError(
                f"There is no Hallmark set '{name}'.",
                where=f"for example {', '.join(list(known)[:6])}",
                fix="Name one of the sets that hold enough landmark genes.",
            )
    return {name: known[name] for name in wanted}


def _predictor(model: str | None) -> Predictor:
    from xpert_core.cli.model import chosen_folder
    from xpert_core.prediction import Predictor

    return Predictor.load(chosen_folder(model))


def _predict(
    predictor: Predictor,
    cohort: Path | None,
    scale: str | None,
    drug: str,
    doses: list[str | float],
    times: list[str | float],
    samples: list[str] | None,
) -> tuple[Prediction, Wells | None]:
    from xpert_core.explanation.measured import dose_series, drug_of

    if cohort is not None:
        profiles = _profiles(predictor, cohort, scale)
        return with_progress(
            lambda report: predictor.predict(
                profiles, [drug], doses, times, samples=samples or None, progress=report
            )
        ), None
    if samples:
        raise XPertError("--sample needs --cohort.", fix="Name the file of the samples.")
    wells = dose_series(drug)
    known = drug_of(wells)
    measured = sorted({float(value) for value in wells.rows["dose_um"]})
    hours = float(wells.rows["time_h"].iloc[0])
    chosen = sorted(wells.rows["control"].unique())
    return with_progress(
        lambda report: predictor.predict(
            wells.controls,
            [known],
            [*doses, *measured],
            [*times, hours],
            samples=chosen,
            progress=report,
        )
    ), wells


def _profiles(predictor: Predictor, cohort: Path, scale: str | None) -> Profiles:
    from xpert_core.cohorts import read_cohort, to_profiles

    return to_profiles(read_cohort(cohort, scale=scale), predictor.panel)


def _dose_tables(
    prediction: Prediction,
    followed: dict[str, list[str]],
    threshold: float,
    conditions: TrainingConditions | None,
    wells: Wells | None,
) -> dict[str, pd.DataFrame]:
    """Tables by file name."""
    import pandas as pd

    from xpert_core.explanation.dose_time import (
        dose_curves,
        dose_heat,
        dose_pca,
        grid_of,
        sign_reversals,
    )
    from xpert_core.explanation.measured import compare
    from xpert_core.explanation.surface import surface
    from xpert_core.graph.records import drug_key

    grid = grid_of(prediction)
    last = float(grid.times[-1])
    followed = followed or {gene: [gene] for gene in dose_heat(grid, last, 6).columns}
    found = {
        "curves": dose_curves(grid, followed, last),
        "heat": dose_heat(grid, last).reset_index(),
        "reversals": sign_reversals(grid, threshold),
    }
    if len(grid.doses) > 2:
        components = dose_pca(grid, last)
        found["components"] = components.components
        found["component_scores"] = components.scores
        found["loadings"] = components.loadings.reset_index()
    if len(grid.times) > 1:
        first = prediction.rows.iloc[0]
        key = drug_key(str(first["inchikey"]).split("-")[0], str(first["drug"]))
        found["surface"] = pd.concat(
            surface(grid, name, genes, conditions, key).table().assign(series=name)
            for name, genes in followed.items()
        )
    if wells is not None:
        found["measured"] = compare(prediction, wells, conditions)
    return found


def _print_dose(
    drug: str, tables: dict[str, pd.DataFrame], conditions: TrainingConditions | None
) -> None:
    if "components" in tables:
        first = tables["components"].iloc[0]
        print(
            f"{drug}: {first['component']} holds {first['share']:.0%} of the variance, Spearman "
            f"with log dose {first['rho']:+.2f}, permutation p {first['p']:.3f}"
        )
    print(f"Sign reversals: {len(tables['reversals'])}")
    if conditions is None:
        print("Note: it is not known at which doses and times this model was trained.")
    else:
        seen = conditions.contrasts()
        print(
            f"Trained on {seen['several_doses']} of {seen['pairs']} drug and cell line pairs at "
            f"several doses, {seen['several_times']} at several times."
        )
    if "measured" in tables:
        table = tables["measured"]
        print(
            f"Pearson with the measured change, mean over {len(table)} doses: prediction "
            f"{table['pearson'].mean():.3f}, mean of the cell line over other drugs "
            f"{table['pearson_line'].mean():.3f}; the drug stood in: {table['part'].iloc[0]}"
        )


def maps(
    out: Out,
    space: Annotated[
        str, typer.Option(help=f"What to map: {', '.join(SPACES)}. The first three need --cohort.")
    ] = "cls",
    cohort: Annotated[Path | None, typer.Option(help="Expression file.")] = None,
    cell: Annotated[
        str, typer.Option(help="Cell line of the wells; 'all' for every one.")
    ] = "A375",
    label: Annotated[
        list[str] | None, typer.Option(help="Label to score; may be repeated.")
    ] = None,
    method: Annotated[str, typer.Option(help="umap, t-sne, or auto.")] = "auto",
    seed: Annotated[int, typer.Option(help="Seed of the projection and of the nulls.")] = 0,
    model: Model = None,
    scale: Scale = None,
    force: Force = False,
) -> None:
    """Map profiles or embeddings in two dimensions, with scores of mixing and separation.

    Patients among the L1000 cell lines (raw expression, ranks, cls embedding), treated L1000
    wells, or the network's gene tokens. Scores are computed before the projection, beside
    permuted labels.
    """
    import pandas as pd

    from xpert_core.explanation.figures import can_draw, map_figure
    from xpert_core.explanation.files import check_folder, file_word, save_tables
    from xpert_core.explanation.maps import project, settings

    check_folder(out, force=force)
    if space not in SPACES:
        raise XPertError(
            f"There is no map of '{space}'.",
            where="--space",
            fix=f"Use one of {', '.join(SPACES)}.",
        )
    found, about = _space(space, cohort, scale, cell, model)
    names = label or [c for c in ("origin", "cell", "mechanism", "pathway") if c in found.labels]
    drawn = project(found, method, seed)
    scored = [_scores(found, name, seed) for name in names]
    tables = {"map": drawn.points.rename_axis("id").reset_index()}
    if scored:
        tables["scores"] = pd.concat(
            s.table.assign(label=s.label, kind=s.kind, points=s.points, groups=s.groups)
            for s in scored
        )
    figures = {}
    if can_draw():
        figures = {f"map_{file_word(name)}.svg": map_figure(drawn, name) for name in names}
    about = {**about, **settings(drawn), "notes": [*about.get("notes", []), *drawn.notes]}
    written = save_tables(out, tables, about, figures)
    for name, value in settings(drawn).items():
        print(f"{name}: {value:.3f}" if isinstance(value, float) else f"{name}: {value}")
    for s in scored:
        for row in s.table.itertuples():
            print(
                f"{s.label}, {row.score}: {row.value:.3f} (null {row.null_low:.3f} to "
                f"{row.null_high:.3f}, p {row.p:.3f}); {row.better} is better"
            )
    print(f"{len(written)} files written to {out}")


def _scores(space: Space, label: str, seed: int) -> MapScores:
    from xpert_core.explanation.maps import CONSERVATION, MIXING, score

    if label not in space.labels:
        raise XPertError(
            f"There is no label '{label}'.",
            where=f"labels: {', '.join(map(str, space.labels.columns))}",
            fix="Name one of these.",
        )
    kind = MIXING if label in ("origin", "plate") else CONSERVATION
    within = "cell and time" if label == "plate" and "cell and time" in space.labels else ""
    return with_progress(
        lambda report: score(space, label, kind, within=within, seed=seed, progress=report)
    )


def _space(
    space: str, cohort: Path | None, scale: str | None, cell: str, model: str | None
) -> tuple[Space, dict[str, Any]]:
    """What is mapped, and what it rests on."""
    from xpert_core import __version__
    from xpert_core.explanation import spaces
    from xpert_core.explanation.dose_time import pathways
    from xpert_core.explanation.measured import level3_wells

    if space == "wells":
        wells = level3_wells()
        keep = (wells.rows["cell"] == cell).to_numpy()
        found = spaces.treated_wells(wells if cell == "all" else wells.take(keep))
        return found, {"wells_of": cell, "versions": {"xpert": __version__}}
    predictor = _predictor(model)
    if space == "genes":
        model_facts = {"model_name": predictor.name, "model_digest": predictor.digest}
        tokens = spaces.gene_tokens(predictor, pathways(predictor.panel.symbols))
        return tokens, {**model_facts, "versions": {"xpert": __version__}}
    if cohort is None:
        raise CohortError(
            "This map needs a cohort.", where=f"--space {space}", fix="Give --cohort FILE."
        )
    profiles = _profiles(predictor, cohort, scale)
    about = predictor.provenance(predictor.tokens(profiles))
    if space == "cls":
        embedded = with_progress(
            lambda report: spaces.embedded_against_cell_lines(predictor, profiles, progress=report)
        )
        return embedded, about
    return spaces.against_cell_lines(profiles, scaled=space == "ranks"), about


def response(
    result: Annotated[
        list[Path],
        typer.Argument(help="Results (.h5ad): of one model, or of several to compare."),
    ],
    cohort: Annotated[Path, typer.Option(help="The cohort file, with a response column.")],
    out: Out,
    drug: Annotated[str | None, typer.Option(help="Drug, where a result holds several.")] = None,
    dose: Annotated[str | None, typer.Option(help="Dose, where a result holds several.")] = None,
    time: Annotated[str | None, typer.Option(help="Time, where a result holds several.")] = None,
    measured: Annotated[
        str | None, typer.Option(help="Id of a stored paired cohort with measured changes.")
    ] = None,
    genes: Annotated[
        str | None, typer.Option(help="Genes for the violins: symbols with commas, or a file.")
    ] = None,
    responder: Annotated[
        list[str] | None, typer.Option(help="Label that means a response; may be repeated.")
    ] = None,
    non_responder: Annotated[
        list[str] | None, typer.Option(help="Label that means none; may be repeated.")
    ] = None,
    force: Force = False,
) -> None:
    """Compare the changes of responders and non-responders.

    Distribution of the changes, most changed genes, counts at equal group sizes, densities of
    chosen genes, and, beside measured changes, the error by size of the change.
    """
    from xpert_core.cohorts import read_cohort
    from xpert_core.explanation.figures import can_draw, distribution_figure, violin_figure
    from xpert_core.explanation.files import check_folder, read_gene_set, save_tables
    from xpert_core.explanation.response import on_common, response_groups

    check_folder(out, force=force)
    samples = read_cohort(cohort).samples
    known = samples["response"].fillna("").astype(str)
    patients = samples["patient_id"].fillna("").astype(str)
    names = [own or str(sample) for own, sample in zip(patients, samples.index, strict=True)]
    groups = response_groups(dict(zip(names, known, strict=True)), responder, non_responder)
    predicted = [_changes(path, drug, dose, time) for path in result]
    sources = [changes for changes, _ in predicted]
    if measured is not None:
        sources = [_measured(measured), *sources]
    if len(sources) > 1:
        sources = on_common(sources)
    tables = _response_tables(sources, groups, read_gene_set(genes) if genes else ())
    if measured is not None:
        from xpert_core.explanation.error_by_size import error_by_size

        tables["error_by_size"] = error_by_size(sources[0], sources[1:])
    counted = {group: sum(g == group for g in groups.values()) for group in set(groups.values())}
    about = {
        "cohort_file": cohort.name,
        "measured_pairs": measured,
        "patients_by_group": counted,
        "results": {path.name: p for path, (_, p) in zip(result, predicted, strict=True)},
    }
    figures = {}
    if can_draw():
        unit = sources[0].unit
        figures = {
            "distribution.svg": distribution_figure(tables["distribution"], unit),
            "violins.svg": violin_figure(tables["violins"], unit),
        }
    written = save_tables(out, tables, about, figures)
    for row in tables["counts"].itertuples():
        print(
            f"{row.source}, {row.group}: {row.patients} patients; genes changed (q < 0.05) on all "
            f"{row.all}, at equal group size {row.equal:.1f} ({row.low:.0f} to {row.high:.0f})"
        )
    print(f"{len(written)} files written to {out}")


def _response_tables(
    sources: list[Changes], groups: dict[str, str], genes: tuple[str, ...]
) -> dict[str, pd.DataFrame]:
    """Tables by file name."""
    import pandas as pd

    from xpert_core.explanation.response import (
        count_changed,
        distribution,
        most_changed,
        violins,
    )

    ranked = {s.source: most_changed(s, groups) for s in sources}
    followed = genes or tuple(ranked[sources[0].source]["gene"].head(6))
    counts = [count_changed(s, groups).table.assign(source=s.source) for s in sources]
    return {
        "distribution": distribution(sources, groups),
        "most_changed": pd.concat(table.assign(source=name) for name, table in ranked.items()),
        "counts": pd.concat(counts),
        "violins": violins(sources, groups, followed),
    }


def _changes(
    path: Path, drug: str | None, dose: str | None, time: str | None
) -> tuple[Changes, dict[str, Any]]:
    """Changes of a result, and its provenance."""
    from xpert_core.conditions import parse_dose, parse_time
    from xpert_core.explanation.response import from_prediction
    from xpert_core.prediction import load_prediction

    prediction = load_prediction(path)
    changes = from_prediction(
        prediction,
        drug,
        None if dose is None else parse_dose(dose),
        None if time is None else parse_time(time),
        source=f"{prediction.provenance['model_name']} ({path.stem})",
    )
    return changes, prediction.provenance


def _measured(pairs_id: str) -> Changes:
    from xpert_core.explanation.response import from_pairs
    from xpert_core.store import Store

    return from_pairs(Store().pairs.load(pairs_id))
