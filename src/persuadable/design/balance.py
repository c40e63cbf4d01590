"""Are the arms alike? Standardised differences, and one joint test."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

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
    centred = table - table.mean(axis=0)
    scale = centred.std(axis=0)
    keep = scale > 0
    names, centred = [name for name, kept in zip(names, keep, strict=True) if kept], centred[:, keep] / scale[keep]
    e = log.propensity()
    base = np.ones(log.n) if log.weight is None else np.asarray(log.weight, dtype=np.float64)
    inverse = base / np.take_along_axis(e, log.action[:, None].astype(np.intp), axis=1)[:, 0]
    rows, differences, influences = [], [], []
    means, unit = table.mean(axis=0)[keep], scale[keep]
    for a in range(1, log.n_actions):
        both = inverse * ((e[:, 0] > 0) & (e[:, a] > 0))
        took, took_none = both * (log.action == a), both * (log.action == 0)
        if not (took.any() and took_none.any()):
            raise PropensityError(
                f"No row compares {log.actions.names[a]!r} with {log.actions.control!r}: where one of them was taken, "
                "the other had propensity 0",
                remedy="Arms can be compared only where there was a choice; log decisions drawn by lot.",
            )
        control_mean, control_psi = _weighted_mean(centred, took_none)
        mean, psi = _weighted_mean(centred, took)
        differences.append(mean - control_mean)
        influences.append(psi - control_psi)
        for j, name in enumerate(names):
            treated, control = (float(m[j] * unit[j] + means[j]) for m in (mean, control_mean))
            rows.append(BalanceRow(log.actions.names[a], name, treated, control, float(mean[j] - control_mean[j])))
    statistic, degrees = _wald(np.concatenate(differences), np.concatenate(influences, axis=1), log.clusters)
    p_value = float(chdtrc(degrees, statistic)) if degrees else 1.0  # nothing varies, nothing can differ
    rows.sort(key=lambda row: -abs(row.difference))
    return Balance(tuple(rows), statistic, degrees, p_value, _shares_p_value(log, base), log.n)


def _shares_p_value(log: DecisionLog, weight: Matrix) -> float:
    """Wald test of Σ(1{A = a} − e_a) = 0 over the treatments: calibration of the propensities in the large."""
    took = log.action[:, None] == np.arange(1, log.n_actions)
    residual = weight[:, None] * (took - log.propensity()[:, 1:])
    statistic, degrees = _wald(residual.mean(axis=0), residual, log.clusters)
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


def _weighted_mean(table: Matrix, weight: Matrix) -> tuple[Matrix, Matrix]:
    """Hájek mean (k,) and its influence function (n, k)."""
    share = weight / weight.mean()
    mean = (share[:, None] * table).mean(axis=0)
    return mean, share[:, None] * (table - mean)


def _wald(difference: Matrix, influence: Matrix, clusters: NDArray[np.intp] | None) -> tuple[float, int]:
    """χ² and its degrees of freedom; collinear columns (all categories of a feature) count once."""
    n = len(influence)
    if clusters is not None:
        summed = np.zeros((int(clusters.max()) + 1, influence.shape[1]))
        np.add.at(summed, clusters, influence)
        influence = summed
    covariance = influence.T @ influence / n**2
    values, vectors = np.linalg.eigh(covariance)
    used = values > values.max(initial=0) * 1e-9
    projected = vectors[:, used].T @ difference
    return float((projected**2 / values[used]).sum()), int(used.sum())
