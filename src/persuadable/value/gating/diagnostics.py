"""What a log can say about a policy: weights, support, overlap, and whether the propensities are to be believed."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from persuadable.log.checks import require_log
from persuadable.value.estimate import Estimate, Floats
from persuadable.value.gating.agreement import Agreement, Placebo, Placebos, agreement, placebo_tests
from persuadable.value.gating.evidence import Evidence, Unsupported, gather
from persuadable.value.gating.propensities import (
    Conditional,
    FrequencyBin,
    conditional_test,
    frame_of,
    frequencies,
)
from persuadable.value.off_policy import Judged
from persuadable.value.policy_value import Judgeable, Plan

if TYPE_CHECKING:
    import polars as pl

    from persuadable.log import DecisionLog

__all__ = ["Diagnostics", "MassByPropensity", "Weights", "diagnose", "diagnose_evidence"]

ROUNDING = 1e-6  # a policy that is the logged one has weights of 1, up to the rounding of float32 propensities
MASS_EDGES = (0.0, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)


@dataclass(frozen=True, slots=True)
class Weights:
    """The weights w = π/e of one policy.

    Attributes:
        policy: its name.
        ess: effective sample size (Σw)²/Σw².
        mean: mean of w less what it should be (1, or the share of the policy that was ever tried), with its interval.
        p_value: two-sided, of a mean as it should be.
        largest: largest weight.
        largest_share: share of Σw in one row.
        unsupported: share of the policy's decisions that goes to actions never tried.
    """

    policy: str
    ess: float
    mean: Estimate
    p_value: float
    largest: float
    largest_share: float
    unsupported: float


@dataclass(frozen=True, slots=True, eq=False)
class MassByPropensity:
    """How likely what a policy would do was when the log was made.

    Attributes:
        edges: (k + 1,) bounds of logged propensity; the first bin is a propensity of 0, never tried, and each other
            one holds its upper bound.
        candidate: (k + 1,) share of the candidate's decisions in never-tried and in each bin.
        baseline: the same of the baseline.
        logged: the same of the policy that made the log.
    """

    edges: Floats
    candidate: Floats
    baseline: Floats
    logged: Floats

    @property
    def labels(self) -> tuple[str, ...]:
        """The bins in words: "never tried", "up to 0.1%", "0.1% to 0.2%", …"""
        told = [f"{100 * edge:g}%" for edge in self.edges]
        return (
            "never tried",
            f"up to {told[1]}",
            *(f"{a} to {b}" for a, b in pairwise(told[1:])),
        )

    def frame(self) -> pl.DataFrame:
        """One row per bin of logged propensity."""
        import polars as pl

        told = {name: getattr(self, name) for name in ("candidate", "baseline", "logged")}
        return pl.DataFrame({"propensity": list(self.labels), **told})


@dataclass(frozen=True, slots=True, eq=False)
class Diagnostics:
    """What a log can say about a candidate and a baseline.

    Attributes:
        n: rows of the log.
        candidate: the candidate's weights.
        baseline: the baseline's.
        unsupported: the part of the difference that rests on actions never tried.
        largest_variance_share: share of the difference's variance that comes from one unit.
        frequencies: observed frequency against logged propensity, by action and bin; empty where that cannot be
            tested.
        conditional: whether features foretell actions beyond the propensities; None where that cannot be tested.
        agreement: the difference by every estimator.
        placebo: differences in what no action can have changed.
        mass: where the policies' decisions lie in logged propensity, for a plot; None where that is not known.
    """

    n: int
    candidate: Weights
    baseline: Weights
    unsupported: Unsupported
    largest_variance_share: float
    frequencies: tuple[FrequencyBin, ...]
    conditional: Conditional | None
    agreement: Agreement
    placebo: tuple[Placebo, ...]
    mass: MassByPropensity | None

    @property
    def worst_bin(self) -> FrequencyBin | None:
        """The bin whose frequency is least what was foretold; its p-value is that of all of them."""
        return min(self.frequencies, key=lambda one: (one.p_value, -abs(one.z)), default=None)

    def frame(self) -> pl.DataFrame:
        """The frequencies, one row per action and bin."""
        return frame_of(self.frequencies)

    def __str__(self) -> str:
        frequency, conditional = (
            "not tested" if one is None else f"p = {one.p_value:.2g}" for one in (self.worst_bin, self.conditional)
        )
        lines = [
            f"{w.policy}: effective sample size {w.ess:,.0f} of {self.n:,}, mean weight {1 + w.mean.value:.3f} "
            f"(p = {w.p_value:.2g}), largest {w.largest:.3g}, {w.unsupported:.1%} never tried"
            for w in (self.candidate, self.baseline)
        ]
        lines.append(
            f"propensities against frequencies {frequency}, given features {conditional}; "
            f"estimators agree p = {self.agreement.p_value:.2g}"
        )
        return "\n".join(lines)


def diagnose(
    log: DecisionLog,
    candidate: Judgeable,
    baseline: Judgeable,
    *,
    outcome: str | None = None,
    q_hat: ArrayLike | None = None,
    placebo: Placebos = (),
    bins: int = 10,
    support_floor: float = 0.0,
    random_state: int = 0,
) -> Diagnostics:
    """What a log can say about two policies, without a verdict.

    Args:
        log: held-out rows.
        candidate, baseline: policies, or their probabilities (n, A).
        outcome: which outcome; the first when None.
        q_hat: (n, A) or (A,) predicted outcomes; cross-fitted on the log when None.
        placebo: outcomes that no action can have changed: a name or names in the log, or name → (n,) numbers.
        bins: bins of logged propensity.
        support_floor: an action with a propensity at or below this counts as never tried.
        random_state: orders the rows for the test of the propensities given the features.

    Raises:
        LeakageError: rows of the log fitted a policy.
        DataError: probabilities, ``q_hat`` or placebos that do not fit the log.
    """
    require_log(log, "diagnose")
    evidence = gather(log, candidate, baseline, outcome=outcome, q_hat=q_hat, support_floor=support_floor)
    return diagnose_evidence(evidence, placebo=placebo, bins=bins, random_state=random_state)


def diagnose_evidence(
    evidence: Evidence, *, placebo: Placebos = (), bins: int = 10, alpha: float = 0.05, random_state: int = 0
) -> Diagnostics:
    """The diagnostics of evidence gathered already."""
    found = agreement(evidence, alpha)
    return Diagnostics(
        n=evidence.log.n,
        candidate=_weights(evidence, evidence.candidate, evidence.unsupported.candidate, alpha),
        baseline=_weights(evidence, evidence.baseline, evidence.unsupported.baseline, alpha),
        unsupported=evidence.unsupported,
        largest_variance_share=_largest_share(evidence),
        frequencies=() if evidence.table is None or evidence.shares_estimated else frequencies(evidence.log, bins),
        conditional=None if evidence.table is None else conditional_test(evidence.log, random_state),
        agreement=found,
        placebo=placebo_tests(evidence, placebo, alpha) if len(placebo) else (),
        mass=_mass(evidence),
    )


def _weights(evidence: Evidence, plan: Plan, unsupported: float, alpha: float) -> Weights:
    """A policy's weights, and the test of their mean.

    The variance is the larger of the observed one and E[Σ_a π_a²/e_a − 1]/n, which holds where the propensities do: a
    log in which no rare action happened to be drawn would else look surer than it is.
    """
    p = evidence.probabilities(plan)
    told = evidence.at_taken(p) / evidence.taken
    w = told if evidence.weight is None else told * evidence.weight
    wanted = p.sum(axis=1)
    ones = evidence.judge(plan, "ips", np.ones(evidence.n))
    usual = evidence.mean(wanted)
    off = Judged(ones.value - usual, ones.psi - (wanted - usual), ones.ess, ones.mean_weight)
    seen = evidence.estimate(off, alpha, "mean weight − 1")
    mean = Estimate.normal(
        off.value, max(seen.stderr, _known_stderr(evidence, p), ROUNDING), alpha=alpha, n=evidence.n, name=seen.name
    )
    total = float(w.sum())
    return Weights(
        policy=plan.name,
        ess=ones.ess,
        mean=mean,
        p_value=mean.p_value,
        largest=float(told.max()),
        largest_share=float(w.max()) / total if total > 0 else 1.0,
        unsupported=unsupported,
    )


def _known_stderr(evidence: Evidence, p: Floats) -> float:
    """√(Σ_i Var(w_i | x_i))/n, as the propensities imply it; 0 where they imply nothing."""
    e = evidence.table
    if e is None or evidence.shares_estimated:
        return 0.0
    squares = np.divide(p**2, e, out=np.zeros_like(p), where=p > 0).sum(axis=1)
    variance = np.maximum(squares - p.sum(axis=1) ** 2, 0.0)
    return float(np.sqrt((variance if evidence.weight is None else variance * evidence.weight**2).sum())) / evidence.n


def _largest_share(evidence: Evidence) -> float:
    """max ψ²/Σψ² of the difference, by units where they repeat: a normal interval needs it to be small."""
    psi = evidence.difference().psi
    if evidence.weight is not None:
        psi = psi * evidence.weight
    if evidence.clusters is not None:
        psi = np.asarray(np.bincount(evidence.clusters, weights=psi), dtype=np.float64)
    squares = psi**2
    total = float(squares.sum())
    return float(squares.max()) / total if total > 0 else 0.0


def _mass(evidence: Evidence) -> MassByPropensity | None:
    e = evidence.table
    if e is None:
        return None
    edges = np.array(MASS_EDGES)
    # Bin 0 is a propensity of exactly 0; the rest are (edge, next edge], where a float32 edge is the edge.
    place = np.searchsorted(edges * (1 + ROUNDING), e, side="left").clip(max=edges.size - 1)

    def share(table: Floats) -> Floats:
        weighted = table if evidence.weight is None else table * evidence.weight[:, None]
        return np.bincount(place.ravel(), weights=weighted.ravel(), minlength=edges.size) / evidence.n

    return MassByPropensity(
        edges, share(evidence.candidate.probabilities), share(evidence.baseline.probabilities), share(np.asarray(e))
    )
