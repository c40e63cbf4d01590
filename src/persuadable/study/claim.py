"""A published claim about return on ad spend, restated as what a study's held-out rows support."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np

from persuadable.errors import ParameterError
from persuadable.policies import BudgetPolicy
from persuadable.report.words import interval, number, percent
from persuadable.study.result import Study
from persuadable.study.words import thin
from persuadable.value import Estimate, Ratio, Returns, compare, returns
from persuadable.value.estimate import normal_quantile
from persuadable.value.ope.ratio import fieller
from persuadable.value.policy_value import random_like

__all__ = ["PUBLISHED", "ClaimCheck", "RoasClaim", "check_claim", "factor_of"]

ALL = "treat all"


@dataclass(frozen=True, slots=True)
class RoasClaim:
    """That targeting raises ROAS from ``before`` to ``after`` while a share ``cut`` of the spend is saved.

    Attributes:
        before: ROAS of treating everybody, above 0.
        after: ROAS of the targeted campaign.
        cut: share of the spend that is saved, within (0, 1).
    """

    before: float
    after: float
    cut: float

    def __post_init__(self) -> None:
        if not (0 < self.before < math.inf and 0 < self.after < math.inf and 0 < self.cut < 1):
            raise ParameterError(
                f"No claim: ROAS {self.before!r} to {self.after!r} with {self.cut!r} less spend",
                remedy="Pass two ratios above 0 and a share within (0, 1).",
            )

    @property
    def factor(self) -> float:
        """How many times as high ROAS is said to become; values and costs cancel in it."""
        return self.after / self.before

    @property
    def held(self) -> float:
        """Share of treat-all's conversions that the people still treated must then hold: factor · (1 − cut)."""
        return self.factor * (1.0 - self.cut)


#: ROAS 2.44 → 9.60 with 75% less spend, as published for Criteo's uplift data.
PUBLISHED: Final = RoasClaim(2.44, 9.60, 0.75)


@dataclass(frozen=True, slots=True)
class ClaimCheck:
    """A claim against the held-out rows of a study.

    Attributes:
        claim: what is said.
        outcome: what counts as a conversion here.
        counts: held-out rows with the outcome, (treated, left alone).
        n: held-out rows; ``rows`` of the whole log.
        rows: rows of the log.
        qini, autoc: of the ranking.
        value: outcome per head if the share still treated is chosen by the ranking.
        gain: that less as many drawn by lot.
        returns: of the ranking's best (1 − cut), treating all, lots, and the propensity ranking.
        factor: incremental ROAS of the former over that of treating all, with Fieller's set.
        thin: why all of this is little to go by; None where it is not.
    """

    claim: RoasClaim
    outcome: str
    counts: tuple[int, int]
    n: int
    rows: int
    qini: Estimate
    autoc: Estimate
    value: Estimate
    gain: Estimate
    returns: Returns
    factor: Ratio
    thin: str | None

    @property
    def finding(self) -> Literal["contradicted", "not ruled out", "surpassed"]:
        """What the data say of the claim, read as one about incremental ROAS."""
        if self.factor.holds(self.claim.factor):
            return "not ruled out"
        return "surpassed" if self._bounded and self.factor.limits[0] > self.claim.factor else "contradicted"

    @property
    def better(self) -> bool:
        """Whether targeting is shown to raise incremental ROAS at all."""
        return self._bounded and self.factor.limits[0] > 1.0

    def sentences(self) -> tuple[str, ...]:
        """The claim restated, one finding a sentence."""
        kept, money = 1.0 - self.claim.cut, self.returns.economics
        own, everybody = self.returns.rows[0], self.returns[ALL]
        held = [f * kept for f in (self.factor.value, *self.factor.interval)]
        share = percent(held[0], 0) + (f" ({percent(held[1], 0)} to {percent(held[2], 0)})" if self._bounded else "")
        said = [
            f"For {self.outcome}: the {percent(kept, 0)} ranked highest hold {share} of what treating everybody "
            f"brings, so cutting {percent(self.claim.cut, 0)} of the spend multiplies incremental ROAS by "
            f"{_told(self.factor)}. The claim needs {number(self.claim.factor, 3)}, which is {self.finding}"
            + ("; a factor of 1, no gain at all, is not ruled out." if self.factor.holds(1.0) else "."),
            f"With {money.value_per_conversion:g} for one {self.outcome} and {money.cost_per_contact:g} for a contact, "
            f"incremental ROAS is {_told(everybody.incremental_roas)} for everybody and "
            f"{_told(own.incremental_roas)} for the {percent(kept, 0)}; attributed ROAS, which counts what would have "
            f"come anyway, {_told(everybody.attributed_roas)} and {_told(own.attributed_roas)}.",
            self._cut_words(),
            self._ranking_words(),
        ]
        return tuple(said) if self.thin is None else (self.thin, *said)

    @property
    def _bounded(self) -> bool:
        return self.factor.shape == "interval"

    def _cut_words(self) -> str:
        gain, money = self.returns.over(ALL), self.returns.economics
        level, even = gain.marginal_roas, money.break_even_roas
        low, high = gain.profit.interval
        changes = money.amounts(gain.profit.value, low, high)
        verdict = (
            "cutting it saved money"
            if low > 0
            else "cutting it lost money"
            if high < 0
            else "whether cutting it paid cannot be told"
        )
        return (
            f"The spend that was cut had an incremental ROAS of {_told(level)} against a break-even of {even:.3g}, "
            f"and profit changes by {changes}: {verdict}."
        )

    def _ranking_words(self) -> str:
        """How the ranking stands beside contacting the likeliest to convert, for the same spend."""
        gain, money = self.returns.over("propensity ranking"), self.returns.economics
        low, high = gain.profit.interval
        verdict = (
            "that ranking does better" if high < 0 else "the effects do better" if low > 0 else "no difference is shown"
        )
        return (
            "Against contacting those likeliest to convert, for the same spend, profit changes by "
            f"{money.amounts(gain.profit.value, low, high)}: {verdict}."
        )

    def as_dict(self) -> dict[str, Any]:
        """The check as JSON values."""
        own, everybody = self.returns.rows[0], self.returns[ALL]
        gain = self.returns.over(ALL)
        return {
            "outcome": self.outcome,
            "rows": self.rows,
            "held_out_rows": self.n,
            "held_out_conversions": {"treated": self.counts[0], "left alone": self.counts[1]},
            "claim": {"before": self.claim.before, "after": self.claim.after, "cut": self.claim.cut},
            "claimed_factor": self.claim.factor,
            "factor": _plain(self.factor),
            "finding": self.finding,
            "qini": _plain(self.qini),
            "autoc": _plain(self.autoc),
            "policy_value": _plain(self.value),
            "gain_over_random": _plain(self.gain),
            "economics": self.returns.economics.as_dict(),
            "incremental_roas": {"treat all": _plain(everybody.incremental_roas), "kept": _plain(own.incremental_roas)},
            "attributed_roas": {"treat all": _plain(everybody.attributed_roas), "kept": _plain(own.attributed_roas)},
            "marginal_roas_of_the_cut": _plain(gain.marginal_roas),
            "profit_over_treat_all": _plain(gain.profit),
            "profit_over_propensity_ranking": _plain(self.returns.over("propensity ranking").profit),
            "thin": self.thin,
        }


def check_claim(study: Study, claim: RoasClaim = PUBLISHED) -> ClaimCheck:
    """Hold a claim about ROAS against a study of two arms with economics.

    The share of spend that is left is given to those with the largest predicted effects, whatever the break-even. With
    A their incremental conversions and B everybody's, the factor is (A/B)/(1 − cut): value and cost cancel. Its set is
    Fieller's, with the covariance from Var(A − B) = Var A + Var B − 2 Cov(A, B).

    Raises:
        ParameterError: no economics, or several treatments.
    """
    money = study.plan.economics(study.log.primary)
    if money is None or study.log.n_actions != 2:
        raise ParameterError(
            "A claim about ROAS is checked on a study of two arms with economics",
            remedy="Give the plan value_per_conversion= and cost_per_contact=.",
        )
    kept = 1.0 - claim.cut
    test, judged = study.test, {"mu": study.mu, "alpha": study.plan.alpha}
    # A break-even that every predicted effect exceeds: the share alone decides.
    lowest = float(np.min(study.learner.effect(test.features)[:, 1]))
    policy = BudgetPolicy(study.learner, kept, break_even=lowest - 1.0).calibrate(test)
    told = returns(test, policy, money, response=study.response, **judged)  # type: ignore[arg-type]
    against = compare(test, policy, random_like(test, policy), **judged)  # type: ignore[arg-type]
    (report,) = study.treatments
    converted = test.outcome() > 0
    return ClaimCheck(
        claim=claim,
        outcome=study.log.primary,
        counts=(int((converted & (test.action == 1)).sum()), int((converted & (test.action == 0)).sum())),
        n=test.n,
        rows=study.log.n,
        qini=report.ranking.qini.coefficient,
        autoc=report.ranking.autoc,
        value=against.policy.estimate,
        gain=against.difference,
        returns=told,
        factor=factor_of(told, study.plan.alpha),
        thin=thin(study),
    )


def factor_of(told: Returns, alpha: float) -> Ratio:
    """Incremental ROAS of the policy over that of treating all."""
    own, everybody = told.rows[0], told[ALL]
    a, b = own.incremental_conversions, everybody.incremental_conversions
    apart = told.over(ALL).incremental_conversions.stderr ** 2
    shared = (a.stderr**2 + b.stderr**2 - apart) / 2
    covariance = np.array([[a.stderr**2, shared], [shared, b.stderr**2]])
    dearer = everybody.spend.value / own.spend.value
    shape, (low, high) = fieller(a.value, b.value, covariance, normal_quantile(alpha))
    held = a.value / b.value
    gradient = np.array([1.0, -held]) / b.value
    return Ratio(
        value=dearer * held,
        stderr=dearer * float(np.sqrt(gradient @ covariance @ gradient)),
        shape=shape,
        limits=(dearer * low, dearer * high),
        alpha=alpha,
        numerator=a.value,
        denominator=b.value,
        n=told.n,
        method="fieller",
        name="factor of incremental ROAS",
    )


def _told(found: Ratio | None) -> str:
    if found is None:
        return "none, as nothing is spent"
    ends = interval(*found.interval) if found.shape == "interval" else "no bounds"
    return f"{number(found.value, 3)} ({ends})"


def _plain(found: Estimate | Ratio | None) -> dict[str, float | None] | None:
    if found is None:
        return None
    low, high = (end if math.isfinite(end) else None for end in found.interval)
    return {"value": found.value, "low": low, "high": high}
