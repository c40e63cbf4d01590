from __future__ import annotations

import pickle
from dataclasses import FrozenInstanceError, dataclass, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from persuadable.errors import FeatureError, ParameterError
from persuadable.features import Features
from persuadable.worlds import RandomisedTrial, TrueValue

SURFACES = ("linear", "nonlinear", "sparse", "none")
OUTCOMES = ("binary", "count", "money", "real")

# A mean of n draws lies within Z standard errors of its expectation but for about one test in 15,000 (seeds are fixed).
Z = 4.0


def within(estimate: float, truth: float, stderr: float) -> bool:
    return abs(estimate - truth) <= Z * stderr


def repeated(world: RandomisedTrial, copies: int) -> Features:
    """Few distinct units, many copies of each."""
    few = world.features(3, 11)
    return few.take(np.repeat(np.arange(3), copies))


@pytest.mark.parametrize("outcome", OUTCOMES)
@pytest.mark.parametrize("surface", SURFACES)
def test_conditional_means_are_those_of_the_simulated_outcomes(surface: Any, outcome: Any) -> None:
    """Brute force: a unit's outcomes under an action average to the stated mean, with the stated variance."""
    world = RandomisedTrial(surface, outcome, n_actions=3, noise=0.5 if outcome != "binary" else None, seed=3)
    copies, rng = 20_000, np.random.default_rng(5)
    units = repeated(world, copies)
    response, variance = world.response(units), world.noise_variance(units)
    for action in range(3):
        drawn = world._outcomes(units, np.full(len(units), action, dtype=np.int16), rng)
        for unit in range(3):
            rows = slice(unit * copies, (unit + 1) * copies)
            spread = np.sqrt(variance[rows.start, action])
            assert within(drawn[rows].mean(), response[rows.start, action], spread / np.sqrt(copies))
            # Var(s²) ≈ (kurtosis − 1) σ⁴ / n, the kurtosis taken from the draws themselves.
            kurtosis = np.mean((drawn[rows] - drawn[rows].mean()) ** 4) / drawn[rows].var() ** 2
            assert within(drawn[rows].var(), spread**2, spread**2 * np.sqrt(kurtosis / copies))


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_arms_of_a_randomised_sample_differ_by_the_average_effect(outcome: Any) -> None:
    world = RandomisedTrial(outcome=outcome, treated_share=0.3, seed=2)
    log = world.sample(200_000, 0)
    y, treated = log.outcome(), log.action == 1
    gap = y[treated].mean() - y[~treated].mean()
    stderr = np.sqrt(y[treated].var() / treated.sum() + y[~treated].var() / (~treated).sum())
    assert within(gap, world.average_effect[1], stderr)


@pytest.mark.parametrize("outcome", OUTCOMES)
@pytest.mark.parametrize("surface", SURFACES)
def test_control_has_the_base_rate(surface: Any, outcome: Any) -> None:
    world = RandomisedTrial(surface, outcome, base_rate=0.2, seed=1)
    units = world.features(400_000, 4)
    control = world.response(units)[:, 0]
    wanted = 0.2 * (world.amount if outcome == "money" else 1.0)
    assert within(control.mean(), wanted, control.std() / np.sqrt(len(units)))


@pytest.mark.parametrize("base_rate", [0.003, 0.05, 0.5, 0.97])
def test_imbalanced_responses_keep_their_rate_and_remain_probabilities(base_rate: float) -> None:
    world = RandomisedTrial("nonlinear", "binary", base_rate=base_rate, effect_scale=2.0)
    units = world.features(400_000, 8)
    response = world.response(units)
    assert (response > 0.0).all()
    assert (response < 1.0).all()
    assert within(response[:, 0].mean(), base_rate, response[:, 0].std() / np.sqrt(len(units)))
    log = world.sample(200_000, 9)
    assert set(np.unique(log.outcome())) == {0.0, 1.0}
    control = log.outcome()[log.action == 0]
    assert within(control.mean(), base_rate, np.sqrt(base_rate * (1 - base_rate) / control.size))


def test_without_an_effect_every_arm_has_the_same_response() -> None:
    for outcome in OUTCOMES:
        world = RandomisedTrial("none", outcome, n_actions=3)  # type: ignore[arg-type]
        assert (world.effect(world.features(1000, 0)) == 0.0).all()
        assert world.signal_to_noise == 0.0
        assert (world.average_effect == 0.0).all()


def test_sparse_effects_touch_a_tenth_and_are_exactly_zero_elsewhere() -> None:
    world = RandomisedTrial("sparse", "binary")
    effect = world.effect(world.features(200_000, 1))[:, 1]
    touched = effect != 0.0
    # (1 − Φ(0.5)) (1 − Φ(0.4)) of the units lie in the corner.
    assert within(touched.mean(), 0.10631533, np.sqrt(0.1063 * 0.8937 / 200_000))
    assert (effect[touched] > 0.0).all()


@pytest.mark.parametrize("surface", ["linear", "nonlinear"])
@pytest.mark.parametrize("outcome", OUTCOMES)
def test_effects_have_their_scale_and_change_sign(surface: Any, outcome: Any) -> None:
    world = RandomisedTrial(surface, outcome)
    effect = world.effect(world.features(100_000, 1))[:, 1]
    assert 0.2 < (effect < 0.0).mean() < 0.5  # normal: Φ(−0.3) = 0.38
    if outcome == "real":
        assert effect.std() == pytest.approx(0.5, rel=0.02)
        assert effect.mean() == pytest.approx(0.15, abs=0.01)


def test_signal_to_noise_of_the_default_real_world() -> None:
    """Var τ = 0.5² against noise variance 1; the figure the recovery tests are stated at."""
    assert RandomisedTrial("nonlinear", "real").signal_to_noise == pytest.approx(0.25)
    assert RandomisedTrial("nonlinear", "real", noise=0.0).signal_to_noise == np.inf


@pytest.mark.parametrize(
    ("surface", "expected"),
    [("linear", (0.041, 0.50, 0.016)), ("nonlinear", (0.063, 1.29, 0.032)), ("sparse", (0.109, 3.24, 0.054))],
)
def test_signal_to_noise_figures_in_the_documentation(surface: Any, expected: tuple[float, float, float]) -> None:
    got = [RandomisedTrial(surface, outcome).signal_to_noise for outcome in ("binary", "count", "money")]  # type: ignore[arg-type]
    np.testing.assert_allclose(got, expected, rtol=0.02)


def test_signal_to_noise_matches_a_sample() -> None:
    world = RandomisedTrial("nonlinear", "money", n_actions=3, treated_share=[0.5, 0.2, 0.3])
    units = world.features(400_000, 3)
    signal = world.effect(units)[:, 1:].var(axis=0).mean()
    noise = world.noise_variance(units).mean(axis=0) @ world.shares
    assert world.signal_to_noise == pytest.approx(signal / noise, rel=0.03)


def test_actions_act_through_different_features() -> None:
    world = RandomisedTrial("nonlinear", "real", n_actions=4)
    effect = world.effect(world.features(50_000, 0))
    correlations = np.corrcoef(effect[:, 1:].T)[np.triu_indices(3, 1)]
    assert (np.abs(correlations) < 0.9).all()


def test_seeds_are_worlds_and_random_states_are_samples() -> None:
    first, second = RandomisedTrial("linear", "real", seed=0), RandomisedTrial("linear", "real", seed=1)
    units = first.features(1000, 0)
    assert not np.allclose(first.effect(units), second.effect(units))
    a, b, c = first.sample(500, 7), first.sample(500, 7), first.sample(500, 8)
    assert a.features.values.tobytes() == b.features.values.tobytes()
    assert a.outcome().tobytes() == b.outcome().tobytes()
    assert a.action.tobytes() == b.action.tobytes()
    assert a.fingerprint.digest == b.fingerprint.digest
    assert a.fingerprint.overlap(c.fingerprint) == 0
    assert first.sample(500, np.random.default_rng(7)).outcome().tobytes() == a.outcome().tobytes()


def test_sampling_leaves_the_global_generator_alone() -> None:
    np.random.seed(1)  # noqa: NPY002
    before = np.random.get_state()[1].tobytes()  # noqa: NPY002
    RandomisedTrial().sample(100, 0)
    assert np.random.get_state()[1].tobytes() == before  # noqa: NPY002


# -- assignment --------------------------------------------------------------------------------------------------------


def test_constant_propensities_are_the_shares() -> None:
    world = RandomisedTrial(n_actions=3, treated_share=0.6)
    np.testing.assert_allclose(world.propensities(world.features(5, 0)), [[0.4, 0.3, 0.3]] * 5)
    log = world.sample(100_000, 0)
    shares = np.bincount(log.action, minlength=3) / log.n
    for share, wanted in zip(shares, (0.4, 0.3, 0.3), strict=True):
        assert within(share, wanted, np.sqrt(wanted * (1 - wanted) / log.n))


@pytest.mark.parametrize(("n_actions", "shares"), [(2, 0.5), (2, 0.85), (2, 0.03), (3, 0.5), (4, (0.1, 0.2, 0.3, 0.4))])
def test_confounded_propensities(n_actions: int, shares: Any) -> None:
    world = RandomisedTrial("nonlinear", "real", n_actions=n_actions, propensity="confounded", treated_share=shares)
    units = world.features(200_000, 3)
    propensities = world.propensities(units)
    np.testing.assert_allclose(propensities.sum(axis=1), 1.0, atol=1e-12)
    assert propensities.min() >= min(0.1, 0.5 * world.shares.min()) - 1e-12
    spread = propensities.std(axis=0) / np.sqrt(len(units))
    assert (np.abs(propensities.mean(axis=0) - world.shares) <= Z * spread + 1e-9).all()
    # Whoever would do well anyway is treated more often: that is the confounding.
    assert np.corrcoef(propensities[:, -1], world.response(units)[:, 0])[0, 1] > 0.8
    action = world.sample(200_000, 1).action
    rates = np.bincount(action, minlength=n_actions) / action.size
    assert (np.abs(rates - world.shares) <= Z * np.sqrt(world.shares * (1 - world.shares) / action.size)).all()


def test_confounding_biases_the_plain_difference_and_the_propensities_mend_it() -> None:
    world = RandomisedTrial("nonlinear", "real", propensity="confounded")
    log = world.sample(200_000, 2)
    y, treated, e = log.outcome(), log.action == 1, log.propensity()[:, 1]
    plain = y[treated].mean() - y[~treated].mean()
    scores = np.where(treated, y / e, -y / (1 - e))
    stderr = scores.std() / np.sqrt(log.n)
    assert within(scores.mean(), world.average_effect[1], stderr)
    assert plain - world.average_effect[1] > 20 * stderr


def test_a_log_knows_its_propensities_unless_told_otherwise() -> None:
    world = RandomisedTrial(propensity="confounded")
    log = world.sample(1000, 0)
    assert log.propensity_source == "logged"
    np.testing.assert_array_equal(log.propensity(), world.propensities(log.features))
    hidden = world.sample(1000, 0, known_propensity=False)
    assert hidden.propensities is None
    assert hidden.outcome().tobytes() == log.outcome().tobytes()


# -- costs -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("outcome", ["binary", "count", "money"])
@pytest.mark.parametrize("noise", [0.0, 0.7])
def test_costs_on_response_are_paid_by_responders_only(outcome: Any, noise: float) -> None:
    world = RandomisedTrial("nonlinear", outcome, n_actions=3, costs=[2.0, 5.0], noise=noise)
    log = world.sample(200_000, 3)
    cost = log.cost
    assert cost is not None
    np.testing.assert_array_equal(cost, np.array([0.0, 2.0, 5.0])[log.action] * (log.outcome() > 0.0))
    expected = world.cost_effect(log.features)
    assert (expected[:, 0] == 0.0).all()
    for action in (1, 2):
        arm = log.action == action
        paid = cost[arm]
        assert within(paid.mean(), expected[arm, action].mean(), paid.std() / np.sqrt(arm.sum()))


def test_costs_on_assignment_are_always_paid() -> None:
    world = RandomisedTrial("nonlinear", "real", costs=1.5)
    log = world.sample(1000, 0)
    np.testing.assert_array_equal(log.cost, 1.5 * log.action)
    np.testing.assert_array_equal(world.cost_effect(log.features), np.tile([0.0, 1.5], (1000, 1)))
    assert log.primary == "outcome"
    assert RandomisedTrial().sample(100, 0).cost is None


# -- values ------------------------------------------------------------------------------------------------------------


@dataclass
class TreatWhere:
    """Treat the units whose feature x0 lies above a cut; else do nothing."""

    cut: float

    def probabilities(self, features: Features, n_actions: int, eligible: Any = None) -> NDArray[np.float64]:
        chosen = (features.values[:, 0] > self.cut).astype(np.float64)
        return np.stack([1.0 - chosen, chosen], axis=1)


def test_the_value_of_fixed_actions_is_their_mean_response() -> None:
    world = RandomisedTrial("nonlinear", "money", costs=1.0)
    nothing, everybody = world.value(0), world.value(1)
    assert float(nothing) == nothing.value
    assert nothing.gain == nothing.cost == nothing.gain_stderr == 0.0
    assert nothing.shares == (1.0, 0.0)
    assert within(nothing.value, world.amount * 0.1, nothing.stderr)
    assert everybody.gain == pytest.approx(everybody.value - nothing.value)
    assert within(everybody.gain, world.average_effect[1], everybody.gain_stderr + 1e-3)
    assert everybody.cost > 0.0


def test_the_value_of_a_policy_is_what_it_earns_when_played() -> None:
    world, policy = RandomisedTrial("nonlinear", "binary", costs=2.0), TreatWhere(0.2)
    told = world.value(policy, n=400_000)
    units = world.features(400_000, 21)
    chosen = policy.probabilities(units, 2)[:, 1].astype(np.int16)
    earned = world._outcomes(units, chosen, np.random.default_rng(22))
    assert within(earned.mean(), told.value, np.hypot(earned.std() / np.sqrt(len(units)), told.stderr))
    assert told.shares[1] == pytest.approx(chosen.mean(), abs=0.01)
    paid = 2.0 * earned * chosen
    assert within(paid.mean(), told.cost, 1.5 * paid.std() / np.sqrt(len(units)))


def test_the_standard_error_of_a_value_is_its_spread_over_repetitions() -> None:
    world, policy = RandomisedTrial("nonlinear", "real"), TreatWhere(0.0)
    runs = [world.value(policy, n=2000, random_state=s) for s in range(200)]
    for name, told in (("value", "stderr"), ("gain", "gain_stderr")):
        spread = np.std([getattr(r, name) for r in runs], ddof=1)
        # The sd of 200 normal draws has a relative error of 1/√400 = 5%.
        assert spread == pytest.approx(getattr(runs[0], told), rel=0.2)


def test_the_best_policy_is_worth_more_than_any_other() -> None:
    world = RandomisedTrial("nonlinear", "binary")

    class Oracle:
        def probabilities(self, features: Features, n_actions: int, eligible: Any = None) -> NDArray[np.float64]:
            return np.eye(n_actions)[world.effect(features).argmax(axis=1)]

    best = world.value(Oracle())
    assert best.value > max(world.value(a).value for a in (0, 1))
    assert best.value > world.value(TreatWhere(0.0)).value


def test_a_value_over_given_units_is_exact() -> None:
    world = RandomisedTrial("nonlinear", "real")
    units = world.features(50, 0)
    told = world.value(1, features=units)
    assert told.n == 50
    assert told.value == pytest.approx(world.response(units)[:, 1].mean(), rel=1e-12)
    assert isinstance(told, TrueValue)


@pytest.mark.parametrize(
    "table", [np.ones((10, 2)), np.full((10, 3), 1 / 3), np.full((10, 2), np.nan), np.tile([1.5, -0.5], (10, 1))]
)
def test_policies_that_are_no_distribution_are_refused(table: NDArray[np.float64]) -> None:
    class Wrong:
        def probabilities(self, features: Features, n_actions: int, eligible: Any = None) -> NDArray[np.float64]:
            return table

    with pytest.raises(ParameterError, match="probabilities"):
        RandomisedTrial().value(Wrong(), n=10)


def test_values_of_unknown_actions_are_refused() -> None:
    with pytest.raises(ParameterError, match="no action 2"):
        RandomisedTrial().value(2)


# -- the truth reads what a log holds ----------------------------------------------------------------------------------


def test_truth_reads_features_frames_and_arrays_alike() -> None:
    world = RandomisedTrial("nonlinear", "count")
    log = world.sample(200, 0)
    effect = world.effect(log.features)
    np.testing.assert_array_equal(effect, world.effect(log.features.values))
    np.testing.assert_array_equal(effect, world.effect(log.features.frame()))
    shuffled = log.features.frame().select(reversed(log.features.names))
    np.testing.assert_array_equal(effect, world.effect(shuffled))
    with pytest.raises(FeatureError):
        world.effect(log.features.values[:, :5])


def test_blocks_do_not_show() -> None:
    world = RandomisedTrial("nonlinear", "money", propensity="confounded")
    units = world.features((1 << 17) + 10, 0)
    tail = units.take(slice(-20, None))
    np.testing.assert_array_equal(world.response(units)[-20:], world.response(tail))
    np.testing.assert_array_equal(world.propensities(units)[-20:], world.propensities(tail))


def test_worlds_are_values() -> None:
    world = RandomisedTrial(treated_share=[0.4, 0.6], costs=[1.0])
    assert world == RandomisedTrial(treated_share=np.array([0.4, 0.6]), costs=(1.0,))  # type: ignore[arg-type]
    assert hash(world) == hash(replace(world))
    assert pickle.loads(pickle.dumps(world)) == world
    assert replace(world, outcome="real", cost_when=None, effect_scale=None).effect_scale == 0.5
    with pytest.raises(FrozenInstanceError):
        world.seed = 3  # type: ignore[misc]


def test_columns_and_names() -> None:
    world = RandomisedTrial(n_features=8, n_categorical=2, n_actions=3)
    assert [c.name for c in world.columns] == ["x0", "x1", "x2", "x3", "x4", "x5", "c0", "c1"]
    assert world.features(10, 0).categorical.tolist() == [False] * 6 + [True] * 2
    assert world.action_names == ("control", "treatment 1", "treatment 2")
    shares = np.bincount(world.features(100_000, 0).values[:, 6].astype(int)) / 100_000
    np.testing.assert_allclose(shares, [0.4, 0.3, 0.2, 0.1], atol=Z * 0.5 / np.sqrt(100_000))
    assert not RandomisedTrial(n_features=6, n_categorical=0).features(3, 0).categorical.any()


# -- any parameters ----------------------------------------------------------------------------------------------------


@given(
    surface=st.sampled_from(SURFACES),
    outcome=st.sampled_from(OUTCOMES),
    n_actions=st.integers(2, 5),
    propensity=st.sampled_from(["constant", "confounded"]),
    treated=st.floats(0.02, 0.98),
    base_rate=st.floats(0.001, 0.99),
    effect_scale=st.floats(0.0, 3.0),
    baseline_scale=st.floats(0.0, 2.0),
    noise=st.floats(0.0, 2.0),
    cost=st.none() | st.floats(0.0, 100.0),
    n_features=st.integers(7, 20),
    seed=st.integers(0, 10_000),
)
def test_every_world_keeps_its_promises(
    surface: Any,
    outcome: Any,
    n_actions: int,
    propensity: Any,
    treated: float,
    base_rate: float,
    effect_scale: float,
    baseline_scale: float,
    noise: float,
    cost: float | None,
    n_features: int,
    seed: int,
) -> None:
    world = RandomisedTrial(
        surface,
        outcome,
        n_actions,
        propensity,
        treated,
        base_rate=base_rate,
        effect_scale=effect_scale,
        baseline_scale=baseline_scale,
        noise=noise,
        costs=cost,
        n_features=n_features,
        seed=seed,
    )
    units = world.features(500, seed)
    response, effect, propensities = world.response(units), world.effect(units), world.propensities(units)
    assert response.shape == effect.shape == propensities.shape == (500, n_actions)
    assert np.isfinite(response).all()
    assert (effect[:, 0] == 0.0).all()
    np.testing.assert_allclose(effect, response - response[:, :1])
    np.testing.assert_allclose(propensities.sum(axis=1), 1.0, atol=1e-9)
    assert (propensities > 0.0).all()
    assert (world.noise_variance(units) >= 0.0).all()
    if outcome == "binary":
        assert ((response >= 0.0) & (response <= 1.0)).all()
    if outcome in ("count", "money"):
        assert (response >= 0.0).all()
    costs = world.cost_effect(units)
    assert (costs[:, 0] == 0.0).all()
    assert (costs >= 0.0).all()
    assert (costs <= (cost or 0.0) + 1e-9).all()


# -- refusals ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"surface": "wavy"}, "surface='wavy'"),
        ({"outcome": "ordinal"}, "outcome='ordinal'"),
        ({"propensity": "known"}, "propensity='known'"),
        ({"cost_when": "later"}, "cost_when='later'"),
        ({"n_actions": 1}, "n_actions=1"),
        ({"n_features": 6}, "leaves 5 numbers"),
        ({"n_categorical": -1}, "n_categorical=-1"),
        ({"treated_share": 0.0}, "without units"),
        ({"treated_share": 1.0}, "without units"),
        ({"treated_share": [0.5, 0.4]}, "summing to 1"),
        ({"treated_share": [0.5, 0.25, 0.25]}, "2 shares"),
        ({"base_rate": 0.0}, "not a share"),
        ({"base_rate": 1.2}, "not a share"),
        ({"base_rate": -1.0, "outcome": "count"}, "not a mean count"),
        ({"base_rate": float("nan"), "outcome": "real"}, "not finite"),
        ({"effect_scale": -1.0}, "negative"),
        ({"baseline_scale": float("inf")}, "not finite"),
        ({"noise": -0.1, "outcome": "real"}, "negative"),
        ({"costs": [1.0, 2.0]}, "2 costs for 1 treatments"),
        ({"costs": -1.0}, "at least 0"),
        ({"costs": 1.0, "outcome": "real", "cost_when": "response"}, "needs an outcome that is a response"),
    ],
)
def test_wrong_parameters_are_refused_with_a_remedy(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ParameterError, match=said) as caught:
        RandomisedTrial(**wrong)
    assert caught.value.remedy
    assert caught.value.where == "worlds.RandomisedTrial"


def test_samples_need_rows() -> None:
    with pytest.raises(ParameterError, match="at least 2"):
        RandomisedTrial().sample(1, 0)
    with pytest.raises(ParameterError, match="at least 1"):
        RandomisedTrial().features(0, 0)
