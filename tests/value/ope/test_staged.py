"""Staged actions: against every course a round can take, the recursions of the papers, and plain loops."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from persuadable.errors import ActionError, DataError, OutcomeError, ParameterError, PropensityError
from persuadable.value.ope.intervals import interval_of
from persuadable.value.ope.staged import per_decision_is, prefix_weights, sequential_dr, trajectory_is
from persuadable.worlds import Stages

NAMES = ["trajectory", "per-decision", "sequential-dr"]


def value(found, weight=None):
    return interval_of(found, weight=weight).value


def estimates(log, candidate, q_hat, **more):
    """Every estimator's terms; ``candidate`` and ``q_hat`` are tables (n, T, A)."""
    at = np.maximum(log.actions, 0)[:, :, None]
    taken = np.take_along_axis(candidate, at, axis=2)[:, :, 0]
    more = {"length": log.length, **more}
    return {
        "trajectory": trajectory_is(log.rewards, taken, log.propensity, **more),
        "per-decision": per_decision_is(log.rewards, taken, log.propensity, **more),
        "sequential-dr": sequential_dr(log.rewards, log.actions, candidate, log.propensity, q_hat, **more),
    }


def every_round(world):
    """Every course a round can take, and its probability under the logging policy."""
    courses = []

    def go(stage, state, chance, course):
        for action in range(world.n_actions):
            for reward in (0.0, 1.0):
                p = world.reward[state, action] if reward else 1 - world.reward[state, action]
                here = [*course, (state, action, reward, world.logging[stage, state, action])]
                so_far = chance * world.logging[stage, state, action] * p
                if stage + 1 == world.n_stages:
                    courses.append((so_far, here))
                    continue
                if world.leaving:
                    courses.append((so_far * world.leaving, here))
                for after in range(world.n_states):
                    on = (1 - world.leaving) * world.transition[state, action, after]
                    go(stage + 1, after, so_far * on, here)

    for state in range(world.n_states):
        go(0, state, world.start[state], [])
    shape = len(courses), world.n_stages
    log = SimpleNamespace(
        chance=np.array([chance for chance, _ in courses]),
        length=np.array([len(course) for _, course in courses]),
        states=np.full(shape, -1),
        actions=np.full(shape, -1),
        rewards=np.full(shape, np.nan),  # what lies after the end is never looked at
        propensity=np.full(shape, np.nan),
    )
    for i, (_, course) in enumerate(courses):
        for t, found in enumerate(course):
            log.states[i, t], log.actions[i, t], log.rewards[i, t], log.propensity[i, t] = found
    return log


@pytest.mark.parametrize("normalise", [False, True])
@pytest.mark.parametrize("leaving", [0.0, 0.3])
@pytest.mark.parametrize("discount", [1.0, 0.8, 0.0])
def test_the_mean_over_all_courses_is_the_truth(discount, leaving, normalise) -> None:
    """Weights have mean 1 at every stage over all courses, so there the normalised forms are exact too."""
    world = Stages(n_stages=3, n_states=2, leaving=leaving, seed=4)
    log, candidate = every_round(world), world.best(explore=0.2)
    assert log.chance.sum() == pytest.approx(1, abs=1e-12)
    q_hat = np.random.default_rng(1).normal(size=candidate.shape)
    found = estimates(log, world.at(candidate, log), world.at(q_hat, log), discount=discount, self_normalised=normalise)
    for name, terms in found.items():
        assert value(terms, log.chance) == pytest.approx(world.value(candidate, discount), abs=1e-12), name


def test_with_the_true_q_sequential_dr_has_the_least_variance() -> None:
    world = Stages(n_stages=3, n_states=2, leaving=0.2, seed=4)
    log, candidate = every_round(world), world.best(explore=0.2)
    truth, policy = world.value(candidate, 0.9), world.at(candidate, log)

    def variance(terms):
        scores = terms.weighted + (0 if terms.direct is None else terms.direct)
        return log.chance @ scores**2 - truth**2

    def spread(q):
        return variance(estimates(log, policy, world.at(q, log), discount=0.9)["sequential-dr"])

    q = world.q(candidate, 0.9)
    others = estimates(log, policy, world.at(q, log), discount=0.9)
    assert spread(q) < 0.9 * variance(others["per-decision"]) < variance(others["trajectory"])
    assert spread(0 * q) == pytest.approx(variance(others["per-decision"]))
    for seed in range(5):
        assert spread(q + np.random.default_rng(seed).normal(scale=0.1, size=q.shape)) > spread(q)
    assert spread(4 - 3 * q) > variance(others["per-decision"])


@pytest.fixture(scope="module")
def drawn():
    """A log of rounds of unequal length, a candidate and an arbitrary q̂."""
    world = Stages(n_stages=4, n_states=3, n_actions=3, leaving=0.25, seed=8)
    log = world.sample(300, 5)
    rng = np.random.default_rng(2)
    return log, world.at(world.best(0.5), log), rng.normal(size=(300, 4, 3))


def test_sequential_dr_is_the_recursion_of_jiang_and_li(drawn) -> None:
    log, policy, q = drawn
    discount = 0.9

    def recursion(i, t):
        if t == log.length[i]:
            return 0.0
        a = log.actions[i, t]
        ratio = policy[i, t, a] / log.propensity[i, t]
        ahead = log.rewards[i, t] + discount * recursion(i, t + 1)
        return policy[i, t] @ q[i, t] + ratio * (ahead - q[i, t, a])

    by_hand = np.mean([recursion(i, 0) for i in range(300)])
    assert value(estimates(log, policy, q, discount=discount)["sequential-dr"]) == pytest.approx(by_hand, rel=1e-12)


@pytest.mark.parametrize("normalise", [False, True])
def test_importance_sampling_agrees_with_plain_loops(drawn, normalise) -> None:
    log, policy, q = drawn
    n, stages = log.rewards.shape
    weights, returns = np.ones((n, stages)), np.zeros(n)
    for i in range(n):
        weight = 1.0
        for t in range(stages):
            if t < log.length[i]:
                weight *= policy[i, t, log.actions[i, t]] / log.propensity[i, t]
                returns[i] += 0.7**t * log.rewards[i, t]
            weights[i, t] = weight
    found = estimates(log, policy, q, discount=0.7, self_normalised=normalise)
    below = weights.sum(axis=0) if normalise else np.full(stages, n)
    assert value(found["trajectory"]) == pytest.approx((weights[:, -1] * returns).sum() / below[-1], rel=1e-12)
    by_stage = [0.7**t * (weights[:, t] * log.rewards[:, t]).sum() / below[t] for t in range(stages)]
    assert value(found["per-decision"]) == pytest.approx(sum(by_stage), rel=1e-12)
    taken = np.take_along_axis(policy, np.maximum(log.actions, 0)[:, :, None], axis=2)[:, :, 0]
    np.testing.assert_allclose(prefix_weights(taken, log.propensity, log.length), weights)


@pytest.mark.parametrize("name", NAMES)
def test_standard_errors_of_normalised_forms_agree_with_the_jackknife(drawn, name) -> None:
    log, policy, q = drawn
    whole = interval_of(estimates(log, policy, q, self_normalised=True)[name])
    left_out = []
    for i in range(300):
        keep = np.arange(300) != i
        rest = SimpleNamespace(**{s: getattr(log, s)[keep] for s in log.__slots__})
        left_out.append(value(estimates(rest, policy[keep], q[keep], self_normalised=True)[name]))
    jackknife = np.sqrt(299 / 300 * ((np.array(left_out) - np.mean(left_out)) ** 2).sum())
    assert whole.stderr == pytest.approx(jackknife, rel=0.05)  # they differ by terms of order 1/n times the weights


@pytest.mark.parametrize("name", NAMES)
def test_one_stage_is_the_ordinary_estimator(name) -> None:
    """IPS for the first two, DR for the third, from their textbook formulas."""
    world = Stages(n_stages=1, n_actions=3, seed=1)
    log = world.sample(200, 0)
    policy, q = world.at(world.best(0.4), log), world.at(world.reward[None] + 0.1, log)
    a, y = log.actions[:, 0], log.rewards[:, 0]
    w = policy[np.arange(200), 0, a] / log.propensity[:, 0]
    ips = np.mean(w * y)
    dr = np.mean((policy * q).sum(axis=2)[:, 0] + w * (y - q[np.arange(200), 0, a]))
    assert value(estimates(log, policy, q)[name]) == pytest.approx(dr if name == "sequential-dr" else ips)


def test_a_candidate_that_is_the_logged_policy_gets_the_mean_return() -> None:
    world = Stages(n_stages=5, leaving=0.2, seed=3)
    log = world.sample(100, 1)
    policy = world.at(world.logging, log)
    for terms in list(estimates(log, policy, 0 * policy, discount=0.9).values())[:2]:
        assert value(terms) == pytest.approx(log.rewards @ 0.9 ** np.arange(5) @ np.full(100, 0.01))


@pytest.mark.parametrize("discount", [-0.1, 1.5, np.nan])
def test_a_discount_out_of_range_is_refused(drawn, discount) -> None:
    log, policy, q = drawn
    with pytest.raises(ParameterError, match=r"discount is .*Pass a number from 0 to 1"):
        estimates(log, policy, q, discount=discount)


def changed(log, **arrays):
    return SimpleNamespace(**{s: getattr(log, s) for s in log.__slots__} | arrays)


def test_lengths_are_checked(drawn) -> None:
    log, policy, q = drawn
    with pytest.raises(DataError, match=r"length has shape \(299,\).*whole numbers \(300,\)"):
        estimates(changed(log, length=log.length[1:]), policy, q)
    with pytest.raises(DataError, match=r"length holds 0 \(row 2\).*1 to 4 steps"):
        estimates(changed(log, length=np.where(np.arange(300) == 2, 0, log.length)), policy, q)
    with pytest.raises(DataError, match=r"type float64, expected whole numbers"):
        estimates(changed(log, length=log.length + 0.5), policy, q)


def test_what_lies_before_the_end_is_checked_and_what_lies_after_is_not(drawn) -> None:
    log, policy, q = drawn
    ends = int(np.flatnonzero(log.length == 2)[0])
    for column, garbage, error in (("rewards", np.nan, OutcomeError), ("propensity", 0.0, PropensityError)):
        array = getattr(log, column).copy()
        array[ends, 2:] = garbage
        before = value(estimates(log, policy, q)["per-decision"])
        assert value(estimates(changed(log, **{column: array}), policy, q)["per-decision"]) == before
        array[ends, 1] = garbage
        with pytest.raises(error, match=rf"\(row {ends}, step 1\)"):
            estimates(changed(log, **{column: array}), policy, q)
    beyond = log.actions.copy()
    beyond[ends, 1] = 3
    with pytest.raises(ActionError, match=rf"actions holds 3 \(row {ends}, step 1\)"):
        sequential_dr(log.rewards, beyond, policy, log.propensity, q, length=log.length)
