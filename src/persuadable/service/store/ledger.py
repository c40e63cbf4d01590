"""The ledger of the budgets: treatments and money charged to each campaign, locked while lots are drawn."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import Connection

from persuadable.service.records import Budget
from persuadable.service.store.statements import Statement

__all__ = ["Ledger"]

OPEN = Statement(
    "INSERT INTO campaigns (campaign, spent, committed) VALUES (?, 0, 0) ON CONFLICT (campaign) DO NOTHING"
)
SPENT = Statement("SELECT spent, committed FROM campaigns WHERE campaign = ?", lock=" FOR UPDATE")
CHARGE = Statement("UPDATE campaigns SET spent = ?, committed = ? WHERE campaign = ?")


class Ledger:
    """What the campaigns of some budgets have spent; their rows stay locked until the transaction ends.

    Only budgets with a hard cap, of units or of money, are charged: a threshold or a price caps nothing. They are
    charged with both, so that whichever cap comes later counts all that a cap counted before. Money is in millionths.
    """

    def __init__(self, connection: Connection, budgets: Iterable[Budget]) -> None:
        self._connection = connection
        wanted = sorted({budget.campaign for budget in budgets if budget.is_capped})
        self._spent = {name: self._locked(name) for name in wanted}
        self._before = dict(self._spent)

    def left(self, budget: Budget) -> int | None:
        """How many more the budget may treat; None without a cap."""
        return None if budget.units is None else max(budget.units - self._spent[budget.campaign][0], 0)

    def money(self, budget: Budget) -> int | None:
        """How much more the budget may commit; None without a cap."""
        return None if budget.amount is None else max(budget.amount - self._spent[budget.campaign][1], 0)

    def charge(self, budget: Budget, treated: int, cost: int) -> None:
        """Note that this many were treated, at this expected cost, under a budget with a cap."""
        before = self._spent[budget.campaign]
        self._spent[budget.campaign] = (before[0] + treated, before[1] + cost)

    def save(self) -> None:
        """Write what was charged."""
        changed = [(*spent, name) for name, spent in self._spent.items() if spent != self._before[name]]
        if changed:
            CHARGE.run_many(self._connection, changed)

    def _locked(self, campaign: str) -> tuple[int, int]:
        found: Any = SPENT.run(self._connection, (campaign,)).first()
        if found is None:
            OPEN.run(self._connection, (campaign,))
            found = SPENT.run(self._connection, (campaign,)).one()
        return int(found[0]), int(found[1])
