"""What a policy would have brought, by any of the estimators, from one pass over the log of another policy."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from persuadable.errors import OutcomeError, ParameterError, UnknownName
from persuadable.log.checks import require_log
from persuadable.value.estimate import Estimate, Floats, influence_covariance, normal_quantile
from persuadable.value.off_policy import effective_sample_size
from persuadable.value.ope.case import Case, plan_of
from persuadable.value.ope.estimators import Clip, Estimator, chosen
from persuadable.value.ope.moments import Answers, require_finite
from persuadable.value.ope.terms import Terms
from persuadable.value.policy_value import Judgeable

if TYPE_CHECKING:
    import polars as pl

    from persuadable.log import DecisionLog
    from persuadable.value.ope.intervals import Bounds

__all__ = ["Estimates", "estimate", "estimate_difference", "estimate_outcomes", "terms"]

Interval = Literal["normal", "bootstrap", "bernstein", "anytime"]
Named = Sequence[str | Estimator] | str | Estimator
INTERVALS = ("normal", "bootstrap", "bernstein", "anytime")
USUAL = ("ips", "snips", "dr")
BEHIND = "untuned "
RESAMPLES, BEYOND = 999, 10  # bootstrap replicates: as many, or so many that ten of them lie outside the interval


@dataclass(frozen=True, slots=True, eq=False)
class Estimates(Mapping[str, Estimate]):
    """What several estimators say of the same thing, by name.

    Attributes:
        estimates: name → estimate, in outcome units per head. Standard error and interval of one whose parameter was
            chosen from these rounds are those of the untuned estimator, so its value need not lie in the middle.
        covariance: (E, E) covariance of their errors, in the order of the names, parameters taken as given.
        estimators: name → the estimator, with the parameter it was used with (for a difference: the candidate's).
        policy: the policy, or "candidate − baseline".
        outcome: the outcome.
        mean_weight: mean of π/π_b, 1 up to noise where the propensities are right; None where no weights were used, and
            for a difference.
        shares: whether the arms' shares in the log stood in for propensities, which it does not have.
    """

    estimates: Mapping[str, Estimate]
    covariance: Floats
    estimators: Mapping[str, Estimator]
    policy: str
    outcome: str
    mean_weight: float | None = None
    shares: bool = False

    def __getitem__(self, name: str) -> Estimate:
        if name not in self.estimates:
            raise UnknownName(f"There is no estimate {name!r}", remedy=f"Estimated were {list(self.estimates)}.")
        return self.estimates[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.estimates)

    def __len__(self) -> int:
        return len(self.estimates)

    def frame(self) -> pl.DataFrame:
        """A row per estimator: its name, what was used, value, stderr, lower, upper, ess."""
        import polars as pl

        rows = [
            {
                "estimator": name,
                "used": str(self.estimators[name]),
                "value": found.value,
                "stderr": found.stderr,
                "lower": found.interval[0],
                "upper": found.interval[1],
                "ess": found.ess,
            }
            for name, found in self.estimates.items()
        ]
        return pl.DataFrame(rows, schema_overrides={"ess": pl.Float64})

    def __str__(self) -> str:
        first = next(iter(self.estimates.values()))
        used = {name: str(one) for name, one in self.estimators.items()}
        width = max(map(len, used.values()))
        mean = "" if self.mean_weight is None else f", mean weight {self.mean_weight:.4g}"
        drawn = ", propensities: the arms' shares" if self.shares else ""
        level = f"{100 * (1 - first.alpha):g}% interval"
        lines = [
            f"{self.outcome} per head of {self.policy}, from {first.n:,} rounds{mean}{drawn}",
            f"{'':{width}}  {'value':>10} {'stderr':>9}  {level:26} {'ess':>11}",
        ]
        for name, found in self.estimates.items():
            between = f"{found.interval[0]:.4g} to {found.interval[1]:.4g}"
            ess = "" if found.ess is None else f"{found.ess:,.0f}"
            lines.append(f"{used[name]:{width}}  {found.value:10.4g} {found.stderr:9.2g}  {between:26} {ess:>11}")
        if self._weights_are_off():
            lines.append("The mean weight is far from 1: these are not the probabilities the actions were drawn with.")
        return "\n".join(lines)

    def _weights_are_off(self) -> bool:
        """Whether the mean weight differs from 1 by more than 5% and by more than four of its standard errors.

        With n/ess = 1 + s²/w̄², the standard error of w̄ is w̄·√(1/ess − 1/n).
        """
        sizes = [one.ess for label, one in self.estimates.items() if self.estimators[label].weighting.shape == "ratio"]
        if self.mean_weight is None or not sizes or not (ess := sizes[0]):
            return False
        n = next(iter(self.estimates.values())).n
        noise = self.mean_weight * math.sqrt(max(1 / ess - 1 / n, 0.0))
        return abs(self.mean_weight - 1) > max(0.05, 4 * noise)


class ByOutcome(dict[str, Estimates]):
    """Outcome → estimates, printed one table after the other."""

    def __missing__(self, name: str) -> Estimates:
        raise UnknownName(f"There is no outcome {name!r}", remedy=f"Estimated were {list(self)}.")

    def __str__(self) -> str:
        return "\n\n".join(map(str, self.values()))


def estimate(
    log: DecisionLog,
    probabilities: Judgeable,
    *,
    outcome: str | None = None,
    estimators: Named = USUAL,
    q_hat: ArrayLike | None = None,
    clip: Clip = None,
    interval: Interval = "normal",
    alpha: float = 0.05,
    bounds: Bounds | None = None,
    random_state: int = 0,
) -> Estimates:
    """Mean outcome per head if a policy had decided, by each of several estimators.

    Every one has the form V = mean(direct) + mean(ρ(w)·residual)/mean(weight) with w = π/π_b; one pass over the rounds
    in blocks serves them all. Units with several rows are clusters; row weights count; shares that stand in for
    propensities have their sampling taken out, and a budget's threshold drawn from this log has its own put in.

    Args:
        log: held-out rounds.
        probabilities: (n, A) what the candidate would do in each round, or a policy.
        outcome: which outcome; the first when None.
        estimators: names (see ``value.ope.ESTIMATORS``), or objects with parameters, such as ``DRos(lam=100)``.
        q_hat: (n, A) predicted outcomes from models that did not see these outcomes, or (A,) constants; cross-fitted on
            the log where an estimator needs them and None is given.
        clip: the largest weight, for those named that can clip; "slope" chooses it from the data.
        interval: "normal" (asymptotic), "bootstrap" (studentised), "bernstein" (finite samples, needs ``bounds``) or
            "anytime" (holds at every size of the log at once).
        alpha: probability the interval is meant to miss.
        bounds: for "bernstein", how large outcomes and weights can be.
        random_state: seed of what is drawn or fitted.

    Raises:
        LeakageError: rows of the log fitted the policy.
        DataError: probabilities or predictions that do not fit the log.
        PropensityError: the policy takes an action that was never tried, or none that was.
        ParameterError: an unknown estimator or interval, an argument that would be ignored, or "bernstein" without
            bounds, or for weights estimated on the same rounds.
    """
    wanted = _Wanted(interval, alpha, bounds, random_state)
    name = _one_outcome(log, outcome, "estimate")
    plans = [plan_of(log, probabilities, "the candidate")]
    case = Case.of(log, plans, [name], with_untuned(estimators, clip), {name: q_hat}, random_state)
    return _estimated(case, wanted)[name]


def estimate_outcomes(
    log: DecisionLog,
    probabilities: Judgeable,
    *,
    outcomes: str | Sequence[str] | None = None,
    estimators: Named = USUAL,
    q_hat: Mapping[str, ArrayLike] | None = None,
    clip: Clip = None,
    interval: Interval = "normal",
    alpha: float = 0.05,
    bounds: Bounds | None = None,
    random_state: int = 0,
) -> dict[str, Estimates]:
    """The same for several outcomes, with weights computed once: outcome → estimates.

    Args:
        log, probabilities, estimators, clip, interval, alpha, bounds, random_state: as for :func:`estimate`.
        outcomes: which; all of the log's, the cost among them, when None.
        q_hat: outcome → (n, A) or (A,) predictions; cross-fitted for the others.

    Raises:
        OutcomeError: no such outcome, or none.
        LeakageError, DataError, PropensityError, ParameterError: as for :func:`estimate`.
    """
    wanted = _Wanted(interval, alpha, bounds, random_state)
    require_log(log, "estimate_outcomes")
    asked = [outcomes] if isinstance(outcomes, str) else outcomes
    names = list(log.outcomes) if asked is None else list(dict.fromkeys(asked))
    if not names:
        raise OutcomeError("No outcome was named", remedy=f"The log has {list(log.outcomes)}.")
    told = dict(q_hat or {})
    if strange := [name for name in told if name not in names]:
        raise OutcomeError(f"q_hat is given for {strange[0]!r}, which is not estimated", remedy=f"Asked: {names}.")
    plans = [plan_of(log, probabilities, "the candidate")]
    return _estimated(Case.of(log, plans, names, with_untuned(estimators, clip), told, random_state), wanted)


def estimate_difference(
    log: DecisionLog,
    candidate: Judgeable,
    baseline: Judgeable,
    *,
    outcome: str | None = None,
    estimators: Named = USUAL,
    q_hat: ArrayLike | None = None,
    clip: Clip = None,
    interval: Interval = "normal",
    alpha: float = 0.05,
    bounds: Bounds | None = None,
    random_state: int = 0,
) -> Estimates:
    """What a candidate brings over a baseline, per head, as paired estimates: what both share cancels.

    Args:
        log: held-out rounds.
        candidate, baseline: (n, A) probabilities, or policies.
        outcome, estimators, q_hat, clip, interval, alpha, bounds, random_state: as for :func:`estimate`.

    Raises:
        LeakageError, DataError, PropensityError, ParameterError: as for :func:`estimate`.
    """
    wanted = _Wanted(interval, alpha, bounds, random_state)
    name = _one_outcome(log, outcome, "estimate_difference")
    plans = [plan_of(log, candidate, "the candidate"), plan_of(log, baseline, "the baseline")]
    case = Case.of(log, plans, [name], with_untuned(estimators, clip), {name: q_hat}, random_state)
    return _difference(case, wanted)


def terms(
    log: DecisionLog,
    probabilities: Judgeable,
    *,
    outcome: str | None = None,
    estimators: Named = USUAL,
    q_hat: ArrayLike | None = None,
    clip: Clip = None,
    random_state: int = 0,
) -> dict[str, Terms]:
    """What each round contributes to each estimate, for tests and intervals of one's own; arguments as ``estimate``."""
    name = _one_outcome(log, outcome, "terms")
    plans = [plan_of(log, probabilities, "the candidate")]
    case = Case.of(log, plans, [name], chosen(estimators, clip), {name: q_hat}, random_state)
    return dict(zip(case.used[0][0], case.terms(case.stored()), strict=True))


def _one_outcome(log: DecisionLog, outcome: str | None, where: str) -> str:
    """The outcome's name, the first of the log's when None."""
    require_log(log, where)
    if outcome is not None and not isinstance(outcome, str):
        raise ParameterError(
            f"outcome is {outcome!r}, not one name",
            where=where,
            remedy="Pass one name; estimate_outcomes(…, outcomes=[…]) answers for several.",
        )
    return outcome or log.primary


@dataclass(frozen=True, slots=True)
class _Wanted:
    """Which interval, checked before any work is done."""

    kind: Interval
    alpha: float
    bounds: Bounds | None
    seed: int

    def __post_init__(self) -> None:
        if self.kind not in INTERVALS:
            raise ParameterError(f"interval is {self.kind!r}", remedy=f"Pass one of {list(INTERVALS)}.")
        if self.bounds is not None and self.kind != "bernstein":
            raise ParameterError(
                f"bounds= was passed with interval={self.kind!r}, which ignores it", remedy="Pass interval='bernstein'."
            )
        if self.bounds is None and self.kind == "bernstein":
            raise ParameterError(
                "interval='bernstein' needs bounds=",
                remedy="Pass bounds=Bounds(outcome=(lowest, highest), weight=largest): what could be, not what was "
                "seen.",
            )
        normal_quantile(self.alpha)


def _answered(case: Case, wanted: _Wanted) -> tuple[Answers, list[Terms]]:
    """Values, covariance and sizes; and the terms, where the interval is made of more than these."""
    if wanted.kind == "normal" and case.independent:
        return case.answers(), []
    if wanted.kind == "bernstein":
        case.require_fixed_weights()
    weight, clusters = case.rounds.weight, case.log.clusters
    with np.errstate(over="ignore", invalid="ignore"):  # what overflows is refused at the end
        columns = case.stored()
        found = case.terms(columns)
        psis = [one.influence(weight) for one in found]
        covariance = influence_covariance(psis, clusters=clusters, weight=weight)
    if clusters is None or clusters.any():  # else all is one unit, whose error is infinite
        require_finite(covariance)
    relative = 1.0 if weight is None else weight
    rhos = [case.layout.places(question).rho for question in case.layout.questions]
    mean = {
        candidate: float(np.average(columns[place], weights=weight))
        for candidate, place in case.layout.raw_weights.items()
    }
    told = Answers(
        np.array([one.value(weight) for one in found]),
        covariance,
        np.array([effective_sample_size(columns[-1 if k is None else k] * relative) for k in rhos]),
        mean,
    )
    return told, found


def _estimated(case: Case, wanted: _Wanted) -> ByOutcome:
    """The estimates of a case's only candidate, by outcome."""
    told, found = _answered(case, wanted)
    results, first = ByOutcome(), 0
    for outcome, used in zip(case.outcomes, case.used[0], strict=True):
        at = slice(first, first + len(used))
        first = at.stop
        part = told.take(at)
        if wanted.kind == "normal":
            made = normal_estimates(part, used, case.log.n, wanted.alpha)
        else:
            ess = dict(zip(used, part.sizes(), strict=True))
            made = _intervals(case, wanted, dict(zip(used, found[at], strict=True)), ess)
        mean = part.mean_weight.get(0)
        name = case.plans[0].name
        results[outcome] = trusted(
            Estimates(made, part.covariance, used, name, outcome, mean, shares=case.shares_estimated)
        )
    return results


def _difference(case: Case, wanted: _Wanted) -> Estimates:
    """Candidate less baseline; the questions of the one come before those of the other."""
    told, found = _answered(case, wanted)
    used = case.used[0][0]
    part = told.differences()
    if wanted.kind == "normal":
        made = normal_estimates(part, used, case.log.n, wanted.alpha)
    else:
        from persuadable.value.ope.intervals import Ratios

        both = [Ratios.of(one, wanted.bounds) for one in found]
        apart = {label: both[i] - both[len(used) + i] for i, label in enumerate(used)}
        made = _intervals(case, wanted, apart, None)
    ours, theirs = case.plans
    name = f"{ours.name} − {theirs.name}"
    return trusted(Estimates(made, part.covariance, used, name, case.outcomes[0], shares=case.shares_estimated))


def with_untuned(estimators: Named, clip: Clip) -> dict[str, Estimator]:
    """The estimators by label, and behind each that is to be tuned the untuned one; see :func:`trusted`."""
    told = chosen(estimators, clip)
    return told | {BEHIND + label: one.untuned for label, one in told.items() if one.tuned}


def trusted(found: Estimates) -> Estimates:
    """Tuned estimates with the standard error and the interval of the untuned ones behind them, which are left out.

    Choosing how much to shrink trades bias for variance by looking at the outcomes, and no interval around what was
    chosen can be shorter than the untuned one and hold the truth as often wherever that lies (Low 1997).
    """
    kept = [i for i, label in enumerate(found) if not label.startswith(BEHIND)]
    if len(kept) == len(found):
        return found
    made = {}
    for label in (list(found)[i] for i in kept):
        behind = found.get(BEHIND + label)
        told = found[label]
        made[label] = told if behind is None else replace(told, stderr=behind.stderr, interval=behind.interval)
    used = {label: found.estimators[label] for label in made}
    return replace(found, estimates=made, covariance=found.covariance[np.ix_(kept, kept)], estimators=used)


def normal_estimates(told: Answers, labels: Iterable[str], n: int, alpha: float) -> dict[str, Estimate]:
    """Answers by label, with normal intervals; the size of differences is not told, and only they are tested."""
    errors = np.sqrt(np.maximum(np.diagonal(told.covariance), 0.0))
    sizes: list[float | None] = [None] * len(errors) if told.ess is None else told.ess.tolist()
    return {
        label: Estimate.normal(value, error, alpha=alpha, n=n, ess=ess, name=label, tested=told.ess is None)
        for label, value, error, ess in zip(labels, told.values.tolist(), errors.tolist(), sizes, strict=True)
    }


def _intervals(
    case: Case, wanted: _Wanted, found: Mapping[str, Any], ess: Mapping[str, float] | None
) -> dict[str, Estimate]:
    from persuadable.value.ope.intervals import intervals_of

    return intervals_of(
        found,
        wanted.kind,
        alpha=wanted.alpha,
        clusters=case.log.clusters,
        weight=case.rounds.weight,
        bounds=wanted.bounds,
        n_resamples=max(RESAMPLES, math.ceil(BEYOND / wanted.alpha) - 1),
        random_state=wanted.seed,
        ess=ess,
    )
