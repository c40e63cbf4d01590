"""The arithmetic of judging a policy on decisions that another policy took."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from persuadable.errors import DataError, ParameterError, PropensityError
from persuadable.log.tables import by_action, columns_told, distribution_remedy
from persuadable.value.estimate import Estimate, Floats
from persuadable.value.ope.terms import Terms
from persuadable.value.ranks import share_above
from persuadable.value.scores import checked_mu

if TYPE_CHECKING:
    from persuadable.log import DecisionLog

__all__ = [
    "Judged",
    "Logged",
    "action_scores",
    "check_probabilities",
    "effect_at_threshold",
    "effective_sample_size",
    "judge",
    "look_at",
    "require_tried",
    "share_sampling",
    "wrong_shape",
]

Method = Literal["dr", "ips", "snips"]
METHODS = ("dr", "ips", "snips")


@dataclass(frozen=True, slots=True, eq=False)
class Logged:
    """What judging needs of a log, shared by all policies judged on it.

    Attributes:
        y: (n,) outcome.
        action: (n,) action taken.
        propensity: (n, A) probabilities of the actions.
        mu: (n, A) predicted outcomes that the doubly robust score starts from; None for IPS and SNIPS.
        method: "dr", "ips" or "snips".
        weight: (n,) row weights divided by their mean; None where rows count equally.
        clusters: (n,) codes of units that repeat, or None.
        shares_estimated: whether propensities are the observed shares of the arms (among the equally eligible).
        actions: their labels.
    """

    y: Floats
    action: NDArray[np.intp]
    propensity: Floats
    mu: Floats | None
    method: Method
    weight: Floats | None
    clusters: NDArray[np.intp] | None
    shares_estimated: bool
    actions: tuple[str, ...]

    @property
    def n(self) -> int:
        """How many rows there are."""
        return int(self.y.shape[0])

    def mean(self, values: NDArray[Any]) -> Any:
        """Weighted mean over the rows."""
        return values.mean(axis=0) if self.weight is None else (self.weight @ values) / self.n

    def taken(self, table: NDArray[Any]) -> Floats:
        """(n,) the entries of an (n, A) table at the actions taken."""
        return np.asarray(np.take_along_axis(table, self.action[:, None], axis=1)[:, 0], dtype=np.float64)

    def estimate(
        self, value: float, psi: Floats, alpha: float, name: str, ess: float | None = None, *, tested: bool = True
    ) -> Estimate:
        """An estimate from its influence function, by rows or by clusters; ``tested`` as for ``Estimate``."""
        return Estimate.from_influence(value, psi, alpha, self.clusters, self.weight, name=name, ess=ess, tested=tested)


class Shares(Protocol):
    """A log whose propensities are observed shares."""

    @property
    def propensity(self) -> NDArray[Any]:
        """(n, A) the shares."""
        ...

    @property
    def action(self) -> NDArray[Any]:
        """(n,) actions taken."""
        ...

    @property
    def weight(self) -> NDArray[Any] | None:
        """(n,) row weights."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """A policy's value and its influence function ψ (n,), from which intervals and paired differences follow."""

    value: float
    psi: Floats
    ess: float
    mean_weight: float


def look_at(log: DecisionLog, outcome: str | None, method: str, mu: ArrayLike | None) -> Logged:
    """What judging needs of a log.

    Args:
        log: held-out rows.
        outcome: name; the first when None.
        method: "dr", "ips" or "snips".
        mu: (n, A) or (A,) predicted outcomes for "dr"; cross-fitted on the log when None.

    Raises:
        ParameterError: unknown method, or ``mu`` where it would be ignored.
        DataError: ``mu`` of another shape or not finite.
    """
    if method not in METHODS:
        raise ParameterError(f"method is {method!r}", remedy=f"Pass one of {list(METHODS)}.")
    if method != "dr" and mu is not None:
        raise ParameterError(f"mu= was passed with method={method!r}, which ignores it", remedy="Pass method='dr'.")
    predicted = None
    if method == "dr":
        predicted = _predicted(log, outcome) if mu is None else _given(log, mu)
    weight = None if log.weight is None else np.asarray(log.weight, dtype=np.float64)
    return Logged(
        y=log.outcome(outcome),
        action=np.asarray(log.action, dtype=np.intp),
        propensity=log.propensity(),
        mu=predicted,
        method=method,  # type: ignore[arg-type]
        weight=None if weight is None else weight / weight.mean(),
        clusters=log.clusters,
        shares_estimated=log.propensities is None,
        actions=log.actions.names,
    )


def _predicted(log: DecisionLog, outcome: str | None) -> Floats:
    from persuadable.response import cross_fit_arms

    return np.asarray(cross_fit_arms(log, outcome), dtype=np.float64)


def _given(log: DecisionLog, mu: ArrayLike) -> Floats:
    """Predicted outcomes (n, A), or constants (A,) for every row."""
    shape = (log.n, log.n_actions)
    table = np.asarray(by_action(mu, log.actions.names, "mu"), dtype=np.float64)
    return checked_mu(np.broadcast_to(table, shape) if table.shape == shape[1:] else table, shape)


def check_probabilities(
    probabilities: ArrayLike, shape: tuple[int, int], name: str, *, first: int = 0, actions: Sequence[str] = ()
) -> Floats:
    """A policy's probabilities as (n, A) floats.

    Args:
        probabilities: what the policy gives.
        shape: (n, A) of the log.
        name: what messages call the policy.
        first: place of the first row in the whole log.
        actions: labels, for messages.

    Raises:
        DataError: another shape, values outside [0, 1], or rows that do not sum to 1.
    """
    p = np.asarray(probabilities, dtype=np.float64)
    if p.shape != shape:
        raise wrong_shape(p.shape, shape, name, actions)
    wrong = ~((p >= -1e-9) & (p <= 1 + 1e-9)).all(axis=1) | ~(np.abs(p.sum(axis=1) - 1) <= 1e-6)
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise DataError(
            f"{name} gives {np.round(p[row], 6).tolist()}, which is no probability distribution",
            where=f"row {first + row}",
            remedy=distribution_remedy(p[row]),
        )
    return p


def wrong_shape(given: tuple[int, ...], shape: tuple[int, int], name: str, actions: Sequence[str] = ()) -> DataError:
    """The refusal of probabilities that do not fit the log."""
    return DataError(
        f"{name} gives probabilities of shape {given}, expected {shape}",
        where=columns_told(actions) if actions else None,
        remedy="Give one row per row of the log and one column per action, the control first.",
    )


def effective_sample_size(weights: NDArray[Any]) -> float:
    """(Σw)² / Σw² (Kish 1965): how many equally weighted rows would be as precise."""
    squares = float(weights @ weights)
    return float(weights.sum()) ** 2 / squares if squares > 0 else 0.0


def require_tried(propensity: Floats, p: Floats, name: str, actions: Sequence[str], first: int = 0) -> None:
    """Refuse a policy that does what was never tried.

    Args:
        propensity, p: (n, A) probabilities of the log's actions and of the policy's.
        name: of the policy.
        actions: labels.
        first: place of the first row in the whole log.

    Raises:
        PropensityError: an action has propensity 0 and the policy takes it.
    """
    untried = (propensity <= 0) & (p > 0)
    if untried.any():
        row, action = (int(i[0]) for i in np.nonzero(untried))
        rows = int(np.count_nonzero(untried.any(axis=1)))
        raise PropensityError(
            f"In {rows:,} of {len(p):,} rows {name} takes an action whose logged propensity is 0",
            where=f"first in row {first + row}, {actions[action]!r}",
            remedy="Nothing can be said of what was never tried: judge on the rows with a choice, log.overlapping(), "
            "or a policy that differs from the logged one only there.",
        )


def judge(logged: Logged, probabilities: Floats, name: str = "The policy") -> Judged:
    """Value of a policy with its influence function, by the estimators of ``value.ope``.

    Where the propensities are the arms' observed shares, their sampling is taken out; see :func:`share_sampling`.

    Raises:
        PropensityError: the policy takes an action where it was never tried.
    """
    require_tried(logged.propensity, probabilities, name, logged.actions)
    w = logged.taken(probabilities) / logged.taken(logged.propensity)
    mean_weight = float(logged.mean(w))
    normalised = logged.method == "snips"
    if normalised and mean_weight <= 0:
        raise PropensityError(
            f"No row of the log took an action that {name} takes", remedy="Use method='dr', or a larger log."
        )
    residual = logged.y if logged.mu is None else logged.y - logged.taken(logged.mu)
    direct = None if logged.mu is None else np.einsum("na,na->n", probabilities, logged.mu)
    terms = Terms(w * residual, direct, w if normalised else None)
    psi = terms.influence(logged.weight)
    if logged.shares_estimated:
        psi = psi - share_sampling(logged, terms.ratio_parts(logged.weight))
    ess = effective_sample_size(w if logged.weight is None else w * logged.weight)
    return Judged(terms.value(logged.weight), psi, ess, mean_weight)


def share_sampling(logged: Shares, weighted_residual: Floats) -> Floats:
    """(n,) Σ_a (1{A=a}/p_a − 1)·m_a with m_a = mean(1{A=a} w r): what estimating the shares p_a moves.

    Subtracted from ψ it makes the intervals of a completely randomised experiment narrower (Hirano, Imbens and Ridder
    2003). Shares are those among the equally eligible, so p_a and m_a are means over the rows with the same shares.

    Args:
        logged: propensities (n, A) that are shares, actions and row weights; a ``Logged``, or ``ope.Rounds``.
        weighted_residual: (n,) weight times residual.
    """
    shares, group = _share_groups(logged.propensity)
    count, n_actions = shares.shape
    mass = weighted_residual if logged.weight is None else weighted_residual * logged.weight
    size = np.bincount(group, weights=logged.weight, minlength=count)
    cells = np.bincount(group * n_actions + logged.action, weights=mass, minlength=count * n_actions)
    m = cells.reshape(count, n_actions) / size[:, None]
    ratio = np.divide(m, shares, out=np.zeros_like(m), where=shares > 0)
    # Without row weights this is m_A/p_A − Σ_a m_a.
    return np.asarray(ratio[group, logged.action] - m.sum(axis=1)[group])


def _share_groups(shares: Floats) -> tuple[Floats, NDArray[np.intp]]:
    """The distinct rows (g, A) of a table of shares, and each row's place among them (n,)."""
    if shares.strides[0] == 0:
        return shares[:1], np.zeros(shares.shape[0], dtype=np.intp)
    distinct, group = np.unique(shares, axis=0, return_inverse=True)
    return distinct, group.reshape(-1)


def action_scores(logged: Logged, judged: Judged | None = None) -> Floats:
    """(n, A) scores whose conditional means are μ_a(x): μ̂_a + 1{A=a}(Y − μ̂_a)/e_a, with μ̂ = 0 for IPS.

    Where e_a = 0 the score is μ̂_a alone.
    A policy's value is mean(Σ_a π_a · score_a). SNIPS, being a ratio, has scores around the policy ``judged``, with
    (Y − V)/mean(w) in the place of Y.
    """
    residual = logged.y if logged.mu is None else logged.y - logged.taken(logged.mu)
    if logged.method == "snips" and judged is not None:
        residual = (residual - judged.value) / judged.mean_weight
    scores = np.zeros(logged.propensity.shape) if logged.mu is None else logged.mu.copy()
    scores[np.arange(logged.n), logged.action] += residual / logged.taken(logged.propensity)
    return scores


def effect_at_threshold(
    score: Floats, gain: Floats, threshold: float, share: float, weight: Floats | None = None
) -> float:
    """E[gain | score = threshold], the marginal user's effect.

    The mean over the units at the threshold, or where these are fewer than a share h of all, over those whose rank is
    within h of the threshold's, h = ½·n^(−1/5): it multiplies a term of order n^(−½), so a rough estimate will do.

    Args:
        score: (n,) what units are ranked by.
        gain: (n,) score of each unit's effect.
        threshold: where the budget ends.
        share: the share above it.
        weight: (n,) row weights.
    """
    w = np.ones(score.shape[0]) if weight is None else weight
    h = 0.5 * score.shape[0] ** -0.2
    tied = score == threshold
    if w[tied].sum() >= h * w.sum():
        return float(np.average(gain[tied], weights=w[tied]))
    rank = share_above(score, weight)
    near = np.abs(rank - share) <= h
    return float(np.average(gain[near], weights=w[near])) if near.any() else 0.0
