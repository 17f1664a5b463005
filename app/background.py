"""A prediction in a thread of its own, so that the page stays alive and can cancel it.

The thread never touches the page: it writes a few plain fields that the page reads.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field

from xpert_core.cohorts.records import Profiles
from xpert_core.drugs.records import Drug
from xpert_core.prediction import Prediction, Predictor
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


@dataclass
class PredictionTask:
    """One request on its way to a stored result.

    Attributes
    ----------
    request : Request
    done, total : int
        Steps finished and to do, as the predictor counts them.
    stage : str
        What is being done now, in words.
    run_id : str
        Address of the stored result; "" until there is one.
    prediction : Prediction or None
    error : Exception or None
        What ended the task, if anything did.
    seconds : float
        Time taken, waiting for other users' predictions excluded.
    """

    request: Request
    predictor: Predictor
    store: Store
    lock: threading.Lock
    done: int = 0
    total: int = 0
    stage: str = "Waiting for the model"
    run_id: str = ""
    prediction: Prediction | None = None
    error: Exception | None = None
    seconds: float = 0.0
    _cancel: threading.Event = field(default_factory=threading.Event)
    _finished: threading.Event = field(default_factory=threading.Event)

    def start(self) -> None:
        """Begin; returns at once."""
        threading.Thread(target=self._run, name="xpert-prediction", daemon=True).start()

    def cancel(self) -> None:
        """Ask to stop; nothing is stored once the task has noticed."""
        self._cancel.set()

    @property
    def cancelled(self) -> bool:
        """Whether the user asked to stop."""
        return self._cancel.is_set()

    @property
    def running(self) -> bool:
        """Whether the thread is still at work."""
        return not self._finished.is_set()

    def wait(self, seconds: float) -> bool:
        """Wait at most `seconds`; whether the task is over."""
        return self._finished.wait(seconds)

    def _run(self) -> None:
        try:
            prediction = self._predict()
            if prediction is not None and not self.cancelled:
                self._keep(prediction)
        except Exception as error:  # shown by the page: a thread has no one to raise to
            self.error = error
        finally:
            self._finished.set()

    def _predict(self) -> Prediction | None:
        while not self.lock.acquire(timeout=0.2):
            if self.cancelled:
                return None
        started = time.perf_counter()
        request = self.request
        try:
            return self.predictor.predict(
                request.profiles,
                request.drugs,
                request.doses,
                request.times,
                samples=request.samples,
                progress=self._progress,
                cancelled=self._cancel.is_set,
            )
        finally:
            self.lock.release()
            self.seconds = time.perf_counter() - started

    def _keep(self, prediction: Prediction) -> None:
        self.stage = "Storing the result"
        self.store.register_model(self.predictor.name, self.predictor.digest, self.predictor.card)
        self.run_id = self.store.save_prediction(
            prediction, self.request.cohort_id, title=self.request.title
        )
        self.prediction = prediction

    def _progress(self, done: int, total: int, stage: str) -> None:
        self.done, self.total, self.stage = done, total, stage
