"""May we ship this policy? The checks in order, and the decision they lead to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from persuadable.design.experiment import ExperimentPlan, plan_experiment, two_arms_of_policies
from persuadable.design.power import TwoArms
from persuadable.errors import DataError, ParameterError
from persuadable.log.checks import require_log
from persuadable.value.estimate import Estimate, normal_quantile
from persuadable.value.gating.agreement import Placebos
from persuadable.value.gating.checks import Check, guardrail_checks, log_checks, result_checks
from persuadable.value.gating.diagnostics import ROUNDING, diagnose_evidence
from persuadable.value.gating.evidence import Evidence, gather
from persuadable.value.gating.rules import GateRules
from persuadable.value.gating.sensitivity import sensitivity_of
from persuadable.value.gating.verdict import Decision, Verdict
from persuadable.value.policy_value import Judgeable

if TYPE_CHECKING:
    from persuadable.log import DecisionLog

__all__ = ["gate"]

FEW = 10  # rows that did what a policy does: fewer say nothing of how noisy its arm would be


def gate(
    log: DecisionLog,
    candidate: Judgeable,
    baseline: Judgeable,
    *,
    outcome: str | None = None,
    rules: GateRules | None = None,
    q_hat: ArrayLike | None = None,
    placebo: Placebos = (),
    random_state: int = 0,
) -> Verdict:
    """May the candidate replace the baseline? GO, NO_GO, or EXPERIMENT with the experiment that would tell.

    First the log is checked: support, weights, propensities against what happened, placebo outcomes, whether
    estimators agree. Where a check fails no difference is read off the log, and the decision is EXPERIMENT. Where all
    hold, the doubly robust difference decides: GO where its interval lies above ``rules.margin`` and every guardrail
    is surely held, NO_GO where it lies below or a guardrail is surely breached, else EXPERIMENT. How strong unlogged
    confounding would have to be to undo a GO or NO_GO is always told (Λ*): no check of a log can see it.

    Args:
        log: held-out rows that some other policy decided; a larger outcome is better.
        candidate, baseline: policies, or their probabilities (n, A) on the log's rows.
        outcome: which outcome; the first when None.
        rules: thresholds, fixed beforehand; ``GateRules()`` when None.
        q_hat: (n, A) or (A,) predicted outcomes from models that did not see these outcomes; cross-fitted when None.
        placebo: outcomes that no action can have changed: a name or names in the log, or name → (n,) numbers.
        random_state: orders the rows for the test of the propensities given the features.

    Raises:
        LeakageError: rows of the log fitted a policy.
        DataError: probabilities, ``q_hat`` or placebos that do not fit the log, an outcome that never varies, or two
            policies that do the same.
        OutcomeError: no such outcome, placebo or guardrail.
        ParameterError: something else than a ``DecisionLog`` or ``GateRules``.
        NotFittedError: a policy is not calibrated.
    """
    require_log(log, "gate")
    rules = _require_rules(rules)
    evidence = gather(
        log,
        candidate,
        baseline,
        outcome=outcome,
        q_hat=q_hat,
        support_floor=rules.support_floor,
        outcome_range=rules.outcome_range,
    )
    _require_a_question(evidence)
    found = diagnose_evidence(evidence, placebo=placebo, bins=rules.bins, alpha=rules.alpha, random_state=random_state)
    ours, theirs, difference = evidence.answer(rules.alpha)
    confounded = sensitivity_of(evidence, margin=rules.margin, alpha=rules.alpha)
    trust = log_checks(evidence, found, rules)
    result, confounding = result_checks(difference, confounded, log.propensity_source == "estimated", rules)
    rails = guardrail_checks(evidence, rules)
    checks = (*trust, result, *rails, confounding)
    decision = decide(checks)
    plan = experiment_of(evidence, difference, rules) if decision == "EXPERIMENT" else None
    return Verdict(
        decision=decision,
        reasons=_reasons(decision, checks),
        checks=checks,
        difference=difference,
        candidate=ours,
        baseline=theirs,
        diagnostics=found,
        sensitivity=confounded,
        experiment=plan,
        rules=rules,
        outcome=evidence.outcome,
        log=log.name,
        fingerprint=log.fingerprint.digest,
    )


def _require_rules(rules: object) -> GateRules:
    if rules is None:
        return GateRules()
    if not isinstance(rules, GateRules):
        raise ParameterError(
            f"rules is a {type(rules).__name__}, not GateRules",
            remedy="Pass rules=GateRules(margin=0.01), for example.",
        )
    return rules


def _require_a_question(evidence: Evidence) -> None:
    """Refuse to judge where there is nothing to judge."""
    if not (np.abs(evidence.candidate.probabilities - evidence.baseline.probabilities) > ROUNDING).any():
        raise DataError(
            f"{evidence.candidate.name} and {evidence.baseline.name} do the same on every row",
            remedy="Compare two policies that differ somewhere.",
        )
    if np.ptp(evidence.y) == 0:
        raise DataError(
            f"The outcome {evidence.outcome!r} is {evidence.y[0]:g} on every row",
            remedy="Choose an outcome that varies, or a longer log.",
        )


def decide(checks: Sequence[Check]) -> Decision:
    """The decision that checks lead to; see ``gate``."""
    if any(one.blocks for one in checks):
        return "EXPERIMENT"
    result = [one.status for one in checks if one.code in ("OPE-501", "OPE-502")]
    if "fail" in result:
        return "NO_GO"
    return "EXPERIMENT" if "warn" in result else "GO"


def _reasons(decision: Decision, checks: Sequence[Check]) -> tuple[str, ...]:
    """What decided, then what else is worth knowing."""
    blocking = [one for one in checks if one.blocks]
    results = [one for one in checks if one.code in ("OPE-501", "OPE-502") and one.status != "not-applicable"]
    results.sort(key=lambda one: ("fail", "warn", "pass").index(one.status))
    rest = [one for one in checks if one.status == "warn" and one not in results]
    firm = [one for one in checks if one.code == "OPE-601" and one.status == "pass" and decision != "EXPERIMENT"]
    if blocking:
        told = [f"{one.finding} {one.remedy}" for one in blocking]
        return tuple(f"{one} ({check.code})" for one, check in zip(told, blocking, strict=True))
    return tuple(f"{one.finding} ({one.code})" for one in (*results, *firm, *rest))


def experiment_of(evidence: Evidence, difference: Estimate, rules: GateRules) -> ExperimentPlan:
    """The experiment that would decide between the two policies, as noisy as the log says it would be.

    It asks what the gate asked: is the candidate better by more than ``rules.margin``? It is sized for
    ``rules.worthwhile``, or for what this log could not tell: a difference as far above the margin as the larger of the
    estimated distance to it and half the interval's width.
    """
    margin, effect = rules.margin, rules.worthwhile
    if effect is None:
        effect = margin + max(abs(difference.value - margin), normal_quantile(rules.alpha) * difference.stderr)
    arms = _arms(evidence)
    if arms.rate is not None and not all(0 < arms.rate + one / arms.active < 1 for one in (effect, margin)):
        arms = replace(arms, rate=None)  # an estimate no rate allows still says how noisy the arms are
    return plan_experiment(
        arms,
        effect,
        margin=margin,
        power=rules.power,
        alpha=rules.alpha,
        monitoring=rules.monitoring,
        looks=rules.looks,
    )


def _arms(evidence: Evidence) -> TwoArms:
    """Read off the rows that did what the policies do; off all rows where too few did."""
    candidate, baseline = evidence.candidate.probabilities, evidence.baseline.probabilities
    differ = 0.5 * np.abs(candidate - baseline).sum(axis=1)
    for gain in (np.maximum(candidate - baseline, 0.0), np.maximum(baseline - candidate, 0.0)):
        seen = evidence.at_taken(gain) > 0
        if evidence.table is None or (evidence.tried is not None and (gain[~evidence.tried] > 0).any()):
            break
        if np.count_nonzero(seen) < FEW or np.ptp(evidence.y[seen]) == 0:
            break
    else:
        return two_arms_of_policies(evidence.log, candidate, baseline, outcome=evidence.outcome, q_hat=evidence.mu)
    return TwoArms.continuous(float(evidence.y.std()), active=min(evidence.mean(differ), 1.0))
