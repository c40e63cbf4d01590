"""Running a study of offers: fit, choose and price on the training rows, judge on the held-out ones."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from persuadable.design import balance, support
from persuadable.design.support import Support
from persuadable.effects import CalibratedEffects, Learner, clone, out_of_fold_effects
from persuadable.effects.calibrated import FlatMapWarning
from persuadable.effects.fitting import fit_each
from persuadable.errors import OutcomeError
from persuadable.log import DecisionLog
from persuadable.policies import AllocationPolicy, Policy, TreatAll, TreatNone
from persuadable.policies.allocation.sensitivity import Robustness, robustness
from persuadable.response import cross_fit_arms
from persuadable.study.checks import require_descriptions
from persuadable.study.offers.checks import look_at_budget, look_at_costs, require_stated
from persuadable.study.offers.plan import OfferPlan
from persuadable.study.offers.result import Head, Heads, OfferStudy
from persuadable.study.plan import NUISANCE
from persuadable.value import BudgetPath, Ratio, budget_path, compare, compare_many, estimate_ratio, head_report

__all__ = ["run_offers"]

Vector = NDArray[np.float64]
FOLDS = 5


def run_offers(log: DecisionLog, plan: OfferPlan) -> OfferStudy:
    """Study a log of offers: which offer for whom under a budget, and what that is worth.

    Offers with too few rows are pooled along the dose axis or left out first. Value and cost are learned as two
    problems; which learner is chosen, how its effects are calibrated and whether they are there at all is found on the
    training rows alone, out of fold. The price is drawn from what is predicted for the held-out rows, without a look at
    their outcomes, so that the budget is kept. Everything is judged on the held-out rows.

    Args:
        log: n rows, with a value and, unless the plan states them, a cost.
        plan: the choices.

    Raises:
        ActionError: no offer has rows enough, or stated costs are of other offers.
        DataError: a feature names people rather than describes them.
        OutcomeError: an unknown outcome; or no cost, one that is 0 in every row, or one that is the value itself.
        ParameterError: a stated cost that is not a number from 0; or from the rooms below.

    Warns:
        UserWarning: some logged costs are negative, or the budget limits nothing or pays for hardly anybody.
    """
    require_descriptions(log)
    value, cost = _outcomes(log, plan)
    if isinstance(cost, tuple):
        look_at_costs(log, cost[0])
    supported = support(log, plan.segments, value, plan.dose)
    if plan.prune:
        cost = cost if isinstance(cost, tuple) else _of_kept(cost, supported, log)
        log = supported.apply(log)
    train, test = log.split(1 - plan.test_share, by=plan.split_by, random_state=plan.random_state)  # type: ignore[arg-type]
    names = (value, *cost) if isinstance(cost, tuple) else (value,)
    known = {name: _responses(train, name, plan) for name in names}
    tried = _tried(train, plan, names)
    scores = _scores({name: _path(train, heads, plan, known, cost) for name, heads in tried.items()}, plan.budget)
    best = max(scores, key=scores.__getitem__)
    value_head, cost_head = _final(tried[best], train, plan, names)
    stated = None if cost_head is not None else cost
    policy = AllocationPolicy(
        value_head,
        stated if cost_head is None else cost_head,  # type: ignore[arg-type]
        budget=plan.budget,
        roi_floor=plan.roi_floor,
        value=value,
        averse=plan.averse,
        evidence=plan.evidence,
    ).calibrate(train)
    policy.reprice(test)  # without a look at outcomes; served predictions, unlike those out of fold
    look_at_budget(policy, plan.budget)
    candidates = tuple(
        Heads(name, score, name == best) for name, score in sorted(scores.items(), key=lambda item: -item[1])
    )
    return OfferStudy(
        plan=plan,
        support=supported,
        log=log,
        train=train,
        test=test,
        balance=balance(log),
        candidates=candidates,
        propensity=tried[best][0].propensity_,
        value_head=value_head,
        cost_head=cost_head,
        policy=policy,
        budget=max(policy.rule.spend, 0.0) if plan.budget is None or policy.rule.binds == "roi" else plan.budget,
        **_judged(test, policy, plan, value_head, cost_head),
    )


def _outcomes(log: DecisionLog, plan: OfferPlan) -> tuple[str, tuple[str] | Mapping[str, float]]:
    """The value's name, and the cost's (as a tuple of one) or what each offer costs."""
    value = plan.value or log.primary
    log.outcome(value)
    if isinstance(plan.cost, Mapping):
        require_stated(plan.cost, log)
        return value, plan.cost
    cost = plan.cost or log.cost_name
    if cost is None:
        raise OutcomeError(
            "There is no cost to weigh the value against",
            where="run_offers",
            remedy="Name the log's cost, pass cost= the name of an outcome, or what each offer costs by label.",
        )
    if cost == value:
        raise OutcomeError(
            f"{cost!r} is both the value and its cost",
            where="run_offers",
            remedy="Name two columns: what is to be raised, and what each decision cost.",
        )
    log.outcome(cost)
    return value, (cost,)


def _of_kept(cost: Mapping[str, float], supported: Support, log: DecisionLog) -> dict[str, float]:
    """What each offer kept costs: of a pool the mean of its members, as the log draws them."""
    drawn = dict(zip(log.actions.names, np.average(log.propensity(), axis=0, weights=log.weight), strict=True))
    return {
        row.label: float(np.average([cost[one] for one in row.members], weights=[drawn[one] for one in row.members]))
        for row in supported.kept
    }


def _tried(train: DecisionLog, plan: OfferPlan, names: tuple[str, ...]) -> dict[str, tuple[Learner, ...]]:
    """Name → fitted heads, the cost's only where it is learned."""
    heads = {name: pair[: len(names)] for name, pair in plan.heads().items()}
    fit_each([(head, (name,)) for pair in heads.values() for head, name in zip(pair, names, strict=True)], train)
    return heads


def _path(
    train: DecisionLog,
    heads: tuple[Learner, ...],
    plan: OfferPlan,
    known: Mapping[str, Vector],
    cost: tuple[str] | Mapping[str, float],
) -> BudgetPath:
    """The path of budgets that a pair of heads makes of the training rows, out of fold."""
    folds = train.folds(FOLDS, plan.random_state + 1)
    names = tuple(known)
    value, *others = (
        out_of_fold_effects([head], train, outcome=name, folds=folds)[0]
        for head, name in zip(heads, names, strict=True)
    )
    learned = isinstance(cost, tuple)
    return budget_path(
        train,
        value,
        others[0] if learned else cost,
        outcome=names[0],
        cost_outcome=names[1] if learned else None,
        budgets=(0.0,),
        mu=known[names[0]],
        cost_mu=known[names[1]] if learned else None,
    )


def _scores(paths: Mapping[str, BudgetPath], budget: float | None) -> dict[str, float]:
    """Name → gain per head averaged over the budgets from 0 to the one asked for, or to what everything costs.

    All over the same budgets: who predicts that little is worth buying would else be judged on the first, best buys.
    """
    most = max(path.full for path in paths.values())
    upper = most if budget is None else min(budget, most)
    return {
        name: path.area(0.0, upper).value if upper > 0.0 else path.at(0.0).gain.value for name, path in paths.items()
    }


def _final(
    heads: tuple[Learner, ...], train: DecisionLog, plan: OfferPlan, names: tuple[str, ...]
) -> tuple[Head, Head | None]:
    """The chosen heads: the value's with half-samples where they were asked for, both calibrated out of fold."""
    value, *cost = heads
    if plan.n_resamples:
        value = clone(value).set_params(n_resamples=plan.n_resamples)
        fit_each([(value, names[:1])], train)
    if plan.calibration is None:
        return value, cost[0] if cost else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FlatMapWarning)  # the report on the heads says it
        calibrated = [CalibratedEffects(head, plan.calibration).calibrate(train) for head in (value, *cost)]
    return calibrated[0], calibrated[1] if cost else None


def _responses(log: DecisionLog, outcome: str, plan: OfferPlan) -> Vector:
    return cross_fit_arms(log, outcome, trees=NUISANCE, engine=plan.engine, random_state=plan.random_state)


def _judged(
    test: DecisionLog, policy: AllocationPolicy, plan: OfferPlan, value_head: Head, cost_head: Head | None
) -> dict[str, Any]:
    """What the held-out rows tell, by the names of the study's fields."""
    value, cost, nobody = policy.value_outcome_, policy.cost_outcome_, TreatNone()
    mu = {name: _responses(test, name, plan) for name in (value, *([cost] if cost else ()))}
    cost_mu = None if cost is None else mu[cost]
    v, c = value_head.effect(test.features, outcome=value), _costs(test, cost_head, policy)
    level: dict[str, Any] = {"alpha": plan.alpha}
    spend = None if cost is None else compare(test, policy, nobody, outcome=cost, mu=cost_mu, **level).difference
    offers = {f"everybody gets {test.actions.names[a]}": TreatAll(a) for a in range(1, test.n_actions)}
    baselines: dict[str, Policy] = {"nobody": nobody, **offers}
    return {
        "heads": head_report(
            test, v, c if cost else None, value=value, cost=cost, random_state=plan.random_state, **level
        ),
        "path": budget_path(test, v, c, outcome=value, cost_outcome=cost, mu=mu[value], cost_mu=cost_mu, **level),
        "decision": compare_many(test, policy, baselines, outcome=value, mu=mu[value], **level),
        "spend": spend,
        "roi": None if spend is None or spend.value == 0.0 else _return(test, policy, value, cost, mu, plan),
        "robustness": None if policy.rule.offered == 0.0 else _robustness(value_head, test, v, c, plan, value),
        "others": _others(test, policy, plan, (value, cost)),
    }


def _costs(test: DecisionLog, cost_head: Head | None, policy: AllocationPolicy) -> Any:
    """(n, A) predicted costs, or (A,) stated ones."""
    return policy.stated_costs_ if cost_head is None else cost_head.effect(test.features, outcome=policy.cost_outcome_)


def _return(
    test: DecisionLog, policy: AllocationPolicy, value: str, cost: str | None, mu: Mapping[str, Vector], plan: OfferPlan
) -> Ratio:
    return estimate_ratio(test, policy, TreatNone(), numerator=value, denominator=cost, q_hat=mu, alpha=plan.alpha)


def _robustness(head: Head, test: DecisionLog, v: Any, c: Any, plan: OfferPlan, value: str) -> Robustness | None:
    """What changes if the predicted values are off by their standard errors."""
    if plan.n_resamples < 2:
        return None
    refits = np.stack(list(head.effect_refits(test.features, value)))
    costs = np.broadcast_to(np.asarray(c, dtype=np.float64), v.shape)
    budget = None if plan.budget is None else plan.budget * test.n
    return robustness(
        v,
        costs,
        refits.std(axis=0, ddof=1),
        budget=budget,
        roi_floor=plan.roi_floor,
        eligible=test.eligible,
        random_state=plan.random_state,
        threads=plan.threads,
    )


def _others(
    test: DecisionLog, policy: AllocationPolicy, plan: OfferPlan, told: tuple[str | None, ...]
) -> dict[str, Any]:
    found = {}
    for name in test.outcomes:
        if name not in told:
            gain = compare(
                test, policy, TreatNone(), outcome=name, mu=_responses(test, name, plan), alpha=plan.alpha
            ).difference
            found[name] = replace(gain, name=name, unit=f"{name} per head")
    return found
