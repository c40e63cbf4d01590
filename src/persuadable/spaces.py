"""What may be done: the spaces actions are chosen from."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import permutations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from persuadable.errors import ActionError, ParameterError

__all__ = ["Continuous", "Discrete", "Slate", "Staged"]


@dataclass(frozen=True, slots=True)
class Discrete:
    """A finite set of named actions; the first is the control, "do nothing".

    Args:
        names: distinct labels, the control first; at least two.

    Raises:
        ParameterError: fewer than two names, or a name twice.
    """

    names: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(self.names) < 2:
            raise ParameterError(
                f"An action space needs a control and at least one treatment, got {list(self.names)}",
                remedy="Name the control first, then every treatment.",
            )
        if len(set(self.names)) != len(self.names):
            raise ParameterError(f"Action names repeat: {list(self.names)}", remedy="Give each action its own name.")

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    @property
    def control(self) -> str:
        """The label of doing nothing, action 0."""
        return self.names[0]

    @property
    def treatments(self) -> tuple[str, ...]:
        """The labels of actions 1 … A − 1."""
        return self.names[1:]

    def index(self, action: str | int) -> int:
        """The code of an action given by label or by code.

        Raises:
            ActionError: no such action.
        """
        if isinstance(action, str):
            if action in self.names:
                return self.names.index(action)
        elif 0 <= int(action) < len(self.names):
            return int(action)
        raise ActionError(f"There is no action {action!r}", remedy=f"The actions are {list(self.names)}.")

    def treatment(self, action: str | int | None) -> int:
        """The code of a treatment; ``None`` is allowed where there is only one.

        Raises:
            ActionError: ``None`` with several treatments, the control, or no such action.
        """
        if action is None:
            if len(self) > 2:
                raise ActionError(
                    f"There are {len(self) - 1} treatments and none was chosen",
                    remedy=f"Pass action= one of {list(self.treatments)}.",
                )
            return 1
        code = self.index(action)
        if code == 0:
            raise ActionError(
                f"{self.control!r} is the control; its effect is 0 by definition",
                remedy=f"Pass action= one of {list(self.treatments)}.",
            )
        return code


@dataclass(frozen=True, slots=True)
class Continuous:
    """An action that is a number: a discount, a bid, a dose.

    Args:
        lower: least dose possible; −inf where there is none.
        upper: greatest dose possible; inf where there is none.

    Raises:
        ParameterError: bounds that leave nothing between them.
    """

    lower: float = -math.inf
    upper: float = math.inf

    def __post_init__(self) -> None:
        if not self.lower < self.upper:
            raise ParameterError(
                f"Doses from {self.lower!r} to {self.upper!r} are no interval",
                remedy="Give a lower bound below the upper one.",
            )

    @property
    def width(self) -> float:
        """upper − lower; inf where a side is open."""
        return self.upper - self.lower

    def check(self, doses: ArrayLike, name: str = "doses") -> NDArray[np.float64]:
        """(n,) doses as floats.

        Raises:
            ActionError: another shape, or a dose that is not finite or out of bounds.
        """
        given = np.asarray(doses, dtype=np.float64)
        if given.ndim != 1:
            raise ActionError(f"{name} has shape {given.shape}, expected (n,)", remedy="Give one dose per row.")
        wrong = ~(np.isfinite(given) & (given >= self.lower) & (given <= self.upper))
        if wrong.any():
            row = int(np.flatnonzero(wrong)[0])
            raise ActionError(
                f"{name} holds {given[row]}, which is no dose from {self.lower:g} to {self.upper:g}",
                where=f"row {row}",
                remedy="Correct the dose, or the bounds of Continuous.",
            )
        return given


@dataclass(frozen=True, slots=True)
class Slate:
    """An ordered list of different items: a carousel, a ranked page, the offers of a newsletter.

    Args:
        items: distinct labels of what can be shown.
        length: K, how many are shown, the first position at the top.

    Raises:
        ParameterError: an item named twice, or more positions than items.
    """

    items: tuple[str, ...]
    length: int

    def __post_init__(self) -> None:
        if len(set(self.items)) != len(self.items):
            raise ParameterError(f"Item names repeat: {list(self.items)}", remedy="Give each item its own name.")
        if not 1 <= self.length <= len(self.items):
            raise ParameterError(
                f"A slate of {self.length} cannot be filled from {len(self.items)} items",
                remedy="Give a length from 1 to the number of items.",
            )

    def check(self, slates: ArrayLike, name: str = "slates") -> NDArray[np.intp]:
        """(n, K) codes of the items shown.

        Raises:
            ActionError: another shape, a code that is no item's, or an item shown twice in a slate.
        """
        given = _codes(slates, name, self.length)
        _refuse_codes(given, np.full(self.length, len(self.items)), name)
        ordered = np.sort(given, axis=1)
        twice = (ordered[:, 1:] == ordered[:, :-1]).any(axis=1)
        if twice.any():
            row = int(np.flatnonzero(twice)[0])
            raise ActionError(
                f"{name} shows an item twice: {given[row].tolist()}",
                where=f"row {row}",
                remedy="A slate shows different items.",
            )
        return given

    def all(self) -> NDArray[np.intp]:
        """(S, K) every slate there is, S = A!/(A − K)!, in lexicographic order."""
        return np.array(list(permutations(range(len(self.items)), self.length)), dtype=np.intp)


@dataclass(frozen=True, slots=True)
class Staged:
    """One action after the other, each decided when its stage is reached: a mail, then a reminder, then a call.

    Args:
        stages: what may be done at each stage, the first stage first; at least one.

    Raises:
        ParameterError: no stage.
    """

    stages: tuple[Discrete, ...]

    def __post_init__(self) -> None:
        if not self.stages:
            raise ParameterError("A staged action needs at least one stage", remedy="Pass a Discrete per stage.")

    def __len__(self) -> int:
        return len(self.stages)

    def check(self, actions: ArrayLike, name: str = "actions") -> NDArray[np.intp]:
        """(n, T) codes of the actions taken.

        Raises:
            ActionError: another shape, or a code that is no action of its stage.
        """
        given = _codes(actions, name, len(self))
        _refuse_codes(given, np.array([len(stage) for stage in self.stages]), name)
        return given


def _codes(values: ArrayLike, name: str, width: int) -> NDArray[np.intp]:
    given = np.asarray(values)
    if given.ndim != 2 or given.shape[1] != width or given.dtype.kind not in "iu":
        raise ActionError(
            f"{name} has shape {given.shape} and type {given.dtype}, expected whole numbers (n, {width})",
            remedy="Give one row per round and one code per position or stage.",
        )
    return given.astype(np.intp, copy=False)


def _refuse_codes(given: NDArray[np.intp], sizes: NDArray[np.intp], name: str) -> None:
    """Refuse codes outside 0 … size − 1 of their column."""
    wrong = (given < 0) | (given >= sizes)
    if wrong.any():
        row, column = (int(i[0]) for i in np.nonzero(wrong))
        raise ActionError(
            f"{name} holds the code {given[row, column]} where there are {sizes[column]} to choose from",
            where=f"row {row}, column {column}",
            remedy="Codes count from 0.",
        )
