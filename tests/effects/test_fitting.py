"""Fitting: alone or in company, from logs or arrays, with weights, intervals and held-out effects."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from persuadable import DecisionLog
from persuadable.effects import (
    DRLearner,
    Learner,
    RLearner,
    SLearner,
    TLearner,
    XLearner,
    clone,
    fit_many,
    out_of_fold_effects,
    shared,
)
from persuadable.engine import LocalEngine, Trees
from persuadable.errors import ActionError, FeatureError, NotFittedError, OutcomeError, ParameterError

TREES = Trees(n_trees=15, max_depth=3)
KINDS: dict[str, tuple[type[Learner], dict[str, Any]]] = {
    "S": (SLearner, {}),
    "T": (TLearner, {}),
    "X": (XLearner, {}),
    "X two-model": (XLearner, {"form": "two-model"}),
    "R": (RLearner, {}),
    "DR": (DRLearner, {}),
}
every_learner = pytest.mark.parametrize("kind", KINDS)


def make(kind: str, **parameters: Any) -> Learner:
    learner, own = KINDS[kind]
    return learner(**{"trees": TREES} | own | parameters)


def sample(n: int = 900, seed: int = 0, arms: int = 3, **roles: Any) -> DecisionLog:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 4))
    e = np.full((n, arms), 1 / arms) + 0.2 * (x[:, :1] > 0) * np.array([1, -1] + [0] * (arms - 2)) / 2
    action = (rng.random(n)[:, None] >= np.cumsum(e, axis=1)[:, :-1]).sum(axis=1)
    mean = x[:, 0] + action * (0.5 + x[:, 1])
    y = mean + rng.normal(size=n)
    bought = (rng.random(n) < 1 / (1 + np.exp(-mean))).astype(float)
    outcomes = {"spend": y, "bought": bought, "cost": 0.1 * action}
    return DecisionLog.from_arrays(x, action, outcomes, cost="cost", propensity=e, **roles)


def raw(learner: Learner) -> dict[tuple[str, str, int], bytes]:
    """Every ensemble of a learner as bytes."""
    found = {(o, s, -1): m.to_bytes() for o, models in learner.models_.items() for s, m in models.items()}
    for outcome, resamples in learner.resamples_.items():
        for b, models in enumerate(resamples):
            found |= {(outcome, s, b): m.to_bytes() for s, m in models.items()}
    return found


# -- alone or in company ---------------------------------------------------------------------------------------------


def company(**parameters: Any) -> list[Learner]:
    learners = [make(kind, **parameters) for kind in KINDS]
    sampled = Trees(n_trees=10, max_depth=2, subsample=0.7, colsample=0.8)
    learners.append(RLearner(trees=sampled, nuisance_trees=TREES, n_folds=3, random_state=7, **parameters))
    learners.append(DRLearner(trees=sampled, propensity="constant", random_state=3, **parameters))
    learners.append(XLearner(trees=TREES, propensity="estimated", clip=0.1, **parameters))
    return learners


def test_fitting_many_equals_fitting_each_bit_for_bit() -> None:
    log = sample()
    together = fit_many(company(n_resamples=2), log, outcomes=["spend", "bought"])
    for learner, alone in zip(together, company(n_resamples=2), strict=True):
        alone.fit(log, outcomes=["spend", "bought"])
        assert raw(alone) == raw(learner), alone


@every_learner
def test_several_outcomes_at_once_equal_one_at_a_time(kind: str) -> None:
    log = sample()
    both = make(kind).fit(log, outcomes=["spend", "bought"])
    for name in ("spend", "bought"):
        one = make(kind).fit(log, outcomes=name)
        np.testing.assert_array_equal(both.effect(log, name), one.effect(log))
    assert both.outcomes_ == ("spend", "bought")


@every_learner
def test_the_same_seed_gives_the_same_bytes_and_any_number_of_threads_the_same_decisions(kind: str) -> None:
    log = sample(2_000)

    def fitted(threads: int, seed: int = 0) -> Learner:
        trees = Trees(n_trees=20, subsample=0.5)
        return make(kind, trees=trees, engine=LocalEngine(threads=threads), random_state=seed, n_resamples=2).fit(log)

    one, two = fitted(1), fitted(2)
    assert raw(one) == raw(fitted(1))
    assert raw(two) == raw(fitted(2))
    effect = np.asarray(one.effect(log))
    np.testing.assert_allclose(two.effect(log), effect, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(np.asarray(two.effect(log)).argmax(axis=1), effect.argmax(axis=1))
    assert not np.array_equal(fitted(1, seed=1).effect(log), effect)


@every_learner
def test_a_clone_is_unfitted_and_refits_the_same(kind: str) -> None:
    log = sample(300)
    learner = make(kind, clip=0.02).fit(log)
    again = clone(learner)
    assert not hasattr(again, "models_")
    assert repr(again) == repr(learner)
    assert raw(again.fit(log)) == raw(learner)


def test_refitting_forgets_the_first_fit() -> None:
    first, second = sample(300, seed=1), sample(300, seed=2)
    learner = make("R", n_resamples=2).fit(first)
    learner.fit(second, outcomes="bought")
    fresh = make("R", n_resamples=2).fit(second, outcomes="bought")
    assert raw(learner) == raw(fresh)
    assert learner.fitted_on.digest == second.fingerprint.digest


def test_r_and_dr_are_the_same_where_half_are_treated() -> None:
    """With p = ½: (y − m)/(a − ½) = ±2(y − m) = μ₁ − μ₀ ± 2(y − μ_a) = Γ, and (a − p)² is the same for all."""
    rng = np.random.default_rng(3)
    x, action = rng.normal(size=(600, 3)), rng.integers(0, 2, 600)
    log = DecisionLog.from_arrays(x, action, x[:, 0] + action + rng.normal(size=600), propensity=0.5)
    np.testing.assert_allclose(make("R").fit(log).effect(log), make("DR").fit(log).effect(log), rtol=1e-4, atol=1e-5)


# -- from arrays -----------------------------------------------------------------------------------------------------


@every_learner
def test_arrays_give_the_same_as_a_log(kind: str) -> None:
    log = sample(weight=np.random.default_rng(1).uniform(0.5, 2, 900))
    arrays = make(kind).fit(
        log.features.values, log.outcome(), treatment=log.action, propensity=log.propensities, sample_weight=log.weight
    )
    np.testing.assert_array_equal(arrays.effect(log.features.values), make(kind).fit(log).effect(log))


@pytest.mark.parametrize("as_type", [np.int64, np.float64, np.bool_, np.str_])
def test_a_treatment_of_any_type(as_type: Any) -> None:
    log = sample(300, arms=2)
    learner = make("T").fit(log.features.values, log.outcome(), treatment=log.action.astype(as_type))
    np.testing.assert_array_equal(learner.effect(log), make("T").fit(log).effect(log))


@pytest.mark.parametrize("missing", ["y", "treatment"])
def test_arrays_need_outcome_and_treatment(missing: str) -> None:
    given: dict[str, Any] = {"y": np.zeros(4), "treatment": np.array([0, 1, 0, 1])} | {missing: None}
    with pytest.raises(
        ParameterError, match=r"fit needs a DecisionLog, or features with y and treatment. Call fit\(log\)"
    ):
        TLearner().fit(np.zeros((4, 1)), **given)


# -- weights ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["S", "T"])
def test_a_whole_weight_counts_as_so_many_rows(kind: str) -> None:
    """With the bin boundaries given (few distinct values) a weight of 3 is three rows, up to rounding.

    Without regularisation, that is, which counts weights as multiples of their mean.
    """
    free = Trees(n_trees=12, max_depth=3, reg_lambda=0, min_child_weight=0)
    rng = np.random.default_rng(0)
    n = 600
    x, action = rng.integers(0, 8, size=(n, 3)), rng.integers(0, 2, n)
    y, times = action * x[:, 0] + rng.normal(size=n), rng.integers(1, 4, n)
    weighted = make(kind, trees=free).fit(x, y, treatment=action, sample_weight=times)
    rows = np.repeat(np.arange(n), times)
    repeated = make(kind, trees=free).fit(x[rows], y[rows], treatment=action[rows])
    np.testing.assert_allclose(weighted.effect(x), repeated.effect(x), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("kind", ["X", "X two-model", "R", "DR"])
def test_weights_move_the_effect_to_those_who_weigh(kind: str) -> None:
    """Two kinds no feature tells apart, with effects 0 and 4: the effect found is the weighted mean of the two."""
    rng = np.random.default_rng(1)
    n = 8_000
    x, other, action = rng.normal(size=(n, 1)), rng.integers(0, 2, n), rng.integers(0, 2, n)
    y = 4.0 * other * action + rng.normal(size=n)
    for weight, expected in ((np.ones(n), 2.0), (np.where(other, 3.0, 1.0), 3.0), (np.where(other, 1.0, 3.0), 1.0)):
        learner = make(kind).fit(x, y, treatment=action, propensity=0.5, sample_weight=weight)
        # The standard deviation of the average is below 0.04.
        assert np.asarray(learner.effect(x))[:, 1].mean() == pytest.approx(expected, abs=0.2)


# -- what is predicted -----------------------------------------------------------------------------------------------


@every_learner
def test_effects_have_a_column_per_action_and_remember_their_rows(kind: str) -> None:
    log = sample(300)
    learner = make(kind).fit(log)
    effect = learner.effect(log.features)
    assert effect.shape == (300, 3)
    assert effect.dtype == np.float64
    np.testing.assert_array_equal(effect[:, 0], 0)
    assert effect.fitted_on.overlap(log.fingerprint) == 300
    assert effect[:, 1].fitted_on is effect.fitted_on
    assert (2 * effect[5:])[:, 2].fitted_on is effect.fitted_on
    np.testing.assert_array_equal(learner.effect(log), learner.effect(log.features.values))
    np.testing.assert_array_equal(learner.effect(log), learner.effect(log.features.frame()))
    shuffled = log.features.frame().select("f2", "f0", "f3", "f1")
    np.testing.assert_array_equal(learner.effect(log), learner.effect(shuffled))


def test_effects_know_their_rows_in_another_process_too() -> None:
    log = sample(300)
    effect = make("T").fit(log).effect(log)
    for again in (pickle.loads(pickle.dumps(effect)), pickle.loads(pickle.dumps(effect[:, 1]))):
        assert again.fitted_on.digest == log.fingerprint.digest
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(effect)), effect)
    assert copy.deepcopy(effect).fitted_on is not None


def test_arms_that_no_fold_may_lose() -> None:
    """All treated rows are one unit's, so one fold's complement has none of them."""
    unit = np.arange(200) % 10
    log = DecisionLog.from_arrays(np.zeros((200, 1)), (unit == 0).astype(int), np.arange(200.0), unit=unit)
    with pytest.raises(ParameterError, match=r"There is no row left to learn from \(Responses\). Use fewer folds"):
        make("R").fit(log)


@every_learner
def test_nothing_is_predicted_before_fitting(kind: str) -> None:
    match = f"This {KINDS[kind][0].__name__} is not fitted. Call fit"
    with pytest.raises(NotFittedError, match=match):
        make(kind).effect(np.zeros((1, 4)))
    with pytest.raises(NotFittedError, match=match):
        make(kind).effect_interval(np.zeros((1, 4)))
    with pytest.raises(NotFittedError, match=match):
        make(kind).out_of_fold_effect(sample(300))
    with pytest.raises(NotFittedError, match=match):
        out_of_fold_effects([make(kind)], sample(300))


def test_what_was_not_learned_cannot_be_asked_for() -> None:
    log = sample(300)
    learner = make("T").fit(log)
    with pytest.raises(OutcomeError, match=r"knows no effect on 'bought'. It was fitted on \['spend'\]"):
        learner.effect(log, "bought")
    with pytest.raises(ParameterError, match=r"No outcome was named. The log has \['spend', 'bought', 'cost'\]"):
        make("T").fit(log, outcomes=[])
    with pytest.raises(OutcomeError, match=r"There is no outcome 'clicks'. The log has \['spend', 'bought', 'cost'\]"):
        make("T").fit(log, outcomes="clicks")
    with pytest.raises(FeatureError, match="The array has 3 features, expected 4"):
        learner.effect(log.features.values[:, :3])


@pytest.mark.parametrize(
    ("parameters", "match"),
    [
        ({"n_folds": 1}, "n_folds must be a whole number from 2, got 1 .RLearner"),
        ({"n_folds": 2.5}, "n_folds must be a whole number from 2, got 2.5"),
        ({"n_resamples": -1}, "n_resamples must be a whole number from 0"),
        ({"random_state": None}, "random_state must be a whole number from 0, got None"),
        ({"n_folds": 200}, "200 folds cannot be made where the smallest arm has"),
        ({"propensity": "guess"}, "propensity='guess' is not a choice. Choose 'auto'"),
        ({"clip": 0.5}, r"clip must lie in \[0, 0.333\), got 0.5"),
        ({"clip": -0.1}, "clip must lie in"),
        ({"trees": Trees(max_depth=0)}, r"max_depth must lie in \[1, 30\], got 0 .Trees"),
        ({"trees": Trees(n_trees=1.5)}, "n_trees must be a whole number, got 1.5"),  # type: ignore[arg-type]
        ({"trees": Trees(learning_rate=float("nan"))}, "learning_rate must lie in .*got nan"),
        ({"nuisance_trees": Trees(subsample=0)}, "subsample must lie in"),
        ({"engine": LocalEngine(threads=1.5)}, "threads must be a whole number from 1, got 1.5"),  # type: ignore[arg-type]
        ({"engine": "gpu"}, r"engine='gpu' is not LocalEngine .RLearner.. Pass e.g. engine=LocalEngine\(\)"),
        ({"trees": {"max_depth": 3}}, "trees={'max_depth': 3} is not Trees"),
        ({"nuisance_trees": 5}, "nuisance_trees=5 is not Trees"),
        ({"engine": LocalEngine(threads=0)}, "threads must be a whole number from 1, got 0 .LocalEngine"),
    ],
)
def test_parameters_out_of_range(parameters: dict[str, Any], match: str) -> None:
    with pytest.raises(ParameterError, match=match):
        RLearner(**{"trees": TREES} | parameters).fit(sample(300))


def test_an_x_learner_has_two_forms() -> None:
    with pytest.raises(ParameterError, match=r"form='three-model' is not a choice .XLearner.. Choose 'one-model'"):
        XLearner(form="three-model").fit(sample(300))  # type: ignore[arg-type]


def test_nothing_to_fit() -> None:
    with pytest.raises(ParameterError, match=r"There is no learner to fit. Pass at least one"):
        fit_many([], sample(300))


@every_learner
def test_a_part_of_a_log_that_lost_an_arm_is_refused(kind: str) -> None:
    log = sample(300)
    with pytest.raises(ActionError, match="Only one arm has rows"):
        make(kind).fit(log.arm(1))
    with pytest.raises(ActionError, match="Nobody took '2'"):
        make(kind).fit(log.take(log.action != 2))


@every_learner
@pytest.mark.parametrize("positives", [0, 1])
def test_an_outcome_that_hardly_happens_still_gives_finite_effects(kind: str, positives: int) -> None:
    y = np.zeros(300)
    y[:positives] = 1
    log = sample(300)
    effect = make(kind).fit(log.features.values, y, treatment=log.action).effect(log.features.values)
    assert np.isfinite(effect).all()
    assert np.abs(effect).max() < (0.01 if positives == 0 else 4.0)  # one positive weighs 1/e = 3 in Γ


# -- intervals -------------------------------------------------------------------------------------------------------


@every_learner
def test_intervals_hold_the_effect_and_widen_with_confidence(kind: str) -> None:
    log = sample(600)
    learner = make(kind, n_resamples=4).fit(log)
    lower, upper = learner.effect_interval(log)
    effect = np.asarray(learner.effect(log))
    assert lower.shape == upper.shape == effect.shape
    np.testing.assert_array_equal(lower[:, 0], 0)
    np.testing.assert_array_equal(upper[:, 0], 0)
    np.testing.assert_allclose((lower + upper) / 2, effect, atol=1e-12)
    spread = np.std(
        [learner._predict("spend", m, log.features.values) for m in learner.resamples_["spend"]], axis=0, ddof=1
    )
    np.testing.assert_allclose(upper - lower, 2 * 1.959964 * spread, rtol=1e-6)
    narrow = learner.effect_interval(log, alpha=0.5)
    assert (narrow[1] - narrow[0] <= upper - lower).all()
    assert (upper - lower)[:, 1:].min() > 0


def test_intervals_need_half_samples() -> None:
    log = sample(300)
    for n_resamples in (0, 1):
        with pytest.raises(NotFittedError, match=r"kept no half-samples.*Fit it with n_resamples=20"):
            make("R", n_resamples=n_resamples).fit(log).effect_interval(log)


@pytest.mark.parametrize("alpha", [0, 1, -0.1, float("nan")])
def test_alpha_is_within_0_and_1(alpha: float) -> None:
    with pytest.raises(ParameterError, match=r"alpha must lie in \(0, 1\)"):
        make("R", n_resamples=2).fit(sample(300)).effect_interval(sample(300), alpha=alpha)


# -- held-out effects ------------------------------------------------------------------------------------------------


def noise_only(n: int = 4_000) -> tuple[DecisionLog, NDArray[Any]]:
    """An outcome of noise alone, and the noise signed so that an effect fitted to it correlates with it."""
    rng = np.random.default_rng(5)
    action, y = rng.integers(0, 2, n), rng.normal(size=n)
    log = DecisionLog.from_arrays(rng.normal(size=(n, 5)), action, y, propensity=0.5)
    return log, np.where(action == 1, y, -y)


def test_out_of_fold_effects_did_not_see_their_row() -> None:
    log, noise = noise_only()
    learners = [make(kind, trees=Trees(n_trees=50, max_depth=6)) for kind in KINDS]
    fit_many(learners, log)
    for learner, held_out in zip(learners, out_of_fold_effects(learners, log), strict=True):
        in_sample = np.corrcoef(np.asarray(learner.effect(log))[:, 1], noise)[0, 1]
        outside = np.corrcoef(np.asarray(held_out)[:, 1], noise)[0, 1]
        assert in_sample > 0.2, learner
        assert abs(outside) < 4 / np.sqrt(log.n), learner  # no correlation: standard deviation 1/√n
        assert held_out.fitted_on is None


@every_learner
def test_out_of_fold_effects_agree_with_the_learner_where_there_is_an_effect(kind: str) -> None:
    log = sample(2_000)
    learner = make(kind).fit(log, outcomes=["spend", "bought"])
    held_out = learner.out_of_fold_effect(log)
    np.testing.assert_array_equal(held_out[:, 0], 0)
    for a in (1, 2):
        assert np.corrcoef(np.asarray(held_out)[:, a], np.asarray(learner.effect(log))[:, a])[0, 1] > 0.8
    assert not np.array_equal(held_out, learner.out_of_fold_effect(log, "bought"))


def test_out_of_fold_effects_keep_units_together() -> None:
    """A unit's rows are copies of each other: an effect that had seen one of them would have seen them all."""
    rng = np.random.default_rng(6)
    n, copies = 800, 5
    x, action, y = rng.normal(size=(n, 4)), rng.integers(0, 2, n), rng.normal(size=n)
    rows = np.repeat(np.arange(n), copies)
    log = DecisionLog.from_arrays(x[rows], action[rows], y[rows], unit=rows, propensity=0.5)
    held_out = make("T", trees=Trees(n_trees=50, max_depth=6)).fit(log).out_of_fold_effect(log)
    first = np.arange(n) * copies
    noise = np.where(action == 1, y, -y)
    assert abs(np.corrcoef(np.asarray(held_out)[first, 1], noise)[0, 1]) < 4 / np.sqrt(n)


def test_out_of_fold_effects_need_the_log_fitted_on() -> None:
    learner = make("R").fit(sample(300, seed=1))
    with pytest.raises(ParameterError, match=r"The RLearner was fitted on another log. Pass the log it was fitted on"):
        learner.out_of_fold_effect(sample(300, seed=2))


@every_learner
def test_out_of_fold_effects_do_not_depend_on_company(kind: str) -> None:
    log = sample()
    one, other = make(kind).fit(log), make("T", random_state=7).fit(log)
    alone = one.out_of_fold_effect(log)
    folds = log.folds(5, one.random_state + 1)
    _, together = out_of_fold_effects([other, one], log, folds=folds)
    np.testing.assert_array_equal(alone, together)


@every_learner
def test_what_is_shared_changes_nothing(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    log = sample()
    told: dict[str, Any] = {"propensity": "estimated", "nuisance_trees": Trees(n_trees=8, max_depth=2)}
    plain = make(kind, n_resamples=2, **told).fit(log)
    refits, effects = raw(plain), plain.out_of_fold_effect(log)
    runs: list[str] = []
    run = LocalEngine.run

    def counted(self: LocalEngine, *arguments: Any, what: str, **others: Any) -> Any:
        runs.append(what)
        return run(self, *arguments, what=what, **others)

    monkeypatch.setattr(LocalEngine, "run", counted)
    with shared(log):
        first = make(kind, **told).fit(log)
        first.out_of_fold_effect(log)[:] = 0.0  # a copy: nobody else's is spoiled
        before = len(runs)
        again = make(kind, n_resamples=2, **told).fit(log)
        assert "Propensity" not in runs[before:]
        assert "Responses" not in runs[before:]
        before = len(runs)
        np.testing.assert_array_equal(again.out_of_fold_effect(log), effects)
        assert len(runs) == before
        other = sample(seed=1)
        assert make(kind, **told).fit(other).propensity_.values.shape == (other.n, 3)
        assert "Propensity" in runs[before:]
    assert raw(again) == refits
    before = len(runs)
    make(kind, **told).fit(log)
    assert "Propensity" in runs[before:], "nothing is kept once the context has ended"
