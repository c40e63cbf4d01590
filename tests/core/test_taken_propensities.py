"""Logs that know no probability but that of the action taken, and logs without a control."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from persuadable import DecisionLog, effects
from persuadable.errors import ParameterError, PropensityError

TABLE = {
    "hour": [9.0, 10.0, 11.0, 12.0, 13.0, 14.0],
    "item": ["shoes", "coat", "hat", "coat", "shoes", "hat"],
    "click": [0, 1, 0, 0, 1, 0],
    "p": [0.5, 0.2, 0.3, 0.25, 0.6, 1.0],
}
ROLES = {"action": "item", "control": None, "outcomes": "click", "taken_propensity": "p"}


@pytest.fixture
def log() -> DecisionLog:
    return DecisionLog.from_frame(pl.DataFrame(TABLE), **ROLES)


def test_frames_and_arrays_give_the_same_log(log):
    arrays = DecisionLog.from_arrays(
        np.array(TABLE["hour"])[:, None],
        TABLE["item"],
        {"click": TABLE["click"]},
        control=None,
        taken_propensity=TABLE["p"],
    )
    for one in (log, arrays):
        np.testing.assert_array_equal(one.taken_propensity(), TABLE["p"])
        assert one.propensities is None
        assert one.propensity_source == "logged"
        assert one.features.shape == (6, 1)  # the column is no feature
    assert "logged, of the action taken only" in repr(log)
    assert log.frame()["taken_propensity"].to_list() == TABLE["p"]


def test_without_a_control_the_first_label_has_code_0(log):
    assert log.actions.names == ("coat", "hat", "shoes")
    named = DecisionLog.from_frame(pl.DataFrame(TABLE), **ROLES, actions=["shoes", "hat", "coat"])
    assert named.actions.names == ("shoes", "hat", "coat")
    np.testing.assert_array_equal(named.action, [0, 2, 1, 2, 0, 1])
    coded = DecisionLog.from_arrays(np.zeros((4, 1)), [2, 1, 2, 1], [0, 1, 1, 0], control=None)
    assert coded.actions.names == ("1", "2")


def test_parts_of_the_log_keep_their_probabilities(log):
    np.testing.assert_array_equal(log.take(np.array([3, 1])).taken_propensity(), [0.25, 0.2])
    np.testing.assert_array_equal(log.arm("hat").taken_propensity(), [0.3, 1.0])


def test_every_other_log_has_them_too():
    table = np.array([[0.5, 0.3, 0.2], [0.1, 0.1, 0.8], [0.4, 0.3, 0.3]])
    full = DecisionLog.from_arrays(np.zeros((3, 1)), [0, 2, 1], [1, 0, 1], propensity=table)
    np.testing.assert_allclose(full.taken_propensity(), [0.5, 0.8, 0.3])
    counted = DecisionLog.from_arrays(np.zeros((4, 1)), [0, 1, 1, 1], [1, 0, 1, 0])
    np.testing.assert_allclose(counted.taken_propensity(), [0.25, 0.75, 0.75, 0.75])


@pytest.mark.parametrize(
    "ask",
    [
        lambda log: log.propensity(),
        lambda log: log.contrast("hat"),
        lambda log: log.select(actions=["hat"]),
        lambda log: log.overlapping(),
        lambda log: effects.DRLearner().fit(log),
    ],
    ids=["propensity", "contrast", "select", "overlapping", "fit"],
)
def test_what_needs_the_others_is_refused_with_the_remedy(log, ask):
    with pytest.raises(PropensityError, match=r"Only the probability of the action taken.*value\.estimate"):
        ask(log)


def test_the_remedy_works(log):
    known = log.with_propensities(np.full((6, 3), 1 / 3), "logged")
    assert known.taken_propensities is None
    np.testing.assert_allclose(known.taken_propensity(), 1 / 3)
    assert known.contrast("hat").n == 4


@pytest.mark.parametrize("wrong", [0.0, -0.1, 1.5])
def test_a_probability_the_taken_action_cannot_have_had_is_named(wrong):
    with pytest.raises(PropensityError, match=rf"action taken is {wrong}, outside \(0, 1\].*'p', row 2"):
        DecisionLog.from_frame(pl.DataFrame(TABLE | {"p": [0.5, 0.2, wrong, 0.25, 0.6, 1.0]}), **ROLES)


def test_missing_and_misplaced_probabilities_are_refused(log):
    with pytest.raises(PropensityError, match=r"action taken is nan, .*'p', row 1"):
        DecisionLog.from_frame(pl.DataFrame(TABLE | {"p": [0.5, None, 0.1, 0.25, 0.6, 1.0]}), **ROLES)
    with pytest.raises(PropensityError, match="not numeric"):
        DecisionLog.from_frame(pl.DataFrame(TABLE | {"p": ["high"] * 6}), **ROLES)
    with pytest.raises(PropensityError, match=r"shape \(6, 3\), expected \(6,\).*propensity="):
        DecisionLog.from_arrays(
            log.features, TABLE["item"], TABLE["click"], control=None, taken_propensity=np.full((6, 3), 1 / 3)
        )
    with pytest.raises(ParameterError, match=r"propensity= and taken_propensity= were both passed"):
        DecisionLog.from_frame(pl.DataFrame(TABLE), **ROLES, propensity=np.full((6, 3), 1 / 3))
