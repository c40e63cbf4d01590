"""What exploring did cost: by hand, and against the truth of a world."""

from __future__ import annotations

import numpy as np
import pytest

from persuadable.errors import DataError
from persuadable.log import DecisionLog
from persuadable.policies import TreatAll, TreatNone
from persuadable.policies.explore import EpsilonFloor, draw
from persuadable.value.exploration import exploration_paid


def test_by_hand():
    """Four rows, treated with 0.2: the greedy policy that treats nobody would have kept what the third lost."""
    p = np.tile([0.8, 0.2], (4, 1))
    log = DecisionLog.from_arrays(
        np.zeros((4, 1)), [0, 0, 1, 0], {"sales": [1.0, 2.0, 0.0, 3.0], "cost": [0.0, 0.0, 5.0, 0.0]},
        propensity=p, cost="cost",
    )  # fmt: skip
    found = exploration_paid(log, TreatNone(), method="ips")
    assert found.loss.value == pytest.approx((1 + 2 + 3) / 0.8 / 4 - (1 + 2 + 0 + 3) / 4)
    assert found.extra_spend.value == pytest.approx(5.0 / 4)
    assert (found.share, found.greedy_share) == pytest.approx((0.2, 0.0))
    # The paired differences Y·(π_g/e − 1): 0.25, 0.5, 0, 0.75.
    assert found.loss.stderr == pytest.approx(np.std([0.25, 0.5, 0.0, 0.75], ddof=1) / 2)
    assert str(found).startswith("Exploring forwent 0.375 sales a head (")
    assert str(found).endswith(
        " against treat none, cost +1.25 a head (-1.2 to +3.7), and treated 20.0% instead of 0.0%"
    )


@pytest.mark.parametrize("method", ["ips", "dr"])
def test_it_finds_the_true_loss(method):
    """Treating adds 1; exploring leaves a tenth untreated, and costs a tenth of a unit less."""
    rng = np.random.default_rng(0)
    n = 20_000
    x = rng.normal(size=(n, 2))
    p = EpsilonFloor(TreatAll(), 0.1).probabilities(x, 2)
    action = draw(p, np.arange(n), "round 1")
    y = x[:, 0] + action + rng.normal(size=n)
    log = DecisionLog.from_arrays(x, action, {"y": y, "cost": 1.0 * action}, propensity=p, cost="cost")
    mu = np.column_stack([x[:, 0], x[:, 0] + 1]) if method == "dr" else None
    found = exploration_paid(log, TreatAll(), method=method, mu=mu)
    assert abs(found.loss.value - 0.1) < 4 * found.loss.stderr < 0.06
    assert abs(found.extra_spend.value + 0.1) < 4 * found.extra_spend.stderr + 1e-9


def test_propensities_must_be_known():
    log = DecisionLog.from_arrays(np.zeros((4, 1)), [0, 1, 0, 1], [0.0, 1.0, 2.0, 3.0])
    with pytest.raises(DataError, match="does not say with what probabilities"):
        exploration_paid(log, TreatAll())


def test_propensities_written_with_four_digits_are_those_of_a_policy():
    """0.3333 three times is 1 but for 1e-4, which a log may be and a table of probabilities may not."""
    rng = np.random.default_rng(0)
    action, y = np.arange(60) % 3, rng.normal(size=60)
    rounded, exact = (
        DecisionLog.from_arrays(np.zeros((60, 1)), action, y, propensity=np.tile(row, (60, 1)))
        for row in ([0.3333, 0.3333, 0.33335], [1 / 3, 1 / 3, 1 / 3])
    )
    one, other = (exploration_paid(log, TreatNone(), method="ips") for log in (rounded, exact))
    assert one.loss.value == pytest.approx(other.loss.value, rel=1e-3)
    assert one.share == pytest.approx(2 / 3, rel=1e-3)
