"""Monotone maps from predicted effects to effects: isotonic, or a line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["EffectMap", "MapKind", "fit_map"]

Vector = NDArray[np.float64]
Codes = NDArray[np.intp]
MapKind = Literal["isotonic", "platt"]

MOST_KNOTS = 10_000
LARGEST = 1e100


@dataclass(frozen=True, slots=True, eq=False)
class EffectMap:
    """A rising, piecewise linear map of predicted effects; flat where the data saw no rise.

    Attributes:
        x: (k,) predicted effects, rising; k ≥ 1.
        y: (k,) what they come to, not falling.
        slope: of the map below the first and above the last x; 0 keeps to the outermost y.
    """

    x: Vector
    y: Vector
    slope: float = 0.0

    @property
    def is_flat(self) -> bool:
        """Whether all predictions come to the same effect."""
        return self.slope == 0 and float(self.y[-1]) == float(self.y[0])

    def __call__(self, predicted: Vector) -> Vector:
        """(n,) effects of predicted effects (n,)."""
        beyond = np.minimum(predicted - self.x[0], 0.0) + np.maximum(predicted - self.x[-1], 0.0)
        return np.asarray(np.interp(predicted, self.x, self.y) + self.slope * beyond)

    def state(self) -> dict[str, Any]:
        """As JSON values."""
        return {"x": self.x.tolist(), "y": self.y.tolist(), "slope": self.slope}

    @classmethod
    def read(cls, told: Mapping[str, Any]) -> EffectMap:
        """The map back from :meth:`state`.

        Raises:
            ValueError, TypeError, KeyError: not a monotone map of finite numbers.
        """
        rows = [told["x"], told["y"], [told["slope"]]]
        if not all(isinstance(row, list) and all(type(v) is float for v in row) for row in rows):
            raise TypeError("a map holds something else than numbers")
        x, y, slope = np.array(rows[0]), np.array(rows[1]), float(rows[2][0])
        sound = 1 <= x.size == y.size <= MOST_KNOTS and slope >= 0
        sound = sound and bool((np.abs([*x, *y, slope]) < LARGEST).all())
        if not (sound and (np.diff(x) > 0).all() and (np.diff(y) >= 0).all()):
            raise ValueError("a map does not rise, or is not finite")
        return cls(x, y, slope)


def fit_map(kind: MapKind, predicted: Vector, score: Vector, weight: Vector, n_bins: int) -> EffectMap:
    """The monotone map from predicted effects to the mean of their scores.

    Rows are cut into bins of equal weight by predicted effect, and the bins' mean scores fitted by their mean
    predictions. "isotonic": neighbours whose means fall are pooled (Ayer, Brunk, Ewing, Reid, Silverman 1955), and
    the map is linear between the pooled bins' centres, so that it keeps the order of the predictions within them, and
    level beyond the outermost. "platt": a least-squares line with slope ≥ 0; Platt's two parameters (1999) without his
    sigmoid, because an effect is a difference and may be negative.

    Args:
        kind: "isotonic" or "platt".
        predicted: (m,) predicted effects.
        score: (m,) numbers whose conditional mean is the effect.
        weight: (m,) positive weights.
        n_bins: bins at most; tied predictions stay together.
    """
    group = _bins(predicted, weight, n_bins)
    mass = np.bincount(group, weights=weight)
    x = np.bincount(group, weights=weight * predicted) / mass
    y = np.bincount(group, weights=weight * score) / mass
    if kind == "isotonic":
        return _isotonic(x, y, np.asarray(mass, dtype=np.float64))
    centre, level = float(mass @ x / mass.sum()), float(mass @ y / mass.sum())
    spread = float(mass @ (x - centre) ** 2)
    slope = max(0.0, float(mass @ ((x - centre) * y)) / spread) if spread > 0 else 0.0
    return EffectMap(np.array([centre]), np.array([level]), slope)


def _isotonic(x: Vector, y: Vector, mass: Vector) -> EffectMap:
    from scipy.optimize import isotonic_regression

    fitted = isotonic_regression(y, weights=mass)
    first = fitted.blocks[:-1]
    centre = np.add.reduceat(mass * x, first) / np.add.reduceat(mass, first)
    return EffectMap(centre, np.asarray(fitted.x[first], dtype=np.float64))


def _bins(predicted: Vector, weight: Vector, n_bins: int) -> Codes:
    """(m,) bin of each row, numbered from 0 by rising prediction, of equal weight where ties allow."""
    _, place = np.unique(predicted, return_inverse=True)
    mass = np.bincount(place, weights=weight)
    middle = (np.cumsum(mass) - mass / 2) / mass.sum()
    raw = np.minimum(np.floor(middle * n_bins), n_bins - 1)[place]
    return np.asarray(np.unique(raw, return_inverse=True)[1], dtype=np.intp)
