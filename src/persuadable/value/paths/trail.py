"""What a randomised log says about every action of every unit, and what a path of policies makes of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from persuadable.errors import PropensityError
from persuadable.value.estimate import Floats
from persuadable.value.off_policy import Logged, action_scores, share_sampling
from persuadable.value.paths.ladder import Along, Ladder, Taken

__all__ = ["Measured", "Scores", "Trail", "require_tried"]


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """What a log says of one outcome under every action of every unit.

    Attributes:
        logged: the rows.
        scores: (n, A) doubly robust scores of each action less that of doing nothing; their conditional means are the
            effects.
        pulls: (n, A) what the residual of the action taken adds to each score; None where propensities are known.
    """

    logged: Logged
    scores: Floats
    pulls: Floats | None

    @classmethod
    def of(cls, logged: Logged) -> Self:
        """The scores of a log."""
        scores = action_scores(logged)
        pulls = scores - logged.mu if logged.shares_estimated and logged.mu is not None else None
        return cls(logged, _over_nothing(scores), None if pulls is None else _over_nothing(pulls))


def _over_nothing(table: Floats) -> Floats:
    return table - table[:, :1]


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """A number about a path, and its influence function (n,), with mean 0."""

    value: float
    psi: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Trail:
    """One outcome along a ladder.

    Attributes:
        ladder: the ladder.
        cost: predicted cost along it, which the budget is charged.
        gain: the outcome's scores along it.
        pull: what residuals add to them, where propensities are estimated.
        logged: the rows.
    """

    ladder: Ladder
    cost: Along
    gain: Along
    pull: Along | None
    logged: Logged

    @classmethod
    def of(cls, ladder: Ladder, cost: Along, scores: Scores) -> Self:
        """Follow the scores up a ladder."""
        pull = None if scores.pulls is None else ladder.follow(scores.pulls)
        return cls(ladder, cost, ladder.follow(scores.scores), pull, scores.logged)

    def at_budget(self, budget: float) -> Measured:
        """G(B) = E[Γ(π_B)], π_B the policy whose predicted cost per head is B.

        Its price is that at which the population's predicted cost is B. The sample's price, at which the sample's is,
        differs by chance, and moves the gain by what the marginal unit of budget brings. So
        ψ = Γ(π_B) − G(B) − G′(B)·(ĉ(π_B) − B), and no last term where the budget pays for all.
        """
        taken, unit = self.ladder.paid(budget), self.ladder.unit
        slope = self.ladder.slope(self.gain.level, budget)
        return self._centred(*self._under(taken), slope * self.cost.under(unit, taken) if slope else None)

    def at_price(self, price: float) -> Measured:
        """G(λ) = E[Γ(π_λ)] of the policy with this very price, fixed beforehand: ψ = Γ(π_λ) − G(λ)."""
        return self._centred(*self._under(self.ladder.worth(price)), None)

    def mean(self, lower: float, upper: float) -> Measured:
        """∫ G(B) dB / (upper − lower), and the same integral of ψ, in which G′ needs no window."""
        ladder, unit = self.ladder, self.ladder.unit
        weights = ladder.spread(ladder.means(lower, upper))
        moved = ladder.spread(ladder.slopes(self.gain.level, lower, upper))
        rise = np.diff(np.interp([lower, upper], ladder.edge, self.gain.level))[0] / (upper - lower)
        gain = self.gain.base + self.gain.weighed(unit, weights)
        pull = None if self.pull is None else self.pull.base + self.pull.weighed(unit, weights)
        return self._centred(gain, pull, rise * self.cost.base + self.cost.weighed(unit, moved))

    def _under(self, taken: Taken) -> tuple[Floats, Floats | None]:
        unit = self.ladder.unit
        return self.gain.under(unit, taken), None if self.pull is None else self.pull.under(unit, taken)

    def _centred(self, gain: Floats, pull: Floats | None, price_term: Floats | None) -> Measured:
        mean = self.logged.mean
        value = float(mean(gain))
        psi = gain - value
        if price_term is not None:
            psi -= price_term - float(mean(price_term))
        if pull is not None:
            psi -= share_sampling(self.logged, pull)
        return Measured(value, psi)


def require_tried(ladder: Ladder, propensity: Floats, name: str, actions: Sequence[str]) -> None:
    """Refuse a path along actions that were never tried, or that start where doing nothing never was.

    Raises:
        PropensityError: an action of the path, or doing nothing beside it, has a logged propensity of 0.
    """
    moved = np.flatnonzero(ladder.base)
    rows = np.concatenate([moved, moved, ladder.unit, ladder.unit])
    still = np.zeros(moved.shape[0] + ladder.unit.shape[0], dtype=np.intp)
    codes = np.concatenate([ladder.base[moved], still[: moved.shape[0]], ladder.after, still[: ladder.unit.shape[0]]])
    untried = np.flatnonzero(propensity[rows, codes] <= 0)
    if untried.shape[0]:
        row, code = int(rows[untried[0]]), int(codes[untried[0]])
        raise PropensityError(
            f"In {np.unique(rows[untried]).shape[0]:,} of {propensity.shape[0]:,} rows the path {name!r} needs an "
            "action whose logged propensity is 0",
            where=f"first in row {row}, {actions[code]!r}",
            remedy="Nothing can be said of what was never tried: judge on the rows with a choice, log.overlapping(), "
            "or let the log say who was eligible for what.",
        )
