"""Calibration by hand, against known truth, and against those who would misuse it."""

from __future__ import annotations

import json
import warnings
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from persuadable import DecisionLog
from persuadable.effects import CalibratedEffects, DRLearner, FlatMapWarning, SegmentLearner, TLearner
from persuadable.effects.calibrated import score_effects
from persuadable.effects.maps import EffectMap, fit_map
from persuadable.effects.state import model_from_state, model_state
from persuadable.engine import Trees
from persuadable.errors import (
    ActionError,
    BundleError,
    DataError,
    LeakageError,
    NotFittedError,
    OutcomeError,
    ParameterError,
)
from persuadable.fingerprint import Fingerprint
from persuadable.policies import BudgetPolicy
from persuadable.spaces import Discrete
from persuadable.value import qini
from persuadable.worlds import RandomisedTrial

Vector = NDArray[np.float64]

TREES = Trees(n_trees=15, max_depth=2)
QUICK = DRLearner(trees=TREES, n_folds=3)
WORLD = RandomisedTrial(outcome="real", effect_scale=1.0, n_actions=3, seed=2)


class Told:
    """A model of effects that is told them: the world's, bent."""

    def __init__(self, bent: tuple[float, float] = (1.0, 0.0), world: RandomisedTrial = WORLD) -> None:
        self.slope, self.level = bent
        self.world = world
        self.fitted_on = Fingerprint.of(np.arange(10, dtype=np.uint64))
        self.actions_ = Discrete(world.action_names)
        self.outcomes_ = ("outcome",)
        self.columns_ = world.columns

    def effect(self, X: Any, outcome: str | None = None) -> Vector:
        features = X.features if isinstance(X, DecisionLog) else X
        effect = self.slope * self.world.effect(features) + self.level
        effect[:, 0] = 0.0
        return effect

    def out_of_fold_effect(self, log: DecisionLog, outcome: str | None = None) -> Vector:
        return self.effect(log)


# -- maps ------------------------------------------------------------------------------------------------------------


def test_isotonic_pools_neighbours_that_fall() -> None:
    predicted = np.repeat([0.0, 1.0, 2.0, 4.0], 5)
    score = np.repeat([1.0, 5.0, 3.0, 7.0], 5)
    told = fit_map("isotonic", predicted, score, np.ones(20), 4)
    np.testing.assert_allclose(told.x, [0, 1.5, 4])
    np.testing.assert_allclose(told.y, [1, 4, 7])
    np.testing.assert_allclose(told(np.array([-9.0, 0.75, 2.75, 99])), [1, 2.5, 5.5, 7])
    assert not told.is_flat


def test_weights_move_the_pooled_mean() -> None:
    told = fit_map("isotonic", np.array([0.0, 1.0]), np.array([3.0, 0.0]), np.array([1.0, 3.0]), 2)
    np.testing.assert_allclose((told.x, told.y), [[0.75], [0.75]])
    assert told.is_flat


def test_a_line_is_least_squares_and_never_falls() -> None:
    predicted = np.arange(5.0)
    told = fit_map("platt", predicted, 3 - 2 * predicted, np.ones(5), 5)
    assert told.is_flat
    assert told(np.array([7.0])) == pytest.approx([-1.0])
    told = fit_map("platt", predicted, np.array([0, 1, 4, 9, 16.0]), np.ones(5), 5)
    np.testing.assert_allclose(told(np.array([-1.0, 0, 10])), np.array([-1.0, 0, 10]) * 4 - 2)


def test_one_prediction_for_all_gets_the_average() -> None:
    for kind in ("isotonic", "platt"):
        told = fit_map(kind, np.full(6, 2.5), np.arange(6.0), np.ones(6), 3)  # type: ignore[arg-type]
        np.testing.assert_allclose(told(np.array([2.5, 0.0])), [2.5, 2.5])


@given(
    st.lists(st.tuples(st.integers(-5, 5), st.floats(-1e3, 1e3)), min_size=1, max_size=60),
    st.integers(2, 12),
    st.sampled_from(["isotonic", "platt"]),
)
def test_a_map_never_falls_and_keeps_the_level(rows: list[tuple[int, float]], n_bins: int, kind: Any) -> None:
    predicted, score = np.array(rows, dtype=np.float64).T
    told = fit_map(kind, predicted, score, np.ones(predicted.size), n_bins)
    assert (np.diff(told(np.linspace(-7, 7, 50))) >= -1e-9).all()
    # Bins are means of the rows, pooling and the line keep the mean of the bins: nothing is made or lost on average.
    assert told(told.x) == pytest.approx(told.y)
    bounds = score.min() - 1e-9, score.max() + 1e-9
    if kind == "isotonic":
        assert bounds[0] <= told.y[0] <= told.y[-1] <= bounds[1]
    again = EffectMap.read(json.loads(json.dumps(told.state())))
    np.testing.assert_array_equal(again(predicted), told(predicted))


# -- scores ----------------------------------------------------------------------------------------------------------


def test_scores_use_the_propensities_of_all_actions() -> None:
    log = WORLD.sample(900, random_state=0)
    told = score_effects(log, nuisance=QUICK)
    from persuadable.response import cross_fit_arms

    mu = cross_fit_arms(log, trees=TREES, n_folds=3)
    e, y = log.propensity(), log.outcome()
    for a in (1, 2):
        by_hand = (
            mu[:, a]
            - mu[:, 0]
            + (log.action == a) * (y - mu[:, a]) / e[:, a]
            - (log.action == 0) * (y - mu[:, 0]) / e[:, 0]
        )
        np.testing.assert_allclose(told.scores[:, a], by_hand, atol=1e-9)
    np.testing.assert_array_equal(told.scores[:, 0], 0)
    assert told.possible.all()


def test_rows_without_a_chance_teach_no_map() -> None:
    log = WORLD.sample(1_200, random_state=0)
    eligible = np.ones((log.n, 3), dtype=np.bool_)
    eligible[:, 2] = (log.action == 2) | (log.features.values[:, 0] > 0)
    some = DecisionLog.from_arrays(log.features, log.action, log.outcome(), eligible=eligible)
    told = score_effects(some, nuisance=QUICK)
    np.testing.assert_array_equal(told.possible[:, 1], eligible[:, 1])
    np.testing.assert_array_equal(told.possible[:, 2], eligible[:, 2] & told.possible[:, 0])


# -- against the truth -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["isotonic", "platt"])
def test_bold_and_shifted_effects_are_brought_back(method: Any) -> None:
    """Effects thrice too large and 2 too high: all but a small part of the error goes."""
    log, units = WORLD.sample(12_000, random_state=0), WORLD.features(3_000, random_state=5)
    model = Told((3.0, 2.0))
    calibrated = CalibratedEffects(model, method, nuisance=QUICK).calibrate(log)
    truth = WORLD.effect(units)

    def error(effect: Vector) -> Vector:
        return np.asarray(np.sqrt(((effect - truth) ** 2).mean(axis=0)[1:]))

    effect = calibrated.effect(units)
    assert (error(np.asarray(effect)) < 0.12 * error(model.effect(units))).all()
    np.testing.assert_array_equal(effect[:, 0], 0)
    order = np.argsort(truth[:, 1])
    assert (np.diff(effect[order, 1]) >= 0).all()
    assert calibrated.explain().count("\n") == 1


def test_right_effects_stay_right() -> None:
    log, units = WORLD.sample(12_000, random_state=1), WORLD.features(3_000, random_state=5)
    calibrated = CalibratedEffects(Told(), "platt", nuisance=QUICK).calibrate(log)
    truth = WORLD.effect(units)
    assert np.sqrt(((calibrated.effect(units) - truth) ** 2).mean()) < 0.1 * truth[:, 1:].std()


def test_effects_that_are_not_there_come_out_flat_and_say_so() -> None:
    none = RandomisedTrial(surface="none", outcome="real", n_actions=3)
    log = none.sample(4_000, random_state=1)
    with pytest.warns(FlatMapWarning, match=r"treatment 1, treatment 2 on outcome does not rise"):
        backwards = CalibratedEffects(Told((-1.0, 0.0)), "platt", nuisance=QUICK).calibrate(WORLD.sample(4_000, 1))
    assert np.ptp(np.asarray(backwards.effect(log.features))[:, 1]) == 0
    assert "no rise; everybody gets" in backwards.explain()


def test_out_of_fold_effects_do_not_flatter_themselves() -> None:
    """Without any effect, what the out-of-fold effects promise is not found again on the same rows: mean Γ·τ̃ ≈ 0.

    The maps as fitted on all rows do flatter: they were drawn through these very scores.
    """
    none = RandomisedTrial(surface="none", outcome="real", baseline_scale=0.0)
    honest, flattering = [], []
    tiny = DRLearner(trees=Trees(n_trees=2, max_depth=1), n_folds=4)
    model = Told(world=RandomisedTrial(outcome="real"))
    for seed in range(20):
        log = none.sample(1_000, random_state=seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FlatMapWarning)
            calibrated = CalibratedEffects(model, nuisance=tiny).calibrate(log)
        gamma = score_effects(log, nuisance=tiny).scores[:, 1]
        centred = gamma - gamma.mean()
        honest.append(float(np.mean(centred * calibrated.out_of_fold_effect(log)[:, 1])))
        flattering.append(float(np.mean(centred * calibrated.effect(log)[:, 1])))
    spread = np.std(honest) / np.sqrt(len(honest))
    assert np.mean(flattering) > 2 * np.std(flattering) / np.sqrt(len(flattering))
    assert np.mean(honest) < 3 * spread
    assert np.mean(honest) < 0.5 * np.mean(flattering)


# -- which rows ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def fitted() -> tuple[DecisionLog, TLearner, CalibratedEffects]:
    log = RandomisedTrial(costs=2.0, outcome="money").sample(1_500, random_state=0)
    learner = TLearner(trees=TREES, n_resamples=3).fit(log, outcomes=["outcome", "cost"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FlatMapWarning)
        return log, learner, CalibratedEffects(learner).calibrate(log)


def test_on_the_training_log_nothing_is_given_away(fitted: tuple[DecisionLog, TLearner, CalibratedEffects]) -> None:
    log, learner, calibrated = fitted
    assert calibrated.fitted_on is learner.fitted_on
    assert calibrated.outcomes_ == ("outcome", "cost")
    effect = calibrated.out_of_fold_effect(log, "cost")
    assert qini(log, effect[:, 1], outcome="cost")  # not refused: no row was seen
    with pytest.raises(LeakageError):
        qini(log, calibrated.effect(log)[:, 1])
    policy = BudgetPolicy(calibrated, share=0.3, cost="cost").calibrate(log)
    assert 0 <= policy.expected_share <= 0.3
    refits = list(calibrated.effect_refits(log, "outcome"))
    assert len(refits) == 3
    np.testing.assert_array_equal(refits[0][:, 0], 0)


def test_segment_models_are_scored_by_the_settings_of_their_learner() -> None:
    """Where the chance of treatment goes with the outcome, the shares of the arms are no propensities."""
    rng = np.random.default_rng(0)
    x, stage = rng.normal(size=1_200), rng.choice(["new", "old"], 1_200)
    action = (rng.random(1_200) < 1 / (1 + np.exp(-1.5 * x))).astype(int)
    frame = pl.DataFrame({"x": x, "stage": stage})
    log = DecisionLog.from_arrays(frame, action, 3 * x + action * (0.5 + x) + rng.normal(size=1_200))
    learner = DRLearner(trees=TREES, n_folds=3, propensity="estimated")
    segments = SegmentLearner(learner, "stage", min_rows=5_000).fit(log)
    found = CalibratedEffects(segments, "platt").calibrate(log)
    asked = CalibratedEffects(segments, "platt", nuisance=learner).calibrate(log)
    np.testing.assert_array_equal(found.effect(log), asked.effect(log))


def test_on_other_rows_both_parts_are_remembered() -> None:
    log = WORLD.sample(2_400, random_state=0)
    train, rest = log.split(0.4, random_state=0)
    learner = TLearner(trees=TREES).fit(train)
    with pytest.raises(LeakageError, match="also fitted the TLearner"):
        CalibratedEffects(learner).calibrate(log)
    held, test = rest.split(0.5, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FlatMapWarning)
        calibrated = CalibratedEffects(learner, nuisance=QUICK).calibrate(held)
    assert calibrated.fitted_on.overlap(train.fingerprint) == train.n
    assert calibrated.fitted_on.overlap(held.fingerprint) == held.n
    assert calibrated.fitted_on.overlap(test.fingerprint) == 0
    assert qini(test, calibrated.effect(test)[:, 1], action=1)
    on_train = calibrated.out_of_fold_effect(train)
    plain = learner.out_of_fold_effect(train)
    np.testing.assert_array_equal(on_train[:, 1], calibrated.maps_["outcome"][0](np.asarray(plain[:, 1])))
    assert calibrated.out_of_fold_effect(held).fitted_on is None
    # Rows in another order are the same rows.
    back = np.arange(held.n)[::-1]
    turned = calibrated.out_of_fold_effect(held.take(back))
    assert turned.shape == (held.n, 3)
    with pytest.raises(ParameterError, match="calibrated on another log"):
        calibrated.out_of_fold_effect(test)


def test_what_cannot_be_calibrated_is_refused() -> None:
    log = WORLD.sample(300, random_state=0)
    with pytest.raises(NotFittedError, match="The TLearner is not fitted"):
        CalibratedEffects(TLearner()).calibrate(log)
    with pytest.raises(ParameterError, match="method='spline' is not a choice"):
        CalibratedEffects(Told(), "spline").calibrate(log)  # type: ignore[arg-type]
    for bins in (1, 2.5, True):
        with pytest.raises(ParameterError, match="n_bins is"):
            CalibratedEffects(Told(), n_bins=bins).calibrate(log)  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match="nuisance=3 is no learner"):
        CalibratedEffects(Told(), nuisance=3).calibrate(log)  # type: ignore[arg-type]
    with pytest.raises(ActionError, match=r"The log's actions are \['control', 'treatment 1'\]"):
        CalibratedEffects(Told()).calibrate(log.take(log.action < 2).contrast(1))
    with pytest.raises(NotFittedError, match="not calibrated"):
        CalibratedEffects(Told()).effect(log)
    with pytest.raises(DataError, match="An effect on 'outcome' is not finite"):
        CalibratedEffects(Told((np.nan, 0.0))).calibrate(log)
    calibrated = CalibratedEffects(Told(), "platt", nuisance=QUICK).calibrate(WORLD.sample(900, random_state=0))
    with pytest.raises(OutcomeError, match="No effect on 'cost' was calibrated"):
        calibrated.effect(log, "cost")
    with pytest.raises(NotFittedError, match="keeps no half-samples"):
        calibrated.effect_refits(log)
    with pytest.raises(BundleError, match="A Told cannot be saved"):
        calibrated.state()


# -- saving ----------------------------------------------------------------------------------------------------------


def test_it_survives_its_state(fitted: tuple[DecisionLog, TLearner, CalibratedEffects]) -> None:
    log, _, calibrated = fitted
    description, blobs = model_state(calibrated)
    again = model_from_state(json.loads(json.dumps(description)), blobs)
    assert isinstance(again, CalibratedEffects)
    for outcome in ("outcome", "cost"):
        np.testing.assert_array_equal(again.effect(log, outcome), calibrated.effect(log, outcome))
    np.testing.assert_allclose(again.out_of_fold_effect(log), calibrated.out_of_fold_effect(log))
    assert again.fitted_on.same_rows(calibrated.fitted_on)


def test_damage_is_refused(fitted: tuple[DecisionLog, TLearner, CalibratedEffects]) -> None:
    description, blobs = model_state(fitted[2])
    good: dict[str, Any] = json.loads(json.dumps(description))
    one = good["maps"][0][0]

    def with_map(**changed: Any) -> dict[str, Any]:
        return good | {"maps": [[one | changed], good["maps"][1]]}

    damaged = [
        {name: value for name, value in good.items() if name != "maps"},
        good | {"maps": good["maps"][:1]},
        good | {"maps": [[], []]},
        good | {"parameters": {"method": "spline", "n_bins": 20}},
        good | {"parameters": {"method": "platt", "n_bins": 1e9}},
        good | {"parameters": {"method": "platt", "learner": None}},
        good | {"model": good},
        good | {"model": None},
        good | {"calibrated_on": {"digest": 3}},
        with_map(x=one["x"][::-1], y=one["y"][::-1]) if len(one["x"]) > 1 else with_map(x=[]),
        with_map(y=[float("nan")] * len(one["y"])),
        with_map(y=[1e300] * len(one["y"])),
        with_map(x=[0.0]),
        with_map(x=[], y=[]),
        with_map(x="0", y="0"),
        with_map(slope=-1.0),
        with_map(slope=float("inf")),
    ]

    def read(i: int, told: dict[str, Any]) -> None:
        model_from_state(told, blobs)
        pytest.fail(f"case {i} was read")

    for i, told in enumerate(damaged):
        if told == good:
            continue
        with pytest.raises(BundleError):
            read(i, told)
    with pytest.raises(BundleError):
        model_from_state(good, {name: blob for name, blob in blobs.items() if name != "calibrated-on.u64"})
