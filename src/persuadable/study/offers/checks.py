"""What a study of offers refuses or points at before it is believed: columns, costs and budgets not meant so."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping

import numpy as np

from persuadable.errors import ActionError, OutcomeError, ParameterError
from persuadable.log import DecisionLog
from persuadable.policies import AllocationPolicy
from persuadable.report.words import number, percent

__all__ = ["look_at_budget", "look_at_costs", "require_stated"]

FEW = 0.01
"""Share of people with an offer below which the budget is called too small to be meant."""


def require_stated(cost: Mapping[str, float], log: DecisionLog) -> None:
    """Refuse stated costs that are not one number from 0 for each offer of the log.

    Raises:
        ActionError: an offer of the log without a cost, or a cost for what is no offer.
        ParameterError: a cost that is no finite number from 0.
    """
    offers = log.actions.treatments
    sides = (
        ("name", [label for label in cost if label not in offers]),
        ("lack", [label for label in offers if label not in cost]),
    )
    wrong = [f"{verb} {', '.join(map(repr, labels))}" for verb, labels in sides if labels]
    if wrong:
        raise ActionError(
            f"The stated costs {' and '.join(wrong)}",
            where="run_offers",
            remedy=f"State one cost for each of {list(offers)}.",
        )
    for label, told in cost.items():
        if not (isinstance(told, int | float | np.number) and 0 <= told < math.inf):
            shown = f"{told:g}" if isinstance(told, int | float | np.number) else repr(told)
            raise ParameterError(
                f"{label!r} is stated to cost {shown}; a cost is a number from 0",
                where="run_offers",
                remedy="State what giving the offer costs, 0 where it is free; what it saves belongs to the value.",
            )


def look_at_costs(log: DecisionLog, cost: str) -> None:
    """Refuse a logged cost that is never paid, and point at negative ones.

    Raises:
        OutcomeError: 0 in every row.

    Warns:
        UserWarning: negative in some rows, which is right of refunds only.
    """
    paid = log.outcome(cost)
    if not paid.any():
        raise OutcomeError(
            f"The cost {cost!r} is 0 in every row",
            where="run_offers",
            remedy="Name the column of what decisions cost, or state what each offer costs by label.",
        )
    rows = np.flatnonzero(paid < 0)
    if len(rows):
        named = ", ".join(f"{row:,} ({paid[row]:,.6g})" for row in rows[:3])
        warnings.warn(
            f"The cost {cost!r} is negative in {len(rows):,} of {log.n:,} rows: row {named}"
            f"{', …' if len(rows) > 3 else ''}, counted from 0. That is right of refunds only; "
            "elsewhere look whether the sign is turned.",
            UserWarning,
            stacklevel=3,
        )


def look_at_budget(policy: AllocationPolicy, budget: float | None) -> None:
    """Point at a budget that looks as if it were in another unit than the cost, or not per head.

    Warns:
        UserWarning: it pays for more than everything worth giving, or for next to nobody.
    """
    rule = policy.rule
    if not budget:
        return
    told = f"The budget of {budget:,.6g} per head"
    if rule.binds == "nothing" and rule.offered > 0.0 and budget > rule.spend:
        what = f"{told} is more than the {number(rule.spend, 3)} everything worth giving costs, so it limits nothing"
    elif rule.binds == "budget" and rule.offered < FEW:
        what = f"{told} pays for offers to {percent(rule.offered, 2)} of people only"
    else:
        return
    warnings.warn(f"{what}. Is it per head of everybody, and in the unit of the cost?", UserWarning, stacklevel=3)
