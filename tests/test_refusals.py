"""Arguments of the wrong kind are refused in words, wherever they are passed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import persuadable as ps
from persuadable.engine import LocalEngine, Trees
from persuadable.value.ope.intervals import interval_of
from persuadable.worlds import RandomisedTrial

SMALL = Trees(n_trees=4, max_depth=2)
train, test = RandomisedTrial().sample(600, random_state=0).split(0.5, random_state=0)
learner = ps.effects.TLearner(trees=SMALL).fit(train)
policy = ps.policies.BudgetPolicy(learner).calibrate(test)
candidate = np.full((test.n, 2), 0.5)

REFUSED: dict[str, tuple[Callable[[], object], str]] = {
    "trees as a number": (lambda: ps.effects.XLearner(trees=100).fit(train), "trees=100 is not Trees"),
    "engine as a word": (lambda: ps.effects.XLearner(engine="cpu").fit(train), "is not LocalEngine"),
    "threads as text": (lambda: ps.effects.TLearner(engine=LocalEngine(threads="2")).fit(train), "whole number"),
    "break-even as text": (lambda: ps.policies.BudgetPolicy(learner, break_even="1").calibrate(test), "finite numbers"),
    "a learner as a policy": (lambda: ps.value.compare(test, learner, policy), "not a policy.*BudgetPolicy"),
    "a word as a policy": (lambda: ps.value.compare(test, policy, "random", mu=[0.1, 0.2]), "'random' is not a policy"),
    "a learner as a ranking": (lambda: ps.value.qini(test, learner), r"learner.effect\(log.features\)"),
    "a share as text": (lambda: ps.value.uplift_at_k(test, test.features.values[:, 0], k="0.3"), "k is '0.3'"),
    "a frame for a log": (
        lambda: ps.value.estimate(test.frame(), candidate),
        r"first argument is a polars frame, not a DecisionLog \(estimate\).*from_frame",
    ),
    "probabilities for a log": (lambda: ps.value.estimate(candidate, test), "is of type ndarray, not a DecisionLog"),
    "several outcomes' frame": (lambda: ps.value.estimate_outcomes(test.frame(), candidate), r"\(estimate_outcomes\)"),
    "a difference's frame": (
        lambda: ps.value.estimate_difference(test.frame(), candidate, candidate),
        r"\(estimate_difference\)",
    ),
    "a ratio's probabilities": (lambda: ps.value.estimate_ratio(candidate, test), r"\(estimate_ratio\)"),
    "a policy for a log": (lambda: ps.value.policy_value(policy, test), r"type BudgetPolicy.*\(policy_value\)"),
    "a comparison's probabilities": (lambda: ps.value.compare(candidate, test, policy), r"\(compare\)"),
    "many comparisons' probabilities": (lambda: ps.value.compare_many(candidate, test), r"\(compare_many\)"),
    "a lottery's probabilities": (lambda: ps.value.random_like(candidate, test), r"\(random_like\)"),
    "what exploring cost, of probabilities": (lambda: ps.value.exploration_paid(candidate, test), "exploration_paid"),
    "a replay of probabilities": (
        lambda: ps.policies.explore.replay(candidate, "may"),
        r"not a DecisionLog \(replay\)",
    ),
    "a log for a policy": (lambda: ps.value.estimate(test, test), "A DecisionLog is not a policy"),
    "a class for a policy": (
        lambda: ps.value.estimate(test, ps.policies.TreatAll),
        r"TreatAll is a class, not a policy",
    ),
    "a class for a policy to value": (lambda: ps.value.policy_value(test, ps.policies.TreatAll), "is a class"),
    "an object for a policy": (lambda: ps.value.estimate(test, object()), "any object with name, fitted_on and"),
    "a table under a floor": (lambda: ps.policies.explore.EpsilonFloor(candidate), "of type ndarray, not a policy"),
    "a learner under a floor": (lambda: ps.policies.explore.EpsilonFloor(learner), "of type TLearner, not a policy"),
    "a class under a floor": (lambda: ps.policies.explore.EpsilonFloor(ps.policies.TreatAll), "the class TreatAll"),
    "several outcomes where one is asked for": (
        lambda: ps.value.estimate(test, candidate, outcome=["outcome"]),
        r"not one name \(estimate\)\. Pass one name; estimate_outcomes",
    ),
    "several estimators of a ratio": (
        lambda: ps.value.estimate_ratio(test, candidate, estimator=["snips", "dr"]),
        r"not one estimator \(estimate_ratio\)",
    ),
    "a ratio without a cost": (
        lambda: ps.value.estimate_ratio(test, candidate),
        "no other outcome: read it with cost=",
    ),
    "an interval of numbers": (lambda: interval_of(np.ones(10)), r"of type ndarray \(interval_of\)\. Pass Terms"),
    "a confidence for alpha": (
        lambda: ps.value.estimate(test, candidate, estimators="ips", alpha=0.95),
        r"alpha is 0\.95\. .* for a 95% interval pass alpha=0\.05",
    ),
    "bounds that are no pair": (lambda: ps.value.Bounds((0, 1, 2), 3.0), "outcome's range is"),
    "bounds with a weight as text": (lambda: ps.value.Bounds((0.0, 1.0), "6"), "largest weight is '6'"),
    "chances of the actions taken as an array": (
        lambda: ps.DecisionLog.from_frame(
            test.frame(), action="action", control="control", outcomes="outcome", taken_propensity=np.full(test.n, 0.5)
        ),
        "taken_propensity is of type ndarray, not the name of a column",
    ),
    "columns of propensities without labels": (
        lambda: ps.DecisionLog.from_frame(
            test.frame(), action="action", control="control", outcomes="outcome", propensity=["p0", "p1"]
        ),
        r"does not say whose probability.*Pass a mapping.*'control': 'p0'",
    ),
    "a category that is no feature": (
        lambda: ps.DecisionLog.from_frame(
            test.frame(), action="action", control="control", outcomes="outcome", features="x0", categorical=["x1"]
        ),
        "'x1' is to be a category and is no feature",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_it_is_refused_in_words(case: str) -> None:
    call, said = REFUSED[case]
    with pytest.raises((ps.errors.ParameterError, ps.errors.DataError), match=said):
        call()


def test_one_name_may_stand_for_a_list() -> None:
    log = ps.DecisionLog.from_frame(
        test.frame(), action="action", control="control", outcomes="outcome", features=test.features.names[0]
    )
    assert log.features.names == test.features.names[:1]
