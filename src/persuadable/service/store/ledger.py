"""The ledger of the budgets: how many treatments have been charged to each campaign, locked while they are drawn."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Connection

from persuadable.service.records import Budget
from persuadable.service.store.statements import Statement

__all__ = ["Ledger"]

OPEN = Statement("INSERT INTO campaigns (campaign, spent) VALUES (?, 0) ON CONFLICT (campaign) DO NOTHING")
SPENT = Statement("SELECT spent FROM campaigns WHERE campaign = ?", lock=" FOR UPDATE")
CHARGE = Statement("UPDATE campaigns SET spent = ? WHERE campaign = ?")


class Ledger:
    """What the campaigns of some budgets have spent; their rows stay locked until the transaction ends.

    Only budgets with a number of units are charged: a share is a threshold, and caps nothing.
    """

    def __init__(self, connection: Connection, budgets: Iterable[Budget]) -> None:
        self._connection = connection
        wanted = sorted({budget.campaign for budget in budgets if budget.units is not None})
        self._spent = {name: self._locked(name) for name in wanted}
        self._before = dict(self._spent)

    def left(self, budget: Budget) -> int | None:
        """How many more the budget may treat; None without a cap."""
        return None if budget.units is None else max(budget.units - self._spent[budget.campaign], 0)

    def charge(self, budget: Budget, treated: int) -> None:
        """Note that this many were treated."""
        if budget.units is not None:
            self._spent[budget.campaign] += treated

    def save(self) -> None:
        """Write what was charged."""
        changed = [(n, name) for name, n in self._spent.items() if n != self._before[name]]
        if changed:
            CHARGE.run_many(self._connection, changed)

    def _locked(self, campaign: str) -> int:
        spent = SPENT.run(self._connection, (campaign,)).scalar()
        if spent is None:
            OPEN.run(self._connection, (campaign,))
            spent = SPENT.run(self._connection, (campaign,)).scalar_one()
        return int(spent)
