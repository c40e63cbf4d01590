"""From the outcome a policy was learned on, known soon, to the one it is accounted in, known late."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from persuadable.errors import DataError, OutcomeError, ParameterError
from persuadable.log.checks import require_log
from persuadable.log.maturity import matured
from persuadable.log.tables import by_action
from persuadable.value.estimate import Estimate, Floats, influence_stderr
from persuadable.value.off_policy import Logged, action_scores, look_at, require_tried
from persuadable.value.ope.ratio import Ratio, ratio
from persuadable.value.ope.terms import Terms
from persuadable.value.policy_value import Judgeable, Plan
from persuadable.value.predictions import predicted_effects
from persuadable.value.surrogate import index_gain
from persuadable.value.thin import Signal, ThinLabelWarning, rate_within_arms, signal

if TYPE_CHECKING:
    import polars as pl

    from persuadable.log import DecisionLog

__all__ = ["Bridge", "Reconciliation", "reconcile"]

WEAK = 10.0**0.5  # |z| of the predicted effects' hold on the proxy below which their ratio is not near normal


@dataclass(frozen=True, slots=True)
class Bridge:
    """The line from effects on the proxy to effects on the long outcome, τ_long = α_a + β·τ_proxy.

    Attributes:
        slope: β with Fieller's set, which is unbounded where the predicted effects may say nothing of the proxy.
        intercepts: α_a of each treatment: its long effect on somebody whose proxy it does not change.
        actions: the treatments.
        strength: how many standard errors the predicted effects' covariance with the proxy's scores is from 0.
    """

    slope: Ratio
    intercepts: tuple[Estimate, ...]
    actions: tuple[str, ...]
    strength: float

    @property
    def weak(self) -> bool:
        """Whether the predicted effects find too little on the proxy for the bridge's intervals to be believed."""
        return abs(self.strength) < WEAK


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """A policy learned on a proxy, accounted in the long outcome. Gains are per head, over doing nothing.

    Attributes:
        policy: its name.
        proxy: the outcome known soon.
        long: the outcome it is accounted in.
        n: decisions.
        n_mature: those whose long outcome is known.
        proxy_gain: gain in the proxy, from all decisions.
        value: mean long outcome under the policy, from the mature ones.
        direct: gain in the long outcome, from the mature ones alone.
        bridged: gain in the long outcome through the bridge, from the proxies of all.
        disagreement: bridged less direct; far from 0 where the line does not hold.
        bridge: the line.
        indexed: gain in the long outcome through a surrogate index, None where no surrogates were named.
        index_disagreement: indexed less direct; far from 0 where actions reach the long outcome past the surrogates.
        drift: gain in the proxy among the mature decisions less that among the young; None where all are mature.
        signals: for each treatment, whether the long outcome could rank at all.
    """

    policy: str
    proxy: str
    long: str
    n: int
    n_mature: int
    proxy_gain: Estimate
    value: Estimate
    direct: Estimate
    bridged: Estimate
    disagreement: Estimate
    bridge: Bridge
    indexed: Estimate | None
    index_disagreement: Estimate | None
    drift: Estimate | None
    signals: tuple[Signal, ...]

    @property
    def thin(self) -> bool:
        """Whether for some treatment the long outcome says too little to rank by."""
        return any(signal.thin for signal in self.signals)

    def frame(self) -> pl.DataFrame:
        """One row per number: what, value, stderr, lower, upper, p_value, n."""
        import polars as pl

        return pl.DataFrame(
            [
                {
                    "what": e.name,
                    "value": e.value,
                    "stderr": e.stderr,
                    "lower": e.interval[0],
                    "upper": e.interval[1],
                    "p_value": e.p_value if e.tested else None,
                    "n": e.n,
                }
                for e in self._numbers()
            ],
            infer_schema_length=None,
        )

    def _numbers(self) -> list[Estimate]:
        told = (
            self.proxy_gain, self.value, self.direct, self.bridged, self.disagreement,
            self.indexed, self.index_disagreement, self.drift,
        )  # fmt: skip
        return [estimate for estimate in told if estimate is not None]

    def __str__(self) -> str:
        numbers = self._numbers()
        width = max(len(e.name) for e in numbers)
        lines = [f"{self.policy}: learned on {self.proxy}, accounted in {self.long}, per head"]
        lines.append(f"{self.n_mature:,} of {self.n:,} decisions are mature")
        for e in numbers:
            p = f"  p = {e.p_value:.2g}" if e.tested else ""
            lines.append(f"  {e.name:{width}} {e.value:+10.4g}   {e.interval[0]:+.4g} to {e.interval[1]:+.4g}{p}")
        weak = "; it is weak, the gain through it is not to be relied on" if self.bridge.weak else ""
        lines.append(f"  {self.bridge.slope}{weak}")
        lines += [f"  {signal}" for signal in self.signals]
        return "\n".join(lines)


@dataclass(frozen=True, slots=True, eq=False)
class _Rows:
    """The n decisions, and which m of them are mature.

    Attributes:
        logged: what judging the proxy needs, of all.
        mature: (m,) places of the mature.
        share: their part of the weight.
        alpha: of the intervals.
    """

    logged: Logged
    mature: NDArray[np.intp]
    share: float
    alpha: float

    @classmethod
    def of(cls, logged: Logged, mature: NDArray[np.intp], alpha: float) -> _Rows:
        """The rows of a log looked at."""
        weight = np.ones(logged.n) if logged.weight is None else logged.weight
        return cls(logged, mature, float(weight[mature].sum() / weight.sum()), alpha)

    @property
    def weight(self) -> Floats:
        """(n,) row weights of mean 1."""
        return np.ones(self.logged.n) if self.logged.weight is None else self.logged.weight

    def mean(self, values: NDArray[Any]) -> Any:
        """Weighted mean of (m, …) values of the mature."""
        weight = self.weight[self.mature]
        return weight @ values / weight.sum()

    def spread(self, psi: Floats) -> Floats:
        """(n,) influence on a number about the mature, from theirs (m,)."""
        whole = np.zeros(self.logged.n)
        whole[self.mature] = psi / self.share
        return whole

    def estimate(
        self, value: float, psi: Floats, name: str, *, of_mature: bool = False, tested: bool = True
    ) -> Estimate:
        """An estimate from its influence (n,), which rests on all rows or on the mature ones."""
        found = self.logged.estimate(value, psi, self.alpha, name, tested=tested)
        return replace(found, n=int(self.mature.size)) if of_mature else found


def reconcile(
    log: DecisionLog,
    policy: Judgeable,
    *,
    proxy: str,
    long: str,
    effect: Any = None,
    horizon: Any = None,
    as_of: Any = None,
    surrogates: Sequence[str] = (),
    mu: Mapping[str, ArrayLike] | None = None,
    alpha: float = 0.05,
    power: float = 0.8,
    random_state: int = 0,
) -> Reconciliation:
    """What a policy learned on a proxy brings in the outcome it is accounted in.

    The gain over doing nothing is told in up to three ways, each with its interval:

    * **direct**: doubly robust scores of the long outcome, on the mature decisions alone. It assumes nothing more.
    * **bridged**: E[long effect of a | x] = α_a + β·E[proxy effect of a | x] is fitted on the mature decisions, and the
      policy's gain in the proxy, from all decisions, is carried over it: Σ_a share_a·α_a + β·gain. Scores of an effect
      are noise for the most part, and the noise of the two outcomes goes together, so a regression of one score on the
      other would find how they vary from person to person. The predicted effects f are therefore the instrument,
      β = Cov(f, Γ_long)/Cov(f, Γ_proxy) within treatments, and α_a = mean Γ_long − β·mean Γ_proxy: the average long
      effects are kept, and only what choosing among people brings is translated.
    * **indexed**, where ``surrogates`` are named: the surrogate index h = E[long | x, surrogates] of the mature
      decisions stands in for the long outcome of all (Athey, Chetty, Imbens and Kang 2019), with a correction; see
      ``surrogate.index_gain``. It takes for granted that actions change the long outcome through the surrogates alone.

    Bridged and indexed also take for granted that young decisions are like mature ones; ``drift`` looks at that.
    The policy is taken as it stands. Rows count by weight, and units with several rows are clusters.

    Args:
        log: held-out decisions with both outcomes. The long outcome of those too young is not looked at.
        policy: a policy, or its probabilities (n, A) on the log's rows.
        proxy: the outcome the policy was learned on.
        long: the outcome it is accounted in.
        effect: (n, A) predicted effects on the proxy over doing nothing, or a fitted learner of them; the policy's own
            learner when None.
        horizon: how long the long outcome takes; with ``as_of``, when it was read: see ``log.matured``. Without the two
            every decision counts as mature.
        as_of: see ``horizon``.
        surrogates: outcomes known soon that the index is made of, the proxy among them if it shall be.
        mu: outcome → (n, A) or (A,) predictions of it under each action; cross-fitted where not given.
        alpha: probability the intervals are meant to miss.
        power: with which a signal should be found, for ``signals``.
        random_state: of what is cross-fitted for the index.

    Raises:
        LeakageError: rows of the log fitted the policy or the effects.
        ActionError: a learner of other actions.
        PropensityError: doing nothing, or an action the policy takes, was never tried in some row.
        OutcomeError: an outcome the log does not have, or the same one twice.
        ParameterError: no effects, ``horizon`` without ``as_of``, or ``mu`` for another outcome.
        DataError: no decision is mature, the predicted effects are all equal, or tables that do not fit the log.

    Warns:
        ThinLabelWarning: the mature decisions are too few for the long outcome to rank by, or for the bridge to hold.
    """
    require_log(log, "reconcile")
    given = _named(log, proxy, long, surrogates, mu)
    old = _mature(log, horizon, as_of)
    plan, predicted = Plan.of(log, policy), _effects(log, policy, effect, proxy)[:, 1:]
    soon = look_at(log, proxy, "dr", given.get(proxy))
    _require_tried(soon, plan)
    late = look_at(log.take(old), long, "dr", _at(given.get(long), old, log))
    rows = _Rows.of(soon, old, alpha)
    pi, scores = plan.probabilities, action_scores(late)
    gains = _over_nothing(action_scores(soon)), _over_nothing(scores)
    in_proxy = np.einsum("nk,nk->n", pi[:, 1:], gains[0])
    proxy_gain = float(rows.logged.mean(in_proxy))
    level, direct = np.einsum("na,na->n", pi[old], scores), np.einsum("nk,nk->n", pi[old, 1:], gains[1])
    value, gain = float(rows.mean(level)), float(rows.mean(direct))
    psi_gain = rows.spread(direct - gain)
    usable = _usable(late, log, old)
    bridge, carried, psi_carried = _carry(rows, late, usable, predicted[old], gains, pi[:, 1:], in_proxy, (proxy, long))
    index = None
    if surrogates:
        by_index, correction = index_gain(log, long, surrogates, pi, old, random_state)
        parts = float(rows.logged.mean(by_index)), float(rows.mean(correction))
        index = sum(parts), by_index - parts[0] + rows.spread(correction - parts[1])
    name = f"gain in {long}"
    result = Reconciliation(
        policy=plan.name,
        proxy=proxy,
        long=long,
        n=log.n,
        n_mature=int(old.size),
        proxy_gain=rows.estimate(proxy_gain, in_proxy - proxy_gain, f"gain in {proxy}"),
        value=rows.estimate(
            value, rows.spread(level - value), f"{long} under the policy", of_mature=True, tested=False
        ),
        direct=rows.estimate(gain, psi_gain, f"{name}, direct", of_mature=True),
        bridged=rows.estimate(carried, psi_carried, f"{name}, bridged"),
        disagreement=rows.estimate(carried - gain, psi_carried - psi_gain, "bridged − direct"),
        bridge=bridge,
        indexed=None if index is None else rows.estimate(*index, f"{name}, indexed"),
        index_disagreement=None
        if index is None
        else rows.estimate(index[0] - gain, index[1] - psi_gain, "indexed − direct"),
        drift=_drift(rows, in_proxy, proxy),
        signals=_signals(
            late, usable, predicted[old], (gains[0][old], gains[1]), log.outcome(proxy)[old], alpha, power
        ),
    )
    _warn(result)
    return result


# -- the bridge --------------------------------------------------------------------------------------------------------


def _carry(
    rows: _Rows,
    late: Logged,
    usable: NDArray[np.bool_],
    predicted: Floats,
    gains: tuple[Floats, Floats],
    pi: Floats,
    in_proxy: Floats,
    names: tuple[str, str],
) -> tuple[Bridge, float, Floats]:
    """The line, the gain carried over it, and that gain's influence (n,).

    With c = f − mean f within a treatment's usable pairs, N = Σ_a c(Γ_long − mean), D = Σ_a c(Γ_proxy − mean) of a row:
    β = mean N/mean D, ψ_β = (N − βD)/mean D, and ψ_α = ((Γ_long − mean) − β(Γ_proxy − mean))/mass − ψ_β·mean Γ_proxy.

    Args:
        rows, late: the decisions, and the mature ones with their long outcome.
        usable: (m, K) whether treatment and doing nothing both had a chance.
        predicted: (m, K) predicted effects on the proxy.
        gains: (n, K) scores of the effects on the proxy, (m, K) on the long outcome.
        pi: (n, K) the policy's probabilities of the treatments.
        in_proxy: (n,) what each decision says of the policy's gain in the proxy.
        names: of the two outcomes.
    """
    mass = rows.mean(usable)
    c, of_proxy, of_long = (
        _centred(rows, usable, mass, table) for table in (predicted, gains[0][rows.mature], gains[1])
    )
    _require_spread(c[0], predicted)
    top, bottom = (np.einsum("mk,mk->m", c[0], side[0]) for side in (of_long, of_proxy))
    slope = ratio(
        Terms(top, None, None),
        Terms(bottom, None, None),
        alpha=rows.alpha,
        clusters=late.clusters,
        weight=late.weight,
        name=f"{names[1]} per {names[0]} among effects",
    )
    beta, hold = slope.value, float(rows.mean(bottom))
    psi_beta = (top - beta * bottom) / hold
    alphas = of_long[1] - beta * of_proxy[1]
    part = np.divide(1.0, mass, out=np.zeros_like(mass), where=mass > 0)
    psi_alphas = (of_long[0] - beta * of_proxy[0]) * part - psi_beta[:, None] * of_proxy[1]
    gain, shares = float(rows.logged.mean(in_proxy)), np.asarray(rows.logged.mean(pi))
    carried = float(shares @ alphas) + beta * gain
    psi = (pi - shares) @ alphas + beta * (in_proxy - gain) + rows.spread(psi_alphas @ shares + psi_beta * gain)
    treatments = rows.logged.actions[1:]
    intercepts = tuple(
        rows.estimate(float(alphas[k]), rows.spread(psi_alphas[:, k]), f"intercept of {label}")
        for k, label in enumerate(treatments)
    )
    error = influence_stderr(bottom - hold, clusters=late.clusters, weight=late.weight)
    return Bridge(slope, intercepts, treatments, hold / error if error > 0 else np.inf), carried, psi


def _centred(rows: _Rows, usable: NDArray[np.bool_], mass: Floats, table: Floats) -> tuple[Floats, Floats]:
    """(m, K) a table less its means over the usable pairs, 0 elsewhere, and those means (K,)."""
    means = np.divide(rows.mean(usable * table), mass, out=np.zeros_like(mass), where=mass > 0)
    return usable * (table - means), means


def _require_spread(centred: Floats, predicted: Floats) -> None:
    if np.abs(centred).max(initial=0.0) <= 1e-12 * np.abs(predicted).max(initial=0.0):
        raise DataError(
            "All predicted effects are equal, so nothing can be carried from one outcome to the other",
            where="reconcile",
            remedy="Pass effect= of a learner that tells people apart, or judge by value.policy_value.",
        )


def _usable(late: Logged, log: DecisionLog, old: NDArray[np.intp]) -> NDArray[np.bool_]:
    """(m, K) whether a treatment and doing nothing both had a chance."""
    tried = (late.propensity[:, 1:] > 0) & (late.propensity[:, :1] > 0)
    return tried if log.eligible is None else tried & log.eligible[old, 1:]


def _over_nothing(scores: Floats) -> Floats:
    return scores[:, 1:] - scores[:, :1]


def _drift(rows: _Rows, in_proxy: Floats, proxy: str) -> Estimate | None:
    """The gain in the proxy among the mature less that among the young."""
    if rows.mature.size == rows.logged.n:
        return None
    young = np.ones(rows.logged.n, dtype=np.bool_)
    young[rows.mature] = False
    means = [float(np.average(in_proxy[part], weights=rows.weight[part])) for part in (~young, young)]
    psi = np.where(young, -(in_proxy - means[1]) / (1 - rows.share), (in_proxy - means[0]) / rows.share)
    return rows.estimate(means[0] - means[1], psi, f"gain in {proxy}, mature − young")


def _signals(
    late: Logged,
    usable: NDArray[np.bool_],
    predicted: Floats,
    gains: tuple[Floats, Floats],
    proxy: Floats,
    alpha: float,
    power: float,
) -> tuple[Signal, ...]:
    """What the predicted effects of each treatment find, among the mature decisions."""
    if not 0.5 <= power < 1:
        raise ParameterError(f"power is {power!r}", where="reconcile", remedy="Pass a number from 0.5 to below 1.")
    rate = rate_within_arms(late.y, proxy, late.action, len(late.actions), late.weight)
    found = []
    for k, label in enumerate(late.actions[1:]):
        some = usable[:, k]
        if some.any():
            weight = None if late.weight is None else late.weight[some]
            clusters = None if late.clusters is None else late.clusters[some]
            both = gains[0][some, k], gains[1][some, k]
            found.append(signal(label, predicted[some, k], both, rate, weight, clusters, alpha, power))
    return tuple(found)


def _warn(result: Reconciliation) -> None:
    thin = [signal.action for signal in result.signals if signal.thin]
    if thin:
        worst = next(signal for signal in result.signals if signal.thin)
        warnings.warn(
            f"{result.n_mature:,} mature decisions are too few to rank by {result.long!r} for {thin}: a Qini from "
            f"{worst.detectable:.3g} on would be found, {worst.expected:.3g} is expected for {worst.action!r}. "
            f"Rank by {result.proxy!r}, and use {result.long!r} for averages.",
            ThinLabelWarning,
            stacklevel=3,
        )
    if result.bridge.weak:
        warnings.warn(
            f"The predicted effects find too little on {result.proxy!r} (z = {result.bridge.strength:.1f}, "
            f"{WEAK:.1f} are needed) to carry it over to {result.long!r}. Go by the direct gain.",
            ThinLabelWarning,
            stacklevel=3,
        )


# -- what is asked -----------------------------------------------------------------------------------------------------


def _named(
    log: DecisionLog, proxy: str, long: str, surrogates: Sequence[str], mu: Mapping[str, ArrayLike] | None
) -> dict[str, ArrayLike]:
    """The predictions given; refuses outcomes that are not there, or in the wrong part."""
    if isinstance(surrogates, str):
        raise ParameterError(f"surrogates is {surrogates!r}", where="reconcile", remedy=f"Pass [{surrogates!r}].")
    for name in (proxy, long, *surrogates):
        log.outcome(name)
    if proxy == long or long in surrogates:
        raise OutcomeError(
            f"{long!r} would be reconciled with itself",
            where="reconcile",
            remedy="Name two outcomes; for one alone there is value.policy_value.",
        )
    given = dict(mu or {})
    if strange := [name for name in given if name not in (proxy, long)]:
        raise ParameterError(
            f"mu is given for {strange[0]!r}", where="reconcile", remedy=f"Used here are {proxy!r} and {long!r}."
        )
    return given


def _mature(log: DecisionLog, horizon: Any, as_of: Any) -> NDArray[np.intp]:
    if horizon is None and as_of is None:
        return np.arange(log.n)
    if horizon is None or as_of is None:
        raise ParameterError(
            "horizon= and as_of= were not both passed",
            where="reconcile",
            remedy="Say how long the long outcome takes and when it was read; or neither, where all is in.",
        )
    return matured(log, horizon, as_of).rows


def _effects(log: DecisionLog, policy: Any, effect: Any, proxy: str) -> Floats:
    """(n, A) predicted effects on the proxy, from models that saw no row of the log."""
    told = effect
    if told is None:
        told = getattr(policy, "learner", None) or getattr(policy, "value_learner", None)
        if told is None:
            raise ParameterError(
                f"A {type(policy).__name__} has no learner that tells effects on {proxy!r}",
                where="reconcile",
                remedy="Pass effect=learner.effect(log.features), or a fitted learner.",
            )
    return predicted_effects(log, told, "effect", proxy)


def _at(mu: ArrayLike | None, old: NDArray[np.intp], log: DecisionLog) -> ArrayLike | None:
    """Predictions for the mature rows; one per action serves them all, and other shapes are refused later."""
    if mu is None:
        return None
    table = np.asarray(by_action(mu, log.actions.names, "mu"))
    return table[old] if table.ndim == 2 and len(table) == log.n else table


def _require_tried(logged: Logged, plan: Plan) -> None:
    """Both sides of the gain, the policy and doing nothing, must have been tried everywhere."""
    nothing = np.zeros_like(plan.probabilities)
    nothing[:, 0] = 1.0
    for name, p in ((plan.name, plan.probabilities), ("doing nothing", nothing)):
        require_tried(logged.propensity, p, name, logged.actions)
