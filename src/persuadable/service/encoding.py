"""Answers: decisions into the bytes that leave."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import orjson

from persuadable.service.records import Decision, StoredOutcome

__all__ = ["encode_answer", "encode_line", "encode_record"]


def encode_answer(decisions: Iterable[Decision], bundle: str) -> bytes:
    """The answer of /v1/score and /v1/decide: ``{"decisions": […], "bundle": …}``."""
    return orjson.dumps({"decisions": [_told(decision) for decision in decisions], "bundle": bundle})


def encode_line(decision: Decision) -> bytes:
    """A line of a batch's answer, with its end."""
    return orjson.dumps(_told(decision) | {"bundle": decision.bundle}, option=orjson.OPT_APPEND_NEWLINE)


def encode_record(decision: Decision, outcomes: Sequence[StoredOutcome]) -> bytes:
    """The answer of /v1/decisions/{id}: all that is remembered of a decision."""
    return orjson.dumps(
        _told(decision)
        | {
            "features": decision.features,
            "shadow": decision.shadow,
            "campaign": decision.campaign,
            "bundle": decision.bundle,
            "contract": decision.contract,
            "made_at": decision.made_at,
            "outcomes": list(outcomes),
        },
        option=orjson.OPT_UTC_Z,
    )


def _told(decision: Decision) -> dict[str, Any]:
    """What every answer says of a decision; its id only where it has one."""
    told = {
        "unit": decision.unit,
        "action": decision.action,
        "treatment": decision.treatment,
        "effect": decision.effect,
        "interval": decision.interval,
        "net_effect": decision.net_effect,
        "threshold": decision.threshold,
        "propensities": decision.propensities,
        "reason": decision.reason,
        "flags": decision.flags,
    }
    return told if decision.decision_id is None else {"decision_id": decision.decision_id, **told}
