"""Which outcomes are in: by hand at the edges, and against a known truth with delays."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from persuadable.errors import DataError, OutcomeError, ParameterError
from persuadable.log import DecisionLog, matured

DAYS = np.array(["2026-01-01", "2026-01-11", "2026-01-21", "2026-01-31"], dtype="datetime64[D]")


def make_log(time, y=(1.0, 0.0, 1.0, 0.0), **roles):
    n = len(time)
    return DecisionLog.from_arrays(
        np.arange(n, dtype=float)[:, None], np.arange(n) % 2, {"sale": np.array(y)}, time=time
    )


def delayed(n, seed, horizon=1.0):
    """Decisions over three horizons; a third converts after a delay that does not know the horizon."""
    rng = np.random.default_rng(seed)
    time = rng.uniform(0.0, 3.0, n)
    action = rng.integers(0, 2, n)
    delay = np.where(rng.random(n) < 0.3 + 0.2 * action, rng.exponential(0.5, n), np.inf)
    seen = time + delay <= 3.0
    log = DecisionLog.from_arrays(
        rng.normal(size=(n, 1)), action, {"sale": seen.astype(float)}, propensity=0.5, time=time
    )
    truth = [(0.3 + 0.2 * a) * -np.expm1(-horizon / 0.5) for a in (0, 1)]
    return log, np.where(seen, time + delay, np.nan), truth


def test_a_decision_matures_at_the_horizon_and_not_before():
    log = make_log(DAYS)
    for as_of in ("2026-02-10", date(2026, 2, 10), datetime(2026, 2, 10), np.datetime64("2026-02-10")):
        found = matured(log, timedelta(days=30), as_of)
        assert found.rows.tolist() == [0, 1]  # the second turns 30 days old that day
        assert (found.n, found.censored) == (4, 2)
        np.testing.assert_array_equal(found.log.rows, log.rows[:2])
    assert matured(log, np.timedelta64(30, "D"), "2026-02-09T23:59:59").rows.tolist() == [0]
    assert "What came within 30 days is known of 2 of 4 decisions" in str(
        matured(log, timedelta(days=30), "2026-02-10")
    )


def test_times_may_be_numbers_and_moments_may_have_zones():
    assert matured(make_log([0, 5, 10, 15]), 10, 20).rows.tolist() == [0, 1, 2]
    east = datetime.fromisoformat("2026-02-10T01:00:00+02:00")  # the 9th, 23:00, in universal time
    assert matured(make_log(DAYS), timedelta(days=30), east).rows.tolist() == [0]
    assert matured(make_log(DAYS), timedelta(days=30), datetime(2026, 2, 10, tzinfo=UTC)).rows.tolist() == [0, 1]


def test_dates_of_a_frame_are_times():
    frame = pl.DataFrame({"x": [1.0, 2, 3, 4], "a": [0, 1, 0, 1], "y": [0.0, 1, 0, 1], "on": pl.Series(DAYS)})
    log = DecisionLog.from_frame(frame, action="a", control=0, outcomes="y", time="on")
    assert matured(log, timedelta(days=30), "2026-02-10").rows.tolist() == [0, 1]


def test_reported_outcomes_count_early_and_weigh_by_the_chance_to_be_in():
    """Ages 40, 30, 20, 10 as of day 40, horizon 25: G(5) = 1, G(15) = 3/4, G(25) = 1/2."""
    log = make_log([0.0, 10.0, 20.0, 30.0], y=(0.0, 1.0, 1.0, 0.0))
    found = matured(log, 25, 40, reported=[np.nan, 15.0, 35.0, np.nan])
    assert found.rows.tolist() == [0, 1, 2]
    assert (found.censored, found.early, found.late) == (1, 1, 0)
    weight = found.log.weight
    np.testing.assert_allclose(weight / weight[1], [2.0, 1.0, 4 / 3])


def test_row_weights_enter_the_chance_and_the_weights():
    """Half of the weight is on the oldest: G(5) = 1, G(15) = 5/6, G(25) = 4/6."""
    log = DecisionLog.from_arrays(
        np.zeros((4, 1)), [0, 1, 0, 1], [0.0, 1.0, 1.0, 0.0], time=[0.0, 10.0, 20.0, 30.0], weight=[3.0, 1.0, 1.0, 1.0]
    )
    weight = matured(log, 25, 40, reported=[np.nan, 15.0, 35.0, np.nan]).log.weight
    np.testing.assert_allclose(weight / weight[1], [3 * 6 / 4, 1.0, 6 / 5])


def test_what_comes_after_the_horizon_is_none_and_what_comes_after_the_reading_is_not_in():
    log = make_log([0.0, 10.0, 20.0, 30.0], y=(1.0, 1.0, 1.0, 1.0))
    found = matured(log, 25, 40, reported=[30.0, 12.0, 50.0, 31.0])  # late, in time, not in yet, early
    assert found.rows.tolist() == [0, 1, 3]
    assert found.log.outcome("sale").tolist() == [0.0, 1.0, 1.0]
    assert (found.censored, found.early, found.late) == (1, 1, 1)
    assert "1 outcomes came later" in str(found)
    then = matured(log, 25, 28, reported=[30.0, 12.0, 50.0, 31.0])  # as it would have looked on day 28
    assert then.rows.tolist() == [0, 1]
    assert then.log.outcome().tolist() == [0.0, 1.0]
    np.testing.assert_allclose(then.log.weight[0] / then.log.weight[1], 3.0)  # day 30's decision was not taken yet


def test_of_several_outcomes_reports_are_about_one():
    log = DecisionLog.from_arrays(
        np.zeros((4, 1)), [0, 1, 0, 1], {"visit": np.ones(4), "paid": [0.0, 5.0, 5.0, 0.0]}, cost="paid", time=DAYS
    )
    reported = np.array(["NaT", "2026-01-15", "2026-01-29", "NaT"], dtype="datetime64[D]")
    found = matured(log, timedelta(days=30), "2026-02-10", reported=reported, outcome="paid")
    assert (list(found.log.outcomes), found.log.cost_name) == (["paid"], None)
    assert found.rows.tolist() == [0, 1, 2]
    assert list(matured(log, timedelta(days=30), "2026-02-10").log.outcomes) == ["visit", "paid"]


def test_not_yet_is_not_no():
    """Means by arm over 200 logs: what is there underestimates; the mature and the weighted ones do not."""
    runs = 200
    error = {"as it is": [], "mature": [], "weighted": []}
    for seed in range(runs):
        log, reported, truth = delayed(1_000, seed)
        early = matured(log, 1.0, 3.0, reported=reported).log
        rows = matured(log, 1.0, 3.0)
        in_time = (reported - log.time <= 1.0)[rows.rows].astype(float)
        for name, y, action, weight in (
            ("as it is", log.outcome() * (reported - log.time <= 1.0), log.action, None),
            ("mature", in_time, rows.log.action, None),
            ("weighted", early.outcome(), early.action, early.weight),
        ):
            w = np.ones(y.size) if weight is None else weight
            error[name].append([np.average(y[action == a], weights=w[action == a]) - truth[a] for a in (0, 1)])
    error = {name: np.array(found) for name, found in error.items()}
    chance = {name: e.std(axis=0) / runs**0.5 for name, e in error.items()}
    assert (error["as it is"].mean(axis=0) < -0.03).all()
    for name in ("mature", "weighted"):
        assert (np.abs(error[name].mean(axis=0)) < 4 * chance[name]).all(), name
    assert (chance["weighted"] < 0.95 * chance["mature"]).all()  # early reports are worth something


@pytest.mark.parametrize(
    ("horizon", "as_of", "said"),
    [
        (30, "2026-02-10", "horizon is 30"),
        (timedelta(days=-1), "2026-02-10", "horizon is"),
        (np.timedelta64(1, "M"), "2026-02-10", "horizon is"),
        (timedelta(days=30), 20.0, "as_of is 20.0"),
        (timedelta(days=30), "next week", "as_of is 'next week'"),
        (timedelta(days=30), None, "as_of is None"),
    ],
)
def test_spans_and_moments_of_another_kind_are_refused(horizon, as_of, said):
    with pytest.raises(ParameterError, match=said):
        matured(make_log(DAYS), horizon, as_of)


def test_numbers_want_numbers():
    log = make_log([0.0, 1.0, 2.0, 3.0])
    for horizon, as_of in ((timedelta(days=1), 2.0), (0, 2.0), (np.nan, 2.0), (True, 2.0)):
        with pytest.raises(ParameterError, match="horizon is"):
            matured(log, horizon, as_of)
    for as_of in ("2026-01-01", np.inf, np.nan):
        with pytest.raises(ParameterError, match=f"as_of is {as_of!r}"):
            matured(log, 1.0, as_of)


def test_a_number_of_nothing_is_no_length():
    with pytest.raises(ParameterError, match=r"horizon is .*30"):
        matured(make_log(DAYS), np.timedelta64(30), "2026-02-10")


def test_a_log_without_usable_times_is_refused():
    log = DecisionLog.from_arrays(np.zeros((4, 1)), [0, 1, 0, 1], np.ones(4))
    with pytest.raises(ParameterError, match=r"has no times.*time="):
        matured(log, 1, 2)
    with pytest.raises(ParameterError, match="are of type <U"):
        matured(make_log(DAYS.astype(str)), timedelta(days=1), "2026-02-10")


def test_where_nothing_is_mature_the_message_says_how_old_the_oldest_is():
    with pytest.raises(DataError, match=r"None of the 4 decisions is 90 days.* the oldest was taken at 2026-01-01"):
        matured(make_log(DAYS), timedelta(days=90), "2026-02-10")


@pytest.mark.parametrize(
    ("reported", "error", "said"),
    [
        ([1.0, 2.0], DataError, r"shape \(2,\), expected \(4,\)"),
        (DAYS, DataError, "type datetime64"),
        ([np.nan] * 4, OutcomeError, r"has an outcome and no time.*row 0 and 1 more"),
        ([1.0, np.nan, 1.0, np.nan], OutcomeError, "reported before its decision"),
    ],
)
def test_reports_that_contradict_the_log_are_refused(reported, error, said):
    with pytest.raises(error, match=said):
        matured(make_log([0.0, 1.0, 2.0, 3.0]), 1.0, 4.0, reported=reported)
