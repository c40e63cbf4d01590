"""Four archetypes and those of whom it cannot be told."""

from __future__ import annotations

import numpy as np
import pytest

import persuadable as ps
from persuadable.engine import Trees
from persuadable.errors import ActionError, DataError, LeakageError, NotFittedError, OutcomeError, ParameterError
from persuadable.policies import ARCHETYPES, ArchetypePolicy, ArchetypeThresholds, archetypes, economics
from persuadable.policies.archetypes import composition, membership_probabilities
from persuadable.worlds import RandomisedTrial

MONEY = economics(100.0, 2.0, outcome="outcome")  # pays above 0.02
TREES = Trees(n_trees=10, max_depth=2)


def certain(effect, baseline, **options):
    """Archetypes of units whose effect is known."""
    effect = np.asarray(effect, dtype=float)
    return archetypes(np.zeros((effect.size, 1)), effect, baseline, MONEY, interval=(effect, effect), **options)


@pytest.fixture(scope="module")
def trial():
    world = RandomisedTrial("nonlinear", base_rate=0.2, effect_scale=1.0, n_features=7)
    train, test = world.sample(3_000, 0), world.sample(1_000, 1)
    learner = ps.effects.XLearner(trees=TREES, n_resamples=4).fit(train)
    baseline = ps.response.ResponseModel(TREES, treated_only=False).fit(train.arm(0))
    return train, test, learner, baseline


def test_known_effects_fall_where_the_definitions_say():
    found = certain([0.021, 0.02, 0.0, 0.0, -0.02, -0.021], [0.5, 0.02, 0.02, 0.019, 0.5, 0.0])
    told = ["Persuadable", "Sure Thing", "Sure Thing", "Lost Cause", "Sure Thing", "Do-Not-Disturb"]
    assert found.names.tolist() == told
    assert found.sizes == {
        "Persuadable": 1,
        "Sure Thing": 3,
        "Lost Cause": 1,
        "Do-Not-Disturb": 1,
        "Uncertain": 0,
    }
    assert found.expected_misclassification == dict.fromkeys(ARCHETYPES, 0.0) | {"Uncertain": None}


def test_probabilities_are_those_of_drawing_the_truth_around_the_estimates():
    limits = ArchetypeThresholds(pays=0.02, harm=0.01, sure=0.3, confidence=0.8)
    effect, stderr = np.array([0.03, 0.0, -0.02, 0.02]), np.array([0.02, 0.01, 0.03, 0.0])
    baseline, spread = np.array([0.2, 0.35, 0.3, 0.4]), np.array([0.1, 0.05, 0.2, 0.0])
    found = membership_probabilities(effect, stderr, baseline, spread, limits)
    rng = np.random.default_rng(0)
    tau = effect + stderr * rng.standard_normal((400_000, 4))
    level = baseline + spread * rng.standard_normal((400_000, 4))
    unmoved = (tau <= limits.pays) & (tau >= -limits.harm)
    kinds = [tau > limits.pays, unmoved & (level >= 0.3), unmoved & (level < 0.3), tau < -limits.harm]
    assert found == pytest.approx(np.column_stack([kind.mean(axis=0) for kind in kinds]), abs=0.004)
    assert found.sum(axis=1) == pytest.approx(1.0)


def test_who_cannot_be_told_is_uncertain():
    effect, sd = np.array([0.2, 0.03, 0.0]), 0.05 / 1.959964
    interval = (effect - 0.05, effect + 0.05)
    found = archetypes(np.zeros((3, 1)), effect, [0.5] * 3, MONEY, interval=interval)
    assert found.names.tolist() == ["Persuadable", "Uncertain", "Uncertain"]
    assert found.stderr == pytest.approx([sd] * 3)
    bold = archetypes(np.zeros((3, 1)), effect, [0.5] * 3, MONEY, interval=interval, confidence=0.25)
    assert bold.names.tolist() == ["Persuadable", "Persuadable", "Sure Thing"]


def test_expected_misclassification_is_the_mean_chance_of_being_something_else():
    effect = np.array([0.05, 0.06, -0.3])
    found = archetypes(
        np.zeros((3, 1)), effect, [0.5] * 3, MONEY, interval=(effect - 0.05, effect + 0.05), confidence=0.5
    )
    p = found.probabilities
    assert found.expected_misclassification["Persuadable"] == pytest.approx(1 - p[:2, 0].mean())
    mix = composition(p, found.membership, np.array([3.0, 1.0, 1.0]))
    assert mix[0] == pytest.approx((3 * p[0] + p[1]) / 4)
    assert np.isnan(mix[1]).all()


def test_thresholds_follow_from_economics():
    limits = ArchetypeThresholds.of(economics(50.0, 0.5, margin=0.5))
    assert (limits.pays, limits.harm, limits.sure) == pytest.approx((0.02, 0.02, 0.02))
    free = economics(50.0, 0.0)
    with pytest.raises(ParameterError, match="costs nothing"):
        ArchetypeThresholds.of(free)
    assert ArchetypeThresholds.of(free, harm=0, sure=0.1).pays == 0.0


def test_every_archetype_has_its_action():
    found = certain([0.1, 0.0, 0.0, -0.1], [0.5, 0.5, 0.0, 0.5])
    assert found.decisions()[:, 1].tolist() == [1, 0, 0, 0]
    assert dict(found.actions) == {
        "Persuadable": "contact",
        "Sure Thing": "leave",
        "Lost Cause": "leave",
        "Do-Not-Disturb": "suppress",
        "Uncertain": "expected",
    }
    other = certain(
        [0.1, 0.0, 0.0, -0.1], [0.5, 0.5, 0.0, 0.5], actions={"Sure Thing": "contact", "Lost Cause": "test"}
    )
    assert other.decisions()[:, 1].tolist() == [1, 1, 0.5, 0]
    mask = np.array([[1, 0], [1, 1], [1, 1], [1, 1]], dtype=bool)
    assert other.decisions(mask)[:, 1].tolist() == [0, 1, 0.5, 0]
    assert other.decisions(mask).sum(axis=1).tolist() == [1, 1, 1, 1]


def test_the_uncertain_are_contacted_where_that_pays_on_average():
    effect = np.array([0.03, 0.01])
    found = archetypes(np.zeros((2, 1)), effect, [0.5, 0.5], MONEY, interval=(effect - 0.1, effect + 0.1))
    assert found.names.tolist() == ["Uncertain", "Uncertain"]
    assert found.decisions()[:, 1].tolist() == [1, 0]


def test_a_model_and_its_own_interval_say_the_same(trial):
    _, test, learner, baseline = trial
    by_model = archetypes(test, learner, baseline, MONEY)
    by_arrays = archetypes(
        test,
        learner.effect(test.features),
        baseline.predict(test),
        MONEY,
        interval=learner.effect_interval(test.features, alpha=0.1),
        alpha=0.1,
    )
    assert by_model.stderr == pytest.approx(by_arrays.stderr)
    assert np.array_equal(by_model.membership, by_arrays.membership)
    assert len(set(by_model.names.tolist())) > 2
    assert by_arrays.policy is None


def test_the_policy_acts_as_the_archetypes_do(trial):
    train, test, learner, baseline = trial
    found = archetypes(test, learner, baseline, MONEY, confidence=0.6)
    policy = found.policy
    assert isinstance(policy, ps.policies.Policy)
    assert np.array_equal(policy.probabilities(test.features, 2), found.decisions())
    assert 0 < found.decisions()[:, 1].mean() < 1
    value = ps.value.policy_value(test, policy, method="ips")
    assert value.value == ps.value.policy_value(test, found.decisions(), method="ips").value
    with pytest.raises(LeakageError):
        ps.value.policy_value(train, policy, method="ips")
    with pytest.raises(LeakageError, match="by archetype"):  # the baseline's rows count as well
        ps.value.policy_value(train.arm(0), ArchetypePolicy(learner, baseline, MONEY), method="ips")
    with pytest.raises(ActionError, match="2 actions"):
        policy.probabilities(test.features, 3)


def test_calibrated_effects_are_taken_too(trial):
    train, test, learner, baseline = trial
    calibrated = ps.effects.CalibratedEffects(learner).calibrate(train)
    found = archetypes(test, calibrated, baseline, MONEY)
    assert found.effect == pytest.approx(calibrated.effect(test.features)[:, 1])
    refits = np.stack([refit[:, 1] for refit in calibrated.effect_refits(test.features)])
    assert found.stderr == pytest.approx(refits.std(axis=0, ddof=1))


def test_it_tells_itself(trial):
    _, test, learner, baseline = trial
    found = archetypes(test, learner, baseline, MONEY)
    told = str(found)
    assert "Uncertain" in told
    assert "no claim is made" in told
    assert "too little" in told
    frame = found.frame()
    assert frame["n"].sum() == test.n
    assert frame["share"].sum() == pytest.approx(1.0)
    assert frame.select([f"P({name})" for name in ARCHETYPES]).sum_horizontal().to_numpy() == pytest.approx(1.0)


def test_one_of_several_treatments_is_chosen():
    world = RandomisedTrial("nonlinear", base_rate=0.2, n_actions=3, n_features=7)
    train, test = world.sample(2_000, 0), world.sample(200, 1)
    learner = ps.effects.XLearner(trees=TREES, n_resamples=2).fit(train)
    with pytest.raises(ActionError, match="none was chosen"):
        archetypes(test, learner, np.full(200, 0.2), MONEY)
    found = archetypes(test, learner, np.full(200, 0.2), MONEY, action="treatment 2", confidence=0.25)
    assert found.decisions().shape == (200, 3)
    assert found.effect == pytest.approx(learner.effect(test.features)[:, 2])
    assert found.decisions()[:, 1].sum() == 0
    assert found.decisions()[:, 2].sum() > 0


def test_effects_as_arrays_are_of_the_treatment_asked_for():
    effect = np.array([[0.0, 0.1, -0.1], [0.0, -0.1, 0.1]])
    given = (np.zeros((2, 1)), effect, [0.1, 0.1], MONEY)
    for action, told in ((1, ["Persuadable", "Do-Not-Disturb"]), ("2", ["Do-Not-Disturb", "Persuadable"])):
        found = archetypes(*given, interval=(effect, effect), action=action)
        assert found.names.tolist() == told
        assert found.decisions()[:, int(action)].tolist() == [name == "Persuadable" for name in told]
    with pytest.raises(ActionError, match="none was chosen"):
        archetypes(*given, interval=(effect, effect))
    with pytest.raises(ActionError, match="no action 'letter'"):
        archetypes(*given, interval=(effect, effect), action="letter")
    with pytest.raises(DataError, match="upper end has shape"):
        archetypes(*given, interval=(effect, effect[:, :2]), action=1)


def test_a_learner_without_half_samples_is_refused(trial):
    train, test, _, baseline = trial
    learner = ps.effects.XLearner(trees=TREES).fit(train)
    with pytest.raises(NotFittedError, match="half-samples"):
        archetypes(test, learner, baseline, MONEY)


def test_another_outcome_is_refused(trial):
    _, test, learner, baseline = trial
    with pytest.raises(OutcomeError, match="conversion"):
        archetypes(test, learner, baseline, economics(100.0, 2.0))


@pytest.mark.parametrize(
    ("options", "error", "what"),
    [
        ({"interval": None}, ParameterError, "without their interval"),
        ({"interval": ([1.0, 1.0], [0.0, 0.0])}, DataError, "runs from 1 to 0"),
        ({"interval": ([0.0], [1.0])}, DataError, "shape"),
        ({"alpha": 1.5}, ParameterError, "alpha is 1.5"),
        ({"baseline": [0.1]}, DataError, "baseline has shape"),
        ({"baseline": [0.1, np.nan]}, DataError, "baseline is nan"),
        ({"baseline_stderr": [0.1, -0.1]}, DataError, "baseline_stderr is -0.1"),
        ({"harm": -0.1}, ParameterError, "harm is -0.1"),
        ({"sure": float("inf")}, ParameterError, "sure is inf"),
        ({"confidence": 0.2}, ParameterError, "confidence is 0.2"),
        ({"actions": {"Waverer": "contact"}}, ParameterError, "no archetype 'Waverer'"),
        ({"actions": {"Uncertain": "pray"}}, ParameterError, "'pray' is not an action"),
        ({"economics": 3.0}, ParameterError, "economics is a float"),
    ],
)
def test_what_cannot_be_is_refused(options, error, what):
    usual = {"baseline": [0.1, 0.1], "economics": MONEY, "interval": ([0.0, 0.0], [0.1, 0.1])}
    with pytest.raises(error, match=what):
        archetypes(np.zeros((2, 1)), [0.05, 0.05], **(usual | options))
