"""A randomised trial of offers of rising depth, paid for on redemption, by buyers who would have bought anyway too."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from persuadable.errors import OutcomeError, ParameterError
from persuadable.features import Column, Features
from persuadable.fingerprint import Fingerprint
from persuadable.spaces import Discrete
from persuadable.worlds.arguments import RandomState, check_between, require_decisions, require_units
from persuadable.worlds.outcomes import Array
from persuadable.worlds.true_value import PolicyLike, TrueValue, drawn, true_value

if TYPE_CHECKING:
    from persuadable.log import DecisionLog

__all__ = ["Offers", "Truth"]

SEGMENTS: Final = ("new", "active", "lapsing", "churned")
_SEGMENT_SHARES: Final = np.array([0.2, 0.4, 0.25, 0.15])
_BUYING: Final = np.array([-0.9, 0.6, -0.7, -1.5])  # log-odds of a purchase without an offer
_MOVED: Final = np.array([1.6, 0.7, 2.2, 1.3])  # how far the deepest offer moves the log-odds of those it moves most
_LATER: Final = np.array([1.5, 4.0, 1.0, 0.5])  # purchases in the months after, without an offer
_HABIT: Final = np.array([1.5, -0.6, 0.8, 0.4])  # more of them for each purchase an offer brings; fewer: pulled forward

_PARTS: Final = 6  # numbers that play a part
_BASKET: Final = 15.0
_MARGIN: Final = 0.4
_NOISE: Final = 0.3  # standard deviation of the log of a basket, given the unit
_BLOCK: Final = 1 << 16


class _Law(NamedTuple):
    """What m units do, each (m, A), or (m, 1) where offers make no difference."""

    buys: Array  # P(purchase | x, a), on each occasion
    redeems: Array  # P(redeems the offer | x, a, purchase); 0 without an offer
    basket: Array  # mean worth of a purchase
    later: Array  # mean number of purchases in the months after


@dataclass(frozen=True, slots=True)
class Offers:
    """A trial of discounts of rising depth against no offer, in which value and cost come of different things.

    A unit has ``n_features`` features: independent standard normal numbers ``x0, x1, …`` and its lifecycle ``segment``
    ("new", "active", "lapsing", "churned"). It has k ``occasions`` to buy while the offer runs, and buys on each with
    probability p_a(x) = expit(η_s + b(x) + m_s·s(x)·g(d_a, x)): d_a is the depth of the offer, b(x) how much the unit
    buys anyway, s(x) how far offers move it (some are put off), and g the response to depth, which some units give to
    any offer and others only to deep ones. Its baskets are of lognormal worth; an offer is redeemed at a purchase with
    a probability r_a(x) that rises with its depth and differs between units, and then costs d_a times the basket. So

    * value is margin, 40% of the baskets: v_a(x) = 0.4·k·basket(x)·(p_a(x) − p_0(x));
    * cost is what assignment causes: c_a(x) = d_a·k·basket(x)·p_a(x)·r_a(x). Buyers who would have bought anyway
      redeem too (leakage), so an offer costs also where it moves nobody.

    Active customers buy anyway: they rank first by conversion, and last by value for money.

    Args:
        surface: "lifecycle", or "none": nobody buys because of an offer, and all that offers cost is leakage.
        depths: of the offers, shares of the basket, rising.
        shares: (A,) share of each action in the trial, no offer first; equal ones when None.
        effect_scale: multiplies how far offers move the log-odds.
        occasions: k, how often each unit may buy; the fewer, the more a log is noise.
        long: whether logs hold the outcome "long margin" as well: that margin and the one of the months after, to
            which an offer adds by habit, or from which it takes by pulling purchases forward, as the segment has it.
        n_features: columns; the last is the segment, the others are numbers, at least 6.
        seed: draws which number plays which part, and its sign. Two seeds are two worlds.

    Raises:
        ParameterError: an argument outside its range, named with the remedy.
    """

    surface: Literal["lifecycle", "none"] = "lifecycle"
    depths: tuple[float, ...] = (0.05, 0.1, 0.15, 0.2, 0.3)
    shares: tuple[float, ...] | None = None
    effect_scale: float = 1.0
    occasions: int = 8
    long: bool = False
    n_features: int = 10
    seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "depths", tuple(float(d) for d in self.depths))
        if self.shares is not None:
            object.__setattr__(self, "shares", tuple(float(s) for s in self.shares))
        _check(self)

    # -- what the world looks like -------------------------------------------------------------------------------

    @property
    def n_actions(self) -> int:
        """No offer, and one action per depth."""
        return 1 + len(self.depths)

    @property
    def action_names(self) -> tuple[str, ...]:
        """("no offer", "5% off", …)."""
        return ("no offer", *(f"{100.0 * d:g}% off" for d in self.depths))

    @property
    def columns(self) -> tuple[Column, ...]:
        """The features: numbers first, then the segment."""
        return (*(Column(f"x{i}") for i in range(self.n_features - 1)), Column("segment", "category", SEGMENTS))

    @property
    def arm_shares(self) -> NDArray[np.float64]:
        """(A,) share of each action in the trial."""
        return np.full(self.n_actions, 1.0 / self.n_actions) if self.shares is None else np.array(self.shares)

    # -- the truth -----------------------------------------------------------------------------------------------

    def response(self, X: Any) -> NDArray[np.float64]:
        """(n, A) exact mean margin under each action.

        Raises:
            FeatureError: X lacks a feature, or holds a category the world has not.
        """
        return self._blockwise(X, lambda law: _MARGIN * self.occasions * law.basket * law.buys)

    def effect(self, X: Any) -> NDArray[np.float64]:
        """(n, A) exact effect of each action on the mean margin; column 0 is 0."""
        return _over_nothing(self.response(X))

    def cost_effect(self, X: Any) -> NDArray[np.float64]:
        """(n, A) exact mean cost of each action; column 0 is 0, because no offer costs nothing."""
        depth = np.array([0.0, *self.depths])
        return self._blockwise(X, lambda law: depth * self.occasions * law.basket * law.buys * law.redeems)

    def purchase_effect(self, X: Any) -> NDArray[np.float64]:
        """(n, A) exact effect of each action on the probability of any purchase; column 0 is 0."""
        return _over_nothing(self._blockwise(X, lambda law: 1.0 - (1.0 - law.buys) ** self.occasions))

    def long_effect(self, X: Any) -> NDArray[np.float64]:
        """(n, A) exact effect of each action on the mean long margin; column 0 is 0."""
        return _over_nothing(
            self._blockwise(X, lambda law: _MARGIN * law.basket * (self.occasions * law.buys + law.later))
        )

    def truth(self) -> Truth:
        """The exact effects as a model that policies can be made from: the oracle's."""
        return Truth(self)

    def propensities(self, X: Any) -> NDArray[np.float64]:
        """(n, A) P(a | x) by which the trial assigns, the same for all units (read-only)."""
        return np.broadcast_to(self.arm_shares, (len(self._read(X)), self.n_actions))

    def value(
        self,
        policy: PolicyLike | int,
        *,
        n: int = 200_000,
        random_state: RandomState = 0,
        features: Features | None = None,
    ) -> TrueValue:
        """What a policy is worth per head in margin, and what it costs; see ``RandomisedTrial.value``.

        Raises:
            ParameterError: no such action, or probabilities of another shape, negative, or not summing to 1.
        """
        units = self.features(n, random_state) if features is None else self._read(features)
        return true_value(policy, units, self.response(units), self.cost_effect(units))

    # -- data ----------------------------------------------------------------------------------------------------

    def features(self, n: int, random_state: RandomState = None) -> Features:
        """Features of n fresh units.

        Raises:
            ParameterError: n < 1.
        """
        require_units(n)
        rng = np.random.default_rng(random_state)
        values = np.empty((n, self.n_features), dtype=np.float32)
        values[:, :-1] = rng.standard_normal((n, self.n_features - 1), dtype=np.float32)
        values[:, -1] = np.searchsorted(np.cumsum(_SEGMENT_SHARES)[:-1], rng.random(n), side="right")
        return Features(values, self.columns)

    def sample(self, n: int, random_state: RandomState = None) -> DecisionLog:
        """A log of n decisions with the outcomes "margin", "cost" (the log's cost), "purchase", and "long margin".

        Raises:
            ParameterError: n < 2.
        """
        require_decisions(n)
        from persuadable.log import DecisionLog

        rng = np.random.default_rng(random_state)
        features = self.features(n, rng)
        propensities = self.propensities(features)
        action = drawn(propensities, rng)
        return DecisionLog.from_arrays(
            features,
            action,
            self.outcomes(features, action, rng),
            action_names=self.action_names,
            propensity=propensities,
            cost="cost",
            name=f"{self.surface} offers",
        )

    def outcomes(
        self, X: Any, action: NDArray[Any], random_state: RandomState = None
    ) -> dict[str, NDArray[np.float64]]:
        """name → (n,) outcomes drawn for units that were given these actions (n,)."""
        features, rng = self._read(X), np.random.default_rng(random_state)
        given = np.asarray(action, dtype=np.intp)
        taken = [
            (slice(s, s + _BLOCK), self._law(features.values[s : s + _BLOCK])) for s in range(0, len(given), _BLOCK)
        ]

        def of(part: Callable[[_Law], Array]) -> Array:
            return np.concatenate([_picked(part(law), given[rows]) for rows, law in taken])

        n, basket = len(given), of(lambda law: law.basket)
        purchases = rng.binomial(self.occasions, of(lambda law: law.buys))
        redeemed = rng.binomial(purchases, of(lambda law: law.redeems))
        worth = basket * _lognormal(n, rng)
        margin = _MARGIN * worth * purchases
        found = {
            "margin": margin,
            "cost": np.array([0.0, *self.depths])[given] * worth * redeemed,
            "purchase": (purchases > 0).astype(np.float64),
        }
        if self.long:
            later = rng.poisson(of(lambda law: law.later)) * basket * _lognormal(n, rng)
            found["long margin"] = margin + _MARGIN * later
        return found

    # -- inner workings ------------------------------------------------------------------------------------------

    def _read(self, X: Any) -> Features:
        return Features.of(X, self.columns)

    def _blockwise(self, X: Any, part: Callable[[_Law], Array]) -> NDArray[np.float64]:
        features = self._read(X)
        out = np.empty((len(features), self.n_actions))
        for start in range(0, len(out), _BLOCK):
            out[start : start + _BLOCK] = part(self._law(features.values[start : start + _BLOCK]))
        return out

    def _law(self, x: NDArray[np.float32]) -> _Law:
        order, signs = _roles(self.seed, self.n_features - 1)
        z = (x[:, order] * signs).astype(np.float64)[:, :, None]
        s = x[:, -1].astype(np.intp)
        depth = np.array([0.0, *self.depths])
        anyway = _BUYING[s][:, None] + 0.5 * np.sin(1.5 * z[:, 0]) + 0.4 * np.tanh(z[:, 1])
        moved = self.effect_scale * _MOVED[s][:, None] * (expit(1.5 * z[:, 2] - z[:, 1]) - 0.15 * (z[:, 3] > 1.0))
        early = 0.04 + 0.3 * expit(2.0 * z[:, 4])  # depth at which the response has come two thirds of its way
        response = np.expm1(-depth / early) / np.expm1(-self.depths[-1] / early)
        buys = expit(anyway + (moved * response if self.surface == "lifecycle" else 0.0 * depth))
        return _Law(
            buys=buys,
            redeems=np.where(depth > 0.0, expit(0.5 * z[:, 3] + 0.7 + 6.0 * depth), 0.0),
            basket=_BASKET * np.exp(0.4 * np.tanh(z[:, 5]) + 0.2 * np.tanh(z[:, 0])),
            later=_LATER[s][:, None] + _HABIT[s][:, None] * (buys - buys[:, :1]),
        )


class Truth:
    """A world's exact effects, with the face of a fitted effect model that learned from no rows.

    Args:
        world: the world.
    """

    def __init__(self, world: Offers) -> None:
        self.world = world
        self.fitted_on = Fingerprint.of(np.empty(0, dtype=np.uint64))
        self.actions_ = Discrete(world.action_names)
        self.outcomes_ = ("margin", "cost", "purchase", "long margin")

    def effect(self, X: Any, outcome: str | None = None) -> NDArray[np.float64]:
        """(n, A) exact effects on an outcome, the margin for None.

        Raises:
            OutcomeError: no such outcome.
        """
        world = self.world
        known = (world.effect, world.cost_effect, world.purchase_effect, world.long_effect)
        name = self.outcomes_[0] if outcome is None else outcome
        if name not in self.outcomes_:
            raise OutcomeError(f"There is no outcome {name!r}", remedy=f"The world has {list(self.outcomes_)}.")
        return known[self.outcomes_.index(name)](X)

    def out_of_fold_effect(self, log: DecisionLog, outcome: str | None = None) -> NDArray[np.float64]:
        """The same: the truth has seen no row."""
        return self.effect(log.features, outcome)


# -- the arithmetic, as functions ------------------------------------------------------------------------------------


def _check(world: Offers) -> None:
    """Refuse arguments out of range, each named with the remedy.

    Raises:
        ParameterError: naming the argument.
    """
    if world.surface not in ("lifecycle", "none"):
        raise ParameterError(
            f"surface={world.surface!r} is not known", where="worlds.Offers", remedy='Choose "lifecycle" or "none".'
        )
    check_between("Offers", effect_scale=(world.effect_scale, 0.0, 5.0), occasions=(world.occasions, 1, 1000))
    rising = np.diff([0.0, *world.depths, 1.0])
    if not (world.depths and (rising > 0.0).all()):
        raise ParameterError(
            f"depths={world.depths} do not rise from 0 to 1",
            where="worlds.Offers",
            remedy="Give at least one depth, each above the one before and all between 0 and 1.",
        )
    shares = world.arm_shares
    if len(shares) != world.n_actions or not (shares > 0.0).all() or not abs(float(shares.sum()) - 1.0) < 1e-9:
        raise ParameterError(
            f"shares={world.shares} are not {world.n_actions} positive shares that sum to 1",
            where="worlds.Offers",
            remedy="Give one share per action, no offer first.",
        )
    if world.n_features < _PARTS + 1:
        raise ParameterError(
            f"n_features={world.n_features} are too few",
            where="worlds.Offers",
            remedy=f"The world needs {_PARTS} numbers and the segment.",
        )


@lru_cache(maxsize=64)
def _roles(seed: int, n_numbers: int) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """Which numbers play the parts, (6,), and with which sign."""
    rng = np.random.default_rng([seed, 0x0FFE])
    order = rng.permutation(n_numbers)[:_PARTS]
    return order, rng.choice(np.array([-1.0, 1.0], dtype=np.float32), _PARTS)


def _over_nothing(means: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(means - means[:, :1])


def _picked(table: Array, action: NDArray[np.intp]) -> Array:
    """(m,) each row's value under its action."""
    return np.asarray(table[:, 0] if table.shape[1] == 1 else table[np.arange(len(action)), action])


def _lognormal(n: int, rng: np.random.Generator) -> Array:
    """(n,) factors of mean 1."""
    return np.exp(_NOISE * rng.standard_normal(n) - 0.5 * _NOISE**2)
