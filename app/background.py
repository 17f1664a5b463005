"""A prediction in a thread of its own, stored when it is done."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from app.tasks import Task
from xpert_core.cohorts.records import Profiles
from xpert_core.drugs.records import Drug
from xpert_core.prediction import Prediction, Predictor
from xpert_core.prediction.predictor import Cancelled, Progress
from xpert_core.store import Store


@dataclass(frozen=True)
class Request:
    """What to predict.

    Attributes
    ----------
    cohort_id, cohort_name : str
        The stored cohort and the name shown for it.
    profiles : Profiles
    samples : tuple of str
        Sample ids to predict for.
    drugs : tuple of Drug
    doses, times : tuple of str
        As typed, each with a unit or bare (micromolar, hours).
    """

    cohort_id: str
    cohort_name: str
    profiles: Profiles
    samples: tuple[str, ...]
    drugs: tuple[Drug, ...]
    doses: tuple[str, ...]
    times: tuple[str, ...]

    @property
    def size(self) -> int:
        """Number of predictions."""
        return len(self.samples) * len(self.drugs) * len(self.doses) * len(self.times)

    @property
    def title(self) -> str:
        """Title under which the result is stored."""
        drugs = ", ".join(drug.name[:40] for drug in self.drugs[:4])
        more = f" and {len(self.drugs) - 4} more" if len(self.drugs) > 4 else ""
        return f"{self.cohort_name}: {drugs}{more}"


class PredictionTask(Task[Prediction]):
    """One request on its way to a stored result.

    Parameters
    ----------
    request : Request
    predictor : Predictor
    store : Store
        As the user sees it.
    lock : Lock
        See `app.tasks.Task`.

    Attributes
    ----------
    run_id : str
        Address of the stored result; "" until there is one.
    """

    def __init__(
        self, request: Request, predictor: Predictor, store: Store, lock: threading.Lock
    ) -> None:
        super().__init__(self._predict, lock)
        self.request = request
        self.predictor = predictor
        self.store = store
        self.run_id = ""

    def _predict(self, progress: Progress, cancelled: Cancelled) -> Prediction:
        request = self.request
        return self.predictor.predict(
            request.profiles,
            request.drugs,
            request.doses,
            request.times,
            samples=request.samples,
            progress=progress,
            cancelled=cancelled,
        )

    def _keep(self, found: Prediction) -> None:
        """Store the prediction, unless the user has stopped it."""
        if self.cancelled:
            return
        self.stage = "Storing the result"
        self.store.register_model(self.predictor.name, self.predictor.digest, self.predictor.card)
        self.run_id = self.store.save_prediction(
            found, self.request.cohort_id, title=self.request.title
        )
        super()._keep(found)
