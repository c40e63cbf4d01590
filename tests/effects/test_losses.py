"""Each outcome by the loss that fits it: chances of a face value, means of money, and numbers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from persuadable import DecisionLog, Features
from persuadable.effects import DRLearner, Learner, SLearner, TLearner
from persuadable.effects.attribution import contributions
from persuadable.effects.compiled import CompiledLearner
from persuadable.effects.state import learner_from_state, learner_state
from persuadable.engine import Trees, response_loss
from persuadable.engine.responses import LossChoice
from persuadable.errors import BundleError, OutcomeError, ParameterError
from persuadable.response import cross_fit_arms
from persuadable.worlds import RandomisedTrial

Vector = NDArray[np.float64]
TREES = Trees(n_trees=12, max_depth=3)
ACTION = np.array([0, 0, 1, 1, 2, 2])


def told(y: Sequence[float], asked: LossChoice = "auto") -> tuple[str, list[float] | None, list[float] | None]:
    loss, scale = response_loss(np.array(y, dtype=np.float64), ACTION, 3, asked)
    return (loss, None, None) if scale is None else (loss, scale.low.tolist(), scale.span.tolist())


def test_the_loss_is_read_off_the_outcome() -> None:
    assert told([0, 1, 0, 0, 1, 1]) == ("logistic", None, None)
    assert told([0, 0, 0, 5, 0.5, 9.5]) == ("logistic", [0, 0, 0.5], [0, 5, 9])
    assert told([0, 0, 2, 2, 3, 3]) == ("logistic", [0, 2, 3], [0, 0, 0])
    crowded = (np.array([0, 1, 2.0]), np.array([0, 0, 0]), 1)
    assert response_loss(*crowded) == ("squared", None)
    assert told([0, 0, 0, 5, 1, 9], "squared") == ("squared", None, None)
    assert told([0, 0, 0, 5, 1, 9], "poisson") == ("poisson", [0, 0, 0], [0, 2.5, 5])


def test_a_loss_that_does_not_fit_is_refused() -> None:
    y, action = np.array([0, 1, 2.0]), np.zeros(3, dtype=np.int16)
    with pytest.raises(OutcomeError, match="at most two values in each arm"):
        response_loss(y, action, 1, "logistic")
    with pytest.raises(OutcomeError, match=r"never negative, here is -2 \(row 1\). Choose loss='squared'"):
        response_loss(np.array([0, -2.0, 1]), action, 1, "poisson")
    with pytest.raises(ParameterError, match="loss='huber' is not a choice"):
        DRLearner(loss="huber").fit(sample())  # type: ignore[arg-type]


def test_targets_go_there_and_back() -> None:
    y = np.array([0, 0, 0, 5, 0.5, 9.5])
    _, scale = response_loss(y, ACTION, 3)
    assert scale is not None
    np.testing.assert_array_equal(scale.target(y, ACTION), [0, 0, 0, 1, 0, 1])
    np.testing.assert_array_equal(scale.outcome(np.array([0.0, 0.5, 1.0]), 2), [0.5, 5, 9.5])
    np.testing.assert_array_equal(scale.outcome(np.array([[0.2, 0.2, 0.2]]), slice(None)), [[0, 1, 2.3]])


def saved(learner: Learner) -> tuple[dict[str, Any], dict[str, bytes]]:
    description, blobs = learner_state(learner)
    return json.loads(json.dumps(description)), blobs


def sample(n: int = 900) -> DecisionLog:
    """A cost that is a face value or a contact's price, and money."""
    rng = np.random.default_rng(4)
    x, action = rng.normal(size=(n, 3)), rng.integers(0, 3, n)
    redeemed = rng.random(n) < 1 / (1 + np.exp(-x[:, 0]))
    cost = np.array([0.0, 0.5, 0.25])[action] + np.array([0.0, 4, 7])[action] * redeemed
    money = np.where(rng.random(n) < 0.3, np.exp(x[:, 0] + 0.5 * action), 0.0)
    return DecisionLog.from_arrays(x, action, {"money": money, "cost": cost})


def test_an_arm_s_cost_stays_between_nothing_and_its_face() -> None:
    log = sample()
    mu = cross_fit_arms(log, "cost", trees=TREES)
    np.testing.assert_array_equal(mu[:, 0], 0.0)  # no offer never cost anything
    assert ((mu[:, 1] > 0.5) & (mu[:, 1] < 4.5)).all()
    assert ((mu[:, 2] > 0.25) & (mu[:, 2] < 7.25)).all()


def test_a_cost_paid_on_assignment_is_known_exactly() -> None:
    log = RandomisedTrial(n_actions=3, costs=(2.0, 0.3), cost_when="assignment").sample(600, random_state=0)
    for learner in (SLearner(trees=TREES), TLearner(trees=TREES), DRLearner(trees=TREES)):
        effect = learner.fit(log, outcomes="cost").effect(log)
        np.testing.assert_allclose(effect, np.tile([0, 2.0, 0.3], (log.n, 1)), atol=1e-6)


@pytest.mark.parametrize(("outcome", "loss", "better"), [("outcome", "poisson", 0.75), ("cost", "auto", 0.95)])
def test_an_outcome_s_own_loss_tells_its_effects_better(outcome: str, loss: LossChoice, better: float) -> None:
    """Truth in closed form: the T-learner's error falls, for money to at most 3/4, for a redeemed cost by 5%."""
    for seed in range(2):
        world = RandomisedTrial(outcome="money", base_rate=0.05, costs=5.0, seed=seed)
        log, units = world.sample(8_000, random_state=seed), world.features(4_000, random_state=9)
        truth = {"outcome": world.effect, "cost": world.cost_effect}[outcome](units)[:, 1]

        def error(how: LossChoice, log: DecisionLog = log, units: Features = units, truth: Vector = truth) -> float:
            learner = TLearner(trees=Trees(n_trees=60, max_depth=3), loss=how).fit(log, outcomes=outcome)
            return float(np.sqrt(np.mean((learner.effect(units)[:, 1] - truth) ** 2)))

        assert error(loss) < better * error("squared")


def test_an_arm_that_never_earned_is_no_failure() -> None:
    rng = np.random.default_rng(0)
    action = np.repeat([0, 1], 200)
    y = np.where(action == 1, rng.exponential(size=400) * (rng.random(400) < 0.3), 0.0)
    log = DecisionLog.from_arrays(rng.normal(size=(400, 2)), action, y)
    effect = TLearner(trees=TREES, loss="poisson").fit(log).effect(log)
    assert np.isfinite(effect).all()
    assert (effect[:, 1] > 0).all()


FITTED = [
    (SLearner(trees=TREES, n_resamples=2), "cost"),
    (TLearner(trees=TREES, n_resamples=2), "cost"),
    (DRLearner(trees=TREES), "cost"),
    (SLearner(trees=TREES, loss="poisson"), "money"),
    (TLearner(trees=Trees(n_trees=9, max_depth=6), loss="poisson", n_resamples=2), "money"),
    (DRLearner(trees=TREES, loss="poisson"), "money"),
]


@pytest.mark.parametrize(("learner", "outcome"), FITTED, ids=lambda told: repr(told)[:70])
def test_every_loss_survives_compiling_saving_and_taking_apart(learner: Learner, outcome: str) -> None:
    log = sample()
    learner.fit(log, outcomes=outcome)
    effect = np.asarray(learner.effect(log))
    values: NDArray[np.float32] = log.features.values
    quick = CompiledLearner(learner)
    np.testing.assert_allclose(quick.effects(values), effect, atol=1e-5, rtol=1e-6)
    np.testing.assert_allclose(quick.effects(values[:3]), effect[:3], atol=1e-5, rtol=1e-6)  # one row at a time
    if learner.n_resamples:
        spread = np.std(list(learner.effect_refits(log)), axis=0, ddof=1)
        np.testing.assert_allclose(quick.effects_and_stderr(values)[1], spread, atol=1e-5)
    parts = contributions(learner, log)
    np.testing.assert_allclose(parts.base + parts.values.sum(axis=1), effect, atol=1e-4)
    description, blobs = saved(learner)
    again = learner_from_state(description, blobs)
    assert again.loss == learner.loss
    np.testing.assert_array_equal(again.effect(log), effect)


@pytest.mark.parametrize(
    "scales",
    [
        [],
        [[[0.0, 0.5, 0.25]]],
        [[[0.0] * 3, [1.0, 1.0]]],
        [[[0.0] * 3, [1.0, -1.0, 1.0]]],
        [[[0.0] * 3, [1.0, float("nan"), 1.0]]],
        [[[0.0] * 3, [1.0, 1e300, 1.0]]],
        "none",
    ],
)
def test_a_damaged_scale_is_refused(scales: object) -> None:
    description, blobs = saved(TLearner(trees=TREES).fit(sample(), outcomes="cost"))
    with pytest.raises(BundleError, match="scale"):
        learner_from_state(description | {"scales": scales}, blobs)


def test_a_learner_saved_before_there_were_scales_is_read() -> None:
    log = sample()
    learner = TLearner(trees=TREES, loss="squared").fit(log, outcomes="cost")
    description, blobs = saved(learner)
    old = {name: value for name, value in description.items() if name != "scales"}
    old["parameters"] = {name: value for name, value in old["parameters"].items() if name != "loss"}
    np.testing.assert_array_equal(learner_from_state(old, blobs).effect(log), learner.effect(log))
