"""What a decoding process answers is data, checked before anything is made of it: nothing in it can run.

A file can take its decoder over, and then the answer is the file's. One answer is a JSON text (the number of the
question, the name of a record, its fields), followed by the bytes of each array that it announces, in pieces. Kinds,
types, lengths, dtypes and shapes are held against the record that is expected.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from multiprocessing.connection import Connection
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import numpy as np
from numpy.typing import NDArray

from medres.errors import REASONS
from medres.imaging.preprocessing import Inspected, Placement, Prepared
from medres.imaging.viewing.records import NamedWindow, Presentation, Spacing
from medres.records import DECODED, Radiograph, Refusal, Sampling, Shutter
from medres.safe_text import UNSAFE

RECORDS: Mapping[str, type] = {kind.__name__: kind for kind in (Inspected, Prepared, Presentation, Radiograph, Refusal)}
"""What a job may return, beside text, numbers, None and lists of them."""

_PARTS = (NamedWindow, Placement, Sampling, Shutter, Spacing)  # records within those
_ARRAYS: Mapping[tuple[type, str], type[np.generic]] = {
    (Prepared, "pixels"): np.uint16,
    (Prepared, "picture"): np.uint8,
    (Presentation, "levels"): np.uint16,
    (Presentation, "modality"): np.float32,
    (Presentation, "tables"): np.uint16,
    (Radiograph, "pixels"): np.float32,
}
"""Fields of (rows, columns), and their dtypes."""
_MOST_TEXT = 4 * 2**20  # bytes of JSON
_MOST_CHARACTERS = 4096  # of one value
_LEAST_PIXELS = 2048**2  # an input may have so many, whatever the budget of a file is: see `config.Preprocessing.size`
_PIECE = 2**20  # bytes of an array that are sent at once
_READY = b"null"
_SHA256 = re.compile(r"([0-9a-f]{64})?")


class BadReply(Exception):  # noqa: N818  it says what it is
    """A process answered what no decoding process of medres does."""


class UnaskedReply(BadReply):
    """An answer to nothing that was asked, or to an earlier task: something has the process in its hands already."""


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer."""

    number: int | None  # of the question; None: the process has started
    result: Any = None  # a record, or what JSON has; sequences of records are tuples, others lists


def send_ready(pipe: Connection) -> None:
    """Say that this process has started."""
    pipe.send_bytes(_READY)


def send(pipe: Connection, number: int, result: object) -> None:
    """Answer a task.

    Args:
        pipe: to the process that asked.
        number: of the question.
        result: one of RECORDS, or what JSON has.

    Raises:
        TypeError: the result is neither.
    """
    arrays: list[NDArray[Any]] = []
    kind = type(result).__name__ if type(result) in RECORDS.values() else ""
    text = json.dumps([number, kind, _content(result, arrays)]).encode()
    if len(text) > _MOST_TEXT:
        arrays.clear()
        refusal = Refusal("", "LIMIT", f"what its header says takes more than {_MOST_TEXT} bytes")
        text = json.dumps([number, "Refusal", _content(refusal, arrays)]).encode()
    pipe.send_bytes(text)
    for array in arrays:
        content = np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
        for start in range(0, len(content), _PIECE):
            pipe.send_bytes(content[start : start + _PIECE])


def receive(pipe: Connection, *, pixels: int) -> Reply:
    """Take one answer.

    Args:
        pipe: to the process that was asked.
        pixels: how many an array may have.

    Raises:
        BadReply: it is none.
        EOFError: the process has ended.
        OSError: the process has ended within its answer, or announces more than any answer has.
    """
    text = pipe.recv_bytes(_MOST_TEXT)
    if text == _READY:
        return Reply(None)
    try:
        number, kind, content = json.loads(text)
    except (ValueError, TypeError, RecursionError):
        raise BadReply("no answer in JSON") from None
    if type(number) is not int or type(kind) is not str:
        raise BadReply("no number of a question, or no kind of record")
    if not kind:
        return Reply(number, _plain(content))
    if kind not in RECORDS:
        raise BadReply("no record that a job returns")
    result = _Reader(pipe, max(pixels, _LEAST_PIXELS)).record(RECORDS[kind], content)
    if isinstance(result, Refusal) and not (result.code in REASONS and _SHA256.fullmatch(result.sha256)):
        raise BadReply("no refusal")
    if isinstance(result, Prepared) and result.decode not in DECODED:
        raise BadReply("decoded as no file is")
    return Reply(number, result)


def _content(value: object, arrays: list[NDArray[Any]]) -> Any:
    """A value as JSON has it; arrays are put aside, and announced."""
    if isinstance(value, np.ndarray):
        arrays.append(value)
        return [value.dtype.name, list(value.shape)]
    if is_dataclass(value) and isinstance(value, (*RECORDS.values(), *_PARTS)):
        return {field.name: _content(getattr(value, field.name), arrays) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(name): _content(item, arrays) for name, item in value.items()}
    if isinstance(value, tuple | list):
        return [_content(item, arrays) for item in value]
    if value is None or isinstance(value, str | int | float):
        return value
    raise TypeError(f"a job returned {type(value).__name__}, which does not travel between processes")


def _plain(value: object) -> object:
    items = value if isinstance(value, list) else [value]
    if any(item is not None and not isinstance(item, str | int | float) for item in items):
        raise BadReply("neither text nor a number")
    return value


@cache
def _hints(kind: type) -> tuple[tuple[str, Any], ...]:
    hints = get_type_hints(kind)
    return tuple((field.name, hints[field.name]) for field in fields(kind))


class _Reader:
    """Makes records of what a process says, field by field; the bytes of its arrays are read where they are met."""

    def __init__(self, pipe: Connection, pixels: int) -> None:
        self.pipe, self.pixels = pipe, pixels

    def record(self, kind: type, content: object) -> Any:
        hints = _hints(kind)
        if not isinstance(content, dict) or list(content) != [name for name, _ in hints]:
            raise BadReply(f"not the fields of {kind.__name__}")
        made = {name: self._field(kind, name, hint, content[name]) for name, hint in hints}
        return kind(**made)

    def _field(self, kind: type, name: str, hint: Any, content: object) -> Any:
        if (dtype := _ARRAYS.get((kind, name))) is not None:
            return None if content is None and _may_be_absent(hint) else self._array(dtype, content)
        if name == "path":  # a file's name may hold anything; whoever asked knows it
            return content if isinstance(content, str) else self._wrong(hint)
        return self._value(hint, content)

    def _value(self, hint: Any, content: object) -> Any:
        origin, parts = get_origin(hint), get_args(hint)
        if hint is str:
            return self._text(content)
        if hint in (int, float, bool, type(None)):
            return content if type(content) is hint else self._wrong(hint)
        if origin in (Union, UnionType):
            others = [part for part in parts if part is not type(None)]
            return None if content is None else self._value(others[0], content)
        if origin is tuple and isinstance(content, list):
            kinds = parts[:1] * len(content) if parts[-1] is ... else parts
            if len(kinds) == len(content):
                return tuple(map(self._value, kinds, content))
        if origin is not None and issubclass(origin, Mapping) and isinstance(content, dict):
            return {self._text(key): self._value(parts[1], value) for key, value in content.items()}
        if hint in _PARTS:
            return self.record(hint, content)
        return self._wrong(hint)

    def _text(self, content: object) -> str:
        if not isinstance(content, str) or len(content) > _MOST_CHARACTERS or UNSAFE.search(content):
            raise BadReply("no text, too long a text, or one with control characters")
        return content

    def _wrong(self, hint: Any) -> Any:
        raise BadReply(f"something else than {hint}")

    def _array(self, dtype: type[np.generic], content: object) -> NDArray[Any]:
        """An array of two dimensions, from pieces of bytes."""
        said, shape = content if isinstance(content, list) and len(content) == 2 else ("", None)
        if said != np.dtype(dtype).name or not isinstance(shape, list) or len(shape) != 2:
            raise BadReply("another dtype, or not two dimensions")
        if not all(type(side) is int and 0 < side <= self.pixels for side in shape) or math.prod(shape) > self.pixels:
            raise BadReply("more pixels than the budget allows, or none")
        array = np.empty(shape, dtype)
        room = array.reshape(-1).view(np.uint8).data
        for start, length in _pieces(len(room)):
            piece = self.pipe.recv_bytes(_PIECE)
            if len(piece) != length:
                raise BadReply("an array of another length than it says")
            room[start : start + length] = piece
        return array


def _may_be_absent(hint: Any) -> bool:
    return type(None) in get_args(hint)


def _pieces(length: int) -> Iterator[tuple[int, int]]:
    for start in range(0, length, _PIECE):
        yield start, min(_PIECE, length - start)
