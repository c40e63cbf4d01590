"""A budget as a page knows it: a share of users, or money per head, whichever the bundle in service has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from persuadable.report.words import number, percent

__all__ = ["Money", "Spending", "is_money", "shown", "terms"]


@dataclass(frozen=True, slots=True)
class Money:
    """A budget of money.

    Attributes:
        per_head: of everybody, in the unit of the cost.
    """

    per_head: float


#: A share of users, or money.
Spending = float | Money


def is_money(policy: Mapping[str, Any]) -> bool:
    """Whether the budget of the bundle in service is money, by its /v1/policy."""
    return "budget_per_head" in policy


def shown(spending: Spending) -> str:
    """A budget in words: 30%, or 0.5 per head."""
    return f"{number(spending.per_head, 3)} per head" if isinstance(spending, Money) else percent(spending, 0)


def terms(spending: Spending) -> dict[str, float]:
    """A budget as /v1/score takes it."""
    return {"budget_per_head": spending.per_head} if isinstance(spending, Money) else {"budget_share": spending}
