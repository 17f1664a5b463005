"""Progress and cancel of work that goes step by step."""

from __future__ import annotations

from xpert_core.errors import PredictionCancelled
from xpert_core.prediction.predictor import Cancelled, Progress


class Steps:
    """Tells how far the work is, and notices between two steps that the user stopped it.

    Parameters
    ----------
    total : int
        Number of steps.
    progress : callable, optional
        Called with (done, total, text).
    cancelled : callable, optional
        True stops the work.
    """

    def __init__(
        self, total: int, progress: Progress | None = None, cancelled: Cancelled | None = None
    ) -> None:
        self.total = total
        self.progress = progress
        self.cancelled = cancelled

    def __call__(self, done: int, text: str) -> None:
        """Say that `done` steps are finished and what comes next.

        Raises
        ------
        PredictionCancelled
            If the user stopped it.
        """
        if self.cancelled is not None and self.cancelled():
            raise PredictionCancelled(
                "The explanation was cancelled.", where=f"after {done} of {self.total} steps"
            )
        if self.progress is not None:
            self.progress(done, self.total, text)
