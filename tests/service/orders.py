"""Orders, as the service would make them, for tests of what happens to them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from persuadable.service.records import Budget, Flag, Order, OutcomeReport, Outcomes, Priced, Proposal, Shadow

ACTIONS = ("none", "mail", "call")


def proposal(
    unit: str = "u",
    net_effect: float = 0.1,
    chance: float = 1.0,
    *,
    features: Mapping[str, Any] | None = None,
    treatment: str = "mail",
    flags: tuple[Flag, ...] = (),
    shadow: Shadow | None = None,
    cost: float | None = None,
    other: str | None = None,
    other_cost: float = 0.0,
    eligible: tuple[str, ...] | None = None,
) -> Proposal:
    """A proposal that is treated with this chance; its reason follows from it. With a cost it has a price of money."""
    reason = "below-threshold" if chance == 0 else "treated" if chance == 1 else "lottery-won"
    told = {"age": 31.5, "channel": "web"} if features is None else features
    priced = None if cost is None else Priced(0.5, cost, other, other_cost)
    effect = net_effect + 0.01
    return Proposal(
        unit, told, treatment, effect, None, net_effect, 0.05, chance, reason, flags, shadow, priced, eligible
    )


def order(
    *proposals: Proposal,
    key: str | None = None,
    content: str | None = None,
    cap: int | None = None,
    amount: float | None = None,
    campaign: str = "default",
    actions: Sequence[str] = ACTIONS,
    bundle: str = "bundle-1",
    contract: str = "contract-1",
) -> Order:
    """A request for these proposals; its digest is that of ``content``, or of the units."""
    asked = proposals or (proposal(),)
    text = content if content is not None else repr([p.unit for p in asked])
    digest = hashlib.sha256(text.encode()).digest()
    most = None if amount is None else round(amount * 1e6)
    budget = Budget(0.3, cap, campaign, None, most)
    return Order(key, digest, budget, tuple(asked), tuple(actions), bundle, contract)


def reports(*told: OutcomeReport) -> Outcomes:
    """A request that reports these outcomes."""
    return Outcomes(told)
