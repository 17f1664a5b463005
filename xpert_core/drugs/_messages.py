"""Messages between a process and its sandbox child: length-prefixed JSON, never pickle.

The scheme carries what drug code needs (text, numbers, lists, tuples, dictionaries with text keys,
NumPy arrays and the drug records), so nothing a message holds can run code on arrival.
"""

from __future__ import annotations

import base64
import dataclasses
import io
import json
import struct
from io import RawIOBase
from typing import Any

import numpy as np

from xpert_core.drugs import records

MAX_MESSAGE_BYTES = 256 * 1024 * 1024
"""Larger messages are refused: a damaged length must not ask for all memory."""

_LENGTH = struct.Struct(">Q")
_RECORDS: dict[str, type] = {"Drug": records.Drug, "DrugFeatures": records.DrugFeatures}


def write_message(stream: RawIOBase, message: dict[str, Any]) -> None:
    """Write one message to an unbuffered stream.

    Raises
    ------
    TypeError
        When the message holds a value the scheme does not carry.
    """
    body = json.dumps(_encode(message)).encode("utf-8")
    rest = memoryview(_LENGTH.pack(len(body)) + body)
    while rest:
        rest = rest[stream.write(rest) or 0 :]


def read_message(stream: RawIOBase) -> dict[str, Any] | None:
    """Read one message; None when the stream ended or does not hold a whole message."""
    head = _read_exactly(stream, _LENGTH.size)
    if head is None:
        return None
    (length,) = _LENGTH.unpack(head)
    body = _read_exactly(stream, length) if length <= MAX_MESSAGE_BYTES else None
    if body is None:
        return None
    message: dict[str, Any] = _decode(json.loads(body))
    return message


def _read_exactly(stream: RawIOBase, count: int) -> bytes | None:
    parts = []
    while count > 0:
        part = stream.read(min(count, 1 << 20))
        if not part:
            return None
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


def _encode(value: Any) -> Any:
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        buffer = io.BytesIO()
        np.save(buffer, value, allow_pickle=False)
        return {"$array": base64.b64encode(buffer.getvalue()).decode("ascii")}
    if isinstance(value, list):
        return [_encode(item) for item in value]
    if isinstance(value, tuple):
        return {"$tuple": [_encode(item) for item in value]}
    if isinstance(value, dict) and all(isinstance(k, str) and k[:1] != "$" for k in value):
        return {key: _encode(item) for key, item in value.items()}
    name = type(value).__name__
    if isinstance(value, (records.Drug, records.DrugFeatures)):
        fields = {f.name: _encode(getattr(value, f.name)) for f in dataclasses.fields(value)}
        return {"$record": name, "fields": fields}
    raise TypeError(f"A {name} cannot be sent to or from the sandbox.")


def _decode(value: Any) -> Any:
    if isinstance(value, list):
        return [_decode(item) for item in value]
    if not isinstance(value, dict):
        return value
    if "$array" in value:
        return np.load(io.BytesIO(base64.b64decode(value["$array"])), allow_pickle=False)
    if "$tuple" in value:
        return tuple(_decode(item) for item in value["$tuple"])
    if "$record" in value:
        fields = {key: _decode(item) for key, item in value["fields"].items()}
        return _RECORDS[value["$record"]](**fields)
    return {key: _decode(item) for key, item in value.items()}
