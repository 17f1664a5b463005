"""``xpert finetune``: adapts a model to a paired cohort and says whether it was worth it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xpert_core.conditions import DEFAULT_DOSE, DEFAULT_TIME
from xpert_core.errors import CheckpointError

if TYPE_CHECKING:
    from xpert_core.cohorts import PairCheck, PairedProfiles
    from xpert_core.finetuning.compare import Comparison
    from xpert_core.finetuning.config import FinetuneConfig
    from xpert_core.finetuning.finetune import FinetuneResult
    from xpert_core.model.checkpoint import Checkpoint

EXIT_REFUSED = 3
"""Exit status of ``--check`` when the file is readable but fine-tuning is refused."""


def finetune(
    cohort: Annotated[
        Path, typer.Argument(help="Paired expression file, or the samples before treatment.")
    ],
    after: Annotated[
        Path | None, typer.Option(help="File with the samples after treatment, if separate.")
    ] = None,
    base: Annotated[
        str | None,
        typer.Option(help="Model name, id or folder; your default model (`xpert model default`)."),
    ] = None,
    method: Annotated[
        str, typer.Option(help="adapters, full, or auto: adapters for fewer than 200 pairs.")
    ] = "auto",
    drug: Annotated[str, typer.Option(help="Drug of the pairs that name none.")] = "",
    dose: Annotated[
        str, typer.Option(help="Dose of the pairs that give none that can be read.")
    ] = DEFAULT_DOSE,
    time: Annotated[
        str, typer.Option(help="Time of the pairs that give none that can be read.")
    ] = DEFAULT_TIME,
    drop_unknown: Annotated[
        bool, typer.Option("--drop-unknown", help="Leave out pairs whose drug is not known.")
    ] = False,
    folds: Annotated[
        int, typer.Option(min=0, help="Folds of the comparison by patient; 0 = no comparison.")
    ] = 5,
    epochs: Annotated[int, typer.Option(min=1, help="Most epochs of a training.")] = 40,
    lr: Annotated[
        float | None,
        typer.Option(help="Highest learning rate; by default 0.01 for adapters, 0.001 for full."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of weights and batches.")] = 0,
    threads: Annotated[int, typer.Option(min=0, help="CPU threads; 0 = all.")] = 0,
    out: Annotated[
        Path | None, typer.Option(help="Folder; runs/finetune/NAME_OF_THE_FILE by default.")
    ] = None,
    name: Annotated[str, typer.Option(help="Name of the new model.")] = "",
    register: Annotated[
        bool, typer.Option("--register/--no-register", help="Add the model to `xpert model list`.")
    ] = True,
    licence: Annotated[
        str, typer.Option(help="Terms of the cohort's owner, for the model's card.")
    ] = "not stated",
    scale: Annotated[
        str | None, typer.Option(help="Scale of the values, where the detection is wrong.")
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Check the cohort and stop: 0 = usable, 3 = refused.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Overwrite the model if it exists.")
    ] = False,
) -> None:
    """Fine-tune a model on profiles before and after treatment.

    The fine-tuned model is compared with the base model, with the same network trained from
    scratch, with the mean change of the cohort and with a network that is not told the drug, on
    patients held out. It can be stopped at any time: what is done stays done when the command is
    repeated.
    """
    from xpert_core.cli.targets import refuse_overwrite
    from xpert_core.cohorts import check_pairs, read_cohort, read_paired_files, to_pairs
    from xpert_core.finetuning.config import FinetuneConfig
    from xpert_core.finetuning.data import Defaults
    from xpert_core.genes import load_panel

    config = FinetuneConfig(method=method, max_epochs=epochs, lr=lr, seed=seed, threads=threads)
    folder = out or Path("runs") / "finetune" / cohort.stem
    if not check:
        refuse_overwrite(folder / "model" / "config.json", force=force)
    checkpoint = _base(base)
    panel = load_panel(checkpoint.meta.panel["name"])
    if after is None:
        read = read_cohort(cohort, scale=scale)
    else:
        read = read_paired_files(cohort, after, scale=scale)
    pairs = to_pairs(read, panel)
    found = check_pairs(pairs)
    _print_check(pairs, found)
    if check:
        if not found.can_finetune:
            raise typer.Exit(EXIT_REFUSED)
        return
    options = {
        "name": name,
        "defaults": Defaults(drug, dose, time),
        "drop_unknown": drop_unknown,
        "folds": folds,
        "licence": licence,
    }
    result = _run(pairs, checkpoint, folder, config, options)
    for note in result.notes[len(pairs.notes) :]:
        print(f"Note: {note}")
    _print_result(result)
    if register:
        _register(result, name)


def _base(chosen: str | None) -> Checkpoint:
    """The base model, refused at once where it cannot be fine-tuned."""
    from xpert_core.cli.model import chosen_folder
    from xpert_core.model.checkpoint import load_checkpoint, read_config
    from xpert_core.prediction.models import finetuning_obstacle, model_folder

    folder = chosen_folder(chosen) or model_folder()
    if why := finetuning_obstacle(read_config(folder)):
        raise CheckpointError(
            f"This model cannot be fine-tuned: {why}.",
            where=chosen or folder.name,
            fix="Choose another base model; `xpert model list` lists them.",
        )
    return load_checkpoint(folder)


def _register(result: FinetuneResult, name: str) -> None:
    from xpert_core.cli.model import LOCAL, added
    from xpert_core.store import Store

    registry = Store().for_owner(LOCAL).registry
    print(added(registry.get(registry.register(result.folder, name=name))))


def _print_check(pairs: PairedProfiles, found: PairCheck) -> None:
    print(f"Cohort: {pairs.name}, {found.n_pairs} pairs of {found.n_patients} patients")
    drugs = ", ".join(f"{name or 'not named'} ({n})" for name, n in found.drugs.items())
    print(f"Drugs: {drugs}")
    print(f"Landmark genes measured: {found.n_genes} of {len(pairs.panel)}; unit: {pairs.unit}")
    for note in found.notes:
        print(f"Note: {note}")
    for warning in found.warnings:
        print(f"Warning: {warning}")
    for refusal in found.refusals:
        print(f"Refused: {refusal}")
    if found.can_finetune:
        print("This cohort can be used for fine-tuning.")


def _run(
    pairs: PairedProfiles,
    checkpoint: Checkpoint,
    folder: Path,
    config: FinetuneConfig,
    options: dict[str, Any],
) -> FinetuneResult:
    from xpert_core.cli.console import progress_bar
    from xpert_core.finetuning.finetune import finetune as run_finetuning
    from xpert_core.finetuning.hooks import Hooks

    with progress_bar() as display:
        task = display.add_task("Preparing", total=None)

        def progress(done: int, total: int, text: str) -> None:
            display.update(task, completed=done, total=total, description=text)

        return run_finetuning(
            pairs, checkpoint, folder, config, hooks=Hooks(progress=progress), **options
        )


def _print_result(result: FinetuneResult) -> None:
    if result.comparison is not None:
        _print_comparison(result.comparison)
    method = result.card["method"]
    print(
        f"Trained: {method['trained']:,} of {method['parameters']:,} parameters "
        f"({method['share']:.1%}), best epoch {result.best_epoch}, {result.minutes:.1f} minutes, "
        f"peak memory {result.peak_memory_mib:,.0f} MiB"
    )
    for label, parts in (("New", result.transfer.new), ("Not used", result.transfer.dropped)):
        for part in parts:
            print(f"{label}: {part}")
    print(result.card["comparison"]["why"])
    print(f"Model and card: {result.folder} (hash {result.digest[:12]})")
    print("For research use only: no number here may decide on a treatment.")


def _print_comparison(comparison: Comparison) -> None:
    from rich.table import Table

    from xpert_core.cli.console import output
    from xpert_core.finetuning.compare import FINETUNED

    table = Table(
        "model", "PCC [95 % interval]", "centred PCC", "fine-tuned minus this",
        title=f"{comparison.n_pairs} pairs of {comparison.n_patients} held-out patients, "
        f"{comparison.folds} folds by patient",
    )  # fmt: skip
    for score in comparison.scores:
        less = "" if score.model == FINETUNED else str(comparison.difference(score.model).pcc)
        table.add_row(score.label, str(score.pcc), str(score.centred), less)
    output().print(table)
