"""Arrow streams: those of strangers, read only once their frame has been checked, and those that are answered.

The frame of every message is parsed here before polars sees a byte: how many rows it announces, that columns are plain
numbers, booleans or text, and that nothing is compressed. A stream of a kilobyte could otherwise announce a billion
rows, or hold a gigabyte.

Source: the Arrow columnar format 1.5, "Encapsulated message format", and its flatbuffers Message.fbs and Schema.fbs.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

from persuadable.errors import DataError

__all__ = ["END", "ArrowError", "batches", "read", "rows", "schema"]

CONTINUATION = 0xFFFFFFFF
END = struct.pack("<II", CONTINUATION, 0)
SCHEMA, DICTIONARY, RECORDS = 1, 2, 3
LARGEST_METADATA = 2**22
LONGEST_TEXT = 2**16
# Null, Int, FloatingPoint, Utf8, Bool, LargeUtf8, Utf8View
PLAIN = frozenset({1, 2, 3, 5, 6, 20, 24})


class ArrowError(DataError):
    """It is no Arrow stream, or one that is not read here."""


@dataclass(frozen=True, slots=True)
class _Message:
    """One message of a stream: what kind, how many rows, and where it lies."""

    kind: int
    length: int
    start: int
    end: int


class _Table:
    """A flatbuffers table; every look is within the buffer or a struct.error."""

    def __init__(self, raw: bytes, at: int) -> None:
        self._raw, self._at = raw, at
        self._vtable = at - _unpack("<i", raw, at)
        self._size = _unpack("<H", raw, self._vtable)

    def _field(self, number: int) -> int:
        """Where a field lies; 0 where it is absent."""
        place = 4 + 2 * number
        offset = _unpack("<H", self._raw, self._vtable + place) if place < self._size else 0
        return self._at + offset if offset else 0

    def scalar(self, number: int, kind: str) -> int:
        """A number; 0 where it is absent."""
        at = self._field(number)
        return _unpack(kind, self._raw, at) if at else 0

    def table(self, number: int) -> _Table | None:
        """A table within this one."""
        at = self._field(number)
        return _Table(self._raw, at + _unpack("<I", self._raw, at)) if at else None

    def tables(self, number: int) -> Iterator[_Table]:
        """The tables of a vector."""
        if at := self._field(number):
            start = at + _unpack("<I", self._raw, at)
            for i in range(_unpack("<I", self._raw, start)):
                item = start + 4 + 4 * i
                yield _Table(self._raw, item + _unpack("<I", self._raw, item))


def _unpack(kind: str, raw: bytes, at: int) -> int:
    if at < 0:  # struct would count from the end
        raise struct.error
    value: int = struct.unpack_from(kind, raw, at)[0]
    return value


def rows(file: BinaryIO) -> int:
    """How many rows a stream announces, after its whole frame has been checked.

    Raises:
        ArrowError: it is cut short or damaged, has a nested or unusual column, or is compressed.
    """
    try:
        messages = list(_messages(file))
    except (struct.error, OverflowError):
        raise ArrowError("This is no Arrow stream, or it is damaged", remedy="Send an Arrow IPC stream.") from None
    if not messages or messages[0].kind != SCHEMA or any(message.kind == SCHEMA for message in messages[1:]):
        raise ArrowError("The Arrow stream does not begin with its schema", remedy="Send one Arrow IPC stream.")
    return sum(message.length for message in messages if message.kind == RECORDS)


def _messages(file: BinaryIO) -> Iterator[_Message]:
    file.seek(0, 2)
    size = file.tell()
    at = 0
    while at < size:
        file.seek(at)
        mark, length = struct.unpack("<II", file.read(8))
        if mark != CONTINUATION or length > LARGEST_METADATA:
            raise struct.error
        if length == 0:
            if at + 8 != size:
                raise struct.error
            return
        metadata = file.read(length)
        message = _Table(metadata, _unpack("<I", metadata, 0))
        body = message.scalar(3, "<q")
        end = at + 8 + length + body
        if body < 0 or end > size:
            raise struct.error
        yield _message(message, at, end, size)
        at = end


def _message(message: _Table, start: int, end: int, size: int) -> _Message:
    kind, header = message.scalar(1, "<B"), message.table(2)
    if header is None or kind not in (SCHEMA, DICTIONARY, RECORDS):
        raise struct.error
    if kind == SCHEMA:
        _check_columns(header)
        return _Message(kind, 0, start, end)
    records = header.table(1) if kind == DICTIONARY else header
    if records is None:
        raise struct.error
    if records.table(3) is not None:
        raise ArrowError("The Arrow stream is compressed", remedy="Write it without compression.")
    length = records.scalar(0, "<q")
    if length < 0 or (kind == DICTIONARY and length > size):
        raise struct.error
    return _Message(kind, length, start, end)


def _check_columns(header: _Table) -> None:
    for i, field in enumerate(header.tables(1)):
        if field.scalar(2, "<B") not in PLAIN:
            raise ArrowError(
                f"Column {i} of the Arrow stream is neither number, boolean nor text",
                remedy="Convert it, or leave it out.",
            )


def read(file: BinaryIO) -> Any:
    """A stream whose frame was checked, as a polars frame.

    Raises:
        ArrowError: its contents are damaged, or it has no column 'unit'.
    """
    import polars as pl

    file.seek(0)
    try:
        frame = pl.read_ipc_stream(file)
        longest = max((_longest(frame[name]) for name in frame.columns), default=0)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError, ValueError) as error:
        raise ArrowError(f"The Arrow stream cannot be read: {error}", remedy="Send an Arrow IPC stream.") from None
    if longest > LONGEST_TEXT:
        raise ArrowError(f"The Arrow stream holds text of {longest:,} bytes", remedy=f"At most {LONGEST_TEXT:,}.")
    if "unit" not in frame.columns:
        raise ArrowError("The Arrow stream has no column 'unit'", remedy="Name in it whom each row is about.")
    return frame


def _longest(series: Any) -> int:
    """The longest text of a column, in bytes: few bytes can stand for a text in every row."""
    import polars as pl

    if series.dtype in (pl.Categorical, pl.Enum):
        series = series.unique().cast(pl.String)
    return int(series.str.len_bytes().max() or 0) if series.dtype == pl.String else 0


def schema(frame: Any) -> bytes:
    """The beginning of a stream of frames like this one."""
    raw, messages = _written(frame)
    return raw[messages[0].start : messages[0].end]


def batches(frame: Any) -> bytes:
    """A frame's rows, as they stand in a stream after its schema."""
    raw, messages = _written(frame)
    return b"".join(raw[message.start : message.end] for message in messages[1:])


def _written(frame: Any) -> tuple[bytes, list[_Message]]:
    written = io.BytesIO()
    frame.write_ipc_stream(written, compression="uncompressed")
    return written.getvalue(), list(_messages(written))
