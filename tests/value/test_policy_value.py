"""Policy value: unbiasedness by enumeration, influence functions by the jackknife, interfaces and refusals."""

from __future__ import annotations

import itertools

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from persuadable.errors import ActionError, DataError, LeakageError, NotFittedError, ParameterError, PropensityError
from persuadable.log import DecisionLog
from persuadable.policies import BudgetPolicy, RandomPolicy, RankPolicy, TreatAll, TreatNone
from persuadable.spaces import Discrete
from persuadable.value.budget_values import budget_values
from persuadable.value.off_policy import Logged, action_scores, effect_at_threshold, judge
from persuadable.value.policy_value import arm_mean_outcomes, compare, compare_many, policy_value, random_like

METHODS = ["ips", "snips", "dr"]


class FirstColumns:
    """A stand-in for a learner: the effect of action a is feature a − 1."""

    def __init__(self, actions=("none", "mail")):
        self.actions_ = Discrete(actions)

    def fit(self, log):
        self.fitted_on = log.fingerprint
        return self

    def effect(self, X, outcome=None):
        table = np.asarray(X, dtype=np.float64)[:, : len(self.actions_) - 1]
        return np.column_stack([np.zeros(len(table)), table])


def make_log(n=300, arms=2, seed=0, propensity="varying", decimals=2, **roles):
    rng = np.random.default_rng(seed)
    x = np.round(rng.normal(size=(n, 3)), decimals)
    e = None
    if propensity == "varying":
        e = np.exp(0.5 * np.column_stack([x[:, 2], *(x[:, [0]] * a for a in range(1, arms))]))
        e /= e.sum(axis=1, keepdims=True)
        action = (rng.random(n)[:, None] > e.cumsum(axis=1)[:, :-1]).sum(axis=1)
    else:
        action = rng.permutation(np.arange(n) % (2 * arms - 1)) % arms
    y = 1 + x[:, 0] * (action > 0) + 0.5 * action + rng.normal(size=n)
    return DecisionLog.from_arrays(x, action, {"spend": y, "sent": 1.0 * (action > 0)}, propensity=e, **roles)


def make_policy(log, share=0.3, arms=2):
    names = ("none", "mail", "call")[:arms]
    return BudgetPolicy(FirstColumns(names).fit(make_log(seed=99, arms=arms)), share).calibrate(log)


def logged_by_hand(y, action, e, mu=None, method="ips"):
    return Logged(y, action, e, mu, method, None, None, False, ("0", "1"))


@pytest.mark.parametrize("method", ["ips", "dr"])
def test_the_expectation_over_all_assignments_is_the_policys_value(method):
    """Exact unbiasedness: every assignment of five units among three actions, weighted by its probability."""
    rng = np.random.default_rng(0)
    n, arms = 5, 3
    potential, mu = rng.normal(size=(n, arms)), rng.normal(size=(n, arms))
    e = rng.dirichlet(np.ones(arms) * 3, size=n)
    policy = rng.dirichlet(np.ones(arms), size=n)
    expectation, total = 0.0, 0.0
    scores = np.zeros((n, arms))
    for assignment in itertools.product(range(arms), repeat=n):
        a = np.array(assignment)
        probability = e[np.arange(n), a].prod()
        logged = logged_by_hand(potential[np.arange(n), a], a, e, mu if method == "dr" else None, method)
        expectation += probability * judge(logged, policy).value
        scores += probability * action_scores(logged)
        total += probability
    assert total == pytest.approx(1.0)
    assert expectation == pytest.approx((policy * potential).sum(axis=1).mean(), abs=1e-12)
    assert scores == pytest.approx(potential, abs=1e-12)


@pytest.mark.parametrize("method", ["ips", "dr"])
def test_the_expected_squared_standard_error_is_the_variance(method):
    """Exactly, over all pairs of independent rows from a small population: E[s²/2] = Var(mean)."""
    rows = [  # (probability of x, e(1 | x), policy's π(1 | x), (μ̂_0, μ̂_1), outcomes under 0 and 1)
        (0.5, 0.3, 0.9, (0.2, 0.8), ((0.0, 0.5), (1.0, 3.0))),
        (0.3, 0.6, 0.1, (1.0, 0.0), ((2.0, 2.5), (-1.0, 0.0))),
        (0.2, 0.5, 0.5, (0.0, 0.0), ((1.0, 1.5), (4.0, 4.5))),
    ]
    atoms = [
        (px * (e1 if a else 1 - e1) * 0.5, e1, pi, mu, a, y)
        for px, e1, pi, mu, outcomes in rows
        for a in (0, 1)
        for y in outcomes[a]
    ]
    mean = square = error = 0.0
    for one, two in itertools.product(atoms, repeat=2):
        probability = one[0] * two[0]
        e1, pi = np.array([one[1], two[1]]), np.array([one[2], two[2]])
        mu = np.array([one[3], two[3]]) if method == "dr" else None
        logged = logged_by_hand(
            np.array([one[5], two[5]]), np.array([one[4], two[4]]), np.column_stack([1 - e1, e1]), mu, method
        )
        judged = judge(logged, np.column_stack([1 - pi, pi]))
        stderr = logged.estimate(judged.value, judged.psi, 0.05, "").stderr
        mean += probability * judged.value
        square += probability * judged.value**2
        error += probability * stderr**2
    truth = sum(px * ((1 - pi) * np.mean(outcomes[0]) + pi * np.mean(outcomes[1])) for px, _, pi, _, outcomes in rows)
    assert mean == pytest.approx(truth)
    assert error == pytest.approx(square - mean**2)


def brute_force(log, p, method, mu):
    """Value and standard error from the textbook formulas, row by row."""
    y, a, e = log.outcome(), log.action, log.propensity()
    w = np.array([p[i, a[i]] / e[i, a[i]] for i in range(log.n)])
    if method == "snips":
        value = (w * y).sum() / w.sum()
        return value, np.sqrt((w**2 * (y - value) ** 2).sum() / w.sum() ** 2)
    if method == "ips":
        mu = np.zeros_like(p)
    terms = np.array([p[i] @ mu[i] + w[i] * (y[i] - mu[i, a[i]]) for i in range(log.n)])
    return terms.mean(), terms.std(ddof=1) / np.sqrt(log.n)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("arms", [2, 3])
def test_value_and_standard_error_by_the_textbook(method, arms):
    log = make_log(arms=arms)
    rng = np.random.default_rng(1)
    p = rng.dirichlet(np.ones(arms), size=log.n)
    mu = rng.normal(size=(log.n, arms))
    found = policy_value(log, p, method=method, mu=mu if method == "dr" else None)
    value, stderr = brute_force(log, p, method, mu)
    assert found.value == pytest.approx(value)
    assert found.stderr == pytest.approx(stderr, rel=3e-3 if method == "snips" else 1e-9)
    w = p[np.arange(log.n), log.action] / log.propensity()[np.arange(log.n), log.action]
    assert found.ess == pytest.approx(w.sum() ** 2 / (w**2).sum())
    assert found.mean_weight == pytest.approx(w.mean())
    assert found.action_shares == pytest.approx(tuple(p.mean(axis=0)))
    assert found.share == pytest.approx(1 - p[:, 0].mean())


def test_judging_the_logging_policy_itself_gives_the_mean():
    log = make_log(arms=3)
    found = policy_value(log, log.propensity(), method="ips")
    assert found.value == pytest.approx(log.outcome().mean())
    assert found.stderr == pytest.approx(log.outcome().std(ddof=1) / np.sqrt(log.n))
    assert found.ess == pytest.approx(log.n)


def jackknife(n, value_of, step=1e-4):
    """Influence functions by definition: how the value moves when a row's weight does."""
    plain = np.ones(n)
    psi = []
    for i in range(n):
        up, down = plain.copy(), plain.copy()
        up[i] += step
        down[i] -= step
        psi.append(n * (value_of(up) - value_of(down)) / (2 * step))
    return np.array(psi)


def values_of(row):
    return np.array([row.value.value, row.random.value, row.difference.value])


def reweighted(log, weight):
    return DecisionLog.from_arrays(
        log.features, log.action, dict(log.outcomes), propensity=log.propensities, weight=weight
    )


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("propensity", ["varying", "shares"])
def test_standard_errors_agree_with_the_jackknife(method, propensity):
    """Estimated shares of the arms included: the weighted log's shares move with the weights."""
    log = make_log(n=80, arms=3, propensity=propensity)
    p = np.random.default_rng(2).dirichlet(np.ones(3), size=log.n)
    mu = np.array([0.9, 1.4, 2.2]) if method == "dr" else None
    psi = jackknife(log.n, lambda w: policy_value(reweighted(log, w), p, method=method, mu=mu).value)
    expected = np.sqrt(psi @ psi / log.n * log.n / (log.n - 1) / log.n)
    assert policy_value(log, p, method=method, mu=mu).stderr == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("first", [0, 1, 2])
def test_shares_among_the_equally_eligible_are_sampled_too(method, first):
    """Three kinds of eligibility, whichever comes first; one kind can only be left alone."""
    base = make_log(n=90, arms=3, propensity="shares")
    kind = (np.arange(90) + first) % 3
    eligible = np.column_stack([np.ones(90, bool), kind > 0, kind > 1])
    action = np.where(eligible[np.arange(90), base.action], base.action, 0)

    def log_of(weight=None):
        return DecisionLog.from_arrays(base.features, action, dict(base.outcomes), eligible=eligible, weight=weight)

    p = np.random.default_rng(2).dirichlet(np.ones(3), size=90) * eligible
    p /= p.sum(axis=1, keepdims=True)
    mu = np.array([0.9, 1.4, 2.2]) if method == "dr" else None
    psi = jackknife(90, lambda w: policy_value(log_of(w), p, method=method, mu=mu).value)
    found = policy_value(log_of(), p, method=method, mu=mu)
    assert found.stderr == pytest.approx(np.sqrt(psi @ psi / 89 / 90), rel=1e-5)
    halves = np.linspace(0.5, 2.0, 90)
    psi = jackknife(90, lambda w: policy_value(log_of(w * halves), p, method=method, mu=mu).value)
    found = policy_value(log_of(halves), p, method=method, mu=mu)
    assert found.stderr == pytest.approx(np.sqrt(psi @ psi / 89 / 90), rel=1e-5)


def test_estimated_shares_make_ips_more_precise():
    log = make_log(n=2000, propensity="shares")
    stored = log.with_propensities(log.propensity())
    assert (
        policy_value(log, TreatAll(), method="ips").stderr < 0.8 * policy_value(stored, TreatAll(), method="ips").stderr
    )
    a = log.outcome()[log.action == 1]
    assert policy_value(log, TreatAll(), method="ips").stderr == pytest.approx(a.std() / np.sqrt(a.size), rel=1e-3)


def weighted_and_repeated(propensity):
    base = make_log(n=60, seed=8, propensity=propensity)
    weight = np.random.default_rng(3).integers(1, 4, base.n)
    rows = np.repeat(np.arange(base.n), weight)
    stored = base.propensities
    roles = {"propensity": stored}
    weighted = DecisionLog.from_arrays(base.features, base.action, dict(base.outcomes), weight=weight, **roles)
    repeated = DecisionLog.from_arrays(
        base.features.take(rows),
        base.action[rows],
        {k: v[rows] for k, v in base.outcomes.items()},
        unit=rows,
        propensity=None if stored is None else stored[rows],
    )
    return weighted, repeated


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("propensity", ["varying", "shares"])
def test_weights_and_repeated_units_tell_the_same(method, propensity):
    """A row of weight 3 is three rows of one unit: same value, same clustered standard error."""
    weighted, repeated = weighted_and_repeated(propensity)
    mu = [1.0, 2.0] if method == "dr" else None
    one, two = (policy_value(log, RandomPolicy(0.4), method=method, mu=mu) for log in (weighted, repeated))
    assert one.value == pytest.approx(two.value)
    assert one.stderr == pytest.approx(two.stderr)
    alone = policy_value(
        DecisionLog.from_arrays(
            repeated.features, repeated.action, dict(repeated.outcomes), propensity=repeated.propensities
        ),
        RandomPolicy(0.4), method=method, mu=mu,
    )  # fmt: skip
    assert alone.stderr < two.stderr


def test_a_paired_difference_is_the_difference_of_its_rows():
    log = make_log()
    policy = make_policy(make_log(seed=5))
    mu = [1.0, 1.5]
    found = compare(log, policy, RandomPolicy(0.3), mu=mu)
    ours = policy.probabilities(log.features, 2)
    gamma = action_scores(
        logged_by_hand(log.outcome(), log.action.astype(int), log.propensity(), np.tile(mu, (log.n, 1)))
    )
    terms = ((ours - [0.7, 0.3]) * gamma).sum(axis=1)
    assert found.difference.value == pytest.approx(terms.mean())
    assert found.difference.stderr == pytest.approx(terms.std(ddof=1) / np.sqrt(log.n))
    assert found.difference.value == pytest.approx(found.policy.value - found.baseline.value)
    assert "random 30%" in str(found)


def test_a_policy_against_itself_differs_by_nothing():
    log = make_log()
    policy = make_policy(make_log(seed=5))
    found = compare(log, policy, policy, method="snips")
    assert (found.difference.value, found.difference.stderr, found.p_value) == (0.0, 0.0, 1.0)


def test_many_baselines_share_one_look_at_the_log():
    log = make_log(cost="sent")
    policy = make_policy(make_log(seed=5))
    table = compare_many(log, policy, {"lot": RandomPolicy(0.3), "all": TreatAll(), "none": TreatNone()}, mu=[1.0, 1.5])
    alone = compare(log, policy, TreatAll(), mu=[1.0, 1.5])
    assert table["all"].difference.value == alone.difference.value
    assert table["all"].difference.stderr == alone.difference.stderr
    frame = table.frame()
    assert isinstance(frame, pl.DataFrame)
    assert frame["policy"].to_list() == [policy.name, "lot", "all", "none"]
    assert frame["difference"].to_list()[0] is None
    assert "gain of FirstColumns budget 30%" in str(table)
    with pytest.raises(ParameterError, match="no baseline 'best'"):
        table["best"]
    with pytest.raises(ParameterError, match="nothing to compare"):
        compare_many(log, policy, {}, mu=[1.0, 1.5])


def test_the_usual_baselines_are_random_all_and_none():
    log, three = make_log(), make_log(arms=3)
    table = compare_many(log, make_policy(make_log(seed=5)), mu=[1.0, 1.5])
    assert [c.baseline.policy for c in table.comparisons] == ["random", "treat all", "treat none"]
    assert table["random"].baseline.share == pytest.approx(table.policy.share)
    table = compare_many(three, make_policy(make_log(arms=3, seed=5), arms=3), method="ips")
    assert [c.baseline.policy for c in table.comparisons] == [
        "random",
        "treat all with 1",
        "treat all with 2",
        "treat none",
    ]


def half_eligible(weight=None, known=False):
    """Half may be treated; the log has no propensities unless they are ``known``."""
    base = make_log(n=400, propensity="shares", seed=12)
    may = np.arange(400) % 2 == 0
    eligible = np.column_stack([np.ones(400, bool), may])
    e = np.where(may[:, None], [[0.5, 0.5]], [[1.0, 0.0]]) if known else None
    return DecisionLog.from_arrays(
        base.features, base.action * may, dict(base.outcomes), eligible=eligible, propensity=e, weight=weight
    )


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_random_treats_as_many_as_the_policy_where_only_some_are_eligible(known, weighted):
    log = half_eligible(np.linspace(0.5, 2.0, 400) if weighted else None, known)
    policy = make_policy(make_log(seed=5))
    table = compare_many(log, policy, mu=[1.0, 1.5])
    random = table["random"].baseline
    assert random.share == pytest.approx(table.policy.share)
    assert 0 < random.share < 0.4
    lot = random_like(log, policy)
    assert isinstance(lot, RandomPolicy)
    reach = np.average(log.eligible[:, 1], weights=log.weight)
    assert lot.share == pytest.approx(random.share / reach)
    assert policy_value(log, lot, mu=[1.0, 1.5]).value == pytest.approx(random.value)
    assert random_like(log, TreatAll()).share == pytest.approx(1.0)
    assert random_like(log, TreatNone()).share == 0.0
    share = table.policy.share
    budget = budget_values(log, log.features.values[:, 0].astype(float), [share], mu=[1.0, 1.5]).rows[0]
    assert budget.random.value == pytest.approx(random.value)


def test_random_of_several_treatments_reaches_whoever_may_get_any():
    base = make_log(n=300, arms=3, propensity="shares", seed=2)
    eligible = np.column_stack([np.ones(300, bool), np.arange(300) % 3 == 0, np.arange(300) % 3 < 2])
    action = np.where(eligible[np.arange(300), base.action], base.action, 0)
    log = DecisionLog.from_arrays(base.features, action, dict(base.outcomes), eligible=eligible)
    p = np.where(eligible[:, [1]], [[0.4, 0.6, 0.0]], [[1.0, 0.0, 0.0]])
    assert random_like(log, p).share == pytest.approx(0.2 / (2 / 3))
    nobody = log.take(np.arange(300) % 3 == 2)
    assert random_like(nobody, TreatNone()).share == 0.0


def test_the_expected_cost_is_told_where_the_log_has_one():
    log = make_log(cost="sent")
    found = policy_value(log, RandomPolicy(0.3), outcome="spend", mu=[1.0, 1.5])
    # Sending costs 1 with certainty, so the arms' means predict the cost exactly.
    assert found.cost.value == pytest.approx(0.3)
    assert found.cost.stderr == pytest.approx(0.0, abs=1e-12)
    assert "cost 0.3" in str(found)
    assert policy_value(log, RandomPolicy(0.3), method="ips").cost.value == pytest.approx(0.3, abs=0.1)
    assert policy_value(make_log(), RandomPolicy(0.3), method="ips").cost is None


def test_arm_means_are_hajek_means():
    log = make_log(weight=np.linspace(0.5, 2, 300))
    means = arm_mean_outcomes(log)
    for a in (0, 1):
        rows = log.action == a
        assert means[a] == pytest.approx(
            np.average(log.outcome()[rows], weights=(log.weight / log.propensity()[:, a])[rows])
        )


def with_ties(n=120, seed=4):
    """Scores with few distinct values, so that thresholds lie on heavy ties and derivatives exist."""
    return make_log(n=n, seed=seed, decimals=0)


@pytest.mark.parametrize("method", METHODS)
def test_a_threshold_drawn_from_the_same_rows_is_in_the_interval(method):
    log = with_ties()
    mu = [1.0, 1.5] if method == "dr" else None
    learner = FirstColumns().fit(make_log(seed=99))

    def value_of(weight):
        here = reweighted(log, weight)
        return policy_value(here, BudgetPolicy(learner, 0.3).calibrate(here), method=method, mu=mu).value

    psi = jackknife(log.n, value_of)
    expected = np.sqrt(psi @ psi / (log.n - 1) / log.n)
    policy = BudgetPolicy(learner, 0.3).calibrate(log)
    found = policy_value(log, policy, method=method, mu=mu)
    assert policy.tie_probability > 0
    assert found.stderr == pytest.approx(expected, rel=1e-5)
    fixed = policy_value(log, policy.probabilities(log.features, 2), method=method, mu=mu)
    assert fixed.value == found.value
    assert fixed.stderr != pytest.approx(found.stderr, rel=1e-3)


def test_a_break_even_that_binds_leaves_nothing_to_sample():
    log = with_ties()
    policy = BudgetPolicy(FirstColumns().fit(make_log(seed=99)), 1.0).calibrate(log)
    assert policy.rule.binds == "break-even"
    found = policy_value(log, policy, method="ips")
    assert found.stderr == policy_value(log, policy.probabilities(log.features, 2), method="ips").stderr


def test_a_threshold_from_elsewhere_is_taken_as_it_is():
    log = with_ties()
    policy = make_policy(make_log(seed=5))
    found = policy_value(log, policy, method="ips")
    assert found.stderr == policy_value(log, policy.probabilities(log.features, 2), method="ips").stderr


@pytest.mark.parametrize("propensity", ["varying", "shares"])
@pytest.mark.parametrize("break_even", [None, 0.0])
def test_gains_over_random_agree_with_the_jackknife(propensity, break_even):
    log = make_log(n=120, seed=4, decimals=0, propensity=propensity)
    scores = log.features.values[:, 0].astype(float)
    mu = [1.0, 1.5]

    def row_of(weight, share):
        return budget_values(reweighted(log, weight), scores, [share], mu=mu, break_even=break_even).rows[0]

    for share in (0.3, 0.9):
        found = row_of(np.ones(log.n), share)
        psi = jackknife(log.n, lambda w, share=share: values_of(row_of(w, share)))
        expected = np.sqrt((psi**2).sum(axis=0) / (log.n - 1) / log.n)
        assert [e.stderr for e in (found.value, found.random, found.difference)] == pytest.approx(expected, rel=1e-5)


def test_gains_over_random_where_some_are_ineligible_agree_with_the_jackknife():
    base = make_log(n=120, seed=4, decimals=0)
    eligible = np.column_stack([np.ones(120, bool), (base.action == 1) | (np.arange(120) % 3 > 0)])
    e = np.where(eligible, base.propensities, 0.0)
    e /= e.sum(axis=1, keepdims=True)

    def log_of(weight):
        return DecisionLog.from_arrays(
            base.features, base.action, dict(base.outcomes), propensity=e, eligible=eligible, weight=weight
        )

    scores = base.features.values[:, 0].astype(float)

    def row_of(weight):
        return budget_values(log_of(weight), scores, [0.3], method="ips").rows[0]

    found = row_of(np.ones(120))
    assert found.treated == pytest.approx(0.3)
    psi = jackknife(120, lambda w: values_of(row_of(w)))
    expected = np.sqrt((psi**2).sum(axis=0) / 119 / 120)
    assert [e.stderr for e in (found.value, found.random, found.difference)] == pytest.approx(expected, rel=1e-5)


def test_budgets_from_scores_treat_exactly_their_share():
    log = make_log()
    table = budget_values(log, log.features.values[:, 0], [0.0, 0.25, 1.0], method="ips")
    assert [row.treated for row in table.rows] == pytest.approx([0.0, 0.25, 1.0])
    none, _, everybody = table.rows
    assert none.value.value == pytest.approx(table.treat_none.value)
    assert everybody.value.value == pytest.approx(table.treat_all.value)
    assert everybody.difference.value == pytest.approx(0.0, abs=1e-12)
    assert everybody.difference.stderr == pytest.approx(0.0, abs=1e-12)
    assert table.threshold_from == "this log"


def test_budgets_of_a_calibrated_policy_keep_its_thresholds():
    log = make_log()
    policy = make_policy(make_log(seed=5))
    table = budget_values(log, policy, [0.1, 0.3, 0.9], mu=[1.0, 1.5])
    assert [row.threshold for row in table.rows] == [policy.threshold_at(s).threshold for s in (0.1, 0.3, 0.9)]
    judged = compare(log, policy, RandomPolicy(table.rows[1].treated), mu=[1.0, 1.5])
    assert table.rows[1].value.value == pytest.approx(judged.policy.value)
    assert table.rows[1].value.stderr == pytest.approx(judged.policy.stderr)
    assert table.rows[1].difference.value == pytest.approx(judged.difference.value)
    assert table.rows[2].treated < 0.9
    assert table.threshold_from == "calibration"


def test_budgets_against_another_ranking():
    log = make_log()
    x = log.features.values
    response = RankPolicy(lambda f: np.asarray(f)[:, 1], 0.5).calibrate(log)
    learner, others = FirstColumns().fit(make_log(seed=99)), {"response": response, "x2": x[:, 2]}
    table = budget_values(log, learner, [0.3], baselines=others, method="ips")
    row = table.rows[0]
    assert row.gains["response"].value == pytest.approx(row.value.value - row.baselines["response"].value)
    everybody_worth_it = budget_values(log, learner, [1.0], method="ips").rows[0]
    assert everybody_worth_it.treated == pytest.approx(np.mean(x[:, 0] > 0))
    itself = budget_values(log, x[:, 0], [0.3], baselines={"itself": x[:, 0]}, method="ips").rows[0]
    assert (itself.gains["itself"].value, itself.gains["itself"].stderr) == (0.0, 0.0)
    frame = table.frame()
    assert {"value", "random_lower", "difference_upper", "response", "gain over x2"} <= set(frame.columns)
    assert "gain over random" in str(table)


def test_budgets_with_several_treatments():
    log = make_log(arms=3, n=600)
    effects = np.column_stack([np.zeros(600), log.features.values[:, :2]])
    best = budget_values(log, effects, [0.4], mu=[1, 1.5, 2]).rows[0]
    assert best.treated == pytest.approx(0.4)
    one = budget_values(log, effects[:, 2], [0.4], action="2", mu=[1, 1.5, 2]).rows[0]
    rule = np.column_stack([np.zeros((600, 2)), effects[:, 2]])
    same = budget_values(log, np.where(rule == 0, -np.inf, rule), [0.4], mu=[1, 1.5, 2]).rows[0]
    assert one.value.value == pytest.approx(same.value.value)


def test_the_effect_at_the_threshold_is_local():
    rng = np.random.default_rng(0)
    score = rng.random(4000)
    assert effect_at_threshold(score, 2 * score, 0.7, 0.3) == pytest.approx(1.4, abs=0.02)
    tied = np.where(score > 0.5, 1.0, score)
    gain = np.where(tied == 1.0, 5.0, -1.0)
    assert effect_at_threshold(tied, gain, 1.0, 0.1) == 5.0
    # Those with positive gains weigh three times as much as the others, at every score.
    gain = np.where(np.arange(4000) % 2 == 0, 1.0, -1.0)
    assert effect_at_threshold(score, gain, 0.7, 0.3, 2.0 + gain) == pytest.approx(0.5, abs=0.05)


@given(st.permutations(range(40)), st.sampled_from(METHODS))
def test_row_order_does_not_matter(order, method):
    log = make_log(n=40, decimals=0, seed=11)
    mixed = log.take(np.array(order))
    mu = [1.0, 2.0] if method == "dr" else None
    learner = FirstColumns().fit(make_log(seed=99))
    one, two = (policy_value(x, BudgetPolicy(learner, 0.3).calibrate(x), method=method, mu=mu) for x in (log, mixed))
    assert one.value == pytest.approx(two.value)
    assert one.stderr == pytest.approx(two.stderr)


@given(st.floats(0.01, 100), st.floats(-50, 50), st.sampled_from(["snips", "dr"]))
def test_values_follow_the_outcomes_scale_and_origin(scale, shift, method):
    log = make_log(n=60)
    moved = DecisionLog.from_arrays(
        log.features, log.action, scale * log.outcome() + shift, propensity=log.propensities
    )
    mu = np.array([1.0, 2.0])
    one = policy_value(log, RandomPolicy(0.4), method=method, mu=mu if method == "dr" else None)
    two = policy_value(moved, RandomPolicy(0.4), method=method, mu=scale * mu + shift if method == "dr" else None)
    assert two.value == pytest.approx(scale * one.value + shift, abs=1e-9)
    assert two.stderr == pytest.approx(scale * one.stderr, abs=1e-9)


def test_relabelling_the_arms_changes_nothing():
    log = make_log(arms=3)
    swap = np.array([0, 2, 1])
    other = DecisionLog.from_arrays(log.features, swap[log.action], log.outcome(), propensity=log.propensities[:, swap])
    one = policy_value(log, TreatAll(1), mu=[1.0, 2.0, 3.0])
    two = policy_value(other, TreatAll(2), mu=[1.0, 3.0, 2.0])
    assert (one.value, one.stderr) == pytest.approx((two.value, two.stderr))


def test_rows_that_fitted_the_policy_are_refused():
    log = make_log()
    policy = BudgetPolicy(FirstColumns().fit(log)).calibrate
    held_out = make_log(seed=5)
    fitted = policy(held_out)
    for ask in (
        lambda: policy_value(log, fitted, method="ips"),
        lambda: compare(log, RandomPolicy(0.1), fitted, method="ips"),
        lambda: compare_many(log, fitted, method="ips"),
        lambda: budget_values(log, fitted, method="ips"),
        lambda: budget_values(log, fitted.learner, method="ips"),
        lambda: budget_values(log, RankPolicy(len), baselines={"ours": fitted}, method="ips"),
    ):
        with pytest.raises((LeakageError, NotFittedError)):
            ask()


def test_what_does_not_fit_is_refused():
    log = make_log()
    with pytest.raises(ParameterError, match="method"):
        policy_value(log, TreatAll(), method="magic")
    with pytest.raises(ParameterError, match="ignores"):
        policy_value(log, TreatAll(), method="ips", mu=[1, 2])
    with pytest.raises(DataError, match="mu has shape"):
        policy_value(log, TreatAll(), mu=[1, 2, 3])
    with pytest.raises(DataError, match="not finite"):
        policy_value(log, TreatAll(), mu=[1, np.nan])
    with pytest.raises(DataError, match="shape"):
        policy_value(log, np.ones((log.n, 3)) / 3, method="ips")
    p = RandomPolicy(0.5).probabilities(log.features, 2)
    p[7] = [0.5, 0.6]
    with pytest.raises(DataError, match="row 7"):
        policy_value(log, p, method="ips")
    with pytest.raises(DataError, match="ranking 'value' has shape"):
        budget_values(log, np.ones(3), method="ips")
    with pytest.raises(ParameterError, match="snips"):
        budget_values(log, np.ones(log.n), method="snips")
    with pytest.raises(ParameterError, match="share"):
        budget_values(log, np.ones(log.n), [1.5], method="ips")
    with pytest.raises(NotFittedError):
        policy_value(log, BudgetPolicy(FirstColumns().fit(make_log(seed=5))), method="ips")
    with pytest.raises(ParameterError, match="alpha"):
        policy_value(log, TreatAll(), method="ips", alpha=2.0)


def test_the_cost_of_an_arm_without_rows_is_not_made_up():
    log = make_log(arms=3, cost="sent")
    some = log.take(log.action != 2)
    policy = np.tile([0.5, 0.5, 0.0], (some.n, 1))
    with pytest.raises(ActionError, match=r"No row took '2', whose mean 'sent' is asked for.*log\.select"):
        policy_value(some, policy, mu=(0.0, 0.0, 0.0))
    assert policy_value(some, policy, method="ips").cost is not None
    fewer = some.select(actions=["0", "1"])
    assert policy_value(fewer, policy[:, :2], mu=(0.0, 0.0)).cost is not None


def test_what_was_never_tried_cannot_be_judged():
    base = make_log(n=50)
    eligible = np.column_stack([np.ones(50, bool), base.action == 1])
    e = np.where(eligible, 0.5, 0.0)
    e[:, 0] = 1 - e[:, 1]
    log = DecisionLog.from_arrays(base.features, base.action, base.outcome(), propensity=e, eligible=eligible)
    assert policy_value(log, TreatAll(), method="ips").share == pytest.approx(np.mean(base.action))
    with pytest.raises(PropensityError, match="never tried"):
        policy_value(log, np.tile([0.0, 1.0], (50, 1)), method="ips")
    only = DecisionLog.from_arrays(np.zeros((3, 1)), [0, 1, 0], [1.0, 2.0, 3.0], propensity=0.5)
    with pytest.raises(PropensityError, match="No row"):
        policy_value(only, np.array([[0, 1.0], [1, 0], [0, 1]]), method="snips")
