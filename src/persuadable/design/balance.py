"""Are the arms alike? Standardised differences, and one joint test."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtrc

from persuadable.errors import PropensityError
from persuadable.features import Features
from persuadable.log import DecisionLog

if TYPE_CHECKING:
    import polars as pl

__all__ = ["Balance", "BalanceRow", "balance", "indicators"]

Matrix = NDArray[np.float64]

BLOCK = 65_536  # rows whose influence is held at a time: that of all would be several times the features


@dataclass(frozen=True, slots=True)
class BalanceRow:
    """One feature (or category) in one treatment arm against the control.

    Attributes:
        action: the treatment.
        feature: name of the feature, "name = label" for a category.
        treated_mean, control_mean: propensity-weighted means.
        difference: standardised, (treated − control) / pooled standard deviation.
    """

    action: str
    feature: str
    treated_mean: float
    control_mean: float
    difference: float


@dataclass(frozen=True, slots=True)
class Balance:
    """How alike the arms are before the action.

    Attributes:
        rows: a row per feature and treatment, largest difference first.
        statistic: Wald χ² of the hypothesis that all weighted means agree across arms.
        degrees: its degrees of freedom.
        p_value: of the joint test; small values say the arms were not assigned as the propensities claim.
        shares_p_value: of the test that as many got each action as the propensities imply.
        n: rows of the log.
    """

    rows: tuple[BalanceRow, ...]
    statistic: float
    degrees: int
    p_value: float
    shares_p_value: float
    n: int

    @property
    def largest(self) -> float:
        """Largest absolute standardised difference."""
        return max((abs(row.difference) for row in self.rows), default=0.0)

    def frame(self) -> pl.DataFrame:
        """The rows as a polars frame."""
        import polars as pl

        names = ("action", "feature", "treated_mean", "control_mean", "difference")
        return pl.DataFrame({name: [getattr(row, name) for row in self.rows] for name in names})

    def __str__(self) -> str:
        verdict = "alike" if self.p_value >= 0.01 else "NOT alike"
        wrong = "" if self.shares_p_value >= 0.01 else f", shares against propensities p = {self.shares_p_value:.2g}"
        return (
            f"The arms are {verdict}: joint test p = {self.p_value:.2g} "
            f"(χ² = {self.statistic:.1f} on {self.degrees}), "
            f"largest standardised difference {self.largest:.3f}{wrong}, n = {self.n:,}"
        )


def balance(log: DecisionLog) -> Balance:
    """Compare the features of every treatment arm with the control's.

    Means are weighted by 1/propensity, so a log with varying known propensities is balanced when they are right.
    Each treatment is compared with the control among the rows in which both were possible.
    Categories are compared by indicator (all but the first), missing values by an indicator of their own.
    The joint test is Hansen and Bowers' (2008) idea in influence-function form: Wald's χ² on the differences of
    weighted means, with their estimated covariance.

    Args:
        log: n rows, A actions.

    Raises:
        PropensityError: a treatment and the control were both possible in no row, or only one of them was taken there.
    """
    names, table = indicators(log.features)
    means = table.mean(axis=0)
    table -= means
    scale = np.array([column.std() for column in table.T])
    keep = scale > 0
    if not keep.all():
        names = [name for name, kept in zip(names, keep, strict=True) if kept]
        table, means, scale = table[:, keep], means[keep], scale[keep]
    table /= scale
    e = log.propensity()
    base = np.ones(log.n) if log.weight is None else np.asarray(log.weight, dtype=np.float64)
    inverse = base / np.take_along_axis(e, log.action[:, None].astype(np.intp), axis=1)[:, 0]
    rows, arms = [], []
    for a in range(1, log.n_actions):
        both = inverse * ((e[:, 0] > 0) & (e[:, a] > 0))
        took, took_none = both * (log.action == a), both * (log.action == 0)
        if not (took.any() and took_none.any()):
            raise PropensityError(
                f"No row compares {log.actions.names[a]!r} with {log.actions.control!r}: where one of them was taken, "
                "the other had propensity 0",
                remedy="Arms can be compared only where there was a choice; log decisions drawn by lot.",
            )
        treated, control = _Mean.of(table, took), _Mean.of(table, took_none)
        arms.append((treated, control))
        for j, name in enumerate(names):
            one, other = (float(arm.mean[j] * scale[j] + means[j]) for arm in (treated, control))
            rows.append(BalanceRow(log.actions.names[a], name, one, other, float(treated.mean[j] - control.mean[j])))
    difference = np.concatenate([treated.mean - control.mean for treated, control in arms])
    statistic, degrees = _wald(difference, _influence(table, arms), log.n, log.clusters)
    p_value = float(chdtrc(degrees, statistic)) if degrees else 1.0  # nothing varies, nothing can differ
    rows.sort(key=lambda row: -abs(row.difference))
    return Balance(tuple(rows), statistic, degrees, p_value, _shares_p_value(log, base), log.n)


def _shares_p_value(log: DecisionLog, weight: Matrix) -> float:
    """Wald test of Σ(1{A = a} − e_a) = 0 over the treatments: calibration of the propensities in the large."""
    took = log.action[:, None] == np.arange(1, log.n_actions)
    residual = weight[:, None] * (took - log.propensity()[:, 1:])
    statistic, degrees = _wald(residual.mean(axis=0), [residual], log.n, log.clusters)
    return float(chdtrc(degrees, statistic)) if degrees else 1.0


def indicators(features: Features) -> tuple[list[str], Matrix]:
    """Names and values (n, k) of numbers, category indicators and missing-value indicators."""
    names: list[str] = []
    columns: list[Matrix] = []
    for j, column in enumerate(features.columns):
        values = features.values[:, j].astype(np.float64)
        missing = np.isnan(values)
        if column.kind == "number":
            names.append(column.name)
            columns.append(np.where(missing, values[~missing].mean() if not missing.all() else 0.0, values))
        else:
            for code, label in enumerate(column.categories):
                names.append(f"{column.name} = {label}")
                columns.append((values == code).astype(np.float64))
        if missing.any():
            names.append(f"{column.name} is missing")
            columns.append(missing.astype(np.float64))
    return names, np.stack(columns, axis=1) if columns else np.empty((len(features), 0))


class _Mean(NamedTuple):
    """Hájek mean (k,) of some of the rows, and each row's share in it, (n,), of mean 1."""

    mean: Matrix
    share: Matrix

    @classmethod
    def of(cls, table: Matrix, weight: Matrix) -> _Mean:
        share = weight / weight.mean()
        return cls(share @ table / len(table), share)


def _influence(table: Matrix, arms: Sequence[tuple[_Mean, _Mean]]) -> Iterator[Matrix]:
    """The influence function of the differences, (n, k) for each arm side by side, some rows at a time."""
    for start in range(0, len(table), BLOCK):
        block = slice(start, start + BLOCK)
        yield np.concatenate(
            [
                treated.share[block, None] * (table[block] - treated.mean)
                - control.share[block, None] * (table[block] - control.mean)
                for treated, control in arms
            ],
            axis=1,
        )


def _wald(
    difference: Matrix, influence: Iterable[Matrix], n: int, clusters: NDArray[np.intp] | None
) -> tuple[float, int]:
    """χ² and its degrees of freedom; collinear columns (all categories of a feature) count once."""
    k, start = difference.size, 0
    covariance = np.zeros((k, k))
    summed = np.zeros((0 if clusters is None else int(clusters.max()) + 1, k))
    for block in influence:
        if clusters is None:
            covariance += block.T @ block
        else:
            np.add.at(summed, clusters[start : start + len(block)], block)
        start += len(block)
    covariance = (covariance + summed.T @ summed) / n**2
    values, vectors = np.linalg.eigh(covariance)
    used = values > values.max(initial=0) * 1e-9
    projected = vectors[:, used].T @ difference
    return float((projected**2 / values[used]).sum()), int(used.sum())
