"""A path on the rows that judge it, and one policy on it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from persuadable.value.estimate import Estimate
from persuadable.value.off_policy import Logged
from persuadable.value.paths.ladder import Along, Ladder, Taken
from persuadable.value.paths.trail import Measured, Trail

__all__ = ["BudgetPoint", "Climb"]


@dataclass(frozen=True, slots=True)
class BudgetPoint:
    """One policy on a path.

    Attributes:
        budget: what it may spend per head, in the unit of the predicted costs; inf where it was asked for by price.
        price: λ, what the last unit of budget is predicted to bring; 0 where there is money for all that is worth it.
        gain: outcome per head more than doing nothing for anybody brings.
        predicted_gain: the same by the predictions, for which nothing vouches.
        predicted_spend: cost per head by the predictions.
        spend: cost per head more than doing nothing costs, as the log's cost tells; None where it tells none.
        overspend: spend − predicted spend, paired; above 0 where the predicted costs are too low. None as before.
        shares: (A,) share of the units that gets each action.
    """

    budget: float
    price: float
    gain: Estimate
    predicted_gain: float
    predicted_spend: float
    spend: Estimate | None
    overspend: Estimate | None
    shares: tuple[float, ...]

    @property
    def offered(self) -> float:
        """Share of the units that gets anything but doing nothing."""
        return sum(self.shares[1:])

    def __str__(self) -> str:
        spent = self.predicted_spend if self.spend is None else self.spend.value
        return f"{self.gain}; spends {spent:.4g} per head at λ = {self.price:.4g}, treats {self.offered:.1%}"


@dataclass(frozen=True, slots=True, eq=False)
class Climb:
    """A path on the rows that judge it: what every number about it is computed from.

    Attributes:
        ladder: the steps in the order in which a budget pays for them.
        gain: the outcome along it.
        spend: the cost outcome along it, or None.
        cost: predicted cost along it.
        value: predicted value along it.
        rows: (n,) identities of the rows.
        n_actions: how many actions there are.
    """

    ladder: Ladder
    gain: Trail
    spend: Trail | None
    cost: Along
    value: Along
    rows: NDArray[np.uint64]
    n_actions: int

    @property
    def logged(self) -> Logged:
        """The judged rows."""
        return self.gain.logged

    def at(self, budget: float, alpha: float) -> BudgetPoint:
        """The point at a budget."""
        taken = self.ladder.paid(budget)
        gain = self.gain.at_budget(budget)
        spend = None if self.spend is None else self.spend.at_budget(budget)
        where = f"at {budget:.4g} per head"
        return self._point(budget, self.ladder.price(budget), taken, gain, spend, where, alpha)

    def at_price(self, price: float, alpha: float) -> BudgetPoint:
        """The point at a price."""
        taken = self.ladder.worth(price)
        spend = None if self.spend is None else self.spend.at_price(price)
        return self._point(np.inf, price, taken, self.gain.at_price(price), spend, f"at λ = {price:.4g}", alpha)

    def _point(
        self,
        budget: float,
        price: float,
        taken: Taken,
        gain: Measured,
        spend: Measured | None,
        where: str,
        alpha: float,
    ) -> BudgetPoint:
        logged, planned = self.logged, self.cost.mean(taken)
        # Where the budget binds, the predicted spend is the budget, and not drawn from these rows.
        binds = budget < self.ladder.full
        luck = 0.0 if binds or spend is None else self.cost.under(self.ladder.unit, taken) - planned
        return BudgetPoint(
            budget=budget,
            price=price,
            gain=logged.estimate(gain.value, gain.psi, alpha, f"gain {where}"),
            predicted_gain=self.value.mean(taken),
            predicted_spend=planned,
            spend=None
            if spend is None
            else logged.estimate(spend.value, spend.psi, alpha, f"spend {where}", tested=False),
            overspend=None
            if spend is None
            else logged.estimate(
                spend.value - planned, spend.psi - luck, alpha, f"spend over what is predicted {where}"
            ),
            shares=tuple(self.ladder.shares(taken, self.n_actions).tolist()),
        )

    def foreseen(self, upper: float) -> float:
        """Predicted value averaged over the budgets from 0 to upper."""
        if upper <= 0:
            return self.value.mean(self.ladder.paid(0.0))
        return float(self.value.level[0] + np.diff(self.value.level) @ self.ladder.means(0.0, upper))
