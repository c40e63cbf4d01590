"""The online verdict: statsmodels' regressions, hand-made trials for each decision, and refusals."""

from __future__ import annotations

import re

import numpy as np
import polars as pl
import pytest
import statsmodels.api as sm
from scipy.stats import norm

from persuadable import DecisionLog
from persuadable.design import TwoArms, always_valid_quantile, monitor, plan_experiment
from persuadable.effects import TLearner
from persuadable.engine import Trees
from persuadable.errors import ActionError, DataError, LeakageError, OutcomeError, ParameterError
from persuadable.value.looks import Progress
from persuadable.value.readout import Guardrail, conclude, readout
from persuadable.worlds import RandomisedTrial


def experiment(n=4_000, effect=0.5, latency=0.0, share=0.5, seed=0, **roles):
    """Two policies tried on n users, who spend and wait, and were seen before."""
    rng = np.random.default_rng(seed)
    before, town = rng.normal(10, 3, n), rng.choice(["a", "b", "c"], n, p=[0.5, 0.3, 0.2])
    arm = (rng.random(n) < share).astype(int)
    spend = 2 + before + 2.0 * (town == "c") + effect * arm + rng.normal(0, 2, n)
    wait = 100 + latency * arm + rng.normal(0, 10, n)
    frame = pl.DataFrame({"before": before, "town": town})
    return DecisionLog.from_arrays(
        frame, np.array(["old", "new"])[arm], {"spend": spend, "wait": wait}, control="old",
        action_names=["old", "new"], propensity=share, **roles,
    )  # fmt: skip


def planned(units, kind="obrien-fleming", looks=5, alpha=0.05):
    """A plan for exactly so many units."""
    arms = TwoArms.continuous(4.0)
    watch = monitor(kind, None if kind == "fixed" else looks, alpha=alpha)
    plan = plan_experiment(arms, arms.detectable(units, 0.8, watch), monitoring=kind, alpha=alpha,
                           looks=None if kind == "fixed" else looks)  # fmt: skip
    assert abs(plan.units - units) <= 1
    return plan


def test_the_plain_difference_is_welchs():
    log = experiment(share=0.3)
    found = readout(log)
    first, second = (log.outcome()[log.action == k] for k in (0, 1))
    welch = np.sqrt(first.var(ddof=1) / len(first) + second.var(ddof=1) / len(second))
    assert found.difference.value == pytest.approx(second.mean() - first.mean())
    assert found.difference.stderr == pytest.approx(welch, rel=2e-4)  # C/(C − 1) over all rows
    assert found.baseline.value == pytest.approx(first.mean())
    assert found.units == (len(first), len(second))
    assert found.arms == ("old", "new")
    assert (found.adjusted, found.reduction, found.active, found.crossed) == (None, None, 1.0, 0)


def test_the_adjusted_difference_is_the_interacted_regression():
    log = experiment()
    found = readout(log, covariates=["before", "town"])
    x = np.column_stack([log.features.values[:, 0], log.features.values[:, 1] == 1, log.features.values[:, 1] == 2])
    arm, centred = (log.action == 1).astype(float), x - x.mean(axis=0)
    table = np.column_stack([np.ones(log.n), arm, centred, arm[:, None] * centred])
    fit = sm.OLS(log.outcome(), table).fit(cov_type="HC1")
    assert found.adjusted is not None
    assert found.adjusted.value == pytest.approx(fit.params[1])
    assert found.adjusted.stderr == pytest.approx(fit.bse[1], rel=2e-3)
    assert found.primary is found.adjusted
    # Before and town make 9 + 0.6 of a variance of 13.6: known here, as spend = 2 + before + 2·1{c} + noise of 4.
    told = (9 + 4 * 0.2 * 0.8) / (13 + 4 * 0.2 * 0.8)
    assert found.reduction == pytest.approx(told, abs=0.03)


def test_predictions_adjust_too_and_must_come_from_other_rows():
    log = experiment()
    before = log.features.values[:, 0]
    by_name, by_number = readout(log, covariates="before"), readout(log, covariates=before)
    assert by_name.adjusted is not None
    assert by_number.adjusted is not None
    assert by_number.adjusted.value == pytest.approx(by_name.adjusted.value)
    assert by_number.adjusted.stderr == pytest.approx(by_name.adjusted.stderr)
    learner = TLearner(trees=Trees(n_trees=2, max_depth=2)).fit(log.take(np.arange(2_000)))
    with pytest.raises(LeakageError):
        readout(log, covariates=learner.effect(log.features))


def test_intervals_are_as_wide_as_they_should_be():
    log = experiment(n=3_000)
    assert "99.9% interval" in str(readout(log, alpha=0.001))
    found = readout(log, alpha=0.1)
    value, stderr = found.difference.value, found.difference.stderr
    assert found.difference.interval == pytest.approx(
        (value - norm.isf(0.05) * stderr, value + norm.isf(0.05) * stderr)
    )
    wide = always_valid_quantile(3_000, best_at=10_000, alpha=0.1)
    assert found.always_valid == pytest.approx((value - wide * stderr, value + wide * stderr))
    assert found.interval == found.always_valid  # nobody said how often it would be looked at
    plan = planned(6_000, "pocock")
    found = readout(log, plan=plan, looks=[1_000, 2_000])
    boundary = monitor("pocock", [1_000 / plan.units, 2_000 / plan.units, 3_000 / plan.units]).boundaries[-1]
    assert found.interval == pytest.approx((value - boundary * stderr, value + boundary * stderr))
    wide = always_valid_quantile(3_000, best_at=plan.units)
    assert found.always_valid == pytest.approx((value - wide * stderr, value + wide * stderr))


def test_units_with_several_rows_are_clusters():
    rng = np.random.default_rng(1)
    unit = rng.integers(0, 800, 3_000)
    new = rng.random(800) < 0.5
    y = rng.normal(0, 1, 800)[unit] + rng.normal(0, 1, 3_000) + 0.2 * new[unit]
    log = DecisionLog.from_arrays(
        rng.normal(size=(3_000, 1)), new[unit].astype(int), y, unit=unit, propensity=0.5, action_names=["old", "new"]
    )
    found = readout(log)
    fit = sm.OLS(y, sm.add_constant(new[unit].astype(float))).fit(cov_type="cluster", cov_kwds={"groups": unit})
    assert found.difference.value == pytest.approx(fit.params[1])
    assert found.difference.stderr == pytest.approx(fit.bse[1], rel=2e-3)
    seen = np.unique(unit)
    assert found.units == (int((~new[seen]).sum()), int(new[seen].sum()))
    assert found.ratio is not None
    assert found.ratio.counts == found.units
    assert found.crossed == 0


def test_units_in_several_arms_are_told_and_counted_by_rows():
    rng = np.random.default_rng(2)
    unit, action = np.repeat(np.arange(500), 2), rng.integers(0, 2, 1_000)
    log = DecisionLog.from_arrays(
        np.zeros((1_000, 1)), action, rng.normal(size=1_000), unit=unit, propensity=0.5, action_names=["old", "new"]
    )
    found = readout(log)
    assert found.crossed == int((action[::2] != action[1::2]).sum())
    assert found.progress.units == 500  # whoever is in both arms is enrolled once
    assert f"units with rows in several arms: {found.crossed}\n" in str(found)
    assert found.ratio is not None
    assert found.ratio.counts == tuple(np.bincount(action))


def test_row_weights_and_varying_chances_are_weighted_least_squares():
    rng = np.random.default_rng(3)
    p, weight = rng.uniform(0.2, 0.8, 2_000), rng.uniform(0.5, 2.0, 2_000)
    arm = (rng.random(2_000) < p).astype(int)
    y = 3 * p + arm + rng.normal(size=2_000)
    log = DecisionLog.from_arrays(p[:, None], arm, y, propensity=p, weight=weight, action_names=["old", "new"])
    found = readout(log)
    fit = sm.WLS(y, sm.add_constant(arm.astype(float)), weights=weight / np.where(arm, p, 1 - p)).fit(cov_type="HC1")
    assert found.difference.value == pytest.approx(fit.params[1])
    assert found.difference.stderr == pytest.approx(fit.bse[1], rel=2e-3)
    assert found.ratio is not None
    assert found.ratio.method == "chi-square"


def test_only_active_rows_count_and_the_difference_stays_per_head():
    rng = np.random.default_rng(4)
    n = 8_000
    on, arm = rng.random(n) < 0.2, rng.integers(0, 2, n)
    y = rng.normal(0, 3, n) + on * arm * 1.0
    log = DecisionLog.from_arrays(on[:, None].astype(float), arm, y, propensity=0.5, action_names=["old", "new"])
    everybody, some = readout(log), readout(log, active=on)
    theta = y[on & (arm == 1)].mean() - y[on & (arm == 0)].mean()
    assert some.difference.value == pytest.approx(on.mean() * theta)
    # Of the variance a fifth is left.
    assert some.difference.stderr / everybody.difference.stderr == pytest.approx(np.sqrt(on.mean()), rel=0.03)
    assert some.active == pytest.approx(on.mean())
    assert some.active_ratio is not None
    assert sum(some.active_ratio.counts) == on.sum()
    assert some.baseline.value == pytest.approx(everybody.baseline.value)
    assert readout(log, active=on, covariates="f0").difference.value == pytest.approx(some.difference.value)


def test_the_share_of_active_rows_is_sampled_too():
    rng = np.random.default_rng(10)
    n = 4_000
    on, arm, weight = rng.random(n) < 0.3, rng.integers(0, 2, n), rng.choice([1.0, 4.0], n)
    y = rng.normal(0, 1, n) + on * arm * 5.0
    log = DecisionLog.from_arrays(on[:, None].astype(float), arm, y, propensity=0.5, action_names=["old", "new"])
    found = readout(log, active=on)
    theta = y[on & (arm == 1)].mean() - y[on & (arm == 0)].mean()
    noise = sum(y[on & (arm == k)].var(ddof=1) / (on & (arm == k)).sum() for k in (0, 1))
    s = on.mean()
    # A product of two independent estimates: s²·Var θ + θ²·s(1 − s)/n, the second term far larger here.
    assert found.difference.stderr == pytest.approx(np.sqrt(s**2 * noise + theta**2 * s * (1 - s) / n), rel=2e-3)
    weight = np.where(on, weight, 1.0)
    heavy = DecisionLog.from_arrays(
        on[:, None].astype(float), arm, y, propensity=0.5, weight=weight, action_names=["old", "new"]
    )
    first, second = (np.average(y[on & (arm == k)], weights=weight[on & (arm == k)]) for k in (0, 1))
    told = readout(heavy, active=on)
    assert told.active == pytest.approx(weight[on].sum() / weight.sum())
    assert told.difference.value == pytest.approx(told.active * (second - first))


def test_a_third_arm_is_left_aside_but_counted():
    rng = np.random.default_rng(5)
    arm = rng.choice(3, 6_000, p=[0.5, 0.3, 0.2])
    y = np.array([0.0, 1.0, 2.0])[arm] + rng.normal(size=6_000)
    log = DecisionLog.from_arrays(
        rng.normal(size=(6_000, 1)), arm, y, propensity=np.tile([0.5, 0.3, 0.2], (6_000, 1)),
        action_names=["none", "mail", "call"],
    )  # fmt: skip
    found = readout(log, baseline="mail", candidate="call")
    assert found.difference.value == pytest.approx(y[arm == 2].mean() - y[arm == 1].mean())
    assert found.units == ((arm == 1).sum(), (arm == 2).sum())
    assert found.ratio is not None
    assert len(found.ratio.counts) == 3
    with pytest.raises(ParameterError, match="The log has 2 candidates"):
        readout(log)


def test_an_arm_that_had_no_chance_in_these_rows_is_not_missed():
    """A part of a log, from before a third arm was opened."""
    log = experiment(n=2_000)
    propensity = np.tile([0.5, 0.5, 0.0], (log.n + 1, 1))
    propensity[-1] = [0.4, 0.4, 0.2]
    three = DecisionLog.from_arrays(
        np.zeros((log.n + 1, 1)), np.append(log.action, 2), np.append(log.outcome(), 0.0), propensity=propensity,
        action_names=["old", "new", "newest"],
    ).take(np.arange(log.n))  # fmt: skip
    found, plain = readout(three, candidate="new"), readout(log)
    assert found.ratio == plain.ratio
    assert found.difference.value == pytest.approx(plain.difference.value)


def test_arms_may_be_named_beside_the_actions():
    log = experiment()
    rng = np.random.default_rng(6)
    arm = np.where(rng.random(log.n) < 0.25, "new policy", "old policy")
    found = readout(log, arm=arm, baseline="old policy", candidate="new policy")
    assert found.ratio is None  # nobody said how many were to get which
    assert "not tested" in str(found)
    y = log.outcome()
    assert found.difference.value == pytest.approx(y[arm == "new policy"].mean() - y[arm == "old policy"].mean())
    told = readout(log, arm=arm, baseline="old policy", candidate="new policy",
                   shares={"new policy": 1, "old policy": 3})  # fmt: skip
    assert told.ratio is not None
    assert told.ratio.expected == pytest.approx((1_000, 3_000))
    by_plan = readout(log, arm=arm, baseline="old policy", candidate="new policy", plan=planned(8_000))
    assert by_plan.ratio is not None
    assert by_plan.ratio.expected == pytest.approx((2_000, 2_000))
    assert by_plan.decision == "INVALID"


def test_estimated_propensities_weigh_but_do_not_test_the_sizes():
    log = experiment()
    p = np.where(np.arange(log.n) % 2 == 0, 0.3, 0.7)
    found = readout(log.with_propensities(np.stack([1 - p, p], axis=1)), plan=planned(9_000))
    assert found.ratio is None
    told = readout(log.with_propensities(np.stack([1 - p, p], axis=1), "logged"))
    assert told.ratio is not None
    assert found.difference == told.difference


@pytest.mark.parametrize(("effect", "decision"), [(0.8, "SHIP"), (-0.8, "STOP"), (0.0, "CONTINUE")])
def test_the_outcome_decides(effect, decision):
    found = readout(experiment(effect=effect, seed=7))
    assert found.decision == decision
    assert str(found).splitlines()[-1].startswith(decision)


def test_lower_may_be_better():
    log = experiment(latency=-3.0)
    assert readout(log, outcome="wait", better="lower").decision == "SHIP"
    assert readout(log, outcome="wait").decision == "STOP"


@pytest.mark.parametrize(
    ("effect", "margin", "decision"),
    [
        (0.8, 0.1, "SHIP"),
        (0.8, 0.8, "CONTINUE"),
        (0.3, 1.0, "STOP"),  # better than nothing, and not by enough
        (-0.3, -1.2, "SHIP"),  # worse, by less than was allowed
    ],
)
def test_the_deciding_interval_is_held_against_the_margin(effect, margin, decision):
    found = readout(experiment(effect=effect, seed=7), margin=margin)
    low, high = found.interval
    assert (low > margin, low <= margin <= high, high < margin) == tuple(
        decision == one for one in ("SHIP", "CONTINUE", "STOP")
    )
    assert (found.decision, found.margin) == (decision, margin)
    told = f"the margin of {margin:+.4g}".replace("-", "−")
    assert told in found.conclusion
    assert f"to ship it must lie above {told}" in str(found)
    assert "-" not in str(found)  # minus signs are minus signs
    assert found.frame()["margin"].to_list() == [margin]


def test_a_margin_of_what_should_fall_is_a_fall():
    log = experiment(latency=-3.0)
    assert readout(log, outcome="wait", better="lower", margin=-1.0).decision == "SHIP"
    assert readout(log, outcome="wait", better="lower", margin=-5.0).decision == "STOP"
    plan = plan_experiment(TwoArms.continuous(10.0), -3.0, margin=-1.0)
    found = readout(log, outcome="wait", better="lower", plan=plan)
    assert (found.margin, found.decision) == (-1.0, "SHIP")
    with pytest.raises(ParameterError, match="looks for -3 against a margin of -1, and better is 'higher'"):
        readout(log, outcome="wait", plan=plan)


def test_a_readout_ships_past_the_margin_as_often_as_planned_and_at_it_hardly_ever():
    """400 drawn estimates at each truth, from the plan's own standard error: 80% ± 4 at the effect, 2.5% ± 1.6 at the
    margin, always where 0 lies far below."""
    plan = plan_experiment(TwoArms.continuous(2.0), 0.9, margin=0.5, monitoring="fixed")
    assert plan.units == TwoArms.continuous(2.0).units(0.4)
    rng, shipped = np.random.default_rng(3), {}
    for truth in (0.5, 0.9):
        runs = []
        for _ in range(400):
            arm = np.arange(plan.units) % 2
            y = truth * arm + rng.normal(0, 2, plan.units)
            log = DecisionLog.from_arrays(np.zeros((plan.units, 1)), arm, y, propensity=0.5)
            runs.append(readout(log, plan=plan).decision == "SHIP")
        shipped[truth] = np.mean(runs)
    assert shipped[0.9] == pytest.approx(0.8, abs=0.06)
    assert shipped[0.5] == pytest.approx(0.025, abs=0.02)


def test_the_interval_that_decides_has_a_line_of_its_own():
    plan = planned(9_000)
    found = readout(experiment(), covariates="before", plan=plan)
    low, high = found.interval
    width = f"{monitor('obrien-fleming', [4_000 / plan.units]).boundaries[-1]:.2f} standard errors"
    assert f"decides: {low:+.4g} to {high:+.4g} (adjusted, this look's boundary: {width}); to ship" in str(found)
    assert "(always valid: " in str(readout(experiment()))
    assert "lie below 0" in str(readout(experiment(), better="lower"))


def test_a_finished_experiment_without_an_answer_says_what_it_ruled_out():
    log = experiment(effect=0.0, seed=7)
    found = readout(log, covariates="before", plan=planned(3_999))
    assert found.decision == "UNDECIDED"
    assert "all 3,999 planned units" in found.conclusion or "all 4,000 planned units" in found.conclusion
    assert "is ruled out" in found.conclusion
    # Without the covariate, and with a little effect, the interval reaches beyond the planned difference.
    wide = readout(experiment(effect=0.18, seed=14), plan=planned(3_999))
    assert wide.decision == "UNDECIDED"
    assert wide.interval[1] > planned(3_999).effect
    assert "ruled out" not in wide.conclusion


@pytest.mark.parametrize(
    ("interval", "margin", "effect", "ruled_out"),
    [
        ((0.2, 0.45), 0.3, 0.5, True),
        ((0.2, 0.55), 0.3, 0.5, False),
        ((-0.9, 0.45), 0.3, 0.5, True),  # how far below the margin it may be was not planned for
        ((-0.4, 0.2), 0.0, 0.3, False),
        ((-0.2, 0.2), 0.0, -0.3, True),
    ],
)
def test_what_is_ruled_out_lies_beyond_the_margin(interval, margin, effect, ruled_out):
    now = Progress("fixed", units=100, planned=100, quantile=2.0, always=3.0, may_decide=True)
    decision, said = conclude("spend", "higher", interval, margin, now, (), (), effect)
    assert decision == "UNDECIDED"
    assert ("ruled out" in said) == ruled_out
    assert not ruled_out or f"planned for ({effect if margin else abs(effect):.4g})" in said


def test_a_plan_with_one_look_waits_for_it():
    log = experiment(effect=2.0)
    early = readout(log, plan=planned(9_000, "fixed"))
    assert early.decision == "CONTINUE"
    assert "the plan looks once" in early.conclusion
    assert readout(log, plan=planned(3_999, "fixed")).decision == "SHIP"
    assert readout(log, plan=planned(9_000)).decision == "SHIP"


def test_arms_of_the_wrong_size_make_it_invalid():
    log = experiment(effect=2.0)
    lost = log.take(np.flatnonzero((log.action == 0) | (np.arange(log.n) % 5 > 0)))
    found = readout(lost)
    assert found.decision == "INVALID"
    assert "before believing any difference" in found.conclusion
    # Overall the arms may balance where the rows that count do not.
    on = (np.arange(log.n) % 2 == 0) & ((log.action == 0) | (np.arange(log.n) % 5 > 0))
    assert readout(log).decision == "SHIP"
    assert readout(log, active=on).decision == "INVALID"


def test_guardrails_hold_break_or_stay_open():
    log = experiment(effect=1.0, latency=2.0)
    first, second = (log.outcome("wait")[log.action == k] for k in (0, 1))
    difference, stderr = second.mean() - first.mean(), np.sqrt(first.var() / len(first) + second.var() / len(second))
    wide = Guardrail("wait", 5.0, better="lower")
    found = readout(log, guardrails=[wide])
    rail = found.guardrails[0]
    assert rail.slack.value == pytest.approx(5.0 - difference)
    assert rail.slack.stderr == pytest.approx(stderr, rel=1e-3)
    quantile = found.progress.quantile
    assert rail.interval == pytest.approx(
        (5 - difference - quantile * stderr, 5 - difference + quantile * stderr), rel=1e-3
    )
    assert (rail.status, found.decision) == ("held", "SHIP")
    tight = readout(log, guardrails=[wide, Guardrail("wait", 0.2, better="lower")])
    assert ([r.status for r in tight.guardrails], tight.decision) == (["held", "breached"], "STOP")
    assert "breaks the guardrail on wait" in tight.conclusion
    between = readout(log, guardrails=[Guardrail("wait", difference, better="lower")])
    assert (between.guardrails[0].status, between.decision) == ("open", "CONTINUE")
    assert "may still be beyond its margin" in between.conclusion
    low, high = (5.0 - end for end in reversed(rail.interval))
    span = f"{difference:.3g} ({low:.3g} to {high:.3g})"
    assert f"guardrail held: wait rises by {span}; a rise of at most 5 was allowed" in str(found)
    better = readout(experiment(latency=-3.0), guardrails=[wide]).guardrails[0]
    assert re.search(r"wait falls by [\d.]+ \([\d.]+ to [\d.]+\); a rise of at most 5 was allowed", str(better))
    unclear = readout(experiment(), guardrails=[wide]).guardrails[0]
    assert re.search(r"wait changes by [+−][\d.]+ \(−[\d.]+ to \+[\d.]+\); a rise of at most 5", str(unclear))
    share = readout(log, guardrails=[Guardrail("wait", 0.001, "lower", relative=True)]).guardrails[0]
    assert "a rise of at most 0.10% of the baseline's 100 was allowed:" in str(share).replace("99.9", "100")
    assert "beyond (room left" in str(share)


def test_a_price_known_exactly_that_is_at_the_margin_is_not_beyond_it():
    """0.3 − 0.1 is a little less than 0.2, and 0.7 − 0.1 a little less than 0.6, as computers count."""
    for old, new, margin in ((0.1, 0.3, 0.2), (0.1, 0.7, 0.6), (0.7, 0.1, 0.6), (0.3, 0.1, 0.2)):
        log = experiment(n=400)
        price = np.where(log.action == 1, new, old)
        log = DecisionLog.from_arrays(log.features, log.action, {"spend": log.outcome(), "price": price},
                                      propensity=0.5)  # fmt: skip
        rail = Guardrail("price", margin, "lower" if new > old else "higher")
        found = readout(log, guardrails=[rail]).guardrails[0]
        assert (found.slack.value, found.status) == (0.0, "open")
        just = Guardrail("price", margin * (1 - 1e-9), rail.better)
        assert readout(log, guardrails=[just]).guardrails[0].status == "breached"


def test_a_relative_margin_is_a_share_of_the_baseline():
    log = experiment(effect=-0.3)
    found = readout(log, outcome="wait", guardrails=[Guardrail("spend", 0.1, relative=True)])
    rail = found.guardrails[0]
    first, second = (log.outcome()[log.action == k] for k in (0, 1))
    assert rail.slack.value == pytest.approx(second.mean() - 0.9 * first.mean())
    told = np.sqrt(second.var() / len(second) + 0.81 * first.var() / len(first))
    assert rail.slack.stderr == pytest.approx(told, rel=1e-3)
    assert rail.status == "held"
    assert str(rail.guardrail) == "spend may fall by at most 10.00% of the baseline"
    # A mean below 0: 10% of its size.
    below = log.outcome() - 100
    turned = DecisionLog.from_arrays(log.features, log.action, below, propensity=0.5, action_names=["old", "new"])
    rail = readout(turned, guardrails=[Guardrail("outcome", 0.1, relative=True)]).guardrails[0]
    assert rail.slack.value == pytest.approx(below[log.action == 1].mean() - 1.1 * below[log.action == 0].mean())
    told = np.sqrt(second.var() / len(second) + 1.21 * first.var() / len(first))
    assert rail.slack.stderr == pytest.approx(told, rel=1e-3)


def test_the_relative_difference_is_the_delta_method():
    log = experiment()
    found = readout(log)
    first, second = (log.outcome()[log.action == k] for k in (0, 1))
    ratio = second.mean() / first.mean()
    told = np.sqrt(second.var() / len(second) + ratio**2 * first.var() / len(first)) / first.mean()
    assert found.lift is not None
    assert found.lift.value == pytest.approx(ratio - 1)
    assert found.lift.stderr == pytest.approx(told, rel=1e-3)
    noise = DecisionLog.from_arrays(
        log.features, log.action, log.outcome() - first.mean(), propensity=0.5, action_names=["old", "new"]
    )
    assert readout(noise).lift is None  # relative to nothing


def test_rows_without_a_choice_are_left_out():
    log = experiment()
    certain = np.tile([0.5, 0.5], (log.n, 1))
    certain[:1_000] = np.eye(2)[log.action[:1_000].astype(int)]
    found = readout(log.with_propensities(certain, "logged"))
    alone = readout(log.take(np.arange(1_000, log.n)))
    assert found.difference == alone.difference
    assert sum(found.units) == 3_000


def test_the_table_has_a_row_for_everything():
    found = readout(experiment(), covariates="before", guardrails=[Guardrail("wait", 5.0, better="lower")])
    frame = found.frame()
    assert frame["what"].to_list() == ["difference", "adjusted", "guardrail"]
    assert frame["status"].to_list() == [None, None, "held"]
    row = frame.row(1, named=True)
    assert (row["lower"], row["upper"]) == found.interval
    assert (row["always_lower"], row["always_upper"]) == found.always_valid
    assert row["candidate"] - row["baseline"] == pytest.approx(found.primary.value)
    assert readout(experiment()).frame()["status"].to_list() == [None]


def test_a_known_world_is_recovered():
    world = RandomisedTrial("nonlinear", "money", treated_share=0.3, base_rate=0.2)
    log = world.sample(40_000, random_state=9)
    response = world.response(log.features)
    truth = (response[:, 1] - response[:, 0]).mean()
    found = readout(log, covariates=response)
    assert found.adjusted is not None
    assert abs(found.adjusted.value - truth) < 4 * found.adjusted.stderr
    assert found.adjusted.stderr < found.difference.stderr


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda log: readout(log, baseline="old", candidate="old"), ParameterError, "are both 'old'"),
        (lambda log: readout(log, candidate="newest"), ActionError, "newest"),
        (lambda log: readout(log, outcome="visits"), OutcomeError, "visits"),
        (lambda log: readout(log, better="more"), ParameterError, "better is 'more'"),
        (lambda log: readout(log, covariates="spend"), ParameterError, "no feature 'spend'"),
        (lambda log: readout(log, covariates=[]), ParameterError, "No covariate was named"),
        (lambda log: readout(log, covariates=np.zeros(3)), DataError, r"expected \(4000, d\)"),
        (lambda log: readout(log, active=np.ones(4_000)), DataError, "booleans"),
        (lambda log: readout(log, active=np.zeros(4_000, bool)), DataError, "No row is active"),
        (lambda log: readout(log, active=np.arange(4_000) < 2), ActionError, "rows to compare"),
        (lambda log: readout(log, arm=np.zeros(3)), DataError, "arm has shape"),
        (lambda log: readout(log, arm=log.action), ActionError, "baseline is None"),
        (lambda log: readout(log, shares={"old": "50%", "new": "50%"}), ParameterError, "shares are"),
        (lambda log: readout(log, shares={"old": 1}), ParameterError, "shares are"),
        (lambda log: readout(log, alpha=0.1, plan=planned(9_000)), ParameterError, "the plan's is 0.05"),
        (
            lambda log: readout(log, margin=0.1, plan=planned(9_000)),
            ParameterError,
            "the plan's is 0. Leave margin out",
        ),
        (lambda log: readout(log, margin="1%"), ParameterError, "margin is '1%'"),
        (lambda log: readout(log, alpha=0.95), ParameterError, "alpha is 0.95"),
        (lambda log: readout(log, plan=10_000), ParameterError, "plan is 10000.*plan_experiment"),
        (lambda log: readout(log.frame()), ParameterError, "a polars frame, not a DecisionLog .readout"),
        (lambda log: readout(log, guardrails=Guardrail("wait", 1.0)), ParameterError, "Pass a tuple of them"),
        (lambda log: readout(log, guardrails=["wait"]), ParameterError, r"guardrails is \['wait'\]"),
        (lambda log: Guardrail("wait", "5%"), ParameterError, "'wait' is '5%'"),
        (lambda log: readout(log, looks=[100]), ParameterError, "readout without a plan does not count"),
        (lambda log: readout(log, looks=[9], plan=planned(9_000, "fixed")), ParameterError, "'fixed' monitoring"),
        (lambda log: readout(log, looks=[5_000], plan=planned(9_000)), ParameterError, "Earlier looks were at"),
        (lambda log: readout(log, looks=[3_000, 2_000], plan=planned(9_000)), ParameterError, "rising"),
        (lambda log: readout(log, looks=[3_500], plan=planned(3_000)), ParameterError, "all of alpha is spent"),
        (lambda log: Guardrail("wait", -1.0), ParameterError, "margin of the guardrail 'wait' is -1.0"),
        (lambda log: Guardrail("wait", 1.0, better="less"), ParameterError, "better is 'less'"),
    ],
)
def test_what_cannot_be_is_refused(call, error, message):
    log = experiment()
    with pytest.raises(error, match=message):
        call(log)
