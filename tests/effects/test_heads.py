"""Value and cost as two problems on one log, against each fitted alone and against known truth."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from persuadable import DecisionLog
from persuadable.effects import DRLearner, Learner, RLearner, SLearner, TLearner, clone, fit_heads
from persuadable.engine import LocalEngine, Trees
from persuadable.engine.local import Matrix
from persuadable.errors import OutcomeError, ParameterError
from persuadable.features import Features
from persuadable.worlds import Offers, RandomisedTrial

TREES = Trees(n_trees=10, max_depth=2)
SMOOTH = Trees(n_trees=60, max_depth=3, learning_rate=0.1, min_child_weight=20)


def trial(n: int = 1_500) -> DecisionLog:
    return RandomisedTrial(outcome="money", n_actions=3, costs=(2.0, 5.0)).sample(n, random_state=1)


@pytest.mark.parametrize("learner", [DRLearner, RLearner, TLearner, SLearner])
def test_a_head_is_what_it_would_be_alone(learner: type[Learner]) -> None:
    log = trial()
    value, cost = fit_heads(
        learner(trees=TREES, loss="poisson", n_folds=2), learner(trees=Trees(n_trees=6), n_folds=2, n_resamples=2), log
    )
    assert (value.outcomes_, cost.outcomes_) == (("outcome",), ("cost",))
    alone = clone(value).fit(log, outcomes="outcome"), clone(cost).fit(log, outcomes="cost")
    np.testing.assert_array_equal(value.effect(log), alone[0].effect(log))
    np.testing.assert_array_equal(cost.effect(log), alone[1].effect(log))
    np.testing.assert_array_equal(cost.effect_interval(log), alone[1].effect_interval(log))
    assert not value.resamples_["outcome"]
    with pytest.raises(OutcomeError, match="knows no effect on 'cost'"):
        value.effect(log, "cost")


def test_outcomes_can_be_told() -> None:
    value, cost = fit_heads(TLearner(trees=TREES), TLearner(trees=TREES), trial(), value="cost", cost="outcome")
    assert (value.outcomes_, cost.outcomes_) == (("cost",), ("outcome",))


class CountingEngine(LocalEngine):
    matrices, crossings = 0, 0

    def matrix(self, features: Features) -> Matrix:
        CountingEngine.matrices += 1
        return super().matrix(features)

    def cross_fit(self, *args: Any, **kwargs: Any) -> Any:
        CountingEngine.crossings += 1
        return super().cross_fit(*args, **kwargs)


def test_matrix_folds_and_propensities_are_shared() -> None:
    engine = CountingEngine(threads=1)
    settings = {"nuisance_trees": TREES, "engine": engine}
    value, cost = fit_heads(
        DRLearner(trees=TREES, loss="poisson", **settings), DRLearner(trees=SMOOTH, **settings), trial()
    )
    assert value.propensity_ is cost.propensity_
    assert (CountingEngine.matrices, CountingEngine.crossings) == (1, 1)


def test_what_cannot_be_two_heads_is_refused() -> None:
    log, one = trial(300), DRLearner(trees=TREES)
    with pytest.raises(ParameterError, match="One learner was passed for both heads"):
        fit_heads(one, one, log)
    with pytest.raises(ParameterError, match=r"disagree on clip: 0.01 and 0.02 \(fit_heads\)"):
        fit_heads(one, DRLearner(clip=0.02), log)
    with pytest.raises(OutcomeError, match="'cost' is both the value and its cost"):
        fit_heads(one, DRLearner(), log, value="cost")
    with pytest.raises(OutcomeError, match="The log names no cost"):
        fit_heads(one, DRLearner(), RandomisedTrial().sample(300, random_state=0))
    with pytest.raises(OutcomeError, match="There is no outcome 'margin'"):
        fit_heads(one, DRLearner(), log, value="margin")


def test_cost_is_what_assignment_causes() -> None:
    """Where doing nothing costs something too, the effect is the difference; always-buyers count."""
    rng = np.random.default_rng(0)
    n = 6_000
    x, action = rng.normal(size=(n, 2)), rng.integers(0, 2, n)
    buys = rng.random(n) < np.where(x[:, 0] > 0, 0.8, 0.1)  # whatever is offered: nothing but leakage
    cost = np.where(action == 1, 6.0 * buys, 1.0 * buys)
    log = DecisionLog.from_arrays(x, action, {"value": buys * 10.0, "cost": cost}, cost="cost")
    _, head = fit_heads(TLearner(trees=SMOOTH), TLearner(trees=SMOOTH), log)
    effect = head.effect(log)[:, 1]
    np.testing.assert_allclose([effect[x[:, 0] > 0].mean(), effect[x[:, 0] < 0].mean()], [4.0, 0.5], atol=0.15)


def test_both_heads_find_the_truth_of_offers() -> None:
    world = Offers(depths=(0.1, 0.3))
    log, units = world.sample(12_000, random_state=0), world.features(4_000, random_state=9)
    value, cost = fit_heads(
        DRLearner(trees=SMOOTH, nuisance_trees=SMOOTH, loss="poisson"), TLearner(trees=SMOOTH, loss="poisson"), log
    )
    for learner, truth, least in ((value, world.effect(units), 0.4), (cost, world.cost_effect(units), 0.9)):
        effect = learner.effect(units)
        for a in (1, 2):
            assert np.corrcoef(effect[:, a], truth[:, a])[0, 1] > least
            assert abs(effect[:, a].mean() / truth[:, a].mean() - 1) < 0.25
