"""The gate's checks: what each code asks of a log, and what it found."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

from persuadable.value.estimate import Estimate
from persuadable.value.gating.diagnostics import Diagnostics
from persuadable.value.gating.evidence import Evidence, by_arm_means
from persuadable.value.gating.rules import GateRules
from persuadable.value.gating.sensitivity import Sensitivity
from persuadable.value.guardrails import Guardrail, sentence, slack, slack_influence
from persuadable.value.off_policy import Judged

__all__ = ["CODES", "TESTS", "Check", "Code", "Status", "guardrail_checks", "log_checks", "result_checks"]

Status = Literal["pass", "warn", "fail", "not-applicable"]


@dataclass(frozen=True, slots=True)
class Code:
    """A rule of the gate; a code never changes its meaning.

    Attributes:
        title: what is checked.
        asks: the question it answers.
        remedy: what to do where it fails.
        blocks: "log" where a failure makes any verdict on this log unsafe, so that it is EXPERIMENT; "result" where it
            is the verdict; "nothing" where it can only warn.
    """

    title: str
    asks: str
    remedy: str
    blocks: Literal["log", "result", "nothing"]


CODES: Final[Mapping[str, Code]] = MappingProxyType(
    {
        "OPE-101": Code(
            "Held-out rows",
            "Were these rows kept from the models behind the policies?",
            "Judge on rows that fitted neither policy.",
            "nothing",
        ),
        "OPE-201": Code(
            "Support",
            "Was everything tried in which the two policies differ?",
            "Log decisions that give every action of the candidate some probability, or change the candidate where "
            "nothing was tried.",
            "log",
        ),
        "OPE-202": Code(
            "Effective sample size",
            "Do enough rows speak for each policy?",
            "Use a longer log, or one in which what the policies do was likelier.",
            "log",
        ),
        "OPE-203": Code(
            "Largest weight",
            "Does one row speak for too many?",
            "Use a longer log, or a floor under the propensities of the next one.",
            "log",
        ),
        "OPE-204": Code(
            "One unit's influence",
            "Does one unit make up too much of the difference's variance?",
            "Use a longer log; look at that unit, and at whether such a value or weight is what you decide on.",
            "log",
        ),
        "OPE-301": Code(
            "Propensities against frequencies",
            "Were actions taken as often as their logged propensities say?",
            "Find out how propensities are computed and logged; the bins that differ say for which action.",
            "log",
        ),
        "OPE-302": Code(
            "Mean weight",
            "Do the weights of each policy average 1?",
            "Find out how propensities are computed and logged.",
            "log",
        ),
        "OPE-303": Code(
            "Propensities given the features",
            "Do features or time foretell actions beyond the logged propensities?",
            "Log the probability each action had for this very user when it was drawn, not an average and not another "
            "version's.",
            "log",
        ),
        "OPE-304": Code(
            "Placebo outcomes",
            "Is there no difference in what no action can have changed?",
            "The rows of the two policies differ before the action: find out how propensities are computed and logged.",
            "log",
        ),
        "OPE-401": Code(
            "Weighting estimators agree",
            "Do IPS, SNIPS and DR say the same?",
            "They differ only where propensities are wrong or weights too few: see OPE-202 and OPE-301 to OPE-303.",
            "log",
        ),
        "OPE-402": Code(
            "The outcome model agrees",
            "Does the outcome model alone say what the weighted estimates say?",
            "The verdict does not rest on the outcome model alone; mend it before using it for anything else.",
            "nothing",
        ),
        "OPE-501": Code(
            "Difference beyond the margin",
            "Is the candidate better than the baseline by more than the margin?",
            "The log cannot tell; run the experiment.",
            "result",
        ),
        "OPE-502": Code(
            "Guardrail",
            "Does an outcome that must not get worse stay within its margin?",
            "Weigh what is lost against what is gained, or change the candidate.",
            "result",
        ),
        "OPE-601": Code(
            "Unlogged confounding",
            "How strong would unlogged confounding have to be to undo the verdict?",
            "Ask who or what could have influenced the actions beyond the logged features; an experiment leaves no "
            "such doubt.",
            "log",
        ),
    }
)
# The checks that are statistical tests share GateRules.false_alarm equally, whether or not all of them apply.
TESTS: Final = ("OPE-301", "OPE-302", "OPE-303", "OPE-304", "OPE-401")


@dataclass(frozen=True, slots=True)
class Check:
    """What a rule found.

    Attributes:
        code: such as "OPE-201".
        title: what is checked.
        status: "pass", "warn", "fail" or "not-applicable".
        finding: what was found, in a sentence.
        measured: the number that was compared; None where there is none.
        threshold: what it was compared with; None where there is none.
        remedy: what to do; empty where there is nothing to do.
    """

    code: str
    title: str
    status: Status
    finding: str
    measured: float | None = None
    threshold: float | None = None
    remedy: str = ""

    @property
    def blocks(self) -> bool:
        """Whether it fails in a way that makes any verdict on this log unsafe."""
        return self.status == "fail" and CODES[self.code].blocks == "log"

    def __str__(self) -> str:
        return f"{self.code} {self.status:14} {self.title}: {self.finding}"


def check(
    code: str,
    status: Status,
    finding: str,
    measured: float | None = None,
    threshold: float | None = None,
    *,
    about: str = "",
) -> Check:
    """A finding under a code, with its remedy where it is needed."""
    rule = CODES[code]
    title = f"{rule.title}: {about}" if about else rule.title
    remedy = rule.remedy if status in ("warn", "fail") else ""
    return Check(code, title, status, finding, measured, threshold, remedy)


def log_checks(evidence: Evidence, found: Diagnostics, rules: GateRules) -> list[Check]:
    """Everything that must hold before a difference may be read off this log."""
    level = rules.false_alarm / len(TESTS)
    return [
        _held_out(evidence),
        _support(evidence, rules),
        *_weights(found, rules),
        _frequencies(evidence, found, level),
        _mean_weight(found, level),
        _conditional(evidence, found, level),
        _placebo(found, level),
        *_agreement(found, level),
    ]


def _held_out(evidence: Evidence) -> Check:
    if not evidence.rows_told:
        return check(
            "OPE-101", "not-applicable", "Neither policy says which rows it was fitted on, so that is for you to know."
        )
    return check("OPE-101", "pass", "The policies were fitted on other rows than these.")


def _support(evidence: Evidence, rules: GateRules) -> Check:
    if evidence.table is None:
        told = "The log has propensities of the actions taken only, so nobody can see what had no chance."
        return check("OPE-201", "not-applicable", told)
    gap, limit = evidence.unsupported, rules.max_unsupported
    if gap.share <= 0:
        return check("OPE-201", "pass", "Everything in which the policies differ was tried.", 0.0, limit)
    told = (
        f"In {gap.share:.2%} of decisions the policies differ by an action that was never tried; that part of the "
        f"difference could be anything from {_signed(gap.lower)} to {_signed(gap.upper)} per head."
    )
    return check("OPE-201", "fail" if gap.share > limit else "warn", told, gap.share, limit)


def _weights(found: Diagnostics, rules: GateRules) -> list[Check]:
    few = min((found.candidate, found.baseline), key=lambda one: one.ess)
    heavy = max((found.candidate, found.baseline), key=lambda one: one.largest_share)
    share = found.largest_variance_share
    ess = f"{few.policy} is judged on as much as {few.ess:,.0f} rows, of {found.n:,}."
    weight = f"One row carries {heavy.largest_share:.2%} of the weight of {heavy.policy}."
    unit = f"One unit makes up {share:.2%} of the variance of the difference."
    return [
        check("OPE-202", _at_least(few.ess, rules.min_ess), ess, few.ess, rules.min_ess),
        check(
            "OPE-203",
            _at_most(heavy.largest_share, rules.max_weight_share),
            weight,
            heavy.largest_share,
            rules.max_weight_share,
        ),
        check("OPE-204", _at_most(share, rules.max_variance_share), unit, share, rules.max_variance_share),
    ]


def _at_least(value: float, threshold: float) -> Status:
    return "pass" if value >= threshold else "fail"


def _at_most(value: float, threshold: float) -> Status:
    return "pass" if value <= threshold else "fail"


def _frequencies(evidence: Evidence, found: Diagnostics, level: float) -> Check:
    worst = found.worst_bin
    if worst is None:
        why = "are the observed shares" if evidence.shares_estimated else "of the actions not taken were not logged"
        return check("OPE-301", "not-applicable", f"The propensities {why}, so there is nothing to compare.")
    told = (
        f"Farthest off is {worst.action!r}: {worst.predicted:.2%} logged and {worst.observed:.2%} observed in "
        f"{worst.rows:,} rows ({_p(worst.p_value)}, adjusted for {_count(len(found.frequencies), 'bin')})."
    )
    return check("OPE-301", _at_least(worst.p_value, level), told, worst.p_value, level)


def _mean_weight(found: Diagnostics, level: float) -> Check:
    worst = min((found.candidate, found.baseline), key=lambda one: one.p_value)
    p = min(1.0, 2 * worst.p_value)  # of two
    usual = 1.0 - worst.unsupported
    told = f"The weights of {worst.policy} average {usual + worst.mean.value:.4f}, expected {usual:.4g} ({_p(p)})."
    return check("OPE-302", _at_least(p, level), told, p, level)


def _conditional(evidence: Evidence, found: Diagnostics, level: float) -> Check:
    one = found.conditional
    if one is None:
        told = (
            "The propensities of the actions not taken were not logged."
            if evidence.table is None
            else "The log is too short, or nothing in it was left to chance."
        )
        return check("OPE-303", "not-applicable", told)
    told = (
        f"Trees that look for actions the propensities do not explain score {_signed(one.z, 2)} standard errors on "
        f"rows they have not seen ({_p(one.p_value)})."
    )
    return check("OPE-303", _at_least(one.p_value, level), told, one.p_value, level)


def _placebo(found: Diagnostics, level: float) -> Check:
    if not found.placebo:
        return check("OPE-304", "not-applicable", "No placebo outcome was named.")
    worst = min(found.placebo, key=lambda one: one.p_value)
    told = (
        f"Farthest from 0 is {worst.name!r}: {_signed(worst.difference.value)} ({_p(worst.p_value)}, adjusted for "
        f"{_count(len(found.placebo), 'placebo')})."
    )
    return check("OPE-304", _at_least(worst.p_value, level), told, worst.p_value, level)


def _agreement(found: Diagnostics, level: float) -> list[Check]:
    one = found.agreement
    told = ", ".join(f"{name.upper()} {_signed(estimate.value)}" for name, estimate in one.estimates.items())
    weighting = check(
        "OPE-401", _at_least(one.p_value, level), f"The difference is {told} ({_p(one.p_value)}).", one.p_value, level
    )
    apart = one.contrasts["dm"]
    model = check(
        "OPE-402",
        "pass" if one.model_p_value >= level else "warn",
        f"DM is {_signed(apart.value)} from DR ({_p(one.model_p_value)}).",
        one.model_p_value,
        level,
    )
    return [weighting, model]


def result_checks(difference: Estimate, sensitivity: Sensitivity, estimated: bool, rules: GateRules) -> list[Check]:
    """What the log says about the difference, and how firmly.

    Args:
        difference: the doubly robust difference; its interval takes in what was never tried.
        sensitivity: its bounds under confounding.
        estimated: whether the propensities were estimated from observational data.
        rules: the thresholds.
    """
    low, high = difference.interval
    status: Status = "pass" if low > rules.margin else "fail" if high < rules.margin else "warn"
    verb = {"pass": "lies above", "fail": "lies below", "warn": "takes in"}[status]
    told = (
        f"The difference is {_signed(difference.value)} per head; its interval, {_signed(low)} to {_signed(high)}, "
        f"{verb} the margin of {rules.margin:g}."
    )
    return [
        check("OPE-501", status, told, difference.value, rules.margin),
        _confounding(sensitivity, estimated, rules),
    ]


def _confounding(found: Sensitivity, estimated: bool, rules: GateRules) -> Check:
    if found.verdict is None:
        return check("OPE-601", "not-applicable", "There is no verdict yet that confounding could undo.")
    beyond = math.isinf(found.tipping)
    factor = "more than 100" if beyond else f"{found.tipping:.2f}"
    told = (
        f"The difference stays {found.verdict} the margin unless something nobody logged changed the odds of actions "
        f"by a factor of {factor} (Λ*)."
    )
    weak: Status = "fail" if estimated else "warn"
    status: Status = "pass" if found.tipping >= rules.min_lambda else weak
    if status == "warn":
        told += " If a machine drew lots by the logged propensities and by nothing else, any Λ* will do."
    return check("OPE-601", status, told, None if beyond else found.tipping, rules.min_lambda)


def guardrail_checks(evidence: Evidence, rules: GateRules) -> list[Check]:
    """One check per guardrail: pass where it is surely held, fail where surely breached, warn between."""
    if not rules.guardrails:
        return [check("OPE-502", "not-applicable", "No guardrail was set.")]
    return [_guardrail(by_arm_means(evidence, rail.outcome), rail, rules.alpha) for rail in rules.guardrails]


def _guardrail(evidence: Evidence, rail: Guardrail, alpha: float) -> Check:
    baseline, gap = evidence.whole(evidence.baseline), evidence.difference()
    distance = slack(rail, baseline.value, gap.value)
    psi = slack_influence(rail, baseline.value, baseline.psi, gap.psi)
    told = evidence.estimate(Judged(distance, psi, gap.ess, 1.0), alpha, str(rail))
    untried = evidence.unsupported
    reach = (untried.lower, untried.upper) if rail.better == "higher" else (-untried.upper, -untried.lower)
    low, high = told.interval[0] + reach[0], told.interval[1] + reach[1]
    status: Status = "pass" if low > 0 else "fail" if high < 0 else "warn"
    found = f"{sentence(rail, baseline.value, gap.value, distance, (low, high))}."
    return check("OPE-502", status, found, distance, 0.0, about=rail.outcome)


def _signed(value: float, digits: int = 3) -> str:
    """A number with its sign, a true minus, to so many significant digits."""
    return "0" if abs(value) < 1e-12 else f"{value:+.{digits}g}".replace("-", "−")


def _count(k: int, what: str) -> str:
    return f"{k} {what}" if k == 1 else f"{k} {what}s"


def _p(p: float) -> str:
    return "p < 0.001" if p < 0.001 else f"p = {p:.2g}"
