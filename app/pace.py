"""How long predictions take on this machine, learned from the ones already made."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Pace:
    """Running estimate of the time a request takes.

    Attributes
    ----------
    per_prediction : float
        Seconds a prediction. Starts from a measurement on two processor cores.
    per_drug : float
        Seconds to embed a drug that was not seen before.
    """

    per_prediction: float = 0.04
    per_drug: float = 2.0

    def estimate(self, size: int, new_drugs: int) -> float:
        """Seconds that `size` predictions with `new_drugs` unseen drugs should take."""
        return size * self.per_prediction + new_drugs * self.per_drug

    def learn(self, size: int, seconds: float) -> None:
        """Move the estimate toward what a request of `size` predictions took."""
        if size >= 10:
            self.per_prediction += 0.5 * (seconds / size - self.per_prediction)


def in_words(seconds: float) -> str:
    """A duration as people say it: ``"a few seconds"``, ``"about 3 minutes"``."""
    if seconds < 8:
        return "a few seconds"
    if seconds < 90:
        return f"about {round(seconds, -1):.0f} seconds"
    if seconds < 5400:
        return f"about {seconds / 60:.0f} minutes"
    return f"about {seconds / 3600:.1f} hours"
