"""What is still to come at each stage: near the truth of a known world, and never from the round itself."""

from __future__ import annotations

import numpy as np
import pytest

from persuadable.engine import LocalEngine, Trees
from persuadable.errors import DataError, ParameterError
from persuadable.response import cross_fit_stages
from persuadable.worlds import Stages

WORLD = Stages(n_stages=3, n_states=3, n_actions=3, leaving=0.2, seed=2)
TREES = Trees(n_trees=20, max_depth=4, learning_rate=0.3)
QUICK = {"trees": TREES, "n_folds": 3, "engine": LocalEngine(threads=1)}
CANDIDATE = WORLD.best(explore=0.2)


def given(log, **changed):
    """Arguments for a log: the state is all there is to know."""
    return {
        "features": [log.states[:, [t]].astype(float) for t in range(WORLD.n_stages)],
        "actions": log.actions,
        "rewards": log.rewards,
        "candidate": WORLD.at(CANDIDATE, log),
        "length": log.length,
        **QUICK,
        **changed,
    }


@pytest.mark.parametrize("discount", [1.0, 0.5])
def test_it_finds_what_is_still_to_come(discount) -> None:
    log = WORLD.sample(12_000, 0)
    found = cross_fit_stages(**given(log, discount=discount))
    truth = WORLD.at(WORLD.q(CANDIDATE, discount), log)
    there = np.arange(3) < log.length[:, None]
    error = (found - truth)[there]
    # A cell of state and action holds some 12,000·⅔ / 9 rounds: standard errors of 0.02, more at the stages ahead.
    assert np.sqrt((error**2).mean()) < 0.04
    assert np.abs(error.mean()) < 0.01
    assert truth[there].std() > 0.15
    assert (found[~there] == 0).all()


def test_no_round_teaches_its_own_prediction() -> None:
    """With each round a fold of its own among few, changing its rewards changes others' predictions and not its own."""
    log = WORLD.sample(60, 1)
    few = {"trees": Trees(n_trees=3, max_depth=2, min_child_weight=1), "clusters": np.arange(60) // 12, "n_folds": 5}
    before = cross_fit_stages(**given(log, **few))
    rewards = log.rewards.copy()
    rewards[:12] += 10
    after = cross_fit_stages(**given(log, **few, rewards=rewards))
    np.testing.assert_array_equal(after[:12], before[:12])
    assert (after[12:, 0] != before[12:, 0]).all()


def test_what_lies_after_the_end_is_not_looked_at() -> None:
    log = WORLD.sample(300, 2)
    there = np.arange(3) < log.length[:, None]
    before = cross_fit_stages(**given(log))
    garbage = given(
        log,
        rewards=np.where(there, log.rewards, np.nan),
        actions=np.where(there, log.actions, 99),
        candidate=np.where(there[:, :, None], WORLD.at(CANDIDATE, log), np.nan),
    )
    np.testing.assert_array_equal(cross_fit_stages(**garbage), before)
    assert not there.all()


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"candidate": np.ones((20, 3))}, DataError, r"candidate has shape \(20, 3\), expected \(n, T, A\)"),
        ({"rewards": np.ones((20, 2))}, DataError, r"rewards has shape \(20, 2\), expected \(20, 3\)"),
        ({"actions": np.zeros((19, 3), dtype=int)}, DataError, r"actions has shape \(19, 3\)"),
        ({"length": np.ones(19)}, DataError, r"length has shape \(19,\), expected \(20,\)"),
        ({"features": [np.ones((20, 1))] * 2}, DataError, r"features are of \[20, 20\] rounds"),
        ({"actions": np.full((20, 3), 3)}, DataError, "no codes from 0 to 2"),
        ({"rewards": np.full((20, 3), np.nan)}, DataError, r"rewards holds nan \(row 0, step 0\)"),
        ({"n_folds": 1}, ParameterError, "n_folds is 1 for 20 groups"),
        ({"clusters": np.zeros(20)}, ParameterError, "n_folds is 3 for 1 groups"),
        ({"length": np.ones(20, dtype=int)}, ParameterError, "no row left to learn from"),
    ],
)
def test_bad_input_is_named(changed, error, message) -> None:
    with pytest.raises(error, match=message):
        cross_fit_stages(**given(Stages(n_actions=3).sample(20, 0), **changed))
