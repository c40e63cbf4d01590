"""Means within groups, and how they err together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from persuadable.value.estimate import Codes, Floats, influence_covariance

__all__ = ["Column", "GroupMeans", "group_means"]


@dataclass(frozen=True, slots=True, eq=False)
class Column:
    """Something to be averaged.

    Attributes:
        values: (n,).
        among: (n,) the rows it is averaged over; None for all.
    """

    values: Floats
    among: NDArray[np.bool_] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class GroupMeans:
    """Means of k columns within G groups.

    Attributes:
        rows: (G,) rows.
        size: (G,) how many equally weighted units they count as: units, or rows where none repeats; where weighted,
            (Σw)²/Σw² (Kish 1965).
        share: (G,) (weighted) share of all rows.
        mean: (G, k); NaN where no row of the group counts for a column.
        covariance: (G, G, k, k): covariance of the means of two groups, 0 where they have no unit in common.
    """

    rows: NDArray[np.int64]
    size: Floats
    share: Floats
    mean: Floats
    covariance: Floats


@dataclass(frozen=True, slots=True, eq=False)
class _Group:
    mean: Floats
    units: Codes | None  # (C,) the units, in order
    influence: Floats  # (C, k) sums over the rows of a unit, over the rows counted
    weight: float
    size: float


def group_means(
    columns: Sequence[Column], code: Codes, n_groups: int, weight: Floats | None, clusters: Codes | None
) -> GroupMeans:
    """Means within groups with influence 1{g}(v − m)/P(g), summed by unit (Liang and Zeger 1986).

    Args:
        columns: k of them.
        code: (n,) group of each row, 0 … G − 1.
        n_groups: G.
        weight: (n,) row weights, or None.
        clusters: (n,) codes of units that repeat, or None.
    """
    rows = np.bincount(code, minlength=n_groups)
    order = np.argsort(code, kind="stable")
    parts = np.split(order, np.cumsum(rows)[:-1])
    groups = [_group(columns, part, weight, clusters) for part in parts]
    covariance = np.zeros((n_groups, n_groups, len(columns), len(columns)))
    for g, one in enumerate(groups):
        sums = [column * len(one.influence) for column in one.influence.T]  # means over C units
        covariance[g, g] = influence_covariance(sums)
        for h, other in enumerate(groups[:g]):
            covariance[g, h] = _shared(one, other)
            covariance[h, g] = covariance[g, h].T
    mass = np.array([one.weight for one in groups])
    return GroupMeans(
        rows.astype(np.int64),
        np.array([one.size for one in groups]),
        mass / mass.sum(),
        np.stack([one.mean for one in groups]),
        covariance,
    )


def _group(columns: Sequence[Column], rows: Codes, weight: Floats | None, clusters: Codes | None) -> _Group:
    w = np.ones(len(rows)) if weight is None else weight[rows]
    mean, influence = np.full(len(columns), np.nan), np.zeros((len(rows), len(columns)))
    for k, column in enumerate(columns):
        counted = w if column.among is None else w * column.among[rows]
        if (total := counted.sum()) > 0:
            mean[k] = float(counted @ column.values[rows]) / total
            influence[:, k] = counted * (column.values[rows] - mean[k]) / total
    units, mass = None, w
    if clusters is not None:
        units, place = np.unique(clusters[rows], return_inverse=True)
        influence = np.stack([np.bincount(place, weights=each) for each in influence.T], axis=1)
        mass = np.asarray(np.bincount(place, weights=w), dtype=np.float64)
    return _Group(mean, units, influence, float(w.sum()), float(mass.sum() ** 2 / (mass @ mass)))


def _shared(one: _Group, other: _Group) -> Floats:
    """(k, k) Σ over the units in both groups."""
    if one.units is None or other.units is None:
        return np.zeros((one.mean.size, other.mean.size))
    _, here, there = np.intersect1d(one.units, other.units, assume_unique=True, return_indices=True)
    return np.asarray(one.influence[here].T @ other.influence[there])
