"""How a batch is answered: as lines of JSON, or as an Arrow stream."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import orjson

from persuadable.service import arrow
from persuadable.service.encoding import encode_line
from persuadable.service.problems import Problem
from persuadable.service.records import Decision

__all__ = ["ArrowReply", "LineReply", "Reply", "Told"]


@dataclass(frozen=True, slots=True)
class Told:
    """What is told of one user: a decision, or why there is none. ``line`` counts from 1."""

    line: int
    unit: str | None
    decision: Decision | None
    problem: Problem | None


class Reply(Protocol):
    """A format of the answer."""

    end: bytes

    def part(self, answers: Sequence[Told]) -> bytes:
        """The bytes of some answers."""
        ...


class LineReply:
    """One JSON object a line: a decision, or ``{"unit", "line", "problem"}``."""

    end = b""

    def part(self, answers: Sequence[Told]) -> bytes:
        """The bytes of some answers."""
        return b"".join(_line(told) for told in answers)


def _line(told: Told) -> bytes:
    if told.decision is not None:
        return encode_line(told.decision)
    document = {"unit": told.unit, "line": told.line, "problem": _document(told)}
    return orjson.dumps(document, option=orjson.OPT_APPEND_NEWLINE)


def _document(told: Told) -> dict[str, Any]:
    assert told.problem is not None
    return told.problem.document(f"line {told.line}")


class ArrowReply:
    """One row a user, in its order; ``problem`` holds the problem document where there is no decision.

    Args:
        actions: every action's label; each has a column with its probability.
        priced: whether there are columns of money.
        reviewed: whether there is a column that says why a person is to decide.
    """

    end = arrow.END

    def __init__(self, actions: Sequence[str], *, priced: bool = False, reviewed: bool = False) -> None:
        import polars as pl

        text, number = pl.String, pl.Float64
        self._actions = tuple(actions)
        self._schema = {
            "line": pl.Int64, "unit": text, "decision_id": text, "action": text, "treatment": text,
            "effect": number, "low": number, "high": number, "net_effect": number, "threshold": number,
            **{f"propensity of {label}": number for label in self._actions},
            **({"cost_effect": number, "price": number} if priced else {}),
            "reason": text, "flags": text, **({"review": text} if reviewed else {}), "bundle": text, "problem": text,
        }  # fmt: skip
        self._priced, self._reviewed = priced, reviewed
        self._begun = False

    def part(self, answers: Sequence[Told]) -> bytes:
        """The bytes of some answers; the first time, after the stream's schema."""
        import polars as pl

        frame = pl.DataFrame([self._row(told) for told in answers], schema=self._schema, orient="row")
        begin = b"" if self._begun else arrow.schema(frame)
        self._begun = True
        return begin + arrow.batches(frame)

    def _row(self, told: Told) -> tuple[Any, ...]:
        chosen = told.decision
        if chosen is None:
            empty = [None] * (len(self._schema) - 3)
            return (told.line, told.unit, *empty, orjson.dumps(_document(told)).decode())
        low, high = chosen.interval or (None, None)
        flags = orjson.dumps(chosen.flags).decode() if chosen.flags else None
        return (
            told.line, chosen.unit, chosen.decision_id, chosen.action, chosen.treatment,
            chosen.effect, low, high, chosen.net_effect, chosen.threshold,
            *(chosen.propensities.get(label, 0.0) for label in self._actions),
            *self._money(chosen),
            chosen.reason, flags, *self._review(chosen), chosen.bundle, None,
        )  # fmt: skip

    def _review(self, chosen: Decision) -> tuple[str | None, ...]:
        """Why a person is to decide, as JSON."""
        if not self._reviewed:
            return ()
        return (None if chosen.review is None else orjson.dumps(chosen.review._asdict()).decode(),)

    def _money(self, chosen: Decision) -> tuple[float | None, ...]:
        """What it costs, in columns that are there; a batch begun under another bundle may go on under this one."""
        if not self._priced:
            return ()
        return (None, None) if chosen.priced is None else (chosen.priced.cost_effect, chosen.priced.price)
