"""The model registry: shipped checkpoints and those of users, with their cards.

A user's checkpoint lies in the folder of models under the id of its row; it appears there whole,
before the row that names it. Shipped models have no row: their id is their name.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import pandas as pd
from sqlalchemy import ColumnElement, delete, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from xpert_core.errors import StoreError
from xpert_core.prediction.models import shipped_default, shipped_models
from xpert_core.store import comparison, model_files, owners
from xpert_core.store.arrays import new_id
from xpert_core.store.database import Database
from xpert_core.store.engine import models_folder
from xpert_core.store.failures import explained
from xpert_core.store.frames import encode
from xpert_core.store.models import (
    LOCAL_OWNER,
    DefaultModelRow,
    ModelRow,
    RegisteredModelRow,
    RunRow,
)
from xpert_core.store.registered import (
    IMPORTED,
    KINDS,
    SHIPPED,
    TRAINED,
    RegisteredModel,
    registered_model,
    shipped,
    shipped_model,
)

#: Attempts where another process writes the same name or model at the same moment.
ATTEMPTS = 5
MAX_NAME = 80


class Registry:
    """The models that an owner may use; may be shared between threads and processes.

    Reached as `Store.registry`, with the owner that the store was opened for. Methods take another
    owner where the store has none.

    Parameters
    ----------
    database : Database
    owner : str or None
        None sees and changes everybody's models and registers for `LOCAL_OWNER`.

    Raises
    ------
    StoreError, CheckpointError
        Of all methods: there is no such model, or not for this owner; the model is damaged; the
        database or the disk refuses.
    """

    def __init__(self, database: Database, owner: str | None = None) -> None:
        self.folder = models_folder(database.url)
        self._owner = owner
        self._location = database.location
        self._write_session, self._read_session = database.write_session, database.read_session
        self._reading, self._writing = database.reading, database.writing

    # --- look ---------------------------------------------------------------------------------

    def list(self, owner: str | None = None) -> tuple[RegisteredModel, ...]:
        """Shipped models first, then own ones, then what others share; newest first in each."""
        owner = owner or self._owner
        rows = self._rows(owners.visible(RegisteredModelRow, owner))
        found = [registered_model(self.folder, *row) for row in rows]
        found.sort(key=lambda model: owner is not None and model.owner != owner)
        return (*shipped(), *found)

    def get(self, model: str, owner: str | None = None) -> RegisteredModel:
        """A model by id or name: own names count before shipped ones, these before shared ones."""
        owner = owner or self._owner
        seen = owners.visible(RegisteredModelRow, owner)
        named = self._rows(
            seen, (RegisteredModelRow.name == model) | (RegisteredModelRow.id == model)
        )
        found = [registered_model(self.folder, *row) for row in named]
        for choice in (
            [m for m in found if m.id == model],
            [m for m in found if m.owner == (owner or LOCAL_OWNER)],
            [m for m in shipped() if m.name == model],
            found,
        ):
            if len(choice) == 1:
                return choice[0]
            if choice:
                raise StoreError(
                    f"Several models are named '{model}'.",
                    where=", ".join(m.id for m in choice),
                    fix="Give the id of one of them.",
                )
        raise StoreError(
            "There is no such model; it may have been deleted.",
            where=repr(model[-80:]),  # the end of a path says more than its beginning
            fix="Choose one of the list of models (`xpert model list`).",
        )

    def folder_of(self, model: str | Path | None, owner: str | None = None) -> Path:
        """Folder of the checkpoint that is meant: None = the owner's default; a folder; or an id or
        a name."""
        if model is None:
            return self.default(owner).folder
        if (Path(model) / "config.json").is_file():
            return Path(model)
        return self.get(str(model), owner).folder

    def default(self, owner: str | None = None) -> RegisteredModel:
        """The model this owner predicts with; the shipped default where none was chosen or the
        chosen one is gone."""
        owner = owner or self._owner or LOCAL_OWNER
        with self._reading("The default model could not be looked up") as session:
            row = session.get(DefaultModelRow, owner)
            chosen = row.model if row is not None else ""
        if chosen:
            try:
                return self.get(chosen, owner)
            except StoreError:
                pass  # deleted, or no longer shared
        return shipped_model(shipped_default())

    def compare(self, models: Sequence[str], owner: str | None = None) -> pd.DataFrame:
        """Scores of several models side by side, from their cards.

        Parameters
        ----------
        models : sequence of str
            Ids or names.

        Returns
        -------
        DataFrame
            As `xpert_core.store.comparison.scores_side_by_side` documents.
        """
        return comparison.scores_side_by_side([self.get(model, owner) for model in models])

    # --- change -------------------------------------------------------------------------------

    def register(
        self,
        folder: Path,
        owner: str | None = None,
        parents: Sequence[str] | None = None,
        kind: str | None = None,
        *,
        name: str = "",
    ) -> str:
        """Keep a copy of a checkpoint and return its id.

        The checkpoint is verified first. One that the owner has already keeps its id and name.

        Parameters
        ----------
        folder : Path
            Checkpoint folder, as `save_checkpoint` writes it.
        owner : str, optional
        parents : sequence of str
            Hashes of the checkpoints it was made from; what its card says by default.
        kind : str, optional
            One of `KINDS`, other than shipped; by default what its card says, else trained.
        name : str
            The checkpoint's own by default; numbered where it is taken.
        """
        if kind is not None and kind not in KINDS[1:]:
            raise StoreError(f"'{kind}' is no kind of model.", fix=f"Use one of {KINDS[1:]}.")
        with model_files.working_folder(self.folder, "new") as room:
            return self._register(
                Path(folder), room, owner or self._owner or LOCAL_OWNER, parents, kind, name
            )

    def import_(
        self,
        source: Path | IO[bytes],
        owner: str | None = None,
        *,
        name: str = "",
        filename: str = "",
    ) -> str:
        """Verify and keep a model from a file that `export` wrote, all or nothing; returns its id.

        Parameters
        ----------
        source : Path or binary file
        owner : str, optional
        name : str
            The checkpoint's own by default.
        filename : str
            Name to show in messages, where `source` is no path.
        """
        from xpert_core.model.bundle import opened_bundle

        with (
            explained("The model could not be imported", str(self.folder)),
            model_files.working_folder(self.folder, "import") as room,
            opened_bundle(source, filename=filename, room=room) as (folder, manifest),
        ):
            return self.register(folder, owner, manifest.parents, IMPORTED, name=name)

    def export(self, model: str, path: Path, owner: str | None = None) -> Path:
        """Write a model to one file, which `import_` takes anywhere else."""
        from xpert_core.model.bundle import export_bundle

        found = self.get(model, owner)
        with explained("The model could not be exported", str(path)):
            export_bundle(found.folder, Path(path), kind=found.kind, parents=found.parents)
        return Path(path)

    def set_default(self, model: str, owner: str | None = None) -> RegisteredModel:
        """Predict with this model unless told otherwise, after trying that it can be loaded.

        Raises
        ------
        StoreError
            The model was not better than the mean change of its cohort.
        CheckpointError
            It cannot predict here.
        """
        from xpert_core.prediction import Predictor

        owner = owner or self._owner or LOCAL_OWNER
        chosen = self.get(model, owner)
        if chosen.why_not_default:
            raise StoreError(
                f"'{chosen.name}' cannot be the default: {chosen.why_not_default}.",
                where=str(chosen.card["comparison"].get("why", chosen.id)),
                fix="It can still be chosen for a single prediction.",
            )
        Predictor.load(chosen.folder)
        with self._writing("The default model could not be set") as session:
            session.execute(delete(DefaultModelRow).where(DefaultModelRow.owner == owner))
            # Without a row it follows the shipped default, also that of a later version.
            if chosen.id != shipped_default():
                session.add(DefaultModelRow(owner=owner, model=chosen.id))
        return chosen

    def rename(self, model: str, name: str, owner: str | None = None) -> None:
        """Give a model another name, which none of the owner's or the shipped models has."""
        name = _checked_name(name)
        with self._changing(model, owner) as (session, row):
            if name != row.name and name in _taken(session, row.owner):
                raise StoreError(
                    f"Another model is named '{name}'.", where=row.id, fix="Choose another name."
                )
            row.name = name

    def share(self, model: str, shared: bool, owner: str | None = None) -> None:
        """Let everybody on this database use a model, or nobody else."""
        with self._changing(model, owner) as (_, row):
            row.shared = shared

    def delete(self, model: str, owner: str | None = None) -> None:
        """Delete a model. Predictions made with it stay and keep its card and hash; where it was
        the default, the shipped default takes its place."""
        with self._changing(model, owner) as (session, row):
            key, model_id = row.id, row.model_id
            session.execute(delete(DefaultModelRow).where(DefaultModelRow.model == key))
            session.delete(row)
            session.flush()
            needed = [
                session.scalar(select(kind.id).where(kind.model_id == model_id).limit(1))
                for kind in (RegisteredModelRow, RunRow)
            ]
            if not any(needed):
                session.execute(delete(ModelRow).where(ModelRow.id == model_id))
        with explained("The entry is gone, but its files could not be deleted", str(self.folder)):
            model_files.drop(self.folder / key)

    def sweep(self, grace_s: float = 3600.0) -> int:
        """Delete checkpoints that no row names, left by a killed process; returns how many.

        Those changed within `grace_s` seconds stay: their row may be about to be written.
        """
        if not self.folder.is_dir():
            return 0
        with explained("Left-over models could not be swept", str(self.folder)):
            # First the folders, then the rows: a folder whose row comes in between is kept.
            old = [p for p in self.folder.iterdir() if model_files.is_old(p, grace_s)]
            with self._read_session() as session:
                known = set(session.scalars(select(RegisteredModelRow.id)))
            orphans = [p for p in old if p.name not in known]
            for path in orphans:
                shutil.rmtree(path, ignore_errors=True)
        return len(orphans)

    # --- inside -------------------------------------------------------------------------------

    def _register(
        self,
        folder: Path,
        room: Path,
        owner: str,
        parents: Sequence[str] | None,
        kind: str | None,
        name: str,
    ) -> str:
        from xpert_core.model.bundle import verify_checkpoint

        copied = room / (folder.name or "model")
        with explained("The model could not be stored", str(self.folder)):
            n_bytes = model_files.copy_checkpoint(folder, copied)
        checkpoint = verify_checkpoint(copied)
        model = {
            "name": checkpoint.meta.name,
            "digest": checkpoint.digest,
            "card": encode(checkpoint.meta.card, "model card"),
        }
        said_kind, said_parents = _origin(checkpoint.meta.card)
        entry = {
            "owner": owner,
            "kind": kind or said_kind,
            "parents": said_parents if parents is None else list(parents),
            "n_bytes": n_bytes,
        }
        wanted = _checked_name(name or checkpoint.meta.name)
        with explained("The model could not be registered", self._location):
            for attempt in range(ATTEMPTS):
                try:
                    return self._put(copied, model, entry, wanted)
                except IntegrityError:  # another process took the name or model at this moment
                    if attempt == ATTEMPTS - 1:
                        raise
        raise AssertionError("unreachable")

    def _put(self, copied: Path, model: dict[str, Any], entry: dict[str, Any], wanted: str) -> str:
        key = new_id()
        try:
            with self._write_session.begin() as session:
                identity = _identity(session, model)
                known = session.scalar(
                    select(RegisteredModelRow)
                    .where(RegisteredModelRow.owner == entry["owner"])
                    .where(RegisteredModelRow.model_id == identity)
                )
                if known is not None:
                    if not model_files.same_files(copied, self.folder / known.id):
                        model_files.place(
                            copied, self.folder / known.id
                        )  # heals a lost or damaged checkpoint
                    return known.id
                name = _free_name(wanted, _taken(session, entry["owner"]))
                session.add(RegisteredModelRow(id=key, model_id=identity, name=name, **entry))
                session.flush()
                model_files.place(copied, self.folder / key)
            return key
        except BaseException:
            # Put back what no row names, for the next attempt or for the end.
            placed = self.folder / key
            with suppress(StoreError):
                if placed.is_dir() and not self._is_registered(key):
                    placed.rename(copied)
            raise

    def _is_registered(self, key: str) -> bool:
        with self._reading("The models could not be read") as session:
            return session.get(RegisteredModelRow, key) is not None

    @contextmanager
    def _changing(
        self, model: str, owner: str | None
    ) -> Iterator[tuple[Session, RegisteredModelRow]]:
        owner = owner or self._owner
        found = self.get(model, owner)
        if found.kind == SHIPPED:
            raise StoreError(
                f"'{found.name}' ships with XPert and cannot be changed or deleted.",
                where=found.id,
                fix="Choose one of your own models.",
            )
        with self._writing("The model could not be changed") as session:
            yield session, owners.changeable(session, RegisteredModelRow, found.id, owner)

    def _rows(
        self, *conditions: ColumnElement[bool]
    ) -> Sequence[tuple[RegisteredModelRow, ModelRow]]:
        query = (
            select(RegisteredModelRow, ModelRow)
            .join(ModelRow, RegisteredModelRow.model_id == ModelRow.id)
            .where(*conditions)
            .order_by(RegisteredModelRow.created_at.desc(), RegisteredModelRow.id)
        )
        with self._reading("The models could not be listed") as session:
            return [(row, model) for row, model in session.execute(query)]


def _origin(card: Mapping[str, Any]) -> tuple[str, list[str]]:
    """Kind and parents that a card gives; it may come from anywhere."""
    kind, parents = card.get("kind"), card.get("parents")
    known = [p for p in parents if isinstance(p, str)] if isinstance(parents, list) else []
    return (kind if kind in KINDS[1:] else TRAINED), known


def _identity(session: Session, model: Mapping[str, Any]) -> str:
    """Id of the row that stands for this checkpoint, whoever has it."""
    row = session.scalar(select(ModelRow).where(ModelRow.digest == model["digest"]))
    if row is None:
        row = ModelRow(id=new_id(), digest=model["digest"])
        session.add(row)
    row.name, row.card = model["name"], model["card"]
    session.flush()
    return row.id


def _taken(session: Session, owner: str) -> set[str]:
    query = select(RegisteredModelRow.name).where(RegisteredModelRow.owner == owner)
    return {*session.scalars(query), *shipped_models()}


def _free_name(wanted: str, taken: set[str]) -> str:
    name, number = wanted, 2
    while name in taken:
        name, number = f"{wanted} ({number})", number + 1
    return name


def _checked_name(name: str) -> str:
    name = " ".join(name.split())
    if not name or len(name) > MAX_NAME or not name.isprintable() or model_files.ID.fullmatch(name):
        raise StoreError(
            "This cannot be the name of a model.",
            where=repr(name)[:100],
            fix=f"Give 1 to {MAX_NAME} letters, digits or signs.",
        )
    return name
