"""Answers: decisions into the bytes that leave."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import orjson

from persuadable.service.records import Decision, StoredOutcome
from persuadable.service.store import ReviewCase

__all__ = ["encode_answer", "encode_line", "encode_record", "told_case"]


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
        }
        | ({} if decision.eligible is None else {"eligible": decision.eligible}),
        option=orjson.OPT_UTC_Z,
    )


def told_case(case: ReviewCase) -> dict[str, Any]:
    """A case, as JSON values: the held decision, what was proposed and why it is in doubt, and who has it."""
    held = case.decision
    told: dict[str, Any] = {
        "decision_id": held.decision_id,
        "state": case.state,
        "codes": case.codes,
        "priority": case.priority,
        "proposed": case.proposed,
        "reason": case.reason,
        "actions": case.actions,
        "unit": held.unit,
        "features": held.features,
        "treatment": held.treatment,
        "effect": held.effect,
        "interval": held.interval,
        "net_effect": held.net_effect,
        "threshold": held.threshold,
        "flags": held.flags,
        "campaign": held.campaign,
        "bundle": held.bundle,
        "made_at": held.made_at,
        "claim": case.claim,
        "resolution": case.resolution,
    }
    if held.priced is not None:
        told |= {"cost_effect": held.priced.cost_effect, "price": held.priced.price}
    return told if case.options is None else told | {"options": case.options}


def _told(decision: Decision) -> dict[str, Any]:
    """What every answer says of a decision; its id only where it has one, and money only where it has a price."""
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
    if (review := decision.review) is not None:
        told["review"] = review._asdict()
    if (priced := decision.priced) is not None:
        told |= {"cost_effect": priced.cost_effect, "price": priced.price}
        if priced.options is not None:
            told["options"] = {label: option._asdict() for label, option in priced.options.items()}
    return told if decision.decision_id is None else {"decision_id": decision.decision_id, **told}
