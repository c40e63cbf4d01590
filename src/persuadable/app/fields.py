"""The contract of the features, as a form asks for them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from persuadable.report.words import number

__all__ = ["Field", "fields", "ranges"]


@dataclass(frozen=True, slots=True)
class Field:
    """One feature to be filled in.

    Attributes:
        name: the feature.
        kind: "number" or "category".
        low, high: the range seen in training, for a number that had one.
        categories: the labels seen in training.
        missing: whether training saw it missing, so that it may be left empty.
    """

    name: str
    kind: Literal["number", "category"]
    low: float | None
    high: float | None
    categories: tuple[str, ...]
    missing: bool

    @property
    def whole(self) -> bool:
        """Whether both ends of the range are whole numbers, as counts and flags have them."""
        return self.low is not None and self.high is not None and self.low.is_integer() and self.high.is_integer()

    @property
    def start(self) -> float | str | None:
        """What the form begins with: something inside what training saw, nothing where it saw no value at all.

        The middle of a range; its geometric middle where the range is long and positive, as that of money is; 0 of a
        flag; the middle one of the categories.
        """
        if self.kind == "category":
            return self.categories[(len(self.categories) - 1) // 2] if self.categories else None
        if self.low is None or self.high is None:
            return None
        long = self.low > 0 and self.high / self.low > 30
        middle = math.sqrt(self.low * self.high) if long else (self.low + self.high) / 2
        tidy = math.floor(middle) if self.whole else float(f"{middle:.2g}")
        return float(min(max(tidy, self.low), self.high))

    @property
    def step(self) -> float:
        """By how much one click changes a number: about a twentieth of its range, 1, 2 or 5 times a power of ten."""
        if self.whole and self.high is not None and self.low is not None and self.high - self.low <= 40:
            return 1.0
        span = (self.high or 0.0) - (self.low or 0.0)
        if span <= 0 or not math.isfinite(span):
            return 1.0
        power = 10.0 ** math.floor(math.log10(span / 20))
        return next(power * step for step in (1, 2, 5, 10) if power * step * 20 >= span * 0.999)

    @property
    def seen(self) -> str:
        """What training saw, in words."""
        if self.kind == "category":
            return f"{len(self.categories)} categories"
        if self.low is None or self.high is None:
            return "no value at all"
        return f"{number(self.low, 5)} to {number(self.high, 5)}"


def fields(contract: Mapping[str, Any]) -> list[Field]:
    """The features of a contract document, in the model's order."""
    return [
        Field(
            str(rule["column"]["name"]),
            rule["column"]["kind"],
            None if rule["low"] is None else float(rule["low"]),
            None if rule["high"] is None else float(rule["high"]),
            tuple(map(str, rule["column"]["categories"])),
            bool(rule["missing"]),
        )
        for rule in contract["features"]
    ]


def ranges(listed: list[Field]) -> dict[str, str]:
    """What training saw of each number, by name."""
    return {field.name: field.seen for field in listed if field.kind == "number"}
