"""The world of doses: its densities by integrals, its truth in closed form, its logs by frequencies."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import quad

from persuadable.errors import ParameterError
from persuadable.worlds import Doses

Z = 4.0
WORLD = Doses(upper=5.0, curvature=2.0, noise=0.3)


@pytest.mark.parametrize("x", [0.0, 0.5, 1.0])
def test_densities_integrate_to_one_and_never_fall_below_the_floor(x) -> None:
    assert quad(lambda t: float(WORLD.density(x, t)), 0, 5)[0] == pytest.approx(1, abs=1e-9)
    assert WORLD.density(np.full(101, x), np.linspace(0, 5, 101)).min() >= 0.3 / 5


def test_the_value_of_a_constant_and_of_the_best_dose_are_known_in_closed_form() -> None:
    """best(x) is uniform on upper · [0.2, 0.8], so E(t − best)² / upper² = (t/upper − ½)² + 0.6²/12."""
    assert WORLD.value(WORLD.best) == pytest.approx(1.5)
    for t in (0.0, 2.0):
        expected = 1.5 - 2 * ((t / 5 - 0.5) ** 2 + 0.03)
        assert WORLD.value(lambda x, t=t: np.full(x.shape, t)) == pytest.approx(expected)


def test_logs_have_the_densities_and_outcomes_they_state() -> None:
    n = 50_000
    log = WORLD.sample(n, 2)
    np.testing.assert_array_equal(log.density, WORLD.density(log.x, log.dose))
    assert ((log.dose >= 0) & (log.dose <= 5)).all()
    assert abs(log.x.mean() - 0.5) < Z / np.sqrt(12 * n)
    for low, high in ((0.0, 0.1), (1.0, 2.0), (4.0, 5.0)):
        inside = (log.dose >= low) & (log.dose < high)
        p = quad(lambda x, a=low, b=high: quad(lambda t: float(WORLD.density(x, t)), a, b)[0], 0, 1)[0]
        assert abs(inside.mean() - p) < Z * np.sqrt(p * (1 - p) / n)
        slow = inside & (log.x < 0.5)
        q = 2 * quad(lambda x, a=low, b=high: quad(lambda t: float(WORLD.density(x, t)), a, b)[0], 0, 0.5)[0]
        assert abs(slow.mean() - q / 2) < Z * np.sqrt(q / 2 * (1 - q / 2) / n)
    noise = log.outcome - WORLD.mean(log.x, log.dose)
    assert abs(noise.mean()) < Z * 0.3 / np.sqrt(n)
    assert noise.std() == pytest.approx(0.3, rel=Z / np.sqrt(2 * n))
    assert abs(np.corrcoef(noise, log.dose)[0, 1]) < Z / np.sqrt(n)


def test_the_same_seed_draws_the_same_log() -> None:
    np.testing.assert_array_equal(WORLD.sample(20, 3).outcome, WORLD.sample(20, 3).outcome)
    assert (WORLD.sample(20, 3).dose != WORLD.sample(20, 4).dose).all()


@pytest.mark.parametrize("argument", ["upper", "curvature", "noise", "spread", "floor"])
def test_bad_arguments_are_named(argument) -> None:
    with pytest.raises(ParameterError, match=rf"{argument}=-1 is out of range \(worlds.Doses\)"):
        Doses(**{argument: -1})
