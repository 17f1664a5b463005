"""What a shipped model was trained on: drugs, cell lines, doses and times."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from xpert_core.errors import DataError
from xpert_core.files import write_bytes_atomic
from xpert_core.paths import assets_dir
from xpert_core.tokens.dataset import LOG2_READOUT, READOUTS

FILE = "conditions.csv"
COLUMNS = ("drug_key", "drug", "cell", "dose_um", "time_h", "readout", "part", "rows")
#: A condition is near a training condition within these factors: L1000 doses lie three-fold apart,
#: so that a factor of two joins neighbours; its times are 6 and 24 h, which must stay apart.
DOSE_FACTOR, TIME_FACTOR = 2.0, 1.5
#: Predictions are read out as this one; what was trained on another says less about them.
PREDICTED_READOUT = READOUTS[LOG2_READOUT]


@dataclass(frozen=True)
class TrainingConditions:
    """Conditions of the rows that a model was trained, chosen and tested on.

    Attributes
    ----------
    model_digest : str
        Hash of the checkpoint they belong to.
    table : DataFrame
        One row a condition, columns `COLUMNS`: key of the drug (InChIKey connectivity block, or
        an identifier with a colon), its name, cell line, dose (uM), time (h), read-out in words,
        part (``train``, ``valid``, ``test`` or ``dropped``) and number of measurements.
    """

    model_digest: str
    table: pd.DataFrame

    def _training(self, readout: str | None) -> pd.DataFrame:
        rows = self.table[self.table["part"] == "train"]
        return rows if readout is None else rows[rows["readout"] == readout]

    def trained(
        self, drug_key: str | None = None, readout: str | None = PREDICTED_READOUT
    ) -> pd.DataFrame:
        """Distinct doses and times of training rows.

        Parameters
        ----------
        drug_key : str, optional
            Of this drug only.
        readout : str or None
            Of this read-out only; None = of all.

        Returns
        -------
        DataFrame
            Columns ``dose_um``, ``time_h``, ``rows``, ``drugs``, ``cells``.
        """
        rows = self._training(readout)
        if drug_key is not None:
            rows = rows[rows["drug_key"] == drug_key]
        grouped = rows.groupby(["dose_um", "time_h"], as_index=False)
        return grouped.agg(
            rows=("rows", "sum"), drugs=("drug_key", "nunique"), cells=("cell", "nunique")
        )

    def part_of(self, drug_key: str) -> str:
        """Part in which a drug stands: train, valid, test, dropped, or ``""`` when in none."""
        parts = self.table.loc[self.table["drug_key"] == drug_key, "part"]
        return str(parts.iloc[0]) if len(parts) else ""

    def near(
        self,
        dose_um: np.ndarray,
        time_h: np.ndarray,
        *,
        dose_factor: float = DOSE_FACTOR,
        time_factor: float = TIME_FACTOR,
    ) -> np.ndarray:
        """Whether a training row of any drug, in the predicted read-out, lies near each condition.

        Parameters
        ----------
        dose_um, time_h : ndarray, broadcast together
        dose_factor, time_factor : float
            How many times larger or smaller a training condition may be.

        Returns
        -------
        ndarray of bool
        """
        known = self.trained()
        dose, time = np.broadcast_arrays(np.log(dose_um), np.log(time_h))
        slack = 1e-6  # a dose stored as float32 is not exactly twice another
        by_dose = np.abs(dose[..., None] - np.log(known["dose_um"].to_numpy()))
        by_time = np.abs(time[..., None] - np.log(known["time_h"].to_numpy()))
        close = (by_dose <= np.log(dose_factor) + slack) & (by_time <= np.log(time_factor) + slack)
        found: np.ndarray = close.any(axis=-1)
        return found

    def contrasts(self, readout: str | None = PREDICTED_READOUT) -> dict[str, int]:
        """How many drug-cell pairs were trained on at several doses, and at several times.

        Only a pair measured at several times shows what time alone does: where there is none, a
        predicted effect of time may be that of the cell lines which were measured at each time.

        Parameters
        ----------
        readout : str or None
            In this read-out only; None = in any, within one read-out.

        Returns
        -------
        dict of str to int
            ``pairs``, ``several_doses``, ``several_times``.
        """
        rows = self._training(readout)
        pair = ["drug_key", "cell", "readout"]
        doses = rows.groupby([*pair, "time_h"])["dose_um"].nunique()
        times = rows.groupby([*pair, "dose_um"])["time_h"].nunique()
        return {
            "pairs": rows.groupby(pair).ngroups,
            "several_doses": doses[doses > 1].groupby(level=pair).ngroups,
            "several_times": times[times > 1].groupby(level=pair).ngroups,
        }


def save_conditions(conditions: TrainingConditions, path: Path) -> None:
    """Write as CSV whose first line names the model."""
    body = conditions.table[list(COLUMNS)].to_csv(index=False, lineterminator="\n")
    write_bytes_atomic(path, f"# model: {conditions.model_digest}\n{body}".encode())


def read_conditions(path: Path) -> TrainingConditions:
    """Read what `save_conditions` wrote.

    Raises
    ------
    DataError
        If the file is damaged.
    """
    try:
        with path.open(encoding="utf-8") as stream:
            digest = stream.readline().removeprefix("# model:").strip()
            table = pd.read_csv(stream, keep_default_na=False)
        return TrainingConditions(digest, table[list(COLUMNS)])
    except (OSError, ValueError, KeyError) as error:
        raise DataError(
            "The list of a model's training conditions is missing or damaged.",
            where=f"{path.name} ({type(error).__name__})",
            fix="Install the program again, or run training/model_conditions.py.",
        ) from error


def conditions_of(model_digest: str) -> TrainingConditions | None:
    """Training conditions of a shipped model by the hash of its checkpoint.

    Returns
    -------
    TrainingConditions or None
        None where the model is not a shipped one: nothing is known then, and nothing is assumed.
    """
    for path in sorted((assets_dir() / "models").glob(f"*/{FILE}")):
        found = read_conditions(path)
        if found.model_digest == model_digest:
            return found
    return None
