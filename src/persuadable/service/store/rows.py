"""Decisions as rows of the table, and back."""

from __future__ import annotations

from typing import Any

import orjson
from sqlalchemy import Row

from persuadable.service.records import Decision, Flag, Held, Priced, Shadow, Verdict
from persuadable.service.store.moments import moment
from persuadable.service.store.statements import Statement

__all__ = ["INSERT", "as_decision", "as_row"]


COLUMNS = (
    "decision_id", "made_at", "position", "bundle", "contract", "campaign", "unit", "action", "treatment", "reason",
    "effect", "low", "high", "net_effect", "threshold", "propensities", "flags", "shadow", "features",
    "cost_effect", "price", "eligible", "review",
)  # fmt: skip
INSERT = Statement(f"INSERT INTO decisions ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))})")


def as_row(decision: Decision, position: int, made_at: int) -> tuple[Any, ...]:
    """A decision as a row for ``INSERT``; ``position`` is its place in its request, ``made_at`` in microseconds."""
    low, high = decision.interval or (None, None)
    priced = decision.priced
    return (
        decision.decision_id,
        made_at,
        position,
        decision.bundle,
        decision.contract,
        decision.campaign,
        decision.unit,
        decision.action,
        decision.treatment,
        decision.reason,
        decision.effect,
        low,
        high,
        decision.net_effect,
        decision.threshold,
        _json(decision.propensities),
        _json([(f.code, f.feature, f.answer) for f in decision.flags]) if decision.flags else None,
        None if decision.shadow is None else _json(decision.shadow),
        _json(decision.features),
        None if priced is None else priced.cost_effect,
        None if priced is None else priced.price,
        None if decision.eligible is None else _json(decision.eligible),
        None if decision.review is None else _json(decision.review._asdict()),
    )


def as_decision(row: Row[Any]) -> Decision:
    """A row as the decision it was made of."""
    return Decision(
        decision_id=row.decision_id,
        unit=row.unit,
        action=row.action,
        treatment=row.treatment,
        effect=row.effect,
        interval=None if row.low is None else (row.low, row.high),
        net_effect=row.net_effect,
        threshold=row.threshold,
        propensities=orjson.loads(row.propensities),
        reason=row.reason,
        flags=() if row.flags is None else tuple(Flag(*told) for told in orjson.loads(row.flags)),
        shadow=None if row.shadow is None else Shadow(**orjson.loads(row.shadow)),
        features=orjson.loads(row.features),
        bundle=row.bundle,
        contract=row.contract,
        campaign=row.campaign,
        made_at=moment(row.made_at),
        priced=None if row.cost_effect is None else Priced(row.price, row.cost_effect),
        eligible=None if row.eligible is None else tuple(orjson.loads(row.eligible)),
        review=None if row.review is None else _review(orjson.loads(row.review)),
    )


def _review(told: dict[str, Any]) -> Held | Verdict:
    return Verdict(**told) if "case" in told else Held(tuple(told.pop("codes")), **told)


def _json(value: Any) -> str:
    return orjson.dumps(value).decode()
