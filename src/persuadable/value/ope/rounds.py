"""Logged rounds and the policies to be judged on them, read and checked block by block."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from persuadable.errors import DataError
from persuadable.log.tables import by_action, columns_told
from persuadable.value.estimate import Floats
from persuadable.value.off_policy import check_probabilities, require_tried, wrong_shape

__all__ = ["Candidate", "Rounds", "as_predictions", "as_probabilities"]

Table = NDArray[Any]  # floats of any width, read as float64 block by block


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """A policy to be judged.

    Attributes:
        name: what messages call it.
        table: (n, A) its probabilities.
        ratio: (n,) learned density ratios at the actions taken, where an estimator asks for them.
    """

    name: str
    table: Table
    ratio: Floats | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Rounds:
    """n rounds in which another policy chose among A actions.

    Attributes:
        action: (n,) codes of the actions taken.
        propensity: (n, A) probabilities of the actions, or (n,) of those taken where no others were logged.
        outcomes: (n,) arrays.
        actions: labels of the actions.
        candidates: the policies to be judged.
        predictions: (n, A) tables of predicted outcomes q̂.
        weight: (n,) row weights, or None.
        centres: for each outcome the number it is counted from, so that a large mean does not eat the digits of its
            variance; none for 0.
        first: place of the first round in the whole log, for messages.
    """

    action: NDArray[np.integer[Any]]
    propensity: Table
    outcomes: Sequence[Table]
    actions: Sequence[str]
    candidates: Sequence[Candidate]
    predictions: Sequence[Table] = ()
    weight: Table | None = None
    centres: Sequence[float] = ()
    first: int = 0

    @property
    def n(self) -> int:
        """Number of rounds."""
        return int(self.action.shape[0])

    def centre(self, outcome: int) -> float:
        """The number an outcome is counted from."""
        return float(self.centres[outcome]) if self.centres else 0.0

    def block(self, start: int, stop: int) -> Block:
        """Rounds ``start`` … ``stop`` − 1."""
        return Block(self, slice(start, stop))


class Block:
    """Some rounds, few enough for the processor's cache; tables are float64 and contiguous."""

    __slots__ = ("_places", "_rounds", "_rows", "propensity")

    def __init__(self, rounds: Rounds, rows: slice) -> None:
        self._rounds, self._rows = rounds, rows
        self.propensity = _plain(rounds.propensity[rows])
        count, width = self.propensity.shape[0], len(rounds.actions)
        self._places = np.arange(0, count * width, width) + rounds.action[rows]

    def outcome(self, which: int) -> Floats:
        """(m,) an outcome, counted from its centre."""
        y = np.asarray(self._rounds.outcomes[which][self._rows], dtype=np.float64)
        centre = self._rounds.centre(which)
        return y - centre if centre else y

    def residual(self, outcome: int, taken: Floats) -> Floats:
        """(m,) an outcome less its predictions, which have its mean already."""
        return np.asarray(self._rounds.outcomes[outcome][self._rows] - taken, dtype=np.float64)

    def taken(self, table: Floats) -> Floats:
        """(m,) the entries of an (m, A) table at the actions taken."""
        return np.asarray(table.reshape(-1).take(self._places))

    def probabilities(self, which: int) -> Floats:
        """(m, A) what a candidate would do, checked.

        Raises:
            DataError: no probability distribution.
        """
        candidate = self._rounds.candidates[which]
        p = _plain(candidate.table[self._rows])
        total = p @ np.ones(p.shape[1])
        # A NaN fails both comparisons; with none below 0 and a sum of 1, none is above 1.
        if not (p.min() >= -1e-9 and total.min() >= 1 - 1e-6 and total.max() <= 1 + 1e-6):
            check_probabilities(p, p.shape, candidate.name, first=self._first)
        return p

    def ratios(self, which: int, p: Floats) -> Floats:
        """(m,) w = π(A)/π_b(A).

        Raises:
            PropensityError: the candidate takes an action whose propensity is 0. Where only the propensities of the
                actions taken were logged, nobody can tell.
        """
        if self.propensity.ndim == 1:
            return self.taken(p) / self.propensity
        if not self.propensity.min() > 0 and ((self.propensity <= 0) & (p > 0)).any():
            rounds, candidate = self._rounds, self._rounds.candidates[which]
            require_tried(rounds.propensity, candidate.table, candidate.name, rounds.actions, rounds.first)
        return self.taken(p) / self.taken(self.propensity)

    def learned_ratios(self, which: int) -> Floats:
        """(m,) learned density ratios."""
        ratio = self._rounds.candidates[which].ratio
        if ratio is None:
            raise DataError("The density ratios were not learned", remedy="Learn them before asking for their use.")
        return ratio[self._rows]

    def predictions(self, which: int, p: Floats) -> tuple[Floats, Floats]:
        """(m,) what a table of predictions says of a candidate, Σ_a π_a q̂_a, and of the actions taken, q̂_A.

        Raises:
            DataError: a prediction is not finite.
        """
        table = _plain(self._rounds.predictions[which][self._rows])
        with np.errstate(invalid="ignore"):
            direct = (p * table) @ np.ones(p.shape[1])
        # 0·∞ and 0·NaN are NaN: the sums are finite only where every prediction is.
        if not np.isfinite(direct.sum()) and not np.isfinite(table).all():
            raise not_finite(table, self._first)
        return direct, self.taken(table)

    def weight(self) -> Floats | None:
        """(m,) row weights."""
        weight = self._rounds.weight
        return None if weight is None else np.asarray(weight[self._rows], dtype=np.float64)

    @property
    def _first(self) -> int:
        return self._rounds.first + int(self._rows.start)


def _plain(block: Table) -> Floats:
    return np.ascontiguousarray(block, dtype=np.float64)


def as_probabilities(given: ArrayLike, shape: tuple[int, int], name: str, actions: Sequence[str] = ()) -> Table:
    """A table (n, A) of floating-point numbers; whether they are probabilities is seen when they are read.

    Given the labels of the actions, the columns of a frame are put in their order.

    Raises:
        DataError: another shape, or no numbers.
    """
    table = _numbers(by_action(given, actions, name) if actions else given, name)
    if table.shape != shape:
        raise wrong_shape(table.shape, shape, name, actions)
    return table


def as_predictions(given: ArrayLike, shape: tuple[int, int], actions: Sequence[str] = ()) -> Table:
    """Predicted outcomes (n, A), or constants (A,) for every row; whether they are finite is seen when they are read.

    Given the labels of the actions, the columns of a frame are put in their order.

    Raises:
        DataError: another shape, or no numbers.
    """
    table = _numbers(by_action(given, actions, "q_hat") if actions else given, "q_hat")
    if table.shape == shape[1:]:
        table = np.broadcast_to(table, shape)
    if table.shape != shape:
        raise DataError(
            f"q_hat has shape {table.shape}, expected {shape}",
            where=columns_told(actions) if actions else None,
            remedy="Predict every row under every action, the control first, or pass one number per action.",
        )
    return table


def not_finite(predicted: Floats, first: int) -> DataError:
    """The refusal of a block of predictions that are not all numbers."""
    row = int(np.flatnonzero(~np.isfinite(predicted).all(axis=1))[0])
    return DataError("q_hat is not finite", where=f"row {first + row}", remedy="Predict every row under every action.")


def _numbers(given: ArrayLike, name: str) -> Table:
    table = np.asarray(given)
    if table.dtype.kind == "f":
        return table
    try:
        return table.astype(np.float64)
    except (TypeError, ValueError):
        raise DataError(f"{name} does not hold numbers", remedy="Pass an (n, A) array of numbers.") from None
