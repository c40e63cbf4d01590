"""How far a unit lies from those a model learned from: a distance in which features count by how usual they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from persuadable.errors import ParameterError
from persuadable.features import Features
from persuadable.policies.review.arguments import LARGEST

__all__ = ["Familiar", "learned_familiar"]

Floats = NDArray[np.float64]
Values = NDArray[np.float32]

MOST_COLUMNS: Final = 2_048
MOST_LEVELS: Final = 1_000_000
CHUNK: Final = 65_536  # rows of which distances are found at a time
RIDGE: Final = 1e-3  # columns that repeat one another leave the correlations invertible


@dataclass(frozen=True, slots=True, eq=False)
class Familiar:
    """Where the training features lie.

    Every column becomes one number: u = asinh((x − median) / spread) of a number, which tames long tails, and
    −log(share of the level) of a category. A number that was sometimes missing has a second, −log of the share that was
    missing or not. The distance is Mahalanobis': the root of zᵀR⁻¹z / d, with z the d standardised numbers and R their
    correlations. About 1 is usual. It sees unusual values and unusual combinations, though not holes amid the rest.
    What never varied in training is left out: any other value breaks the feature contract.

    Attributes:
        names: of the columns.
        levels: per column, how many categories it has; 0 for a number.
        centre, spread: (c,) of the numbers, unused for categories.
        surprise: −log shares: per category those of its levels and, last, of a missing or unknown one; per number
            those of a known and of a missing value.
        parts: (d,) which of the 2c numbers vary: the c columns' u, then the c surprises.
    mean, whiten: (d,) and (d, d): z = (u − mean) · whiten has uncorrelated parts of variance 1.
    """

    names: tuple[str, ...]
    levels: tuple[int, ...]
    centre: Floats
    spread: Floats
    surprise: Floats
    parts: NDArray[np.intp]
    mean: Floats
    whiten: Floats

    def distance(self, values: Values) -> Floats:
        """(n,) distances of rows (n, c), as ``Features.values`` has them."""
        if len(values) > CHUNK:  # what is held for a row is many times its features
            parts = [self.distance(values[start : start + CHUNK]) for start in range(0, len(values), CHUNK)]
            return np.concatenate(parts)
        u = encoded(values, self.levels, self.centre, self.spread, self.surprise)
        z = (u[:, self.parts] - self.mean) @ self.whiten
        return np.asarray(np.sqrt(np.vecdot(z, z) / max(self.mean.size, 1)))

    def state(self) -> tuple[dict[str, Any], dict[str, Floats]]:
        """(description, arrays), all one-dimensional."""
        told = {"names": list(self.names), "levels": list(self.levels), "parts": self.parts.tolist()}
        arrays = {name: getattr(self, name) for name in ("centre", "spread", "surprise", "mean")}
        return told, arrays | {"whiten": self.whiten.ravel()}

    @classmethod
    def read(cls, told: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Familiar:
        """Back from :meth:`state`.

        Raises:
            ValueError, KeyError, TypeError: parts that are missing, too many, not finite, or do not fit together.
        """
        names, levels = tuple(told["names"]), tuple(told["levels"])
        c = len(names)
        if not (1 <= c == len(levels) <= MOST_COLUMNS and all(isinstance(name, str) for name in names)):
            raise ValueError("the columns do not fit")
        if not all(type(count) is int and count >= 0 for count in levels) or sum(levels) > MOST_LEVELS:
            raise ValueError("the categories do not fit")
        parts = told["parts"]
        d = len(parts)
        if not (d <= MOST_COLUMNS and all(type(one) is int and 0 <= one < 2 * c for one in parts)):
            raise ValueError("the parts of the distance do not fit")
        sizes = {"centre": c, "spread": c, "surprise": sum(_slots(count) for count in levels)}
        sizes |= {"mean": d, "whiten": d * d}
        for name, size in sizes.items():
            one = arrays[name]
            if one.dtype != np.float64 or one.shape != (size,) or not (np.abs(one) < LARGEST).all():
                raise ValueError(f"{name!r} does not fit")
        centre, spread, surprise, mean, whiten = (arrays[name] for name in sizes)
        if not (spread > 0).all():
            raise ValueError("a spread is not above 0")
        place = np.asarray(parts, dtype=np.intp)
        return cls(names, levels, centre, spread, surprise, place, mean, whiten.reshape(d, d))


def _slots(levels: int) -> int:
    return levels + 1 if levels else 2


class _Places(NamedTuple):
    """Where each column's surprises stand.

    Attributes:
        first: (c,) where they begin.
        last: (c,) how many come before that of a missing value.
        number: (c,) which columns are numbers; None where all are.
    """

    first: NDArray[np.intp]
    last: NDArray[np.intp]
    number: NDArray[np.bool_] | None


@lru_cache(maxsize=256)
def _places(levels: tuple[int, ...]) -> _Places:
    slots = np.array([_slots(count) for count in levels], dtype=np.intp)
    number = np.array(levels) == 0
    return _Places(np.cumsum(slots) - slots, slots - 1, None if number.all() else number)


def encoded(values: Values, levels: tuple[int, ...], centre: Floats, spread: Floats, surprise: Floats) -> Floats:
    """(n, 2c): u of every column (0 where a number is missing, or for a category), then its surprise."""
    n, c = values.shape
    first, last, number = _places(levels)
    u = np.empty((n, 2 * c))
    missing = np.isnan(values)
    known = np.where(missing, centre, values)
    np.arcsinh((known - centre) / spread, out=u[:, :c])
    if number is None:
        place = missing.astype(np.intp)
    else:
        u[:, :c] *= number
        code = np.where(number, 0.0, known)
        strange = missing | (code < 0) | (code >= last)
        place = np.where(strange, last, code).astype(np.intp)
    u[:, c:] = surprise[first + place]
    return u


def learned_familiar(features: Features) -> Familiar:
    """Where n rows of features lie.

    Raises:
        ParameterError: more features than a distance is kept for.
    """
    values, n = features.values, len(features)
    if len(features.columns) > MOST_COLUMNS:
        raise _too_many(len(features.columns))
    levels = tuple(len(column.categories) for column in features.columns)
    centre, spread, surprise = np.zeros(len(levels)), np.ones(len(levels)), []
    for j, count in enumerate(levels):
        column = values[:, j]
        known = column[~np.isnan(column)].astype(np.float64)
        if count:
            seen = np.append(np.bincount(known.astype(np.intp), minlength=count), n - known.size)
        else:
            seen = np.array([known.size, n - known.size])
            if known.size:
                lower, centre[j], upper = np.quantile(known, [0.25, 0.5, 0.75])
                spread[j] = (upper - lower) / 1.349 or known.std() or 1.0
        surprise.append(-np.log((seen + 0.5) / (n + 0.5 * seen.size)))
    told = np.concatenate(surprise)
    u = encoded(values, levels, centre, spread, told)
    parts = np.flatnonzero(np.ptp(u, axis=0) > 0)
    if parts.size > MOST_COLUMNS:
        raise _too_many(parts.size)
    u = u[:, parts]
    mean, sd = u.mean(axis=0), u.std(axis=0)
    z = (u - mean) / sd
    correlation = (1.0 - RIDGE) * (z.T @ z) / n
    np.fill_diagonal(correlation, 1.0)
    # zᵀR⁻¹z = |L⁻¹z|² with R = LLᵀ.
    whiten = np.linalg.inv(np.linalg.cholesky(correlation)).T / sd[:, None]
    return Familiar(tuple(features.names), levels, centre, spread, told, parts, mean, whiten)


def _too_many(count: int) -> ParameterError:
    return ParameterError(
        f"The units have {count:,} features to measure a distance in",
        where="review",
        remedy=f"Up to {MOST_COLUMNS:,} can be; leave out those the model does not use.",
    )
