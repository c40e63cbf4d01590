"""Lots that anyone can draw again: who, and a salt, decide."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from persuadable.errors import DataError, ParameterError
from persuadable.log.checks import SUM_TOLERANCE, require_log
from persuadable.log.tables import distribution_remedy, improper_row
from persuadable.policies.base import Floats, actions_at

if TYPE_CHECKING:
    from persuadable.log import DecisionLog

__all__ = ["Replay", "draw", "lots", "replay"]


def lots(units: ArrayLike, salt: str) -> Floats:
    """(n,) a number in [0, 1) for each unit, uniform over units and independent between salts.

    The text ``"<bytes of the salt>:<salt>:<unit>"`` in UTF-8, such as ``5:march:customer 7``, is hashed with SHA-256;
    the first 53 bits of the digest, the highest first, are read as a whole number and divided by 2^53. Whole numbers
    are written in decimal, also where a missing value elsewhere made them floats.

    The same unit and salt have the same lot every time. So a decision can be told again from its probabilities, and a
    user who comes back under the same probabilities gets the same answer. Use a new salt wherever the policy has
    learned from decisions drawn with the old one: a policy that knows what the old lot brought would otherwise be
    deciding with a lot whose outcome it knows, and its probabilities would no longer be those of its actions.

    Args:
        units: (n,) texts or whole numbers that say who each decision is about.
        salt: the name of the round or campaign, not empty.

    Raises:
        ParameterError: the salt is not a text, or empty.
        DataError: a unit is missing, or neither a text nor a whole number.
    """
    if not isinstance(salt, str) or not salt:
        raise ParameterError(
            f"salt is {salt!r}", remedy="Pass a text, such as the name of the round: 'letters, round 3'."
        )
    prefix = f"{len(salt.encode())}:{salt}:".encode()
    started = hashlib.sha256(prefix)
    names = _texts(units)
    found = np.empty(len(names), dtype=np.uint64)
    for i, name in enumerate(names):
        one = started.copy()
        one.update(name.encode())
        found[i] = int.from_bytes(one.digest()[:8], "big")
    return np.asarray((found >> np.uint64(11)).astype(np.float64) * 2.0**-53)


def draw(probabilities: ArrayLike, units: ArrayLike, salt: str) -> NDArray[np.int16]:
    """(n,) actions drawn with (n, A) probabilities by the units' ``lots``: the a with F(a − 1) ≤ u < F(a).

    F are the running sums of a unit's probabilities in the order of the actions. Arguments and errors are those of
    ``lots``.

    Raises:
        DataError: not one row of probabilities per unit, or a row that is no distribution.
    """
    p = np.asarray(probabilities, dtype=np.float64)
    u = lots(units, salt)
    if p.ndim != 2 or p.shape[0] != u.shape[0]:
        raise DataError(
            f"Probabilities of shape {p.shape} for {u.shape[0]} units",
            remedy="Pass one row per unit, one column per action.",
        )
    # float32 probabilities sum to 1 within the tolerance of a log's.
    if (row := improper_row(p, SUM_TOLERANCE)) is not None:
        raise DataError(
            f"The probabilities {p[row].tolist()} are no distribution",
            where=f"row {row}",
            remedy=distribution_remedy(p[row]),
        )
    return actions_at(p, u)


@dataclass(frozen=True, slots=True, eq=False)
class Replay:
    """What comes of drawing a log's actions again.

    Attributes:
        actions: (n,) the actions that the logged propensities, the units and the salt lead to.
        differ: rows, in order, where another action was logged.
        n: rows replayed.
    """

    actions: NDArray[np.int16]
    differ: NDArray[np.intp]
    n: int

    def __str__(self) -> str:
        if self.differ.size == 0:
            return f"All {self.n:,} decisions are those their propensities, units and salt lead to."
        first = self.differ[0]
        return (
            f"{self.differ.size:,} of {self.n:,} decisions differ from what was logged, the first in row {first}. "
            "Check the salt, the units and the order of the actions; then whether propensities were rounded, or "
            "actions overruled, after the draw. Until that is known, do not rely on these propensities."
        )


def replay(log: DecisionLog, salt: str) -> Replay:
    """Draw a log's actions again from its propensities and units, and say which differ: an audit of its lots.

    Raises:
        DataError: the log has no units or no propensities.
    """
    require_log(log, "replay")
    if log.unit is None or log.propensities is None:
        missing = "units" if log.unit is None else "propensities"
        raise DataError(
            f"The log {log.name!r} has no {missing}, so its lots cannot be drawn again",
            remedy=f"Read it with {'unit=' if log.unit is None else 'propensity='}, as they were when it was decided.",
        )
    actions = draw(log.propensity(), log.unit, salt)
    return Replay(actions, np.flatnonzero(actions != log.action), log.n)


def _texts(units: ArrayLike) -> list[str]:
    return [_text(unit, i) for i, unit in enumerate(np.asarray(units).tolist())]


def _text(unit: Any, row: int) -> str:
    if isinstance(unit, str):
        return unit
    if isinstance(unit, int) and not isinstance(unit, bool):
        return str(unit)
    if isinstance(unit, float) and unit.is_integer() and abs(unit) < 2**53:
        return str(int(unit))
    raise DataError(
        f"Unit {unit!r} cannot be given a lot", where=f"row {row}", remedy="Units are texts or whole numbers."
    )
