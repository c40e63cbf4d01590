"""Grants: who among the proposed is treated while the budget lasts, and with which exact probability."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

import numpy as np

from persuadable.service.records import Decision, Order, Proposal, Reason

__all__ = ["Settled", "decisions", "propensities", "settle"]


class Settled(NamedTuple):
    """What became of one proposal.

    Attributes:
        treated: whether the unit is given its best treatment.
        propensity: the probability with which it was, given all that was drawn before it.
        reason: why.
    """

    treated: bool
    propensity: float
    reason: Reason


BUDGET_SPENT = Settled(False, 0.0, "budget-spent")


def settle(proposals: Sequence[Proposal], left: int | None, rng: np.random.Generator) -> list[Settled]:
    """Treat the proposed, highest net effect first, while treatments are left.

    Units with the same net effect are served in request order. Each is treated with its chance if a treatment is
    left, and not at all if none is. Whether one is left is known when a unit's turn comes, so the propensity
    recorded is the exact probability of its draw. A number is drawn only where the chance lies between 0 and 1.

    Args:
        proposals: of one request, in request order.
        left: how many more may be treated, or None without a cap.
        rng: where lots come from.

    Returns:
        One per proposal, in request order.
    """
    settled = [Settled(False, 0.0, proposal.reason) for proposal in proposals]
    hopeful = [i for i, proposal in enumerate(proposals) if proposal.chance > 0.0]
    hopeful.sort(key=lambda i: -proposals[i].net_effect)  # a stable sort: ties stay in request order
    for i in hopeful:
        if left is not None and left <= 0:
            settled[i] = BUDGET_SPENT
            continue
        settled[i] = _draw(proposals[i], rng)
        if left is not None:
            left -= settled[i].treated
    return settled


def _draw(proposal: Proposal, rng: np.random.Generator) -> Settled:
    if proposal.chance >= 1.0:
        return Settled(True, 1.0, proposal.reason)
    won = rng.random() < proposal.chance
    return Settled(won, proposal.chance, "lottery-won" if won else "lottery-lost")


def decisions(
    order: Order, settled: Sequence[Settled], ids: Sequence[str] | None, made_at: datetime
) -> tuple[Decision, ...]:
    """The decisions of an order once it is settled.

    Args:
        order: what was asked.
        settled: one per proposal, in the order's order.
        ids: the decisions' ids, likewise; None where they are not recorded.
        made_at: when, with its time zone.
    """
    told = ids if ids is not None else [None] * len(settled)
    return tuple(
        _decision(order, proposal, outcome, decision_id, made_at)
        for proposal, outcome, decision_id in zip(order.proposals, settled, told, strict=True)
    )


def propensities(actions: Sequence[str], treatment: str, chance: float) -> dict[str, float]:
    """The probability of each action, the control first, where one treatment has this chance and the others none."""
    # 1 − p is rounded by at most half a unit in the last place, so that (1 − p) + p is 1 in floating point, always.
    told = dict.fromkeys(actions, 0.0)
    told[actions[0]] = 1.0 - chance
    told[treatment] = chance
    return told


def _decision(
    order: Order, proposal: Proposal, settled: Settled, decision_id: str | None, made_at: datetime
) -> Decision:
    return Decision(
        decision_id,
        proposal.unit,
        proposal.treatment if settled.treated else order.actions[0],
        proposal.treatment,
        proposal.effect,
        proposal.interval,
        proposal.net_effect,
        proposal.threshold,
        propensities(order.actions, proposal.treatment, settled.propensity),
        settled.reason,
        proposal.flags,
        proposal.shadow,
        proposal.features,
        order.bundle,
        order.contract,
        order.budget.campaign,
        made_at,
    )
