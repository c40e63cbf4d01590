"""Tables with a column per action: which column is whose, and what to say where they do not fit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from persuadable.errors import DataError
from persuadable.features import is_frame, label_text, native_frame

__all__ = ["by_action", "columns_told", "distribution_remedy", "improper_row"]

MANY = 12  # action labels a message lists


def by_action(table: Any, actions: Sequence[str], what: str) -> Any:
    """A frame as an array whose columns are in the order of the actions; anything else as it came.

    Args:
        table: a pandas, polars or pyarrow frame whose columns are named after the actions, or an array.
        actions: labels in the order of their codes.
        what: what messages call the table.

    Raises:
        DataError: columns that are not the actions.
    """
    if isinstance(table, np.ndarray | list | tuple) or not is_frame(table):
        return table
    frame = native_frame(table)
    labels = [label_text(label) for label in frame.columns]
    strange = [label for label in labels if label not in actions]
    missing = [action for action in actions if action not in labels]
    if strange or missing:
        told = f"a column {strange[0]!r}, which is no action" if strange else f"no column {missing[0]!r}"
        raise DataError(
            f"The frame of {what} has {told}",
            where=columns_told(actions),
            remedy="Name each column after its action; or pass .to_numpy(), the columns in the order of the actions.",
        )
    return frame.to_numpy()[:, [labels.index(action) for action in actions]]


def columns_told(actions: Sequence[str]) -> str:
    """The order of the actions, for messages: ``columns: none, mail, voucher``; of many the first and the last."""
    shown = list(actions) if len(actions) <= MANY else [*actions[: MANY - 2], "…", actions[-1]]
    return f"columns: {', '.join(shown)}"


def improper_row(probabilities: NDArray[np.float64], tolerance: float, below: float = 0.0) -> int | None:
    """The first row of (n, A) that is no probability distribution, None where all are; NaN makes none.

    Args:
        probabilities: rows to look at.
        tolerance: by how much a row's sum may miss 1.
        below: by how much an entry may lie below 0.
    """
    proper = (probabilities >= -below).all(axis=1) & (np.abs(probabilities.sum(axis=1) - 1.0) <= tolerance)
    return None if proper.all() else int(np.argmin(proper))


def distribution_remedy(row: Any) -> str:
    """What to do about a row that is no probability distribution; whoever passed percentages is told so."""
    percentages = abs(float(np.sum(row)) - 100.0) < 0.5
    rule = "Probabilities lie in [0, 1] and sum to 1 in each row."
    return f"{rule} These sum to 100: are they percentages? Divide by 100." if percentages else rule
