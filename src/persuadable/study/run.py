"""Running a study: fit and choose on the training rows, draw the threshold and judge on the held-out ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from persuadable.design import balance
from persuadable.effects import Effects, Learner, clone, fit_many, out_of_fold_effects, shared
from persuadable.errors import ParameterError
from persuadable.log import DecisionLog
from persuadable.log.views import split_mask
from persuadable.policies import BudgetPolicy, Policy, RankPolicy, TreatAll, TreatNone
from persuadable.response import ResponseModel, cross_fit_arms
from persuadable.study.checks import require_plan
from persuadable.study.parts import archetypes_of, fairness_of, held_out_segments, mitigation_of, review_of
from persuadable.study.plan import StudyPlan
from persuadable.study.presets import Presets, presets
from persuadable.study.result import Candidate, Study, TreatmentReport
from persuadable.value import (
    Estimate,
    blp,
    budget_values,
    clan,
    compare,
    compare_many,
    compare_rankings,
    deciles,
    evaluate_ranking,
    gates,
    qini,
    returns,
    stability,
    toc,
)
from persuadable.value.policy_value import arm_mean_outcomes, random_like

__all__ = ["run_study", "with_estimated_propensities"]

Vector = NDArray[np.float64]
RESPONSE = "response model"
FOLDS = 5


def run_study(
    log: DecisionLog, plan: StudyPlan | None = None, segments: Mapping[str, ArrayLike] | None = None
) -> Study:
    """Study a log: which learner ranks best, whom a budget should treat, and what that is worth.

    The learner is chosen on the training rows, by out-of-fold effects. The threshold is drawn from the predicted
    effects of the held-out rows, without a look at their outcomes, so that the share treated is exact; the
    intervals of its value include its sampling. Where the log has a cost, everything is about the outcome net of it.

    Args:
        log: n rows; its first outcome is what is to be raised.
        plan: the choices; None takes the defaults.
        segments: name → (n,) labels or numbers of segments that are not among the features, which no model sees;
            ``plan.segments`` names those to be audited.

    Raises:
        DataError, ParameterError: from the rooms below, naming what is wrong and the remedy.
    """
    plan = plan or StudyPlan()
    require_plan(log, plan, segments or {})
    log = _net_of_cost(log if plan.propensity != "estimated" else with_estimated_propensities(log, plan))
    first = split_mask(log, 1 - plan.test_share, plan.split_by, np.random.default_rng(plan.random_state))  # type: ignore[arg-type]
    columns = held_out_segments(log, ~first, plan.segments, segments or {})
    train, test = log.take(first), log.take(~first)
    with shared(train):
        return _studied(log, train, test, plan, columns)


def _studied(
    log: DecisionLog, train: DecisionLog, test: DecisionLog, plan: StudyPlan, columns: Mapping[str, Any]
) -> Study:
    """The study of a log in two parts; ``columns`` are the held-out rows' segments."""
    settings = presets(train)
    fitted = _learning(plan).candidates(settings)
    fit_many(list(fitted.values()), train)
    scores = _out_of_fold_qini(fitted, train, plan.random_state + 1)
    best = max(_telling_apart(fitted, train), key=scores.__getitem__)
    learner = _final(fitted[best], train, plan)
    policy = BudgetPolicy(learner, plan.budget, break_even=plan.least_effect(log.primary)).calibrate(test)
    response = _response_model(settings, plan).fit(train)
    mu = _responses(test, None, settings, plan)
    effects = learner.effect(test.features)
    by_response = RankPolicy(response, plan.budget, RESPONSE, _best_arm(train)).calibrate(test)
    money = plan.economics(log.primary)
    audit = fairness_of(test, policy, columns, effects, mu, plan)
    # Where nobody is treated there is no decision to look at.
    review = None if plan.review is None or not policy.expected_share else review_of(policy, train, test, plan.review)
    return Study(
        plan=plan,
        log=log,
        train=train,
        test=test,
        balance=balance(log),
        candidates=_candidates(fitted, scores, best, test, mu, plan.alpha),
        learner=learner,
        policy=policy,
        treatments=tuple(_report(test, a, effects, response, mu, plan) for a in range(1, log.n_actions)),
        decision=compare_many(test, policy, _baselines(test, policy, by_response), mu=mu, alpha=plan.alpha),
        budgets=budget_values(test, policy, baselines={RESPONSE: by_response}, mu=mu, alpha=plan.alpha),
        others=_other_outcomes(test, policy, plan),
        response=response,
        mu=mu,
        presets=settings,
        returns=None if money is None else returns(test, policy, money, response=response, mu=mu, alpha=plan.alpha),
        archetypes={} if money is None else archetypes_of(learner, train, test, money, settings, mu, plan),
        fairness=audit,
        mitigation=None if audit is None else mitigation_of(test, policy, audit, columns, effects, mu, plan),
        review=review,
        queue=None if review is None else review.assess(test),
    )


def with_estimated_propensities(log: DecisionLog, plan: StudyPlan) -> DecisionLog:
    """The log with propensities estimated out of fold; as it is where it holds estimated ones already."""
    from persuadable.design import resolve

    if log.propensity_source == "estimated":
        return log
    found = resolve(log, "estimated", engine=plan.engine, random_state=plan.random_state)
    return log.with_propensities(found.values, "estimated")


def _learning(plan: StudyPlan) -> StudyPlan:
    """The plan for learners: propensities that were estimated for the whole log are theirs too, not estimated anew."""
    return replace(plan, propensity="known") if plan.propensity == "estimated" else plan


def _net_of_cost(log: DecisionLog) -> DecisionLog:
    """The log with the primary outcome less the cost in front, so that what is learned is what is judged."""
    if log.cost_name is None or log.cost_name == log.primary:
        return log
    net = f"{log.primary} net of {log.cost_name}"
    if net in log.outcomes:
        raise ParameterError(f"An outcome is already called {net!r}", remedy="Rename it.")
    return replace(log, outcomes={net: log.outcome() - log.outcome(log.cost_name), **log.outcomes})


def _best_arm(log: DecisionLog) -> int:
    """The treatment with the highest mean outcome: what would be sent to those likeliest to respond."""
    return 1 + int(np.argmax(arm_mean_outcomes(log)[1:]))


def _out_of_fold_qini(fitted: Mapping[str, Learner], train: DecisionLog, seed: int) -> dict[str, float]:
    """Each candidate's Qini on training rows it did not see, averaged over treatments and folds.

    Within folds, because refits differ in their mean effect, and the higher it is the lower that of the fold left out.
    """
    folds = train.folds(FOLDS, seed)
    effects = out_of_fold_effects(list(fitted.values()), train, folds=folds)
    found: dict[str, list[float]] = {name: [] for name in fitted}
    for k in range(FOLDS):
        rows = folds == k
        part = train.take(rows)  # one fold at a time: together they would copy all features
        for name, effect in zip(fitted, effects, strict=True):
            found[name] += [qini(part, effect[rows, a], action=a).coefficient.value for a in _treatments(train)]
    return {name: float(np.mean(values)) for name, values in found.items()}


def _telling_apart(fitted: Mapping[str, Learner], train: DecisionLog) -> list[str]:
    """Candidates that rank anybody before anybody; all where none does, so that the learner's own refusal is heard.

    One that gives everybody the same effect has a Qini of 0, and would be chosen over those that are a little below.
    """
    spread = {
        name: np.ptp(np.asarray(learner.effect(train.features)), axis=0).max() for name, learner in fitted.items()
    }
    return [name for name, width in spread.items() if width > 0] or list(fitted)


def _final(chosen: Learner, train: DecisionLog, plan: StudyPlan) -> Learner:
    """The chosen learner, with half-samples where they were asked for."""
    if not plan.n_resamples:
        return chosen
    return clone(chosen).set_params(n_resamples=plan.n_resamples).fit(train)


def _response_model(settings: Presets, plan: StudyPlan) -> ResponseModel:
    return ResponseModel(trees=settings.responses, engine=plan.engine, random_state=plan.random_state)


def _responses(test: DecisionLog, outcome: str | None, settings: Presets, plan: StudyPlan) -> Vector:
    return cross_fit_arms(test, outcome, trees=settings.responses, engine=plan.engine, random_state=plan.random_state)


def _treatments(log: DecisionLog) -> Sequence[int]:
    return range(1, log.n_actions)


def _candidates(
    fitted: Mapping[str, Learner], scores: Mapping[str, float], best: str, test: DecisionLog, mu: Vector, alpha: float
) -> tuple[Candidate, ...]:
    found = []
    for name, learner in fitted.items():
        effects = learner.effect(test.features)
        on_test = {
            test.actions.names[a]: qini(test, effects[:, a], action=a, method="dr", mu=mu, alpha=alpha).coefficient
            for a in _treatments(test)
        }
        found.append(Candidate(name, scores[name], on_test, chosen=name == best))
    return tuple(sorted(found, key=lambda candidate: -candidate.train_qini))


def _baselines(test: DecisionLog, policy: BudgetPolicy, by_response: RankPolicy) -> dict[str, Policy]:
    """Random with as many treated as the policy treats here, everybody, nobody, and the likeliest to respond."""
    names = test.actions.names
    everybody = {f"treat all ({names[a]})": TreatAll(a) for a in _treatments(test)}
    return {
        "random": random_like(test, policy),
        RESPONSE: by_response,
        **({"treat all": TreatAll(1)} if test.n_actions == 2 else everybody),
        "treat none": TreatNone(),
    }


def _report(
    test: DecisionLog, action: int, effects: Effects, response: ResponseModel, mu: Vector, plan: StudyPlan
) -> TreatmentReport:
    effect = effects[:, action]
    ks = tuple(sorted({0.1, 0.2, 0.3, plan.budget}))
    judged: dict[str, Any] = {"action": action, "method": "dr", "mu": mu}
    level: dict[str, Any] = {**judged, "alpha": plan.alpha}
    return TreatmentReport(
        treatment=test.actions.names[action],
        ranking=evaluate_ranking(test, effect, ks, **level),
        toc=toc(test, effect, **level),
        deciles=deciles(test, effect, **level),
        gates=gates(test, effect, **level),
        blp=blp(test, effect, **level),
        clan=clan(test, effect, action=action, alpha=plan.alpha),
        stability=stability(test, effect, **judged, random_state=plan.random_state),
        over_response=compare_rankings(test, effect, response.predict(test.features), **level),
    )


def _other_outcomes(test: DecisionLog, policy: BudgetPolicy, plan: StudyPlan) -> dict[str, Estimate]:
    lottery = random_like(test, policy)

    def gain(name: str) -> Estimate:
        mu = _responses(test, name, presets(test.select(outcomes=name)), plan)
        return compare(test, policy, lottery, outcome=name, mu=mu, alpha=plan.alpha).difference

    others = [name for name in test.outcomes if name != test.primary]
    return {name: replace(gain(name), name=name, unit=f"{name} per head") for name in others}
