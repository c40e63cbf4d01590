"""A world with a trap: treating does harm wherever it was tried, and good where it was not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from persuadable.errors import ParameterError
from persuadable.features import Column, Features
from persuadable.worlds.arguments import RandomState

__all__ = ["Pocket"]


@dataclass(frozen=True, slots=True)
class Pocket:
    """Units left of 0 in their first feature would respond well, and nobody has ever treated one.

    Left of 0, E[Y | do nothing] is ``base`` and treating adds ``gain``; right of it, doing nothing brings 0 and
    treating ``elsewhere``, which is a loss. Noise is normal. The world's first policy draws lots on the right and
    leaves the left alone. Whoever learns from that log concludes that treating is bad: from the rows with a choice,
    because there it is; from all rows, because the treated, all of the right, did worse than the untreated of the left.
    A policy that acts on it alone never sees the left treated, and forgoes ``gain`` on half the units in every round.

    Attributes:
        base: mean outcome of the untreated on the left.
        gain: effect on the left.
        elsewhere: effect on the right, below 0.
        noise: standard deviation of outcomes.
        n_features: columns ``x0, x1, …``, independent standard normal; only the first matters.
    """

    base: float = 1.0
    gain: float = 0.6
    elsewhere: float = -0.3
    noise: float = 1.0
    n_features: int = 4

    def __post_init__(self) -> None:
        if not (self.elsewhere < 0.0 < min(self.gain, self.base) and self.noise >= 0.0 and self.n_features >= 1):
            raise ParameterError(
                f"{self!r} is no trap",
                where="worlds.Pocket",
                remedy="Take elsewhere below 0, base and gain above it, noise of 0 or more and a feature or more.",
            )

    @property
    def n_actions(self) -> int:
        """Doing nothing, and the treatment."""
        return 2

    @property
    def action_names(self) -> tuple[str, ...]:
        """Their labels."""
        return ("control", "treatment")

    def features(self, n: int, random_state: RandomState = None) -> Features:
        """Features of n fresh units."""
        values = np.random.default_rng(random_state).standard_normal((n, self.n_features), dtype=np.float32)
        return Features(values, tuple(Column(f"x{i}") for i in range(self.n_features)))

    def response(self, X: Any) -> NDArray[np.float64]:
        """(n, 2) exact E[Y | x, a]."""
        left = np.asarray(X, dtype=np.float64)[:, 0] < 0.0
        control = np.where(left, self.base, 0.0)
        return np.column_stack([control, control + np.where(left, self.gain, self.elsewhere)])

    def outcomes(self, X: Any, action: NDArray[Any], random_state: RandomState = None) -> NDArray[np.float64]:
        """(n,) outcomes drawn for units that were given these actions (n,)."""
        mean = np.take_along_axis(self.response(X), np.asarray(action, dtype=np.intp)[:, None], axis=1)[:, 0]
        return np.asarray(mean + self.noise * np.random.default_rng(random_state).standard_normal(mean.shape[0]))

    def probabilities(self, features: Any, n_actions: int, eligible: Any = None) -> NDArray[np.float64]:
        """(n, 2) what was done so far: lots on the right, nothing on the left. The world's first policy."""
        treat = np.where(np.asarray(features, dtype=np.float64)[:, 0] < 0.0, 0.0, 0.5)
        return np.column_stack([1.0 - treat, treat])
