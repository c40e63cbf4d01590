"""From proxy to long outcome: against two-stage least squares and the jackknife, on known truths, at the edges."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from persuadable.effects import SLearner, TLearner
from persuadable.engine import Trees
from persuadable.errors import ActionError, DataError, LeakageError, OutcomeError, ParameterError, PropensityError
from persuadable.log import DecisionLog
from persuadable.policies import BudgetPolicy, RandomPolicy, TreatAll
from persuadable.spaces import Discrete
from persuadable.value import ThinLabelWarning, policy_value, reconcile

E = {"none": 0.4, "a": 0.3, "b": 0.3}
MU = {"visits": [0.0, 0.1, 0.3], "margin": [0.0, 0.4, 0.5]}


def world(n=1_000, seed=0, *, past=(0.2, -0.1), slope=2.0, bend=0.0, noise=0.5, **roles):
    """Three arms; the long effect is past_a + slope·(proxy effect) + bend·(its square less 1); half are mature."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 3))
    action = rng.choice(3, size=n, p=list(E.values()))
    effect = np.column_stack([np.zeros(n), x[:, 0], 0.3 + x[:, 1]])
    lasting = slope * effect + np.r_[0.0, past] + bend * (effect**2 - 1.0)
    lasting[:, 0] = 0.0
    at = np.arange(n), action
    visits = x[:, 2] + effect[at] + noise * rng.normal(size=n)
    margin = x[:, 2] + lasting[at] + 2 * noise * rng.normal(size=n)
    log = DecisionLog.from_arrays(
        x, action, {"visits": visits, "margin": margin}, action_names=list(E), propensity=E, time=rng.uniform(0, 2, n),
        **roles,
    )  # fmt: skip
    return log, effect, lasting


def best(effect):
    """The table of a policy that gives everybody the action with the largest effect."""
    return np.eye(effect.shape[1])[effect.argmax(axis=1)]


def asked(log, effect, **options):
    told = {"proxy": "visits", "long": "margin", "effect": effect, "horizon": 1.0, "as_of": 2.0, "mu": MU} | options
    policy = told.pop("policy", None)
    return reconcile(log, best(effect) if policy is None else policy, **told)


def by_hand(log, effect, pi, mature):
    """Gains, intercepts and slope from scores written out and one stacked instrumental regression."""
    w = np.ones(log.n) if log.weight is None else np.asarray(log.weight, dtype=float)
    e, a = log.propensity(), log.action
    scores = {}
    for name in MU:
        table = np.tile(np.array(MU[name]), (log.n, 1))
        for i in range(log.n):
            table[i, a[i]] += (log.outcome(name)[i] - MU[name][a[i]]) / e[i, a[i]]
        scores[name] = table
    gain = {name: table[:, 1:] - table[:, :1] for name, table in scores.items()}
    inside = np.isin(np.arange(log.n), mature)
    z, x, y, weight = [], [], [], []
    for i in np.flatnonzero(inside):
        for k in range(2):
            dummy = np.eye(2)[k]
            z.append([*dummy, effect[i, k + 1]])
            x.append([*dummy, gain["visits"][i, k]])
            y.append(gain["margin"][i, k])
            weight.append(w[i])
    z, x, weight = np.array(z), np.array(x), np.array(weight)[:, None]
    alphas_and_slope = np.linalg.solve((weight * z).T @ x, (weight * z).T @ np.array(y))
    shares = np.average(pi[:, 1:], axis=0, weights=w)
    in_proxy = np.average((pi[:, 1:] * gain["visits"]).sum(axis=1), weights=w)
    return {
        "direct": np.average((pi[:, 1:] * gain["margin"]).sum(axis=1)[inside], weights=w[inside]),
        "value": np.average((pi * scores["margin"]).sum(axis=1)[inside], weights=w[inside]),
        "proxy": in_proxy,
        "line": alphas_and_slope,
        "bridged": shares @ alphas_and_slope[:2] + alphas_and_slope[2] * in_proxy,
    }


@pytest.mark.parametrize("weighted", [False, True])
def test_by_hand(weighted):
    rng = np.random.default_rng(1)
    log, effect, _ = world(800, **({"weight": rng.uniform(0.5, 2.0, 800)} if weighted else {}))
    pi = rng.dirichlet([1, 1, 1], 800)
    found = asked(log, effect, policy=pi)
    told = by_hand(log, effect, pi, np.flatnonzero(log.time <= 1.0))
    assert found.n_mature == (log.time <= 1.0).sum()
    assert found.direct.value == pytest.approx(told["direct"])
    assert found.value.value == pytest.approx(told["value"])
    assert found.proxy_gain.value == pytest.approx(told["proxy"])
    assert found.bridge.slope.value == pytest.approx(told["line"][2])
    assert [e.value for e in found.bridge.intercepts] == pytest.approx(told["line"][:2])
    assert found.bridged.value == pytest.approx(told["bridged"])
    assert found.disagreement.value == pytest.approx(told["bridged"] - told["direct"])
    assert (found.direct.n, found.bridged.n) == (found.n_mature, 800)


@pytest.mark.parametrize("clustered", [False, True])
def test_standard_errors_are_those_of_the_jackknife(clustered):
    """Leaving out one unit at a time is another way to the same variance, whatever the formula of ψ."""
    groups = np.arange(240) // 3 if clustered else np.arange(240)
    log, effect, _ = world(240, seed=3, unit=groups)
    pi = np.random.default_rng(4).dirichlet([1, 1, 1], 240)
    names = ("proxy_gain", "value", "direct", "bridged", "disagreement", "drift")
    left_out = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ThinLabelWarning)
        found = asked(log, effect, policy=pi)
        for unit in range(groups.max() + 1):
            kept = groups != unit
            part = asked(log.take(kept), effect[kept], policy=pi[kept])
            left_out.append([getattr(part, name).value for name in names] + [e.value for e in part.bridge.intercepts])
    draws = np.array(left_out)
    jackknife = np.sqrt((len(draws) - 1) * draws.var(axis=0))
    ours = [getattr(found, name).stderr for name in names] + [e.stderr for e in found.bridge.intercepts]
    np.testing.assert_allclose(ours, jackknife, rtol=0.06 if clustered else 0.04)


def test_where_the_long_outcome_is_the_proxy_on_another_scale_the_bridge_is_exact():
    log, effect, _ = world(500)
    log = replace(log, outcomes={"visits": log.outcome("visits"), "margin": 7.0 + 3.0 * log.outcome("visits")})
    found = asked(log, effect, mu={"visits": [0.0, 0.1, 0.3], "margin": [7.0, 7.3, 7.9]}, horizon=None, as_of=None)
    assert found.bridge.slope.value == pytest.approx(3.0)
    assert found.bridge.slope.stderr == pytest.approx(0.0, abs=1e-9)
    assert [e.value for e in found.bridge.intercepts] == pytest.approx([0.0, 0.0], abs=1e-9)
    assert found.direct.value == pytest.approx(3 * found.proxy_gain.value)
    assert found.disagreement.value == pytest.approx(0.0, abs=1e-9)
    assert found.n_mature == found.n == 500
    assert found.drift is None
    assert all(s.rate == pytest.approx(3.0) and s.expected == pytest.approx(s.long.value) for s in found.signals)


def test_what_young_decisions_brought_so_far_is_not_looked_at():
    """The long outcome counts from above: what is there of it after half of its time is a part, here all zeros."""
    log, effect, lasting = world(4_000, seed=5)
    y = log.outcome("margin")
    so_far = replace(log, outcomes=dict(log.outcomes) | {"margin": np.where(log.time <= 1.0, y, 0.0)})
    truth = (best(effect) * lasting).sum(axis=1).mean()
    found, again = asked(log, effect), asked(so_far, effect)
    assert str(found) == str(again)
    assert abs(found.direct.value - truth) < 4 * found.direct.stderr
    assert abs(found.bridged.value - truth) < 4 * found.bridged.stderr
    naive = policy_value(so_far, best(effect), outcome="margin", mu=MU["margin"])
    nothing = policy_value(so_far, RandomPolicy(0.0), outcome="margin", mu=MU["margin"])
    assert naive.value - nothing.value < 0.7 * truth


def test_effects_that_do_not_lie_on_a_line_are_found_out():
    """Both tails of the proxy's effects get the treatment: on a line they cancel, on a parabola they add up."""
    for bend, found_out in ((1.0, True), (0.0, False)):
        log, effect, lasting = world(4_000, seed=6, bend=bend)
        tails = np.abs(effect[:, 1]) > 1.2
        pi = np.column_stack([~tails, tails, np.zeros(log.n)]).astype(float)
        found = asked(log, effect, policy=pi)
        assert (found.disagreement.p_value < 1e-6) == found_out
        assert abs(found.direct.value - (pi * lasting).sum(axis=1).mean()) < 4 * found.direct.stderr


def test_a_treatment_may_last_without_moving_the_proxy():
    log, effect, _ = world(8_000, seed=7, past=(1.5, -1.0))
    for found, truth in zip(asked(log, effect).bridge.intercepts, (1.5, -1.0), strict=True):
        assert abs(found.value - truth) < 4 * found.stderr
        assert found.p_value < 1e-6


def test_young_decisions_unlike_the_mature_ones_are_found_out():
    log, effect, _ = world(4_000, seed=8)
    assert asked(log, effect).drift.p_value > 0.01
    rise = np.where((log.time > 1.0) & (log.action > 0), 0.5, 0.0)
    changed = replace(log, outcomes=dict(log.outcomes) | {"visits": log.outcome("visits") + rise})
    drift = asked(changed, effect).drift
    share = (best(effect)[:, 1:] * (log.time > 1.0)[:, None]).sum() / (log.time > 1.0).sum()
    assert abs(drift.value + 0.5 * share) < 4 * drift.stderr
    assert drift.p_value < 1e-4


# -- the index ---------------------------------------------------------------------------------------------------------


def surrogate_world(past, seed=9, n=6_000):
    """The long outcome is made of the visits; ``past`` of it reaches people without them."""
    log, effect, _ = world(n, seed=seed)
    rng = np.random.default_rng(seed + 1)
    y = 1.5 * log.outcome("visits") + past * (log.action > 0) + rng.normal(0, 2, n)
    return replace(log, outcomes={"visits": log.outcome("visits"), "margin": y}), effect


def test_an_index_of_surrogates_is_right_and_surer_where_everything_goes_through_them():
    log, effect = surrogate_world(0.0)
    found = asked(log, effect, surrogates=["visits"])
    truth = 1.5 * (best(effect) * effect).sum(axis=1).mean()
    assert abs(found.indexed.value - truth) < 3.5 * found.indexed.stderr
    assert found.indexed.stderr < 0.7 * found.direct.stderr
    assert found.index_disagreement.p_value > 0.01
    assert "indexed" in str(found)


def test_an_effect_past_the_surrogates_is_found_out():
    log, effect = surrogate_world(1.0)
    assert asked(log, effect, surrogates=["visits"]).index_disagreement.p_value < 1e-3


# -- thin labels -------------------------------------------------------------------------------------------------------


def test_a_long_outcome_too_noisy_to_rank_by_is_told():
    """Noise of 40 against effects of 2: a Qini of about 1 would be needed, one of about .5 is there."""
    log, effect, _ = world(1_500, seed=10)
    rng = np.random.default_rng(0)
    noisy = replace(log, outcomes=dict(log.outcomes) | {"margin": log.outcome("margin") + rng.normal(0, 40, log.n)})
    with pytest.warns(ThinLabelWarning, match=r"mature decisions are too few to rank by 'margin' for \['a', 'b'\]"):
        found = asked(noisy, effect)
    assert found.thin
    for signal in found.signals:
        assert signal.detectable == pytest.approx((1.959964 + 0.841621) * signal.long.stderr, rel=1e-5)
        assert signal.expected == pytest.approx(signal.rate * signal.proxy.value)
        assert signal.long.p_value > 0.05
    assert "too thin to rank by" in str(found)
    clear, effect, _ = world(1_500, seed=10)
    assert not asked(clear, effect).thin  # no warning either: warnings are errors here


def test_a_rate_is_taken_within_arms():
    """Between arms visits and margin go apart, within them one more visit goes with two more of margin."""
    log, effect, _ = world(2_000, seed=11)
    s = log.outcome("visits")
    opposed = replace(log, outcomes={"visits": s, "margin": 2 * s - 50.0 * log.action})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ThinLabelWarning)
        assert all(signal.rate == pytest.approx(2.0) for signal in asked(opposed, effect).signals)


def test_predicted_effects_that_are_noise_carry_nothing():
    log, effect, _ = world(1_500, seed=12)
    noise = np.column_stack([np.zeros(log.n), np.random.default_rng(13).normal(size=(log.n, 2))])
    with pytest.warns(ThinLabelWarning) as told:
        found = asked(log, noise, policy=best(effect))
    assert any("find too little on 'visits'" in str(w.message) for w in told)
    assert found.bridge.weak
    assert found.bridge.slope.shape != "interval"
    assert "it is weak" in str(found)


# -- what is asked -----------------------------------------------------------------------------------------------------


def test_a_policy_brings_its_own_learner():
    train, _, _ = world(1_500, seed=14)
    log, _, _ = world(1_500, seed=15)
    learner = TLearner(Trees(n_trees=20)).fit(train, outcomes=["visits"])
    policy = BudgetPolicy(learner, 0.5).calibrate(train)
    options = {"proxy": "visits", "long": "margin", "mu": MU}
    found = reconcile(log, policy, **options)
    told = reconcile(log, policy, effect=learner.effect(log.features), **options)
    assert str(found) == str(told) == str(reconcile(log, policy, effect=learner, **options))
    assert found.policy == policy.name
    level = policy_value(log, policy, outcome="margin", mu=MU["margin"])
    assert found.value.value == pytest.approx(level.value)
    with pytest.raises(LeakageError):
        reconcile(train, policy, **options)
    with pytest.raises(LeakageError):
        reconcile(train, TreatAll(1), effect=SLearner(Trees(n_trees=5)).fit(train, outcomes=["visits"]), **options)


def test_predictions_are_cross_fitted_where_none_are_given():
    log, effect, lasting = world(1_500, seed=16)
    found, plain = asked(log, effect, mu=None), asked(log, effect)
    truth = (best(effect) * lasting).sum(axis=1).mean()
    assert abs(found.direct.value - truth) < 4 * found.direct.stderr
    assert found.direct.stderr < plain.direct.stderr  # constants leave the differences between people in
    by_row = {name: np.tile(mu, (log.n, 1)) for name, mu in MU.items()}
    assert str(asked(log, effect, mu=by_row)) == str(plain)


def test_pairs_without_a_chance_are_no_part_of_the_line():
    """A treatment forbidden to half of the people: their scores of it are no scores."""
    log, effect, _ = world(2_000, seed=17)
    forbidden = log.features.values[:, 2] > 0
    e = np.tile(list(E.values()), (log.n, 1))
    e[forbidden] = [0.7, 0.3, 0.0]
    kept = ~(forbidden & (log.action == 2))
    log = replace(log, propensities=e).take(kept)
    effect, forbidden = effect[kept], forbidden[kept]
    effect[forbidden, 2] = 1e3  # must not matter
    pi = np.where(forbidden[:, None], [0.5, 0.5, 0.0], [0.2, 0.4, 0.4])
    assert 1.5 < asked(log, effect, policy=pi).bridge.slope.value < 2.5
    with pytest.raises(PropensityError, match="takes an action whose logged propensity is 0"):
        asked(log, effect, policy=np.tile([0.0, 0.0, 1.0], (log.n, 1)))


def test_a_gain_over_nothing_needs_nothing_to_have_been_tried():
    log, effect, _ = world(600, seed=18)
    e = np.tile(list(E.values()), (log.n, 1))
    always = (log.action > 0) & (log.features.values[:, 0] > 1)
    e[always] = [0.0, 0.5, 0.5]
    with pytest.raises(PropensityError, match="doing nothing takes an action whose logged propensity is 0"):
        asked(replace(log, propensities=e), effect, policy=np.tile([0.0, 0.5, 0.5], (log.n, 1)))


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"long": "visits"}, OutcomeError, "'visits' would be reconciled with itself"),
        ({"surrogates": ["margin"]}, OutcomeError, "'margin' would be reconciled with itself"),
        ({"surrogates": "visits"}, ParameterError, r"surrogates is 'visits'.*\['visits'\]"),
        ({"proxy": "clicks"}, OutcomeError, "no outcome 'clicks'"),
        ({"mu": {"clicks": [0.0, 0.0, 0.0]}}, ParameterError, "mu is given for 'clicks'"),
        ({"as_of": None}, ParameterError, "horizon= and as_of= were not both passed"),
        ({"horizon": 5.0}, DataError, "None of the 600 decisions is 5.0 old"),
        ({"effect": np.zeros((600, 2))}, DataError, r"effect has shape \(600, 2\), expected \(600, 3\)"),
        ({"effect": np.full((600, 3), np.nan)}, DataError, "effect is not finite"),
        ({"effect": np.tile([0.0, 0.1, 0.2], (600, 1))}, DataError, "All predicted effects are equal"),
        ({"effect": None}, ParameterError, r"A ndarray has no learner that tells effects on 'visits'"),
        ({"power": 1.0}, ParameterError, "power is 1.0"),
        ({"alpha": 0.95}, ParameterError, "alpha is 0.95"),
    ],
)
def test_what_cannot_be_asked_is_refused(options, error, said):
    log, effect, _ = world(600, seed=19)
    with pytest.raises(error, match=said):
        asked(log, **({"effect": effect, "policy": best(effect)} | options))


def test_frames_are_read_by_the_names_of_their_columns():
    log, effect, _ = world(600, seed=19)
    told = asked(log, effect)
    turned = ["b", "none", "a"]
    frame = pl.DataFrame(dict(zip(E, effect.T, strict=True)))
    mu = {name: pl.DataFrame({k: [v] * log.n for k, v in zip(E, row, strict=True)})[turned] for name, row in MU.items()}
    assert str(asked(log, frame[turned], policy=best(effect), mu=mu)) == str(told)


def test_effects_of_other_actions_are_refused():
    log, effect, _ = world(600, seed=19)
    other, _, _ = world(600, seed=20)
    learner = TLearner(trees=Trees(n_trees=3)).fit(
        replace(other, actions=Discrete(("none", "b", "a"))), outcomes="visits"
    )
    with pytest.raises(ActionError, match=r"knows the actions \['none', 'b', 'a'\]"):
        asked(log, learner, policy=best(effect))
    with pytest.raises(DataError, match="effect of doing nothing is not 0"):
        asked(log, effect + 1.0, policy=best(effect))


def test_an_argument_of_another_kind_is_named():
    with pytest.raises(ParameterError, match=r"not a DecisionLog .reconcile"):
        reconcile(TreatAll(1), TreatAll(1), proxy="a", long="b")


def test_the_table_holds_every_number_told():
    log, effect, _ = world(600, seed=20)
    found = asked(log, effect)
    table = found.frame()
    assert table.columns == ["what", "value", "stderr", "lower", "upper", "p_value", "n"]
    assert table["what"].to_list() == [
        "gain in visits", "margin under the policy", "gain in margin, direct", "gain in margin, bridged",
        "bridged − direct", "gain in visits, mature − young",
    ]  # fmt: skip
    assert table["value"][2] == found.direct.value
    assert table["p_value"][1] is None
    for name in table["what"]:
        assert name in str(found)
