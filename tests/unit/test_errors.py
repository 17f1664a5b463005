"""Errors say what, where and how to fix, and survive the way between processes."""

from __future__ import annotations

import pickle

import pytest

from xpert_core import errors
from xpert_core.errors import XPertError

KINDS = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, XPertError)
]


def test_message_has_the_three_parts_in_order() -> None:
    error = XPertError("The dose is negative.", where="row 3, value -1", fix="Give 0 or more.")
    assert str(error) == (
        "The dose is negative.\nWhere: row 3, value -1\nHow to fix: Give 0 or more."
    )


def test_parts_without_content_are_left_out() -> None:
    assert str(XPertError("The file is empty.")) == "The file is empty."
    assert str(XPertError("Empty.", fix="Choose another file.")).count("\n") == 1


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_errors_cross_process_borders_unchanged(kind: type[XPertError]) -> None:
    sent = kind("What.", where="there", fix="so")
    received = pickle.loads(pickle.dumps(sent))  # noqa: S301 - made two lines above
    assert type(received) is kind
    assert (received.what, received.where, received.fix) == ("What.", "there", "so")
    assert str(received) == str(sent)


def test_every_kind_is_caught_as_the_base() -> None:
    assert len(KINDS) >= 8
    with pytest.raises(XPertError):
        raise errors.UnknownDrugError("No such drug.")
