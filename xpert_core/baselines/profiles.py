"""The paper's mean baselines as they are written there: means of profiles, not of changes."""

from __future__ import annotations

import numpy as np

from xpert_core.baselines.registry import BaselineInfo, register
from xpert_core.baselines.simple import GroupMean, Mean, MeanOfCell, MeanOfDrug
from xpert_core.tokens.dataset import TrainingData

_IMPLIED = (
    "The x_deg it implies is that profile minus the row's control; rows of a read-out without "
    "profiles after treatment (level 5) get the mean change."
)


class _MeanProfile:
    """Mean profile of training rows with a measured profile after treatment, by group."""

    changes: type[GroupMean]
    """The mean change with the same groups."""
    with_controls = False

    def __init__(self) -> None:
        self._changes = self.changes()

    def fit(self, data: TrainingData, train: np.ndarray, valid: np.ndarray) -> None:
        """Average the training rows."""
        self._changes.fit(data, train, valid)
        own = train[data.has_x_pert[train]]
        control = data.profiles[data.profile_index[own]]
        after = control + data.x_deg[own]
        if self.with_controls:
            after = (after + control) / 2
        groups = self._changes.group(data, own)
        self._all = after.mean(axis=0) if len(own) else None
        self._mean = {group: after[groups == group].mean(axis=0) for group in np.unique(groups)}

    def predict(self, data: TrainingData, rows: np.ndarray) -> np.ndarray:
        """The group's mean profile, else that of all, minus the control."""
        found = self._changes.predict(data, rows)
        if self._all is None:
            return found
        measured = np.flatnonzero(data.has_x_pert[rows])
        groups = self._changes.group(data, rows[measured])
        for place, group in zip(measured, groups, strict=True):
            control = data.profiles[data.profile_index[rows[place]]]
            found[place] = self._mean.get(group, self._all) - control
        return found


@register(
    BaselineInfo(
        "mean-profile",
        "mean profile",
        differs=f"The paper's Mean: of treated and control profiles, one control a row. {_IMPLIED}",
    )
)
class MeanProfile(_MeanProfile):
    """Mean of the training rows' profiles before and after treatment (paper, Mean)."""

    with_controls = True

    changes = Mean


@register(
    BaselineInfo(
        "mean-profile-cell",
        "mean profile of the cell line",
        knows_cell=True,
        differs=f"The paper's Mean_cell, of profiles after treatment. {_IMPLIED}",
    )
)
class MeanProfileOfCell(_MeanProfile):
    """Mean profile after treatment of the cell line's training rows (paper, Mean_cell)."""

    changes = MeanOfCell


@register(
    BaselineInfo(
        "mean-profile-drug",
        "mean profile of the drug",
        knows_drug=True,
        differs=f"The paper's Mean_drug, of profiles after treatment. {_IMPLIED}",
    )
)
class MeanProfileOfDrug(_MeanProfile):
    """Mean profile after treatment of the drug's training rows (paper, Mean_drug)."""

    changes = MeanOfDrug
