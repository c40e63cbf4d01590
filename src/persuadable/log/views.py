"""Parts of a log: rows, arms, splits, folds, and the log as a frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from persuadable.errors import ParameterError
from persuadable.spaces import Discrete

if TYPE_CHECKING:
    import polars as pl

    from persuadable.log.decisions import DecisionLog

Mask = NDArray[np.bool_]


def _rows_of(array: NDArray[Any], rows: NDArray[Any] | slice) -> NDArray[Any]:
    """Rows of an array; one that repeats a single row (stride 0) stays one row in memory."""
    if array.ndim == 2 and array.strides[0] == 0 and array.shape[0]:
        n = len(range(*rows.indices(array.shape[0]))) if isinstance(rows, slice) else _count(rows)
        return np.broadcast_to(array[0], (n, array.shape[1]))
    return array[rows]


def _count(rows: NDArray[Any]) -> int:
    return int(np.count_nonzero(rows)) if rows.dtype == np.bool_ else rows.size


def take(log: DecisionLog, rows: NDArray[Any] | slice) -> DecisionLog:
    from persuadable.log.decisions import array_fields

    optional: dict[str, Any] = {name: _rows_of(getattr(log, name), rows) for name in array_fields(log)}
    return replace(
        log,
        features=log.features.take(rows),
        action=log.action[rows],
        outcomes={name: y[rows] for name, y in log.outcomes.items()},
        rows=log.rows[rows],
        **optional,
    )


def select_actions(log: DecisionLog, labels: Sequence[str]) -> DecisionLog:
    """Rows whose action is the control or one of ``labels``; propensities renormalised to these actions."""
    codes = [0, *(c for c in sorted({log.actions.index(label) for label in labels}) if c)]
    kept = take(log, np.isin(log.action, codes))
    recode = np.zeros(log.n_actions, dtype=np.int16)
    recode[codes] = np.arange(len(codes))
    return replace(
        kept,
        action=recode[kept.action],
        actions=Discrete(tuple(log.actions.names[c] for c in codes)),
        propensities=None if kept.propensities is None else _renormalised(kept.propensities, codes),
        eligible=None if kept.eligible is None else kept.eligible[:, codes],
    )


def _renormalised(propensities: NDArray[Any], codes: Sequence[int]) -> NDArray[Any]:
    if propensities.strides[0] == 0 and len(propensities):
        one = propensities[0, list(codes)]
        return np.broadcast_to(one / one.sum(), (len(propensities), len(codes)))
    chosen = propensities[:, list(codes)]
    renormalised: NDArray[Any] = chosen / chosen.sum(axis=1, keepdims=True)
    return renormalised


def contrast(log: DecisionLog, action: int) -> DecisionLog:
    return log if log.n_actions == 2 else select_actions(log, [log.actions.names[action]])


def shares(log: DecisionLog) -> NDArray[np.float64]:
    if log.eligible is None:
        counts = np.bincount(log.action, weights=log.weight, minlength=log.n_actions)
        return np.broadcast_to(counts / counts.sum(), (log.n, log.n_actions))
    patterns, pattern = np.unique(log.eligible, axis=0, return_inverse=True)
    table = np.zeros(patterns.shape)
    np.add.at(table, (pattern, log.action), 1.0 if log.weight is None else log.weight)
    by_row: NDArray[np.float64] = (table / table.sum(axis=1, keepdims=True))[pattern]
    return by_row


def split_mask(
    log: DecisionLog, share: float, by: Literal["row", "unit", "time"] | None, rng: np.random.Generator
) -> Mask:
    """(n,) which rows go to the first part."""
    from persuadable.log.decisions import require_share

    require_share(share)
    units = log.clusters
    how = by or ("row" if units is None else "unit")
    if how == "time":
        first = _earliest(log, share)
    elif how == "unit":
        if log.unit is None:
            raise ParameterError("The log names no unit to split by", remedy="Give unit= when making the log.")
        codes = np.arange(log.n) if units is None else units
        chosen = rng.permutation(codes.max() + 1) < round(share * (int(codes.max()) + 1))
        first = chosen[codes]
    elif how == "row":
        first = _evenly(log.action, rng) < share
    else:
        raise ParameterError(f"by must be 'row', 'unit' or 'time', got {by!r}", remedy="Choose one of the three.")
    if first.all() or not first.any():
        raise ParameterError(f"A share of {share} of {log.n} rows leaves a part empty", remedy="Use more rows.")
    return first


def _earliest(log: DecisionLog, share: float) -> Mask:
    if log.time is None:
        raise ParameterError("The log has no time to split by", remedy="Give time= when making the log.")
    cut = np.sort(log.time)[max(round(share * log.n) - 1, 0)]
    first: Mask = log.time <= cut
    return first


def _evenly(strata: NDArray[Any], rng: np.random.Generator) -> NDArray[np.float64]:
    """(n,) places in [0, 1), uniform and random within each stratum."""
    place = np.empty(strata.size)
    for stratum in np.unique(strata):
        rows = np.flatnonzero(strata == stratum)
        place[rows] = (rng.permutation(rows.size) + 0.5) / rows.size
    return place


def folds(log: DecisionLog, k: int, rng: np.random.Generator) -> NDArray[np.int16]:
    units = log.clusters
    smallest = int(np.bincount(log.action, minlength=log.n_actions).min())
    if k < 2 or k > smallest:
        raise ParameterError(
            f"{k} folds cannot be made where the smallest arm has {smallest} rows",
            remedy="Use at least 2 folds and no more than the smallest arm has rows.",
        )
    if units is None:
        return (_evenly(log.action, rng) * k).astype(np.int16)
    return (rng.permutation(units.max() + 1) % k).astype(np.int16)[units]


def frame(log: DecisionLog) -> pl.DataFrame:
    import polars as pl

    columns: dict[str, Any] = {
        "action": pl.Series([log.actions.names[c] for c in log.action.tolist()], dtype=pl.Enum(log.actions.names))
    }
    columns |= dict(log.outcomes)
    for role in ("unit", "time", "weight", "stage"):
        if (values := getattr(log, role)) is not None:
            columns[role] = values
    for role, table in (("propensity", log.propensities), ("eligible", log.eligible)):
        if table is not None:
            columns |= {f"{role}:{label}": table[:, i] for i, label in enumerate(log.actions)}
    features = log.features.frame()
    clash = {name: f"{name}_" for name in columns if name in features.columns}
    return features.hstack(pl.DataFrame({clash.get(k, k): v for k, v in columns.items()}))


def half_sample(log: DecisionLog, rng: np.random.Generator) -> Mask:
    """(n,) half of the rows of each arm, or half of the units where units repeat."""
    units = log.clusters
    if units is None:
        return _evenly(log.action, rng) < 0.5
    half: Mask = (rng.permutation(units.max() + 1) % 2 == 0)[units]
    return half
