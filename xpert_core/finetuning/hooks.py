"""How a fine-tuning tells what it does, and how it is stopped."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from xpert_core.errors import FinetuningCancelled


def _silent(done: int, total: int, text: str) -> None: ...


def _unrecorded(**values: float | str) -> None: ...


def _never() -> bool:
    return False


@dataclass(frozen=True)
class Hooks:
    """What the caller wants to hear, and how it says stop; by default nothing and never.

    Attributes
    ----------
    progress : callable
        Called with (done, total, text).
    metric : callable
        Called after each epoch with keyword arguments: ``run`` (what is trained), ``epoch`` and
        numbers by name.
    cancelled : callable
        Asked before every training batch and between all other steps; True stops.
    """

    progress: Callable[[int, int, str], None] = _silent
    metric: Callable[..., None] = _unrecorded
    cancelled: Callable[[], bool] = _never

    def part(self, first: int, last: int, total: int) -> Hooks:
        """Hooks of a part of the work: its progress counts from `first` to `last` of `total`."""

        def progress(done: int, of: int, text: str) -> None:
            self.progress(first + (last - first) * done // max(of, 1), total, text)

        return Hooks(progress, self.metric, self.cancelled)

    def check(self) -> None:
        """Stop if the caller said so.

        Raises
        ------
        FinetuningCancelled
        """
        if self.cancelled():
            raise FinetuningCancelled(
                "The fine-tuning was cancelled.",
                fix="Start it again with the same folder to go on from the last whole epoch.",
            )
