"""What the explorers share: a floor under every eligible action, and a price that keeps them inside a budget."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike

from persuadable.errors import DataError, LeakageError, NotFittedError
from persuadable.fingerprint import Fingerprint
from persuadable.log import DecisionLog, checks
from persuadable.params import Parameters
from persuadable.policies.base import Flags, Floats, check_eligible, check_share, count_rows
from persuadable.policies.explore.fill import fill
from persuadable.policies.explore.price import Price, find_price

__all__ = ["Chances", "Explorer"]

#: Price of a treatment → (n, A) probabilities, before the floor.
Chances = Callable[[float], Floats]


class Explorer(Parameters, ABC):
    """A policy that leaves something to chance everywhere, so that the next log can judge any policy.

    A subclass says with which probabilities it would act if every treatment cost a price. Here every eligible action
    gets at least ``floor``, and the price is set so that ``share`` of the units is treated, the floor included.

    Attributes:
        price_: the price, after ``calibrate``.
    """

    floor: float
    share: float | None
    price_: Price

    _least_price: ClassVar[float] = 0.0

    @property
    @abstractmethod
    def name(self) -> str:
        """What tables call it."""

    @property
    @abstractmethod
    def fitted_on(self) -> Fingerprint | None:
        """The rows its models learned from."""

    @abstractmethod
    def _chances(self, features: Any, n_actions: int, eligible: Flags | None) -> Chances:
        """What the policy would do with these units at any price; the work that no price changes is done here."""

    def _learn_distribution(self, features: Any, weight: Floats | None) -> None:
        """Keep what the policy needs to know of the units beyond a price; most need nothing."""

    @property
    def least_price(self) -> float:
        """Nobody is treated for less: 0, the break-even of net effects, or −∞ for scores that are no effects."""
        return self._least_price

    def calibrate(
        self,
        units: Any,
        n_actions: int | None = None,
        eligible: ArrayLike | None = None,
        weight: ArrayLike | None = None,
    ) -> Self:
        """Set the price so that exactly ``share`` of these units is treated in expectation, exploration included.

        Outcomes are not looked at: the units may be the very customers to be decided about next. Where fewer than the
        share are worth treating, fewer are; ``expected_share`` says how many.

        Args:
            units: a log, or features of units, none of which fitted the models.
            n_actions: A; needed where ``units`` is no log.
            eligible: (n, A), for features; a log has its own.
            weight: (n,) how many users each unit stands for; a log has its own.

        Raises:
            ParameterError: a share outside [0, 1] or smaller than the floor alone treats, or a floor out of range.
            LeakageError: units that fitted the models, whose effects are spread too widely.
            DataError: no units, or weights that are not one positive number for each.
            NotFittedError: the models are not fitted.
        """
        if isinstance(units, DecisionLog):
            n_actions, eligible, weight = units.n_actions, units.eligible, units.weight
            units = units.features
        if n_actions is None:
            raise DataError(
                "Features do not tell how many actions there are", remedy="Pass n_actions=, or calibrate on a log."
            )
        self._refuse_fitted(units)
        allowed = check_eligible(eligible, count_rows(units), n_actions)
        w = _counts(weight, count_rows(units))
        self._learn_distribution(units, w)
        chances = self._chances(units, n_actions, allowed)

        def share_at(price: float) -> float:
            return float(np.average(1.0 - fill(chances(price), self.floor, allowed)[:, 0], weights=w))

        if self.share is None:
            self.price_ = Price.free(self.least_price, share_at(self.least_price))
        else:
            self.price_ = find_price(share_at, check_share(self.share), self.least_price)
        self._told_ = self.get_params(deep=False)
        return self

    def probabilities(self, features: Any, n_actions: int, eligible: ArrayLike | None = None) -> Floats:
        """(n, A) exact probabilities: rows sum to 1, at least ``floor`` where eligible and 0 where not.

        Raises:
            NotFittedError: the models are not fitted, or a share was asked for and ``calibrate`` not called.
            ParameterError: a floor out of range.
            ActionError: eligibility or number of actions do not fit.
        """
        allowed = check_eligible(eligible, count_rows(features), n_actions)
        price = self._price()
        chances = self._chances(features, n_actions, allowed)
        cheap = fill(chances(price.low), self.floor, allowed)
        if price.lottery == 1.0:
            return cheap
        return price.lottery * cheap + (1.0 - price.lottery) * fill(chances(price.high), self.floor, allowed)

    @property
    def expected_share(self) -> float:
        """Share treated of the units it was calibrated on, exploration included.

        Raises:
            NotFittedError: before ``calibrate``.
        """
        self._require_calibrated()
        return self.price_.expected_share

    def _price(self) -> Price:
        if self.share is None and not hasattr(self, "price_"):
            return Price.free(self.least_price, float("nan"))
        self._require_calibrated()
        return self.price_

    def _require_calibrated(self) -> None:
        if not hasattr(self, "price_"):
            raise NotFittedError(
                f"This {type(self).__name__} has no price yet for its share of {self.share!r}",
                remedy="Call calibrate(units) with a held-out log or the units to be decided about.",
            )
        now = self.get_params(deep=False)
        changed = [name for name, then in self._told_.items() if not (now[name] is then or now[name] == then)]
        if changed:
            raise NotFittedError(
                f"The {type(self).__name__}'s {changed[0]} changed since it was calibrated",
                remedy="Call calibrate(units) again.",
            )

    def _refuse_fitted(self, features: Any) -> None:
        rows, fitted_on = getattr(features, "rows", None), self.fitted_on
        if rows is None or fitted_on is None:
            return
        if shared := fitted_on.overlap(Fingerprint.of(rows)):
            raise LeakageError(
                f"{shared:,} of the {len(features):,} units to calibrate on also fitted {self.name}",
                remedy="Calibrate on held-out rows, or on the features of those to be decided about.",
            )


def _counts(weight: ArrayLike | None, n: int) -> Floats | None:
    """(n,) how many users each of n units stands for."""
    if n == 0:
        raise DataError("There are no units to calibrate on", remedy="Pass those to be decided about.")
    if weight is None:
        return None
    checks.length(weight, n, "weight")
    return checks.numbers(weight, "weight", positive=True).astype(np.float64)
