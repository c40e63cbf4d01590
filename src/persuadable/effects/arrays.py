"""Effects as an array that remembers which rows it was learned from."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from persuadable.fingerprint import Fingerprint

__all__ = ["Effects"]


class Effects(np.ndarray[Any, np.dtype[np.float64]]):
    """A float64 array, (n, A) or a part of one, that carries ``fitted_on``.

    ``value`` reads it to refuse judging a ranking on the rows it was fitted on. Everything else about it
    is an ordinary array.
    """

    fitted_on: Fingerprint | None

    @classmethod
    def of(cls, values: NDArray[np.float64], fitted_on: Fingerprint | None) -> Self:
        """The array with its origin."""
        effects = values.view(cls)
        effects.fitted_on = fitted_on
        return effects

    def __array_finalize__(self, source: Any) -> None:
        self.fitted_on = getattr(source, "fitted_on", None)

    def __reduce__(self) -> tuple[Any, ...]:
        """As an ordinary array and its origin, so that it is known in another process too."""
        return _effects, (np.asarray(self), self.fitted_on)


def _effects(values: NDArray[np.float64], fitted_on: Fingerprint | None) -> Effects:
    return Effects.of(values, fitted_on)
