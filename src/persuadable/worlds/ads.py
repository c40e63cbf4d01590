"""An advertising trial in which hardly anybody buys: a funnel, exposure, and four kinds of people."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit, ndtri

from persuadable.errors import OutcomeError
from persuadable.features import Column, Features
from persuadable.worlds.arguments import RandomState, check_between, require_decisions, require_units
from persuadable.worlds.outcomes import Array
from persuadable.worlds.true_value import PolicyLike, TrueValue, true_value

if TYPE_CHECKING:
    from persuadable.log import DecisionLog

__all__ = ["Ads"]

TYPES: Final = ("Persuadable", "Sure Thing", "Lost Cause", "Do-Not-Disturb")
OUTCOMES: Final = ("conversion", "visit", "exposure")
_SHARES: Final = np.array([0.12, 0.08, 0.74, 0.06])
_EXPOSED: Final = np.array([0.25, 0.20, 0.01, 0.60])  # of the treated
_VISIT: Final = np.array([[0.04, 0.30], [0.20, 0.205], [0.015, 0.03], [0.10, 0.04]])  # unexposed, exposed
_BUY: Final = np.array([[0.04, 0.10], [0.08, 0.08], [0.015, 0.02], [0.08, 0.04]])  # of visitors; likewise
_SPREAD: Final = 0.5  # standard deviation of each log-odds among people of one type

_TASTE: Final = np.array([0.7, 0.5, -0.5])  # features that tell who is moved, and which way
_HABIT: Final = np.array([0.8, 0.5, 0.4])  # features that tell, among those not moved, who buys anyway
_PARTS: Final = 9
_GRID: Final = 15  # 2^15 quasi-random points for the constant of a world
_BLOCK: Final = 1 << 17


class _Law(NamedTuple):
    """What m people do, each (m,) or (m, 2) for unexposed and exposed."""

    exposed: Array  # P(exposure | x, treated)
    visits: Array  # P(visit | x, exposure)
    buys: Array  # P(conversion | x, exposure, visit)


@dataclass(frozen=True, slots=True)
class Ads:
    """A randomised advertising trial like Criteo's: most are treated, few convert, and nobody converts unseen.

    People have ``n_features`` independent standard normal features. Three of them tell who is moved by the ad and which
    way, three who buys anyway; so each person is of one of four kinds, a function of the features (:meth:`types`):

    ==============  ======  ==========================================================
    kind            share   without the ad → with it (conversion, about)
    ==============  ======  ==========================================================
    Persuadable     12%     0.2% → 1.0%
    Sure Thing       8%     2% → 2%
    Lost Cause      74%     0.03% → 0.03%
    Do-Not-Disturb   6%     1.1% → 0.6%
    ==============  ======  ==========================================================

    Within a kind, three more features vary how often people see the ad, visit and buy; the others do nothing.

    The treated are bid for, and some of them are then exposed to the ad. Treatment acts through exposure alone: the
    treated who saw nothing do what the untreated do. Exposure is decided after the action and among the active rather
    than by lot, so it is an outcome in the log. Visits come of exposure, conversions of visits and of nothing else:

        P(conversion | x, a) = Σ_s P(s | x, a) · P(visit | x, s) · P(conversion | x, s, visit),   s: exposed or not.

    Args:
        treated_share: chance of the treatment, the same for everybody.
        conversion_rate: share of a log's rows that convert.
        n_features: columns, at least 9.
        seed: which feature plays which part. Two seeds are two worlds.

    Raises:
        ParameterError: an argument outside its range, named with the remedy.
    """

    treated_share: float = 0.85
    conversion_rate: float = 0.00294
    n_features: int = 12
    seed: int = 0

    def __post_init__(self) -> None:
        check_between("Ads", treated_share=(self.treated_share, 0.01, 0.99))
        check_between("Ads", conversion_rate=(self.conversion_rate, 1e-4, 0.02))
        check_between("Ads", n_features=(self.n_features, _PARTS, 1_000))

    # -- what the world looks like -------------------------------------------------------------------------------

    @property
    def n_actions(self) -> int:
        """Doing nothing, and the ad."""
        return 2

    @property
    def action_names(self) -> tuple[str, ...]:
        """Their labels."""
        return ("control", "treatment")

    @property
    def shares(self) -> NDArray[np.float64]:
        """(2,) expected share of every action in a log."""
        return np.array([1.0 - self.treated_share, self.treated_share])

    @property
    def columns(self) -> tuple[Column, ...]:
        """The features, all numbers."""
        return tuple(Column(f"x{i}") for i in range(self.n_features))

    # -- the truth ---------------------------------------------------------------------------------------------

    def response(self, X: Any, outcome: str = "conversion") -> NDArray[np.float64]:
        """(n, 2) exact P(outcome | x, a), of "conversion", "visit" or "exposure".

        Raises:
            OutcomeError: no such outcome.
            FeatureError: X lacks a feature.
        """
        if outcome not in OUTCOMES:
            raise OutcomeError(f"There is no outcome {outcome!r}", remedy=f"The world has {list(OUTCOMES)}.")
        values = self._read(X).values
        out = np.empty((len(values), 2))
        for start in range(0, len(out), _BLOCK):
            law = self._law(values[start : start + _BLOCK])
            reached = {"conversion": law.visits * law.buys, "visit": law.visits, "exposure": np.array([[0.0, 1.0]])}
            unexposed, exposed = reached[outcome].T
            out[start : start + _BLOCK, 0] = unexposed
            out[start : start + _BLOCK, 1] = (1.0 - law.exposed) * unexposed + law.exposed * exposed
        return out

    def effect(self, X: Any, outcome: str = "conversion") -> NDArray[np.float64]:
        """(n, 2) exact P(outcome | x, a) − P(outcome | x, control); column 0 is 0."""
        response = self.response(X, outcome)
        return np.asarray(response - response[:, :1])

    def types(self, X: Any) -> NDArray[np.str_]:
        """(n,) the kind of each person: "Persuadable", "Sure Thing", "Lost Cause" or "Do-Not-Disturb"."""
        return np.asarray(np.array(TYPES)[self._kinds(self._read(X).values)])

    def propensities(self, X: Any) -> NDArray[np.float64]:
        """(n, 2) P(a | x) by which the trial assigns, the same for all (read-only)."""
        return np.broadcast_to(self.shares, (len(self._read(X)), 2))

    def value(
        self,
        policy: PolicyLike | int,
        *,
        n: int = 200_000,
        random_state: RandomState = 0,
        features: Features | None = None,
        outcome: str = "conversion",
    ) -> TrueValue:
        """What a policy is worth per head, in outcomes; see ``RandomisedTrial.value``. Its cost is 0."""
        units = self.features(n, random_state) if features is None else self._read(features)
        return true_value(policy, units, self.response(units, outcome), np.zeros((1, 2)))

    # -- data ----------------------------------------------------------------------------------------------------

    def features(self, n: int, random_state: RandomState = None) -> Features:
        """Features of n fresh people.

        Raises:
            ParameterError: n < 1.
        """
        require_units(n)
        rng = np.random.default_rng(random_state)
        return Features(rng.standard_normal((n, self.n_features), dtype=np.float32), self.columns)

    def sample(self, n: int, random_state: RandomState = None, *, known_propensity: bool = True) -> DecisionLog:
        """A log of n decisions with the outcomes "conversion" (the primary one), "visit" and "exposure".

        Args:
            n: decisions.
            random_state: a seed or Generator; one seed gives identical logs.
            known_propensity: whether the log stores the propensity.

        Raises:
            ParameterError: n < 2.
        """
        require_decisions(n)
        from persuadable.log import DecisionLog

        rng = np.random.default_rng(random_state)
        features = self.features(n, rng)
        action = (rng.random(n, dtype=np.float32) < self.treated_share).astype(np.int16)
        return DecisionLog.from_arrays(
            features,
            action,
            self.outcomes(features, action, rng),
            action_names=self.action_names,
            propensity=self.treated_share if known_propensity else None,
            name="advertising trial",
        )

    def outcomes(self, X: Any, action: NDArray[Any], random_state: RandomState = None) -> dict[str, NDArray[np.uint8]]:
        """Outcome → (n,) zeros and ones, drawn for people who were given these actions (n,)."""
        values, rng = self._read(X).values, np.random.default_rng(random_state)
        drawn = np.empty((3, len(values)), dtype=np.uint8)
        for start in range(0, len(values), _BLOCK):
            rows = slice(start, start + _BLOCK)
            law, treated = self._law(values[rows]), np.asarray(action[rows]) > 0
            u = rng.random((3, treated.size))
            exposed = treated & (u[0] < law.exposed)
            state = (np.arange(treated.size), exposed.astype(np.intp))
            visit = u[1] < law.visits[state]
            drawn[:, rows] = visit & (u[2] < law.buys[state]), visit, exposed
        return dict(zip(OUTCOMES, drawn, strict=True))

    # -- inner workings ------------------------------------------------------------------------------------------

    def _read(self, X: Any) -> Features:
        return Features.of(X, self.columns)

    def _kinds(self, values: NDArray[np.float32]) -> NDArray[np.intp]:
        """(m,) codes into ``TYPES``: the scores are standard normal, so the shares are exact."""
        parts = values[:, _order(self)].astype(np.float64)
        taste = parts[:, :3] @ (_TASTE / np.linalg.norm(_TASTE))
        habit = parts[:, 3:6] @ (_HABIT / np.linalg.norm(_HABIT))
        persuadable, sure, lost, disturbed = _SHARES
        unmoved = np.where(habit > -ndtri(sure / (sure + lost)), 1, 2)
        return np.asarray(np.where(taste > -ndtri(persuadable), 0, np.where(taste < ndtri(disturbed), 3, unmoved)))

    def _law(self, values: NDArray[np.float32], shift: float | None = None) -> _Law:
        shift = _buying(self) if shift is None else shift
        kind = self._kinds(values)
        seen, visits, buys = (_SPREAD * values[:, part].astype(np.float64) for part in _order(self)[6:_PARTS])
        return _Law(
            expit(logit(_EXPOSED)[kind] + seen),
            expit(logit(_VISIT)[kind] + visits[:, None]),
            expit(logit(_BUY)[kind] + (buys + shift)[:, None]),
        )


@lru_cache(maxsize=256)
def _order(world: Ads) -> NDArray[np.intp]:
    """Which feature plays which part."""
    return np.random.default_rng([world.seed, 0xAD5]).permutation(world.n_features)


@lru_cache(maxsize=256)
def _buying(world: Ads) -> float:
    """What is added to every log-odds of buying, so that the share that converts is the world's."""
    from scipy.optimize import brentq
    from scipy.stats import qmc

    u = qmc.Sobol(world.n_features, rng=np.random.default_rng(0)).random_base2(_GRID)
    grid = ndtri(np.clip(u, 1e-9, 1.0 - 1e-9)).astype(np.float32)

    def excess(shift: float) -> float:
        law = world._law(grid, shift)
        converts = law.visits * law.buys
        seen = world.treated_share * law.exposed
        return float(((1.0 - seen) * converts[:, 0] + seen * converts[:, 1]).mean() - world.conversion_rate)

    return float(brentq(excess, -8.0, 8.0, xtol=1e-10))
