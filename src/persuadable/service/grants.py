"""Grants: who among the proposed is treated while the budget lasts, and with which exact probability."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

import numpy as np

from persuadable.service.records import Decision, Held, Order, Priced, Proposal, Reason

__all__ = ["MILLIONTHS", "Settled", "committed", "decisions", "millionths", "propensities", "settle"]

MILLIONTHS = 1_000_000


class Settled(NamedTuple):
    """What became of one proposal.

    Attributes:
        treated: whether the unit is given a treatment.
        propensity: the probability with which it was given its best one, given all that was drawn before it.
        reason: why.
        other: the probability of the other treatment that lots were drawn against, where there is one.
        is_other: whether that is the one it is given.
        drawn: of a unit that is held for a person, what the policy would have given it; None of others.
    """

    treated: bool
    propensity: float
    reason: Reason
    other: float = 0.0
    is_other: bool = False
    drawn: Settled | None = None


BUDGET_SPENT = Settled(False, 0.0, "budget-spent")


def settle(
    proposals: Sequence[Proposal], left: int | None, rng: np.random.Generator, money: int | None = None
) -> list[Settled]:
    """Treat the proposed, highest net effect first, while treatments and money are left.

    Units with the same net effect are served in request order. Each is treated with its chance if the budget lasts, and
    not at all if it does not; where only the cheaper of two treatments that lots are drawn between can be paid, it is
    given that one. What can be paid is known when a unit's turn comes, so the propensity recorded is the exact
    probability of its draw. A number is drawn only where the chance lies between 0 and 1. Whom a person is to decide
    about is given nothing meanwhile, with certainty, and takes nothing from the budget; what is proposed is drawn all
    the same, so that it is known with which probability.

    Args:
        proposals: of one request, in request order.
        left: how many more may be treated, or None without a cap.
        rng: where lots come from.
        money: how much more may be committed, in millionths, or None without a cap.

    Returns:
        One per proposal, in request order.
    """
    settled = [
        Settled(False, 0.0, proposal.reason) if proposal.case is None else _held(proposal, rng)
        for proposal in proposals
    ]
    hopeful = [i for i, proposal in enumerate(proposals) if proposal.chance > 0.0 and proposal.case is None]
    hopeful.sort(key=lambda i: -proposals[i].net_effect)  # a stable sort: ties stay in request order
    for i in hopeful:
        if left is not None and left <= 0:
            settled[i] = BUDGET_SPENT
            continue
        settled[i] = _draw(proposals[i], rng) if money is None else _draw_within(proposals[i], rng, money)
        if left is not None:
            left -= settled[i].treated
        if money is not None:
            money -= _charge(proposals[i], settled[i])
    return settled


def committed(proposals: Sequence[Proposal], settled: Sequence[Settled]) -> int:
    """What the treatments given are expected to cost, in millionths; one that is expected to save money costs nothing.

    Each is rounded up to a whole millionth, so that sums are exact and never too small.
    """
    return sum(_charge(*pair) for pair in zip(proposals, settled, strict=True))


def _charge(proposal: Proposal, settled: Settled) -> int:
    if not settled.treated or proposal.priced is None:
        return 0
    return millionths(proposal.priced.other_cost if settled.is_other else proposal.priced.cost_effect)


def millionths(cost: float) -> int:
    """An expected cost in millionths, rounded up; what is expected to save money costs nothing.

    It is the decimal number that is multiplied: in floats 4.03 would come to a millionth too much.
    """
    return math.ceil(Decimal(repr(float(cost))) * MILLIONTHS) if cost > 0.0 else 0


def _held(proposal: Proposal, rng: np.random.Generator) -> Settled:
    drawn = _draw(proposal, rng) if proposal.chance > 0.0 else Settled(False, 0.0, proposal.reason)
    return Settled(False, 0.0, "review", drawn=drawn)


def _draw(proposal: Proposal, rng: np.random.Generator) -> Settled:
    if proposal.chance >= 1.0:
        return Settled(True, 1.0, proposal.reason)
    won = rng.random() < proposal.chance
    if proposal.priced is None or proposal.priced.other is None:
        return Settled(won, proposal.chance, "lottery-won" if won else "lottery-lost")
    reason: Reason = "lottery-won" if won else "lottery-lost"
    return Settled(True, proposal.chance, reason, 1.0 - proposal.chance, not won)


def _draw_within(proposal: Proposal, rng: np.random.Generator, money: int) -> Settled:
    """The draw, where what is left may not pay for everything that lots are drawn between."""
    priced = proposal.priced
    if priced is None or millionths(priced.cost_effect) <= money:
        return _draw(proposal, rng)
    if priced.other is not None and proposal.chance < 1.0 and millionths(priced.other_cost) <= money:
        return Settled(True, 0.0, "treated", 1.0, True)
    return BUDGET_SPENT


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


def propensities(
    actions: Sequence[str], treatment: str, chance: float, other: str | None = None, other_chance: float = 0.0
) -> dict[str, float]:
    """The probability of each action, the control first, where a treatment, and maybe another, has a chance."""
    # 1 − p is rounded by at most half a unit in the last place, so that (1 − p) + p is 1 in floating point, always.
    told = dict.fromkeys(actions, 0.0)
    told[actions[0]] = 1.0 - chance
    told[treatment] = chance
    if other is not None:
        told[actions[0]] = 1.0 - (chance + other_chance)
        told[other] = other_chance
    return told


def _decision(
    order: Order, proposal: Proposal, settled: Settled, decision_id: str | None, made_at: datetime
) -> Decision:
    priced, held = proposal.priced, None
    if settled.drawn is not None and proposal.case is not None:
        held = Held(proposal.case.codes, *_given(order.actions, proposal, settled.drawn))
    if priced is not None and decision_id is not None:
        # What is answered again later is what was kept: what lots were drawn between is in the propensities.
        priced = Priced(priced.price, priced.cost_effect)
    action, chances = _given(order.actions, proposal, settled)
    return Decision(
        decision_id,
        proposal.unit,
        action,
        proposal.treatment,
        proposal.effect,
        proposal.interval,
        proposal.net_effect,
        proposal.threshold,
        chances,
        settled.reason,
        proposal.flags,
        proposal.shadow,
        proposal.features,
        order.bundle,
        order.contract,
        order.budget.campaign,
        made_at,
        priced,
        proposal.eligible,
        held,
    )


def _given(actions: Sequence[str], proposal: Proposal, settled: Settled) -> tuple[str, dict[str, float]]:
    """The action a unit is given, and the probability of each."""
    other = None if proposal.priced is None else proposal.priced.other
    action = proposal.treatment if settled.treated else actions[0]
    if settled.is_other and other is not None:
        action = other
    return action, propensities(actions, proposal.treatment, settled.propensity, other, settled.other)
