"""The sandbox child: serves one request at a time from standard input until it is closed.

Only top-level functions of the ``xpert_core.drugs`` package can be called.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import math
import os
import signal
import sys
import traceback
from collections.abc import Callable
from typing import Any

from xpert_core.errors import XPertError

PACKAGE = "xpert_core.drugs"
GRACE_S = 5.0
"""Seconds after its limit at which a child ends itself, should its parent be gone."""


def function_path(function: Callable[..., Any]) -> str:
    """``module:name`` of a function the sandbox may call.

    Raises
    ------
    TypeError
        When `function` is not a top-level function of ``xpert_core.drugs``.
    """
    module, name = function.__module__, function.__qualname__
    if not _allowed(module, name) or getattr(sys.modules.get(module), name, None) is not function:
        raise TypeError(f"{module}:{name} is not a top-level function of {PACKAGE}.")
    return f"{module}:{name}"


def _allowed(module: str, name: str) -> bool:
    return (module == PACKAGE or module.startswith(PACKAGE + ".")) and name.isidentifier()


def _find(path: str) -> Callable[..., Any]:
    module, _, name = path.partition(":")
    if not _allowed(module, name):
        raise TypeError(f"{path} is not a top-level function of {PACKAGE}.")
    function: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return function


def _limit_memory(memory_bytes: int) -> None:
    if memory_bytes <= 0:
        return
    try:
        import resource
    except ImportError:  # Windows has no such limit; the time limit still holds
        return
    # A stricter limit set by the administrator, or a system that refuses one, stays as it is.
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    try:
        return {"result": _find(request["function"])(*request["args"])}
    except XPertError as error:
        kind = next(k for k in type(error).__mro__ if k.__module__ == XPertError.__module__)
        fields = {"what": error.what, "where": error.where, "fix": error.fix}
        return {"error": fields, "kind": kind.__name__}
    except MemoryError:
        return {"memory": True}
    except Exception as error:  # reported to the parent, which raises it
        return {"crash": f"{type(error).__name__}: {error}", "trace": traceback.format_exc()}


def _alarm(seconds: float) -> None:
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, seconds)


def main(memory_bytes: int) -> None:
    """Serve requests until standard input ends.

    Parameters
    ----------
    memory_bytes : int
        Address space this process may use; 0 for no limit.
    """
    from xpert_core.drugs._messages import read_message, write_message

    # Anything a library prints must not mix with the messages.
    answers = io.FileIO(os.dup(1), "wb")
    os.dup2(2, 1)
    requests = io.FileIO(os.dup(0), "rb")
    _limit_memory(memory_bytes)

    from rdkit import Chem, rdBase
    from rdkit.Chem import rdDistGeom, rdForceFieldHelpers  # noqa: F401  loaded ahead of use

    rdBase.DisableLog("rdApp.*")
    Chem.MolFromSmiles("C")
    write_message(answers, {"ready": True})
    while (request := read_message(requests)) is not None:
        _alarm(math.ceil(request["timeout_s"]) + GRACE_S)
        answer = _answer(request)
        _alarm(0)
        try:
            write_message(answers, answer)
        except TypeError as error:
            write_message(answers, {"crash": f"TypeError: {error}", "trace": ""})
        except BrokenPipeError:
            return
