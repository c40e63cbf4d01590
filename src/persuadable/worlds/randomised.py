"""A randomised (or confounded) trial whose truth is known in closed form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from persuadable.features import Column, Features
from persuadable.worlds.arguments import (
    RandomState,
    check_names,
    check_numbers,
    plain,
    require_decisions,
    require_units,
)
from persuadable.worlds.outcomes import FAMILIES, Array, Family
from persuadable.worlds.surfaces import SURFACES, Surface
from persuadable.worlds.true_value import PolicyLike, TrueValue, drawn, true_value

if TYPE_CHECKING:
    from persuadable.log import DecisionLog

__all__ = ["RandomisedTrial"]

_LEVELS: Final = ("a", "b", "c", "d")
_LEVEL_SHARES: Final = np.array([0.4, 0.3, 0.2, 0.1])
_LEVEL_SCORES: Final = np.array([-1.0, -1.0 / 3.0, 1.0 / 3.0, 1.0])
_GRID: Final = 15  # 2^15 quasi-random points for the constants of a world
_BLOCK: Final = 1 << 17


@dataclass(frozen=True, slots=True)
class _Constants:
    """What makes a world's raw surfaces have the scale, base rate and shares it promises."""

    baseline: tuple[float, float]
    effects: tuple[tuple[float, float], ...]
    intercept: float
    amount: float
    offsets: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class RandomisedTrial:
    """A trial with n_actions arms, of which action 0 is the control, and a truth to be recovered.

    A unit has ``n_features`` features: independent standard normal numbers ``x0, x1, …`` and, last, ``n_categorical``
    categories ``c0, …`` of four levels. Its latent score under action a is

        η(x, a) = intercept + baseline_scale · b(x) + effect_scale · t_a(x),   t_0 = 0,

    with b and t_a of standard deviation 1 over the units, and its outcome is drawn from the family ``outcome`` (see
    `persuadable.worlds.outcomes`) at that score. So effects in outcome units are differences of exact means. The
    nonlinear effect joins a saturating slope, a region between two thresholds, a slope in half of the space and the
    category; it helps most and harms some. The sparse effect is positive for 10.6% of the units and exactly 0 for
    all others. Each further treatment acts through other features.

    Args:
        surface: "linear", "nonlinear", "sparse" or "none" (no effect at all).
        outcome: "binary", "count", "money" or "real".
        n_actions: A ≥ 2, the control included.
        propensity: "constant", or "confounded": it depends on b(x), which drives the outcome too, and stays above
            min(0.1, half the smallest share) for every action.
        treated_share: expected share of the treated, split evenly among the treatments; or (A,) shares of all actions.
        base_rate: under control, the share that responds (binary, money), or the mean outcome (count, real).
            None is 0.1 (binary, money), 1 (count), 0 (real).
        effect_scale: standard deviation of a treatment's effect on the latent scale (log-odds for binary and money,
            log for count, outcome units for real). None is 0.5, 0.5, 0.3, 0.5.
        effect_mean: mean of t_a in standard deviations of it, for the linear and nonlinear surface.
        baseline_scale: standard deviation of the baseline on the latent scale.
        noise: standard deviation (real), sd of log amounts (money), over-dispersion (count), unused (binary).
            None is 1, 0.8, 0.
        amount: mean amount of those who pay under control (money).
        costs: cost of each treatment, A − 1 numbers, or one for all. The log then holds an outcome "cost".
        cost_when: a cost falls due on "response" (the outcome is above 0: a redeemed voucher) or on "assignment".
            None is response, except assignment for the real outcome.
        n_features: columns, at least 6 of them numbers.
        n_categorical: how many of them are categories.
        seed: draws the linear coefficients and which feature plays which part. Two seeds are two worlds.

    Raises:
        ParameterError: an argument outside its range, named with the remedy.
    """

    surface: Literal["linear", "nonlinear", "sparse", "none"] = "nonlinear"
    outcome: Literal["binary", "count", "money", "real"] = "binary"
    n_actions: int = 2
    propensity: Literal["constant", "confounded"] = "constant"
    treated_share: float | Sequence[float] = 0.5
    base_rate: float | None = None
    effect_scale: float | None = None
    effect_mean: float = 0.3
    baseline_scale: float = 1.0
    noise: float | None = None
    amount: float = 50.0
    costs: float | Sequence[float] | None = None
    cost_when: Literal["response", "assignment"] | None = None
    n_features: int = 12
    n_categorical: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        check_names(self)
        rate, scale, noise = FAMILIES[self.outcome].defaults
        told = {"base_rate": rate, "effect_scale": scale, "noise": noise}
        for name, value in told.items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, value)
        if self.cost_when is None:
            object.__setattr__(self, "cost_when", "assignment" if self.outcome == "real" else "response")
        object.__setattr__(self, "treated_share", plain(self.treated_share))
        object.__setattr__(self, "costs", plain(self.costs))
        check_numbers(self)

    # -- what the world looks like -------------------------------------------------------------------------------

    @property
    def columns(self) -> tuple[Column, ...]:
        """The features: numbers first, then categories."""
        numbers = tuple(Column(f"x{i}") for i in range(self.n_numbers))
        return numbers + tuple(Column(f"c{i}", "category", _LEVELS) for i in range(self.n_categorical))

    @property
    def n_numbers(self) -> int:
        """How many features are numbers."""
        return self.n_features - self.n_categorical

    @property
    def action_names(self) -> tuple[str, ...]:
        """("control", "treatment"), or ("control", "treatment 1", …)."""
        many = self.n_actions > 2
        return ("control", *(f"treatment {a}" if many else "treatment" for a in range(1, self.n_actions)))

    @property
    def shares(self) -> NDArray[np.float64]:
        """(A,) expected share of every action in a log."""
        if isinstance(self.treated_share, tuple):
            return np.array(self.treated_share)
        treated = _told(self, "treated_share")
        return np.array([1.0 - treated, *[treated / (self.n_actions - 1)] * (self.n_actions - 1)])

    @property
    def action_costs(self) -> NDArray[np.float64]:
        """(A,) what each action costs when its cost falls due; 0 for the control and in a world without costs."""
        if self.costs is None:
            return np.zeros(self.n_actions)
        told = self.costs if isinstance(self.costs, tuple) else (_told(self, "costs"),) * (self.n_actions - 1)
        return np.array([0.0, *told])

    @property
    def average_effect(self) -> NDArray[np.float64]:
        """(A,) E[Y | do(a)] − E[Y | do(0)], over 2^15 quasi-random units (relative error about 1e−3)."""
        return np.asarray(self.effect(_grid(self.n_numbers, self.n_categorical)).mean(axis=0))

    @property
    def signal_to_noise(self) -> float:
        """Var_X[τ_a(X)], averaged over treatments, over E[Var(Y | X, a)], averaged over actions by their shares."""
        grid = _grid(self.n_numbers, self.n_categorical)
        signal = float(self.effect(grid)[:, 1:].var(axis=0).mean())
        noise = float(self.noise_variance(grid).mean(axis=0) @ self.shares)
        return signal / noise if noise > 0.0 else float("inf")

    # -- the truth ---------------------------------------------------------------------------------------------

    def response(self, X: Any) -> NDArray[np.float64]:
        """(n, A) exact E[Y | x, a], in outcome units.

        Raises:
            FeatureError: X lacks a feature, or holds a category the world has not.
        """
        return _blockwise(lambda x: self._family.mean(self._latent(x), self._amount(x)), self._read(X), self.n_actions)

    def effect(self, X: Any) -> NDArray[np.float64]:
        """(n, A) exact E[Y | x, a] − E[Y | x, 0], in outcome units; column 0 is 0."""
        response = self.response(X)
        return np.asarray(response - response[:, :1])

    def noise_variance(self, X: Any) -> NDArray[np.float64]:
        """(n, A) exact Var(Y | x, a)."""
        family, noise = self._family, _told(self, "noise")
        return _blockwise(
            lambda x: family.variance(self._latent(x), self._amount(x), noise), self._read(X), self.n_actions
        )

    def cost_effect(self, X: Any) -> NDArray[np.float64]:
        """(n, A) exact E[cost | x, a]; column 0 is 0, because doing nothing costs nothing.

        A cost due on response is c_a P(Y > 0 | x, a): it is paid for those who would have responded anyway too.
        """
        features, costs = self._read(X), self.action_costs
        positive = self._family.positive
        if self.cost_when == "assignment" or positive is None:
            return np.tile(costs, (len(features), 1))
        return _blockwise(lambda x: costs * positive(self._latent(x), _told(self, "noise")), features, self.n_actions)

    def propensities(self, X: Any) -> NDArray[np.float64]:
        """(n, A) P(a | x) by which the trial assigns; rows sum to 1 (read-only where constant)."""
        features = self._read(X)
        if self.propensity == "constant":
            return np.broadcast_to(self.shares, (len(features), self.n_actions))
        offsets = np.array(_constants(self).offsets)
        return _blockwise(lambda x: _tilted(offsets, self._baseline(x), self.shares), features, self.n_actions)

    def value(
        self,
        policy: PolicyLike | int,
        *,
        n: int = 200_000,
        random_state: RandomState = 0,
        features: Features | None = None,
    ) -> TrueValue:
        """What a policy is worth per head: E[Σ_a π(a | X) μ_a(X)].

        The conditional means are exact; X is integrated over n fresh units, or over ``features`` where given, so the
        only error is ``stderr`` = sd / √n.

        Args:
            policy: an object with ``probabilities(features, n_actions)``, or the code of an action given to all.
            n: units to integrate over.
            random_state: draws them. The same state gives two policies the same units, so their difference has the
                error of a paired comparison.
            features: units to integrate over instead.

        Raises:
            ParameterError: no such action, or probabilities of another shape, negative, or not summing to 1.
        """
        units = self.features(n, random_state) if features is None else self._read(features)
        cost = self.cost_effect(units) if self.costs is not None else np.zeros((1, self.n_actions))
        return true_value(policy, units, self.response(units), cost)

    # -- data ----------------------------------------------------------------------------------------------------

    def features(self, n: int, random_state: RandomState = None) -> Features:
        """Features of n fresh units.

        Raises:
            ParameterError: n < 1.
        """
        require_units(n)
        rng = np.random.default_rng(random_state)
        values = np.empty((n, self.n_features), dtype=np.float32)
        values[:, : self.n_numbers] = rng.standard_normal((n, self.n_numbers), dtype=np.float32)
        for j in range(self.n_numbers, self.n_features):
            values[:, j] = _levels(rng.random(n, dtype=np.float32))
        return Features(values, self.columns)

    def sample(self, n: int, random_state: RandomState = None, *, known_propensity: bool = True) -> DecisionLog:
        """A log of n decisions: features, actions drawn by the true propensity, outcomes, and costs if there are any.

        Args:
            n: decisions.
            random_state: a seed or Generator; one seed gives identical logs.
            known_propensity: whether the log stores the propensities it was drawn by.

        Returns:
            a log whose outcome is called "outcome" and whose cost, if any, is called "cost".

        Raises:
            ParameterError: n < 2.
        """
        require_decisions(n)
        from persuadable.log import DecisionLog

        rng = np.random.default_rng(random_state)
        features = self.features(n, rng)
        propensities = self.propensities(features)
        action = drawn(propensities, rng)
        outcomes = {"outcome": self._outcomes(features, action, rng)}
        if self.costs is not None:
            due = outcomes["outcome"] > 0.0 if self.cost_when == "response" else np.ones(n, dtype=np.bool_)
            outcomes["cost"] = self.action_costs[action] * due
        return DecisionLog.from_arrays(
            features,
            action,
            outcomes,
            action_names=self.action_names,
            propensity=propensities if known_propensity else None,
            cost="cost" if self.costs is not None else None,
            name=f"{self.surface} {self.outcome} trial",
        )

    def outcomes(self, X: Any, action: NDArray[Any], random_state: RandomState = None) -> NDArray[np.float64]:
        """(n,) outcomes drawn for units that were given these actions (n,)."""
        return self._outcomes(self._read(X), np.asarray(action, dtype=np.int16), np.random.default_rng(random_state))

    # -- inner workings ------------------------------------------------------------------------------------------

    @property
    def _family(self) -> Family:
        return FAMILIES[self.outcome]

    def _read(self, X: Any) -> Features:
        return Features.of(X, self.columns)

    def _baseline(self, x: NDArray[np.float32]) -> Array:
        mean, sd = _constants(self).baseline
        return (_raw_baseline(self, x) - mean) / sd

    def _latent(self, x: NDArray[np.float32]) -> Array:
        """(n, A) latent scores η."""
        constants = _constants(self)
        eta = np.empty((len(x), self.n_actions))
        eta[:, 0] = constants.intercept + self.baseline_scale * self._baseline(x)
        for a, (shift, factor) in enumerate(constants.effects, start=1):
            eta[:, a] = eta[:, 0] + factor * (_raw_effect(self, x, a) - shift)
        return eta

    def _amount(self, x: NDArray[np.float32]) -> Array:
        """(n, 1) mean amounts of payers."""
        if self.outcome != "money":
            return np.ones((1, 1))
        return _constants(self).amount * _raw_amount(self, x)[:, None]

    def _outcomes(self, features: Features, action: NDArray[np.int16], rng: np.random.Generator) -> Array:
        out = np.empty(len(features))
        for start in range(0, len(out), _BLOCK):
            rows = slice(start, start + _BLOCK)
            x, a = features.values[rows], action[rows]
            eta = self._latent(x)[np.arange(len(a)), a]
            amount = np.broadcast_to(self._amount(x), (len(a), 1))[:, 0]
            out[rows] = self._family.draw(eta, amount, _told(self, "noise"), rng)
        return out


# -- the arithmetic, as functions ------------------------------------------------------------------------------------


def _blockwise(function: Any, features: Features, n_actions: int) -> NDArray[np.float64]:
    """An (n, A) array computed a block of rows at a time, so that temporaries stay in the processor's cache."""
    out = np.empty((len(features), n_actions))
    for start in range(0, len(out), _BLOCK):
        rows = slice(start, start + _BLOCK)
        out[rows] = function(features.values[rows])
    return out


def _told(world: RandomisedTrial, name: str) -> float:
    """An argument that is a number once the world is made."""
    return float(getattr(world, name))


def _levels(u: NDArray[Any]) -> NDArray[np.float32]:
    """Category codes from uniform numbers."""
    return np.searchsorted(np.cumsum(_LEVEL_SHARES)[:-1], u, side="right").astype(np.float32)


@lru_cache(maxsize=8)
def _grid(n_numbers: int, n_categorical: int) -> Features:
    """2^15 scrambled Sobol points carried to the distribution of the features."""
    from scipy.special import ndtri
    from scipy.stats import qmc

    u = qmc.Sobol(n_numbers + n_categorical, rng=np.random.default_rng(0)).random_base2(_GRID)
    values = np.empty(u.shape, dtype=np.float32)
    values[:, :n_numbers] = ndtri(np.clip(u[:, :n_numbers], 1e-9, 1.0 - 1e-9))
    for j in range(n_numbers, u.shape[1]):
        values[:, j] = _levels(u[:, j])
    values.setflags(write=False)
    columns = tuple(Column(f"x{i}") for i in range(n_numbers))
    return Features(values, columns + tuple(Column(f"c{i}", "category", _LEVELS) for i in range(n_categorical)))


@lru_cache(maxsize=256)
def _roles(seed: int, n_numbers: int, n_actions: int) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Which feature plays which part, (n_numbers,), and linear weights, (n_actions, n_numbers + 1)."""
    rng = np.random.default_rng([seed, 0x5EED])
    order = rng.permutation(n_numbers)
    weights = rng.standard_normal((n_actions, n_numbers + 1))
    return order, weights / np.linalg.norm(weights, axis=1, keepdims=True)


def _parts(world: RandomisedTrial, x: NDArray[np.float32], turn: int) -> tuple[Array, Array]:
    """Numbers in role order, turned on by ``turn`` places, and the category's score."""
    order, _ = _roles(world.seed, world.n_numbers, world.n_actions)
    numbers = x[:, np.roll(order, turn)].astype(np.float64)
    score = _LEVEL_SCORES[x[:, world.n_numbers].astype(np.intp)] if world.n_categorical else np.zeros(len(x))
    return numbers, score


def _surface(world: RandomisedTrial) -> Surface:
    return SURFACES[world.surface]


def _raw_baseline(world: RandomisedTrial, x: NDArray[np.float32]) -> Array:
    _, weights = _roles(world.seed, world.n_numbers, world.n_actions)
    return _surface(world).baseline(*_parts(world, x, 0), weights[0])


def _raw_effect(world: RandomisedTrial, x: NDArray[np.float32], action: int) -> Array:
    _, weights = _roles(world.seed, world.n_numbers, world.n_actions)
    return _surface(world).effect(*_parts(world, x, 2 * (action - 1)), weights[action])


def _raw_amount(world: RandomisedTrial, x: NDArray[np.float32]) -> Array:
    """How much more or less a payer spends: a bounded factor in two of the features."""
    numbers, _ = _parts(world, x, 0)
    return np.exp(0.4 * np.tanh(numbers[:, 4]) + 0.2 * np.tanh(numbers[:, 0]))


@lru_cache(maxsize=256)
def _constants(world: RandomisedTrial) -> _Constants:
    """The constants of a world, from its quasi-random grid."""
    grid = _grid(world.n_numbers, world.n_categorical).values
    raw = _raw_baseline(world, grid)
    mean, sd = float(raw.mean()), float(raw.std())
    baseline = (raw - mean) / sd
    latent = world.baseline_scale * baseline
    intercept = FAMILIES[world.outcome].intercept(latent, _told(world, "base_rate"))
    return _Constants(
        baseline=(mean, sd),
        effects=tuple(_effect_constants(world, grid, a) for a in range(1, world.n_actions)),
        intercept=intercept,
        amount=_amount_constant(world, grid, intercept + latent),
        offsets=_offsets(world, baseline),
    )


def _effect_constants(world: RandomisedTrial, grid: NDArray[np.float32], action: int) -> tuple[float, float]:
    """(shift, factor) with effect = factor · (raw − shift)."""
    raw = _raw_effect(world, grid, action)
    sd = float(raw.std())
    if sd == 0.0:
        return 0.0, 0.0
    shift = float(raw.mean()) - world.effect_mean * sd if _surface(world).centred else 0.0
    return shift, _told(world, "effect_scale") / sd


def _amount_constant(world: RandomisedTrial, grid: NDArray[np.float32], latent: Array) -> float:
    """The factor that makes the mean amount of payers under control ``world.amount``."""
    if world.outcome != "money":
        return 1.0
    pays = FAMILIES["binary"].mean(latent, np.ones(1))
    return world.amount * float(pays.sum() / (pays * _raw_amount(world, grid)).sum())


def _floor(shares: NDArray[np.float64]) -> float:
    return float(min(0.1, 0.5 * shares.min()))


def _tilted(offsets: NDArray[np.float64], baseline: Array, shares: NDArray[np.float64]) -> Array:
    """Confounded propensities: floor + (1 − A·floor) · softmax(offset_a + s_a tanh b), s rising from −1 to 1."""
    slopes = np.linspace(-1.0, 1.0, len(offsets))
    logits = offsets + slopes * np.tanh(baseline)[:, None]
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    floor = _floor(shares)
    return np.asarray(floor + (1.0 - len(offsets) * floor) * weights / weights.sum(axis=1, keepdims=True))


def _offsets(world: RandomisedTrial, baseline: Array) -> tuple[float, ...]:
    """Offsets of the confounded propensities whose means are the world's shares, by iterative scaling."""
    shares = world.shares
    if world.propensity == "constant":
        return tuple(np.log(shares).tolist())
    floor, room = _floor(shares), 1.0 - len(shares) * _floor(shares)
    wanted = (shares - floor) / room
    offsets = np.log(wanted)
    for _ in range(200):
        got = (_tilted(offsets, baseline, shares).mean(axis=0) - floor) / room
        offsets = offsets + np.log(wanted / got)
        if np.abs(got - wanted).max() < 1e-10:
            break
    return tuple((offsets - offsets[0]).tolist())
