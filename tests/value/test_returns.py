"""Spend, incremental conversions, ROAS and profit: by hand, on known truth, and against resampling."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import binom

from persuadable.errors import LeakageError, OutcomeError, ParameterError, PropensityError, UnknownName
from persuadable.log import DecisionLog
from persuadable.policies import RandomPolicy, RankPolicy, TreatAll, TreatNone, economics
from persuadable.value import compare, estimate_ratio, returns
from persuadable.worlds import RandomisedTrial

MONEY = economics(40.0, 0.5, outcome="outcome", margin=0.6)
WORLD = RandomisedTrial("nonlinear", base_rate=0.1, effect_scale=1.0, treated_share=0.85, n_features=7)


class Rule:
    """Treat where the world's exact effect is above a bound: learned from nothing."""

    name = "rule"
    fitted_on = None

    def __init__(self, bound=0.02):
        self.bound = bound

    def probabilities(self, features, n_actions, eligible=None):
        treat = (WORLD.effect(features)[:, 1] > self.bound).astype(float)
        return np.column_stack([1 - treat, treat])


def by_hand(log, p, e=0.85):
    """(incremental, attributed) conversions per head by inverse propensity, of two arms."""
    y, a = log.outcome(), log.action
    treated, control = y * (a == 1) / e, y * (a == 0) / (1 - e)
    return (p * (treated - control)).mean(), (p * treated).mean()


def test_the_numbers_are_those_of_inverse_propensity_by_hand():
    log = WORLD.sample(3_000, 0)
    p = Rule().probabilities(log.features, 2)
    found = returns(log, Rule(), MONEY, {"none": TreatNone()}, method="ips").rows[0]
    incremental, attributed = (log.n * per_head for per_head in by_hand(log, p[:, 1]))
    spend = 0.5 * p[:, 1].sum()
    assert found.share == pytest.approx(p[:, 1].mean())
    assert found.spend.value == pytest.approx(spend)
    assert found.incremental_conversions.value == pytest.approx(incremental)
    assert found.attributed_conversions.value == pytest.approx(attributed)
    assert found.came_anyway.value == pytest.approx(attributed - incremental)
    assert found.incremental_roas.value == pytest.approx(40 * incremental / spend)
    assert found.attributed_roas.value == pytest.approx(40 * attributed / spend)
    assert found.profit.value == pytest.approx(0.6 * 40 * incremental - spend)


@pytest.mark.parametrize("method", ["ips", "dr"])
def test_incremental_conversions_are_the_policy_over_treating_nobody(method):
    log = WORLD.sample(3_000, 1)
    mu = None if method == "ips" else WORLD.response(log.features)
    found = returns(log, Rule(), MONEY, {"none": TreatNone()}, method=method, mu=mu).rows[0]
    known = compare(log, Rule(), TreatNone(), method=method, mu=mu).difference
    assert found.incremental_conversions.value == pytest.approx(log.n * known.value)
    assert found.incremental_conversions.stderr == pytest.approx(log.n * known.stderr)


def with_contacts(log, seed=0):
    """The log with an outcome that counts contacts: only some of the treated are exposed."""
    exposed = (np.random.default_rng(seed).random(log.n) < 0.3) & (log.action == 1)
    outcomes = {"outcome": log.outcome(), "exposure": exposed.astype(float), "cost": 0.5 * exposed}
    return DecisionLog.from_arrays(log.features, log.action, outcomes, propensity=0.85, cost="cost")


def test_spend_follows_contacts_where_they_are_an_outcome():
    log = with_contacts(WORLD.sample(3_000, 2))
    money = economics(40.0, 0.5, outcome="outcome", contact="exposure")
    found = returns(log, Rule(), money, {"none": TreatNone()}, method="ips").rows[0]
    p, exposed = Rule().probabilities(log.features, 2)[:, 1], log.outcome("exposure")
    assert found.spend.value == pytest.approx((p * 0.5 * exposed * (log.action == 1) / 0.85).sum())
    credited = (p * log.outcome() * exposed * (log.action == 1) / 0.85).sum()
    assert found.attributed_conversions.value == pytest.approx(credited)
    # The same ratio from the general estimator of ratios, with the cost as an outcome of its own.
    known = estimate_ratio(log, Rule(), TreatNone(), numerator="outcome", denominator="cost", estimator="ips")
    assert found.incremental_roas.value == pytest.approx(40 * known.value)
    assert found.incremental_roas.interval == pytest.approx(tuple(40 * end for end in known.interval))


def test_intervals_hold_the_truth():
    units = WORLD.features(100_000, 99)
    treat, effect = Rule().probabilities(units, 2)[:, 1], WORLD.effect(units)[:, 1]
    incremental, attributed = (treat * effect).mean(), (treat * WORLD.response(units)[:, 1]).mean()
    spend = 0.5 * treat.mean()
    truth = {
        "spend": spend,
        "incremental_conversions": incremental,
        "attributed_conversions": attributed,
        "came_anyway": attributed - incremental,
        "incremental_roas": 40 * incremental / spend,
        "attributed_roas": 40 * attributed / spend,
        "profit": 24 * incremental - spend,
    }
    over_all = {
        "profit": truth["profit"] - (24 * effect.mean() - 0.5),
        "marginal_roas": 40 * (incremental - effect.mean()) / (spend - 0.5),
        "incremental_roas": truth["incremental_roas"] - 40 * effect.mean() / 0.5,
    }
    held, runs = dict.fromkeys(truth, 0), 200
    held_over = dict.fromkeys(over_all, 0)
    for run in range(runs):
        log = WORLD.sample(4_000, 1_000 + run)
        found = returns(log, Rule(), MONEY, {"all": TreatAll()}, mu=[0.1, 0.15], population=1)
        for name, value in truth.items():
            low, high = getattr(found.rows[0], name).interval
            held[name] += low <= value <= high
        for name, value in over_all.items():
            low, high = getattr(found.gains[0], name).interval
            held_over[name] += low <= value <= high
    least = binom.ppf(0.0005, runs, 0.95)
    assert min(held.values()) >= least, held
    assert min(held_over.values()) >= least, held_over


def test_the_usual_baselines_spend_what_the_policy_spends():
    log = WORLD.sample(2_000, 3)
    found = returns(log, Rule(), MONEY, response=lambda f: WORLD.response(f)[:, 1], method="ips")
    assert [row.policy for row in found.rows] == ["rule", "treat all", "random", "propensity ranking"]
    for name in ("random", "propensity ranking"):
        gain = found.over(name)
        assert (gain.spend.value, gain.spend.stderr) == (pytest.approx(0, abs=1e-6), pytest.approx(0, abs=1e-6))
        assert gain.marginal_roas is None
        assert found[name].share == pytest.approx(found["rule"].share)
    assert found.over("treat all").spend.value < 0


def test_the_gain_over_what_treats_as_many_has_the_error_that_resampling_finds():
    log = WORLD.sample(2_000, 4)
    scorer = lambda f: f.values[:, 0]  # noqa: E731
    found = returns(log, Rule(0.05), MONEY, response=scorer, method="ips")
    names, rng, draws = ("random", "propensity ranking"), np.random.default_rng(0), []
    for _ in range(300):
        again = returns(log.take(rng.integers(0, log.n, log.n)), Rule(0.05), MONEY, response=scorer, method="ips")
        draws.append([again.over(name).profit.value for name in names] + [again[n].profit.value for n in names])
    spread = np.std(draws, axis=0)
    told = [found.over(name).profit.stderr for name in names] + [found[name].profit.stderr for name in names]
    assert told == pytest.approx(spread, rel=0.15)


def test_row_weights_count():
    log = WORLD.sample(2_000, 5)
    weight = np.random.default_rng(5).integers(1, 4, log.n).astype(float)
    weighted = DecisionLog.from_arrays(log.features, log.action, log.outcome(), propensity=0.85, weight=weight)
    repeated = log.take(np.repeat(np.arange(log.n), weight.astype(int)))
    one = returns(weighted, Rule(), MONEY, {"all": TreatAll()}, method="ips", population=1)
    other = returns(repeated, Rule(), MONEY, {"all": TreatAll()}, method="ips", population=1)
    for name in ("spend", "incremental_conversions", "incremental_roas", "attributed_roas", "profit"):
        assert getattr(one.rows[0], name).value == pytest.approx(getattr(other.rows[0], name).value)
    assert one.gains[0].marginal_roas.value == pytest.approx(other.gains[0].marginal_roas.value)


def test_no_baselines_are_none():
    assert len(returns(WORLD.sample(500, 14), TreatAll(), MONEY, {}, method="ips").rows) == 1


def test_a_ranking_that_reaches_fewer_spends_less():
    """Treatment 1 is for one half of the units, so contacting the likeliest with it cannot cost what treat-all does."""
    rng = np.random.default_rng(0)
    n = 2_000
    eligible = np.ones((n, 3), dtype=bool)
    eligible[: n // 2, 1] = False
    action = np.array([rng.choice(np.flatnonzero(row)) for row in eligible])
    log = DecisionLog.from_arrays(
        rng.normal(size=(n, 2)), action, (rng.random(n) < 0.2).astype(float), eligible=eligible
    )
    everybody = np.tile([0.0, 0.0, 1.0], (n, 1))
    found = returns(log, everybody, MONEY, response=lambda f: f.values[:, 0], method="ips")
    assert found["random"].spend.value == pytest.approx(0.5 * n)
    assert found["propensity ranking"].share == pytest.approx(0.5)
    assert found["propensity ranking"].spend.value == pytest.approx(0.5 * 0.5 * n)
    assert found.over("propensity ranking").marginal_roas is not None


def test_a_lottery_at_a_given_share_errs_as_its_return_per_head_treated_does():
    """It treats b/R of the eligible, R their share, so it brings b times what treating all brings per head treated."""
    log = WORLD.sample(2_000, 15)
    allowed = log.features.values[:, 0] > -0.5
    log = DecisionLog.from_arrays(
        log.features,
        np.where(allowed, log.action, 0),
        log.outcome(),
        propensity=np.column_stack([np.where(allowed, 0.15, 1.0), np.where(allowed, 0.85, 0.0)]),
        eligible=np.column_stack([np.ones(log.n, dtype=bool), allowed]),
    )
    policy = RankPolicy(lambda f: f.values[:, 1], 0.2).calibrate(log)
    found = returns(log, policy, MONEY, method="ips")
    known, lottery = found["treat all"].incremental_roas, found["random"].incremental_conversions
    assert found["random"].spend.value == pytest.approx(0.5 * 0.2 * log.n)
    assert lottery.stderr / abs(lottery.value) == pytest.approx(known.stderr / abs(known.value), rel=1e-3)


def test_totals_are_for_the_population_told():
    log = WORLD.sample(1_000, 6)
    one, many = (returns(log, Rule(), MONEY, method="ips", population=size) for size in (None, 10_000))
    assert many.rows[0].profit.interval == pytest.approx(tuple(10 * end for end in one.rows[0].profit.interval))
    assert many.rows[0].incremental_roas.interval == pytest.approx(one.rows[0].incremental_roas.interval)


def test_where_nothing_is_spent_there_is_no_roas():
    log = WORLD.sample(1_000, 7)
    found = returns(log, TreatNone(), MONEY, {"all": TreatAll()}, method="ips")
    assert found.rows[0].incremental_roas is None
    assert found.rows[0].profit.value == 0
    assert found.gains[0].incremental_roas is None
    assert found.gains[0].marginal_roas.value == pytest.approx(found.rows[1].incremental_roas.value)
    assert "nothing spent" in str(found)
    free = returns(log, Rule(), economics(40.0, 0.0, outcome="outcome"), {"all": TreatAll()}, method="ips")
    assert free.rows[0].incremental_roas is None
    assert free.frame()["incremental_roas"][0] is None


def test_attributed_roas_is_high_where_nobody_is_moved():
    dull = RandomisedTrial("none", base_rate=0.3, n_features=7)
    log = dull.sample(20_000, 8)
    row = returns(log, TreatAll(), MONEY, {"none": TreatNone()}, method="ips").rows[0]
    assert row.attributed_roas.interval[0] > 20  # 0.3 · 40 / 0.5 = 24
    assert row.incremental_roas.holds(0.0)
    assert row.came_anyway.value / row.attributed_conversions.value == pytest.approx(1, abs=0.15)


def test_several_treatments_are_paid_for_alike():
    world = RandomisedTrial("nonlinear", base_rate=0.1, n_actions=3, n_features=7)
    log = world.sample(2_000, 9)
    found = returns(log, RandomPolicy(0.5), MONEY, method="ips")
    assert [row.policy for row in found.rows][1:] == [
        "treat all with treatment 1",
        "treat all with treatment 2",
        "random",
    ]
    assert found.rows[0].spend.value == pytest.approx(0.5 * 0.5 * log.n)
    response = world.response(log.features)
    mine = returns(log, RandomPolicy(0.5), MONEY, {"none": TreatNone()}, mu=response).rows[0]
    truth = log.n * (0.25 * (response[:, 1:] - response[:, :1])).sum(axis=1).mean()
    assert abs(mine.incremental_conversions.value - truth) < 4 * mine.incremental_conversions.stderr


def test_it_tells_itself():
    log = WORLD.sample(1_500, 10)
    found = returns(log, Rule(), MONEY, response=lambda f: f.values[:, 0], method="ips")
    told = str(found)
    assert "incremental ROAS" in told
    assert "Attributed ROAS misleads" in told
    assert "same spend" in told
    assert max(map(len, told.splitlines()[:-1])) <= 80, "its tables fit a terminal"
    assert found.frame()["policy"].to_list() == [row.policy for row in found.rows]
    gains = found.gains_frame()
    assert gains["marginal_roas"].null_count() == 2
    assert not any(math.isnan(v) for v in gains["profit"])
    with pytest.raises(UnknownName, match="'all'"):
        found["all"]
    with pytest.raises(UnknownName, match="Compared were"):
        found.over("rule")


def test_what_cannot_be_is_refused():
    log = WORLD.sample(500, 11)
    with pytest.raises(ParameterError, match="method is 'snips'"):
        returns(log, Rule(), MONEY, method="snips")
    with pytest.raises(ParameterError, match="economics is a float"):
        returns(log, Rule(), 40.0, method="ips")
    with pytest.raises(ParameterError, match="population is 0"):
        returns(log, Rule(), MONEY, method="ips", population=0)
    with pytest.raises(ParameterError, match="response="):
        returns(log, Rule(), MONEY, {"all": TreatAll()}, response=lambda f: f, method="ips")
    with pytest.raises(OutcomeError, match="'conversion'"):
        returns(log, Rule(), economics(40.0, 0.5), method="ips")
    with pytest.raises(OutcomeError, match="'exposure'"):
        returns(log, Rule(), economics(40.0, 0.5, outcome="outcome", contact="exposure"), method="ips")
    negative = DecisionLog.from_arrays(
        log.features, log.action, {"outcome": log.outcome(), "shown": -np.ones(log.n)}, propensity=0.85
    )
    with pytest.raises(OutcomeError, match="'shown' is -1"):
        returns(negative, Rule(), economics(40.0, 0.5, outcome="outcome", contact="shown"), method="ips")
    chance = np.where((log.action == 0) & (np.arange(log.n) < 100), 0.0, 0.5)
    never = DecisionLog.from_arrays(log.features, log.action, log.outcome(), propensity=chance)
    with pytest.raises(PropensityError, match="logged propensity is 0"):
        returns(never, TreatAll(), MONEY, method="ips")

    class Scorer:
        fitted_on = log.fingerprint

        def predict(self, features):
            return features.values[:, 0]

    with pytest.raises(LeakageError):
        returns(log, Rule(), MONEY, response=Scorer(), method="ips")
    with pytest.raises(LeakageError):
        returns(log, RankPolicy(Scorer(), 0.3).calibrate(WORLD.sample(500, 12)), MONEY, method="ips")
