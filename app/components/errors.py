"""What a person sees when something goes wrong: what, where, how to fix; never a traceback."""

from __future__ import annotations

import logging
import traceback
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import streamlit as st

from app import keys
from app.components.text import plain
from xpert_core.errors import XPertError

logger = logging.getLogger("app")


@contextmanager
def guarded() -> Iterator[None]:
    """Show any error of the block on the page and let the rest of the page go on."""
    try:
        yield
    except Exception as error:
        show_error(error)


@contextmanager
def guarded_callback() -> Iterator[None]:
    """As `guarded`, for a widget's callback: `show_notice` shows the error at the next drawing."""
    try:
        yield
    except Exception as error:
        st.session_state[keys.NOTICE] = error


def show_notice() -> None:
    """Show once what a callback left behind."""
    error: Exception | None = st.session_state.pop(keys.NOTICE, None)
    if error is not None:
        show_error(error)


def show_error(error: Exception) -> None:
    """Draw `error` as an error box a clinician can act on."""
    if isinstance(error, XPertError):
        parts = [f"**{plain(error.what)}**"]
        parts += [f"Where: {plain(error.where)}"] if error.where else []
        parts += [f"How to fix: {plain(error.fix)}"] if error.fix else []
    else:
        number = log_unexpected(error)
        parts = [
            "**Something went wrong that this page does not know how to explain.**",
            "Nothing of yours was changed.",
            f"How to fix: try once more; if it happens again, report error number {number} "
            "to the person who runs this program. The log has the details.",
        ]
    st.error("\n\n".join(parts))


def log_unexpected(error: Exception) -> str:
    """Log where `error` arose, without its message, which may quote patient data.

    Returns
    -------
    str
        The error number shown to the user.
    """
    number = uuid.uuid4().hex[:8]
    frames = traceback.extract_tb(error.__traceback__)
    places = " <- ".join(f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames[::-1])
    logger.error("error %s: %s at %s", number, type(error).__name__, places)
    return number
