"""Best linear predictor, group effects, monotonic bins and split stability, against statsmodels and brute force."""

from __future__ import annotations

import itertools
import math

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from persuadable.effects.arrays import Effects
from persuadable.errors import ActionError, DataError, LeakageError, ParameterError
from persuadable.log import DecisionLog
from persuadable.value.calibration import blp, gates, monotonic_bins, pool_adjacent_violators, quantile_groups
from persuadable.value.scores import uplift_scores
from persuadable.value.stability import stability


def make_log(n=400, arms=2, seed=0, units=False, weighted=False, slope=1.0, unequal=True):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 2))
    e = np.full((n, arms), 1 / arms)
    if unequal:
        e[:, 1] = 0.3 / (arms - 1)
        e[:, 0] += 1 / arms - e[:, 1]
    action = (rng.random(n)[:, None] > e.cumsum(axis=1)[:, :-1]).sum(axis=1)
    y = (0.5 + slope * x[:, 0]) * (action == 1) + 0.2 * (action == 2) + rng.normal(size=n) * (1 + np.abs(x[:, 0]))
    return DecisionLog.from_arrays(
        x, action, y, propensity=e,
        unit=rng.integers(0, n // 3, n) if units else None,
        weight=rng.uniform(0.5, 3, n) if weighted else None,
    )  # fmt: skip


def first(log):
    return log.features.values[:, 0].astype(float)


def oracle(log, design):
    """Weighted least squares of the scores with robust or clustered errors, from statsmodels."""
    import statsmodels.api as sm

    weight = np.ones(log.n) if log.weight is None else log.weight
    model = sm.WLS(uplift_scores(log), design, weights=weight)
    if log.unit is None:
        return model.fit(cov_type="HC1")
    return model.fit(cov_type="cluster", cov_kwds={"groups": log.unit, "use_correction": True})


def centred(log):
    effect = first(log)
    return effect - np.average(effect, weights=log.weight)


VARIANTS = [{}, {"units": True}, {"weighted": True}, {"units": True, "weighted": True}]


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_blp_is_statsmodels_least_squares(variant):
    log = make_log(**variant)
    fit = oracle(log, np.column_stack([np.ones(log.n), centred(log)]))
    found = blp(log, first(log))
    assert found.slope.value == pytest.approx(fit.params[1])
    assert found.slope.stderr == pytest.approx(fit.bse[1])
    assert found.p_value == pytest.approx(fit.pvalues[1], abs=1e-12)
    assert found.p_value_one == pytest.approx(float(np.squeeze(fit.t_test(([0, 1], 1)).pvalue)))
    assert found.intercept.value == pytest.approx(fit.params[0])
    # The intercept's error is that of the average effect, the sampling of the mean prediction included.
    average = oracle(log, np.ones((log.n, 1)))
    assert found.intercept.stderr == pytest.approx(average.bse[0])


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_gates_are_statsmodels_means(variant):
    log = make_log(**variant)
    found = gates(log, first(log), bins=4)
    group = quantile_groups(first(log), 4, log.weight)
    fit = oracle(log, np.eye(4)[group])
    assert [g.effect.value for g in found.bins] == pytest.approx(fit.params.tolist())
    assert [g.effect.stderr for g in found.bins] == pytest.approx(fit.bse.tolist())
    ends = fit.t_test([-1, 0, 0, 1])
    assert found.top_minus_bottom.value == pytest.approx(float(np.squeeze(ends.effect)))
    assert found.top_minus_bottom.stderr == pytest.approx(float(np.squeeze(ends.sd)))
    wald = fit.wald_test(np.eye(4)[1:] - np.eye(4)[:1], use_f=False, scalar=True)
    assert found.heterogeneity_p == pytest.approx(float(wald.pvalue), rel=1e-6)
    steps = [fit.t_test(np.eye(4)[i + 1] - np.eye(4)[i]) for i in range(3)]
    z = [float(np.squeeze(s.tvalue)) for s in steps]
    worst = found.monotonicity.largest_drop
    assert worst.value / worst.stderr == pytest.approx(min(z))
    assert found.monotonicity.inversions == sum(v < 0 for v in z)
    assert [g.share for g in found.bins] == pytest.approx([0.25] * 4, abs=0.01)
    assert sum(g.n for g in found.bins) == log.n


def test_groups_are_described_as_they_are():
    log = make_log()
    effect = first(log)
    found = gates(log, effect, bins=5)
    bounds = np.sort(effect).reshape(5, -1)
    for gate, rows in zip(found.bins, bounds, strict=True):
        assert (gate.lower, gate.upper) == (rows[0], rows[-1])
        assert gate.predicted == pytest.approx(rows.mean())
        assert gate.n == 80
    errors = [abs(g.effect.value - g.predicted) for g in found.bins]
    assert found.error == pytest.approx(np.mean(errors))


def test_dr_scores_are_used_when_asked():
    log = make_log()
    mu = np.column_stack([np.zeros(log.n), 0.5 + first(log)])
    found, plain = (blp(log, first(log), method="dr", mu=mu), blp(log, first(log)))
    gamma = uplift_scores(log, method="dr", mu=mu)
    assert found.intercept.value == pytest.approx(gamma.mean())
    assert found.slope.value == pytest.approx(np.cov(first(log), gamma)[0, 1] / first(log).var(ddof=1))
    assert found.slope.value != plain.slope.value
    assert found.method == "dr"


def test_several_treatments_need_a_choice_and_take_its_column():
    log = make_log(arms=3, n=600)
    effects = np.column_stack([np.zeros(600), first(log), -first(log)])
    with pytest.raises(ActionError, match="none was chosen"):
        blp(log, effects)
    one, two = blp(log, effects, action="1"), blp(log.contrast(1), first(log)[log.action != 2])
    assert one.slope.value == pytest.approx(two.slope.value)
    assert one.slope.stderr == pytest.approx(two.slope.stderr)
    assert blp(log, first(log), action=1).slope.value == one.slope.value
    assert gates(log, effects, action=2).bins[0].predicted < 0


@given(st.integers(0, 10_000), st.floats(0.1, 50), st.floats(-3, 3))
def test_slopes_follow_the_scales(seed, scale, shift):
    log = make_log(n=60, seed=seed)
    base = blp(log, first(log))
    stretched = blp(log, scale * first(log) + shift)
    assert stretched.slope.value * scale == pytest.approx(base.slope.value)
    assert stretched.intercept.value == pytest.approx(base.intercept.value)
    richer = DecisionLog.from_arrays(log.features, log.action, scale * log.outcome(), propensity=log.propensities)
    assert blp(richer, first(log)).slope.value == pytest.approx(scale * base.slope.value)


@given(st.permutations(range(40)))
def test_row_order_does_not_matter(order):
    log = make_log(n=40, seed=3)
    effect = np.round(first(log))
    mixed = log.take(np.array(order))
    one, two = gates(log, effect, bins=4), gates(mixed, effect[np.array(order)], bins=4)
    assert [g.effect.value for g in one.bins] == pytest.approx([g.effect.value for g in two.bins])
    assert [g.n for g in one.bins] == [g.n for g in two.bins]


@given(st.lists(st.integers(0, 5), min_size=1, max_size=40), st.integers(1, 8))
def test_tied_effects_stay_in_one_group(values, bins):
    effect = np.array(values, dtype=float)
    group = quantile_groups(effect, bins, None)
    for value in set(values):
        assert len(set(group[effect == value])) == 1
    order = np.argsort(effect, kind="stable")
    assert (np.diff(group[order]) >= 0).all()
    assert sorted(set(group)) == list(range(group.max() + 1))


def test_monotonicity_tells_rising_from_falling():
    log = make_log(n=4000, slope=2.0)
    up, down = gates(log, first(log)), gates(log, -first(log))
    assert (up.monotonicity.inversions, up.monotonicity.rank_correlation) == (0, 1.0)
    assert up.monotonicity.p_value > 0.5
    assert (down.monotonicity.inversions, down.monotonicity.rank_correlation) == (4, -1.0)
    assert down.monotonicity.p_value < 1e-3
    assert down.top_minus_bottom.value == pytest.approx(-up.top_minus_bottom.value)


def brute_force_isotonic(means, mass):
    """Best rising step function by trying every way of pooling neighbours."""
    best, answer = math.inf, None
    for cuts in itertools.product([False, True], repeat=len(means) - 1):
        block = np.concatenate([[0], np.cumsum(cuts)]).astype(int)
        level = np.bincount(block, weights=mass * means) / np.bincount(block, weights=mass)
        if (np.diff(level) < 0).any():
            continue
        loss = float(mass @ (means - level[block]) ** 2)
        if loss < best - 1e-12:
            best, answer = loss, level[block]
    return answer


@given(st.lists(st.tuples(st.integers(-5, 5), st.integers(1, 4)), min_size=1, max_size=7))
def test_pooling_is_isotonic_regression(pairs):
    means, mass = (np.array(v, dtype=float) for v in zip(*pairs, strict=True))
    block = pool_adjacent_violators(means, mass)
    level = np.bincount(block, weights=mass * means) / np.bincount(block, weights=mass)
    assert (np.diff(level) > 0).all()
    assert level[block] == pytest.approx(brute_force_isotonic(means, mass))


def test_monotonic_bins_rise_and_keep_the_average():
    log = make_log(n=2000, weighted=True)
    found = monotonic_bins(log, first(log), start=15)
    effects = np.array([g.effect.value for g in found.bins])
    assert (np.diff(effects) > 0).all()
    assert len(found.bins) < 15
    average = blp(log, first(log)).intercept.value
    assert np.dot(effects, [g.share for g in found.bins]) == pytest.approx(average)
    falling = monotonic_bins(log, -first(log))
    assert len(falling.bins) <= 3
    single = monotonic_bins(log, np.ones(log.n))
    assert (len(single.bins), single.top_minus_bottom.value, single.heterogeneity_p) == (1, 0.0, 1.0)
    assert math.isnan(single.monotonicity.rank_correlation)


def test_stability_in_halves():
    log = make_log(n=4000, slope=2.0)
    found = stability(log, first(log), n_splits=8, random_state=1)
    assert found.rank_correlation.shape == (8,)
    assert found.agreement == 1.0
    assert np.median(found.rank_correlation) > 0.8
    assert found.slope.mean() == pytest.approx(2.0, abs=0.3)
    again = stability(log, first(log), n_splits=8, random_state=1)
    assert again.qini.tobytes() == found.qini.tobytes()
    noise = stability(make_log(n=4000, slope=0.0), np.random.default_rng(0).normal(size=4000), n_splits=8)
    assert np.median(noise.rank_correlation) < 0.8
    assert found.frame().shape == (8, 7)
    assert "8 random halves" in str(found)


def test_halves_are_halves_and_agree_with_the_whole_functions():
    log = make_log(n=300)
    found = stability(log, first(log), n_splits=1, bins=3, random_state=5)
    first_half = np.random.default_rng(5).permutation(300) < 150
    # Scores are made on the whole log: compare with scores handed over as outcomes of a stored contrast.
    gamma, effect = uplift_scores(log), first(log)
    for half, rows in enumerate((first_half, ~first_half)):
        g, s = gamma[rows], effect[rows]
        group = quantile_groups(s, 3, None)
        assert found.top_minus_bottom[0, half] == pytest.approx(g[group == 2].mean() - g[group == 0].mean())
        ranks = (np.argsort(np.argsort(-s)) + 0.5) / 150
        assert found.qini[0, half] == pytest.approx(np.mean(g * (0.5 - ranks)))
        assert found.slope[0, half] == pytest.approx(np.polyfit(s, g, 1)[0])


def test_halves_never_part_a_unit():
    log = make_log(n=300, units=True)
    effect = first(log)
    found = stability(log, effect, n_splits=1, bins=2, random_state=3)
    units, codes = np.unique(log.rows, return_inverse=True)
    rows = (np.random.default_rng(3).permutation(units.size) < units.size // 2)[codes]
    assert found.slope[0, 0] == pytest.approx(np.polyfit(effect[rows], uplift_scores(log)[rows], 1)[0])


def test_tables_read_well():
    log = make_log()
    calibration, line = gates(log, first(log)), blp(log, first(log))
    assert isinstance(calibration.frame(), pl.DataFrame)
    assert calibration.frame().columns == [
        "group", "from", "to", "n", "share", "predicted", "effect", "stderr", "lower", "upper", "p_value",
    ]  # fmt: skip
    assert "top − bottom" in str(calibration)
    assert line.frame()["term"].to_list() == ["intercept", "slope"]
    assert "against 1" in str(line)


def test_what_cannot_be_judged_is_refused():
    log = make_log()
    with pytest.raises(DataError, match="effects are equal"):
        blp(log, np.full(log.n, 0.3))
    with pytest.raises(DataError, match="scores for"):
        blp(log, np.ones(3))
    with pytest.raises(DataError, match="columns"):
        blp(log, np.ones((log.n, 4)))
    with pytest.raises(DataError, match="nan"):
        gates(log, np.where(np.arange(log.n) == 3, np.nan, 1.0))
    for bins in (0, log.n + 1, 2.5):
        with pytest.raises(ParameterError, match="bins"):
            gates(log, first(log), bins=bins)
    with pytest.raises(ParameterError, match="start"):
        monotonic_bins(log, first(log), start=0)
    with pytest.raises(ParameterError, match="n_splits"):
        stability(log, first(log), n_splits=0)
    with pytest.raises(ParameterError, match="bins"):
        stability(log, first(log), bins=200)


@pytest.mark.parametrize("judge", [blp, gates, monotonic_bins, stability])
def test_effects_from_the_same_rows_are_refused(judge):
    log = make_log()
    seen = Effects.of(np.column_stack([np.zeros(log.n), first(log)]), log.fingerprint)
    with pytest.raises(LeakageError):
        judge(log, seen)
    with pytest.raises(LeakageError):
        judge(log, seen[:, 1])
