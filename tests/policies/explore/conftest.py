"""A stand-in for a learner, for the tests of this room."""

from __future__ import annotations

import numpy as np
import pytest

from persuadable.fingerprint import Fingerprint
from persuadable.spaces import Discrete


class Told:
    """The effect of treatment a is feature a − 1, its cost half the absolute value; two refits lie ``apart``."""

    def __init__(self, treatments=1, apart=0.5):
        self.actions_ = Discrete(("none", *(f"offer {a}" for a in range(1, treatments + 1))))
        self.fitted_on = Fingerprint.of(np.arange(3, dtype=np.uint64))
        self.apart = apart

    def effect(self, X, outcome=None):
        table = np.asarray(X, dtype=np.float64)[:, : len(self.actions_) - 1]
        return np.column_stack([np.zeros(len(table)), 0.5 * np.abs(table) if outcome == "cost" else table])

    def effect_refits(self, X, outcome=None):
        moved = np.array([0.0, *[self.apart / 2] * (len(self.actions_) - 1)])
        return iter([self.effect(X, outcome) - moved, self.effect(X, outcome) + moved])


@pytest.fixture
def told():
    """The class, to be made with as many treatments as a test needs."""
    return Told
