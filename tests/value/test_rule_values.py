"""What rules are worth: means by hand, sums over rules, clusters, costs, refusals."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from persuadable.errors import LeakageError, NotFittedError, ParameterError, PropensityError
from persuadable.log import DecisionLog
from persuadable.policies import PolicyTree, TreatNone
from persuadable.value import compare, policy_value, rule_values


def make_log(n=600, seed=0, known=True, **roles):
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 4, size=(n, 2)).astype(float)
    e = np.column_stack([0.2 + 0.1 * x[:, 0], 0.4 - 0.05 * x[:, 0], 0.4 - 0.05 * x[:, 0]])
    action = (rng.random(n)[:, None] > e.cumsum(axis=1)[:, :-1]).sum(axis=1)
    gain = np.column_stack([np.zeros(n), np.where(x[:, 0] > 1, 1.0, -1.0), np.where(x[:, 1] > 1, 1.5, -0.5)])
    y = 3 + x[:, 0] + gain[np.arange(n), action] + rng.normal(size=n)
    cost = np.where(action > 0, rng.uniform(0.1, 0.5, n), 0.0)
    return DecisionLog.from_arrays(
        x, action, {"spend": y, "cost": cost}, cost="cost", propensity=e if known else None, **roles
    )


def make_tree(seed=9, **settings):
    log = make_log(seed=seed)
    rng = np.random.default_rng(seed)
    x = log.features.values
    scores = np.column_stack([np.zeros(log.n), np.where(x[:, 0] > 1, 1.0, -1.0), np.where(x[:, 1] > 1, 1.5, -0.5)])
    return PolicyTree(min_leaf=20, **settings).fit(log, scores=scores + 0.1 * rng.normal(size=scores.shape))


def test_arguments_of_another_kind_are_named():
    log, tree = make_log(), make_tree()
    with pytest.raises(ParameterError, match=r"of type PolicyTree, not a DecisionLog .rule_values"):
        rule_values(tree, log)
    with pytest.raises(ParameterError, match="A TreatNone has no rules"):
        rule_values(log, TreatNone())


@pytest.mark.parametrize("method", ["ips", "dr"])
@pytest.mark.parametrize("share", [1.0, 0.3])
def test_by_hand(method, share):
    log, tree = make_log(), make_tree(share=share)
    mu = np.array([4.0, 5.0, 6.0])
    found = rule_values(log, tree, method=method, mu=mu if method == "dr" else None)
    base = mu if method == "dr" else np.zeros(3)
    y, a = log.outcome("spend"), log.action
    scores = np.tile(base, (log.n, 1))
    for i in range(log.n):
        scores[i, a[i]] += (y[i] - base[a[i]]) / log.propensity()[i, a[i]]
    p, leaf = tree.probabilities(log.features, 3), tree.leaves(log.features)
    assert len(found) == len(tree.rules()) > 1
    for i, row in enumerate(found):
        inside = leaf == i
        told = {row.value: (p * scores).sum(axis=1), row.gain: (p * scores).sum(axis=1) - scores[:, 0]}
        told |= {row.effects[t]: scores[:, t + 1] - scores[:, 0] for t in (0, 1)}
        assert row.share == pytest.approx(inside.mean())
        for estimate, values in told.items():
            assert estimate.value == pytest.approx(values[inside].mean())
            # The mean of m rows among n: sd/√m, but for the n/(n − 1) that counts all rows.
            deviation = values[inside].std() / np.sqrt(inside.sum()) * np.sqrt(log.n / (log.n - 1))
            assert estimate.stderr == pytest.approx(deviation)
    assert found.gain.value == pytest.approx(sum(row.share * row.gain.value for row in found))
    assert found.value.value == pytest.approx(sum(row.share * row.value.value for row in found))


@pytest.mark.parametrize("known", [True, False])
def test_everybody_is_what_policy_value_says(known):
    log, tree = make_log(known=known), make_tree()
    mu = [4.0, 5.0, 6.0]
    found = rule_values(log, tree, mu=mu)
    assert found.value.value == pytest.approx(policy_value(log, tree, mu=mu).value)
    assert found.value.stderr == pytest.approx(policy_value(log, tree, mu=mu).stderr)
    against = compare(log, tree, TreatNone(), mu=mu).difference
    assert found.gain.interval == pytest.approx(against.interval)


def test_clusters_and_weights_count():
    """Every row twice: as two rows of a unit the interval stays, as independent rows it would shrink by √2."""
    rng = np.random.default_rng(0)
    one = make_log(300)
    twice = np.repeat(np.arange(300), 2)
    told = (one.features.values[twice], one.action[twice], {"spend": one.outcome()[twice]})
    e = one.propensity()[twice]
    units = DecisionLog.from_arrays(*told, propensity=e, unit=twice)
    weight = rng.integers(1, 4, 300)
    weighted = DecisionLog.from_arrays(
        one.features.values, one.action, {"spend": one.outcome()}, propensity=one.propensity(), weight=weight * 1.0
    )
    often = np.repeat(np.arange(300), weight)
    repeated = one.take(often)
    tree = make_tree()
    single, double = (rule_values(log, tree, method="ips") for log in (one, units))
    for a, b in zip(single, double, strict=True):
        assert a.gain.interval == pytest.approx(b.gain.interval)
    for a, b in zip(*(rule_values(log, tree, method="ips") for log in (weighted, repeated)), strict=True):
        assert a.gain.value == pytest.approx(b.gain.value)
        assert a.share == pytest.approx(b.share)


def test_worth_is_net_of_what_the_tree_counts_as_cost():
    log, settings = make_log(), {"cost": "cost", "break_even": {"1": 0.25}}
    plain = make_tree()
    told = plain.to_dict()
    told["parameters"] |= {"cost": "cost", "break_even": {"by label": {"1": 0.25}}}
    tree = PolicyTree.from_dict(told)
    assert (tree.cost, tree.break_even) == tuple(settings.values())
    gross, net = rule_values(log, plain, method="ips"), rule_values(log, tree, method="ips")
    assert net.outcome == "spend net"
    cost = rule_values(log, plain, outcome="cost", method="ips")
    for a, b, c in zip(gross, net, cost, strict=True):
        p = a.rule.probabilities[1]
        assert b.gain.value == pytest.approx(a.gain.value - c.gain.value - 0.25 * p)
        assert b.effects[0].value == pytest.approx(a.effects[0].value - c.effects[0].value - 0.25)
        assert b.effects[1].value == pytest.approx(a.effects[1].value - c.effects[1].value)
    named = rule_values(log, tree, outcome="spend", method="ips")
    assert named.value.value == pytest.approx(gross.value.value)
    # The interval is that of outcome less cost, row by row; a break-even is certain and moves it as a whole.
    y = log.outcome("spend") - log.outcome("cost")
    netted = DecisionLog.from_arrays(log.features.values, log.action, y, propensity=log.propensity())
    for a, b in zip(net, rule_values(netted, plain, method="ips"), strict=True):
        assert a.value.value == pytest.approx(b.value.value - 0.25 * a.rule.probabilities[1])
        assert a.value.stderr == pytest.approx(b.value.stderr)


def test_a_rule_that_meets_nobody_says_so():
    tree = make_tree()
    log = make_log()
    leaf = tree.leaves(log.features)
    found = rule_values(log.take(leaf != 0), tree, method="ips")
    assert found[0].value is found[0].gain is found[0].effects is None
    assert found[0].share == 0
    assert "no such row" in str(found)
    assert found.frame()["gain"].to_list()[0] is None
    assert found.frame()["gain"].null_count() == 1


def test_it_is_printed_and_framed():
    found = rule_values(make_log(), make_tree(), method="ips")
    text = str(found)
    assert text.splitlines()[0].split() == ["who", "does", "share", "spend", "gain", "over", "doing", "nothing"]
    assert text.splitlines()[-1].startswith("everybody")
    assert any(row.rule.who in text for row in found)
    assert found.frame().columns[:6] == ["who", "does", "share", "value", "value_lower", "value_upper"]
    assert "effect of 2_upper" in found.frame().columns
    assert found.frame()["share"].sum() == pytest.approx(1)


def test_eligibility_counts():
    rng = np.random.default_rng(0)
    n = 500
    x = rng.integers(0, 3, (n, 1)) * 1.0
    eligible = np.column_stack([np.ones(n, bool), rng.random(n) < 0.7])
    action = np.where(eligible[:, 1], rng.integers(0, 2, n), 0)
    e = np.where(eligible[:, 1:], 0.5, [[0.0]])
    log = DecisionLog.from_arrays(
        x, action, x[:, 0] * action + rng.normal(size=n), propensity=np.column_stack([1 - e, e]), eligible=eligible
    )
    train, test = log.split(0.5, random_state=0)
    scores = np.column_stack([np.zeros(train.n), train.features.values[:, 0] - 0.5])
    found = rule_values(test, PolicyTree(min_leaf=5).fit(train, scores=scores), method="ips")
    treated = next(row for row in found if row.rule.action == "1")
    inside = test.features.values[:, 0] > 0
    y, a, may = test.outcome(), test.action, test.eligible[:, 1]
    gain = np.where(may, 2 * y * (a == 1) - 2 * y * (a == 0), 0.0)
    assert treated.gain.value == pytest.approx(gain[inside].mean())


def test_refusals():
    log, tree = make_log(), make_tree()
    with pytest.raises(ParameterError, match="method is 'snips'"):
        rule_values(log, tree, method="snips")
    with pytest.raises(LeakageError, match="policy tree"):
        rule_values(make_log(seed=9), tree, method="ips")
    with pytest.raises(NotFittedError):
        rule_values(log, PolicyTree(), method="ips")
    never = log.propensity().copy()
    certain = log.action == 0
    never[certain] = [1, 0, 0]
    with pytest.raises(PropensityError, match="logged propensity is 0"):
        rule_values(log.with_propensities(never), tree, method="ips")


def test_an_outcome_of_nothing_but_zeros_is_not_called_doing_nothing():
    log = make_log()
    log = replace(log, outcomes={name: np.zeros(log.n) for name in log.outcomes})
    tree = make_tree()
    lines = str(rule_values(log, tree, method="ips")).splitlines()[1:]
    idle = [rule.action == log.actions.control for rule in tree.rules()]
    assert any(idle)
    assert ["as nothing is done" in line for line in lines] == [*idle, False]
    assert all("0 (0 to 0)" in line for line in lines)
