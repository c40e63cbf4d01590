"""Slates: against every slate there is and plain loops (tests/peers has another package's numbers)."""

from __future__ import annotations

from itertools import product
from types import SimpleNamespace

import numpy as np
import pytest

from persuadable.errors import ActionError, DataError, OutcomeError, PropensityError
from persuadable.value.ope.intervals import Ratios, interval_of
from persuadable.value.ope.slate import cascade_dr, independent_ips, interaction_ips, prefix_weights, standard_ips
from persuadable.worlds import Slates


def shown(table, slates):
    """(n, K) entries of a table at the items shown."""
    return np.take_along_axis(table, slates[:, :, None], axis=2)[:, :, 0]


def arbitrary(seed):
    """60 rounds of 3 of 5 items: tables that show no item twice, marginal probabilities, predictions."""
    rng = np.random.default_rng(seed)
    slates = rng.permuted(np.tile(np.arange(5), (60, 1)), axis=1)[:, :3]
    tables = []
    for _ in range(2):
        odds = rng.uniform(0.2, 1.2, (60, 3, 5))
        for k in range(3):
            for j in range(k):
                odds[np.arange(60), k, slates[:, j]] = 0.0
        tables.append(odds / odds.sum(axis=2, keepdims=True))
    return {
        "slates": slates,
        "rewards": rng.uniform(0, 2, (60, 3)),
        "candidate": tables[0],
        "logged": tables[1],
        "marginal_candidate": rng.uniform(0.05, 0.95, (60, 3)),
        "marginal_logged": rng.uniform(0.05, 0.95, (60, 3)),
        "q_hat": rng.uniform(0, 3, (60, 3, 5)),
    }


def value(found, weight=None):
    return interval_of(found, weight=weight).value


def every_round(world):
    """Every round a world can bring, and its probability."""
    every = world.space.all()
    clicks = np.array(list(product((0.0, 1.0), repeat=world.length)))
    context, which, reward = (
        a.ravel()
        for a in np.meshgrid(np.arange(world.n_contexts), np.arange(len(every)), np.arange(len(clicks)), indexing="ij")
    )
    slates, rewards = every[which], clicks[reward]
    mean = world.mean(context, slates)
    chance = np.where(rewards == 1, mean, 1 - mean).prod(axis=1)
    logged = world.logging.conditional(context, slates)
    return SimpleNamespace(
        context=context,
        slates=slates,
        rewards=rewards,
        logged=logged,
        marginal=world.logging.marginal(context, slates),
        chance=chance * logged.prod(axis=1) / world.n_contexts,
    )


def estimates(world, candidate, log, q_hat, **more):
    """Every estimator's terms on the rounds of a log."""
    conditional = candidate.conditional(log.context, log.slates)
    marginal = candidate.marginal(log.context, log.slates)
    table = candidate.table(log.context, log.slates)
    return {
        "standard": standard_ips(log.rewards, conditional, log.logged, **more),
        "independent": independent_ips(log.rewards, marginal, log.marginal, **more),
        "interaction": interaction_ips(log.rewards, conditional, log.logged, **more),
        "cascade-dr": cascade_dr(log.rewards, log.slates, table, log.logged, q_hat, **more),
    }


UNBIASED = {
    "independent": {"standard", "independent", "interaction", "cascade-dr"},
    "cascade": {"standard", "interaction", "cascade-dr"},
    "whole": {"standard"},
}


@pytest.mark.parametrize("normalise", [False, True])
@pytest.mark.parametrize("behaviour", UNBIASED)
def test_the_mean_over_all_rounds_is_the_truth_where_the_assumption_holds(behaviour, normalise) -> None:
    """Weights have mean 1 over all rounds, so there the normalised forms are exact too. Any q̂ will do."""
    world = Slates(behaviour, n_items=4, length=3, n_contexts=2, interaction=2.0, seed=3)
    candidate, log = world.softmax(1.5), every_round(world)
    assert log.chance.sum() == pytest.approx(1, abs=1e-12)
    q_hat = by_prefix(np.random.default_rng(0).normal(size=(len(log.chance), 3, 4)), log)
    found = estimates(world, candidate, log, q_hat, self_normalised=normalise)
    truth = world.value(candidate)
    for name, terms in found.items():
        error = value(terms, log.chance) - truth
        if name in UNBIASED[behaviour]:
            assert error == pytest.approx(0, abs=1e-12), name
        else:
            assert abs(error) > 0.005, name


def by_prefix(table, log):
    """A prediction may know the context and the items above a position, not those below: rows that agree share one."""
    found = table.copy()
    for k in range(table.shape[1]):
        key = np.column_stack([log.context, log.slates[:, :k]])
        _, first, group = np.unique(key, axis=0, return_index=True, return_inverse=True)
        found[:, k] = table[first[group.ravel()], k]
    return found


def test_the_true_q_makes_it_narrow_and_a_bad_one_makes_it_wide() -> None:
    world = Slates("cascade", n_items=4, length=3, n_contexts=2, seed=1)
    candidate, log = world.softmax(1.5), every_round(world)
    q, truth = world.remaining(candidate, log.context, log.slates), world.value(candidate)

    def spread(q_hat):
        """Exact variance of one round's contribution."""
        terms = estimates(world, candidate, log, q_hat)["cascade-dr"]
        scores = terms.direct + terms.weighted
        assert log.chance @ scores == pytest.approx(truth, abs=1e-12)
        return log.chance @ scores**2 - truth**2

    ips = estimates(world, candidate, log, 0 * q)["interaction"].weighted
    assert spread(0 * q) == pytest.approx(log.chance @ ips**2 - truth**2)
    assert spread(q) < 0.8 * spread(0 * q)
    assert spread(5 - 3 * q) > 1.5 * spread(0 * q)
    for seed in range(5):
        off = by_prefix(np.random.default_rng(seed).normal(scale=0.1, size=q.shape), log)
        assert spread(q + off) > spread(q)


@pytest.mark.parametrize("name", ["standard", "independent", "interaction", "cascade-dr"])
def test_over_all_logs_of_two_rounds_the_standard_error_squared_is_the_variance(name) -> None:
    """8 rounds are possible (2 slates, 4 rewards each), 64 logs of two: nothing is drawn, nothing is approximate."""
    world = Slates("independent", n_items=2, length=2, n_contexts=1, seed=2)
    candidate, log = world.softmax(-1.0), every_round(world)
    terms = estimates(world, candidate, log, np.full((8, 2, 2), 0.4))[name]
    scores = terms.weighted + (0 if terms.direct is None else terms.direct)
    mean = square = squared_error = 0.0
    for i, j in product(range(8), repeat=2):
        chance = log.chance[i] * log.chance[j]
        both = type(terms)(scores[[i, j]])
        found = interval_of(both)
        mean += chance * found.value
        square += chance * found.value**2
        squared_error += chance * found.stderr**2
    assert mean == pytest.approx(world.value(candidate), abs=1e-12)
    assert squared_error == pytest.approx(square - mean**2, rel=1e-10)


def test_agrees_with_plain_loops() -> None:
    given = arbitrary(7)
    candidate, logged = (shown(given[which], given["slates"]) for which in ("candidate", "logged"))
    n, k = given["rewards"].shape
    tops, belows, doubly = np.zeros(k), np.zeros(k), 0.0
    for i in range(n):
        weight = 1.0
        for j in range(k):
            policy, q, item = given["candidate"][i, j], given["q_hat"][i, j], given["slates"][i, j]
            doubly += weight * sum(policy[a] * q[a] for a in range(len(q))) / n
            weight *= candidate[i, j] / logged[i, j]
            doubly += weight * (given["rewards"][i, j] - q[item]) / n
            tops[j] += weight * given["rewards"][i, j]
            belows[j] += weight
    args = given["rewards"], candidate, logged
    whole = np.array([np.prod(candidate[i] / logged[i]) for i in range(n)])
    total = sum(whole[i] * sum(given["rewards"][i]) for i in range(n))
    assert value(standard_ips(*args)) == pytest.approx(total / n, rel=1e-12)
    assert value(standard_ips(*args, self_normalised=True)) == pytest.approx(total / whole.sum(), rel=1e-12)
    alone = given["marginal_candidate"] / given["marginal_logged"]
    marginal = given["rewards"], given["marginal_candidate"], given["marginal_logged"]
    each = [sum(alone[i, j] * given["rewards"][i, j] for i in range(n)) for j in range(k)]
    assert value(independent_ips(*marginal)) == pytest.approx(sum(each) / n, rel=1e-12)
    each = [each[j] / alone[:, j].sum() for j in range(k)]
    assert value(independent_ips(*marginal, self_normalised=True)) == pytest.approx(sum(each), rel=1e-12)
    assert value(interaction_ips(*args)) == pytest.approx(tops.sum() / n, rel=1e-12)
    assert value(interaction_ips(*args, self_normalised=True)) == pytest.approx((tops / belows).sum(), rel=1e-12)
    table = given["rewards"], given["slates"], given["candidate"], logged, given["q_hat"]
    assert value(cascade_dr(*table)) == pytest.approx(doubly, rel=1e-12)
    np.testing.assert_allclose(prefix_weights(candidate, logged).sum(axis=0), belows)


@pytest.mark.parametrize("estimator", [standard_ips, independent_ips, interaction_ips])
def test_normalised_forms_give_constants_back(estimator) -> None:
    """A reward of ½ at each of 3 positions is worth 1.5 under any policy, with no error at all."""
    given = arbitrary(11)
    args = np.full((60, 3), 0.5), given["marginal_candidate"], given["marginal_logged"]
    found = interval_of(estimator(*args, self_normalised=True))
    assert found.value == pytest.approx(1.5)
    assert found.stderr == pytest.approx(0, abs=1e-12)
    assert abs(value(estimator(*args)) - 1.5) > 0.1


@pytest.mark.parametrize("name", ["standard", "independent", "interaction", "cascade-dr"])
def test_standard_errors_of_normalised_forms_agree_with_the_jackknife(name) -> None:
    world = Slates("cascade", seed=5)
    candidate, log = world.softmax(1.0), world.sample(400, 0)
    rounds = SimpleNamespace(**{s: getattr(log, s) for s in log.__slots__}, logged=log.propensity)
    q = world.remaining(candidate, log.context, log.slates)
    whole = interval_of(estimates(world, candidate, rounds, q, self_normalised=True)[name])
    left_out = []
    for i in range(400):
        keep = np.arange(400) != i
        rest = SimpleNamespace(**{s: a[keep] for s, a in vars(rounds).items()})
        left_out.append(value(estimates(world, candidate, rest, q[keep], self_normalised=True)[name]))
    jackknife = np.sqrt(399 / 400 * ((np.array(left_out) - np.mean(left_out)) ** 2).sum())
    assert whole.stderr == pytest.approx(jackknife, rel=0.03)  # they differ by terms of order 1/n times the weights


def test_cascade_dr_normalised_is_a_sum_of_ratios_around_the_prediction() -> None:
    given = arbitrary(13)
    logged = shown(given["logged"], given["slates"])
    args = given["rewards"], given["slates"], given["candidate"], logged, given["q_hat"]
    found = cascade_dr(*args, self_normalised=True)
    assert isinstance(found, Ratios)
    w = prefix_weights(shown(given["candidate"], given["slates"]), logged)
    v = (given["candidate"] * given["q_hat"]).sum(axis=2)
    q = shown(given["q_hat"], given["slates"])
    by_hand = v[:, 0].mean()
    for k in range(3):
        later = v[:, k + 1] if k < 2 else 0.0
        by_hand += np.average(given["rewards"][:, k] - q[:, k] + later, weights=w[:, k])
    assert value(found) == pytest.approx(by_hand, rel=1e-12)


def good():
    """Two rounds of two positions."""
    table = np.array([[[0.5, 0.3, 0.2], [0.0, 0.6, 0.4]], [[0.5, 0.3, 0.2], [0.7, 0.0, 0.3]]])
    return {
        "rewards": np.array([[1.0, 0.0], [0.0, 1.0]]),
        "slates": np.array([[0, 1], [1, 2]]),
        "candidate": table,
        "logged": np.array([[0.4, 0.5], [0.3, 0.6]]),
        "q_hat": np.ones((2, 2, 3)),
    }


def changed(name, index, new):
    array = good()[name].copy()
    array[index] = new
    return {name: array}


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"rewards": np.ones(2)}, OutcomeError, r"rewards has shape \(2,\), expected \(n, K\)"),
        ({"logged": np.ones((2, 3))}, PropensityError, r"logged has shape \(2, 3\), rewards have \(2, 2\)"),
        (changed("rewards", (1, 0), np.nan), OutcomeError, r"rewards holds nan \(row 1, step 0\)"),
        (changed("logged", (0, 1), 0.0), PropensityError, r"logged holds 0\.0 \(row 0, step 1\).*\(0, 1\]"),
        (changed("logged", (0, 1), 1.2), PropensityError, r"logged holds 1\.2"),
        ({"candidate": np.ones((2, 2))}, DataError, r"candidate has shape \(2, 2\), expected \(2, 2, A\)"),
        (changed("candidate", (1, 1, 0), 0.8), PropensityError, r"candidate holds \[0\.8.*\(row 1, step 1\).*sum to 1"),
        (changed("q_hat", (1, 0, 2), np.inf), DataError, r"q_hat holds .*inf.*\(row 1, step 0\)"),
        ({"q_hat": np.ones((2, 2, 2))}, ActionError, r"slates holds 2 \(row 1, step 1\).*0 to 1"),
        (changed("slates", (0, 0), -1), ActionError, r"slates holds -1 \(row 0, step 0\)"),
        ({"slates": np.array([[0.0, 1], [1, 2]])}, ActionError, r"type float64, expected codes \(2, 2\)"),
    ],
)
def test_bad_input_is_named(change, error, message) -> None:
    with pytest.raises(error, match=message):
        cascade_dr(**{**good(), **change})


def test_bad_probabilities_of_a_candidate_are_named() -> None:
    rewards, logged = good()["rewards"], good()["logged"]
    with pytest.raises(PropensityError, match=r"candidate has shape \(2,\), expected \(2, 2\)"):
        standard_ips(rewards, np.ones(2), logged)
    with pytest.raises(PropensityError, match=r"candidate holds -0\.1 \(row 1, step 1\)"):
        interaction_ips(rewards, np.array([[0.5, 0.5], [0.5, -0.1]]), logged)


def test_a_position_without_weight_cannot_be_normalised() -> None:
    rewards, logged = good()["rewards"], good()["logged"]
    unseen = np.array([[0.5, 0.0], [0.5, 0.0]])
    assert value(interaction_ips(rewards, unseen, logged)) == pytest.approx(0.5 * 0.5 / 0.4)
    with pytest.raises(PropensityError, match=r"up to this step \(step 1\)"):
        interaction_ips(rewards, unseen, logged, self_normalised=True)
