"""Prediction: a cohort, drugs, doses and times in; predicted changes out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from xpert_core.prediction.records import X_DEG_UNIT, X_PERT_UNIT, Prediction

if TYPE_CHECKING:
    from xpert_core.prediction.files import load_prediction
    from xpert_core.prediction.predictor import Predictor

__all__ = ["X_DEG_UNIT", "X_PERT_UNIT", "Prediction", "Predictor", "load_prediction"]


def __getattr__(name: str) -> Any:
    # The predictor needs torch; the record alone must not cost its import.
    if name == "Predictor":
        from xpert_core.prediction.predictor import Predictor

        return Predictor
    if name == "load_prediction":
        from xpert_core.prediction.files import load_prediction

        return load_prediction
    raise AttributeError(name)
