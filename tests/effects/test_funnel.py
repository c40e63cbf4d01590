"""The funnel's two factors against counts, its refusals, and everything that a learner does besides."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest

from persuadable import DecisionLog
from persuadable.effects import FunnelLearner, TLearner, fit_many
from persuadable.effects.attribution import _product, contributions
from persuadable.effects.compiled import CompiledLearner
from persuadable.effects.state import learner_from_state, learner_state
from persuadable.engine import Trees
from persuadable.errors import BundleError, OutcomeError
from persuadable.worlds import Ads

TREES = Trees(n_trees=8, max_depth=2)
SATURATED = Trees(n_trees=80, max_depth=1, learning_rate=0.5, min_child_weight=0, reg_lambda=0)


def counted(n: int = 6_000, amounts: bool = False, arms: int = 2) -> DecisionLog:
    """One 0/1 feature; visits and what comes of them differ by feature and arm."""
    rng = np.random.default_rng(0)
    x, action = rng.integers(0, 2, n), rng.integers(0, arms, n)
    visit = rng.random(n) < 0.2 + 0.3 * x * (action > 0)
    bought = visit & (rng.random(n) < 0.3 + 0.2 * x - 0.1 * action)
    paid = bought * (rng.integers(5, 50, n) if amounts else 1)
    return DecisionLog.from_arrays(x[:, None].astype(float), action, {"paid": paid, "visit": visit * 1})


def ads() -> DecisionLog:
    return Ads(conversion_rate=0.02).sample(4_000, random_state=0)


@pytest.mark.parametrize("amounts", [False, True])
@pytest.mark.parametrize("arms", [2, 3])
def test_factors_that_are_counts_multiply_to_the_arms_means(amounts: bool, arms: int) -> None:
    """With one feature of two levels P(visit)·E[paid | visit] is the mean itself, level by level."""
    log = counted(amounts=amounts, arms=arms)
    effect = np.asarray(FunnelLearner(trees=SATURATED).fit(log).effect(log))
    x, y = log.features.values[:, 0], log.outcome("paid")
    for level in (0, 1):
        mean = [y[(x == level) & (log.action == a)].mean() for a in range(arms)]
        np.testing.assert_allclose(effect[x == level].mean(axis=0), np.array(mean) - mean[0], atol=2e-3 * y.max())


def test_control_rows_without_a_choice_teach_nothing() -> None:
    log = counted()
    e = np.tile([0.5, 0.5], (log.n, 1))
    never = (log.action == 0) & (np.arange(log.n) % 2 == 0)
    e[never] = [1.0, 0.0]
    eligible = e > 0
    part = DecisionLog.from_arrays(
        log.features, log.action, dict(log.outcomes), action_names=log.actions.names, propensity=e, eligible=eligible
    )
    kept = DecisionLog.from_arrays(
        log.features.values[~never], log.action[~never], {k: v[~never] for k, v in log.outcomes.items()}, propensity=0.5
    )
    ours = FunnelLearner(trees=TREES).fit(part).effect(log)
    np.testing.assert_allclose(ours, FunnelLearner(trees=TREES).fit(kept).effect(log.features.values), atol=1e-6)


def test_it_survives_its_state_and_its_compilation() -> None:
    log = ads()
    learner = FunnelLearner("visit", trees=TREES, n_resamples=2).fit(log)
    description, blobs = learner_state(learner)
    again = learner_from_state(json.loads(json.dumps(description)), blobs)
    np.testing.assert_array_equal(again.effect(log), learner.effect(log))
    np.testing.assert_array_equal(again.effect_interval(log), learner.effect_interval(log))
    quick = CompiledLearner(again)
    np.testing.assert_allclose(quick.effects(log.features.values), learner.effect(log), atol=1e-6)
    _, stderr = quick.effects_and_stderr(log.features.values[:5])
    np.testing.assert_allclose(stderr, np.stack(list(learner.effect_refits(log)))[:, :5].std(axis=0, ddof=1), atol=1e-6)
    for hostile in (7, "", None, "a\nb"):
        parameters = description["parameters"] | {"through": hostile}
        with pytest.raises(BundleError, match="through is"):
            learner_from_state(description | {"parameters": parameters}, blobs)


def test_it_can_be_fitted_with_others_and_out_of_fold() -> None:
    log = ads()
    alone = FunnelLearner(trees=TREES).fit(log)
    both = fit_many([TLearner(trees=TREES), FunnelLearner(trees=TREES)], log)
    np.testing.assert_array_equal(both[1].effect(log), alone.effect(log))
    held_out = alone.out_of_fold_effect(log)
    assert held_out.shape == (log.n, 2)
    assert held_out.fitted_on is None
    assert not np.array_equal(held_out, alone.effect(log))


def test_its_contributions_add_up_and_are_the_shapley_values_of_a_product() -> None:
    log = ads().take(slice(0, 200))
    learner = FunnelLearner(trees=TREES).fit(ads())
    told = contributions(learner, log)
    np.testing.assert_allclose(told.base + told.values.sum(axis=1), learner.effect(log), atol=1e-7)
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(2, 1, 4))  # three features and the base

    def game(coalition: tuple[int, ...]) -> float:
        players = [*coalition, 3]
        return float(first[0, players].sum() * second[0, players].sum())

    shapley = np.zeros(3)
    for order in itertools.permutations(range(3)):
        for k, player in enumerate(order):
            shapley[player] += (game(order[: k + 1]) - game(order[:k])) / 6
    np.testing.assert_allclose(_product(first, second)[0], [*shapley, game(())], atol=1e-12)


def test_what_is_no_funnel_is_refused() -> None:
    log = counted()
    with pytest.raises(OutcomeError, match=r"There is no outcome 'click'"):
        FunnelLearner("click").fit(log)
    with pytest.raises(OutcomeError, match=r"'visit' is the step of the funnel, and cannot be its end too"):
        FunnelLearner().fit(log, outcomes="visit")
    with pytest.raises(OutcomeError, match=r"The step 'paid' is not 0 or 1"):
        FunnelLearner("paid").fit(counted(amounts=True), outcomes="visit")
    y = log.outcome("paid").copy()
    row = int(np.flatnonzero(log.outcome("visit") == 0)[0])
    y[row] = 1.0
    broken = DecisionLog.from_arrays(log.features, log.action, {"paid": y, "visit": log.outcome("visit")})
    with pytest.raises(OutcomeError, match=rf"In 1 rows 'paid' came about without 'visit' .*first in row {row}\)"):
        FunnelLearner().fit(broken)


def test_rare_conversions_are_learned_better_through_their_visits() -> None:
    """Mean squared error over fresh people, 20 logs of one world: the direct model has 1 positive to some 7 visits."""
    world = Ads(conversion_rate=0.01)
    fresh = world.features(4_000, random_state=1)
    truth = world.effect(fresh)[:, 1]
    trees = Trees(n_trees=30, max_depth=2, min_child_weight=3)
    saved = []
    for seed in range(10):
        pair = fit_many([TLearner(trees=trees), FunnelLearner(trees=trees)], world.sample(15_000, random_state=seed))
        direct, factored = (float(((np.asarray(each.effect(fresh))[:, 1] - truth) ** 2).mean()) for each in pair)
        saved.append(direct - factored)
    assert np.mean(saved) > 2 * np.std(saved, ddof=1) / np.sqrt(len(saved))
