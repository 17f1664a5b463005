"""Lengths of training are compared on validation rows alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from training import compare_epochs
from xpert_core.benchmark.models import XPertModel
from xpert_core.errors import DataError

SMOKE = Path(__file__).parents[2] / "training" / "configs" / "smoke.yaml"


def test_each_length_has_a_line_and_no_test_row_is_asked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[XPertModel] = []
    fit = XPertModel.fit

    def recorded(self: XPertModel, data, train: np.ndarray, valid: np.ndarray) -> None:
        asked.append(self)
        assert not set(train) & set(valid)
        fit(self, data, train, valid)

    monkeypatch.setattr(XPertModel, "fit", recorded)
    monkeypatch.setattr(XPertModel, "predict_both", None)  # what would ask for test rows
    compare_epochs.main(SMOKE, "cold-drug", 1, [1, 2])
    lines = [line.split(" | ") for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == compare_epochs.HEAD.split(" | ")
    assert [line[2] for line in lines[2:]] == ["1", "2"]
    assert [(m.config.max_epochs, m.config.patience) for m in asked] == [(1, 1), (2, 1)]
    for line in lines[2:]:
        level3, level5, mean = (float(cell) for cell in line[4:7])
        assert mean == pytest.approx((level3 + level5) / 2, abs=1e-4)
        assert 1 <= int(line[3]) <= int(line[2])


def test_a_fold_that_is_not_there_is_named() -> None:
    with pytest.raises(DataError, match="no fold 9 of cold-drug"):
        compare_epochs.main(SMOKE, "cold-drug", 9, [1])
    with pytest.raises(DataError, match="no fold 1 of cold"):
        compare_epochs.main(SMOKE, "cold", 1, [1])
