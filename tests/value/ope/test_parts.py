"""The parts estimates are made of: weights, terms, columns, moments, SLOPE, and the models fitted on the way."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from persuadable.engine import LocalEngine, Trees
from persuadable.errors import DataError, ParameterError, PropensityError
from persuadable.log import DecisionLog
from persuadable.value.ope import (
    DM,
    DR,
    ESTIMATORS,
    IPS,
    SNDR,
    SNIPS,
    BalancedIPS,
    DRos,
    Estimator,
    SwitchDR,
    Terms,
)
from persuadable.value.ope.balanced import balanced_ratios, odds
from persuadable.value.ope.case import question_of
from persuadable.value.ope.columns import Layout, blocks, stored, terms_of
from persuadable.value.ope.estimators import Weighting, chosen
from persuadable.value.ope.moments import Moments, answers
from persuadable.value.ope.mrdr import mrdr_predictions, mrdr_weights
from persuadable.value.ope.rounds import Candidate, Rounds
from persuadable.value.ope.slope import paired_slope
from persuadable.worlds import RandomisedTrial

WEIGHTINGS = [
    Weighting("none"),
    Weighting("ratio"),
    Weighting("clip", 2.0),
    Weighting("switch", 2.0),
    Weighting("shrink", 3.0),
    Weighting("shrink", math.inf),
]


def rounds_of(n=300, seed=0, outcomes=1, candidates=1, weight=None):
    rng = np.random.default_rng(seed)
    e = rng.dirichlet(np.full(3, 2.0), size=n) * 0.9 + 0.1 / 3
    return Rounds(
        action=(rng.random(n)[:, None] > e.cumsum(axis=1)[:, :-1]).sum(axis=1),
        propensity=e,
        outcomes=[rng.normal(size=n) for _ in range(outcomes)],
        actions=["a", "b", "c"],
        candidates=[Candidate(f"policy {c}", rng.dirichlet(np.ones(3), size=n)) for c in range(candidates)],
        predictions=[rng.normal(size=(n, 3)) for _ in range(outcomes)],
        weight=weight,
    )


# -- weights ---------------------------------------------------------------------------------------------------------


def test_weightings_by_hand():
    w = np.array([0.0, 0.5, 2.0, 4.0])
    expected = [np.zeros(4), w, [0, 0.5, 2, 2], [0, 0.5, 2, 0], [0, 3 * 0.5 / 3.25, 6 / 7, 12 / 19], w]
    for weighting, rho in zip(WEIGHTINGS, expected, strict=True):
        out = np.empty(4)
        weighting.apply(w, out)
        np.testing.assert_allclose(out, rho)


@pytest.mark.parametrize("weighting", WEIGHTINGS)
@given(st.floats(0.01, 20.0))
def test_sensitivity_is_the_logarithmic_derivative(weighting, w):
    """Against a central difference, away from the kinks, where there is no derivative."""
    if weighting.shape in ("clip", "switch") and abs(w - weighting.limit) < 0.01:
        return

    def rho(x):
        out = np.empty(1)
        weighting.apply(np.array([x]), out)
        return out[0]

    h = 1e-6
    expected = 0.0 if rho(w) == 0 else (rho(w * (1 + h)) - rho(w * (1 - h))) / (2 * h) / rho(w)
    if rho(w) > 0:
        assert weighting.sensitivity(np.array([w]))[0] == pytest.approx(expected, abs=1e-5)


def test_every_estimator_is_found_by_its_name_and_says_what_it_is():
    for name, kind in ESTIMATORS.items():
        assert chosen(name) == {name: kind()}
        assert kind.__doc__
        assert isinstance(kind(), Estimator)
    assert [str(one) for one in (IPS(), IPS(10), DRos(0.25), SwitchDR(math.inf), IPS("slope"))] == [
        "ips",
        "ips(clip=10)",
        "dros(lam=0.25)",
        "switch-dr(tau=inf)",
        "ips(clip=slope)",
    ]
    assert not IPS(3).tuned


@pytest.mark.parametrize("kind", [IPS("slope"), SwitchDR(), DRos(), SNDR("slope"), BalancedIPS("slope")])
def test_candidates_go_from_no_shrinkage_to_the_median(kind):
    w = np.array([0.0, 0.0, 1.0, 2.0, 3.0, 50.0])
    options = kind.candidates(w)
    assert options[0].weighting.shape == "ratio"
    limits = [one.weighting.limit for one in options]
    assert limits == sorted(limits, reverse=True)
    least = 2.5**2 if isinstance(kind, DRos) else 2.5  # the median of the weights above 0
    assert limits[-1] == pytest.approx(least)
    assert all(not one.tuned and type(one) is type(kind) for one in options)
    assert kind.candidates(np.zeros(3))[0].weighting.shape == "ratio"
    assert len(kind.candidates(np.ones(5))) >= 1


# -- terms -----------------------------------------------------------------------------------------------------------


@settings(max_examples=30)
@given(st.integers(0, 1000), st.booleans(), st.booleans(), st.booleans())
def test_terms_influence_is_the_derivative_of_the_value(seed, direct, weight, rows):
    """ψ_i/Σr is what V moves by when row i gets a little more weight; its mean is 0."""
    rng = np.random.default_rng(seed)
    n = 12
    r = rng.uniform(0.5, 2, n) if rows else np.ones(n)
    terms = Terms(
        rng.normal(size=n), rng.normal(size=n) if direct else None, rng.uniform(0.1, 3, n) if weight else None
    )
    psi = terms.influence(r if rows else None)
    assert float(r @ psi) == pytest.approx(0.0, abs=1e-9)
    h = 1e-6
    for i in range(3):
        more, less = r.copy(), r.copy()
        more[i] += h
        less[i] -= h
        derivative = (terms.value(more) - terms.value(less)) / (2 * h)
        assert psi[i] / r.sum() == pytest.approx(derivative, abs=1e-6)


def test_terms_columns_and_refusal():
    bare = Terms(np.array([1.0, 3.0]))
    np.testing.assert_array_equal(bare.columns(), [[0, 1, 1], [0, 3, 1]])
    assert bare.n == 2
    assert bare.value() == 2.0
    with pytest.raises(PropensityError, match="All weights are 0"):
        Terms(np.zeros(2), weight=np.zeros(2)).value()


# -- columns and moments ---------------------------------------------------------------------------------------------


def questions(rounds, estimators):
    return [
        question_of(one, c, o, o if one.model else None)
        for c in range(len(rounds.candidates))
        for o in range(len(rounds.outcomes))
        for one in estimators
    ]


def test_columns_are_shared():
    """Six estimators of one candidate and outcome need ten columns, and a second outcome does not weigh again."""
    six = (DM(), IPS(), SNIPS(), DR(), SwitchDR(2.0), DRos(3.0))
    rounds = rounds_of(outcomes=2)
    one = Layout(questions(rounds_of(), six))
    # Σπq̂, w, w·y, w·r, switched w, switched w·r, shrunk w, shrunk w·r, and 1
    assert one.one + 1 == 9
    two = Layout(questions(rounds, six))
    assert two.one + 1 == 9 + 5  # Σπq̂, w·y and three w·r of the other outcome
    columns = stored(rounds, two)
    asked = two.questions
    ips, snips, other = (terms_of(columns, two, asked[k]) for k in (1, 2, 7))
    assert np.shares_memory(ips.weighted, snips.weighted)
    assert not np.shares_memory(ips.weighted, other.weighted)


@pytest.mark.parametrize("size", [1, 7, 100, 1000])
@pytest.mark.parametrize("weighted", [False, True])
def test_moments_do_not_depend_on_the_blocks(size, weighted):
    weight = np.random.default_rng(1).uniform(0.5, 2, 300) if weighted else None
    rounds = rounds_of(weight=weight)
    layout = Layout(questions(rounds, (DM(), SNIPS(), SNDR(), DRos(2.0))))
    moments = Moments.empty(layout.one + 1)
    for block in blocks(rounds, layout, size):
        moments.add(block)
    whole = stored(rounds, layout) * (1.0 if weight is None else weight)
    assert moments.n == 300
    np.testing.assert_allclose(moments.mean, whole.mean(axis=1), rtol=1e-12)
    np.testing.assert_allclose(moments.scatter, np.cov(whole, ddof=0) * 300, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(moments.squares(), (whole**2).sum(axis=1), rtol=1e-10)


def test_answers_of_one_round_have_infinite_errors():
    rounds = rounds_of(n=1)
    layout = Layout(questions(rounds, (IPS(), DR())))
    moments = Moments.empty(layout.one + 1)
    for block in blocks(rounds, layout):
        moments.add(block)
    found = answers(moments, layout)
    assert np.isinf(found.covariance).all()
    assert np.isfinite(found.values).all()
    assert found.take([1]).values == found.values[1:]
    assert np.isinf(found.differences().covariance).all()
    assert found.differences().sizes() == []


def test_ratios_that_were_not_learned_are_refused():
    rounds = rounds_of()
    with pytest.raises(DataError, match="density ratios were not learned"):
        stored(rounds, Layout(questions(rounds, (BalancedIPS(),))))


# -- SLOPE -----------------------------------------------------------------------------------------------------------


def test_slope_of_pairs_sees_what_the_sum_of_widths_hides():
    """Two estimates with errors of 1 that differ by 0.5, and that err together: the difference has an error of 0.14."""
    values, together = np.array([0.0, 0.5]), np.array([[1.0, 0.99], [0.99, 1.0]])
    assert paired_slope(values, together) == 0
    assert paired_slope(values, np.eye(2)) == 1
    assert paired_slope(np.array([1.0, 1.0]), np.ones((2, 2))) == 1
    assert paired_slope(np.array([0.0, 0.1, 9.0, 0.0]), np.eye(4)) == 1
    # the third agrees with the second (0.9 apart) and with the first not (1.8 apart, more than 2·√0.5)
    assert paired_slope(np.array([0.0, 0.9, 1.8]), np.eye(3) / 4) == 1
    assert paired_slope(np.array([0.0, 0.9, 1.8]), np.eye(3) / 4, z=3.0) == 2
    assert paired_slope(values, np.full((2, 2), math.inf)) == 0
    with pytest.raises(ParameterError, match=r"2 estimates and a covariance of shape \(1, 1\)"):
        paired_slope(values, np.eye(1))
    with pytest.raises(ParameterError, match="0 estimates"):
        paired_slope(np.empty(0), np.empty((0, 0)))


# -- models fitted on the way ----------------------------------------------------------------------------------------


def test_mrdr_weights_by_hand():
    np.testing.assert_allclose(
        mrdr_weights(np.array([1.0, 0.5, 0.0, 1.0]), np.array([0.5, 0.2, 0.3, 1.0])), [2.0, 0.5 * 0.8 / 0.04, 0.0, 0.0]
    )


def test_mrdr_fits_where_the_variance_of_dr_is_made():
    """One feature, a step nobody can fit with one split at the wrong place: trees go where the weights are.

    With stumps, the only split goes where weighted squared error falls most: the response steps by 1 at x = 0 and by
    2 at x = 1, and the rounds with x < 0.5 weigh a hundred times more.
    """
    rng = np.random.default_rng(0)
    n = 4_000
    x = rng.uniform(-1, 2, n)
    y = np.where(x > 0, 1.0, 0.0) + np.where(x > 1, 2.0, 0.0)
    e = np.where(x < 0.5, 0.1, 0.9)
    action = (rng.random(n) < e).astype(int)
    log = DecisionLog.from_arrays(x[:, None], action, {"y": y}, propensity=np.stack([1 - e, e], axis=1))
    p = np.tile([0.0, 1.0], (n, 1))
    stump = Trees(n_trees=1, max_depth=1, learning_rate=1.0, reg_lambda=0.0)
    q = mrdr_predictions(log, p, trees=stump, engine=LocalEngine(threads=1), n_folds=2)[:, 1]
    low, high = (x < -0.05), (x > 0.05) & (x < 0.5)
    assert abs(q[low].mean()) < 0.1
    assert q[high].mean() > 0.9
    uniform = np.tile([0.5, 0.5], (n, 1))
    assert mrdr_predictions(log, uniform, engine=LocalEngine(threads=1), n_folds=2).shape == (n, 2)


def test_mrdr_counts_row_weights_and_arms_the_candidate_never_takes():
    world = RandomisedTrial(outcome="binary", n_actions=3)
    log = world.sample(600, random_state=0)
    never = np.tile([0.0, 1.0, 0.0], (600, 1))
    engine = LocalEngine(threads=1)
    few = Trees(n_trees=3)
    q = mrdr_predictions(log, never, trees=few, engine=engine, n_folds=2)
    assert ((q > 0) & (q < 1)).all()
    weighted = DecisionLog.from_arrays(
        log.features,
        log.action,
        {"outcome": log.outcome()},
        propensity=log.propensities,
        action_names=log.actions.names,
        weight=np.random.default_rng(0).uniform(0.1, 5, 600),
    )
    assert not np.allclose(mrdr_predictions(weighted, never, trees=few, engine=engine, n_folds=2), q)


def test_mrdr_refuses_an_arm_whose_rows_are_all_of_one_unit():
    action = np.r_[np.zeros(6, int), np.ones(2, int)]
    unit = [0, 0, 1, 1, 2, 2, 9, 9]
    log = DecisionLog.from_arrays(
        np.zeros((8, 1)), action, {"y": np.zeros(8)}, propensity=np.full((8, 2), 0.5), unit=unit
    )
    with pytest.raises(DataError, match="All rows of '1' are in one fold"):
        mrdr_predictions(log, np.full((8, 2), 0.5), n_folds=2)


def test_odds_are_bounded():
    np.testing.assert_allclose(odds(np.array([0.0, 0.5, 0.75])), [0.0, 1.0, 3.0])
    assert odds(np.array([1.0]))[0] == pytest.approx(1e6, rel=1e-3)


@pytest.mark.parametrize("weighted", [False, True])
def test_balanced_ratios_are_near_the_true_ones(weighted):
    """Propensities that are known but not shown: the classifier finds π/π_b from features and actions alone."""
    world = RandomisedTrial(propensity="confounded", n_actions=2)
    log = world.sample(6_000, random_state=0)
    if weighted:
        log = DecisionLog.from_arrays(
            log.features,
            log.action,
            {"y": log.outcome()},
            propensity=log.propensities,
            weight=np.ones(6_000),
            action_names=log.actions.names,
        )
    p = np.tile([0.4, 0.6], (log.n, 1))
    found = balanced_ratios(log, p, engine=LocalEngine(threads=1), n_folds=2)
    here = np.arange(log.n), log.action
    true = p[here] / np.asarray(log.propensities)[here]
    assert np.corrcoef(np.log(found), np.log(true))[0, 1] > 0.6
    assert found.mean() == pytest.approx(1.0, abs=0.05)
    again = balanced_ratios(log, p, engine=LocalEngine(threads=1), n_folds=2)
    np.testing.assert_array_equal(found, again)
