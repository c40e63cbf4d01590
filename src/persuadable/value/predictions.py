"""Predicted effects of every action on every unit, from whatever they were told by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from persuadable.errors import ActionError, DataError
from persuadable.log.tables import by_action, columns_told
from persuadable.value.estimate import Floats
from persuadable.value.holdout import require_held_out

if TYPE_CHECKING:
    from persuadable.log import DecisionLog

__all__ = ["predicted_effects"]


def predicted_effects(log: DecisionLog, told: Any, what: str, outcome: str | None) -> Floats:
    """(n, A) finite effects over doing nothing, whose column 0 is 0.

    Args:
        log: the rows they are about.
        told: a fitted effect model, (n, A) effects as an array or a frame, or the same for everybody: (A,) numbers or a
            mapping of every treatment's label to a number.
        what: what messages call them.
        outcome: of a model's outcomes, the one meant; its first when None.

    Raises:
        LeakageError: rows of the log fitted the model, or the model behind the effects.
        ActionError: a model of other actions, or labels that are not the treatments.
        DataError: another shape, a number that is not finite, or effects of doing nothing that are not 0.
    """
    require_held_out(log, told)
    if hasattr(told, "effect"):
        if (known := tuple(told.actions_.names)) != log.actions.names:
            raise ActionError(
                f"The {type(told).__name__} behind {what} knows the actions {list(known)}",
                where=f"the log has {list(log.actions.names)}",
                remedy="Judge a model on a log with the actions it learned, the control first.",
            )
        told = told.effect(log.features, outcome=outcome)
        require_held_out(log, told)
    elif isinstance(told, Mapping):
        told = _stated(log, told, what)
    return _checked(log, by_action(told, log.actions.names, what), what)


def _stated(log: DecisionLog, told: Mapping[Any, Any], what: str) -> Any:
    wrong = set(log.actions.treatments) ^ (set(told) - {log.actions.control})
    if wrong:
        raise ActionError(
            f"{what} and the log differ about {sorted(map(str, wrong))[0]!r}",
            remedy=f"State a number for each of {list(log.actions.treatments)}.",
        )
    return [told.get(label, 0.0) for label in log.actions.names]


def _checked(log: DecisionLog, told: Any, what: str) -> Floats:
    labels = columns_told(log.actions.names)
    try:
        table = np.asarray(told, dtype=np.float64).view(np.ndarray)
    except (TypeError, ValueError):
        raise DataError(f"{what} is not a table of numbers", where=labels, remedy="Pass (n, A) numbers.") from None
    shape = (log.n, log.n_actions)
    if table.shape not in (shape, shape[1:]):
        raise DataError(
            f"{what} has shape {table.shape}, expected {shape}",
            where=labels,
            remedy="Pass one row per row of the log and one column per action, doing nothing first; or (A,) numbers.",
        )
    table = np.broadcast_to(table, shape)
    if not (finite := np.isfinite(table).all(axis=1)).all():
        raise DataError(
            f"{what} is not finite", where=f"row {int(finite.argmin())}", remedy="Predict every row under every action."
        )
    if table[:, 0].any():
        raise DataError(
            f"{what} of doing nothing is not 0",
            where=f"row {int(table[:, 0].astype(bool).argmax())}, column 0",
            remedy="Effects are over doing nothing: subtract column 0 from every column.",
        )
    return table
