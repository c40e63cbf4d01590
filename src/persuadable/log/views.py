"""Parts of a log: rows, arms, splits, folds, and the log as a frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from persuadable.errors import ParameterError, PropensityError
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
    """Rows whose action is the control or one of ``labels``, propensities and weights conditional on these actions."""
    return _conditional(log, [0, *(c for c in sorted({log.actions.index(label) for label in labels}) if c)])


def contrast(log: DecisionLog, action: int) -> DecisionLog:
    if log.eligible is not None and not log.eligible[:, action].all():
        log = take(log, log.eligible[:, action])
    return log if log.n_actions == 2 else _conditional(log, [0, action])


def _conditional(log: DecisionLog, codes: Sequence[int]) -> DecisionLog:
    """The rows that took one of these actions.

    Their propensities are e_a / Σe over the actions, and they stand for all by 1/Σe (Horvitz and Thompson 1952).
    Shares among the equally eligible are written down as propensities, as eligibility for other actions is forgotten.
    """
    from persuadable.log import checks

    if len(codes) == log.n_actions:
        return log
    checks.require_all_propensities(log)
    by_shares = log.propensities is None and log.eligible is not None
    known = log.shares() if by_shares else log.propensities
    rows = np.isin(log.action, codes)
    kept = take(log, rows)
    recode = np.zeros(log.n_actions, dtype=np.int16)
    recode[codes] = np.arange(len(codes))
    propensities, weight = kept.propensities, kept.weight
    if known is not None:
        propensities, chance = _renormalised(_rows_of(known, rows), codes)
        weight = standing_for_all(weight, chance)
    return replace(
        kept,
        action=recode[kept.action],
        actions=Discrete(tuple(log.actions.names[c] for c in codes)),
        propensities=propensities,
        propensity_source="estimated" if by_shares else kept.propensity_source,
        eligible=None if kept.eligible is None else kept.eligible[:, codes],
        weight=weight,
    )


def _renormalised(propensities: NDArray[Any], codes: Sequence[int]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Probabilities of some actions given that one of them was taken, and the chance of that, (1,) if constant."""
    if propensities.strides[0] == 0 and len(propensities):
        one = propensities[0, list(codes)]
        return np.broadcast_to(one / one.sum(), (len(propensities), len(codes))), one.sum(keepdims=True)
    chosen = propensities[:, list(codes)]
    chance = chosen.sum(axis=1)
    return chosen / chance[:, None], chance


def standing_for_all(weight: NDArray[Any] | None, chance: NDArray[Any]) -> NDArray[Any] | None:
    """Row weights over the chance of having been kept, with the same mean; as they are where that is constant."""
    if np.ptp(chance) <= 1e-6:
        return weight
    inverse = np.asarray((1.0 if weight is None else weight) / chance, dtype=np.float64)
    return np.asarray(inverse * ((1.0 if weight is None else weight.mean()) / inverse.mean()))


def overlapping(log: DecisionLog, action: int | None) -> DecisionLog:
    from persuadable.log import checks

    both = checks.comparable(log, action)
    if both is None:
        return log
    if not both.any():
        treatment = "a treatment" if action is None else repr(log.actions.names[action])
        raise PropensityError(
            f"In none of the {log.n:,} rows could both {log.actions.control!r} and {treatment} have been taken",
            remedy="No effect can be learned from this log; decide for a small share by lot, and log that.",
        )
    return take(log, both)


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
        _require_units_apart(units, first)
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


def _require_units_apart(units: NDArray[np.intp] | None, first: Mask) -> None:
    """Refuse a cut in time that parts a unit's rows: its later ones would be judged by what was learned from it."""
    if units is None:
        return
    both = np.intersect1d(units[first], units[~first])
    if both.size:
        raise ParameterError(
            f"{both.size:,} of the {int(units.max()) + 1:,} units have rows before and after the cut in time",
            remedy="Split by='unit', or keep one row of each unit, such as its first, before splitting by time.",
        )


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
    if log.taken_propensities is not None:
        columns["taken_propensity"] = log.taken_propensities
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
