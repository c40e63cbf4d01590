"""What numbers a review takes: from a caller, who is told what to pass instead, or from a file."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike

from persuadable.design.power import is_number
from persuadable.errors import DataError, ParameterError
from persuadable.policies.base import Flags, Floats

__all__ = ["LARGEST", "amount", "flags_of", "known", "share", "shares", "stored", "tail", "vector", "weights"]

LARGEST: Final = 1e100  # of a number that is taken: its square is finite


def vector(name: str, values: ArrayLike, n: int) -> Floats:
    array = np.asarray(values, dtype=np.float64)
    if array.shape != (n,):
        raise DataError(f"{name} has shape {array.shape}, expected {(n,)}", remedy="Pass one number per unit.")
    return array


def shares(name: str, values: ArrayLike, n: int) -> Floats:
    """(n,) numbers from 0 to 1, but for rounding.

    Raises:
        DataError: another shape, or which number is out of range.
    """
    array = vector(name, values, n)
    if np.abs(array - 0.5).max(initial=0.0) <= 0.5 + 1e-9:  # NaN is not
        return array
    row = int(np.flatnonzero(~((array >= -1e-9) & (array <= 1.0 + 1e-9)))[0])
    raise DataError(f"{name} is {array[row]}", where=f"row {row}", remedy="Pass a number from 0 to 1 per unit.")


def flags_of(name: str, values: ArrayLike, n: int) -> Flags:
    """(n,) booleans, or shares above 0.

    Raises:
        DataError: another shape, or which number is out of range.
    """
    if isinstance(values, np.ndarray) and values.dtype == np.bool_ and values.shape == (n,):
        return values
    return shares(name, values, n) > 0


def weights(weight: ArrayLike, n: int) -> Floats:
    w = vector("weight", weight, n)
    if (bad := ~((w > 0) & (w < LARGEST))).any():
        row = int(np.flatnonzero(bad)[0])
        raise DataError(f"weight is {w[row]}", where=f"row {row}", remedy="Weigh every unit with a number above 0.")
    return w


def share(name: str, value: Any) -> float:
    if not is_number(value) or not 0 <= value <= 1:
        raise ParameterError(f"{name} is {value!r}", where="review", remedy="Pass a share, from 0 to 1.")
    return float(value)


def tail(name: str, value: Any) -> float:
    """A share of the rows that lies beyond an end, which cannot be all of them."""
    if share(name, value) == 1.0:
        raise ParameterError(f"{name} is {value!r}", where="review", remedy="Pass a share below 1, such as 0.001.")
    return float(value)


def amount(name: str, value: Any, least: float) -> float:
    if not is_number(value) or not least <= float(value) <= LARGEST:
        kind = "a finite number" if least < 0 else f"a finite number of {least:g} or more"
        raise ParameterError(f"{name} is {value!r}", where="review", remedy=f"Pass {kind}.")
    return float(value)


def stored(value: Any, least: float = -LARGEST) -> float:
    """A number from a file.

    Raises:
        ValueError: no number, or out of range.
    """
    if type(value) not in (int, float) or not least <= value <= LARGEST:
        raise ValueError(f"{value!r} is out of range")
    return float(value)


def known(name: str, values: Any, least: float = -LARGEST) -> Floats:
    """(n,) numbers from a file.

    Raises:
        ValueError: another shape or type, or a number out of range.
    """
    fits = isinstance(values, np.ndarray) and values.ndim == 1 and values.dtype == np.float64
    if not (fits and ((values >= least) & (values <= LARGEST)).all()):
        raise ValueError(f"{name!r} is no list of numbers in range")
    array: Floats = values
    return array
