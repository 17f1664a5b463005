"""Errors a person can act on: every one says what happened, where, and how to fix it."""

from __future__ import annotations


class XPertError(Exception):
    """Base of every error this project raises on purpose.

    Parameters
    ----------
    what : str
        What is wrong, in one sentence a clinician can read.
    where : str, optional
        File, row, column, drug or setting concerned, with the offending value.
    fix : str, optional
        What the user can do about it.
    """

    def __init__(self, what: str, *, where: str = "", fix: str = "") -> None:
        self.what = what
        self.where = where
        self.fix = fix
        super().__init__(what)

    def __str__(self) -> str:
        parts = [self.what]
        if self.where:
            parts.append(f"Where: {self.where}")
        if self.fix:
            parts.append(f"How to fix: {self.fix}")
        return "\n".join(parts)

    def __reduce__(self) -> tuple[object, ...]:
        # Errors cross process borders (structure parsing runs in a child process).
        return (_rebuild, (type(self), self.what, self.where, self.fix))


def _rebuild(kind: type[XPertError], what: str, where: str, fix: str) -> XPertError:
    return kind(what, where=where, fix=fix)


class GeneError(XPertError):
    """A gene panel or gene identifier problem."""


class CohortError(XPertError):
    """An expression file or cohort that cannot be read or used."""


class DrugError(XPertError):
    """A drug name, structure or feature problem."""


class UnknownDrugError(DrugError):
    """A name that no library drug carries; the message offers the nearest names."""


class ConditionError(XPertError):
    """A dose or time that cannot be understood."""


class CheckpointError(XPertError):
    """A model file that is missing, damaged or does not fit."""


class DataError(XPertError):
    """Training data, a split or a configuration that must not be used."""


class ExplanationError(XPertError):
    """An explanation that cannot be made of this model, drug or cohort."""


class PredictionCancelled(XPertError):
    """A prediction that the user stopped."""


class StoreError(XPertError):
    """The results database or its files cannot be read or written."""


class JobError(XPertError):
    """A background job that cannot be submitted or that failed."""


class JobCancelled(XPertError):
    """Raised inside a job's work once its user asked to stop."""
