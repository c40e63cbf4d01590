"""Numbers that must agree where the propensities are right: estimators of one difference, and outcomes before it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from persuadable.errors import DataError, ParameterError
from persuadable.value.estimate import Estimate
from persuadable.value.gating.evidence import Evidence, Method, less
from persuadable.value.gating.propensities import holm
from persuadable.value.off_policy import Judged

__all__ = ["Agreement", "Placebo", "agreement", "placebo_tests"]

Placebos = str | Sequence[str] | Mapping[str, ArrayLike]


@dataclass(frozen=True, slots=True)
class Agreement:
    """The difference by every estimator, and how far the estimators are apart.

    Attributes:
        estimates: name → the difference by "dm", "ips", "snips" and "dr".
        contrasts: name → each other estimator less "dr", with the interval of the paired difference.
        p_value: of the weighting estimators' contrasts, the smallest adjusted (Holm 1979); 1 where there is none.
        model_p_value: of "dm" less "dr".
    """

    estimates: Mapping[str, Estimate]
    contrasts: Mapping[str, Estimate]
    p_value: float
    model_p_value: float


@dataclass(frozen=True, slots=True)
class Placebo:
    """A difference in what the actions cannot have changed.

    Attributes:
        name: the outcome.
        difference: candidate less baseline.
        p_value: two-sided, adjusted for the number of placebo outcomes (Holm 1979).
    """

    name: str
    difference: Estimate
    p_value: float


def agreement(evidence: Evidence, alpha: float = 0.05) -> Agreement:
    """Do estimators that fail for different reasons say the same?

    IPS, SNIPS and DR are consistent where propensities are right, whatever the outcome model; DM where the outcome
    model is, whatever the propensities. All are judged on the same rows, so the variance of a contrast is that of
    ψ − ψ_DR row by row. DR less IPS is the weighted mean of what the outcome model predicts, less the mean of what it
    predicts for everybody: the balance of exactly what matters for the outcome.

    SNIPS is left out where a policy does what was never tried (it would spread what is missing over the rest), and
    where no row took what a policy does (it would divide by 0).
    """
    seen = all(evidence.at_taken(plan.probabilities).any() for plan in (evidence.candidate, evidence.baseline))
    tried = evidence.unsupported.candidate == evidence.unsupported.baseline == 0
    methods: tuple[Method, ...] = ("dm", "ips", "snips", "dr") if seen and tried else ("dm", "ips", "dr")
    found = {name: evidence.difference(name) for name in methods}

    def told(judged: Judged, name: str) -> Estimate:
        return replace(evidence.estimate(judged, alpha, name), ess=None)

    doubly = found["dr"]
    contrasts: dict[str, Estimate] = {
        name: told(less(judged, doubly), f"{name} − dr") for name, judged in found.items() if name != "dr"
    }
    weighting = np.array([_p_value(one, doubly) for name, one in contrasts.items() if name != "dm"])
    return Agreement(
        estimates={name: told(judged, name) for name, judged in found.items()},
        contrasts=contrasts,
        p_value=float(holm(weighting).min()),
        model_p_value=_p_value(contrasts["dm"], doubly),
    )


def _p_value(contrast: Estimate, doubly: Judged) -> float:
    """Of a contrast; 1 where two estimators are the same up to rounding, whose error is no noise to measure it by."""
    rounding = 1e-9 * float(np.abs(doubly.psi).mean())
    return 1.0 if max(abs(contrast.value), contrast.stderr) <= rounding else contrast.p_value


def placebo_tests(evidence: Evidence, placebo: Placebos, alpha: float = 0.05) -> tuple[Placebo, ...]:
    """The difference in outcomes that no action can have changed, which is 0 where the propensities are right.

    Each is mean((w − w⁰)(Z − mean Z)) with the weights of candidate and baseline.

    Args:
        evidence: the two policies on their log.
        placebo: a name or names of outcomes of the log, or name → (n,) numbers, such as what users bought before.
        alpha: probability the intervals are meant to miss.

    Raises:
        DataError: numbers of another length or not finite.
        OutcomeError: no such outcome.
        ParameterError: the placebo is the outcome itself.
    """
    placebo = [placebo] if isinstance(placebo, str) else placebo
    values = dict(placebo) if isinstance(placebo, Mapping) else {name: evidence.log.outcome(name) for name in placebo}
    found = []
    for name, given in values.items():
        if name == evidence.outcome:
            raise ParameterError(
                f"{name!r} is both the outcome and a placebo", remedy="Name an outcome that no action can have changed."
            )
        z = np.asarray(given, dtype=np.float64)
        if z.shape != (evidence.log.n,) or not np.isfinite(z).all():
            raise DataError(
                f"The placebo {name!r} has shape {z.shape}, or holds what is no number",
                remedy=f"Pass {evidence.log.n:,} finite numbers, one per row of the log.",
            )
        judged = evidence.difference("ips", z - evidence.mean(z))
        found.append((name, replace(evidence.estimate(judged, alpha, f"placebo {name}"), ess=None)))
    adjusted = holm(np.array([estimate.p_value for _, estimate in found]))
    return tuple(Placebo(name, estimate, float(p)) for (name, estimate), p in zip(found, adjusted, strict=True))
