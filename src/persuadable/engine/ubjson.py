"""UBJSON as XGBoost writes it, read strictly and within the bytes there are."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

__all__ = ["parse"]

DEEPEST = 16
TYPES = {"i": ("b", "i1"), "U": ("B", "u1"), "I": ("h", "i2"), "l": ("i", "i4"), "L": ("q", "i8")}
TYPES |= {"d": ("f", "f4"), "D": ("d", "f8")}
SCALARS = {ord(mark): struct.Struct(f">{code}") for mark, (code, _) in TYPES.items()}
ARRAYS = {ord(mark): np.dtype(f">{code}") for mark, (_, code) in TYPES.items()}
CONSTANTS = {ord("Z"): None, ord("T"): True, ord("F"): False}
OBJECT, OBJECT_END, ARRAY, TEXT, LENGTH, TYPE, COUNT = b"{}[SL$#"


def parse(raw: bytes) -> Any:
    """The value that UBJSON bytes hold: objects, lists, texts, numbers; arrays of one type as NumPy arrays.

    Read is what XGBoost writes: counted arrays, 64-bit lengths, no key twice, nothing after the value.

    Raises:
        ValueError: anything else; the message names the byte.
    """
    reader = _Reader(raw)
    try:
        value = reader.value(0)
    except (IndexError, struct.error, UnicodeDecodeError) as error:
        raise ValueError(f"byte {reader.at:,}: {error}") from error
    if reader.at != len(raw):
        raise ValueError(f"byte {reader.at:,}: something follows the end")
    return value


class _Reader:
    __slots__ = ("at", "raw")

    def __init__(self, raw: bytes) -> None:
        self.raw, self.at = raw, 0

    def value(self, depth: int) -> Any:
        kind = self.raw[self.at]
        self.at += 1
        if kind in SCALARS:
            scalar = SCALARS[kind]
            (number,) = scalar.unpack_from(self.raw, self.at)
            self.at += scalar.size
            return number
        if kind == TEXT:
            return self.text()
        if kind in CONSTANTS:
            return CONSTANTS[kind]
        if depth >= DEEPEST:
            raise ValueError(f"byte {self.at:,}: nested deeper than {DEEPEST}")
        if kind == ARRAY:
            return self.array(depth)
        if kind == OBJECT:
            return self.object(depth)
        raise ValueError(f"byte {self.at - 1:,}: unknown type {bytes([kind])!r}")

    def object(self, depth: int) -> dict[str, Any]:
        members: dict[str, Any] = {}
        while self.raw[self.at] != OBJECT_END:
            key = self.text()
            if key in members:
                raise ValueError(f"byte {self.at:,}: the key {key!r} comes twice")
            members[key] = self.value(depth + 1)
        self.at += 1
        return members

    def array(self, depth: int) -> Any:
        kind = None
        if self.raw[self.at] == TYPE:
            kind = ARRAYS.get(self.raw[self.at + 1])
            if kind is None:
                raise ValueError(f"byte {self.at + 1:,}: an array of an unknown type")
            self.at += 2
        if self.raw[self.at] != COUNT:
            raise ValueError(f"byte {self.at:,}: an array that is not counted")
        self.at += 1
        count = self.length(1 if kind is None else kind.itemsize)
        if kind is None:
            return [self.value(depth + 1) for _ in range(count)]
        values = np.frombuffer(self.raw, kind, count, self.at)
        self.at += values.nbytes
        return values

    def text(self) -> str:
        size = self.length(1)
        self.at += size
        return self.raw[self.at - size : self.at].decode()

    def length(self, width: int) -> int:
        """A length of items at least this wide, as many as can still follow."""
        if self.raw[self.at] != LENGTH:
            raise ValueError(f"byte {self.at:,}: a length was expected")
        (size,) = SCALARS[LENGTH].unpack_from(self.raw, self.at + 1)
        self.at += 9
        if not 0 <= size * width <= len(self.raw) - self.at:
            raise ValueError(f"byte {self.at:,}: a length of {size:,} reaches beyond the end")
        return int(size)
