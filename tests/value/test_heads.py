"""What heads must show, on effects whose faults are known because they were put there."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from persuadable import DecisionLog
from persuadable.effects import DRLearner, Effects
from persuadable.effects.calibrated import score_effects
from persuadable.engine import Trees
from persuadable.errors import ActionError, DataError, LeakageError, OutcomeError, ParameterError
from persuadable.spaces import Discrete
from persuadable.value import HeadCriteria, HeadReport, head_report
from persuadable.worlds import RandomisedTrial

Vector = NDArray[np.float64]

QUICK = DRLearner(trees=Trees(n_trees=20, max_depth=2), n_folds=3)
WORLD = RandomisedTrial(outcome="real", effect_scale=1.0, noise=0.5, n_actions=3, costs=(1.0, 2.0), seed=2)
LOG = WORLD.sample(4_000, random_state=0)
TRUTH = WORLD.effect(LOG.features)


def report(effect: Vector, log: DecisionLog = LOG) -> HeadReport:
    return head_report(log, effect, nuisance=QUICK)


def first(effect: Vector, log: DecisionLog = LOG) -> HeadCriteria:
    return report(effect, log).of("treatment 1")


def test_the_truth_meets_every_criterion() -> None:
    told = first(TRUTH)
    assert told.line is not None
    assert told.line.slope.value == pytest.approx(1.0, abs=0.1)
    assert (told.calibrated, told.ranks, told.stable) == (True, True, True)
    assert told.n == LOG.n
    # What the truth explains is the variance of the effects.
    assert abs(told.fit.value - TRUTH[:, 1].var()) < 3 * told.fit.stderr
    assert "too bold" not in str(report(TRUTH))


def test_the_level_is_the_scores_less_the_predictions() -> None:
    gamma = score_effects(LOG, nuisance=QUICK).scores
    for a, label in ((1, "treatment 1"), (2, "treatment 2")):
        told = report(TRUTH).of(label)
        off = gamma[:, a] - TRUTH[:, a]
        assert told.bias.value == pytest.approx(off.mean())
        assert told.bias.stderr == pytest.approx(off.std(ddof=1) / np.sqrt(LOG.n), rel=1e-3)
        level = np.mean((gamma[:, a] - gamma[:, a].mean()) ** 2) - np.mean(off**2)
        assert told.fit.value == pytest.approx(level)


@pytest.mark.parametrize(
    ("bent", "words"),
    [
        (3 * TRUTH, "predictions are too bold"),
        (0.3 * TRUTH, "predictions are too timid"),
        (TRUTH + np.array([0.0, 0.3, 0.3]), "its level is off"),
        (-TRUTH, "these rows do not show that it ranks"),
    ],
    ids=["bold", "timid", "shifted", "backwards"],
)
def test_every_fault_is_named(bent: Vector, words: str) -> None:
    told = report(bent)
    assert words in str(told)
    assert not told.of("treatment 1").calibrated
    if words.startswith("these"):
        assert told.of("treatment 1").ranks is False
        assert told.of("treatment 1").stable is False
        assert "halves of the units disagree" in str(told)


def test_a_level_that_drifts_is_seen_in_time() -> None:
    steady = replace(LOG, time=np.arange(LOG.n))
    told = first(TRUTH, steady)
    assert [period.n for period in told.periods] == pytest.approx([LOG.n / 3] * 3, abs=1)
    assert (told.periods[0].start, told.periods[-1].end) == (0, LOG.n - 1)
    assert told.drift_p is not None
    assert told.drift_p > 0.01
    later = TRUTH + np.where(np.arange(LOG.n) > LOG.n / 2, 0.4, -0.4)[:, None] * np.array([0.0, 1.0, 1.0])
    told = first(later, steady)
    assert told.drift_p is not None
    assert told.drift_p < 1e-6
    assert told.stable is False
    assert "its level drifts in time" in str(report(later, steady))
    assert first(TRUTH).periods == ()


def test_one_effect_for_all_is_not_asked_to_rank() -> None:
    """A cost paid on assignment: all there is to judge is its level."""
    told = head_report(LOG, TRUTH, np.tile([0, 1.0, 2.0], (LOG.n, 1)), nuisance=QUICK)
    cost = told.of("treatment 2", "cost")
    assert (cost.line, cost.halves, cost.ranks, cost.stable) == (None, None, None, None)
    assert cost.calibrated
    assert cost.bias.value == pytest.approx(0, abs=1e-6)
    assert "one effect for all" in str(told)
    frame = told.frame()
    assert frame["head"].to_list() == ["value", "value", "cost", "cost"]
    assert frame["slope"].null_count() == 2
    assert frame.columns[-3:] == ["fit", "fit_lower", "fit_upper"]
    assert frame.columns[4:7] == ["calibrated", "ranks", "stable"]


def test_the_level_s_interval_holds_what_it_promises() -> None:
    """60 logs of a world whose propensities vary: a 90% interval misses a true level within what chance allows."""
    world = RandomisedTrial(outcome="real", n_actions=3, propensity="confounded", seed=1)
    tiny = DRLearner(trees=Trees(n_trees=8, max_depth=2), n_folds=2)
    missed = 0
    for seed in range(60):
        log = world.sample(500, random_state=seed)
        told = head_report(log, world.effect(log.features), nuisance=tiny, n_splits=1, alpha=0.1)
        lower, upper = told.of("treatment 1").bias.interval
        missed += not lower <= 0 <= upper
    assert missed <= 13  # P(Binomial(60, 0.1) > 13) < 0.005


def test_repeated_units_widen_the_intervals() -> None:
    twice = DecisionLog.from_arrays(
        np.repeat(LOG.features.values[:1_000], 2, axis=0),
        np.repeat(LOG.action[:1_000], 2),
        np.repeat(LOG.outcome()[:1_000], 2),
        unit=np.repeat(np.arange(1_000), 2),
    )
    effect = np.repeat(TRUTH[:1_000], 2, axis=0)
    clustered = head_report(twice, effect, nuisance=QUICK).criteria[0].bias.stderr
    loose = head_report(replace(twice, unit=None), effect, nuisance=QUICK).criteria[0].bias.stderr
    assert clustered / loose == pytest.approx(np.sqrt(2), rel=0.1)


def test_a_fitted_model_may_stand_for_its_effects() -> None:
    train, test = LOG.split(0.5, random_state=0)
    cost = DRLearner(trees=Trees(n_trees=5), n_folds=2).fit(train, outcomes="cost")
    told = head_report(test, TRUTH[: test.n], cost, nuisance=QUICK)
    assert str(told) == str(head_report(test, TRUTH[: test.n], cost.effect(test), nuisance=QUICK))
    with pytest.raises(LeakageError):
        head_report(LOG, TRUTH, cost, nuisance=QUICK)
    turned = replace(test, actions=Discrete(("control", "treatment 2", "treatment 1")))
    with pytest.raises(ActionError, match="behind cost_effects knows the actions"):
        head_report(turned, TRUTH[: test.n], cost, nuisance=QUICK)


def test_what_cannot_be_judged_is_refused() -> None:
    with pytest.raises(LeakageError):
        report(Effects.of(TRUTH.copy(), LOG.fingerprint))
    with pytest.raises(DataError, match=r"value_effects has shape \(4000,\), expected \(4000, 3\)"):
        report(TRUTH[:, 1])
    broken = TRUTH.copy()
    broken[7, 2] = np.nan
    with pytest.raises(DataError, match=r"cost_effects is not finite \(row 7\)"):
        head_report(LOG, TRUTH, broken, nuisance=QUICK)
    with pytest.raises(OutcomeError, match="The log names no cost"):
        head_report(replace(LOG, cost_name=None), TRUTH, TRUTH, nuisance=QUICK)
    with pytest.raises(OutcomeError, match="There is no outcome 'margin'"):
        head_report(LOG, TRUTH, value="margin", nuisance=QUICK)
    for bins in (1, 2.5):
        with pytest.raises(ParameterError, match=f"bins = {bins} and periods = 3"):
            head_report(LOG, TRUTH, bins=bins, nuisance=QUICK)
    with pytest.raises(DataError, match="value_effects of doing nothing is not 0"):
        report(TRUTH + 1.0)
    with pytest.raises(ParameterError, match="There is no cost of 'treatment 1'"):
        report(TRUTH).of("treatment 1", "cost")
