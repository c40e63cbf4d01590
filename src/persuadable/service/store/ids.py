"""Decision ids: UUIDs of version 7, which begin with the time, to the microsecond, and so sort by it.

The decisions of one request get consecutive ids: the first and their number say them all, and no further index is
needed to find them again. Nor is one needed to find the decisions of a stretch of time.

Source: RFC 9562, sections 5.7 and 6.2 (method 3: part of a millisecond in the 12 bits after the version).
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

__all__ = ["consecutive", "first_at", "is_id"]

PATTERN = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
VERSION_AND_VARIANT = (7 << 76) | (0b10 << 62)
ROOM = (1 << 61) - 1  # one bit of the last 62 stays 0, so that counting on never carries into the variant


def consecutive(made_at: int, n: int) -> Sequence[str]:
    """Ids of n decisions made at this time (microseconds), the first one random within its microsecond."""
    chance = int.from_bytes(os.urandom(8)) & ROOM
    first = _millisecond(made_at) | (made_at % 1000 * 4096 // 1000 << 64) | chance
    return [_text(first + i) for i in range(n)]


def after(first: str, n: int) -> str:
    """The id n places after this one."""
    return _text(int(first.replace("-", ""), 16) + n)


def first_at(made_at: int) -> str:
    """A lower bound of the ids of all decisions made in the millisecond of this time (microseconds), or later."""
    return _text(_millisecond(made_at))


def is_id(text: str) -> bool:
    """Whether a text could be a decision's id."""
    return PATTERN.fullmatch(text) is not None


def _millisecond(made_at: int) -> int:
    return (max(made_at // 1000, 0) << 80) | VERSION_AND_VARIANT


def _text(number: int) -> str:
    digits = f"{number:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
