"""``xpert model``: the models of this machine, their cards, and files to hand on."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from xpert_core.store.registered import RegisteredModel
    from xpert_core.store.registry import Registry

commands = typer.Typer(
    help="List, compare, choose, export and import models.", no_args_is_help=True
)

Model = Annotated[str, typer.Argument(help="Name or id of a model, as `xpert model list` says.")]
Owner = Annotated[
    str, typer.Option(help="Whose models, on a server with several users; yours by default.")
]
LOCAL = "local"


@commands.callback()
def _group() -> None:
    """List, compare, choose, export and import models."""


@commands.command("list")
def list_(owner: Owner = LOCAL) -> None:
    """List the models: shipped, own and shared ones."""
    from rich.table import Table

    from xpert_core.cli.console import output

    registry = _registry(owner)
    default = registry.default()
    table = Table("model", "id", "kind", "default", "shared", "stored (UTC)", "size", "hash")
    for model in registry.list():
        table.add_row(
            model.name,
            model.id,
            model.kind if model.owner in ("", owner) else f"{model.kind}, of {model.owner}",
            "yes" if model.id == default.id else "",
            "yes" if model.owner and model.shared else "",
            f"{model.created_at:%Y-%m-%d %H:%M}" if model.created_at else "",
            f"{model.n_bytes / 1e6:.1f} MB",
            model.digest[:12],
        )
    output().print(table)


@commands.command("show")
def show(model: Model, owner: Owner = LOCAL) -> None:
    """Show the card of a model."""
    from xpert_core.model.checkpoint import CARD

    found = _registry(owner).get(model)
    print(f"{found.name} ({found.kind}, id {found.id})")
    print(f"Hash: {found.digest}")
    for parent in found.parents:
        print(f"Made from: {parent}")
    for reason in filter(None, (found.why_not_predict, found.why_not_default)):
        print(f"Note: {reason}")
    print()
    print((found.folder / CARD).read_text(encoding="utf-8"))


@commands.command("compare")
def compare(
    models: Annotated[list[str], typer.Argument(help="Names or ids of two or more models.")],
    owner: Owner = LOCAL,
) -> None:
    """Print the scores of several models side by side, from their cards."""
    from rich.table import Table

    from xpert_core.cli.console import output
    from xpert_core.store.comparison import same_test

    registry = _registry(owner)
    scores = registry.compare(models)
    names = list(dict.fromkeys(scores.columns.get_level_values(0)))
    table = Table("part", "read-out", "scored", *(f"{name}: PCC (rows)" for name in names))
    for key, line in scores.iterrows():
        cells = [
            "" if line[name, "pcc"] != line[name, "pcc"]
            else f"{line[name, 'pcc']:.3f} ({line[name, 'rows']:.0f})"
            for name in names
        ]  # fmt: skip
        table.add_row(*map(str, key if isinstance(key, tuple) else (key,)), *cells)
    output().print(table)
    if not same_test([registry.get(model) for model in models]):
        print("Note: the cards do not name the same test rows; these scores do not compare.")


@commands.command("default")
def default(
    model: Annotated[str | None, typer.Argument(help="Name or id; shows it when left out.")] = None,
    owner: Owner = LOCAL,
) -> None:
    """Show or choose the model that predictions are made with unless told otherwise.

    A model that was not better than the mean change of its cohort is refused.
    """
    registry = _registry(owner)
    chosen = registry.default() if model is None else registry.set_default(model)
    print(f"Default model: {chosen.name} ({chosen.kind}, hash {chosen.digest[:12]})")


@commands.command("export")
def export(
    model: Model,
    out: Annotated[Path | None, typer.Option(help="File to write; NAME.xpert by default.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file.")] = False,
    owner: Owner = LOCAL,
) -> None:
    """Write a model with its card to one file."""
    from xpert_core.cli.targets import refuse_overwrite
    from xpert_core.model.bundle import bundle_name

    registry = _registry(owner)
    found = registry.get(model)
    target = out or Path(bundle_name(found.name))
    refuse_overwrite(target, force=force)
    registry.export(found.id, target)
    print(f"Model written to {target}")


@commands.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="File that `xpert model export` wrote.")],
    name: Annotated[str, typer.Option(help="Name here; the model's own by default.")] = "",
    owner: Owner = LOCAL,
) -> None:
    """Verify a model file and add it to the models; pickles are refused."""
    registry = _registry(owner)
    _print_added(registry.get(registry.import_(file, name=name)))


@commands.command("add")
def add(
    folder: Annotated[Path, typer.Argument(help="Checkpoint folder, such as runs/mine/model.")],
    name: Annotated[str, typer.Option(help="Name here; the model's own by default.")] = "",
    owner: Owner = LOCAL,
) -> None:
    """Add a trained or fine-tuned checkpoint folder to the models, as its card says."""
    registry = _registry(owner)
    _print_added(registry.get(registry.register(folder, name=name)))


@commands.command("import-published")
def import_published(
    file: Annotated[Path, typer.Argument(help=".pth file of the published XPert code.")],
    name: Annotated[str, typer.Option(help="Name here; the file's own by default.")] = "",
    heads: Annotated[
        int, typer.Option(min=1, help="Attention heads; the file does not say. 8 as published.")
    ] = 8,
    licence: Annotated[str, typer.Option(help="Terms of the weights, if you know.")] = "unknown",
    owner: Owner = LOCAL,
) -> None:
    """Read a published .pth file, weights only, and add it to the models.

    Its card says what the file does not tell. It cannot predict for a cohort.
    """
    from xpert_core.model.published_file import import_published as read

    registry = _registry(owner)
    with tempfile.TemporaryDirectory() as room:
        made = Path(room) / "published"
        read(file, made, name=name, n_heads=heads, licence=licence)
        _print_added(registry.get(registry.register(made, kind="imported", name=name)))


@commands.command("share")
def share(
    model: Model,
    stop: Annotated[bool, typer.Option("--stop", help="Share it no longer.")] = False,
    owner: Owner = LOCAL,
) -> None:
    """Let every user of this server use a model."""
    registry = _registry(owner)
    registry.share(model, not stop)
    print(f"{model}: {'shared no longer' if stop else 'shared with every user of this server'}")


@commands.command("rename")
def rename(
    model: Model,
    name: Annotated[str, typer.Argument(help="Its new name.")],
    owner: Owner = LOCAL,
) -> None:
    """Give a model another name."""
    _registry(owner).rename(model, name)
    print(f"{model} is now named {name}")


@commands.command("delete")
def delete(
    model: Model,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    owner: Owner = LOCAL,
) -> None:
    """Delete a model for good; predictions made with it stay."""
    registry = _registry(owner)
    found = registry.get(model)
    if not yes:
        typer.confirm(f"Delete {found.name} (hash {found.digest[:12]}) for good?", abort=True)
    registry.delete(found.id)
    print(f"{found.name} is deleted. Predictions made with it stay.")


def _registry(owner: str) -> Registry:
    from xpert_core.store import Store

    return Store().for_owner(owner).registry


def added(model: RegisteredModel) -> str:
    """Said of a model that was added to the registry."""
    return f"{model.name} is added to the models (id {model.id}, hash {model.digest[:12]})"


def _print_added(model: RegisteredModel) -> None:
    print(added(model))
    if model.why_not_predict:
        print(f"Note: it cannot predict for a cohort: {model.why_not_predict}.")


def chosen_folder(model: str | None) -> Path | None:
    """Folder of the model that a command's ``--model`` means; None = the shipped default.

    A name or id of the registry, a shipped name or a folder; without one the default that was
    chosen with `xpert model default`. A database is not made for it.
    """
    from xpert_core.prediction.models import model_folder, shipped_models
    from xpert_core.store import Store
    from xpert_core.store.engine import exists, resolve_url

    known = model is not None and (Path(model) / "config.json").is_file()
    if known or model in shipped_models() or not exists(resolve_url()):
        return None if model is None else model_folder(model)  # which says what there is
    return Store().for_owner(LOCAL).registry.folder_of(model)
