"""A reader of Stata's .dta files of numbers (formats 117 to 119, Stata 13 and later).

The layout is that of Stata's manual ("Description of .dta file format"): tagged sections at offsets a map gives.
Text variables are skipped; missing values become NaN.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from persuadable.errors import DataError

__all__ = ["read_stata"]

# Type code -> (NumPy type, first value that stands for "missing"); the missing codes lie above every valid number.
_NUMBERS: Final[dict[int, tuple[str, float]]] = {
    65526: ("f8", 2.0**1023),
    65527: ("f4", 2.0**127),
    65528: ("i4", 2147483621),
    65529: ("i2", 32741),
    65530: ("i1", 101),
}
_LONG_TEXT: Final = 32768
_NAME_BYTES: Final = {117: 33, 118: 129, 119: 129}


def read_stata(path: Path) -> dict[str, NDArray[np.float64]]:
    """The numeric variables of a .dta file, each (n,) float64.

    Raises:
        DataError: not a .dta file of format 117, 118 or 119, or a damaged one.
    """
    content = path.read_bytes()
    try:
        return _read(content)
    except (struct.error, ValueError, IndexError, KeyError) as error:
        raise DataError(
            f"{path.name} is not a readable Stata file", where=str(path), remedy="Formats 117, 118 and 119 are read."
        ) from error


def _read(content: bytes) -> dict[str, NDArray[np.float64]]:
    release = int(_between(content, b"<release>", b"</release>"))
    order = "<" if _between(content, b"<byteorder>", b"</byteorder>") == b"LSF" else ">"
    width = _NAME_BYTES[release]
    n_variables = _integer(_between(content, b"<K>", b"</K>"), order)
    n_rows = _integer(_between(content, b"<N>", b"</N>"), order)
    start = content.index(b"<map>") + len(b"<map>")
    places = struct.unpack(f"{order}14Q", content[start : start + 14 * 8])
    codes = struct.unpack_from(f"{order}{n_variables}H", content, places[2] + len(b"<variable_types>"))
    names = [_text(content, places[3] + len(b"<varnames>") + i * width, width) for i in range(n_variables)]
    fields = [(f"v{i}", _field(code, order)) for i, code in enumerate(codes)]
    data = np.frombuffer(content, np.dtype(fields), n_rows, places[9] + len(b"<data>"))
    return {
        name: _numbers(data[f"v{i}"], _NUMBERS[code][1])
        for i, (name, code) in enumerate(zip(names, codes, strict=True))
        if code in _NUMBERS
    }


def _between(content: bytes, opening: bytes, closing: bytes) -> bytes:
    start = content.index(opening) + len(opening)
    return content[start : content.index(closing, start)]


def _integer(raw: bytes, order: str) -> int:
    return int.from_bytes(raw, "little" if order == "<" else "big")


def _text(content: bytes, at: int, width: int) -> str:
    return content[at : at + width].split(b"\0", 1)[0].decode()


def _field(code: int, order: str) -> str:
    """The NumPy type of one variable: a number, a text of ``code`` bytes, or a reference to long text."""
    if code in _NUMBERS:
        return order + _NUMBERS[code][0]
    return "V8" if code == _LONG_TEXT else f"V{code}"


def _numbers(raw: NDArray[np.generic], missing: float) -> NDArray[np.float64]:
    values = raw.astype(np.float64)
    values[values >= missing] = np.nan
    return values
