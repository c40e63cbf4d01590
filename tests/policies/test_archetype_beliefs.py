"""How much people differ and how much of it predictions tell: against numbers that are known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import gamma, norm

import persuadable as ps
from persuadable.effects.calibrated import score_effects
from persuadable.effects.maps import EffectMap
from persuadable.engine import Trees
from persuadable.errors import ActionError, DataError, NotFittedError, OutcomeError, ParameterError
from persuadable.log import DecisionLog
from persuadable.policies import ArchetypeBeliefs, archetypes, economics
from persuadable.policies.archetypes.beliefs import OWN, Belief
from persuadable.policies.archetypes.learning import FOLDS, RATE, learning_curve
from persuadable.study.presets import presets
from persuadable.worlds import Ads, RandomisedTrial

TREES = Trees(n_trees=30, max_depth=3)
MONEY = economics(100.0, 3.0, outcome="outcome")
WORLD = RandomisedTrial("nonlinear", base_rate=0.1, effect_scale=1.0, n_features=8)


@pytest.fixture(scope="module")
def taught():
    train = WORLD.sample(8_000, 0)
    learner = ps.effects.XLearner(trees=TREES, n_resamples=6).fit(train)
    level = ps.response.ResponseModel(TREES, treated_only=False).fit(train.arm(0))
    return train, learner, level, ArchetypeBeliefs.learn(train, learner, level)


def test_a_posterior_is_normal_around_the_map_and_wider_where_refits_differ_more():
    belief = Belief(EffectMap(np.array([0.0]), np.array([0.01]), 0.5), doubt=0.02, error=0.01)
    told = belief.posterior(np.array([0.1, 0.1]), np.array([0.01, 0.03]), above=0.03, below=-0.03)
    sd = 0.02 * np.sqrt([1.0, 1.0 - OWN + OWN * 9.0])
    assert told.mean == pytest.approx([0.06, 0.06])
    assert told.sd == pytest.approx(sd)
    assert told.above == pytest.approx(norm.sf(0.03, 0.06, sd))
    assert told.below == pytest.approx(norm.cdf(-0.03, 0.06, sd))
    assert belief.posterior(np.array([0.1]), None, 0.03, -0.03).sd == pytest.approx([0.02])


def test_what_is_never_negative_has_a_gamma_posterior():
    belief = Belief(EffectMap(np.array([0.0]), np.array([0.0]), 1.0), doubt=0.05, size=0.1)
    told = belief.posterior(np.array([0.2, -1.0]), None, above=0.15, below=-np.inf)
    # A quarter of its mean squared is its variance, for everybody.
    assert told.above[0] == pytest.approx(gamma.sf(0.15, a=4, scale=0.2 / 4))
    assert told.sd[0] == pytest.approx(0.1)
    assert told.above[1] == pytest.approx(0.0)
    assert told.below.tolist() == [0.0, 0.0]


def test_a_learning_curve_ends_at_the_variance_of_the_truth():
    """Predictions are the truth less a part that shrinks as rows^(−RATE): the curve is a line, and its end Var(τ)."""
    rng = np.random.default_rng(0)
    n, unknown = 400_000, 0.3
    seen, missed = rng.normal(size=n), rng.normal(size=n)
    tau = seen + missed * np.sqrt(unknown * 4**RATE)  # quarters know of τ only what is in ``seen``

    def predicted(factor):
        """The best prediction that leaves a variance of ``unknown``·factor^RATE open."""
        return tau + rng.normal(size=n) * _noise(tau.var(), unknown * factor**RATE)

    def _noise(variance, left):
        return np.sqrt(variance * left / (variance - left))

    everywhere = np.ones(n, dtype=bool)
    curve = learning_curve(
        tau + 3 * rng.normal(size=n),
        np.ones(n),
        predicted(FOLDS / (FOLDS - 1)),
        {k: [(predicted(k), everywhere) for _ in range(k)] for k in (2, 4)},
    )
    assert abs(curve.end - tau.var()) < 4 * curve.stderr
    assert curve.stderr < 0.1
    left = unknown * (FOLDS / (FOLDS - 1)) ** RATE
    assert curve.known == pytest.approx(tau.var() - left, rel=0.03)
    assert left < curve.missed < left + 0.3


def test_the_standard_error_of_a_curve_is_that_of_many_curves():
    rng = np.random.default_rng(1)
    n, ends, told = 2_000, [], []
    for _ in range(200):
        tau = rng.normal(size=n)
        parts = {k: [(tau + rng.normal(size=n), np.ones(n, dtype=bool))] for k in (2, 4)}
        curve = learning_curve(tau + 2 * rng.normal(size=n), np.ones(n), tau + 0.5 * rng.normal(size=n), parts)
        ends.append(curve.end)
        told.append(curve.stderr)
    assert np.mean(told) == pytest.approx(np.std(ends), rel=0.2)


def test_beliefs_claim_about_as_many_mistakes_as_there_are(taught):
    _, learner, level, beliefs = taught
    test = WORLD.sample(20_000, 1)
    found, bold = (archetypes(test, learner, level, MONEY, beliefs=b) for b in (beliefs, None))
    moved = WORLD.effect(test.features)[:, 1] > 0.03
    claimed, wrong = found.expected_misclassification["Persuadable"], 1 - moved[found.membership == 0].mean()
    assert found.sizes["Persuadable"] > 1_000
    assert wrong < 1.5 * claimed + 0.02
    assert bold.expected_misclassification["Persuadable"] < 0.5 * (1 - moved[bold.membership == 0].mean())
    assert found.sizes["Do-Not-Disturb"] < 0.5 * bold.sizes["Do-Not-Disturb"]
    assert found.sizes["Uncertain"] > bold.sizes["Uncertain"]
    # What is believed on average is what is true on average, of both numbers.
    assert found.believed.effect.mean() == pytest.approx(WORLD.effect(test.features)[:, 1].mean(), abs=0.02)
    assert found.believed.baseline.mean() == pytest.approx(WORLD.response(test.features)[:, 0].mean(), rel=0.1)
    assert "learned from the training log" in str(found)


def test_where_nobody_is_moved_nobody_is_taken_for_moved():
    world = RandomisedTrial("none", base_rate=0.2, n_features=8)
    train, test = world.sample(8_000, 2), world.sample(4_000, 3)
    learner = ps.effects.DRLearner(trees=TREES, n_resamples=4).fit(train)
    level = ps.response.ResponseModel(TREES, treated_only=False).fit(train.arm(0))
    beliefs = ArchetypeBeliefs.learn(train, learner, level)
    bold, found = (archetypes(test, learner, level, MONEY, beliefs=b).sizes for b in (None, beliefs))
    assert bold["Persuadable"] + bold["Do-Not-Disturb"] > 100
    assert found["Persuadable"] + found["Do-Not-Disturb"] < 20


def test_the_policy_keeps_the_beliefs_and_decides_about_each_unit_by_itself(taught):
    train, learner, level, beliefs = taught
    test = WORLD.sample(500, 4)
    found = archetypes(test, learner, level, MONEY, beliefs=beliefs)
    some = test.features.take(np.arange(7))
    assert np.array_equal(found.policy.probabilities(test.features, 2), found.decisions())
    assert np.array_equal(found.policy.probabilities(some, 2), found.decisions()[:7])
    assert found.fitted_on.overlap(train.fingerprint) == train.n


def test_calibrated_effects_have_beliefs_too(taught):
    train, learner, _, beliefs = taught
    calibrated = ps.effects.CalibratedEffects(learner).calibrate(train)
    told = ArchetypeBeliefs.learn(train, calibrated)
    assert told.baseline is None
    assert told.effects[1].doubt == pytest.approx(beliefs.effects[1].doubt, rel=0.25)
    test = WORLD.sample(2_000, 5)
    known = np.where(np.arange(test.n) % 2, 0.1, 0.0)
    found = archetypes(test, calibrated, known, MONEY, beliefs=told)
    assert (found.probabilities[known > 0.05, 2] == 0).all()
    assert (found.probabilities[known < 0.05, 1] == 0).all()


def test_what_cannot_be_learned_about_is_refused(taught):
    train, learner, level, beliefs = taught
    with pytest.raises(ParameterError, match="another log"):
        ArchetypeBeliefs.learn(WORLD.sample(500, 6), learner)
    with pytest.raises(ParameterError, match="cannot be refitted"):
        ArchetypeBeliefs.learn(train, level)
    with pytest.raises(OutcomeError, match="not on 'visit'"):
        ArchetypeBeliefs.learn(train, learner, outcome="visit")
    with pytest.raises(OutcomeError, match="'conversion'"):
        archetypes(train, learner, level, economics(100.0, 3.0), beliefs=beliefs)
    with pytest.raises(ActionError, match="code 2"):
        beliefs.of(2, "outcome")
    with pytest.raises(ParameterError, match="for a model"):
        archetypes(np.zeros((1, 1)), [0.1], [0.1], MONEY, interval=([0.0], [0.2]), beliefs=beliefs)
    constant = DecisionLog.from_arrays(train.features, train.action, np.zeros(train.n), propensity=0.5)
    still = ps.effects.XLearner(trees=TREES, loss="squared").fit(constant)
    with pytest.raises(DataError, match="same for everybody"):
        ArchetypeBeliefs.learn(constant, still)


def test_what_was_never_fitted_is_refused(taught):
    train, learner, level, _ = taught
    raw = ps.effects.XLearner()
    for unfitted in (raw, ps.effects.CalibratedEffects(raw), ps.effects.XLearner):
        with pytest.raises(NotFittedError, match="is not fitted"):
            archetypes(train, unfitted, level, MONEY)
    with pytest.raises(NotFittedError, match="XLearner is not fitted"):
        ArchetypeBeliefs.learn(train, raw)
    with pytest.raises(ParameterError, match="beliefs is a float"):
        archetypes(train, learner, level, MONEY, beliefs=0.5)
    with pytest.raises(ParameterError, match="not a DecisionLog"):
        ArchetypeBeliefs.learn(train.features, learner)


@pytest.mark.parametrize(("folds", "used"), [(2, 3), (4, 4)])
def test_the_curve_counts_the_rows_that_out_of_fold_effects_learned_from(monkeypatch, folds, used):
    """Out-of-fold effects come from the learner's own folds, three at least."""
    seen = []

    def watched(scores, weight, own, smaller, folds=FOLDS):
        seen.append(folds)
        return learning_curve(scores, weight, own, smaller, folds)

    monkeypatch.setitem(ArchetypeBeliefs.learn.__func__.__globals__, "learning_curve", watched)
    train = WORLD.sample(2_000, 8)
    ArchetypeBeliefs.learn(train, ps.effects.DRLearner(trees=TREES, n_folds=folds).fit(train))
    assert seen == [used]


def test_a_belief_about_a_mean_of_nothing_is_that_there_is_nothing():
    line = EffectMap(np.array([0.0]), np.array([0.0]), 1.0)
    told = Belief(line, doubt=0.5, size=10.0).posterior(np.array([0.0]), None, above=5.0, below=-np.inf)
    assert told.above.tolist() == [0.0]


def test_where_no_part_can_be_fitted_as_much_is_missed_as_is_known(monkeypatch):
    train = WORLD.sample(2_000, 7)
    learner = ps.effects.DRLearner(trees=TREES).fit(train)
    halves = ArchetypeBeliefs.learn(train, learner).effects[1]
    monkeypatch.setattr(ps.effects.Learner, "fit", lambda self, log, **_: _too_small(log))
    alone = ArchetypeBeliefs.learn(train, learner).effects[1]
    effect = learner.out_of_fold_effect(train)[:, 1]
    scored = score_effects(train, nuisance=learner)
    slope = np.cov(effect, scored.scores[:, 1])[0, 1] / effect.var()
    known, mean_error = slope**2 * effect.var(), scored.scores[:, 1].var() / train.n
    least = max(known, len(train.features.columns) * mean_error) + mean_error
    assert alone.doubt**2 == pytest.approx(least, rel=0.01)
    assert halves.doubt != alone.doubt


def _too_small(log):
    raise ParameterError(f"{log.n} rows are too few")


def test_labels_against_the_advertising_worlds_own_types():
    """A short version of tests/calibration/test_archetypes.py, with few conversions: most people cannot be told."""
    world = Ads(conversion_rate=0.02, seed=1)
    train, test = world.sample(50_000, 1), world.sample(30_000, 2)
    chosen = presets(train)
    learner = ps.effects.XLearner(
        trees=chosen.sizes["large trees"], nuisance_trees=chosen.responses, weighting="rows", n_resamples=4
    ).fit(train)
    level = ps.response.ResponseModel(chosen.responses, treated_only=False).fit(train.arm(0))
    money = economics(1.0, 0.0125, outcome="conversion")
    bold = archetypes(test, learner, level, money)
    found = archetypes(test, learner, level, money, beliefs=ArchetypeBeliefs.learn(train, learner, level))
    types = np.array([ps.policies.ARCHETYPES.index(name) for name in world.types(test.features).tolist()])

    def wrong(labels):
        """How many people have a label of a kind they are not of."""
        return int(((labels.membership < 4) & (labels.membership != types)).sum())

    assert wrong(bold) > 5_000
    assert wrong(found) < 0.1 * wrong(bold)
    assert found.sizes["Uncertain"] > 0.9 * test.n
    # Contacting the uncertain where it pays on average still brings more than contacting nobody or everybody.
    net = world.effect(test.features)[:, 1] - 0.0125
    gain = float((found.decisions()[:, 1] * net).sum())
    assert gain > max(0.0, net.sum())
