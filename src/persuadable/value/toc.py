"""The targeting operator characteristic (TOC) and the rank-weighted average treatment effects (RATE) under it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from numpy.typing import NDArray

from persuadable.errors import ParameterError
from persuadable.value import functionals
from persuadable.value.curves import Curve, draw_curve
from persuadable.value.estimate import Estimate
from persuadable.value.ranked import PER_HEAD, Interval, Ranked, Scores, Seed, percentiles, ranked, resample
from persuadable.value.scores import Method

if TYPE_CHECKING:
    import polars as pl

    from persuadable.log import DecisionLog

__all__ = ["TOC", "rate", "toc"]

Target = Literal["autoc", "qini"]


@dataclass(frozen=True, slots=True, eq=False)
class TOC:
    """The TOC curve of a ranking and the areas under it.

    Attributes:
        curve: E[Γ | U ≤ φ] − E[Γ], with band, in outcome units per head targeted.
        autoc: ∫ TOC dφ; sharp where few gain much.
        qini: ∫ φ·TOC dφ, the Qini coefficient; sharp where many gain a little.
    """

    curve: Curve
    autoc: Estimate
    qini: Estimate

    def frame(self) -> pl.DataFrame:
        """The curve: columns share, value, stderr, lower, upper, random."""
        return self.curve.frame()

    def __str__(self) -> str:
        return f"{self.autoc}\n{self.qini}"


def toc(
    log: DecisionLog,
    scores: Scores,
    *,
    outcome: str | None = None,
    action: str | int | None = None,
    method: Method = "ipw",
    mu: NDArray[Any] | None = None,
    alpha: float = 0.05,
) -> TOC:
    """The TOC curve TOC(φ) = E[Γ | U ≤ φ] − E[Γ] and its areas (Yadlowsky, Fleming, Shah, Brunskill, Wager 2025).

    How much more the treatment does for the share φ ranked highest than for everybody. Arguments and errors as in
    ``qini``.
    """
    data = ranked(log, scores, outcome=outcome, action=action, method=method, mu=mu)
    curve = draw_curve("toc", data.gamma, data.ranks, alpha=alpha, clusters=data.clusters, name=data.arms.name)
    return TOC(curve, _rate(data, "autoc", alpha), _rate(data, "qini", alpha))


def rate(
    log: DecisionLog,
    scores: Scores,
    target: Target = "autoc",
    *,
    outcome: str | None = None,
    action: str | int | None = None,
    method: Method = "ipw",
    mu: NDArray[Any] | None = None,
    alpha: float = 0.05,
    interval: Interval = "influence",
    n_resamples: int = 200,
    random_state: Seed = 0,
) -> Estimate:
    """A rank-weighted average treatment effect; its p-value tests whether the ranking finds any difference in effects.

    AUTOC = ∫₀¹ TOC(φ) dφ, QINI = ∫₀¹ φ·TOC(φ) dφ (Yadlowsky et al. 2025). Both are 0 for a ranking unrelated to the
    effect. AUTOC is the mean of TOC over the ranks, a row of rank i having weight Σ_{k ≥ i} 1/k − 1, averaged over
    tied rows, as in R's grf; with unequal row weights it is the exact integral of the TOC curve. Other arguments and
    errors as in ``qini``.

    Args:
        log: held-out rows.
        scores: (n,) numbers to rank by.
        target: "autoc" (more power where few respond) or "qini" (where many do).
        outcome, action, method, mu, alpha, interval, n_resamples, random_state: as in ``qini``.
    """
    data = ranked(log, scores, outcome=outcome, action=action, method=method, mu=mu)
    estimate = _rate(data, target, alpha)
    if interval == "influence":
        return estimate
    measure = functionals.autoc_value if target == "autoc" else functionals.qini_value
    draws = resample(
        lambda gamma, ranks: (measure(gamma, ranks),),
        data,
        interval=interval,
        n_resamples=n_resamples,
        random_state=random_state,
    )
    return percentiles(estimate, draws[:, 0])


def _rate(data: Ranked, target: str, alpha: float) -> Estimate:
    if target == "autoc":
        return data.estimate(*functionals.autoc_influence(data.gamma, data.ranks), alpha, "AUTOC", PER_HEAD)
    if target == "qini":
        return data.estimate(*functionals.qini_influence(data.gamma, data.ranks), alpha, "QINI RATE", PER_HEAD)
    raise ParameterError(f"target is {target!r}", remedy='Pass "autoc" or "qini".')
