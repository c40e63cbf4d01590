"""What comes in for what is spent: the ratio of two outcomes' values under one policy, with an honest set around it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from persuadable.errors import DataError, OutcomeError, ParameterError
from persuadable.log.checks import require_log
from persuadable.value.estimate import influence_covariance, normal_quantile
from persuadable.value.ope.case import Case, plan_of
from persuadable.value.ope.estimators import Clip, Estimator, chosen
from persuadable.value.ope.intervals import Ratios, Seed, by_unit, replicates
from persuadable.value.ope.terms import Terms
from persuadable.value.policy_value import Judgeable

if TYPE_CHECKING:
    from persuadable.log import DecisionLog

__all__ = ["Ratio", "estimate_ratio", "fieller", "ratio"]

Method = Literal["fieller", "delta", "bootstrap"]
Shape = Literal["interval", "outside", "everything"]


@dataclass(frozen=True, slots=True)
class Ratio:
    """A ratio of two estimates, such as ROI = value / cost, and the values it may have.

    Where the denominator cannot be told from 0, no bounded set of ratios holds the truth with confidence 1 − alpha
    (Gleser and Hwang 1987); the set is then everything outside ``limits``, or everything.

    Attributes:
        value: numerator over denominator.
        stderr: its standard error by the delta method; of little meaning where the set is unbounded.
        shape: "interval": from ``limits[0]`` to ``limits[1]``; "outside": below ``limits[0]`` and above ``limits[1]``;
            "everything": nothing is ruled out.
        limits: the ends named above; infinite for "everything".
        alpha: probability the set is meant to miss.
        numerator: value of the numerator.
        denominator: value of the denominator.
        n: rows it rests on.
        method: "fieller", "delta" or "bootstrap".
        name: what is estimated.
        unit: in what it is measured.
    """

    value: float
    stderr: float
    shape: Shape
    limits: tuple[float, float]
    alpha: float
    numerator: float
    denominator: float
    n: int
    method: Method
    name: str = ""
    unit: str = ""

    @property
    def interval(self) -> tuple[float, float]:
        """The smallest interval that contains the set: (−∞, ∞) unless the set is an interval."""
        return self.limits if self.shape == "interval" else (-math.inf, math.inf)

    def holds(self, value: float) -> bool:
        """Whether a ratio lies in the set."""
        lower, upper = self.limits
        if self.shape == "outside":
            return value <= lower or value >= upper
        return lower <= value <= upper

    def __str__(self) -> str:
        lower, upper = self.limits
        level = f"{100 * (1 - self.alpha):g}%"
        known = {
            "interval": f"{level} interval {lower:.4g} to {upper:.4g}",
            "outside": f"{level} set: below {lower:.4g} or above {upper:.4g}, for the denominator may be 0",
            "everything": f"{level} set: every number, for the denominator may be 0",
        }
        label = f"{self.name}: " if self.name else ""
        unit = f" {self.unit}" if self.unit else ""
        return f"{label}{self.value:.4g}{unit} ({known[self.shape]}, n = {self.n:,})"


def estimate_ratio(
    log: DecisionLog,
    probabilities: Judgeable,
    baseline: Judgeable | None = None,
    *,
    numerator: str | None = None,
    denominator: str | None = None,
    estimator: str | Estimator = "dr",
    q_hat: Mapping[str, ArrayLike] | None = None,
    clip: Clip = None,
    method: Method = "fieller",
    alpha: float = 0.05,
    n_resamples: int = 999,
    random_state: int = 0,
) -> Ratio:
    """The ratio of two outcomes' values under a policy, such as ROI = value / cost; see ``ratio`` for the methods.

    With a baseline it is incremental: what the policy brings more than the baseline, over what it costs more.

    Args:
        log: held-out rounds.
        probabilities: (n, A) of the candidate, or a policy.
        baseline: (n, A) of the baseline, or a policy.
        numerator: the outcome above the line; the first when None.
        denominator: the outcome below it; the log's cost when None.
        estimator: name or object, used for both; not one that is to be tuned.
        q_hat: outcome → (n, A) or (A,) predictions; cross-fitted where they are needed and not given.
        clip: the largest weight.
        method: "fieller", "delta" or "bootstrap".
        alpha: probability the set is meant to miss.
        n_resamples: for "bootstrap" the number of replicates.
        random_state: seed of what is drawn or fitted.

    Raises:
        OutcomeError: no denominator named and no cost in the log, the same outcome twice, or q_hat for another.
        DataError, LeakageError, ParameterError, PropensityError: as for ``estimate`` and ``ratio``.
    """
    require_log(log, "estimate_ratio")
    if not isinstance(estimator, str | Estimator):
        raise ParameterError(
            f"estimator is {estimator!r}, not one estimator",
            where="estimate_ratio",
            remedy="Name one, such as 'dr', and call again for another.",
        )
    top, bottom = numerator or log.primary, denominator or log.cost_name
    if bottom is None or top == bottom:
        raise OutcomeError(
            f"There is nothing to divide {top!r} by" if bottom is None else f"{top!r} would be divided by itself",
            remedy=f"Name the denominator=, one of {others}."
            if (others := [name for name in log.outcomes if name != top])
            else "The log has no other outcome: read it with cost=, or with more outcomes=.",
        )
    told = dict(q_hat or {})
    if strange := [name for name in told if name not in (top, bottom)]:
        raise OutcomeError(f"q_hat is given for {strange[0]!r}", remedy=f"Used here are {top!r} and {bottom!r}.")
    wanted = chosen(estimator, clip)
    if any(one.tuned for one in wanted.values()):
        raise ParameterError(
            f"{estimator!r} would be tuned on the rounds whose ratio it tells, and no interval knows of that",
            remedy="Fix its parameter, such as DRos(lam=100) or clip=10.",
        )
    plans = [plan_of(log, probabilities, "the candidate")]
    if baseline is not None:
        plans.append(plan_of(log, baseline, "the baseline"))
    case = Case.of(log, plans, [top, bottom], wanted, told, random_state)
    worth = [Ratios.of(terms) for terms in case.terms(case.stored())]  # a policy's two outcomes, then the next one's
    over, under = worth if baseline is None else (worth[0] - worth[2], worth[1] - worth[3])
    return ratio(
        over,
        under,
        method=method,
        alpha=alpha,
        clusters=log.clusters,
        weight=log.weight,
        n_resamples=n_resamples,
        random_state=random_state,
        name=f"{top} per {bottom} of {' − '.join(plan.name for plan in plans)}",
    )


def ratio(
    numerator: Terms | Ratios,
    denominator: Terms | Ratios,
    *,
    method: Method = "fieller",
    alpha: float = 0.05,
    clusters: NDArray[Any] | None = None,
    weight: NDArray[Any] | None = None,
    n_resamples: int = 999,
    random_state: Seed = 0,
    name: str = "",
    unit: str = "",
) -> Ratio:
    """The ratio of two estimates from the same rows, such as value and cost, or of two differences.

    With N and D the estimates and s their covariances,
    "fieller" (Fieller 1954): all ρ with (N − ρD)² ≤ z²(s_NN − 2ρ s_ND + ρ² s_DD), unbounded where D may be 0;
    "delta": N/D ± z·√(s_NN − 2ρ s_ND + ρ² s_DD)/|D|, always bounded, right only where D is far from 0;
    "bootstrap" (Hwang 1995): Fieller's set with z replaced by the 1 − alpha quantile of |N* − ρD*| over its own
    standard error, both redrawn together and ρ = N/D.

    Args:
        numerator, denominator: terms of the two, by any estimators; or differences of terms (``Ratios``).
        method: "fieller", "delta" or "bootstrap".
        alpha: probability the set is meant to miss.
        clusters: (n,) ids that repeat where rows belong together.
        weight: (n,) row weights.
        n_resamples: for "bootstrap" the number of replicates.
        random_state: for "bootstrap" the seed or Generator.
        name, unit: told to the result.

    Raises:
        ParameterError: an unknown method, alpha outside (0, 1), too few replicates.
        DataError: a denominator of exactly 0; terms that do not fit together.
        PropensityError: an estimator divides by weights that are all 0.
    """
    if method not in get_args(Method):
        raise ParameterError(f"method is {method!r}", remedy=f"Pass one of {list(get_args(Method))}.")
    top, bottom = by_unit([Ratios.of(numerator), Ratios.of(denominator)], clusters, weight)
    over, under = top.value(), bottom.value()
    if under == 0:
        raise DataError(
            f"The denominator of {name or 'the ratio'} is 0",
            remedy="A ratio needs something spent: report the numerator alone, or the difference.",
        )
    value = over / under
    covariance = influence_covariance([top.psi(), bottom.psi()])
    quantile = normal_quantile(alpha)
    if method == "bootstrap":
        draws = replicates([top - bottom * value], n_resamples, np.random.default_rng(random_state))[0]
        quantile = draws.symmetric_quantile(alpha)
    slope = np.array([1.0, -value])
    alone = bool(np.isinf(covariance).any())  # a single unit
    stderr = math.inf if alone else math.sqrt(max(float(slope @ covariance @ slope), 0.0)) / abs(under)
    if method == "delta":
        shape, limits = _interval(value - quantile * stderr, value + quantile * stderr)
    else:
        shape, limits = fieller(over, under, covariance, quantile)
    n = Ratios.of(numerator).n
    return Ratio(value, stderr, shape, limits, alpha, over, under, n, method, name, unit)


def _interval(lower: float, upper: float) -> tuple[Shape, tuple[float, float]]:
    return "interval", (lower, upper)


def fieller(over: float, under: float, covariance: NDArray[Any], quantile: float) -> tuple[Shape, tuple[float, float]]:
    """The ρ with a ρ² − 2b ρ + c ≤ 0, where a = D² − z² s_DD, b = N D − z² s_ND, c = N² − z² s_NN."""
    if math.isinf(quantile):
        return "everything", (-math.inf, math.inf)
    square = quantile**2
    a = under**2 - square * float(covariance[1, 1])
    b = over * under - square * float(covariance[0, 1])
    c = over**2 - square * float(covariance[0, 0])
    discriminant = b * b - a * c
    if a > 0:
        root = math.sqrt(max(discriminant, 0.0))
        return _interval((b - root) / a, (b + root) / a)
    if a < 0 and discriminant > 0:
        root = math.sqrt(discriminant)
        return "outside", ((b + root) / a, (b - root) / a)
    if a == 0 and b != 0:
        return _interval(*((c / (2 * b), math.inf) if b > 0 else (-math.inf, c / (2 * b))))
    return "everything", (-math.inf, math.inf)
