"""What may be done: the spaces actions are chosen from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from persuadable.errors import ActionError, ParameterError

__all__ = ["Discrete"]


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
