"""What makes a log usable; each refusal names the column, the row and the remedy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from persuadable.errors import ActionError, DataError, FeatureError, OutcomeError, ParameterError, PropensityError
from persuadable.log.tables import columns_told
from persuadable.spaces import Discrete

if TYPE_CHECKING:
    from persuadable.log.decisions import DecisionLog

_LOG_IT = "Log the probability each action had."
SUM_TOLERANCE = 1e-4  # float32 propensities over a few actions sum to 1 within this


def require_log(log: object, where: str) -> None:
    """Refuse a first argument that is no log.

    Args:
        log: what was passed.
        where: the function it was passed to.

    Raises:
        ParameterError: what it is instead.
    """
    from persuadable.log.decisions import DecisionLog

    if isinstance(log, DecisionLog):
        return
    kind = log if isinstance(log, type) else type(log)
    home = kind.__module__.partition(".")[0]
    frame = home in ("pandas", "polars", "pyarrow") and hasattr(log, "columns")
    told = f"a {home} frame" if frame else f"of type {kind.__name__}"
    raise ParameterError(
        f"The first argument is {told}, not a DecisionLog",
        where=where,
        remedy="Make a log of it: DecisionLog.from_frame(frame, action=…, control=…, outcomes=…)."
        if frame
        else "Pass the log first, then what is to be judged on it.",
    )


def _first(mask: NDArray[np.bool_]) -> int | None:
    rows = np.flatnonzero(mask)
    return int(rows[0]) if rows.size else None


def arms(action: NDArray[np.int16], actions: Discrete, column: str) -> None:
    """Every action was taken at least once."""
    counts = np.bincount(action, minlength=len(actions))
    if np.count_nonzero(counts) < 2:
        only = actions.names[int(counts.argmax())]
        raise ActionError(
            f"Only one arm has rows: all {action.size} took {only!r}",
            where=f"column {column!r}",
            remedy="An effect needs a control and a treated group; pass the rows of both.",
        )
    if not counts.all():
        raise ActionError(
            f"Nobody took {actions.names[int(counts.argmin())]!r}",
            where=f"column {column!r}",
            remedy="Leave actions without rows out of the log.",
        )


def numbers(values: Any, column: str, *, positive: bool = False) -> NDArray[np.floating[Any]]:
    """(n,) finite numbers; narrow types stay narrow (booleans and small integers become float32)."""
    array = np.asarray(values)
    if array.ndim != 1:
        raise OutcomeError(
            f"Column {column!r} has {array.ndim} dimensions, expected 1", remedy="Pass one value per row."
        )
    if array.dtype.kind not in "fiub":
        row = _first(np.array([not isinstance(v, int | float | np.number) for v in array.tolist()], dtype=np.bool_))
        if row is not None:
            raise OutcomeError(
                f"Column {column!r} is not numeric: it holds {array.tolist()[row]!r}",
                where=f"row {row}",
                remedy="Convert it to numbers, e.g. 1 for yes and 0 for no.",
            )
        array = array.astype(np.float64)
    if array.dtype.kind in "bui" and array.dtype.itemsize <= 2:
        array = array.astype(np.float32)
    elif array.dtype != np.float32:
        array = array.astype(np.float64)
    if (row := _first(~np.isfinite(array))) is not None:
        raise OutcomeError(
            f"Column {column!r} holds {array[row]}",
            where=f"row {row}",
            remedy="Fill in the value (0 where nothing happened) or drop the row.",
        )
    if positive and (row := _first(array <= 0)) is not None:
        raise DataError(
            f"Column {column!r} holds {array[row]}, weights must be positive",
            where=f"row {row}",
            remedy="Drop rows that should not count.",
        )
    return array


def known_before(features: Sequence[str], later: Sequence[str]) -> None:
    """Refuse features that came about after the action.

    Raises:
        FeatureError: naming the feature, and why it cannot be one.
    """
    for name in features:
        if name in later:
            raise FeatureError(
                f"{name!r} came about after the action, so it is no feature: whoever is to be decided on has no value "
                "of it yet, and among those with the same value the arms are no longer alike, so that the effect "
                "learned is not the action's",
                where=f"column {name!r}",
                remedy="Leave it out of features=; name it among the outcomes to learn what the action changes in it.",
            )


def length(values: Any, n: int, what: str) -> None:
    """As many values as the log has rows."""
    if len(values) != n:
        raise DataError(f"{what} has {len(values)} rows, the features have {n}", remedy="Pass one value per row.")


def probabilities(table: NDArray[Any]) -> NDArray[Any]:
    """A table of numbers; whether they are probabilities of the log is checked by :func:`propensities`."""
    if table.dtype.kind == "f":
        return table
    try:
        return table.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise PropensityError(
            f"Propensities are not numeric: {error}", remedy="Pass numbers in [0, 1], or the column that holds them."
        ) from error


def booleans(values: NDArray[Any], action: str) -> NDArray[np.bool_]:
    """Yes and no, given as booleans or as zeros and ones."""
    if values.dtype == np.bool_:
        return values
    if values.dtype.kind in "iuf":
        wrong = (values != 0) & (values != 1)
    else:
        wrong = np.array([v is None or not bool(v in (0, 1)) for v in values.ravel().tolist()], dtype=np.bool_)
    if (place := _first(wrong.ravel())) is not None:
        raise ActionError(
            f"The eligibility for {action!r} is {values.ravel().tolist()[place]!r}, neither true nor false",
            where=f"row {place // (values.size // len(values))}" if values.ndim else None,
            remedy="Convert it to booleans and fill in missing ones.",
        )
    return values.astype(np.bool_)


def propensities(
    table: NDArray[Any], action: NDArray[np.int16], actions: Discrete, eligible: NDArray[np.bool_] | None
) -> None:
    """(n, A) in [0, 1], above 0 for the action taken, 0 where an action was not eligible, rows summing to 1."""
    expected = (action.size, len(actions))
    if table.ndim != 2 or table.shape != expected:
        raise PropensityError(
            f"Propensities have shape {table.shape}, expected {expected}",
            where=columns_told(actions.names),
            remedy="Pass one column per action, the control first.",
        )
    probe = table[:1] if table.strides[0] == 0 and eligible is None else table
    wrong = ~np.isfinite(probe) | (probe > 1) | (probe < 0)
    if wrong.any():
        finite = bool(np.isfinite(probe).all())
        percent = finite and bool((np.abs(probe.sum(axis=1) - 100) < 0.5).all())
        remedy = "These sum to 100: are they percentages? Divide by 100." if percent else _LOG_IT
        raise _no_probability(probe, wrong, actions, "outside [0, 1]", remedy)
    if eligible is not None and (wrong := ~eligible & (probe != 0)).any():
        what = "above 0 for an ineligible action"
        raise _no_probability(probe, wrong, actions, what, "Correct the eligibility or the propensity.")
    never = probe <= 0
    if never.any() and (row := _first(np.broadcast_to(never, expected)[np.arange(action.size), action])) is not None:
        raise PropensityError(
            f"The propensity of {actions.names[action[row]]!r} is 0, and yet it was taken",
            where=f"row {row}",
            remedy="Log the probability each action had when it was drawn; only actions not taken can have had none.",
        )
    total = probe.sum(axis=1)
    if (row_ := _first(np.abs(total - 1) > SUM_TOLERANCE)) is not None:
        raise PropensityError(
            f"Propensities sum to {total[row_]:.6g}, not 1",
            where="all rows" if len(probe) < len(table) else f"row {row_}",
            remedy="Give the probability of every action, the control among them, so that they add up.",
        )


def _no_probability(
    table: NDArray[Any], wrong: NDArray[np.bool_], actions: Discrete, what: str, remedy: str
) -> PropensityError:
    row = int(np.flatnonzero(wrong.any(axis=1))[0])
    column = int(np.flatnonzero(wrong[row])[-1])  # the treatment's was told, the control's may be 1 less it
    told = f"The propensity of {actions.names[column]!r} is {table[row, column]:.6g}, {what}"
    return PropensityError(told, where=f"row {row}", remedy=remedy)


def eligibility(table: NDArray[np.bool_], action: NDArray[np.int16], actions: Discrete) -> None:
    """(n, A); the control is always eligible, and nobody took an ineligible action."""
    if table.shape != (action.size, len(actions)):
        raise ActionError(
            f"Eligibility has shape {table.shape}, expected {(action.size, len(actions))}",
            remedy="Pass one column per action, the control first.",
        )
    if (row := _first(~table[:, 0])) is not None:
        raise ActionError(
            f"The control {actions.control!r} is marked ineligible",
            where=f"row {row}",
            remedy="Doing nothing is always possible; leave the control eligible.",
        )
    if (row := _first(~table[np.arange(action.size), action])) is not None:
        raise ActionError(
            f"The action taken, {actions.names[action[row]]!r}, was not eligible",
            where=f"row {row}",
            remedy="Correct the eligibility or drop the row.",
        )


def taken_propensities(chances: NDArray[Any], n: int, column: str) -> None:
    """(n,) probabilities of actions that were taken: above 0, at most 1."""
    if chances.shape != (n,):
        raise PropensityError(
            f"The propensities of the actions taken have shape {chances.shape}, expected {(n,)}",
            where=f"column {column!r}",
            remedy="Pass one number per row; the probabilities of all actions, (n, A), go to propensity=.",
        )
    if (row := _first(~((chances > 0) & (chances <= 1)))) is not None:
        raise PropensityError(
            f"The propensity of the action taken is {chances[row]}, outside (0, 1]",
            where=f"column {column!r}, row {row}",
            remedy="Log the probability the action had when it was drawn; a percentage is to be divided by 100.",
        )


def require_all_propensities(log: DecisionLog) -> None:
    """Refuse a log that knows no probabilities but those of the actions taken.

    Raises:
        PropensityError: it is such a log.
    """
    if log.taken_propensities is not None:
        raise PropensityError(
            "Only the probability of the action taken was logged, those of the other actions are unknown",
            where=f"log {log.name!r}",
            remedy="Judge policies by value.estimate, which needs no others; for anything else give the probability of "
            "every action by log.with_propensities(…).",
        )


def comparable(log: DecisionLog, action: int | None = None) -> NDArray[np.bool_] | None:
    """(n,) rows in which the control and this treatment (any, for None) could both have been taken; None for all.

    It is the propensities that say so, and where there are none the eligibility.
    """
    require_all_propensities(log)
    possible = log.eligible if log.propensities is None else log.propensities
    if possible is None:
        return None
    probe = possible[:1] if possible.strides[0] == 0 else possible
    treatments = probe[:, 1:] if action is None else probe[:, action : action + 1]
    both: NDArray[np.bool_] = (probe[:, 0] > 0) & (treatments > 0).any(axis=1)
    return None if both.all() else np.broadcast_to(both, (log.n,))


def require_comparable(log: DecisionLog, action: int | None = None) -> None:
    """Refuse a log with rows in which nothing was left to chance, except where nothing but the control was allowed.

    Args:
        log: any log.
        action: the treatment whose effect is asked for; None for any.

    Raises:
        PropensityError: how many rows, and how to leave them out; or only the actions taken have propensities.
    """
    require_all_propensities(log)
    both = None if log.propensities is None else comparable(log, action)
    if both is None:
        return
    if log.eligible is not None:
        both = both | ~(log.eligible[:, 1:].any(axis=1) if action is None else log.eligible[:, action])
    if (row := _first(~both)) is None:
        return
    treatment = "any treatment" if action is None else repr(log.actions.names[action])
    impossible = repr(log.actions.control) if log.propensities is not None and log.propensities[row, 0] <= 0 else None
    raise PropensityError(
        f"In {int((~both).sum()):,} of the {log.n:,} rows {log.actions.control!r} or {treatment} had propensity 0, "
        "so nothing was left to chance there and no effect can be learned",
        where=f"first in row {row}, where it was {impossible or treatment}",
        remedy=f"Keep the rows with a choice: log.overlapping({'' if action is None else treatment}); "
        "what is found then holds for rows like them.",
    )


def one_row_per_unit(unit: NDArray[Any], rows: NDArray[np.uint64], column: str) -> None:
    """No unit twice."""
    _, first, counts = np.unique(rows, return_index=True, return_counts=True)
    if (repeated := np.flatnonzero(counts > 1)).size:
        unit_rows = np.flatnonzero(rows == rows[first[repeated[0]]])
        raise DataError(
            f"Unit {unit[unit_rows[0]]!s} appears {unit_rows.size} times, one row per unit was promised",
            where=f"column {column!r}, rows {unit_rows[0]} and {unit_rows[1]}",
            remedy="Aggregate to one row per unit, or drop one_row_per_unit=True.",
        )
