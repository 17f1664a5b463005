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
        self.done = 0
        self.progress = progress
        self.cancelled = cancelled

    def begin(self, text: str) -> None:
        """Say what comes next.

        Raises
        ------
        PredictionCancelled
            If the user stopped it.
        """
        if self.cancelled is not None and self.cancelled():
            raise PredictionCancelled(
                "The explanation was cancelled.", where=f"after {self.done} of {self.total} steps"
            )
        if self.progress is not None:
            self.progress(self.done, self.total, text)

    def end(self, count: int = 1) -> None:
        """Count `count` steps as done."""
        self.done += count
