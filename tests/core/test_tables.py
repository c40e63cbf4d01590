"""Tables with a column per action: frames are read by name, and what does not fit is refused in words."""

from __future__ import annotations

import numpy as np
import pandas as pd
import polars as pl
import pytest

import persuadable as ps
from persuadable.errors import DataError, PropensityError
from persuadable.log.tables import by_action, columns_told, distribution_remedy

ACTIONS = ("none", "mail", "voucher")
ROWS = np.array([[0.5, 0.3, 0.2], [0.1, 0.2, 0.7]])
SHUFFLED = {"voucher": [0.2, 0.7], "none": [0.5, 0.1], "mail": [0.3, 0.2]}


def log_of(n=300):
    rng = np.random.default_rng(0)
    action = rng.integers(0, 3, n)
    return ps.DecisionLog.from_arrays(
        rng.normal(size=(n, 2)),
        action,
        rng.normal(size=n) + action,
        action_names=ACTIONS,
        propensity=np.full((n, 3), 1 / 3),
    )


@pytest.mark.parametrize("kind", [pd.DataFrame, pl.DataFrame, lambda d: pl.DataFrame(d).lazy()])
def test_a_frame_is_read_by_the_names_of_its_columns(kind):
    np.testing.assert_array_equal(by_action(kind(SHUFFLED), ACTIONS, "q_hat"), ROWS)


def test_numbers_name_actions_too_and_arrays_stay_what_they_are():
    np.testing.assert_array_equal(by_action(pd.DataFrame(ROWS[:, ::-1], columns=[2, 1, 0]), ("0", "1", "2"), "x"), ROWS)
    assert by_action(ROWS, ACTIONS, "x") is ROWS


def test_columns_that_are_not_the_actions_are_refused():
    with pytest.raises(
        DataError, match=r"q_hat has a column 'sms', which is no action \(columns: none, mail, voucher\)"
    ):
        by_action(pd.DataFrame(SHUFFLED | {"sms": [0, 0]}), ACTIONS, "q_hat")
    with pytest.raises(DataError, match=r"has no column 'voucher'.*Name each column after its action"):
        by_action(pl.DataFrame(SHUFFLED).drop("voucher"), ACTIONS, "q_hat")
    with pytest.raises(DataError, match=r"has a column '0', which is no action.*to_numpy\(\)"):
        by_action(pd.DataFrame(ROWS), ACTIONS, "q_hat")


def test_of_many_actions_the_first_and_the_last_are_told():
    assert columns_told(ACTIONS) == "columns: none, mail, voucher"
    assert columns_told([str(i) for i in range(80)]) == "columns: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, …, 79"


def test_percentages_are_recognised():
    assert "Divide by 100" in distribution_remedy([40.0, 60.0])
    assert "Divide by 100" not in distribution_remedy([0.4, 0.4])


@pytest.mark.parametrize("kind", [pd.DataFrame, pl.DataFrame])
def test_whatever_judges_a_policy_takes_a_frame_in_any_order(kind):
    log, rng = log_of(), np.random.default_rng(1)
    table, q = rng.dirichlet([1, 2, 3], size=log.n), rng.normal(size=(log.n, 3))
    order = [2, 0, 1]

    def shuffled(values):
        return kind({ACTIONS[i]: values[:, i] for i in order})

    plain = ps.value.estimate(log, table, q_hat=q)
    framed = ps.value.estimate(log, shuffled(table), q_hat=shuffled(q))
    assert all(framed[one].value == pytest.approx(plain[one].value, rel=1e-14) for one in plain)
    assert ps.value.policy_value(log, shuffled(table), mu=shuffled(q)).value == pytest.approx(plain["dr"].value)
    again = log.with_propensities(shuffled(table))
    np.testing.assert_array_equal(again.propensity(), table)


def test_a_frame_of_propensities_is_read_by_name():
    frame = pl.DataFrame({"did": ["none", "mail", "voucher", "none"], "y": [1, 0, 1, 0], "x": range(4)})
    table = np.tile([0.5, 0.3, 0.2], (4, 1))
    chances = pd.DataFrame({"voucher": table[:, 2], "mail": table[:, 1], "none": table[:, 0]})
    log = ps.DecisionLog.from_frame(
        frame, action="did", control="none", outcomes="y", actions=ACTIONS, propensity=chances
    )
    np.testing.assert_array_equal(log.propensity(), table)


def test_shapes_that_do_not_fit_tell_the_order_of_the_actions():
    log = log_of()
    for ask in (
        lambda: ps.value.estimate(log, np.ones((log.n, 2))),
        lambda: ps.value.policy_value(log, np.ones((log.n, 2))),
        lambda: ps.value.estimate(log, log.propensity(), q_hat=np.ones((2, 2))),
        lambda: log.with_propensities(np.ones((log.n, 2))),
    ):
        with pytest.raises(DataError, match=r"\(columns: none, mail, voucher\)"):
            ask()


def test_propensities_in_percent_are_recognised():
    with pytest.raises(PropensityError, match=r"outside \[0, 1\].*percentages\? Divide by 100"):
        log_of().with_propensities(np.tile([50.0, 30.0, 20.0], (300, 1)))
    with pytest.raises(PropensityError, match=r"outside \[0, 1\].*Log the probability each action had"):
        log_of().with_propensities(np.tile([np.inf, 30.0, 20.0], (300, 1)))
