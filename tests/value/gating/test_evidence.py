"""The arrays the gate judges: the same numbers as elsewhere, and honest about what was never tried."""

from __future__ import annotations

import numpy as np
import pytest

from persuadable.effects.arrays import Effects
from persuadable.errors import DataError, LeakageError
from persuadable.log import DecisionLog
from persuadable.policies import RandomPolicy, RankPolicy
from persuadable.value.gating.agreement import agreement
from persuadable.value.gating.evidence import by_arm_means, gather
from persuadable.value.policy_value import arm_mean_outcomes, compare
from persuadable.worlds import RandomisedTrial

WORLD = RandomisedTrial("nonlinear", "binary", n_actions=3, treated_share=0.5, base_rate=0.3, n_features=7)


def log_and_tables(n=800, seed=0, **more):
    rng = np.random.default_rng(seed)
    log = WORLD.sample(n, random_state=seed, **more)
    ours, theirs = rng.dirichlet(np.ones(3), (2, n))
    return log, ours, theirs, rng.uniform(0, 1, (n, 3))


@pytest.mark.parametrize("known", [True, False])
def test_the_difference_is_that_of_compare(known):
    log, ours, theirs, q = log_and_tables(known_propensity=known)
    candidate, baseline, difference = gather(log, ours, theirs, q_hat=q).answer(0.1)
    expected = compare(log, ours, theirs, mu=q, alpha=0.1)
    assert difference.interval == pytest.approx(expected.interval)
    assert (candidate.value, candidate.stderr) == pytest.approx((expected.policy.value, expected.policy.stderr))
    assert (baseline.value, baseline.ess) == pytest.approx((expected.baseline.value, expected.baseline.ess))


@pytest.mark.parametrize("method", ["ips", "snips"])
def test_other_estimators_are_those_of_compare(method):
    log, ours, theirs, q = log_and_tables()
    found = gather(log, ours, theirs, q_hat=q).difference(method)
    expected = compare(log, ours, theirs, method=method)
    assert found.value == pytest.approx(expected.value)
    assert found.psi.std(ddof=1) / np.sqrt(log.n) == pytest.approx(expected.stderr)


def test_a_threshold_drawn_from_the_same_rows_counts_in_the_interval():
    two = RandomisedTrial("nonlinear", "binary", base_rate=0.3, n_features=7).sample(1_000, random_state=1)
    policy = RankPolicy(lambda features: features.values[:, 0], 0.3).calibrate(two)
    mu = arm_mean_outcomes(two)
    _, _, difference = gather(two, policy, RandomPolicy(0.3), q_hat=mu).answer(0.05)
    assert difference.stderr == pytest.approx(compare(two, policy, RandomPolicy(0.3), mu=mu).stderr)


@pytest.mark.parametrize("weighted", [False, True])
def test_what_some_may_not_get_changes_nothing_for_policies_that_keep_to_it(weighted):
    """Eligibility makes propensities of 0: the threshold's sampling counts all the same, and SNIPS is no less right."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1_500, 2))
    allowed = np.column_stack([np.ones(1_500, dtype=bool), x[:, 1] > -0.5])
    action = np.where(allowed[:, 1], rng.integers(0, 2, 1_500), 0)
    e = np.where(allowed[:, 1], 0.5, 0.0)
    log = DecisionLog.from_arrays(
        x,
        action,
        x[:, 0] + 2 * action * x[:, 0] + rng.normal(size=1_500),
        propensity=np.column_stack([1 - e, e]),
        eligible=allowed,
        weight=rng.uniform(0.5, 2, 1_500) if weighted else None,
    )
    policy, q = RankPolicy(lambda features: features.values[:, 0], 0.3).calibrate(log), np.zeros((1_500, 2))
    evidence = gather(log, policy, RandomPolicy(0.3), q_hat=q)
    expected = compare(log, policy, RandomPolicy(0.3), mu=q)
    assert evidence.answer(0.05)[2].interval == pytest.approx(expected.interval)
    found = agreement(evidence)
    assert list(found.estimates) == ["dm", "ips", "snips", "dr"]
    assert found.estimates["snips"].value == pytest.approx(
        compare(log, policy, RandomPolicy(0.3), method="snips").value
    )


def test_row_weights_and_units_count():
    rng = np.random.default_rng(2)
    log, ours, theirs, q = log_and_tables()
    log = DecisionLog.from_arrays(
        log.features,
        log.action,
        log.outcome(),
        action_names=WORLD.action_names,
        propensity=log.propensity(),
        weight=rng.uniform(0.2, 2, log.n),
        unit=rng.integers(0, 200, log.n),
    )
    _, _, difference = gather(log, ours, theirs, q_hat=q).answer(0.05)
    expected = compare(log, ours, theirs, mu=q)
    assert (difference.value, difference.stderr) == pytest.approx((expected.value, expected.stderr))


def test_propensities_of_the_actions_taken_are_enough_for_the_difference():
    log, ours, theirs, q = log_and_tables()
    few = DecisionLog.from_arrays(
        log.features,
        log.action,
        log.outcome(),
        action_names=WORLD.action_names,
        taken_propensity=log.taken_propensity(),
    )
    found, expected = (gather(one, ours, theirs, q_hat=q).answer(0.05)[2] for one in (few, log))
    assert (found.value, found.interval) == (pytest.approx(expected.value), pytest.approx(expected.interval))
    assert gather(few, ours, theirs, q_hat=q).table is None


def with_untried(n=2_000, seed=3):
    """A log of two actions in which the treatment had no chance in a third of the rows, and two policies on it."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 2))
    never = x[:, 0] > 0.4
    e = np.column_stack([np.where(never, 1.0, 0.5), np.where(never, 0.0, 0.5)])
    action = (rng.random(n) < e[:, 1]).astype(int)
    y = rng.normal(size=n) + action
    log = DecisionLog.from_arrays(x, action, y, propensity=e)
    treat = rng.random(n)
    return log, np.column_stack([1 - treat, treat]), np.tile([0.8, 0.2], (n, 1)), rng.normal(size=(n, 2)), never


def test_what_was_never_tried_is_bounded_by_the_outcomes_range_as_a_loop_has_it():
    log, ours, theirs, q, never = with_untried()
    low, high = log.outcome().min(), log.outcome().max()
    evidence = gather(log, ours, theirs, q_hat=q)
    lower = upper = predicted = share = 0.0
    for i in np.flatnonzero(never):
        gap = ours[i, 1] - theirs[i, 1]  # the control was tried, so only the treatment's part is unknown
        lower += (gap * low if gap > 0 else gap * high) / log.n
        upper += (gap * high if gap > 0 else gap * low) / log.n
        predicted += gap * q[i, 1] / log.n
        share += abs(gap) / log.n
    found = evidence.unsupported
    assert (found.lower, found.upper) == pytest.approx((lower, upper))
    assert (found.predicted, found.share) == pytest.approx((predicted, share))
    assert found.candidate == pytest.approx(ours[never, 1].sum() / log.n)
    _, _, difference = evidence.answer(0.05)
    known = evidence.difference().value
    assert difference.value == pytest.approx(known + predicted)
    half = 1.959964 * difference.stderr
    assert difference.interval == pytest.approx((known - half + lower, known + half + upper))


def test_the_bounds_hold_whatever_happens_where_nothing_was_tried():
    """Two worlds that agree on everything a log can hold: their true differences lie in one interval."""
    for untold in (-3.0, 3.0):
        held = 0
        for seed in range(20):
            log, ours, theirs, _, never = with_untried(seed=100 + seed)
            # E[Y | treatment] is 1 where it was tried, `untold` where it was not; E[Y | control] is 0.
            truth = float(((ours[:, 1] - theirs[:, 1]) * np.where(never, untold, 1.0)).mean())
            _, _, told = gather(log, ours, theirs, q_hat=np.array([0.0, 1.0])).answer(0.05)
            held += told.interval[0] <= truth <= told.interval[1]
        assert held == 20


def test_a_known_range_replaces_the_one_seen():
    log, ours, theirs, q, _ = with_untried()
    seen, told = (gather(log, ours, theirs, q_hat=q, outcome_range=ends).unsupported for ends in (None, (-10, 10)))
    assert told.lower < seen.lower < seen.upper < told.upper
    assert told.upper - told.lower == pytest.approx(20 * told.share)


def test_a_floor_counts_small_propensities_as_never_tried():
    log, ours, theirs, q = log_and_tables()
    assert gather(log, ours, theirs, q_hat=q).tried is None
    floored = gather(log, ours, theirs, q_hat=q, support_floor=0.3)  # treatments have 0.25 each
    assert floored.unsupported.candidate == pytest.approx(ours[:, 1:].sum(axis=1).mean())


def test_another_outcome_is_predicted_by_the_arms_weighted_means():
    log, ours, theirs, q, _ = with_untried()
    other = np.arange(log.n) % 7
    log = DecisionLog.from_arrays(
        log.features, log.action, {"y": log.outcome(), "other": other}, propensity=log.propensity()
    )
    moved = by_arm_means(gather(log, ours, theirs, q_hat=q), "other")
    assert moved.mu[0] == pytest.approx(arm_mean_outcomes(log, "other"))
    assert moved.unsupported.upper - moved.unsupported.lower == pytest.approx(6 * moved.unsupported.share)


def test_bad_input_is_refused():
    log, ours, theirs, q = log_and_tables()
    with pytest.raises(DataError, match="the candidate gives probabilities of shape"):
        gather(log, ours[:, :2], theirs, q_hat=q)
    with pytest.raises(DataError, match=r"the baseline gives .* no probability distribution"):
        gather(log, ours, theirs * 2, q_hat=q)
    q[5, 1] = np.nan
    with pytest.raises(DataError, match=r"q_hat is not finite.*row 5"):
        gather(log, ours, theirs, q_hat=q)


def test_rows_that_fitted_a_policy_are_refused():
    log = RandomisedTrial("linear", "binary", n_features=7).sample(200, random_state=0)

    class Fitted(RandomPolicy):
        fitted_on = log.fingerprint

    with pytest.raises(LeakageError, match="fitted"):
        gather(log, Fitted(0.3), RandomPolicy(0.5), q_hat=np.zeros(2))
    with pytest.raises(LeakageError, match="the learner behind"):
        gather(log, RandomPolicy(0.3), RandomPolicy(0.5), q_hat=Effects.of(np.zeros((log.n, 2)), log.fingerprint))
