"""Nothing is judged on the rows that fitted it."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from persuadable.errors import LeakageError
from persuadable.log import DecisionLog
from persuadable.value import require_held_out


@pytest.fixture
def log() -> DecisionLog:
    rng = np.random.default_rng(0)
    return DecisionLog.from_arrays(rng.normal(size=(40, 2)), np.arange(40) % 2, rng.normal(size=40), name="spring")


def test_other_rows_pass(log: DecisionLog) -> None:
    train, test = log.split(0.5, random_state=0)
    require_held_out(test, SimpleNamespace(fitted_on=train.fingerprint), SimpleNamespace(fitted_on=None), np.ones(3), 5)


def test_shared_rows_are_counted_and_named(log: DecisionLog) -> None:
    fitted = SimpleNamespace(fitted_on=log.take(np.arange(7)).fingerprint, name="X-learner")
    with pytest.raises(LeakageError) as caught:
        require_held_out(log, SimpleNamespace(), fitted)
    assert "7 of the 40 rows" in str(caught.value)
    assert "'X-learner'" in str(caught.value)
    assert "'spring'" in str(caught.value)
    assert "log.split" in str(caught.value)


def test_a_nameless_thing_is_called_by_its_kind(log: DecisionLog) -> None:
    with pytest.raises(LeakageError, match="also fitted the SimpleNamespace passed"):
        require_held_out(log, SimpleNamespace(fitted_on=log.fingerprint))
